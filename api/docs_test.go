package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
)

func TestTheDocsPageNeedsNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.do(t, call{method: "GET", path: "/docs"})
	require.Equal(t, 200, rec.Code)
	require.Equal(t, "text/html; charset=utf-8", rec.Header().Get("Content-Type"))
	require.Regexp(t, `^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; base-uri 'none'`, rec.Header().Get("Content-Security-Policy"))
	page := rec.Body.String()
	style, _, ok := strings.Cut(strings.SplitAfter(page, "<style>")[1], "</style>")
	require.True(t, ok)
	sum := sha256.Sum256([]byte(style))
	require.Contains(t, rec.Header().Get("Content-Security-Policy"), base64.StdEncoding.EncodeToString(sum[:]), "else a browser drops the style")
	if out := os.Getenv("BUGLE_DOCS_PAGE"); out != "" {
		require.NoError(t, os.WriteFile(out, []byte(page), 0o600))
	}
	require.NotRegexp(t, `(?i)<script|<link|<img|<iframe|@import|url\(|style=|\son\w+=|(src|href)="(https?:)?//`, page)

	_, doc := openAPI(t, w)
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		require.False(t, ids[m[1]], "the id %s stands twice", m[1])
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(` href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		require.True(t, ids[m[1]], "the link to %s leads nowhere", m[1])
	}
	for path, item := range doc.Paths {
		require.Contains(t, page, "<code>"+path+"</code>")
		for _, op := range item {
			require.True(t, ids[op.OperationID])
			for _, r := range op.Responses {
				for _, m := range r.Content {
					for _, e := range m.Examples {
						require.Contains(t, page, strings.NewReplacer("'", "&#39;", `"`, "&#34;").Replace(e.Summary))
					}
				}
			}
		}
	}
}

func TestTheGuideNamesEveryRouteAndProblem(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join("..", "docs", "api.md"))
	require.NoError(t, err)
	_, doc := openAPI(t, newWorld(t))
	for path, item := range doc.Paths {
		for method := range item {
			require.Contains(t, string(guide), "`"+strings.ToUpper(method)+" "+path+"`")
		}
	}
	for _, slug := range []string{
		"invalid", "unauthorized", "forbidden", "not_found", "method_not_allowed", "too_large", "unsupported_media_type",
		"timeout", "conflict", "rate_limited", "internal", "unavailable",
	} {
		require.Contains(t, string(guide), "`"+slug+"`")
	}
	require.Contains(t, string(guide), strconv.Itoa(api.DefaultUserLimit)+" requests a minute")
	require.Contains(t, string(guide), "an address "+strconv.Itoa(api.DefaultIPLimit))
}
