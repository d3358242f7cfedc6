# Everything that CI does is a target here; `make` alone lists them.

GO      ?= go
# The linter comes from tools/go.mod, where its version is pinned. The first
# run builds it, which takes one to three minutes; later runs use Go's cache.
LINT    := $(GO) tool -modfile=tools/go.mod golangci-lint
FUZZTIME ?= 10s
# A package that hangs is killed, and says where, instead of stopping CI.
TIMEOUT ?= 30m
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.DEFAULT_GOAL := help
.PHONY: help build test test-all lint fuzz bench sandbox chaos screens cover verify generate fmt tidy

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the static binary bin/bugle
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/bugle ./cmd/bugle

test: ## run every test that this machine can run, and name what was not run
	@$(GO) run ./internal/tools/runtests -timeout $(TIMEOUT)

test-all: ## as test, but install what is missing (Debian, root) and fail on anything not run
	@$(GO) run ./internal/tools/runtests -all -timeout $(TIMEOUT)

lint: ## go vet and golangci-lint (the first run builds the linter: minutes)
	$(GO) vet ./...
	$(LINT) run

fuzz: ## run each fuzz target for FUZZTIME (10s)
	@$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ {names = names " " $$1} /^ok/ {n = split(names, a, " "); for (i = 1; i <= n; i++) print a[i], $$2; names = ""}' | \
	while read -r name pkg; do echo "== $$pkg $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$pkg" || exit 1; done

bench: ## run every benchmark once, so that they keep working; BENCHTIME=2s to measure
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(or $(BENCHTIME),1x) ./...

sandbox: ## run the whole world on this machine, no account needed
	$(GO) run ./cmd/sandbox

# What it prints on standard output is one line of JSON, so the build is told elsewhere.
chaos: ## kill replicas, break their backends, prove that nothing is lost: ROUNDS=3 REPLICAS=3 DB=postgres SEED=1
	@$(MAKE) --no-print-directory build >&2
	@$(GO) run ./cmd/chaos -bugle bin/bugle -rounds $(or $(ROUNDS),3) -replicas $(or $(REPLICAS),0) -db $(or $(DB),postgres) -seed $(or $(SEED),1)

screens: ## write screenshots of every page to out/screens (wants Chromium)
	@rm -rf out/screens
	$(GO) test ./api/console -run '^TestEvery(Page|Question)Fits$$' -count=1 -v -screens $(CURDIR)/out/screens
	$(GO) test ./sandbox/page -run '^TestThePageFits$$' -count=1 -v -screens $(CURDIR)/out/screens

cover: ## test coverage of the whole module, as out/cover.html
	@mkdir -p out
	$(GO) test -timeout $(TIMEOUT) -coverpkg=./... -coverprofile=out/cover.out ./...
	$(GO) tool cover -html=out/cover.out -o out/cover.html
	@$(GO) tool cover -func=out/cover.out | tail -n 1

verify: generate ## regenerate, then fail if anything differs from what is committed
	$(GO) mod tidy -diff
	$(GO) mod verify
	git diff --exit-code

generate: ## rewrite generated files (the table of docs/configuration.md)
	$(GO) test ./internal/config -run '^TestReferenceIsDocumented$$' -count=1 -update

fmt: ## format all Go code (gofumpt, goimports)
	$(LINT) fmt

tidy: ## go mod tidy, for the module and for its tools
	$(GO) mod tidy
	cd tools && $(GO) mod tidy
