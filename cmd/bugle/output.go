package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/terminal"
)

// outputForm is how a command prints data: for people or for programs.
type outputForm string

// The forms.
const (
	outputTable outputForm = "table"
	outputJSON  outputForm = "json"
)

// outputForms are what --output takes. The first commands that had it called the table "text".
func outputForms() []string { return []string{string(outputTable), string(outputJSON)} }

// Set reads the flag.
func (o *outputForm) Set(text string) error {
	switch text {
	case string(outputTable), "text":
		*o = outputTable
	case string(outputJSON):
		*o = outputJSON
	default:
		return fmt.Errorf("wants %s or %s", outputTable, outputJSON)
	}
	return nil
}

// String is what Set reads.
func (o *outputForm) String() string { return string(*o) }

// Type names the flag's value in help texts.
func (*outputForm) Type() string { return "form" }

// flag adds --output to a command that prints data.
func (o *outputForm) flag(cmd *cobra.Command) {
	*o = outputTable
	cmd.Flags().VarP(o, "output", "o", "table, for people, or json, for programs")
	complete(cmd, "output", outputForms()...)
}

// complete offers the values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// It fails for a flag that does not exist, or twice: a mistake that each start would show.
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}

// out is standard output with the colours that are wanted.
func (c *cli) out() *terminal.Screen { return terminal.NewScreen(c.stdout, c.color, c.environ) }

// errs is standard error, where what is not data goes: questions, progress, explanations.
func (c *cli) errs() *terminal.Screen { return terminal.NewScreen(c.stderr, c.color, c.environ) }

// print writes data in the form that is asked for.
func (c *cli) print(form outputForm, v any, people func(*terminal.Screen) error) error {
	if form != outputJSON {
		return people(c.out())
	}
	enc := json.NewEncoder(c.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// at writes a time for people.
func at(t time.Time) string { return t.UTC().Format(time.DateTime + " MST") }

// maybeAt writes a time that may not be known.
func maybeAt(t *time.Time) string {
	if t == nil {
		return ""
	}
	return at(*t)
}

// inBrackets writes what adds to a word, where there is any.
func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}
