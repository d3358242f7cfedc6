package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/terminal"
)

func (c *cli) user() *cobra.Command {
	return group(&cobra.Command{
		Use:   "user",
		Short: "Hand out or erase what is stored about a user",
		Long: strings.TrimSpace(`
For the rights of the people whom the data is about. Both are in the audit, with your name and
how many rows there were of each kind. They ask the admin API of a running service.`),
		Example: `  bugle user export ann > ann.ndjson
  bugle user erase ann --reason "request 4711"`,
	}, c.userExport(), c.userErase())
}

func (c *cli) userExport() *cobra.Command {
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "export USER",
		Short: "Write all that is stored about a user to standard output",
		Long: strings.TrimSpace(`
One JSON record on each line, with its kind. Targets are shown as hashes. Exits with 1 when the
export was cut off: then what was written is not all of it.`),
		Example: `  bugle user export ann > ann.ndjson
  bugle user export ann | jq 'select(.kind == "notification") | .record'`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.stream(cmd.Context(), client, adminCall{method: http.MethodGet, path: pathOf("/admin/v1/users/%s/export", args[0])})
		},
	}
	client.flags(cmd.Flags())
	return cmd
}

func (c *cli) userErase() *cobra.Command {
	var (
		form   outputForm
		reason string
		yes    bool
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "erase USER",
		Short: "Erase what is stored about a user, for good",
		Long: strings.TrimSpace(`
Takes the user's devices out of use, cancels the pushes that are queued, and erases devices,
preferences, deliveries, attempts, read marks and presence. Notifications lose their row and
user, and bets that Kafka has lose their channel. Suppressions and the audit remain; what else
does is listed at the end.

It asks first: type the user's id. A script gives --yes. When something has to wait (a push
that is being sent, a bet that Kafka has not got) the rest is erased, the exit code is 1, and
the same command again erases what has waited.`),
		Example: `  bugle user erase ann --reason "request 4711"
  bugle user erase ann --reason "request 4711" --yes --output json`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			question := fmt.Sprintf("All that is stored about %s is erased, for good. Export it first where it must be handed out.", args[0])
			if err := c.confirm(cmd.Context(), yes, question, args[0]); err != nil {
				return err
			}
			bar := terminal.NewProgress(terminal.ProgressConfig{Screen: c.errs(), Title: "erasing, which may wait for what is being sent"})
			var e api.AdminErasure
			err := client.exchange(cmd.Context(), adminCall{
				method: http.MethodDelete, path: pathOf("/admin/v1/users/%s", args[0]), query: url.Values{"reason": {reason}},
			}, &e)
			bar.End()
			if err != nil {
				return err
			}
			if err := c.print(form, e, func(s *terminal.Screen) error { return writeErasure(s, e) }); err != nil {
				return err
			}
			if e.Waiting > 0 {
				return fmt.Errorf("%d rows have to wait, and what needs them was not erased yet: run the command again", e.Waiting)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit: the number of a request, not a text about the user (required)")
	_ = cmd.MarkFlagRequired("reason") // it has just been added
	yesFlag(cmd, &yes)
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func writeErasure(s *terminal.Screen, e api.AdminErasure) error {
	t := terminal.NewTable(s, "KIND", "ERASED")
	for _, kind := range slices.Sorted(maps.Keys(e.Erased)) {
		t.Row(kind, strconv.FormatInt(e.Erased[kind], 10))
	}
	if err := t.Write(); err != nil {
		return err
	}
	fmt.Fprintln(s, "\nWhat remains:")
	for _, line := range e.Remains {
		fmt.Fprintf(s, "  %s\n", line)
	}
	return nil
}
