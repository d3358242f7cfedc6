// Package pgcluster runs throw-away PostgreSQL servers from the programs that are installed on
// this machine: for tests, benchmarks and the chaos program. A cluster lives in one folder, takes
// connections from this machine only, and trusts whoever may reach it, so nothing of value belongs
// there.
//
// A Cluster is used by one goroutine at a time.
package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// startTimeout bounds how long a server may take until it answers: after a crash it first
	// goes through its log.
	startTimeout = time.Minute
	// stopTimeout bounds how long it may take to end.
	stopTimeout = 30 * time.Second
	superuser   = "postgres"
)

// Config is what a Cluster is made of.
type Config struct {
	// Bin is the folder of the server's programs; empty means Find.
	Bin string
	// Dir is an existing folder for the cluster, which Close removes. Keep its name short: the path
	// of a socket in it has at most 107 bytes.
	Dir string
	// Port is the port on 127.0.0.1; 0 takes connections by a Unix socket in Dir only.
	Port int
	// Settings are settings of the server. They override those for tests, which do not wait for the
	// disk: a crash of the machine would damage the data, one of the server does not.
	Settings map[string]string
}

// Cluster is a running server.
type Cluster struct {
	cfg    Config
	server *exec.Cmd
	log    *os.File
	ended  chan struct{} // closed when the server has ended
	how    error         // it ended; only then
}

// Start makes a new cluster and starts its server. It returns ErrNotInstalled without the programs.
func Start(ctx context.Context, cfg Config) (_ *Cluster, err error) {
	if cfg.Bin == "" {
		if cfg.Bin, err = Find(); err != nil {
			return nil, err
		}
	}
	c := &Cluster{cfg: cfg}
	if err := handOver(cfg.Dir); err != nil {
		return nil, fmt.Errorf("hand over folder: %w", err)
	}
	initdb := c.command(ctx, "initdb", "-D", c.data(), "-U", superuser, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make cluster: %w: %s", err, out)
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return c, nil
}

func (c *Cluster) data() string { return filepath.Join(c.cfg.Dir, "data") }

func (c *Cluster) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.cfg.Bin, program), args...) //nolint:gosec // a program of the PostgreSQL that was found
	cmd.Dir = c.cfg.Dir
	cmd.SysProcAttr = unprivileged()
	return cmd
}

func (c *Cluster) start(ctx context.Context) error {
	settings := map[string]string{
		"fsync": "off", "full_page_writes": "off", "max_connections": "200", "listen_addresses": "",
		"unix_socket_directories": c.cfg.Dir, "port": strconv.Itoa(c.socketPort()),
	}
	if c.cfg.Port != 0 {
		settings["listen_addresses"] = "127.0.0.1"
	}
	maps.Copy(settings, c.cfg.Settings)
	args := []string{"-D", c.data()}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	log, err := os.OpenFile(c.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open server log: %w", err)
	}
	// The server ends by a signal from here alone: ctx bounds the start.
	server := c.command(context.WithoutCancel(ctx), "postgres", args...)
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		return errors.Join(fmt.Errorf("start server: %w", err), log.Close())
	}
	ended := make(chan struct{})
	c.server, c.log, c.ended, c.how = server, log, ended, nil
	go func() {
		defer close(ended)
		c.how = server.Wait()
	}()
	return c.await(ctx)
}

// await waits until the server answers.
func (c *Cluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := c.Exec(ctx, superuser, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for server: %w (its log is %s)", err, c.LogFile())
		case <-c.ended:
			return fmt.Errorf("server ended at its start: %w (its log is %s)", errors.Join(err, c.how), c.LogFile())
		case <-again.C:
		}
	}
}

// socketPort names the Unix socket, which has a port in its name even when the server listens on none.
func (c *Cluster) socketPort() int {
	if c.cfg.Port != 0 {
		return c.cfg.Port
	}
	return 5432
}

// LogFile is what the server has logged.
func (c *Cluster) LogFile() string { return filepath.Join(c.cfg.Dir, "server.log") }

// URL is a database of the cluster as a postgres:// URL, by way of the Unix socket.
func (c *Cluster) URL(database string) string {
	q := url.Values{"host": {c.cfg.Dir}, "port": {strconv.Itoa(c.socketPort())}, "sslmode": {"disable"}}
	return (&url.URL{Scheme: "postgres", User: url.User(superuser), Path: "/" + database, RawQuery: q.Encode()}).String()
}

// TCPURL is a database by way of another address, such as that of a proxy before the server's port.
func (c *Cluster) TCPURL(address, database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User(superuser), Host: address, Path: "/" + database, RawQuery: "sslmode=disable"}).String()
}

// Exec runs a statement in a database on a connection of its own.
func (c *Cluster) Exec(ctx context.Context, database, statement string) error {
	conn, err := pgx.Connect(ctx, c.URL(database))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// CreateDatabase makes an empty database.
func (c *Cluster) CreateDatabase(ctx context.Context, name string) error {
	if err := c.Exec(ctx, superuser, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	return nil
}

// Restart crashes the server, which cuts every connection in the middle of whatever it does, and
// starts it again; it returns when the server answers.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.Crash(ctx); err != nil {
		return err
	}
	return c.Resume(ctx)
}

// Crash ends the server at once, without its clean-up.
func (c *Cluster) Crash(ctx context.Context) error { return c.end(ctx, syscall.SIGQUIT) }

// Resume starts a server that was stopped or crashed.
func (c *Cluster) Resume(ctx context.Context) error { return c.start(ctx) }

// Stop ends the server in good order; open transactions are rolled back.
func (c *Cluster) Stop(ctx context.Context) error { return c.end(ctx, syscall.SIGINT) }

func (c *Cluster) end(ctx context.Context, signal syscall.Signal) error {
	if c.server == nil {
		return nil
	}
	server := c.server
	c.server = nil
	if err := server.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal server: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	select {
	case <-c.ended: // how is its own affair: a crash was asked for
	case <-ctx.Done():
		_ = server.Process.Kill() // its children see it and end
		<-c.ended
	}
	if err := c.log.Close(); err != nil {
		return fmt.Errorf("close server log: %w", err)
	}
	return nil
}

// Close ends the server and removes its folder.
func (c *Cluster) Close(ctx context.Context) error {
	err := c.end(ctx, syscall.SIGQUIT)
	return errors.Join(err, os.RemoveAll(c.cfg.Dir))
}
