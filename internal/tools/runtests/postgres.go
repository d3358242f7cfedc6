package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bugle-push/bugle/internal/sqldb/pgcluster"
)

// postgresVariable is where package sqldbtest looks for a server.
const postgresVariable = "BUGLE_TEST_POSTGRES_URL"

// postgres starts a throw-away cluster, nil when the environment names a server
// already. With install it first installs one where that is possible.
func postgres(ctx context.Context, stderr io.Writer, install bool) (*pgcluster.Cluster, error) {
	if os.Getenv(postgresVariable) != "" {
		return nil, nil
	}
	bin, err := pgcluster.Find()
	if errors.Is(err, pgcluster.ErrNotInstalled) && install {
		fmt.Fprintln(stderr, "installing PostgreSQL for the suites of the stores")
		if err = installPostgres(ctx, stderr); err == nil {
			bin, err = pgcluster.Find()
		}
	}
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bugle-pg-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	// Test binaries of several packages run at once, each with many parallel tests.
	cluster, err := pgcluster.Start(ctx, pgcluster.Config{Bin: bin, Dir: dir, Settings: map[string]string{"max_connections": "500"}})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return cluster, nil
}

// installPostgres installs Debian's server without the cluster that its package
// would make and start: nothing of ours listens where nobody asked.
func installPostgres(ctx context.Context, stderr io.Writer) error {
	// Its configuration is there once the package that owns it is, and dpkg asks nothing about it then.
	if err := aptInstall(ctx, stderr, "postgresql-common"); err != nil {
		return err
	}
	conf, err := os.OpenFile("/etc/postgresql-common/createcluster.conf", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open configuration: %w", err)
	}
	_, err = conf.WriteString("\ncreate_main_cluster = false\n")
	if err := errors.Join(err, conf.Close()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return aptInstall(ctx, stderr, "postgresql")
}
