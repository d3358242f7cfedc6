// Package browsertest drives a real browser for tests: Chromium, without a
// window, with a profile of its own that is thrown away.
package browsertest

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// patience bounds a whole browser test; a wait that never ends fails there.
const patience = 20 * time.Minute

// ErrNotInstalled says that there is no Chromium on this machine.
var ErrNotInstalled = errors.New("there is no chromium (Debian: apt-get install chromium)")

// Path finds Chromium, or returns ErrNotInstalled.
func Path() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// Open starts a browser with one empty tab and ends it with the test. It skips
// the test where there is none. What it returns is the context of chromedp's actions.
func Open(t testing.TB) context.Context {
	t.Helper()
	path, err := Path()
	if err != nil {
		t.Skip("the browser tests: " + err.Error())
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx,
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		// The first answer of a browser may take a while on a busy machine.
		chromedp.WSURLReadTimeout(3*time.Minute),
	)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {})) // events that this chromedp does not know
	t.Cleanup(func() {
		// Waits until the browser has gone: its profile is removed after that.
		_ = chromedp.Cancel(ctx)
		cancel()
	})
	require.NoError(t, chromedp.Do(ctx))
	return ctx
}
