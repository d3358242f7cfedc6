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

func (c *cli) devices() *cobra.Command {
	return group(&cobra.Command{
		Use:   "devices",
		Short: "See a user's devices, or take one out of use",
		Long: strings.TrimSpace(`
A device is one installation of the app. What it is reached by is never shown, only a short hash
to compare with. They ask the admin API of a running service.`),
		Example: `  bugle devices list ann
  bugle devices show phone-1
  bugle devices deactivate phone-1 --reason "request 4711"`,
	}, c.devicesList(), c.devicesShow(), c.devicesDeactivate())
}

func (c *cli) devicesList() *cobra.Command {
	var form outputForm
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "list USER",
		Short: "List a user's devices, in any state",
		Example: `  bugle devices list ann
  bugle devices list ann --output json | jq -r '.devices[] | select(.state == "active") | .id'`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			var list api.AdminDeviceList
			if err := client.get(cmd.Context(), "/admin/v1/devices", url.Values{"user": {args[0]}}, &list); err != nil {
				return err
			}
			return c.print(form, list, func(s *terminal.Screen) error { return writeDevices(s, list.Devices) })
		},
	}
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func (c *cli) devicesShow() *cobra.Command {
	var form outputForm
	client := c.admin()
	cmd := &cobra.Command{
		Use:     "show DEVICE",
		Short:   "Show one device, whosever it is",
		Example: `  bugle devices show phone-1`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			var d api.AdminDevice
			if err := client.get(cmd.Context(), pathOf("/admin/v1/devices/%s", args[0]), nil, &d); err != nil {
				return err
			}
			return c.print(form, d, func(s *terminal.Screen) error { return writeDevices(s, []api.AdminDevice{d}) })
		},
	}
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func (c *cli) devicesDeactivate() *cobra.Command {
	var (
		form   outputForm
		reason string
		yes    bool
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "deactivate DEVICE",
		Short: "Take a device out of use until its app activates it again",
		Long: strings.TrimSpace(`
Nothing more is sent to the device, and what is queued for it is cancelled; what is being sent is
not called back. Only its app can make it active again, and an app in use may do that at its next
start: to keep a user from being told, use bugle suppressions set.

It says whose device it is and asks first. A script gives --yes. A device that is not active stays
as it is.`),
		Example: `  bugle devices deactivate phone-1 --reason "request 4711"
  bugle devices deactivate phone-1 --yes --output json`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			var d api.AdminDevice
			path := pathOf("/admin/v1/devices/%s", args[0])
			if err := client.get(cmd.Context(), path, nil, &d); err != nil {
				return err
			}
			if d.State == "active" {
				question := fmt.Sprintf("%s of %s gets nothing more until its app activates it again, and what is queued for it is cancelled.", d.ID, d.User)
				if err := c.confirm(cmd.Context(), yes, question, "yes"); err != nil {
					return err
				}
				if err := client.post(cmd.Context(), path+"/deactivate", api.AdminDeactivate{Reason: reason}, &d); err != nil {
					return err
				}
			}
			return c.print(form, d, func(s *terminal.Screen) error { return writeDevices(s, []api.AdminDevice{d}) })
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit: the number of a request, not a text about the user")
	yesFlag(cmd, &yes)
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func writeDevices(s *terminal.Screen, list []api.AdminDevice) error {
	t := terminal.NewTable(s, "DEVICE", "USER", "STATE", "PLATFORM", "TARGET", "GENERATION", "LOCALE", "TIME ZONE", "APP", "ACTIVATED", "UPDATED")
	for _, d := range list {
		t.Row(d.ID, d.User, d.State+inBrackets(d.RetiredReason), d.Platform, d.Target.Kind+" "+d.Target.Hash, strconv.FormatInt(d.Generation, 10),
			d.Locale, d.TimeZone, d.AppVersion, at(d.ActivatedAt), at(d.UpdatedAt))
		style := terminal.Faint
		if d.State == "active" {
			style = terminal.Green
		}
		t.Style(2, style)
	}
	return t.Write()
}
