// Command runtests runs all tests of the module as well as this machine can,
// and ends by naming what was not run and why. It needs Go alone.
//
// The race detector is used where cgo and a C compiler work. The suites of the
// stores run over PostgreSQL too where its server is installed: on a throw-away
// cluster, or on the server that BUGLE_TEST_POSTGRES_URL names. Apache Kafka is
// fetched where Java and Maven are, for the suites over it, and ably-js where
// Node.js and npm are, by the tests that run it; kcat is for the commands of the
// README, and Chromium for the tests in a browser. A test that skips itself is
// listed with the reason that it gave. With -all, what is missing is installed
// where that is possible (Debian, root), and anything that was not run is a
// failure: that is what CI wants.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// unwatched compiles SQLite, which is C turned into Go, without the race
// detector, as a SQLite in C would be: with it the tests of the ledger take many
// times as long, and it is our code that they watch. Its locks are those of
// package sync, which the detector follows in any case. It is this one package and
// not all of modernc.org: another one uses sync.Map, whose generic code exists once in a
// program, and when that copy is not watched, nothing that a sync.Map orders is
// seen to be in order, in encoding/json for instance.
const unwatched = "-gcflags=modernc.org/sqlite/lib=-race=false"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("runtests", flag.ContinueOnError)
	flags.SetOutput(stderr)
	all := flags.Bool("all", false, "install what is missing and fail on anything that was not run")
	timeout := flags.Duration("timeout", 10*time.Minute, "time limit of one package's tests")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	packages := flags.Args()
	if len(packages) == 0 {
		packages = []string{"./..."}
	}

	var notRun []string
	testArgs := []string{"test", "-json", "-count=1", "-timeout", timeout.String()}
	env := os.Environ()
	err := probeRace(ctx)
	if err != nil && *all {
		fmt.Fprintln(stderr, "installing a C compiler for the race detector")
		err = errors.Join(aptInstall(ctx, stderr, "gcc", "libc6-dev"), probeRace(ctx))
	}
	if err == nil {
		testArgs = append(testArgs, "-race", unwatched)
		env = append(env, "CGO_ENABLED=1")
	} else {
		notRun = append(notRun, "the race detector: "+err.Error())
	}

	cluster, err := postgres(ctx, stderr, *all)
	switch {
	case err != nil:
		notRun = append(notRun, "the suites over PostgreSQL: "+err.Error())
	case cluster != nil:
		defer func() {
			if err := cluster.Close(ctx); err != nil {
				fmt.Fprintln(stderr, "end PostgreSQL:", err)
			}
		}()
		env = append(env, postgresVariable+"="+cluster.URL("postgres"))
	}

	if err := kafka(ctx, stderr, *all); err != nil {
		notRun = append(notRun, "the suites over Apache Kafka: "+err.Error())
	}
	node(ctx, stderr, *all)
	kcat(ctx, stderr, *all)
	chromium(ctx, stderr, *all)

	began := time.Now()
	cmd := exec.CommandContext(ctx, "go", append(testArgs, packages...)...)
	cmd.Env = env
	cmd.Stderr = stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(stderr, "run go test:", err)
		return 1
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(stderr, "run go test:", err)
		return 1
	}
	result, readErr := summarize(events, stdout)
	if err := errors.Join(readErr, cmd.Wait()); err != nil {
		result.broken = true
		fmt.Fprintln(stderr, "go test:", err)
	}
	for _, s := range result.skipped {
		notRun = append(notRun, s.String())
	}
	failed := result.broken || result.failed > 0 || *all && len(notRun) > 0
	report(stdout, result, notRun, failed, time.Since(began))
	if failed {
		return 1
	}
	return 0
}

// report writes what was not run, and then one line in the form of go test.
func report(w io.Writer, r result, notRun []string, failed bool, took time.Duration) {
	if len(notRun) > 0 {
		fmt.Fprintln(w, "\nnot run:")
		for _, s := range notRun {
			fmt.Fprintln(w, "  -", s)
		}
		fmt.Fprintln(w)
	}
	verdict := "ok  "
	if failed {
		verdict = "FAIL"
	}
	fmt.Fprintf(w, "%s\tall packages\t%.1fs\t%d passed, %d failed, %d not run\n",
		verdict, took.Seconds(), r.passed, r.failed, len(notRun))
}

// probeRace tells whether a program can be built with the race detector: it
// needs cgo, a C compiler and the C library's headers.
func probeRace(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "bugle-race-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the system's temporary folder harms nobody
	file := filepath.Join(dir, "main.go")
	const program = "package main\n\n// #include <stdlib.h>\nimport \"C\"\n\nfunc main() { C.free(nil) }\n"
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		return fmt.Errorf("write the probe: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "run", "-race", file)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
		return fmt.Errorf("a program with cgo and -race does not run here (%s)", strings.TrimSpace(string(line)))
	}
	return nil
}

func aptInstall(ctx context.Context, stderr io.Writer, packages ...string) error {
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return errors.New("cannot install " + strings.Join(packages, " ") + " (needs apt-get and root)")
	}
	for _, args := range [][]string{
		{"update", "-qq"},
		append([]string{"install", "-y", "-qq", "--no-install-recommends"}, packages...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = stderr, stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w", args[0], err)
		}
	}
	return nil
}
