package betting_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/betting"
)

const adas = "inbound:betting:cars:ada"

// betsBench is an oracle that heard of one good bet and one malformed one.
type betsBench struct {
	*betting.BetsOracle
	now  time.Time
	wish betting.Wish
	// excused is what the judge is asked with; nil is nobody.
	excused func(before, again betting.TopicBet) bool
}

func newBetsBench() *betsBench {
	b := &betsBench{
		BetsOracle: betting.NewBetsOracle(betting.BetsConfig{}), now: time.Unix(1786000000, 0),
		wish: betting.Wish{User: "ada", Event: "race-1", Runner: "Car 1", Stake: 500, Odds: 125},
	}
	b.Placing(adas, "", "good", betting.Taken, b.wish)
	b.Placing(adas, "", "bad", betting.Refused, betting.Wish{})
	b.accept("m1", "good")
	b.accept("m2", "bad")
	return b
}

func (b *betsBench) accept(id, data string) {
	b.Accepted(betting.Message{Channel: adas, ID: id, Data: []byte(data), At: b.now})
}

func (b *betsBench) record(id string) {
	b.Recorded(betting.TopicBet{ID: id, Wish: b.wish, At: b.now})
}

func (b *betsBench) right() {
	b.record("m1")
	b.Buried(betting.DeadLetter{ID: "m2", Reason: "not JSON"})
}

