package racing_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/racing"
)

// play runs a world with the little service for a virtual time, drains, and
// returns the verdict.
func play(t *testing.T, seed uint64, long time.Duration, vice func(want bool, p racing.Push) []racing.Push) (racing.Tally, racing.Stats, []string) {
	t.Helper()
	oracle := racing.NewOracle(racing.OracleConfig{})
	b := newBugle(oracle)
	b.vice = vice
	var story []string
	world, err := racing.New(racing.Config{
		Seed: seed, Targets: b, Oracle: oracle,
		Tell: func(line string) { story = append(story, line) },
	})
	require.NoError(t, err)
	b.views = world.Views()

	serving, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { b.run(serving) })
	living, cancel := context.WithTimeout(t.Context(), long)
	require.NoError(t, world.Run(living, b))
	cancel()
	time.Sleep(3 * time.Second)
	stop()
	wg.Wait()
	return oracle.Tally(true), world.Stats(), story
}

func TestWorldWithPerfectServiceIsClean(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			tally, stats, _ := play(t, seed, 60*time.Second, nil)
			require.True(t, tally.Clean(), "seed %d: %s\n%v", seed, &tally, tally.Problems)
			requireSum(t, tally)
			require.Zero(t, tally.Expired)
			require.Positive(t, tally.Announced["bet-settled/WON"], "seed %d", seed)
			require.Positive(t, tally.Announced["bet-settled/LOST"], "seed %d", seed)
			require.Positive(t, tally.Announced["race-soon/default"], "seed %d", seed)
			require.Positive(t, tally.Announced["race-changed/POSTPONED"]+tally.Announced["race-changed/ABANDONED"], "seed %d", seed)
			require.Positive(t, tally.CorrectionPushes, "seed %d", seed)
			require.Positive(t, stats.Corrections)
			require.Positive(t, stats.LateRows)
		})
	}
}

// Half an hour shows every fate of a race and every change in lives.
func TestWorldOverTimeIsClean(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			tally, stats, story := play(t, seed, 30*time.Minute, nil)
			require.True(t, tally.Clean(), "seed %d: %s\n%v", seed, &tally, tally.Problems)
			requireSum(t, tally)
			require.Positive(t, tally.Announced["bet-settled/VOID"])
			require.Positive(t, tally.Announced["race-changed/POSTPONED"])
			require.Positive(t, tally.Announced["race-changed/ABANDONED"])
			for _, name := range []string{"muted", "target_dead"} {
				require.Positive(t, tally.Excluded[name], name)
			}
			// What is excused because a change crossed an announcement has to be rare.
			require.Less(t, tally.Excluded["activation_in_flight"], tally.Expected/200)
			require.Less(t, tally.Excluded["deactivated"], tally.Expected/100)
			require.Positive(t, tally.Excluded["deactivated"])
			require.Greater(t, stats.Races, 80)
			require.Greater(t, stats.Settlements, 1000)
			all := strings.Join(story, "\n")
			for _, want := range []string{
				"mutes", "wants to hear", "uninstalls", "has a new token", "deactivates", "again", " gives ",
				"just when a push was on its way", "stewards", "on again", "abandoned", "did not come to the start",
			} {
				require.Contains(t, all, want)
			}
		})
	}
}

func requireSum(t *testing.T, tally racing.Tally) {
	t.Helper()
	excluded := 0
	for _, n := range tally.Excluded {
		excluded += n
	}
	require.Equal(t, tally.Expected, tally.Accepted+excluded+tally.Lost+tally.Outstanding)
}

func TestWorldIsRepeatable(t *testing.T) {
	t.Parallel()
	var stories [2][]string
	for i := range stories {
		synctest.Test(t, func(t *testing.T) {
			_, _, stories[i] = play(t, 7, 2*time.Minute, nil)
		})
	}
	require.Equal(t, stories[0], stories[1])
}

