package racing_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/racing"
)

// bench is an oracle with one user on one device, told facts by hand.
type bench struct {
	*racing.Oracle
	seq     uint64
	strikes racing.Strikes
}

func newBench() *bench {
	b := &bench{}
	b.Oracle = racing.NewOracle(racing.OracleConfig{Strikes: func() racing.Strikes { return b.strikes }})
	b.Activating("phone", "ada", "tok")()
	time.Sleep(time.Minute)
	return b
}

// push lets the provider accept a message about a subject.
func (b *bench) push(token, link string, data ...string) uint64 {
	b.seq++
	p := racing.Push{
		Seq: b.seq, Provider: "fcm", Token: token, NID: fmt.Sprint(b.seq), At: time.Now(), Attempt: 1,
		Data: map[string]string{"link": link},
	}
	for i := 0; i+1 < len(data); i += 2 {
		p.Data[data[i]] = data[i+1]
	}
	b.Accepted(p)
	return b.seq
}

// ably lets Ably accept a message about the bet, which then fails with the code
// unless that is 0.
func (b *bench) ably(device string, code int) {
	b.seq++
	b.Accepted(racing.Push{
		Seq: b.seq, Provider: "ably", Token: device, NID: fmt.Sprint(b.seq), At: time.Now(), Attempt: 1, Code: code,
		Data: map[string]string{"link": "app://bet/b", "outcome": "WON"},
	})
}

func (b *bench) soon(token string) uint64 {
	return b.push(token, "app://race/r", "class", "marketing")
}

func (b *bench) changed(token string) { b.push(token, "app://race/r", "class", "service") }

func (b *bench) bet(token, outcome string) { b.push(token, "app://bet/b", "outcome", outcome) }

