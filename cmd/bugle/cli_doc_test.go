package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// commandTree is every command that can be called, as a shell would find them.
func commandTree() (root *cobra.Command, all []*cobra.Command) {
	root = (&cli{stdout: io.Discard, stderr: io.Discard}).root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if !sub.Hidden {
				all = append(all, sub)
				walk(sub)
			}
		}
	}
	walk(root)
	return root, all
}

func flagTable(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name += ", `-" + f.Shorthand + "`"
		}
		usage := strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(f.Usage)
		switch f.DefValue {
		case "", "0", "false", "[]":
		default:
			usage += " (default `" + f.DefValue + "`)"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", name, usage)
	})
	if b.Len() == 0 {
		return ""
	}
	return "\n| flag | |\n|---|---|\n" + b.String()
}

// reference writes every command with its flags.
func reference() string {
	root, all := commandTree()
	var b strings.Builder
	fmt.Fprintf(&b, "Every command has `--help`, and these:\n%s", flagTable(root.PersistentFlags()))
	for _, cmd := range all {
		fmt.Fprintf(&b, "\n### %s\n\n`%s`: %s.\n%s", cmd.CommandPath(), strings.TrimSuffix(cmd.UseLine(), " [flags]"), cmd.Short, flagTable(cmd.LocalNonPersistentFlags()))
		if cmd.HasPersistentFlags() {
			fmt.Fprintf(&b, "\nFor the commands below it as well:\n%s", flagTable(cmd.PersistentFlags()))
		}
	}
	return b.String()
}

const commandsHeading = "\n## Commands\n\n"

// docs/cli.md names every command and flag, as the help does. After a change:
// go test ./cmd/bugle -run TestTheCommandsAreDocumented -update.
func TestTheCommandsAreDocumented(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "docs", "cli.md")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	before, found, ok := strings.Cut(string(text), commandsHeading)
	require.True(t, ok, "docs/cli.md has the heading Commands")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+commandsHeading+reference()), 0o600))
		return
	}
	require.Equal(t, reference(), found, "run the test with -update")
}

func TestEveryCommandTeaches(t *testing.T) {
	t.Parallel()
	root, all := commandTree()
	require.Greater(t, len(all), 30)
	for _, cmd := range root.Commands() {
		require.NotEmpty(t, cmd.GroupID, "%s stands in no group of the help", cmd.Name())
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	require.NoError(t, err)
	before, _, _ := strings.Cut(string(text), commandsHeading)
	_, table, ok := strings.Cut(before, "\n## JSON\n")
	require.True(t, ok)
	for _, cmd := range append(all, root) {
		path := cmd.CommandPath()
		if cmd.Name() == "help" || strings.HasPrefix(path, "bugle completion") {
			continue // cobra's own
		}
		require.NotEmpty(t, cmd.Short, path)
		require.False(t, strings.HasSuffix(cmd.Short, "."), path)
		require.Contains(t, cmd.Example, path, "the examples of %s show it", path)
		if f := cmd.LocalNonPersistentFlags().Lookup("output"); f != nil {
			require.Contains(t, table, "`"+strings.TrimPrefix(path, "bugle ")+"`", "what %s prints as JSON is documented", path)
		}
		for line := range strings.Lines(cmd.Example) {
			require.True(t, strings.HasPrefix(line, "  "), "%s: %q", path, line)
			require.Less(t, len(line), 130, "%s: %q", path, line)
			// A line is copied as a whole: what explains it must not become its arguments.
			typed, _, _ := strings.Cut(strings.TrimSpace(line), " # ")
			require.NotContains(t, strings.TrimSpace(typed), "  ", "%s: %q", path, line)
			require.NotContains(t, typed, "#", "%s: %q", path, line)
		}
	}
}
