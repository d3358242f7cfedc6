# A static binary in an empty image: no shell, no package manager, not root.
#   docker build -t bugle --build-arg VERSION=$(git describe --tags --always) .
#   docker run -v bugle:/var/lib/bugle -v ./bugle.yaml:/etc/bugle/bugle.yaml:ro -p 8080:8080 bugle
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/bugle ./cmd/bugle \
 && install -d -o 65532 -g 65532 /out/data /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/bugle /bugle
# SQLite's file, and its temporary files, need a folder that the user may write.
COPY --from=build --chown=65532:65532 /out/data /var/lib/bugle
COPY --from=build --chown=65532:65532 /out/tmp /tmp
USER 65532:65532
# Only the file's name: any other variable here would silently win over the
# file. Let it listen on 0.0.0.0, as deploy/bugle.example.yaml does. To
# configure by variables alone, set BUGLE_CONFIG to nothing.
ENV BUGLE_CONFIG=/etc/bugle/bugle.yaml
VOLUME /var/lib/bugle
EXPOSE 8080 8081
ENTRYPOINT ["/bugle"]
CMD ["serve"]
