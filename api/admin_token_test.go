package api_test

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/fault"
)

func TestATokenIsLongRandomAndNamed(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 1, 12, 0, 0, 5, time.UTC)
	seen := map[string]bool{}
	for range 100 {
		plain, token, err := api.NewAdminToken("alice@example.com", now, 48*time.Hour)
		require.NoError(t, err)
		require.Regexp(t, `^bga_[A-Za-z0-9_-]{43}$`, plain.Reveal(), "32 bytes in base64url")
		require.False(t, seen[plain.Reveal()])
		seen[plain.Reveal()] = true
		require.NotContains(t, token.Line(), plain.Reveal()[4:])
		require.NotContains(t, plain.String(), plain.Reveal(), "it prints as a hash")
		back, err := api.ParseAdminTokens([]byte(token.Line()))
		require.NoError(t, err)
		require.Equal(t, []api.AdminToken{token}, back)
		require.Equal(t, time.Date(2026, 9, 3, 12, 0, 0, 0, time.UTC), token.Expires)
	}
	for _, name := range []string{"", "a b", "ä", strings.Repeat("a", 65), "a\n"} {
		_, _, err := api.NewAdminToken(name, now, 0)
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
	}
	_, _, err := api.NewAdminToken("a", now, -1)
	require.Error(t, err)
}

func TestATokensFileIsReadAsAWhole(t *testing.T) {
	t.Parallel()
	hash := "sha256:" + strings.Repeat("0f", 32)
	good := "# operators\n\n  alice " + hash + " 2026-01-01T00:00:00Z never  \r\nci sha256:" + strings.Repeat("A1", 32) + "\t2026-01-01T00:00:00+02:00 2026-02-01T00:00:00Z"
	tokens, err := api.ParseAdminTokens([]byte(good))
	require.NoError(t, err)
	require.Len(t, tokens, 2)
	require.Equal(t, "alice", tokens[0].Name)
	require.True(t, tokens[0].Expires.IsZero())
	require.Equal(t, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), tokens[1].Expires)

	for name, line := range map[string]string{
		"three words":     "alice " + hash + " 2026-01-01T00:00:00Z",
		"five words":      "alice " + hash + " 2026-01-01T00:00:00Z never ever",
		"the token":       "alice bga_secretsecret 2026-01-01T00:00:00Z never",
		"short hash":      "alice " + hash[:len(hash)-2] + " 2026-01-01T00:00:00Z never",
		"long hash":       "alice " + hash + "00 2026-01-01T00:00:00Z never",
		"odd hash":        "alice " + hash[:len(hash)-1] + " 2026-01-01T00:00:00Z never",
		"no digits":       "alice sha256:" + strings.Repeat("zz", 32) + " 2026-01-01T00:00:00Z never",
		"another hash":    "alice sha1:" + strings.Repeat("0f", 32) + " 2026-01-01T00:00:00Z never",
		"name":            "al/ice " + hash + " 2026-01-01T00:00:00Z never",
		"created":         "alice " + hash + " yesterday never",
		"expires":         "alice " + hash + " 2026-01-01T00:00:00Z soon",
		"zero expires":    "alice " + hash + " 2026-01-01T00:00:00Z 0001-01-01T00:00:00Z",
		"same hash again": "alice " + hash + " 2026-01-01T00:00:00Z never\nbob " + hash + " 2026-01-01T00:00:00Z never",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens, err := api.ParseAdminTokens([]byte("\n" + line))
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.Empty(t, tokens)
			require.Contains(t, err.Error(), "line ")
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, err.Error(), hash)
		})
	}
	_, err = api.ParseAdminTokens([]byte(strings.Repeat("#", api.MaxAdminTokensFile+1)))
	require.Error(t, err)
}

func FuzzParseAdminTokens(f *testing.F) {
	line := "alice sha256:" + strings.Repeat("0f", 32) + " 2026-01-01T00:00:00Z never\n"
	f.Add([]byte(line))
	f.Add([]byte("# x\r\n" + line + line))
	f.Add([]byte("alice bga_0 a b"))
	f.Add([]byte("a sha256:0 2026-01-01T00:00:00+23:59 9999-12-31T23:59:59Z\n\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tokens, err := api.ParseAdminTokens(text)
		if err != nil {
			require.Empty(t, tokens)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		var again strings.Builder
		for _, token := range tokens {
			again.WriteString(token.Line())
		}
		back, err := api.ParseAdminTokens([]byte(again.String()))
		require.NoError(t, err)
		require.Len(t, back, len(tokens))
		for i := range tokens {
			require.Equal(t, tokens[i].Name, back[i].Name)
			require.Equal(t, tokens[i].Hash, back[i].Hash)
			require.Equal(t, tokens[i].Expires.Unix(), back[i].Expires.Unix())
		}
	})
}

// The file's changes are seen within about a second; what is spoilt changes nothing.
func TestTheTokensFileIsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdminWorld(t)
		status := func(token string) int {
			return a.do(t, call{method: "GET", path: "/admin/v1/rules", token: token}).Code
		}
		require.Equal(t, 200, status(a.token))
		bob := a.addToken(t, "bob", time.Hour)
		require.Equal(t, 401, status(bob), "not looked at yet")
		time.Sleep(2 * time.Second)
		require.Equal(t, 200, status(bob))
		require.Contains(t, a.log.String(), "admin tokens reloaded")

		// A spoilt file is refused as a whole and told of once.
		text, err := os.ReadFile(a.tokens)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(a.tokens, append(text, "mallory bga_secret now never\n"...), 0o600))
		for range 5 {
			time.Sleep(2 * time.Second)
			require.Equal(t, 200, status(bob))
		}
		require.Equal(t, 1, strings.Count(a.log.String(), "admin tokens not reloaded"))
		require.NotContains(t, a.log.String(), "bga_secret")

		// Mended, with alice's line gone.
		lines := strings.SplitAfterN(string(text), "\n", 2)
		require.NoError(t, os.WriteFile(a.tokens, []byte(lines[1]), 0o600))
		time.Sleep(2 * time.Second)
		require.Equal(t, 401, status(a.token))
		require.Equal(t, 200, status(bob))

		time.Sleep(time.Hour)
		require.Equal(t, 401, status(bob), "expired")
	})
}

func TestASpoiltTokensFileStopsTheStart(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	require.NoError(t, os.WriteFile(a.tokens, []byte("bga_secret\n"), 0o600))
	_, err := api.NewAdminTokens(a.tokens, zerolog.Nop())
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.NotContains(t, err.Error(), "bga_secret")
	_, err = api.NewAdminTokens(a.tokens+".missing", zerolog.Nop())
	require.NoError(t, err, "the first token may be made later")
	_, err = api.NewAdminTokens(t.TempDir(), zerolog.Nop())
	require.Error(t, err, "a folder is no file")
}
