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
	"github.com/bugle-push/bugle/internal/terminal"
)

// version is set by the linker where the repository is not at hand, in the image.
var version string

// Exit codes. docs/cli.md tells them.
const (
	exitOK = 0
	// exitFailure: it did not work, or was not done because the answer to a question was no.
	exitFailure = 1
	// exitUsage: the command was not called as it wants to be, and nothing was done.
	exitUsage = 2
)

// stdio is what a process reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// cli is what the commands share.
type cli struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
	configFile     string
	color          terminal.Color
	badConfig      bool
	transport      http.RoundTripper // of calls of the admin API; nil is the usual one
	started        bool              // a command has been chosen and its flags and arguments are right
}

// run is the whole program; main adds the process around it.
func run(ctx context.Context, args, environ []string, std stdio) int {
	c := &cli{environ: environ, stdin: std.in, stdout: std.out, stderr: std.err}
	return c.execute(ctx, args)
}

func (c *cli) execute(ctx context.Context, args []string) int {
	root := c.root()
	root.SetArgs(args)
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	called, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	c.explain(err)
	if c.badConfig {
		fmt.Fprint(c.stderr, "\nGive them in a YAML file (--config FILE) or as environment variables;\n"+
			"'bugle help config' explains every key. No account at hand? go run ./cmd/sandbox\n")
	}
	if _, wrong := errors.AsType[*usageError](err); wrong || !c.started {
		c.teach(called)
		return exitUsage
	}
	return exitFailure
}

// explain writes an error for a person: one line for each thing that is wrong.
func (c *cli) explain(err error) {
	errs := terminal.Harmless(c.stderr) // the words may be of a service, or of rows
	fe, ok := errors.AsType[*fault.Error](err)
	if !ok || len(fe.Fields) == 0 {
		fmt.Fprintln(errs, "bugle:", err)
		return
	}
	fmt.Fprintf(errs, "bugle: %s:\n\n", fe.Message)
	for _, f := range fe.Fields {
		path := f.Path
		if path != "" {
			path += ": "
		}
		fmt.Fprintf(errs, "  %s%s\n", path, f.Message)
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
		Example: `  bugle serve --config bugle.yaml          # run the service
  bugle serve --config bugle.yaml --check  # everything that is wrong, and how to mend it
  bugle migrate ksqldb apply -c bugle.yaml # create the views in ksqlDB that the built-in rules read
  bugle rules > rules.yaml                 # a copy of the built-in rules to change
  bugle rules check rules.yaml             # everything that is wrong with it
  bugle admin-token --name alice           # a token for the admin API: keep it in ~/.bugle-token
  bugle rules list                         # how the rules of a running service stand
  bugle explain --user ann                 # what ann was told, and was not, and why
  bugle help config                        # every key and environment variable
  source <(bugle completion bash)          # commands, flags and ids by the Tab key`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateRequiredFlags(); err != nil {
				return err
			}
			if err := cmd.ValidateFlagGroups(); err != nil {
				return err
			}
			c.started = true
			return nil
		},
	}
	root.PersistentFlags().StringVarP(&c.configFile, "config", "c", "", "configuration file (BUGLE_CONFIG)")
	c.color = terminal.ColorAuto
	root.PersistentFlags().Var(&c.color, "color", "colour the output: auto (on a terminal, unless NO_COLOR is set), always or never")
	complete(root, "color", terminal.Colors()...)
	root.AddGroup(
		&cobra.Group{ID: groupService, Title: "The service, its configuration and its databases:"},
		&cobra.Group{ID: groupPeople, Title: "Looking after a running service, over its admin API:"},
		&cobra.Group{ID: groupShell, Title: "The shell:"},
	)
	in := func(id string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = id
		}
		root.AddCommand(commands...)
	}
	in(groupService, c.serve(), c.migrate(), c.rules(), c.adminToken(), configCommand())
	in(groupPeople, c.explainCommand(), c.runs(), c.sending(), c.requeue(), c.suppressions(), c.devices(), c.user(), c.audit(), c.presence())
	in(groupShell, c.versionCommand())
	root.SetHelpCommandGroupID(groupShell)
	root.SetCompletionCommandGroupID(groupShell)
	return root
}

func configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Every configuration key and environment variable",
		Long: "Keys stand in the YAML file that --config or BUGLE_CONFIG names; the variable beside\n" +
			"a key overrides it. Unknown keys and variables are errors.\n\n" + config.Help(),
		Example: "  bugle config | less\n  bugle serve --config bugle.yaml --print-config  # what is in force",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}
