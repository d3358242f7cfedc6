package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
)

// chromium looks for the browser that the tests of the console drive, and with
// install installs it where that is possible. The tests name themselves as not
// run without it.
func chromium(ctx context.Context, stderr io.Writer, install bool) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if _, err := exec.LookPath(name); err == nil {
			return
		}
	}
	if !install {
		return
	}
	fmt.Fprintln(stderr, "installing Chromium for the tests in a browser")
	if err := aptInstall(ctx, stderr, "chromium"); err != nil {
		fmt.Fprintln(stderr, err)
	}
}