func TestBetsOracle(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		do      func(b *betsBench)
		want    betting.BetsTally
		reasons map[string]int
	}{
		"as it should be": {
			do:   (*betsBench).right,
			want: betting.BetsTally{Placed: 2, InKafka: 1, Rejected: 1},
		},
		"refused by Ably": {
			do:   func(b *betsBench) { b.right(); b.AblyRefused() },
			want: betting.BetsTally{Placed: 2, InKafka: 1, Rejected: 2},
		},
		"a stranger's bet goes either way": {
			do: func(b *betsBench) {
				b.right()
				b.accept("m3", "by curl")
				b.record("m3")
				b.accept("m4", "by curl, too")
				b.Buried(betting.DeadLetter{ID: "m4", Reason: "no runner"})
			},
			want: betting.BetsTally{Placed: 4, InKafka: 2, Rejected: 2},
		},
		"on another channel": {
			do: func(b *betsBench) {
				b.right()
				b.Accepted(betting.Message{Channel: "outbound:odds:race-1", ID: "x"})
			},
			want: betting.BetsTally{Placed: 2, InKafka: 1, Rejected: 1},
		},
		"a bet lost": {
			do:      func(b *betsBench) { b.Buried(betting.DeadLetter{ID: "m2", Reason: "not JSON"}) },
			want:    betting.BetsTally{Placed: 2, Rejected: 1, Lost: 1},
			reasons: map[string]int{"bet_lost": 1},
		},
		"a dead letter lost": {
			do:      func(b *betsBench) { b.record("m1") },
			want:    betting.BetsTally{Placed: 2, InKafka: 1, Lost: 1},
			reasons: map[string]int{"bet_lost": 1},
		},
		"a bet doubled": {
			do:      func(b *betsBench) { b.right(); b.record("m1") },
			want:    betting.BetsTally{Placed: 2, InKafka: 1, Rejected: 1, Duplicates: 1},
			reasons: map[string]int{"bet_duplicate": 1},
		},
		"a bet repeated with an excuse": {
			do: func(b *betsBench) {
				b.right()
				b.now = b.now.Add(2 * time.Second)
				b.record("m1")
				b.excused = func(before, again betting.TopicBet) bool {
					return again.ID == "m1" && again.At.Sub(before.At) == 2*time.Second
				}
			},
			want: betting.BetsTally{Placed: 2, InKafka: 1, Rejected: 1, Repeats: 1},
		},
		"a bet that is another one the second time, which nothing excuses": {
			do: func(b *betsBench) {
				b.right()
				b.wish.Stake = 5
				b.record("m1")
				b.excused = func(betting.TopicBet, betting.TopicBet) bool { return true }
			},
			want:    betting.BetsTally{Placed: 2, InKafka: 1, Rejected: 1, Unexpected: 1},
			reasons: map[string]int{"bet_changed": 1},
		},
		"a bet that nobody placed": {
			do:      func(b *betsBench) { b.right(); b.record("m9") },
			want:    betting.BetsTally{Placed: 2, InKafka: 2, Rejected: 1, Unexpected: 1},
			reasons: map[string]int{"bet_never_placed": 1},
		},
		"for another user": {
			do: func(b *betsBench) { b.wish.User = "ben"; b.right() },
			want: betting.BetsTally{
				Placed: 2, InKafka: 1, Rejected: 1, Unexpected: 1,
			},
			reasons: map[string]int{"bet_altered": 1},
		},
		"with another stake": {
			do:      func(b *betsBench) { b.wish.Stake = 5; b.right() },
			want:    betting.BetsTally{Placed: 2, InKafka: 1, Rejected: 1, Unexpected: 1},
			reasons: map[string]int{"bet_altered": 1},
		},
		"at other odds": {
			do:      func(b *betsBench) { b.wish.Odds = 5; b.right() },
			want:    betting.BetsTally{Placed: 2, InKafka: 1, Rejected: 1, Unexpected: 1},
			reasons: map[string]int{"bet_altered": 1},
		},
		"a malformed one taken": {
			do:      func(b *betsBench) { b.record("m1"); b.record("m2") },
			want:    betting.BetsTally{Placed: 2, InKafka: 2, Unexpected: 1},
			reasons: map[string]int{"bet_wrongly_taken": 1},
		},
		"a good one refused": {
			do: func(b *betsBench) {
				b.Buried(betting.DeadLetter{ID: "m1", Reason: "bad mood"})
				b.Buried(betting.DeadLetter{ID: "m2", Reason: "not JSON"})
			},
			want:    betting.BetsTally{Placed: 2, Rejected: 2, Unexpected: 1},
			reasons: map[string]int{"bet_wrongly_refused": 1},
		},
		"no reason given": {
			do:      func(b *betsBench) { b.record("m1"); b.Buried(betting.DeadLetter{ID: "m2"}) },
			want:    betting.BetsTally{Placed: 2, InKafka: 1, Rejected: 1, Unexpected: 1},
			reasons: map[string]int{"letter_without_reason": 1},
		},
		"a letter of nothing": {
			do:      func(b *betsBench) { b.right(); b.Buried(betting.DeadLetter{ID: "m9", Reason: "not JSON"}) },
			want:    betting.BetsTally{Placed: 2, InKafka: 1, Rejected: 2, Unexpected: 1},
			reasons: map[string]int{"letter_never_placed": 1},
		},
		"both ways": {
			do: func(b *betsBench) {
				b.right()
				b.accept("m3", "by curl")
				b.record("m3")
				b.Buried(betting.DeadLetter{ID: "m3", Reason: "perhaps"})
			},
			want:    betting.BetsTally{Placed: 3, InKafka: 2, Rejected: 2, Unexpected: 1},
			reasons: map[string]int{"bet_taken_and_refused": 1},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBetsBench()
			tt.do(b)
			got := b.Judge(b.excused)
			require.Equal(t, tt.reasons, got.Reasons, "%v", got.Problems)
			require.Equal(t, len(tt.reasons) == 0, got.Clean())
			require.Len(t, got.Problems, sum(tt.reasons))
			got.Reasons, got.Problems = nil, nil
			require.Equal(t, tt.want, got)
		})
	}
}

func TestBetsOracleWaitsForBoth(t *testing.T) {
	t.Parallel()
	b := newBetsBench()
	require.Equal(t, 2, b.Outstanding())
	b.record("m1")
	require.Equal(t, 1, b.Outstanding())
	b.Buried(betting.DeadLetter{ID: "m2"})
	require.Zero(t, b.Outstanding())
}

// The same words from the same user's phone, once as somebody else: Ably refuses that
// one, and it must not take away what is wanted of the other.
func TestBetsOracleTellsWhoSaysIt(t *testing.T) {
	t.Parallel()
	b := newBetsBench()
	b.right()
	b.Placing(adas, "", "again", betting.Taken, b.wish)
	b.Placing(adas, "ben", "again", betting.Refused, b.wish)
	b.AblyRefused()
	b.Accepted(betting.Message{Channel: adas, ID: "m3", ClientID: "ada", Data: []byte("again"), At: b.now})
	b.record("m3")
	got := b.Tally()
	require.True(t, got.Clean(), "%v", got.Problems)

	b.Accepted(betting.Message{Channel: adas, ID: "m4", ClientID: "ben", Data: []byte("again"), At: b.now})
	b.record("m4")
	require.Equal(t, map[string]int{"bet_wrongly_taken": 1}, b.Tally().Reasons)
}
