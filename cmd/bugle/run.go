package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/fault"
)

// version is set by the linker where the repository is not at hand, in the image.
var version string

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// cli is what the commands share.
type cli struct {
	environ        []string
	stdout, stderr io.Writer
	configFile     string
	badConfig      bool
	transport      http.RoundTripper // of calls of the admin API; nil is the usual one
	started        bool              // a command has been chosen and its flags and arguments are right
}

// run is the whole program; main adds the process around it.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	c := &cli{environ: environ, stdout: stdout, stderr: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	c.explain(err)
	if c.badConfig {
		fmt.Fprint(stderr, "\nGive them in a YAML file (--config FILE) or as environment variables;\n"+
			"'bugle help config' explains every key. No account at hand? go run ./cmd/sandbox\n")
	}
	if !c.started {
		fmt.Fprintln(stderr, "\nRun 'bugle help' for the commands.")
		return exitUsage
	}
	return exitFailure
}

// explain writes an error for a person: one line for each thing that is wrong.
func (c *cli) explain(err error) {
	fe, ok := errors.AsType[*fault.Error](err)
	if !ok || len(fe.Fields) == 0 {
		fmt.Fprintln(c.stderr, "bugle:", err)
		return
	}
	fmt.Fprintf(c.stderr, "bugle: %s:\n\n", fe.Message)
	for _, f := range fe.Fields {
		path := f.Path
		if path != "" {
			path += ": "
		}
		fmt.Fprintf(c.stderr, "  %s%s\n", path, f.Message)
	}
}

// load reads the configuration for a command that needs these parts.
func (c *cli) load(needs ...config.Need) (config.Config, error) {
	cfg, err := config.Load(config.Options{File: c.configFile, Environ: c.environ, Needs: needs})
	if err != nil {
		c.badConfig = true
		return config.Config{}, fmt.Errorf("load configuration: %w", err)
	}
	return cfg, nil
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "bugle",
		Short: "Turn rows of ksqlDB into push notifications",
		Long: strings.TrimSpace(`
Bugle asks ksqlDB on a schedule, by rules, and tells the devices of the users
concerned through Firebase Cloud Messaging or Ably push, once for each version
of a row and never after it has expired.

Without an account at hand, try the sandbox, a whole world on one machine:
  go run ./cmd/sandbox`),
		Example: `  bugle serve --config bugle.yaml          run the service
  bugle serve --config bugle.yaml --check  everything that is wrong, and how to mend it
  bugle migrate ksqldb apply -c bugle.yaml create the views in ksqlDB that the built-in rules read
  bugle rules > rules.yaml                 a copy of the built-in rules to change
  bugle rules check rules.yaml             everything that is wrong with it
  bugle admin-token --name alice           a token for the admin API
  bugle explain --user ann --token-file T  what ann was told, and was not, and why
  bugle help config                        every key and environment variable`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { c.started = true },
	}
	root.PersistentFlags().StringVarP(&c.configFile, "config", "c", "", "configuration file (BUGLE_CONFIG)")
	root.AddCommand(c.serve(), c.migrate(), c.rules(), c.adminToken(), c.explainCommand(), c.versionCommand(), &cobra.Command{
		Use:   "config",
		Short: "Every configuration key and environment variable",
		Long: "Keys stand in the YAML file that --config or BUGLE_CONFIG names; the variable beside\n" +
			"a key overrides it. Unknown keys and variables are errors.\n\n" + config.Help(),
	})
	return root
}
