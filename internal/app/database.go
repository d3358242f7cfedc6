package app

import (
	"context"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/sqldb"
)

// OpenDatabase opens the database that the configuration names. It does not migrate.
func OpenDatabase(ctx context.Context, cfg config.Config) (*sqldb.DB, error) {
	return sqldb.Open(ctx, cfg.Database.URL, databaseOptions(cfg))
}

func databaseOptions(cfg config.Config) sqldb.Options {
	return sqldb.Options{MaxConnections: cfg.Database.MaxConnections, Password: cfg.Database.Password.Reveal()}
}
