package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/bugle-push/bugle/internal/apachekafka"
)

// kafka fetches Apache Kafka before the packages that test over it ask for it at
// once; each of their test binaries then starts a broker of its own. With install
// it first installs Java and Maven where that is possible.
func kafka(ctx context.Context, stderr io.Writer, install bool) error {
	_, err := apachekafka.Fetch(ctx, stderr)
	if errors.Is(err, apachekafka.ErrNotInstalled) && install {
		fmt.Fprintln(stderr, "installing Java and Maven for the suites over Apache Kafka")
		if err = aptInstall(ctx, stderr, "default-jre-headless", "maven"); err == nil {
			_, err = apachekafka.Fetch(ctx, stderr)
		}
	}
	return err
}
