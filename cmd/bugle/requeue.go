package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/terminal"
)

// requeueStep is the most that one call requeues (the API's own maximum).
const requeueStep = 10_000

// requeueOptions are the flags of requeue.
type requeueOptions struct {
	rule, provider, state, reason string
	since, until                  moment
	limit                         int
	dryRun, yes                   bool
	form                          outputForm
}

func (c *cli) requeue() *cobra.Command {
	var o requeueOptions
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "requeue [DELIVERY]",
		Short: "Try deliveries again that were not sent",
		Long: strings.TrimSpace(`
Tries one delivery again, or all that a filter names: those that are gone, rejected, expired or
cancelled, and whose notification has not reached its expiry. The gates decide again as for any
other. Those that are unconfirmed may have been shown already: a filter leaves them out unless
it says --state unconfirmed. One that is shown twice replaces itself.

With a filter it first counts and asks. What has expired stays as it is. It goes from the oldest
on and tries each at most once, so that what is refused anew meanwhile does not come again. From
a script, look with --dry-run and go on with --yes.`),
		Example: `  bugle requeue 7
  bugle requeue --rule bet-settled --state rejected --dry-run
  bugle requeue --provider fcm --since 2h
  bugle requeue --state expired --reason ttl --since 2026-09-01T12:00:00Z --until 2026-09-01T13:00:00Z --yes`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return c.requeueOne(cmd.Context(), client, args[0], o)
			}
			if o.rule+o.provider+o.state+o.reason == "" && o.since.IsZero() {
				return usagef("name a delivery, or at least one of --rule, --provider, --state, --reason, --since")
			}
			return c.requeueAll(cmd.Context(), client, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.rule, "rule", "", "only this rule's")
	f.StringVar(&o.provider, "provider", "", "only this provider's: fcm or ably")
	f.StringVar(&o.state, "state", "", "only those that are gone, rejected, expired, unconfirmed or cancelled (default all of these but unconfirmed)")
	f.StringVar(&o.reason, "reason", "", "only those that ended for this reason, such as INVALID_ARGUMENT")
	f.Var(&o.since, "since", "only those made since then: 2h ago, or a time such as 2026-09-01T12:00:00Z")
	f.Var(&o.until, "until", "only those made before then")
	f.IntVar(&o.limit, "limit", 0, "the most to requeue, from the oldest on; 0 for all")
	f.BoolVar(&o.dryRun, "dry-run", false, "count only; nothing is changed")
	yesFlag(cmd, &o.yes)
	complete(cmd, "state", "gone", "rejected", "expired", "unconfirmed", "cancelled")
	complete(cmd, "provider", "fcm", "ably")
	client.flags(f)
	o.form.flag(cmd)
	return cmd
}

// moment is a time as a flag takes it: how long ago, or when.
type moment struct{ time.Time }

// Set reads the flag.
func (m *moment) Set(text string) (err error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		m.Time = time.Now().Add(-ago)
		return nil
	}
	if m.Time, err = time.Parse(time.RFC3339, text); err != nil {
		return usagef("wants how long ago, such as 2h, or a time such as 2026-09-01T12:00:00Z")
	}
	return nil
}

// String is what Set reads; it is empty without a time.
func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

// Type names the flag's value in help texts.
func (*moment) Type() string { return "time" }

func (m *moment) orNil() *time.Time {
	if m.IsZero() {
		return nil
	}
	return &m.Time
}

func (c *cli) requeueOne(ctx context.Context, client *adminClient, text string, o requeueOptions) error {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return usagef("a delivery is named by its number, such as 7, and not %q", text)
	}
	var d api.AdminDelivery
	if err := client.post(ctx, fmt.Sprintf("/admin/v1/deliveries/%d/requeue", id), nil, &d); err != nil {
		return err
	}
	return c.print(o.form, d, func(s *terminal.Screen) error {
		t := terminal.NewTable(s, "DELIVERY", "NOTIFICATION", "USER", "DEVICE", "RULE", "STATE", "DUE")
		t.Row(strconv.FormatInt(d.ID, 10), strconv.FormatInt(d.Notification, 10), d.User, d.Device, d.Rule, d.State, at(d.DueAt))
		return t.Write()
	})
}

func (c *cli) requeueAll(ctx context.Context, client *adminClient, o requeueOptions) error {
	filter := api.AdminRequeue{
		Rule: o.rule, Provider: o.provider, State: o.state, Reason: o.reason, Since: o.since.orNil(), Until: o.until.orNil(), Limit: 1, DryRun: true,
	}
	ask := func(f api.AdminRequeue) (r api.AdminRequeued, err error) {
		return r, client.post(ctx, "/admin/v1/deliveries/requeue", f, &r)
	}
	seen, err := ask(filter)
	if err != nil {
		return err
	}
	todo := seen.Matching
	if o.limit > 0 {
		todo = min(todo, o.limit)
	}
	if todo > 0 && !o.dryRun {
		question := fmt.Sprintf("%s can be tried again; %d more have expired and stay as they are.%s %d will be requeued now.",
			plural(seen.Matching, "delivery", "deliveries"), seen.Expired, aboutUnconfirmed(seen, o.state), todo)
		if err := c.confirm(ctx, o.yes, question, "yes"); err != nil {
			return err
		}
		err := c.requeueSteps(todo, &seen, func(limit int, after string) (api.AdminRequeued, error) {
			f := filter
			f.Limit, f.After, f.DryRun = limit, after, false
			return ask(f)
		})
		if err != nil {
			return err
		}
	}
	return c.print(o.form, seen, func(s *terminal.Screen) error {
		t := terminal.NewTable(s, "MATCHING", "EXPIRED", "UNCONFIRMED", "REQUEUED")
		t.Row(strconv.Itoa(seen.Matching), strconv.Itoa(seen.Expired), strconv.Itoa(seen.Unconfirmed), strconv.Itoa(seen.Requeued))
		return t.Write()
	})
}

// aboutUnconfirmed says what becomes of deliveries that may have been shown already.
func aboutUnconfirmed(seen api.AdminRequeued, state string) string {
	switch {
	case state == "unconfirmed":
		return " They may have been shown already, and may be shown twice."
	case seen.Unconfirmed > 0:
		return fmt.Sprintf(" %s may have been shown already and left out (--state unconfirmed names them).",
			plural(seen.Unconfirmed, "unconfirmed one", "unconfirmed ones"))
	}
	return ""
}

// requeueSteps requeues as many as were counted and no more, each step behind the one before: what is
// refused anew meanwhile matches again, and must not be tried for ever in the place of the others.
func (c *cli) requeueSteps(todo int, sum *api.AdminRequeued, step func(limit int, after string) (api.AdminRequeued, error)) error {
	bar := terminal.NewProgress(terminal.ProgressConfig{Screen: c.errs(), Title: "requeueing", Total: int64(todo), Noun: "deliveries"})
	defer bar.End()
	for after := ""; sum.Requeued < todo; {
		did, err := step(min(todo-sum.Requeued, requeueStep), after)
		if err != nil {
			return fmt.Errorf("after %d of %d: %w", sum.Requeued, todo, err)
		}
		sum.Requeued += did.Requeued
		bar.Add(int64(did.Requeued))
		if did.Next == nil {
			return nil // others have been quicker, or they have expired
		}
		after = *did.Next
	}
	return nil
}

// plural counts something.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
