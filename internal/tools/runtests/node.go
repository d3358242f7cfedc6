package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// node looks for Node.js and npm, with which tests run Ably's own JavaScript client
// against the stand-in and the sandbox, and with install installs them where that is
// possible. The tests name themselves as not run without them.
func node(ctx context.Context, stderr io.Writer, install bool) {
	_, nodeErr := exec.LookPath("node")
	_, npmErr := exec.LookPath("npm")
	if !install || errors.Join(nodeErr, npmErr) == nil {
		return
	}
	fmt.Fprintln(stderr, "installing Node.js and npm for ably-js")
	if err := aptInstall(ctx, stderr, "nodejs", "npm"); err != nil {
		fmt.Fprintln(stderr, err)
	}
}
