package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/terminal"
)

// explainOptions are the flags of explain.
type explainOptions struct {
	client      *adminClient
	user, after string
	form        outputForm
	limit       int
}

func (c *cli) explainCommand() *cobra.Command {
	o := explainOptions{client: c.admin()}
	cmd := &cobra.Command{
		Use:   "explain [NOTIFICATION]",
		Short: "Tell what became of a notification, or what a user was told, and why",
		Long: strings.TrimSpace(`
Answers "why did I not get it?": the row, the rule, the texts, what every gate said
of each delivery, every attempt with the provider's answer, and what took its place.
With --user it lists what that user was told, and was not, newest first.

It asks the admin API of a running service: only the service knows the rules, gates
and caps that are in force, support needs no access to the database, and the token
says who may look. It changes nothing and asks no provider.`),
		Example: `  bugle explain 41
  bugle explain 41 --user ann                    # only ann's devices
  bugle explain --user ann
  bugle explain --user ann --output json --server https://bugle-admin.internal --token-file /run/secrets/bugle-token`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{"limit": {strconv.Itoa(o.limit)}}
			if o.after != "" {
				query.Set("after", o.after)
			}
			if len(args) == 0 {
				if o.user == "" {
					return usagef("name a notification, or a user with --user")
				}
				var t api.AdminTimeline
				if err := o.client.get(cmd.Context(), pathOf("/admin/v1/users/%s/timeline", o.user), query, &t); err != nil {
					return err
				}
				return c.print(o.form, t, func(s *terminal.Screen) error { writeTimeline(terminal.Harmless(s), t); return nil })
			}
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id < 1 {
				return usagef("a notification's id is a number, such as 41, and not %q", args[0])
			}
			if o.user != "" {
				query.Set("user", o.user)
			}
			var e api.AdminExplanation
			if err := o.client.get(cmd.Context(), "/admin/v1/notifications/"+strconv.FormatInt(id, 10), query, &e); err != nil {
				return err
			}
			return c.print(o.form, e, func(s *terminal.Screen) error { writeExplanation(terminal.Harmless(s), e); return nil })
		},
	}
	o.client.flags(cmd.Flags())
	cmd.Flags().StringVar(&o.user, "user", "", "whom to explain")
	cmd.Flags().IntVar(&o.limit, "limit", 20, "how many deliveries or items to show, at most 200")
	cmd.Flags().StringVar(&o.after, "after", "", "show what comes behind the page before")
	o.form.flag(cmd)
	return cmd
}