// The oracle by cases: what happens, then what it must find. Reasons are of
// problems, excluded what was excused; everything not named must be zero.
func TestOracle(t *testing.T) {
	t.Parallel()
	const sec = time.Second
	tests := map[string]struct {
		do       func(b *bench)
		accepted int
		forDead  int
		reasons  map[string]int
		excluded map[string]int
	}{
		"told in time": {
			do:       func(b *bench) { b.BetSeen("b", "ada", racing.Won, 500); time.Sleep(sec); b.bet("tok", "WON") },
			accepted: 1,
		},
		"never told": {
			do:      func(b *bench) { b.BetSeen("b", "ada", racing.Won, 500) },
			reasons: map[string]int{"lost/never_accepted": 1},
		},
		"a rejection told": {
			do: func(b *bench) {
				b.BetRejected("b", "ada", "ODDS_MOVED")
				time.Sleep(sec)
				b.push("tok", "app://bet/b", "reason", "ODDS_MOVED")
			},
			accepted: 1,
		},
		"a rejection never told": {
			do:      func(b *bench) { b.BetRejected("b", "ada", "ODDS_MOVED") },
			reasons: map[string]int{"lost/never_accepted": 1},
		},
		"a rejection told for another reason": {
			do: func(b *bench) {
				b.BetRejected("b", "ada", "ODDS_MOVED")
				b.push("tok", "app://bet/b", "reason", "RACE_STARTED")
			},
			reasons: map[string]int{"lost/never_accepted": 1, "unexpected/unknown_content": 1},
		},
		"a rejection told as a loss": {
			do: func(b *bench) {
				b.BetRejected("b", "ada", "ODDS_MOVED")
				b.bet("tok", "LOST")
			},
			reasons: map[string]int{"lost/never_accepted": 1, "unexpected/unknown_content": 1},
		},
		"a rejection told twice": {
			do: func(b *bench) {
				b.BetRejected("b", "ada", "ODDS_MOVED")
				b.BetRejected("b", "ada", "RACE_STARTED") // of a repeated record
				b.push("tok", "app://bet/b", "reason", "ODDS_MOVED")
				b.push("tok", "app://bet/b", "reason", "ODDS_MOVED")
			},
			accepted: 1,
			reasons:  map[string]int{"duplicate/answered_before": 1},
		},
		"a race told before its start": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				time.Sleep(19 * sec)
				b.soon("tok")
			},
			accepted: 1,
		},
		"a race told after its start": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				time.Sleep(21 * sec)
				b.soon("tok")
			},
			accepted: 1,
			reasons:  map[string]int{"late/after_start": 1},
		},
		"a race far away is not due": {
			do: func(b *bench) { b.RaceSeen("r", time.Now().Add(20*time.Hour), racing.Scheduled) },
		},
		"a race far away is told too early": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*time.Hour), racing.Scheduled)
				b.soon("tok")
			},
			reasons: map[string]int{"unexpected/unknown_content": 1},
		},
		"a race never told expires": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				time.Sleep(21 * sec)
			},
			reasons: map[string]int{"lost/expired": 1},
		},
		"a race never told expires while the provider failed": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				b.strikes.Provider++
				time.Sleep(21 * sec)
			},
			excluded: map[string]int{"expired_under_fault": 1},
		},
		"a strike excuses one expiry only": {
			do: func(b *bench) {
				b.Activating("tablet", "ada", "tok2")()
				time.Sleep(sec)
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				b.strikes.Provider++
				time.Sleep(21 * sec)
			},
			excluded: map[string]int{"expired_under_fault": 1},
			reasons:  map[string]int{"lost/expired": 1},
		},
		"a strike that a later attempt overcame excuses nothing": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.strikes.Provider++
				b.Accepted(racing.Push{
					Seq: 9, Provider: "fcm", Token: "tok", NID: "9", At: time.Now(), Attempt: 2,
					Data: map[string]string{"link": "app://bet/b", "outcome": "WON", "payout": "5.000"},
				})
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				time.Sleep(21 * sec)
			},
			accepted: 1,
			reasons:  map[string]int{"lost/expired": 1},
		},
		"a race that could not be read": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				b.strikes.Source += 20
				time.Sleep(20 * sec)
				b.RaceSeen("r", time.Now(), racing.Off)
			},
			excluded: map[string]int{"expired_under_fault": 1},
		},
		"a correction": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				time.Sleep(sec)
				b.bet("tok", "WON")
				time.Sleep(sec)
				b.BetSeen("b", "ada", racing.Lost, 0)
				time.Sleep(sec)
				b.bet("tok", "LOST")
			},
			accepted: 2,
		},
		"the same row again is no news": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.BetSeen("b", "ada", racing.Won, 500)
				time.Sleep(sec)
				b.bet("tok", "WON")
			},
			accepted: 1,
		},
		"the old result after the new": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				time.Sleep(sec)
				b.BetSeen("b", "ada", racing.Lost, 0)
				time.Sleep(sec)
				b.bet("tok", "LOST")
				b.bet("tok", "WON")
			},
			accepted: 2,
			reasons:  map[string]int{"late/after_newer_revision": 1},
		},
		"superseded before it was told": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				time.Sleep(sec)
				b.BetSeen("b", "ada", racing.Lost, 0)
				time.Sleep(sec)
				b.bet("tok", "LOST")
			},
			accepted: 1,
			excluded: map[string]int{"superseded": 1},
		},
		"superseded long after it should have been told": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				time.Sleep(time.Minute)
				b.BetSeen("b", "ada", racing.Lost, 0)
				time.Sleep(sec)
				b.bet("tok", "LOST")
			},
			accepted: 1,
			reasons:  map[string]int{"lost/never_accepted": 1},
		},
		"muted": {
			do: func(b *bench) {
				b.Muting("ada", []string{"loss"})()
				time.Sleep(5 * sec)
				b.BetSeen("b", "ada", racing.Lost, 0)
			},
			excluded: map[string]int{"muted": 1},
		},
		"told although muted": {
			do: func(b *bench) {
				b.Muting("ada", []string{"loss"})()
				time.Sleep(5 * sec)
				b.BetSeen("b", "ada", racing.Lost, 0)
				b.bet("tok", "LOST")
			},
			accepted: 1,
			reasons:  map[string]int{"unexpected/muted": 1},
		},
		"another category muted": {
			do: func(b *bench) {
				b.Muting("ada", []string{"loss"})()
				time.Sleep(5 * sec)
				b.BetSeen("b", "ada", racing.Won, 500)
			},
			reasons: map[string]int{"lost/never_accepted": 1},
		},
		"muted no more": {
			do: func(b *bench) {
				b.Muting("ada", []string{"loss"})()
				time.Sleep(5 * sec)
				b.Muting("ada", nil)()
				time.Sleep(5 * sec)
				b.BetSeen("b", "ada", racing.Lost, 0)
			},
			reasons: map[string]int{"lost/never_accepted": 1},
		},
		"a correction in a muted category changes what was told": {
			do: func(b *bench) {
				b.Muting("ada", []string{"loss"})()
				time.Sleep(5 * sec)
				b.BetSeen("b", "ada", racing.Won, 500)
				b.bet("tok", "WON")
				time.Sleep(sec)
				b.BetSeen("b", "ada", racing.Lost, 0)
			},
			accepted: 1,
			reasons:  map[string]int{"lost/never_accepted": 1},
		},
		"deactivated": {
			do: func(b *bench) {
				b.Deactivating("phone")()
				time.Sleep(5 * sec)
				b.BetSeen("b", "ada", racing.Won, 500)
			},
		},
		"told after deactivation": {
			do: func(b *bench) {
				b.Deactivating("phone")()
				time.Sleep(5 * sec)
				b.BetSeen("b", "ada", racing.Won, 500)
				b.bet("tok", "WON")
			},
			reasons: map[string]int{"unexpected/inactive_device": 1},
		},
		"deactivated while it was on its way": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				time.Sleep(sec)
				b.Deactivating("phone")()
			},
			excluded: map[string]int{"deactivated": 1},
		},
		"told a moment after deactivation": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.Deactivating("phone")()
				time.Sleep(sec / 2)
				b.bet("tok", "WON")
			},
			accepted: 1,
		},
		"told too long after deactivation": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.Deactivating("phone")()
				time.Sleep(2 * sec)
				b.bet("tok", "WON")
			},
			accepted: 1,
			reasons:  map[string]int{"unexpected/inactive_device": 1},
		},
		"a device that came later": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.bet("tok", "WON")
				time.Sleep(time.Minute)
				b.Activating("tablet", "ada", "tok2")()
				b.bet("tok2", "WON")
			},
			accepted: 1,
			reasons:  map[string]int{"unexpected/activated_later": 1},
		},
		"a device that came meanwhile may be told": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.bet("tok", "WON")
				time.Sleep(sec)
				b.Activating("tablet", "ada", "tok2")()
				b.bet("tok2", "WON")
			},
			accepted: 1,
		},
		"another user's device": {
			do: func(b *bench) {
				b.Activating("other", "ben", "tok2")()
				b.BetSeen("b", "ada", racing.Won, 500)
				b.bet("tok", "WON")
				b.bet("tok2", "WON")
			},
			accepted: 1,
			reasons:  map[string]int{"unexpected/foreign_user": 1},
		},
		"a device that changed hands": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.Activating("phone", "ben", "tok")()
				time.Sleep(5 * sec)
				b.bet("tok", "WON")
			},
			accepted: 1,
			reasons:  map[string]int{"unexpected/foreign_user": 1},
		},
		"a dead target": {
			do: func(b *bench) {
				b.Died("tok")
				b.BetSeen("b", "ada", racing.Won, 500)
			},
			excluded: map[string]int{"target_dead": 1},
		},
		"a rotated token": {
			do: func(b *bench) {
				b.Activating("phone", "ada", "tok2")()
				b.Died("tok")
				time.Sleep(sec)
				b.BetSeen("b", "ada", racing.Won, 500)
			},
			reasons: map[string]int{"lost/never_accepted": 1},
		},
		"a token rotated on the way": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				time.Sleep(sec)
				b.Activating("phone", "ada", "tok2")()
				time.Sleep(sec)
				b.Died("tok")
			},
			reasons: map[string]int{"lost/never_accepted": 1},
		},
		"a rotated token is told": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.Activating("phone", "ada", "tok2")()
				b.Died("tok")
				b.bet("tok2", "WON")
			},
			accepted: 1,
		},
		"told through Ably": {
			do:       func(b *bench) { b.BetSeen("b", "ada", racing.Won, 500); b.ably("tok", 0) },
			accepted: 1,
		},
		"told twice through Ably": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.ably("tok", 0)
				b.ably("tok", 0)
			},
			accepted: 1,
			reasons:  map[string]int{"duplicate/answered_before": 1},
		},
		"told again through Ably after its answer was lost": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.ably("tok", 0)
				b.AnswerLost("fcm", b.seq) // another provider's
				b.AnswerLost("ably", b.seq)
				b.seq-- // the same nid again
				b.ably("tok", 0)
			},
			accepted: 1,
		},
		"another provider's lost answer excuses nothing": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.ably("tok", 0)
				b.AnswerLost("fcm", b.seq)
				b.seq--
				b.ably("tok", 0)
			},
			accepted: 1,
			reasons:  map[string]int{"duplicate/answered_before": 1},
		},
		"accepted for a dead target": {
			do: func(b *bench) {
				b.Died("tok")
				b.BetSeen("b", "ada", racing.Won, 500)
				b.ably("tok", 103005)
			},
			forDead:  1,
			excluded: map[string]int{"target_dead": 1},
		},
		"accepted for a dead target again and again": {
			do: func(b *bench) {
				b.Died("tok")
				b.BetSeen("b", "ada", racing.Won, 500)
				b.ably("tok", 103005)
				time.Sleep(20 * sec)
				b.ably("tok", 103005) // it may not have heard yet
				time.Sleep(11 * sec)
				b.ably("tok", 103005)
			},
			forDead:  3,
			excluded: map[string]int{"target_dead": 1},
			reasons:  map[string]int{"unexpected/dead_target": 1},
		},
		"told before the target died": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.ably("tok", 0)
				time.Sleep(sec)
				b.Died("tok")
				b.ably("tok", 103005)
			},
			accepted: 1,
			forDead:  1,
		},
		"reported dead while it lives": {
			do: func(b *bench) {
				b.BetSeen("b", "ada", racing.Won, 500)
				b.ably("tok", 103005)
			},
			reasons: map[string]int{"lost/never_accepted": 1, "unexpected/failed_after_acceptance": 1},
		},
		"dropped over the account's rate": {
			do: func(b *bench) {
				b.Died("tok")
				b.BetSeen("b", "ada", racing.Won, 500)
				b.ably("tok", 42926)
			},
			excluded: map[string]int{"target_dead": 1},
			reasons:  map[string]int{"unexpected/failed_after_acceptance": 1},
		},
		"a dead target of nobody": {
			do:      func(b *bench) { b.ably("nobody", 103005) },
			reasons: map[string]int{"unexpected/unknown_target": 1},
		},
		"a device that registered anew": {
			do: func(b *bench) {
				b.Activating("phone", "ada", "tok2")()
				b.Died("tok")
				time.Sleep(sec)
				b.BetSeen("b", "ada", racing.Won, 500)
				b.ably("tok2", 0)
			},
			accepted: 1,
		},
		"a change for who was told": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				b.soon("tok")
				time.Sleep(sec)
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Abandoned)
			},
			accepted: 1,
			reasons:  map[string]int{"lost/never_accepted": 1},
		},
		"a change for who was told afterwards": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Abandoned)
				time.Sleep(sec)
				b.soon("tok")
				b.changed("tok")
			},
			accepted: 2,
		},
		"a change for who took the device over": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				b.soon("tok")
				time.Sleep(5 * sec)
				b.Activating("phone", "ben", "tok")()
				time.Sleep(5 * sec)
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Abandoned)
			},
			accepted: 1,
			excluded: map[string]int{"told_another_user": 1},
		},
		"a change for who was told after taking the device over": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				b.soon("tok")
				time.Sleep(5 * sec)
				b.Activating("phone", "ben", "tok")()
				time.Sleep(5 * sec)
				b.RaceSeen("r", time.Now().Add(30*sec), racing.Scheduled)
				b.soon("tok")
				b.RaceSeen("r", time.Now().Add(30*sec), racing.Abandoned)
			},
			accepted: 2,
			reasons:  map[string]int{"lost/never_accepted": 1},
		},
		"a change for who was not told": {
			do: func(b *bench) {
				b.Muting("ada", []string{"race"})()
				time.Sleep(5 * sec)
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				time.Sleep(sec)
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Abandoned)
				b.changed("tok")
			},
			accepted: 1,
			reasons:  map[string]int{"unexpected/not_told": 1},
			excluded: map[string]int{"muted": 1},
		},
		"race-soon after its change": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				b.soon("tok")
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Abandoned)
				b.changed("tok")
				b.soon("tok")
			},
			accepted: 2,
			reasons:  map[string]int{"duplicate/answered_before": 1, "late/after_newer_revision": 1},
		},
		"an answer found lost afterwards": {
			do: func(b *bench) {
				b.RaceSeen("r", time.Now().Add(20*sec), racing.Scheduled)
				seq := b.soon("tok")
				b.seq-- // the same nid again
				b.AnswerLost("fcm", seq)
				b.soon("tok")
			},
			accepted: 1,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				tt.do(b)
				time.Sleep(sec)
				tally := b.Tally(true)
				requireSum(t, tally)
				want := func(m map[string]int) map[string]int {
					if m == nil {
						return map[string]int{}
					}
					return m
				}
				require.Equal(t, want(tt.reasons), tally.Reasons, "%v", tally.Problems)
				require.Equal(t, want(tt.excluded), tally.Excluded)
				require.Equal(t, tt.accepted, tally.Accepted)
				require.Equal(t, tt.forDead, tally.AcceptedForDead)
				require.Equal(t, len(tt.reasons) == 0, tally.Clean())
			})
		})
	}
}

func TestOracleWaitsBeforeItCallsAnythingLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.BetSeen("b", "ada", racing.Won, 500)
		require.Equal(t, map[racing.UserID]int{"ada": 1}, b.Outstanding())
		tally := b.Tally(false)
		require.Equal(t, 1, tally.Outstanding)
		require.True(t, tally.Clean())
		requireSum(t, tally)
		time.Sleep(1500 * time.Millisecond)
		b.bet("tok", "WON")
		require.Empty(t, b.Outstanding())
		tally = b.Tally(true)
		require.Equal(t, 1500*time.Millisecond, tally.P50)
		require.Equal(t, 1500*time.Millisecond, tally.P99)
	})
}
