package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb/pgcluster"
)

// postgres is a throw-away cluster, with a proxy between it and the replicas.
type postgres struct {
	cluster *pgcluster.Cluster
	proxy   *proxy
	// direct is the URL for this process, proxied the one for the replicas.
	direct, proxied string
}

const databaseName = "bugle"

// startPostgres makes a cluster in a folder of the work folder.
func startPostgres(ctx context.Context, dir string) (_ *postgres, err error) {
	p := &postgres{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close(ctx))
		}
	}()
	folder := filepath.Join(dir, "postgres")
	// The server may run as another user, who has to find its folder.
	if err := errors.Join(os.Mkdir(folder, 0o700), os.Chmod(dir, 0o711)); err != nil { //nolint:gosec // it may be passed through, and not listed
		return nil, fmt.Errorf("make folder of PostgreSQL: %w", err)
	}
	if p.cluster, err = pgcluster.Start(ctx, pgcluster.Config{Dir: folder}); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	if err := p.cluster.CreateDatabase(ctx, databaseName); err != nil {
		return nil, err
	}
	p.direct = p.cluster.URL(databaseName)
	network, target, err := endpoint(p.direct)
	if err != nil {
		return nil, err
	}
	if p.proxy, err = startProxy(ctx, network, target); err != nil {
		return nil, err
	}
	p.proxied = p.cluster.TCPURL(p.proxy.addr(), databaseName)
	return p, nil
}

// endpoint returns where the server of a URL listens: a socket or an address.
func endpoint(raw string) (network, target string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", fmt.Errorf("parse URL of the database: %w", err)
	}
	q := u.Query()
	host, port := u.Hostname(), u.Port()
	if q.Has("host") {
		host = q.Get("host")
	}
	if q.Has("port") {
		port = q.Get("port")
	}
	if port == "" {
		port = "5432"
	}
	if strings.HasPrefix(host, "/") {
		return "unix", filepath.Join(host, ".s.PGSQL."+port), nil
	}
	return "tcp", net.JoinHostPort(host, port), nil
}

func (p *postgres) url() string { return p.proxied }

// patience is how long a read waits for a database that is down.
const patience = 30 * time.Second

// read tries again while the database is down: faults may overlap. fn must be
// one that can be repeated.
func (p *postgres) read(ctx context.Context, fn func(*sql.DB) error) error {
	until := time.Now().Add(patience)
	for {
		err := readDatabase(ctx, p.direct, fn)
		if err == nil || time.Now().After(until) {
			return err
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// crash lets the server end without any order, and starts it again after a
// while. The replicas' connections break because their server's processes are
// gone, not by the proxy's doing.
func (p *postgres) crash(ctx context.Context, d time.Duration, away func()) error {
	if err := p.cluster.Crash(ctx); err != nil {
		return fmt.Errorf("crash PostgreSQL: %w", err)
	}
	away()
	if err := wait(ctx, d); err != nil {
		return err
	}
	if err := p.cluster.Resume(ctx); err != nil {
		return fmt.Errorf("resume PostgreSQL: %w", err)
	}
	return nil
}

func (p *postgres) cut(ctx context.Context, d time.Duration, away func()) error {
	p.proxy.refuse()
	defer p.proxy.allow()
	away()
	return wait(ctx, d)
}

// close stops the server. Its folder is the work folder's.
func (p *postgres) close(ctx context.Context) error {
	var errs []error
	if p.proxy != nil {
		errs = append(errs, p.proxy.close())
	}
	if p.cluster != nil {
		if err := p.cluster.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop PostgreSQL: %w", err))
		}
	}
	return errors.Join(errs...)
}
