package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/config"
)

func (c *cli) serve() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: strings.TrimSpace(`
Runs the service until it is asked to stop (SIGINT or SIGTERM): then it takes
no more requests and ticks, finishes and records what is in flight, and ends.
A second signal ends it at once; what was in flight is then tried again at the
next start.

The database is migrated at the start.`),
		Example: `  bugle serve --config /etc/bugle/bugle.yaml
  BUGLE_CONFIG=/etc/bugle/bugle.yaml BUGLE_LOG_LEVEL=debug bugle serve
  bugle serve --config bugle.yaml --check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load(config.Service()...)
			if err != nil {
				return err
			}
			if check {
				return c.check(cfg)
			}
			return c.run(cmd.Context(), cfg)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "print the configuration in force, without secrets, and stop")
	return cmd
}

// check prints what would be in force and compiles the rules.
func (c *cli) check(cfg config.Config) error {
	rules, err := app.Rules(cfg)
	if err != nil {
		return err
	}
	text, err := cfg.YAML()
	if err != nil {
		return err
	}
	fmt.Fprint(c.stdout, text)
	fmt.Fprintf(c.stderr, "the configuration is valid, with %d rules; no backend was asked\n", len(rules.All()))
	return nil
}

func (c *cli) run(ctx context.Context, cfg config.Config) error {
	service, err := app.New(ctx, cfg, newLogger(cfg.Log, c.stderr))
	if err != nil {
		return err
	}
	return service.Run(ctx)
}

func newLogger(cfg config.Log, w io.Writer) zerolog.Logger {
	if cfg.Format == config.FormatConsole {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000"}
	}
	return zerolog.New(w).Level(cfg.Level).With().Timestamp().Logger()
}
