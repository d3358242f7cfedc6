package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/terminal"
)

// rulesOfService are the commands that look at, and change, the rules of a running service.
func (c *cli) rulesOfService() []*cobra.Command {
	out := []*cobra.Command{c.rulesList(), c.rulesRun()}
	for _, v := range ruleVerbs() {
		out = append(out, c.ruleVerb(v))
	}
	return out
}

func (c *cli) rulesList() *cobra.Command {
	var form outputForm
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rules of a running service, and where each stands",
		Long: strings.TrimSpace(`
Asks the admin API for the rules in force: whether each is live, paused or stopped, when it
ticks next, what its last run came to, and how far behind the present it has read (lag).`),
		Example: `  bugle rules list
  bugle rules list --output json --server https://bugle-admin.internal`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list api.AdminRuleList
			if err := client.get(cmd.Context(), "/admin/v1/rules", nil, &list); err != nil {
				return err
			}
			return c.print(form, list, func(s *terminal.Screen) error { return writeRules(s, list.Rules) })
		},
	}
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func writeRules(s *terminal.Screen, rules []api.AdminRule) error {
	t := terminal.NewTable(s, "RULE", "STATE", "SCHEDULE", "CLASS", "NEXT TICK", "LAST RUN", "LAG")
	for _, r := range rules {
		last, lag := "", ""
		if r.LastRun != nil {
			last = r.LastRun.State + " " + at(r.LastRun.TickAt)
		}
		if r.Watermark != nil {
			lag = time.Duration(r.Watermark.LagSeconds * float64(time.Second)).Round(time.Second).String()
		}
		state, style := r.Mode, terminal.Green
		switch {
		case r.StoppedBy != nil:
			state, style = "stopped", terminal.Red
		case r.Paused:
			state, style = "paused", terminal.Yellow
		case r.Mode != "live":
			style = terminal.Yellow
		}
		t.Row(r.ID, state, r.Schedule, r.Class, maybeAt(r.NextTick), last, lag)
		t.Style(1, style)
		if r.LastRun != nil && r.LastRun.State == "failed" {
			t.Style(5, terminal.Red)
		}
	}
	return t.Write()
}

// ruleVerb is a change of a rule that takes a reason and answers how the rule stands then.
type ruleVerb struct{ name, short, long, example string }

func ruleVerbs() []ruleVerb {
	return []ruleVerb{
		{
			"pause", "Let a rule rest: it takes no ticks until it is resumed",
			"No run of the rule begins on any replica from the answer on, over restarts too. What has\n" +
				"been released already still goes out: bugle rules stop holds that back.",
			`  bugle rules pause bet-settled --reason "wrong text"`,
		},
		{
			"resume", "Let a paused rule take ticks again",
			"Its next tick catches up: what arrived during the pause is announced, unless it has expired.",
			`  bugle rules resume bet-settled --reason "text mended"`,
		},
		{
			"stop", "Hold back what a rule sends, at once",
			"Within a second no replica sends anything of the rule. It goes on reading: what is queued\n" +
				"waits for bugle rules start, or expires. Pause it as well when it is to make nothing new.",
			`  bugle rules stop bet-settled --reason "wrong text"`,
		},
		{
			"start", "Send what a stopped rule has queued, and goes on to make",
			"What is queued and has not expired goes out now.",
			`  bugle rules start bet-settled`,
		},
	}
}

func (c *cli) ruleVerb(v ruleVerb) *cobra.Command {
	var (
		form   outputForm
		reason string
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use: v.name + " RULE", Short: v.short, Long: v.long, Example: v.example,
		Args: cobra.ExactArgs(1), ValidArgsFunction: client.ruleIDs(),
		RunE: func(cmd *cobra.Command, args []string) error {
			var rule api.AdminRule
			if err := client.post(cmd.Context(), pathOf("/admin/v1/rules/%s/"+v.name, args[0]), api.AdminReason{Reason: reason}, &rule); err != nil {
				return err
			}
			return c.print(form, rule, func(s *terminal.Screen) error { return writeRules(s, []api.AdminRule{rule}) })
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit and for who finds it so")
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func (c *cli) rulesRun() *cobra.Command {
	var form outputForm
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "run RULE",
		Short: "Run a rule now, out of turn; what it finds is sent",
		Long: strings.TrimSpace(`
A tick out of turn, in the same way as any other: what is news is announced. It waits for the
run to end, and exits with 1 when the run has failed. To see what it would announce first:
bugle rules preview.`),
		Example: "  bugle rules run bet-settled",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: client.ruleIDs(),
		RunE: func(cmd *cobra.Command, args []string) error {
			var run api.AdminRun
			if err := client.post(cmd.Context(), pathOf("/admin/v1/rules/%s/run", args[0]), nil, &run); err != nil {
				return err
			}
			if err := c.print(form, run, func(s *terminal.Screen) error { return writeRuns(s, []api.AdminRun{run}) }); err != nil {
				return err
			}
			if run.State == "failed" {
				return fmt.Errorf("run %d has failed: %s", run.ID, run.Error)
			}
			return nil
		},
	}
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}
