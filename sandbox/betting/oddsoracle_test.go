package betting_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/betting"
)

// oddsBench is an oracle with three snapshots of one event and one of another.
type oddsBench struct {
	*betting.OddsOracle
	now time.Time
	// excused is what the judge is asked with; nil is nobody.
	excused func(betting.Regress) bool
}

func newOddsBench() *oddsBench {
	b := &oddsBench{
		OddsOracle: betting.NewOddsOracle(betting.OddsConfig{MaxAge: 10 * time.Second}),
		now:        time.Unix(1786000000, 0),
	}
	for i := range 3 {
		b.record("race-1", int64(i), fmt.Sprintf("[%d]", i), false)
	}
	b.record("race-2", 3, "[9]", false)
	return b
}

func (b *oddsBench) record(event string, offset int64, value string, suspended bool) {
	b.Recorded(betting.Snapshot{
		Place: betting.Place{Partition: 4, Offset: offset}, Event: event, Value: []byte(value), At: b.now, Suspended: suspended,
	})
}

// publish lets a channel accept the record at the offset.
func (b *oddsBench) publish(channel string, offset int, data string) {
	b.Accepted(betting.Message{
		Channel: channel, ID: fmt.Sprintf("cluster-1/odds/4/%d", offset), Data: []byte(data), At: b.now.Add(time.Second),
	})
}

func (b *oddsBench) one(offset int) {
	b.publish("outbound:odds:race-1", offset, fmt.Sprintf("[%d]", offset))
}
func (b *oddsBench) other() { b.publish("outbound:odds:race-2", 3, "[9]") }

func (b *oddsBench) all() {
	for i := range 3 {
		b.one(i)
	}
	b.other()
}

