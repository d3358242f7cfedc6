package sqldb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/bugle-push/bugle/migrations"
)

// Migrate brings the schema to the newest version that this binary knows and
// returns the versions that it applied. Running it again changes nothing, and
// neither does running it beside a newer binary that has gone further.
//
// A database that does not answer at the start is an Unavailable fault; a step
// itself takes as long as it takes.
//
// On PostgreSQL an advisory lock lets one of several replicas that start at once
// do the work; the others wait for it.
func Migrate(ctx context.Context, db *DB) (applied []int64, err error) {
	current, newest, err := Versions(ctx, db)
	if err != nil {
		return nil, err
	}
	if current >= newest {
		return nil, nil // no lock is worth waiting for
	}
	err = withProvider(ctx, db, func(provider *goose.Provider) error {
		results, err := provider.Up(ctx)
		for _, r := range results {
			applied = append(applied, r.Source.Version)
		}
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		return nil
	})
	return applied, err
}

// MigrateEach does what Migrate does, one step after the other, and tells each that was applied.
// A step of another process in between is passed over.
func MigrateEach(ctx context.Context, db *DB, applied func(version int64)) error {
	current, newest, err := Versions(ctx, db)
	if err != nil || current >= newest {
		return err
	}
	return withProvider(ctx, db, func(provider *goose.Provider) error {
		for {
			result, err := provider.UpByOne(ctx)
			switch {
			case errors.Is(err, goose.ErrNoNextVersion):
				return nil
			case err != nil:
				return fmt.Errorf("migrate: %w", err)
			}
			applied(result.Source.Version)
		}
	})
}

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string
	Applied bool
}

// MigrationStatus lists every migration that this binary knows, oldest first.
func MigrationStatus(ctx context.Context, db *DB) (out []Migration, err error) {
	err = withProvider(ctx, db, func(provider *goose.Provider) error {
		status, err := provider.Status(ctx)
		if err != nil {
			return fmt.Errorf("read migration status: %w", err)
		}
		for _, s := range status {
			out = append(out, Migration{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied})
		}
		return nil
	})
	return out, err
}

// withProvider lends what runs migrations.
func withProvider(ctx context.Context, db *DB, do func(*goose.Provider) error) (err error) {
	handle, dialect, files := db.write, goose.DialectSQLite3, migrations.SQLite()
	var options []goose.ProviderOption
	if db.dialect.Name == namePostgres {
		if handle, err = db.unbounded(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, handle.Close()) }()
		// Asked for once a second, for ten minutes: another replica's step may take that long.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 600))
		if err != nil {
			return fmt.Errorf("make lock of migrations: %w", err)
		}
		dialect, files, options = goose.DialectPostgres, migrations.Postgres(), []goose.ProviderOption{goose.WithSessionLocker(locker)}
	}
	provider, err := goose.NewProvider(dialect, handle, files, options...)
	if err != nil {
		return fmt.Errorf("load migrations: %w", err)
	}
	return do(provider)
}

// newestKnown is the newest version that this binary knows.
func (db *DB) newestKnown() (newest int64, err error) {
	files := migrations.SQLite()
	if db.dialect.Name == namePostgres {
		files = migrations.Postgres()
	}
	steps, err := fs.Glob(files, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("list migrations: %w", err)
	}
	for _, name := range steps {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return 0, fmt.Errorf("list migrations: %w", err)
		}
		newest = max(newest, version)
	}
	return newest, nil
}
