package devices_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/devices"
)

func TestPreferencesNormalize(t *testing.T) {
	t.Parallel()
	got, err := devices.Preferences{Muted: []string{"win", "loss", "win"}}.Normalize()
	require.NoError(t, err)
	require.Equal(t, devices.Preferences{Muted: []string{"loss", "win"}, OptedIn: []string{}}, got)

	_, err = devices.Preferences{
		Muted:   []string{"win", "", "Loss", "a b", strings.Repeat("a", 65)},
		OptedIn: []string{"race", "ü"},
	}.Normalize()
	require.Equal(t, []string{"muted[1]", "muted[2]", "muted[3]", "muted[4]", "opted_in[1]"}, fieldsOf(t, err))

	many := make([]string, 0, 130)
	for i := range 65 {
		many = append(many, fmt.Sprintf("c-%d", i), "c-0")
	}
	_, err = devices.Preferences{Muted: many}.Normalize()
	require.Equal(t, []string{"muted"}, fieldsOf(t, err))
	got, err = devices.Preferences{Muted: many[:128]}.Normalize()
	require.NoError(t, err)
	require.Len(t, got.Muted, 64)
}

func TestNormalizingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9_-]{1,64}`), 0, 20)
		p := devices.Preferences{Muted: names.Draw(t, "muted"), OptedIn: names.Draw(t, "opted in")}
		once, err := p.Normalize()
		require.NoError(t, err)
		require.Subset(t, once.Muted, p.Muted)
		require.Subset(t, p.Muted, once.Muted)
		twice, err := once.Normalize()
		require.NoError(t, err)
		require.Equal(t, once, twice)
	})
}
