package api_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// curl is one example of docs/operations.md.
type curl struct{ method, path, body, media string }

// parseCurl understands exactly what the examples use, so that a misspelt option
// fails the test.
func parseCurl(t *testing.T, line string) curl {
	t.Helper()
	var words []string
	for _, m := range regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		words = append(words, m[1]+m[2]+m[3])
	}
	require.Equal(t, []string{"curl", "-sS", "-H", "$AUTH"}, words[:4], line)
	c := curl{method: "GET"}
	for words = words[4:]; len(words) > 1; words = words[2:] {
		switch words[0] {
		case "--json":
			c.body = words[1]
			if c.method == "GET" {
				c.method = "POST"
			}
		case "--data-binary":
			c.method, c.body = "POST", words[1]
		case "-H":
			media, ok := strings.CutPrefix(words[1], "Content-Type: ")
			require.True(t, ok, line)
			c.media = media
		case "-X":
			c.method = words[1]
		default:
			require.Fail(t, "unknown option", line)
		}
	}
	path, ok := strings.CutPrefix(words[0], "$ADMIN/")
	require.True(t, ok, line)
	c.path = "/admin/v1/" + path
	return c
}

// Every example is run, each in the same story.
func TestTheExamplesForOperatorsWork(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	require.NoError(t, err)
	shown := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "curl ") {
			continue
		}
		c := parseCurl(t, strings.TrimSpace(line))
		for _, rt := range adminRoutes() {
			pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(rt.pattern), `\{id\}`, "[^/]+") + `(\?.*)?$`
			if rt.method == c.method && regexp.MustCompile(pattern).MatchString(c.path) {
				shown[rt.method+" "+rt.pattern] = true
			}
		}
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			t.Parallel()
			a := newAdminWorld(t)
			rec := a.do(t, call{method: c.method, path: c.path, body: c.body, token: a.token, contentType: c.media})
			want := 200
			if c.method == "DELETE" && !strings.HasPrefix(c.path, "/admin/v1/users/") {
				want = 204
			}
			require.Equal(t, want, rec.Code, rec.Body.String())
		})
	}
	for _, rt := range adminRoutes() {
		if strings.HasPrefix(rt.pattern, "/admin/v1/") && rt.pattern != "/admin/v1/rules/{id}" {
			require.True(t, shown[rt.method+" "+rt.pattern], "no example of %s %s", rt.method, rt.pattern)
		}
	}
}
