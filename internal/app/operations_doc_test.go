package app_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// found returns the first group of all matches in the service's own code, sorted.
func found(t *testing.T, pattern *regexp.Regexp) []string {
	t.Helper()
	var out []string
	for _, dir := range []string{"api", "devices", "internal", "ksqlclient", "notifier", "relay"} {
		require.NoError(t, filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "internal/tools") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range pattern.FindAllStringSubmatch(string(text), -1) {
				out = append(out, m[1])
			}
			return err
		}))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	require.True(t, ok, heading)
	body, _, _ := strings.Cut(rest, "\n## ")
	return body
}

// firstCells returns the names in code type of a table's first column.
func firstCells(table string) (names []string) {
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
				names = append(names, m[1])
			}
		}
	}
	return names
}

func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	inCode := found(t, regexp.MustCompile(`(?:Name:\s+|NewDesc\()"(bugle_[a-z_]+)"`))
	require.NotEmpty(t, inCode)
	require.ElementsMatch(t, inCode, firstCells(section(t, "Metrics")))
}

func TestEveryLogFieldIsDocumented(t *testing.T) {
	t.Parallel()
	inCode := found(t, regexp.MustCompile(`\.(?:Str|Strs|Stringer|Int|Int64|Ints64|Bool|Time|Object)\("([a-z_]+)"`))
	require.NotEmpty(t, inCode)
	documented := firstCells(section(t, "Logs"))
	for _, name := range inCode {
		require.Contains(t, documented, name)
	}
}
