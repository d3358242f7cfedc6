package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/sandbox/racing"
)

// database is what the replicas keep their state in.
type database interface {
	// url is the database.url of the replicas.
	url() string
	// read runs fn on a connection of its own, which faults do not touch.
	read(ctx context.Context, fn func(*sql.DB) error) error
	close(ctx context.Context) error
}

// frail is a database that has a server which can fail.
type frail interface {
	database
	// crash ends the server as a crash would, and starts it again after a while.
	// It calls away when it is gone.
	crash(ctx context.Context, d time.Duration, away func()) error
	// cut cuts every connection of the replicas and accepts none for a while. It
	// calls away when they are cut.
	cut(ctx context.Context, d time.Duration, away func()) error
}

// sqliteFile is one SQLite file.
type sqliteFile struct{ file string }

func newSQLite(dir string) *sqliteFile { return &sqliteFile{file: filepath.Join(dir, "bugle.db")} }

func (s *sqliteFile) url() string { return "sqlite:" + filepath.ToSlash(s.file) }

// read opens the file each time: a connection that is always there would keep
// SQLite from ever having to recover after a kill, because recovery is the work
// of the first one.
func (s *sqliteFile) read(ctx context.Context, fn func(*sql.DB) error) error {
	return readDatabase(ctx, s.url(), fn)
}

func (s *sqliteFile) close(context.Context) error { return nil }

func readDatabase(ctx context.Context, url string, fn func(*sql.DB) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	db, err := sqldb.Open(ctx, url, sqldb.Options{MaxConnections: 2})
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return fn(db.SQL())
}

// pair names a delivery as both sides know it: the notification id that the push
// carries, and the device.
type pair struct {
	nid    string
	device racing.DeviceID
}

// leases returns what each owner holds leases on.
func leases(ctx context.Context, db database) (map[string]map[pair]bool, error) {
	out := map[string]map[pair]bool{}
	err := query(ctx, db, `SELECT owner, notification_id, device_id FROM deliveries WHERE state = 'leased'`, nil, func(r *sql.Rows) error {
		var owner, device string
		var nid int64
		if err := r.Scan(&owner, &nid, &device); err != nil {
			return err
		}
		if out[owner] == nil {
			out[owner] = map[pair]bool{}
		}
		out[owner][pair{strconv.FormatInt(nid, 10), racing.DeviceID(device)}] = true
		return nil
	})
	return out, err
}

// claims returns the bets, and what was refused as one, that each owner is about
// to bring to Kafka.
func claims(ctx context.Context, db database) (map[string]map[string]bool, error) {
	out := map[string]map[string]bool{}
	err := query(ctx, db, `SELECT owner, message_id FROM bets WHERE state = 'leased'`, nil, func(r *sql.Rows) error {
		var owner, id string
		if err := r.Scan(&owner, &id); err != nil {
			return err
		}
		if out[owner] == nil {
			out[owner] = map[string]bool{}
		}
		out[owner][id] = true
		return nil
	})
	return out, err
}

// openDeliveries counts what has not come to its end.
func openDeliveries(ctx context.Context, db database) (n int, err error) {
	err = query(ctx, db, `SELECT COUNT(*) FROM deliveries WHERE state IN ('queued', 'leased')`, nil, func(r *sql.Rows) error { return r.Scan(&n) })
	return n, err
}

// rulesBegun counts the rules that have had a run which read everything: only
// rows that arrive after its first one are news to a rule.
func rulesBegun(ctx context.Context, db database) (n int, err error) {
	err = query(ctx, db, `SELECT COUNT(DISTINCT rule_id) FROM runs WHERE state = 'released'`, nil, func(r *sql.Rows) error { return r.Scan(&n) })
	return n, err
}

// query reads rows, one call of scan for each.
func query(ctx context.Context, db database, text string, args []any, scan func(*sql.Rows) error) error {
	return db.read(ctx, func(conn *sql.DB) error {
		rows, err := conn.QueryContext(ctx, text, args...)
		if err != nil {
			return fmt.Errorf("query database: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			if err := scan(rows); err != nil {
				return fmt.Errorf("scan row: %w", err)
			}
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		return nil
	})
}
