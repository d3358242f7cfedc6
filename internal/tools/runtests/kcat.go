package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
)

// kcat looks for kcat, with which one test types what the README says, and with
// install installs it where that is possible. The test names itself as not run
// without it.
func kcat(ctx context.Context, stderr io.Writer, install bool) {
	if _, err := exec.LookPath("kcat"); err == nil || !install {
		return
	}
	fmt.Fprintln(stderr, "installing kcat for the commands of the README")
	if err := aptInstall(ctx, stderr, "kcat", "curl"); err != nil {
		fmt.Fprintln(stderr, err)
	}
}
