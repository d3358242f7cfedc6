package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/terminal"
)

func (c *cli) sending() *cobra.Command {
	var form outputForm
	client := c.admin()
	status := &cobra.Command{
		Use: "status", Short: "Show whether anything is stopped, and by whom", Args: cobra.NoArgs,
		Example: "  bugle sending status\n  bugle sending status --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var now api.AdminSending
			if err := client.get(cmd.Context(), "/admin/v1/sending", nil, &now); err != nil {
				return err
			}
			return c.printSending(form, now)
		},
	}
	client.flags(status.Flags())
	form.flag(status)
	return group(&cobra.Command{
		Use:   "sending",
		Short: "Stop all pushes at once, and start them again",
		Long: strings.TrimSpace(`
A stop holds within a second of the answer, on every replica and over restarts. Rules go on
reading; what is queued waits for the start, or expires. What is with a provider already is not
called back. One rule alone is stopped by bugle rules stop.`),
		Example: `  bugle sending stop --reason "wrong texts"
  bugle sending status
  bugle sending start`,
	}, status,
		c.sendingVerb("stop", "Send nothing more, at once", `  bugle sending stop --reason "wrong texts"`),
		c.sendingVerb("start", "Send again; what is queued and has not expired goes out", `  bugle sending start --reason "mended"`))
}

func (c *cli) sendingVerb(name, short, example string) *cobra.Command {
	var (
		form   outputForm
		reason string
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use: name, Short: short, Example: example, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var now api.AdminSending
			if err := client.post(cmd.Context(), "/admin/v1/sending/"+name, api.AdminReason{Reason: reason}, &now); err != nil {
				return err
			}
			return c.printSending(form, now)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit and for who finds it so")
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func (c *cli) printSending(form outputForm, now api.AdminSending) error {
	return c.print(form, now, func(s *terminal.Screen) error {
		t := terminal.NewTable(s, "WHAT", "STATE", "SINCE", "BY", "REASON")
		row := func(what string, by *api.AdminPause) {
			if by == nil {
				t.Row(what, "sending")
				t.Style(1, terminal.Green)
				return
			}
			t.Row(what, "stopped", at(by.At), by.Actor, by.Reason)
			t.Style(1, terminal.Red)
		}
		row("everything", now.StoppedBy)
		for _, rule := range slices.Sorted(maps.Keys(now.Rules)) {
			row(fmt.Sprint("rule ", rule), new(now.Rules[rule]))
		}
		return t.Write()
	})
}
