package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/terminal"
	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/ksqlclient/ksqlmigrate"
	"github.com/bugle-push/bugle/migrations"
)

// ksqlOptions are the flags of migrate ksqldb.
type ksqlOptions struct {
	dir      string
	defines  map[string]string
	replicas int

	apply  ksqlmigrate.Options
	dryRun bool
}

func (c *cli) migrateKSQL() *cobra.Command {
	var o ksqlOptions
	cmd := &cobra.Command{
		Use:   "ksqldb",
		Short: "Create the streams and tables in ksqlDB that the built-in rules read",
		Long: strings.TrimSpace(`
The built-in rules read views in ksqlDB. These commands create them from files of
statements that come with Bugle, or from your own (--dir), in order and once:

  V000001  settled bets and upcoming races, from the topics settlements and races
  V000002  bets, each accepted or rejected once, from the topic bets
  V000003  order book, pool and odds, into the topic odds
  V000004  results, which settle the bets (leave it out if something else does)

What has been applied stands in ksqlDB, in the stream MIGRATION_EVENTS and the
table MIGRATION_SCHEMA_VERSIONS, as Confluent's ksql-migrations keeps it: either
tool can go on where the other one stopped.

They need ksqldb.url, and the account there must be allowed to create streams,
tables and topics, which the service itself need not be. docs/ksqldb.md explains
each view and how to move an app that exists.`),
		Example: `  bugle migrate ksqldb status --config bugle.yaml
  bugle migrate ksqldb apply --dry-run --config bugle.yaml
  bugle migrate ksqldb apply --config bugle.yaml`,
	}
	cmd.PersistentFlags().StringVar(&o.dir, "dir", "", "a folder of your own files V<six digits>__<name>.sql, instead of Bugle's")
	cmd.PersistentFlags().StringToStringVarP(&o.defines, "define", "d", nil, "name=value of a variable ${name}; it holds even where a file DEFINEs another")
	return group(cmd, c.ksqlStatus(&o), c.ksqlApply(&o))
}

func (c *cli) ksqlStatus(o *ksqlOptions) *cobra.Command {
	var form outputForm
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the files and whether they were applied; creates nothing",
		Long: strings.TrimSpace(`
Lists each file with its state:

  pending   not applied yet
  migrated  applied
  error     a statement failed; the reason is below. apply begins it again
  running   being applied, or a run was stopped in the middle (see apply --help)
  changed   applied, but the file has changed since: apply refuses to go on
  skipped   never applied, because a later version has been`),
		Example: "  bugle migrate ksqldb status --config bugle.yaml\n  bugle migrate ksqldb status --config bugle.yaml --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withMigrator(*o, func(m *ksqlmigrate.Migrator) error {
				list, err := m.Status(cmd.Context())
				if err != nil {
					return err
				}
				files := make([]ksqlFile, 0, len(list))
				for _, s := range list {
					files = append(files, ksqlFileOf(s))
				}
				return c.print(form, map[string]any{"files": files}, func(s *terminal.Screen) error { return writeKSQLFiles(s, files) })
			})
		},
	}
	form.flag(cmd)
	return cmd
}

// ksqlFile is a file as migrate ksqldb status prints it for programs.
type ksqlFile struct {
	Version int        `json:"version"`
	Name    string     `json:"name"`
	State   string     `json:"state"`
	At      *time.Time `json:"at"`      // when it was applied, or begun; null: never
	Missing bool       `json:"missing"` // it was applied, and there is no file of it
	Reason  string     `json:"reason,omitempty"`
}

func ksqlFileOf(s ksqlmigrate.Status) ksqlFile {
	f := ksqlFile{Version: s.Version, Name: s.Name, State: strings.ToLower(string(s.State)), Missing: s.File == ""}
	switch {
	case s.Changed:
		f.State = "changed"
	case s.Skipped:
		f.State = "skipped"
	}
	if s.Record == nil {
		return f
	}
	f.At = &s.Record.CompletedOn
	if f.At.IsZero() {
		f.At = &s.Record.StartedOn
	}
	if s.State == ksqlmigrate.Failed {
		f.Reason = s.Record.Reason
	}
	return f
}

func writeKSQLFiles(s *terminal.Screen, files []ksqlFile) error {
	t := terminal.NewTable(s, "STATE", "VERSION", "NAME", "AT")
	for _, f := range files {
		name := f.Name
		if f.Missing {
			name += " (there is no file)"
		}
		when := ""
		if f.At != nil {
			when = f.At.Format(time.DateTime + " MST")
		}
		t.Row(f.State, fmt.Sprintf("%06d", f.Version), name, when)
		switch f.State {
		case "migrated":
			t.Style(0, terminal.Green)
		case "error", "changed":
			t.Style(0, terminal.Red)
		default:
			t.Style(0, terminal.Yellow)
		}
	}
	if err := t.Write(); err != nil {
		return err
	}
	for _, f := range files {
		if f.Reason != "" {
			fmt.Fprintf(s, "\n%06d: %s\n", f.Version, f.Reason)
		}
	}
	return nil
}

