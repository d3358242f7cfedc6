package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/app"
)

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := version
			if v == "" {
				v = app.Version()
			}
			fmt.Fprintf(c.stdout, "bugle %s %s %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
