package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/terminal"
)

// auditFilter are the flags that choose entries of the audit.
type auditFilter struct {
	actor, action, subject string
	since, until           moment
}

func (a *auditFilter) flags(f *pflag.FlagSet) {
	f.StringVar(&a.actor, "actor", "", "only what this operator did, by the name of their token")
	f.StringVar(&a.action, "action", "", "only such entries, such as pause, suppress, deactivate, export")
	f.StringVar(&a.subject, "subject", "", "only what was done to this: rule/bet-settled, run/12, device/phone-1, user/ann")
	f.Var(&a.since, "since", "only entries since then: 2h ago, or a time such as 2026-09-01T12:00:00Z")
	f.Var(&a.until, "until", "only entries before then")
}

func (a *auditFilter) query() url.Values {
	q := url.Values{}
	setUnlessEmpty(q, "actor", a.actor)
	setUnlessEmpty(q, "action", a.action)
	setUnlessEmpty(q, "subject", a.subject)
	setUnlessEmpty(q, "since", a.since.String())
	setUnlessEmpty(q, "until", a.until.String())
	return q
}

func (c *cli) audit() *cobra.Command {
	return group(&cobra.Command{
		Use:   "audit",
		Short: "See who did what",
		Long: strings.TrimSpace(`
Every change that an operator made, and every delivery that a suppression stopped. They ask the
admin API of a running service.`),
		Example: `  bugle audit list --since 2h
  bugle audit export > audit.ndjson`,
	}, c.auditList(), c.auditExport())
}

func (c *cli) auditList() *cobra.Command {
	var (
		form   outputForm
		filter auditFilter
		limit  int
		before int64
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries of the audit, newest first",
		Example: `  bugle audit list --since 2h
  bugle audit list --subject rule/bet-settled --actor alice --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := filter.query()
			query.Set("limit", strconv.Itoa(limit))
			if before > 0 {
				query.Set("before", strconv.FormatInt(before, 10))
			}
			var list api.AdminAuditList
			if err := client.get(cmd.Context(), "/admin/v1/audit", query, &list); err != nil {
				return err
			}
			return c.print(form, list, func(s *terminal.Screen) error {
				t := terminal.NewTable(s, "ENTRY", "AT", "ACTOR", "ACTION", "SUBJECT", "BEFORE", "AFTER")
				for _, e := range list.Entries {
					t.Row(strconv.FormatInt(e.ID, 10), at(e.At), e.Actor, e.Action, e.Subject, unlessNull(e.Before), unlessNull(e.After))
				}
				if err := t.Write(); err != nil || list.Next == nil {
					return err
				}
				fmt.Fprintf(c.stderr, "There are older ones: --before %d\n", *list.Next)
				return nil
			})
		},
	}
	filter.flags(cmd.Flags())
	cmd.Flags().IntVar(&limit, "limit", 50, "how many to list, at most 500")
	cmd.Flags().Int64Var(&before, "before", 0, "list those before this entry")
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

// unlessNull writes JSON for people; nothing is empty.
func unlessNull(text []byte) string {
	if string(text) == "null" {
		return ""
	}
	return string(text)
}

func (c *cli) auditExport() *cobra.Command {
	var (
		filter auditFilter
		after  int64
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the audit to standard output, oldest first",
		Long: strings.TrimSpace(`
One JSON object on each line. To go on from an export, give the last id of it by --after. Exits
with 1 when the export was cut off: then what was written is not all of it.`),
		Example: `  bugle audit export > audit.ndjson
  bugle audit export --action suppress --since 720h
  bugle audit export --after 4711 >> audit.ndjson`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := filter.query()
			query.Set("after", strconv.FormatInt(after, 10))
			return c.stream(cmd.Context(), client, adminCall{method: http.MethodGet, path: "/admin/v1/audit/export", query: query})
		},
	}
	filter.flags(cmd.Flags())
	cmd.Flags().Int64Var(&after, "after", 0, "only entries with larger ids")
	client.flags(cmd.Flags())
	return cmd
}
