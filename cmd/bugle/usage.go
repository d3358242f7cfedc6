package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// usageError is a command that was not called as it wants to be.
type usageError struct{ text string }

// Error says what is wrong.
func (u *usageError) Error() string { return u.text }

func usagef(format string, args ...any) error { return &usageError{text: fmt.Sprintf(format, args...)} }

// The groups of the help.
const (
	groupService = "service"
	groupPeople  = "operate"
	groupShell   = "shell"
)

// group makes a command that only holds others: alone it shows its help, and a word that is none
// of them is an error, for which cobra would show the help as if all were well.
func group(cmd *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subcommands...)
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text += ": did you mean " + strings.Join(near, " or ") + "?"
		}
		return usagef("%s", text)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// teach writes how a command that was called wrongly is called.
func (c *cli) teach(cmd *cobra.Command) {
	if cmd == nil || !cmd.HasParent() {
		fmt.Fprintln(c.stderr, "\nRun 'bugle help' for the commands.")
		return
	}
	fmt.Fprintf(c.stderr, "\nUsage:\n  %s\n", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
	if cmd.HasExample() {
		fmt.Fprintf(c.stderr, "\nExamples:\n%s\n", cmd.Example)
	}
	fmt.Fprintf(c.stderr, "\nRun 'bugle help %s' for all of it.\n", strings.TrimPrefix(cmd.CommandPath(), "bugle "))
}