// Each vice of a service is found under its name.
func TestVicesAreFound(t *testing.T) {
	t.Parallel()
	first := func(f func(want bool, p racing.Push) ([]racing.Push, bool)) func(bool, racing.Push) []racing.Push {
		done := false
		return func(want bool, p racing.Push) []racing.Push {
			if !done {
				if pushes, did := f(want, p); did {
					done = true
					return pushes
				}
			}
			if want {
				return []racing.Push{p}
			}
			return nil
		}
	}
	tests := map[string]struct {
		vice   func(want bool, p racing.Push) ([]racing.Push, bool)
		reason string
	}{
		"drops one": {
			func(want bool, _ racing.Push) ([]racing.Push, bool) { return nil, want }, "lost/",
		},
		"drops a correction": {
			func(want bool, p racing.Push) ([]racing.Push, bool) {
				return nil, want && strings.HasPrefix(p.NID, "bet") && strings.HasSuffix(p.NID, "-2")
			}, "lost/never_accepted",
		},
		"sends one twice": {
			func(want bool, p racing.Push) ([]racing.Push, bool) { return []racing.Push{p, p}, want }, "duplicate/answered_before",
		},
		"sends to everybody": {
			func(want bool, p racing.Push) ([]racing.Push, bool) {
				return []racing.Push{p}, !want && strings.HasPrefix(p.NID, "bet")
			}, "unexpected/foreign_user",
		},
		"makes up a bet": {
			func(want bool, p racing.Push) ([]racing.Push, bool) {
				q := p
				q.Data = map[string]string{"link": "app://bet/none", "outcome": "WON"}
				return []racing.Push{p, q}, want
			}, "unexpected/unknown_subject",
		},
		"says the wrong outcome": {
			func(want bool, p racing.Push) ([]racing.Push, bool) {
				q := p
				q.Data = map[string]string{"link": p.Data["link"], "outcome": "DRAWN"}
				return []racing.Push{q}, want && strings.HasPrefix(p.NID, "bet")
			}, "unexpected/unknown_content",
		},
		"says nothing": {
			func(want bool, p racing.Push) ([]racing.Push, bool) {
				q := p
				q.Data = nil
				return []racing.Push{q}, want
			}, "unexpected/unknown_subject",
		},
		"sends to a stranger": {
			func(want bool, p racing.Push) ([]racing.Push, bool) {
				q := p
				q.Token = "token-of-nobody"
				return []racing.Push{p, q}, want
			}, "unexpected/unknown_target",
		},
		"other ids on a repeat": {
			func(want bool, p racing.Push) ([]racing.Push, bool) {
				q := p
				p.AnswerLost, q.NID = true, "other"
				return []racing.Push{p, q}, want
			}, "duplicate/other_ids",
		},
		"other collapse id on a repeat": {
			func(want bool, p racing.Push) ([]racing.Push, bool) {
				q := p
				p.AnswerLost, q.CollapseID = true, "other"
				return []racing.Push{p, q}, want
			}, "duplicate/other_ids",
		},
		"repeats an answered repeat": {
			func(want bool, p racing.Push) ([]racing.Push, bool) {
				lost := p
				lost.AnswerLost = true
				return []racing.Push{lost, p, p}, want
			}, "duplicate/answered_before",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tally, _, _ := play(t, 3, 60*time.Second, first(tt.vice))
				require.False(t, tally.Clean())
				requireSum(t, tally)
				found := false
				for reason := range tally.Reasons {
					found = found || strings.HasPrefix(reason, tt.reason)
				}
				require.True(t, found, "%v", tally.Reasons)
			})
		})
	}
}

func TestRepeatAfterLostAnswerIsCountedApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		tally, _, _ := play(t, 3, 60*time.Second, func(want bool, p racing.Push) []racing.Push {
			if !want {
				return nil
			}
			if n++; n%10 == 0 {
				lost := p
				lost.AnswerLost = true
				return []racing.Push{lost, p}
			}
			return []racing.Push{p}
		})
		require.True(t, tally.Clean(), "%v", tally.Problems)
		require.Equal(t, n/10, tally.RepeatsAfterUnknown)
		require.Equal(t, n+n/10, tally.Received["fcm"])
	})
}
