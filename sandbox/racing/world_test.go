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
	o := playWith(t, racing.Config{Seed: seed}, long, func(b *bugle) { b.vice = vice })
	require.Empty(t, o.deaths.Missed)
	return o.tally, o.stats, o.story
}

// outcome is what a run came to.
type outcome struct {
	tally  racing.Tally
	stats  racing.Stats
	deaths racing.Deaths
	story  []string
}

func playWith(t *testing.T, cfg racing.Config, long time.Duration, change func(*bugle)) outcome {
	t.Helper()
	return playIn(t, cfg, nil, long, change)
}

// playIn is playWith for a world that attach gets to know before it begins.
func playIn(t *testing.T, cfg racing.Config, attach func(*racing.World), long time.Duration, change func(*bugle)) outcome {
	t.Helper()
	oracle := racing.NewOracle(racing.OracleConfig{})
	b := newBugle(oracle)
	change(b)
	var story []string
	world, err := racing.New(racing.Config{
		Seed: cfg.Seed, Users: cfg.Users, Targets: b, Ably: b, Oracle: oracle, Market: cfg.Market, Provisional: cfg.Provisional,
		Tell: func(line string) { story = append(story, line) },
	})
	require.NoError(t, err)
	if attach != nil {
		attach(world)
	}
	b.views = world.Views()

	serving, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { b.run(serving) })
	living, cancel := context.WithTimeout(t.Context(), long)
	require.NoError(t, world.Run(living, b))
	cancel()
	time.Sleep(3 * time.Second)
	deaths, err := world.Deaths(t.Context())
	require.NoError(t, err)
	stop()
	wg.Wait()
	return outcome{oracle.Tally(true), world.Stats(), deaths, story}
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

// Whatever the seed and however few the users: within a minute somebody whom
// Ably reaches uninstalls the app, Ably reports it, and the target is retired.
func TestEveryMinuteShowsADeathAtAbly(t *testing.T) {
	t.Parallel()
	for _, users := range []int{10, 40} {
		for seed := range uint64(8) {
			synctest.Test(t, func(t *testing.T) {
				o := playWith(t, racing.Config{Seed: seed, Users: users}, 45*time.Second, func(*bugle) {})
				require.True(t, o.tally.Clean(), "seed %d: %s\n%v", seed, &o.tally, o.tally.Problems)
				require.Positive(t, o.deaths.Retired, "seed %d", seed)
				require.Positive(t, o.tally.AcceptedForDead)
				require.Positive(t, o.stats.AblyDevices)
				require.Greater(t, o.stats.Devices, o.stats.AblyDevices)
				require.Contains(t, strings.Join(o.story, "\n"), "its target is retired")
			})
		}
	}
}

// A service that does not read the push log goes on sending to the dead.
func TestDeafServiceIsFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := playWith(t, racing.Config{Seed: 3}, 2*time.Minute, func(b *bugle) { b.deaf = true })
		require.NotEmpty(t, o.deaths.Missed)
		require.Zero(t, o.deaths.Retired)
		require.Positive(t, o.tally.Reasons["unexpected/dead_target"], "%v", o.tally.Reasons)
		require.Zero(t, o.tally.Lost+o.tally.Duplicates+o.tally.Late)
	})
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
			require.InDelta(t, stats.Devices/2, stats.AblyDevices, float64(stats.Devices)/8)
			require.Positive(t, tally.Received["fcm"])
			require.Positive(t, tally.Received["ably"])
			require.Positive(t, tally.AcceptedForDead)
			// What is excused because a change crossed an announcement has to be rare.
			require.Less(t, tally.Excluded["activation_in_flight"], tally.Expected/200)
			require.Less(t, tally.Excluded["deactivated"], tally.Expected/100)
			require.Positive(t, tally.Excluded["deactivated"])
			require.Greater(t, stats.Races, 80)
			require.Greater(t, stats.Settlements, 1000)
			all := strings.Join(story, "\n")
			for _, want := range []string{
				"mutes", "wants to hear", "uninstalls", "has a new token", "deactivates", "again", " gives ",
				"has registered with Ably anew", "its target is retired", "just when a push was on its way", "stewards", "on again", "abandoned", "did not come to the start",
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
			if p.Code != 0 {
				return []racing.Push{p}
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
		require.Equal(t, n+n/10, tally.Received["fcm"]+tally.Received["ably"])
	})
}
