package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/terminal"
)

func (c *cli) presence() *cobra.Command {
	var (
		form                         outputForm
		member, channel, page, after string
		limit                        int
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "presence",
		Short: "See who is in the app, and where",
		Long: strings.TrimSpace(`
As Ably's presence webhooks say; only there with bets.enabled. Who left without a word stays for
two hours. It asks the admin API of a running service.`),
		Example: `  bugle presence --client ann
  bugle presence --page "Car Racing Page" --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			setUnlessEmpty(query, "client", member)
			setUnlessEmpty(query, "channel", channel)
			setUnlessEmpty(query, "page", page)
			setUnlessEmpty(query, "after", after)
			var list api.AdminMemberList
			if err := client.get(cmd.Context(), "/admin/v1/presence", query, &list); err != nil {
				return err
			}
			return c.print(form, list, func(s *terminal.Screen) error {
				t := terminal.NewTable(s, "CLIENT", "PAGE", "CHANNEL", "CONNECTION", "SINCE", "SEEN", "EXPIRES")
				for _, m := range list.Members {
					t.Row(m.Client, m.Page, m.Channel, m.Connection, at(m.Since), at(m.SeenAt), at(m.ExpiresAt))
				}
				if err := t.Write(); err != nil || list.Next == nil {
					return err
				}
				fmt.Fprintf(c.stderr, "There are more: --after %s\n", *list.Next)
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&member, "client", "", "only this client")
	f.StringVar(&channel, "channel", "", "only on this channel")
	f.StringVar(&page, "page", "", "only on this page of the app")
	f.IntVar(&limit, "limit", 50, "how many to list, at most 500")
	f.StringVar(&after, "after", "", "list what comes behind the page before")
	client.flags(f)
	form.flag(cmd)
	return cmd
}