func TestOddsOracle(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		do   func(b *oddsBench)
		want betting.OddsTally
		// reasons are of problems; none means clean.
		reasons map[string]int
	}{
		"everything": {
			do:   (*oddsBench).all,
			want: betting.OddsTally{Updates: 4, Published: 4, Moved: 1},
		},
		"the newest only": {
			do:   func(b *oddsBench) { b.one(2); b.other() },
			want: betting.OddsTally{Updates: 4, Published: 2, Conflated: 2, Moved: 1},
		},
		"another channel's message": {
			do:   func(b *oddsBench) { b.all(); b.publish("inbound:betting:cars:ada", 0, "{}") },
			want: betting.OddsTally{Updates: 4, Published: 4, Moved: 1},
		},
		"back in time": {
			do:      func(b *oddsBench) { b.one(1); b.one(0); b.one(2); b.other() },
			want:    betting.OddsTally{Updates: 4, Published: 4, Moved: 1, OutOfOrder: 1},
			reasons: map[string]int{"odds_out_of_order": 1},
		},
		"back in time with an excuse": {
			do: func(b *oddsBench) {
				b.one(1)
				b.one(0)
				b.one(2)
				b.other()
				b.excused = func(r betting.Regress) bool {
					return r.Record.Offset == 0 && r.Message.Channel == "outbound:odds:race-1" && r.Overtaken.Equal(b.now.Add(time.Second))
				}
			},
			want: betting.OddsTally{Updates: 4, Published: 4, Moved: 1, Excused: 1},
		},
		"back in time with an excuse, and left there": {
			do: func(b *oddsBench) {
				b.one(0)
				b.one(2)
				b.one(1)
				b.other()
				b.excused = func(betting.Regress) bool { return true }
			},
			want:    betting.OddsTally{Updates: 4, Published: 4, Moved: 1, Excused: 1, Unexpected: 1},
			reasons: map[string]int{"odds_left_old": 1},
		},
		"the same one twice": {
			do:      func(b *oddsBench) { b.all(); b.one(2) },
			want:    betting.OddsTally{Updates: 4, Published: 4, Moved: 1, Duplicates: 1},
			reasons: map[string]int{"odds_duplicate": 1},
		},
		"an old one twice": {
			do:      func(b *oddsBench) { b.all(); b.one(0) },
			want:    betting.OddsTally{Updates: 4, Published: 4, Moved: 1, Duplicates: 1, OutOfOrder: 1},
			reasons: map[string]int{"odds_duplicate": 1, "odds_out_of_order": 1},
		},
		"stale": {
			do:      func(b *oddsBench) { b.one(0); b.now = b.now.Add(12 * time.Second); b.one(2); b.other() },
			want:    betting.OddsTally{Updates: 4, Published: 3, Conflated: 1, Moved: 1, Stale: 2},
			reasons: map[string]int{"odds_stale": 2},
		},
		"never the newest": {
			do:      func(b *oddsBench) { b.one(0); b.one(1); b.other() },
			want:    betting.OddsTally{Updates: 4, Published: 3, Moved: 1, Missing: 1},
			reasons: map[string]int{"odds_missing": 1},
		},
		"nothing": {
			do:      func(*oddsBench) {},
			want:    betting.OddsTally{Updates: 4, Moved: 1, Missing: 2},
			reasons: map[string]int{"odds_missing": 2},
		},
		"on the wrong channel": {
			do:      func(b *oddsBench) { b.all(); b.publish("outbound:odds:race-2", 2, "[2]") },
			want:    betting.OddsTally{Updates: 4, Published: 4, Moved: 1, Unexpected: 1},
			reasons: map[string]int{"odds_other_channel": 1},
		},
		"made up": {
			do: func(b *oddsBench) {
				b.all()
				b.publish("outbound:odds:race-1", 7, "[7]")
				b.Accepted(betting.Message{Channel: "outbound:odds:race-1", ID: "x", Data: []byte("[2]"), At: b.now})
				b.Accepted(betting.Message{Channel: "outbound:odds:race-1", ID: "c/results/4/2", Data: []byte("[2]"), At: b.now})
			},
			want:    betting.OddsTally{Updates: 4, Published: 4, Moved: 1, Unexpected: 3},
			reasons: map[string]int{"odds_unknown_record": 3},
		},
		"altered": {
			do: func(b *oddsBench) { b.all(); b.publish("outbound:odds:race-1", 2, "[3]") },
			want: betting.OddsTally{
				Updates: 4, Published: 4, Moved: 1, Unexpected: 1,
			},
			reasons: map[string]int{"odds_other_content": 1},
		},
		"a suspension conflated away": {
			do: func(b *oddsBench) {
				b.all()
				b.record("race-1", 4, "[4]", true)
				b.record("race-1", 5, "[5]", false)
				b.one(5)
			},
			want:    betting.OddsTally{Updates: 6, Published: 5, Conflated: 1, Moved: 1, Unexpected: 1},
			reasons: map[string]int{"odds_suspended_dropped": 1},
		},
		"a suspension comes late": {
			do: func(b *oddsBench) {
				b.all()
				b.record("race-1", 4, "[4]", true)
				b.now = b.now.Add(time.Minute)
				b.one(4)
			},
			want: betting.OddsTally{Updates: 5, Published: 5, Moved: 1},
		},
		"nothing moved": {
			do: func(b *oddsBench) {
				b.all()
				b.record("race-2", 4, "[9]", false)
				b.publish("outbound:odds:race-2", 4, "[9]")
			},
			want: betting.OddsTally{Updates: 5, Published: 5, Moved: 1},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newOddsBench()
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

func TestOddsOracleWaitsForTheNewest(t *testing.T) {
	t.Parallel()
	b := newOddsBench()
	require.Equal(t, 2, b.Outstanding())
	b.one(0)
	b.other()
	require.Equal(t, 1, b.Outstanding())
	b.one(2)
	require.Zero(t, b.Outstanding())
	b.record("race-3", 4, "[4]", false)
	require.Equal(t, 1, b.Outstanding())
}

// The service may have read the topic before the oracle was told what stands there.
func TestOddsOracleWaitsForTheRecord(t *testing.T) {
	t.Parallel()
	b := newOddsBench()
	b.one(2)
	b.other()
	require.Zero(t, b.Outstanding())
	b.publish("outbound:odds:race-1", 4, "[4]")
	require.Equal(t, 1, b.Outstanding())
	b.record("race-1", 4, "[4]", false)
	require.Zero(t, b.Outstanding())
	got := b.Tally()
	require.True(t, got.Clean(), "%v", got.Problems)
}

func sum(m map[string]int) int {
	n := 0
	for _, v := range m {
		n += v
	}
	return n
}

func TestOddsOracleTellsHowFarTheyCame(t *testing.T) {
	t.Parallel()
	b := newOddsBench()
	require.Equal(t, betting.Progress{Updates: 3, First: []byte("[0]"), Last: []byte("[2]")}, b.Progress("race-1"))
	_, shown := b.ShownAt("race-1", betting.Place{Partition: 4})
	require.False(t, shown)
	b.one(1)
	require.Equal(t, betting.Progress{Updates: 3, Published: 1, Conflated: 1, First: []byte("[0]"), Last: []byte("[2]")}, b.Progress("race-1"))
	for offset, want := range map[int64]bool{0: true, 1: true, 2: false} {
		at, shown := b.ShownAt("race-1", betting.Place{Partition: 4, Offset: offset})
		require.Equal(t, want, shown)
		if shown {
			require.Equal(t, b.now.Add(time.Second), at)
		}
	}
	require.Equal(t, betting.Progress{}, b.Progress("race-9"))
}
