package main

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/racing"
)

// register mints targets as the providers do.
type register struct{ n int }

func (r *register) mint() string {
	r.n++
	return fmt.Sprint("target-", r.n)
}

func (r *register) MintToken(string) string          { return r.mint() }
func (r *register) Unregister(string)                {}
func (r *register) MintDevice(string, string) string { return r.mint() }
func (r *register) RemoveDevice(string)              {}
func (r *register) KillDevice(string) error          { return nil }

// fed lets a world go on for a minute of virtual time, all but a second.
func fed(t *testing.T, seed uint64) *feed {
	t.Helper()
	f := newFeed(newOracle(), seed, 12)
	targets := &register{}
	f.mint(targets, targets)
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute-time.Second)
		defer stop()
		require.NoError(t, f.run(ctx))
	})
	return f
}

func TestFeed(t *testing.T) {
	t.Parallel()
	f := fed(t, 1)
	require.True(t, len(f.devices) >= 40 && len(f.devices) <= 80, len(f.devices))
	kinds := map[string]int{}
	for _, d := range f.devices {
		kinds[d.Kind]++
	}
	require.InDelta(t, kinds[racing.KindFCM], kinds[racing.KindAbly], float64(len(f.devices))/4)

	corrected, short, far := 0, 0, 0
	for _, e := range f.oracle.events {
		seen := map[string]bool{}
		for _, r := range e.revs {
			name := fmt.Sprint(r.outcome, r.payout, r.startsAt)
			require.False(t, seen[name], "two revisions of %s look alike", e.id)
			seen[name] = true
			switch {
			case e.about == aboutBet:
				require.NotEmpty(t, e.user)
			case r.short:
				short++
				require.Less(t, r.startsAt.Sub(r.visible), 30*time.Second)
			default:
				far++
				require.InDelta(t, farLead.Seconds(), r.startsAt.Sub(r.visible).Seconds(), 0.01)
			}
		}
		if len(e.revs) > 1 {
			corrected++
		}
	}
	require.InDelta(t, 12*59, f.bets, 1)
	require.InDelta(t, f.bets/4, corrected, float64(f.bets)/8)
	require.Equal(t, 4, short)
	require.Equal(t, 3, far)
	require.Equal(t, f.bets, f.settled.Len())

	// Every row is there as the oracle was told, and some are older than they were visible.
	late := 0
	for row := range f.settled.Rows() {
		id := row.Values[0].(string)
		e := f.oracle.index[subject{aboutBet, id}]
		newest := e.revs[len(e.revs)-1]
		require.Equal(t, newest.payout.String(), row.Values[9])
		require.Equal(t, string(newest.outcome), row.Values[11])
		require.False(t, row.Time.Before(f.began), "older than the rules' beginning")
		if age := newest.visible.Sub(row.Time); age > time.Second/2 {
			late++
			require.Less(t, age, 2*time.Minute, "beyond the lookback")
		}
	}
	require.Positive(t, late)
}

func TestFeedFollowsFromTheSeed(t *testing.T) {
	t.Parallel()
	outcomes := func(f *feed) (all []string) {
		for _, e := range f.oracle.events[:100] {
			all = append(all, fmt.Sprint(e.id, e.user, e.revs[0].outcome, e.revs[0].payout, e.revs[0].short))
		}
		return all
	}
	first := fed(t, 1)
	require.Equal(t, outcomes(first), outcomes(fed(t, 1)))
	require.Equal(t, first.devices, fed(t, 1).devices)
	require.NotEqual(t, outcomes(first), outcomes(fed(t, 2)))
}
