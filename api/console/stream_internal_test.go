package console

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
)

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSeats()
	var leave func()
	for i := range mostStreams {
		taken, ok := s.take(strconv.Itoa(i / streamsOfSession))
		require.True(t, ok, i)
		leave = taken
	}
	_, ok := s.take("somebody new")
	require.False(t, ok)
	leave()
	leave() // twice is once
	_, ok = s.take("somebody new")
	require.True(t, ok)
	_, ok = s.take("somebody new")
	require.False(t, ok)
	require.Equal(t, mostStreams, s.all)
}

func TestAStreamKeepsNoSessionAlive(t *testing.T) {
	t.Parallel()
	now := time.Now()
	_, token, err := api.NewAdminToken("alice", now, 0)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte(token.Line()), 0o600))
	tokens, err := api.NewAdminTokens(file, zerolog.Nop())
	require.NoError(t, err)
	c := &Console{Operations: api.Operations{Tokens: tokens}, sessions: newSessions()}
	v := &visit{secret: c.sessions.begin(token, now.Add(time.Minute-sessionRest))}
	require.True(t, c.lasts(v))
	_, _, ok := c.sessions.find(v.secret, now.Add(2*time.Minute), false)
	require.False(t, ok, "its operator has rested all the while")
	require.False(t, c.lasts(v))
}

func TestADifferenceIsWhatHasChanged(t *testing.T) {
	t.Parallel()
	one := &picture{parts: []livePart{{ID: "a", HTML: "<b>1</b>", same: "1"}, {ID: "b", HTML: "x", same: "x"}}}
	two := &picture{parts: []livePart{{ID: "a", HTML: "<b>2</b>", same: "2"}, {ID: "b", HTML: "y", same: "x"}}}
	more := &picture{parts: append(two.parts[:2:2], livePart{ID: "c", HTML: "z\n", same: "z"})}
	require.Equal(t, ":\n\n", string(difference(one, one)))
	require.Equal(t, "event: parts\ndata: [{\"id\":\"a\",\"class\":\"\",\"html\":\"<b>2</b>\"}]\n\n", string(difference(one, two)))
	for _, before := range []*picture{nil, two} {
		require.Equal(t, "event: all\ndata: [{\"id\":\"a\",\"class\":\"\",\"html\":\"<b>2</b>\"},{\"id\":\"b\",\"class\":\"\",\"html\":\"y\"},{\"id\":\"c\",\"class\":\"\",\"html\":\"z\\n\"}]\n\n",
			string(difference(before, more)))
	}
}