func writeExplanation(w io.Writer, e api.AdminExplanation) {
	to := "everybody"
	switch {
	case e.User != "":
		to = e.User
	case e.Audience == "follows":
		to = "who was told what it follows"
	case e.Audience == "user":
		to = "a user who has been erased"
	}
	fmt.Fprintf(w, "Notification %d: %s %s, version %d%s, for %s\n", e.ID, e.Rule, e.Key, e.Version, inBrackets(e.Variant), to)
	fmt.Fprintf(w, "  %s\n\n", e.Summary)
	fmt.Fprintf(w, "  category  %s, %s, urgency %s\n", e.Category, e.Class, e.Urgency)
	fmt.Fprintf(w, "  made      %s by run %d\n", at(e.CreatedAt), e.Run)
	if e.HeldUntil != nil {
		until := "until " + at(*e.HeldUntil)
		if e.Confirmed != nil {
			until += ", when a row confirmed it"
		}
		fmt.Fprintf(w, "  held      as provisional, %s\n", until)
	}
	if e.ReleasedAt != nil {
		fmt.Fprintf(w, "  released  %s\n", at(*e.ReleasedAt))
	}
	fmt.Fprintf(w, "  expires   %s\n", at(e.ExpiresAt))
	fmt.Fprintf(w, "  rule      %s\n", ruleWords(e.RuleVersion))
	row, err := json.Marshal(e.SourceRow)
	if err == nil {
		fmt.Fprintf(w, "  row       %s\n", row)
	}
	for _, t := range e.Texts {
		who := "the default text"
		if len(t.Devices) > 0 {
			who = "on " + strings.Join(t.Devices, ", ")
		}
		if t.Locale != "" {
			who += ", " + t.Locale
		}
		if t.Correction {
			who += ", as a correction"
		}
		fmt.Fprintf(w, "\n  “%s” “%s”\n    %s\n", t.Title, t.Body, who)
	}
	if len(e.ThreadList) > 1 {
		fmt.Fprint(w, "\n  Its thread, newest first:\n")
		for _, t := range e.ThreadList {
			mark := " "
			if t.ID == e.ID {
				mark = "*"
			}
			fmt.Fprintf(w, "  %s %d: %s, version %d%s, %s, made %s\n", mark, t.ID, t.Rule, t.Version, inBrackets(t.Variant), t.State, at(t.CreatedAt))
		}
	}
	for _, d := range e.Explained {
		fmt.Fprintf(w, "\nDelivery %d to %s of %s, through %s: %s%s\n", d.ID, d.Device, d.User, d.Provider, d.State, inBrackets(d.Reason))
		fmt.Fprintf(w, "  %s\n", d.Explanation)
		writeWhy(w, d)
	}
	if e.Next != nil {
		fmt.Fprintf(w, "\nThere are more: --after %s\n", *e.Next)
	}
}

func ruleWords(v api.AdminRuleVersion) string {
	text := v.Mode
	if v.MadeBy != "" {
		text += ", made by the rules " + v.MadeBy
	}
	if v.Changed {
		text += "; they have changed since, and the texts are those of now"
	}
	if v.IdentityChanged {
		text += "; its key, version or order columns are others now"
	}
	return text
}

// writeWhy writes what gates and providers said of a delivery.
func writeWhy(w io.Writer, d api.AdminExplained) {
	var passed []string
	asOf := ""
	if d.GatesAsOfNow {
		asOf = ", as of now"
	}
	for _, g := range d.Gates {
		switch g.Verdict {
		case "passed":
			passed = append(passed, g.Name)
		case "stopped", "waits":
			detail := ""
			if g.Detail != "" {
				detail = ": " + g.Detail
			}
			fmt.Fprintf(w, "  gates%s: passed %s; %s %s (%s)%s\n", asOf, strings.Join(passed, ", "), g.Name, g.Verdict, g.Reason, detail)
			passed = nil
		}
	}
	if passed != nil {
		fmt.Fprintf(w, "  gates%s: all passed\n", asOf)
	}
	for i, a := range d.Attempts {
		status := ""
		if a.Status != 0 {
			status = " " + strconv.Itoa(a.Status)
		}
		fmt.Fprintf(w, "  attempt %d at %s: %s%s%s\n", i+1, at(a.StartedAt), a.Verdict, inBrackets(a.Code), status)
	}
}

func writeTimeline(w io.Writer, t api.AdminTimeline) {
	fmt.Fprintf(w, "%s\n", t.User)
	for _, line := range t.Summary {
		fmt.Fprintf(w, "  %s\n", line)
	}
	if len(t.Items) == 0 {
		fmt.Fprintf(w, "\nNothing for %s is on record.\n", t.User)
	}
	for _, i := range t.Items {
		text := i.Category
		if i.Title != "" {
			text = "“" + i.Title + "”"
		}
		where := ""
		if i.Delivery != nil {
			where = " on " + i.Delivery.Device + ": " + i.Delivery.State + inBrackets(i.Delivery.Reason)
		}
		fmt.Fprintf(w, "\n%s  %s (%s, notification %d)%s\n  %s\n", at(i.At), text, i.Rule, i.Notification, where, i.Explanation)
	}
	if t.Next != nil {
		fmt.Fprintf(w, "\nThere is more: --after %s\n", *t.Next)
	}
}