func (c *cli) ksqlApply(o *ksqlOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Apply every file that is missing",
		Long: strings.TrimSpace(`
Applies the files that are missing, in order, one statement after the other, and
waits for each until the server has done it. Nothing is undone after a failure:
mend the cause and run it again. The file that failed begins again, and its
statements pass over what exists.

A file that has been applied must not change; write a new one. Only one run at a
time: ksqlDB has no lock, so a second run is noticed but may have run a statement.

If a run was killed in the middle, its file stays marked as running. Make sure
that no other run is at work (bugle migrate ksqldb status says since when it is),
and run it again with --take-over.

--dry-run prints the statements and sends none, but asks what has been applied.`),
		Example: `  bugle migrate ksqldb apply --dry-run --config bugle.yaml
  bugle migrate ksqldb apply --config bugle.yaml
  bugle migrate ksqldb apply --until 3 --config bugle.yaml              # something else settles the bets
  bugle migrate ksqldb apply --define odds_tolerance=0.1 --config bugle.yaml
  bugle migrate ksqldb apply --replicas 3 --config bugle.yaml           # the first time on Confluent Cloud`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withMigrator(*o, func(m *ksqlmigrate.Migrator) error {
				if o.dryRun {
					return c.planKSQL(cmd.Context(), m, *o)
				}
				return c.applyKSQL(cmd.Context(), m, *o)
			})
		},
	}
	cmd.Flags().IntVar(&o.apply.Until, "until", 0, "the last version to apply")
	cmd.Flags().BoolVar(&o.apply.Next, "next", false, "apply one file only")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print what would be sent, and send nothing")
	cmd.Flags().BoolVar(&o.apply.TakeOver, "take-over", false, "begin again a file that is marked as running, because its run was stopped")
	cmd.Flags().IntVar(&o.replicas, "replicas", 1, "replicas of the metadata's two topics, when they are created")
	cmd.MarkFlagsMutuallyExclusive("until", "next")
	return cmd
}

// withMigrator connects, and explains what a person can do about a failure.
func (c *cli) withMigrator(o ksqlOptions, do func(*ksqlmigrate.Migrator) error) error {
	report := c.reportKSQL
	if screen := c.errs(); screen.IsTerminal() && !o.dryRun {
		bar := terminal.NewProgress(terminal.ProgressConfig{Screen: screen, Title: "asking ksqlDB", Noun: "statements"})
		defer bar.End()
		report = func(e ksqlmigrate.Event) {
			bar.Beside(func() { c.reportKSQL(e) })
			bar.Describe(fmt.Sprintf("applying %06d", e.Migration.Version))
			if e.Number > 0 {
				bar.Add(1)
			}
		}
	}
	cfg, err := c.load(config.NeedKSQLDB)
	if err != nil {
		return err
	}
	client, err := app.NewKSQLClient(cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	m, err := ksqlmigrate.New(ksqlmigrate.Config{
		Client: client, Files: ksqlFiles(o.dir), Defines: o.defines, Replicas: o.replicas, Report: report,
	})
	if err != nil {
		return err
	}
	err = do(m)
	if hint := ksqlHint(err); hint != "" {
		return fmt.Errorf("%w\n\n%s", err, hint)
	}
	return err
}

func ksqlFiles(dir string) fs.FS {
	if dir == "" {
		return migrations.KSQLDB()
	}
	return os.DirFS(dir)
}

// ksqlHint says what to do.
func ksqlHint(err error) string {
	switch _, failed := errors.AsType[*ksqlmigrate.StatementError](err); {
	case errors.Is(err, ksqlmigrate.ErrRunning):
		return "Another run may be at work: wait, and look again (bugle migrate ksqldb status).\n" +
			"If it was stopped in the middle, begin that file again: bugle migrate ksqldb apply --take-over"
	case errors.Is(err, ksqlmigrate.ErrConcurrent):
		return "Two runs at once. Let the other one end, then look what is missing: bugle migrate ksqldb status"
	case errors.Is(err, ksqlmigrate.ErrChanged):
		return "Applied files stay as they are: put the file back and write the change as a new version."
	case errors.Is(err, ksqlmigrate.ErrLag):
		return "Look at the queries of the server (SHOW QUERIES;), then run the command again."
	case failed:
		return "Mend the cause and run the command again: the file begins anew, and its statements pass over what exists."
	case errors.Is(err, ksqlclient.ErrUnauthorized), errors.Is(err, ksqlclient.ErrForbidden):
		return "Give a key that may create streams, tables and topics (ksqldb.username, ksqldb.password_file)."
	}
	return ""
}

func (c *cli) reportKSQL(e ksqlmigrate.Event) {
	switch {
	case e.Done:
		fmt.Fprintf(c.stdout, "migrated %06d\n", e.Migration.Version)
	case e.Number == 0:
		fmt.Fprintf(c.stdout, "applying %06d %s\n", e.Migration.Version, e.Migration.Name)
	case e.Existed:
		fmt.Fprintf(c.stdout, "  %d/%d %s: exists already\n", e.Number, e.Of, e.Headline())
	default:
		fmt.Fprintf(c.stdout, "  %d/%d %s\n", e.Number, e.Of, e.Headline())
	}
}

func (c *cli) applyKSQL(ctx context.Context, m *ksqlmigrate.Migrator, o ksqlOptions) error {
	applied, err := m.Apply(ctx, o.apply)
	if err == nil && len(applied) == 0 {
		fmt.Fprintln(c.stdout, "nothing to do")
	}
	return err
}

func (c *cli) planKSQL(ctx context.Context, m *ksqlmigrate.Migrator, o ksqlOptions) error {
	plan, err := m.Plan(ctx, o.apply)
	if err != nil {
		return err
	}
	for _, f := range plan {
		statements, err := f.Statements(o.defines)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "would apply %06d %s\n\n", f.Version, f.Name)
		for _, s := range statements {
			fmt.Fprintf(c.stdout, "%s\n\n", s.SQL)
		}
	}
	fmt.Fprintf(c.stdout, "%d files to apply. Nothing was sent.\n", len(plan))
	return nil
}
