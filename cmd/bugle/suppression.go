package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/terminal"
)

// ahead is a time as a flag takes it that may lie ahead: in how long, or when.
type ahead struct{ time.Time }

// Set reads the flag.
func (a *ahead) Set(text string) (err error) {
	if in, err := time.ParseDuration(text); err == nil && in >= 0 {
		a.Time = time.Now().Add(in).UTC()
		return nil
	}
	if a.Time, err = time.Parse(time.RFC3339, text); err != nil {
		return usagef("wants in how long, such as 720h, or a time such as 2027-03-01T00:00:00Z")
	}
	return nil
}

// String is what Set reads; it is empty without a time.
func (a *ahead) String() string {
	if a.IsZero() {
		return ""
	}
	return a.Format(time.RFC3339)
}

// Type names the flag's value in help texts.
func (*ahead) Type() string { return "time" }

func (a *ahead) orNil() *time.Time {
	if a.IsZero() {
		return nil
	}
	return &a.Time
}

// ofUser reads all suppressions of a user: one for each reason at most, and imported ones.
func (a *adminClient) ofUser(ctx context.Context, user string) (list api.AdminSuppressionList, err error) {
	return list, a.get(ctx, "/admin/v1/suppressions", url.Values{"user": {user}, "limit": {"500"}}, &list)
}

func (c *cli) suppressionsShow() *cobra.Command {
	var form outputForm
	client := c.admin()
	cmd := &cobra.Command{
		Use:     "show USER",
		Short:   "Show what keeps a user from being sent to, imported and ended ones too",
		Example: `  bugle suppressions show ann`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := client.ofUser(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.print(form, list, func(s *terminal.Screen) error { return writeSuppressions(s, list.Suppressions) })
		},
	}
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func (c *cli) suppressionsSet() *cobra.Command {
	var (
		form        outputForm
		from, until ahead
		yes         bool
		body        api.AdminSuppress
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "set USER",
		Short: "Suppress a user, in the place of what is set for the same reason",
		Long: strings.TrimSpace(`
It counts at once and for good, unless --from and --until say otherwise. What would stop less
than the suppression in force for the same reason (an earlier end, a later beginning, a weaker
class) is refused without --shorten, which asks first. A script gives --yes as well.`),
		Example: `  bugle suppressions set ann --reason self_exclusion --until 2027-03-01T00:00:00Z
  bugle suppressions set ann --reason cool_off --until 720h --note "asked by mail"
  bugle suppressions set ann --reason self_exclusion --until 720h --shorten`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			body.User, body.From, body.Until = args[0], from.orNil(), until.orNil()
			if body.Shorten {
				question := fmt.Sprintf("%s of %s may be shortened by this: then %s is sent to earlier, or more.", body.Reason, body.User, body.User)
				if err := c.confirm(cmd.Context(), yes, question, body.User); err != nil {
					return err
				}
			}
			var set api.AdminSuppression
			if err := client.send(cmd.Context(), http.MethodPut, "/admin/v1/suppressions", body, &set); err != nil {
				return err
			}
			return c.print(form, set, func(s *terminal.Screen) error { return writeSuppressions(s, []api.AdminSuppression{set}) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&body.Reason, "reason", "", "self_exclusion, cool_off, account_closed or jurisdiction (required)")
	f.StringVar(&body.Class, "class", "", "what to stop: marketing (for jurisdiction only), service, and with it marketing (the default), or all")
	f.Var(&from, "from", "when it begins: in 24h, or a time such as 2026-09-01T12:00:00Z; without it, at once")
	f.Var(&until, "until", "when it ends: in 720h, or a time such as 2027-03-01T00:00:00Z; without it, never")
	f.StringVar(&body.Note, "note", "", "a remark for people")
	f.BoolVar(&body.Shorten, "shorten", false, "let it stop less than what is in force")
	_ = cmd.MarkFlagRequired("reason") // it has just been added
	complete(cmd, "reason", suppressionReasons()...)
	complete(cmd, "class", "marketing", "service", "all")
	yesFlag(cmd, &yes)
	client.flags(f)
	form.flag(cmd)
	return cmd
}

func (c *cli) suppressionsRemove() *cobra.Command {
	var (
		form   outputForm
		reason string
		yes    bool
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "remove USER",
		Short: "Take a suppression of a user back",
		Long: strings.TrimSpace(`
Asks first: type the user's id. A script gives --yes. Then it prints what keeps the user from
being sent to all the same: one for another reason, or an imported one, which only an import takes
back. What was stopped stays stopped.`),
		Example: `  bugle suppressions remove ann --reason cool_off`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			question := fmt.Sprintf("%s of %s ends now: %s is sent to again, as far as nothing else forbids it.", reason, args[0], args[0])
			if err := c.confirm(cmd.Context(), yes, question, args[0]); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), adminTimeout)
			defer cancel()
			gone, err := client.open(ctx, adminCall{
				method: http.MethodDelete, path: "/admin/v1/suppressions", query: url.Values{"user": {args[0]}, "reason": {reason}},
			})
			if err != nil {
				return err
			}
			gone.Close()
			left, err := client.ofUser(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("it is taken back, but what is left cannot be read: %w", err)
			}
			return c.print(form, left, func(s *terminal.Screen) error { return writeSuppressions(s, left.Suppressions) })
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "the reason of the suppression (required)")
	_ = cmd.MarkFlagRequired("reason") // it has just been added
	complete(cmd, "reason", suppressionReasons()...)
	yesFlag(cmd, &yes)
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}
