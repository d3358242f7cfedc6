package sqldb

import (
	"context"
	"fmt"

	"github.com/pressly/goose/v3"

	"github.com/bugle-push/bugle/migrations"
)

// Migrate brings the schema to the newest version that this binary knows and
// returns the versions that it applied. Running it again changes nothing.
func Migrate(ctx context.Context, db *DB) ([]int64, error) {
	provider, err := newProvider(db)
	if err != nil {
		return nil, err
	}
	results, err := provider.Up(ctx)
	applied := make([]int64, 0, len(results))
	for _, r := range results {
		applied = append(applied, r.Source.Version)
	}
	if err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	return applied, nil
}

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string
	Applied bool
}

// MigrationStatus lists every migration that this binary knows, oldest first.
func MigrationStatus(ctx context.Context, db *DB) ([]Migration, error) {
	provider, err := newProvider(db)
	if err != nil {
		return nil, err
	}
	status, err := provider.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read migration status: %w", err)
	}
	out := make([]Migration, 0, len(status))
	for _, s := range status {
		out = append(out, Migration{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied})
	}
	return out, nil
}

func newProvider(db *DB) (*goose.Provider, error) {
	provider, err := goose.NewProvider(goose.DialectSQLite3, db.write, migrations.SQLite())
	if err != nil {
		return nil, fmt.Errorf("load migrations: %w", err)
	}
	return provider, nil
}
