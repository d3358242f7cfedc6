package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/terminal"
)

// build is what version prints.
type build struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (c *cli) versionCommand() *cobra.Command {
	var form outputForm
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Example: "  bugle version\n  bugle version --output json",
		RunE: func(*cobra.Command, []string) error {
			v := version
			if v == "" {
				v = app.Version()
			}
			b := build{Version: v, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
			return c.print(form, b, func(s *terminal.Screen) error {
				_, err := fmt.Fprintf(s, "bugle %s %s %s/%s\n", b.Version, b.Go, b.OS, b.Arch)
				return err
			})
		},
	}
	form.flag(cmd)
	return cmd
}
