package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/terminal"
)

func (c *cli) migrate() *cobra.Command {
	return group(&cobra.Command{
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
	}, c.migrateUp(), c.migrateStatus(), c.migrateKSQL())
}

// appliedSteps is what migrate up prints for programs.
type appliedSteps struct {
	Applied []int64 `json:"applied"`
}

func (c *cli) migrateUp() *cobra.Command {
	var form outputForm
	cmd := &cobra.Command{
		Use: "up", Short: "Apply every step of the schema that is missing", Args: cobra.NoArgs,
		Long: strings.TrimSpace(`
Steps may take long on a large database. On PostgreSQL one process at a time applies them;
another one waits.`),
		Example: "  bugle migrate up --config bugle.yaml\n  bugle migrate up --config bugle.yaml --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withDatabase(cmd.Context(), func(ctx context.Context, db *sqldb.DB) error {
				done := appliedSteps{Applied: []int64{}}
				err := c.applySteps(ctx, db, form, &done)
				if form == outputJSON {
					return errors.Join(err, c.print(form, done, nil))
				}
				if err == nil && len(done.Applied) == 0 {
					fmt.Fprintln(c.stdout, "nothing to do")
				}
				return err
			})
		},
	}
	form.flag(cmd)
	return cmd
}

// applySteps applies one step after the other, and tells each.
func (c *cli) applySteps(ctx context.Context, db *sqldb.DB, form outputForm, done *appliedSteps) error {
	current, newest, err := sqldb.Versions(ctx, db)
	if err != nil {
		return err
	}
	bar := terminal.NewProgress(terminal.ProgressConfig{Screen: c.errs(), Title: "migrating", Total: max(0, newest-current), Noun: "steps"})
	defer bar.End()
	return sqldb.MigrateEach(ctx, db, func(version int64) {
		done.Applied = append(done.Applied, version)
		if form != outputJSON {
			bar.Beside(func() { fmt.Fprintf(c.stdout, "applied %05d\n", version) })
		}
		bar.Add(1)
	})
}

// schemaStep is a step as migrate status prints it for programs.
type schemaStep struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

func (c *cli) migrateStatus() *cobra.Command {
	var form outputForm
	cmd := &cobra.Command{
		Use: "status", Short: "List the steps of the schema and whether they were applied", Args: cobra.NoArgs,
		Example: "  bugle migrate status --config bugle.yaml\n  bugle migrate status --config bugle.yaml --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withDatabase(cmd.Context(), func(ctx context.Context, db *sqldb.DB) error {
				found, err := sqldb.MigrationStatus(ctx, db)
				if err != nil {
					return err
				}
				steps := make([]schemaStep, 0, len(found))
				for _, s := range found {
					steps = append(steps, schemaStep{Version: s.Version, Name: s.Name, Applied: s.Applied})
				}
				return c.print(form, map[string]any{"steps": steps}, func(s *terminal.Screen) error {
					t := terminal.NewTable(s, "STATE", "VERSION", "NAME")
					for _, step := range steps {
						state, style := "missing", terminal.Yellow
						if step.Applied {
							state, style = "applied", terminal.Green
						}
						t.Row(state, fmt.Sprintf("%05d", step.Version), step.Name)
						t.Style(0, style)
					}
					return t.Write()
				})
			})
		},
	}
	form.flag(cmd)
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
