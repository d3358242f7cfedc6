package app

import (
	"context"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb"
)

const (
	// startPatience is how long a start waits for a database that does not answer: a
	// replica that is replaced during a failover must not depend on who restarts it.
	startPatience = time.Minute
	// startAgain is how long it waits between two tries.
	startAgain = time.Second
)

// OpenDatabase opens the database that the configuration names. It does not migrate.
func OpenDatabase(ctx context.Context, cfg config.Config) (*sqldb.DB, error) {
	return sqldb.Open(ctx, cfg.Database.URL, databaseOptions(cfg))
}

func databaseOptions(cfg config.Config) sqldb.Options {
	return sqldb.Options{MaxConnections: cfg.Database.MaxConnections, Password: cfg.Database.Password.Reveal()}
}

// awaitDatabase opens the database, and waits for a server that does not answer
// yet. A file is there or it is not.
func awaitDatabase(ctx context.Context, cfg config.Config, log zerolog.Logger) (*sqldb.DB, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for told := false; ; told = true {
		db, err := OpenDatabase(ctx, cfg)
		if err == nil || fault.KindOf(err) != fault.Unavailable || strings.HasPrefix(cfg.Database.URL, "sqlite:") {
			return db, err
		}
		if !told {
			log.Warn().Err(err).Msg("the database does not answer: waiting for it")
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(startAgain):
		}
	}
}
