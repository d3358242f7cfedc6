package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/sqldb"
)

func (c *cli) migrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema or ksqlDB's views up to date, or look at them",
		Long: strings.TrimSpace(`
The service migrates its database at each start; up and status do it apart
from that, for instance before a new version is rolled out. Steps only ever go
forward: make a copy of the database before a new version if you may want to go
back.

The views in ksqlDB are another matter, which the service never touches: see
bugle migrate ksqldb --help.`),
		Example: `  bugle migrate status --config bugle.yaml
  BUGLE_DATABASE_URL=postgres://bugle@db/bugle bugle migrate up
  bugle migrate ksqldb apply --config bugle.yaml`,
	}
	cmd.AddCommand(
		c.migrateKSQL(),
		&cobra.Command{
			Use: "up", Short: "Apply every step that is missing", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return c.withDatabase(cmd.Context(), func(ctx context.Context, db *sqldb.DB) error {
					applied, err := sqldb.Migrate(ctx, db)
					for _, version := range applied {
						fmt.Fprintf(c.stdout, "applied %05d\n", version)
					}
					if err == nil && len(applied) == 0 {
						fmt.Fprintln(c.stdout, "nothing to do")
					}
					return err
				})
			},
		},
		&cobra.Command{
			Use: "status", Short: "List the steps and whether they were applied", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return c.withDatabase(cmd.Context(), func(ctx context.Context, db *sqldb.DB) error {
					steps, err := sqldb.MigrationStatus(ctx, db)
					for _, s := range steps {
						state := "missing"
						if s.Applied {
							state = "applied"
						}
						fmt.Fprintf(c.stdout, "%-8s %05d %s\n", state, s.Version, s.Name)
					}
					return err
				})
			},
		},
	)
	return cmd
}

func (c *cli) withDatabase(ctx context.Context, do func(context.Context, *sqldb.DB) error) (err error) {
	cfg, err := c.load(config.NeedDatabase)
	if err != nil {
		return err
	}
	db, err := app.OpenDatabase(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := db.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close database: %w", closeErr)
		}
	}()
	return do(ctx, db)
}
