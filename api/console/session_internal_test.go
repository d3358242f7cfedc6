package console

import (
	"testing"
	"time"

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
