package main

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/terminal"
	"github.com/bugle-push/bugle/notifier"
)

// runStates are what --state takes.
func runStates() (out []string) {
	for _, state := range notifier.RunStates() {
		out = append(out, string(state))
	}
	return out
}

func (c *cli) runs() *cobra.Command {
	return group(&cobra.Command{
		Use:   "runs",
		Short: "Look at what ticks of rules did; release or discard held runs",
		Long: strings.TrimSpace(`
A run is what one tick of a rule did. One that would send more than the rule allows is held:
nothing of it goes out until somebody has released it, or discarded it for good.

These ask the admin API of a running service.`),
		Example: `  bugle runs list --state held
  bugle runs show 12
  bugle runs sample 12
  bugle runs release 12`,
	}, append([]*cobra.Command{c.runsList(), c.runsShow(), c.runsSample()}, c.runsEnd()...)...)
}

func (c *cli) runsList() *cobra.Command {
	var (
		form        outputForm
		rule, state string
		limit       int
		before      int64
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, newest first",
		Long: strings.TrimSpace(`
NEW counts the versions that a run made, PLANNED the deliveries that it would make where the
rule limits them: they are counted up to one more than LIMIT, so that a held run would make at
least so many.`),
		Example: `  bugle runs list --state held
  bugle runs list --rule bet-settled --limit 100
  bugle runs list --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			setUnlessEmpty(query, "rule", rule)
			setUnlessEmpty(query, "state", state)
			if before > 0 {
				query.Set("before", strconv.FormatInt(before, 10))
			}
			var list api.AdminRunList
			if err := client.get(cmd.Context(), "/admin/v1/runs", query, &list); err != nil {
				return err
			}
			return c.print(form, list, func(s *terminal.Screen) error {
				if err := writeRuns(s, list.Runs); err != nil || list.Next == nil {
					return err
				}
				fmt.Fprintf(c.stderr, "There are older ones: --before %d\n", *list.Next)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&rule, "rule", "", "only this rule's")
	cmd.Flags().StringVar(&state, "state", "", "only those that are "+strings.Join(runStates(), ", "))
	cmd.Flags().IntVar(&limit, "limit", 20, "how many to list, at most 500")
	cmd.Flags().Int64Var(&before, "before", 0, "only runs with smaller numbers")
	complete(cmd, "state", runStates()...)
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func setUnlessEmpty(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func writeRuns(s *terminal.Screen, runs []api.AdminRun) error {
	t := terminal.NewTable(s, "RUN", "RULE", "STATE", "TICK", "ROWS", "NEW", "BAD", "PLANNED", "LIMIT", "ERROR")
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, r := range runs {
		planned, limit := number(r.Planned), number(r.Limit)
		if r.Limit == 0 {
			planned, limit = "", ""
		}
		t.Row(number(r.ID), r.Rule, r.State, at(r.TickAt), number(r.Rows), number(r.Staged+r.Adopted+r.Swept), number(r.BadRows), planned, limit, r.Error)
		switch r.State {
		case "failed":
			t.Style(2, terminal.Red)
		case "held":
			t.Style(2, terminal.Yellow)
		case "released":
			t.Style(2, terminal.Green)
		}
	}
	return t.Write()
}

// runID reads the number of a run.
func runID(text string) (string, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return "", usagef("a run is named by its number, such as 12, and not %q", text)
	}
	return strconv.FormatInt(n, 10), nil
}

func (a *adminClient) run(ctx context.Context, text string) (run api.AdminRun, err error) {
	id, err := runID(text)
	if err != nil {
		return run, err
	}
	return run, a.get(ctx, "/admin/v1/runs/"+id, nil, &run)
}

func (c *cli) runsShow() *cobra.Command {
	var form outputForm
	client := c.admin()
	cmd := &cobra.Command{
		Use:     "show RUN",
		Short:   "Show a run and what became of its notifications and deliveries",
		Example: "  bugle runs show 12\n  bugle runs show 12 --output json",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: client.runIDs(""),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := client.run(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.print(form, run, func(s *terminal.Screen) error { return writeRun(s, run) })
		},
	}
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func writeRun(s *terminal.Screen, r api.AdminRun) error {
	if err := writeRuns(s, []api.AdminRun{r}); err != nil {
		return err
	}
	fmt.Fprintf(s, "\nread    %s to %s, by %s\n", at(r.Since), at(r.Until), r.Owner)
	fmt.Fprintf(s, "ran     %s", at(r.StartedAt))
	if r.FinishedAt != nil {
		fmt.Fprintf(s, " to %s", at(*r.FinishedAt))
	}
	fmt.Fprintln(s)
	if r.Baseline {
		fmt.Fprintln(s, "It took what it read as known and announced nothing.")
	}
	if r.Counts == nil {
		return nil
	}
	fmt.Fprintln(s)
	t := terminal.NewTable(s, "WHAT", "STATE", "COUNT")
	for _, part := range []struct {
		what   string
		counts map[string]int64
	}{{"notifications", r.Counts.Notifications}, {"deliveries", r.Counts.Deliveries}} {
		for _, state := range slices.Sorted(maps.Keys(part.counts)) {
			t.Row(part.what, state, strconv.FormatInt(part.counts[state], 10))
		}
	}
	return t.Write()
}

func (c *cli) runsSample() *cobra.Command {
	var (
		form  outputForm
		limit int
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:     "sample RUN",
		Short:   "Show the first notifications that a held run would send",
		Example: "  bugle runs sample 12\n  bugle runs sample 12 --limit 50 --output json",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: client.runIDs("held"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runID(args[0])
			if err != nil {
				return err
			}
			var sample api.AdminRunSample
			if err := client.get(cmd.Context(), "/admin/v1/runs/"+id+"/sample", url.Values{"limit": {strconv.Itoa(limit)}}, &sample); err != nil {
				return err
			}
			return c.print(form, sample, func(s *terminal.Screen) error {
				t := terminal.NewTable(s, "KEY", "USER", "CATEGORY", "DEVICES", "EXPIRES", "TITLE", "BODY")
				for _, n := range sample.Notifications {
					text := n.Texts["default"]
					t.Row(n.Key, n.User, n.Category, strconv.Itoa(n.Devices), at(n.ExpiresAt), text.Title, text.Body)
				}
				return t.Write()
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 10, "how many to show, at most 100")
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

// runsEnd are the two ends of a held run.
func (c *cli) runsEnd() (out []*cobra.Command) {
	for _, v := range []struct{ name, short, long, question string }{
		{
			"release", "Let what a held run holds go out",
			"It goes out at once, what has expired meanwhile excepted. Look at it before: bugle runs sample.",
			"Its pushes go out now.",
		},
		{
			"discard", "Drop what a held run holds, for good",
			"The same versions are never announced, even when their rows are read again. A later version is.",
			"What it holds is never announced.",
		},
	} {
		var (
			form outputForm
			yes  bool
		)
		client := c.admin()
		cmd := &cobra.Command{
			Use: v.name + " RUN", Short: v.short, Long: v.long,
			Example: fmt.Sprintf("  bugle runs %[1]s 12\n  bugle runs %[1]s 12 --yes", v.name),
			Args:    cobra.ExactArgs(1), ValidArgsFunction: client.runIDs("held"),
			RunE: func(cmd *cobra.Command, args []string) error {
				run, err := client.run(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if run.State != "held" {
					return fmt.Errorf("run %d of %s is %s, and not held", run.ID, run.Rule, run.State)
				}
				question := fmt.Sprintf("Run %d of %s would make %d deliveries or more. %s", run.ID, run.Rule, run.Planned, v.question)
				if err := c.confirm(cmd.Context(), yes, question, "yes"); err != nil {
					return err
				}
				if err := client.post(cmd.Context(), fmt.Sprintf("/admin/v1/runs/%d/%s", run.ID, v.name), nil, &run); err != nil {
					return err
				}
				return c.print(form, run, func(s *terminal.Screen) error { return writeRuns(s, []api.AdminRun{run}) })
			},
		}
		yesFlag(cmd, &yes)
		client.flags(cmd.Flags())
		form.flag(cmd)
		out = append(out, cmd)
	}
	return out
}
