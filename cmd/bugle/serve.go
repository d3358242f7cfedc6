package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/config"
)

func (c *cli) serve() *cobra.Command {
	var (
		check, printConfig bool
		form               outputForm
	)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: strings.TrimSpace(`
Runs the service until it is asked to stop (SIGINT or SIGTERM): then it takes
no more requests and ticks, finishes and records what is in flight, and ends.
A second signal ends it at once; what was in flight is then tried again at the
next start.

Rules are read again when their file changes and on SIGHUP: all of them are put
in force without a restart, or none when anything is wrong with them.

The database is migrated at the start.

--check makes no such start. It asks the database, ksqlDB (each rule's query,
with its columns and types), FCM, Ably, the issuer's keys and the clocks, prints
everything that is wrong with how to mend it, and exits with 1 when anything
would keep the service from working. It sends and changes nothing.`),
		Example: `  bugle serve --config /etc/bugle/bugle.yaml
  BUGLE_CONFIG=/etc/bugle/bugle.yaml BUGLE_LOG_LEVEL=debug bugle serve
  bugle serve --config bugle.yaml --check
  bugle serve --config bugle.yaml --check --output json
  bugle serve --config bugle.yaml --print-config`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load(config.Service()...)
			switch {
			case err != nil:
				return err
			case printConfig:
				return c.printConfig(cfg)
			case check:
				return c.check(cmd.Context(), cfg, form)
			}
			return c.run(cmd.Context(), cfg)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "ask every backend, say what is wrong and how to mend it, and stop")
	cmd.Flags().BoolVar(&printConfig, "print-config", false, "print the configuration in force, without secrets, and stop")
	form.flag(cmd)
	cmd.MarkFlagsMutuallyExclusive("check", "print-config")
	return cmd
}

// printConfig prints what would be in force and compiles the rules.
func (c *cli) printConfig(cfg config.Config) error {
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

// check asks every backend and prints what is wrong.
func (c *cli) check(ctx context.Context, cfg config.Config, form outputForm) error {
	report := app.Preflight(ctx, cfg, time.Now)
	write := report.WriteText
	if form == outputJSON {
		write = report.WriteJSON
	}
	if err := write(c.stdout); err != nil {
		return err
	}
	if !report.OK {
		return errors.New("the service is not fit to run; every finding says how to mend it")
	}
	return nil
}

func (c *cli) run(ctx context.Context, cfg config.Config) error {
	// A hang-up asks for the rules to be read again, which logs what came of it. One that comes
	// while the service is still opening must not end it.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	service, err := app.New(ctx, cfg, newLogger(cfg.Log, c.stderr))
	if err != nil {
		return err
	}
	var reloads sync.WaitGroup
	defer reloads.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reloads.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				_ = service.Reload(ctx)
			}
		}
	})
	return service.Run(ctx)
}

func newLogger(cfg config.Log, w io.Writer) zerolog.Logger {
	if cfg.Format == config.FormatConsole {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000"}
	}
	return zerolog.New(w).Level(cfg.Level).With().Timestamp().Logger()
}
