package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/terminal"
)

// errDeclined ends a command whose question was not answered with the word.
var errDeclined = errors.New("nothing was done")

// yesFlag lets a command go on without its question.
func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask, as a script must")
}

// confirm asks whether to go on, which a word says that must be typed. Where nobody can be asked,
// --yes must have been given.
func (c *cli) confirm(ctx context.Context, yes bool, question, word string) error {
	if yes {
		return nil
	}
	if !terminal.IsTerminal(c.stdin) || !c.errs().IsTerminal() {
		return usagef("this asks before it goes on, and there is no terminal to ask at: give --yes")
	}
	fmt.Fprintf(c.stderr, "%s\nType %s to go on: ", question, word)
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	// A read from a terminal cannot be interrupted; the process ends when it is asked to.
	go func() {
		text, err := bufio.NewReader(c.stdin).ReadString('\n')
		read <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(c.stderr)
		return errDeclined
	case got := <-read:
		if got.err != nil {
			fmt.Fprintln(c.stderr)
			return errDeclined
		}
		if strings.TrimSpace(got.text) != word {
			return errDeclined
		}
		return nil
	}
}
