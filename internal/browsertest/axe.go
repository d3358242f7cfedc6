package browsertest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// axeVersion is that of axe-core, which looks for what keeps people out.
const axeVersion = "4"

// Axe returns the script of axe-core, from the npm registry. It skips the test where
// it cannot be had.
func Axe(t testing.TB) string {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("the accessibility of pages: npm is not installed")
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "install", "--prefix", dir, "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", "axe-core@"+axeVersion) //nolint:gosec // npm, where it was found
	cmd.Env = append(os.Environ(), "npm_config_update_notifier=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		last, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
		t.Skipf("the accessibility of pages: axe-core cannot be installed from the npm registry: %s", last)
	}
	script, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	require.NoError(t, err)
	return string(script)
}

// Accessible demands that axe-core finds nothing serious on the page as it stands.
func (b *Tab) Accessible(t testing.TB, axe string) {
	t.Helper()
	b.Ask(t, axe+`; ""`)
	found := b.Ask(t, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(r =>
		[r.passes.length > 10 ? "" : "axe has looked at nothing", ...r.violations.filter(v => ["serious", "critical"].includes(v.impact))
			.map(v => v.id + ": " + v.nodes.map(n => n.target.join(" ") + " (" + n.failureSummary.replace(/\s+/g, " ") + ")").join("; "))].join("\n").trim())`)
	require.Empty(t, found)
}
