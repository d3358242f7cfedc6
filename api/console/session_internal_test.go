package console

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
)

// The hours of a session, which no test can wait for.
func TestHowLongASessionLasts(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC)
	lasts := func(s *sessions, secret string, after time.Duration, touch bool) bool {
		_, _, ok := s.find(secret, began.Add(after), touch)
		return ok
	}
	s := newSessions()
	rested := s.begin(api.AdminToken{}, began)
	require.True(t, lasts(s, rested, 59*time.Minute, false), "a page that renews itself…")
	require.False(t, lasts(s, rested, time.Hour, false), "…keeps nothing alive")
	require.False(t, lasts(s, rested, 0, true), "what has ended stays so")

	used := s.begin(api.AdminToken{}, began)
	for after := time.Duration(0); after < 12*time.Hour; after += 50 * time.Minute {
		require.True(t, lasts(s, used, after, true), after)
	}
	require.False(t, lasts(s, used, 12*time.Hour, true))

	back := s.begin(api.AdminToken{}, began)
	require.False(t, lasts(s, back, -time.Second, true), "a clock that went back")
}

func TestATokenHasSoManySessions(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC)
	s := newSessions()
	other := s.begin(api.AdminToken{Hash: [32]byte{2}}, now)
	first := s.begin(api.AdminToken{Hash: [32]byte{1}}, now)
	for i := range sessionsOfToken {
		s.begin(api.AdminToken{Hash: [32]byte{1}}, now.Add(time.Duration(i+1)*time.Second))
	}
	require.Len(t, s.byID, sessionsOfToken+1)
	_, _, ok := s.find(first, now.Add(time.Minute), false)
	require.False(t, ok, "the one that rested longest made room")
	_, _, ok = s.find(other, now.Add(time.Minute), false)
	require.True(t, ok)
}

// A page that is left open asks by itself, and keeps nobody signed in.
func TestOnlyItsOperatorKeepsASessionAlive(t *testing.T) {
	t.Parallel()
	_, token, err := api.NewAdminToken("alice", time.Now(), 0)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte(token.Line()), 0o600))
	tokens, err := api.NewAdminTokens(file, zerolog.Nop())
	require.NoError(t, err)
	c := &Console{Operations: api.Operations{Tokens: tokens}, sessions: newSessions()}
	began := time.Now().Add(-50 * time.Minute)
	for path, kept := range map[string]bool{livePath: false, streamPath: false, "/": true, "/audit": true} {
		secret := c.sessions.begin(token, began)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:8081"+path, http.NoBody)
		r.AddCookie(&http.Cookie{Name: cookieName(r), Value: secret})
		_, err := c.admit(httptest.NewRecorder(), r)
		require.NoError(t, err, path)
		_, _, ok := c.sessions.find(secret, began.Add(70*time.Minute), false)
		require.Equal(t, kept, ok, path)
	}
}
