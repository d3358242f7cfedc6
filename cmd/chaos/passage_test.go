package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/betting"
)

const (
	adasBets = "inbound:betting:cars:ada"
	raceOdds = "outbound:odds:race-1"
)

// crossing is what went between Ably and Kafka in one story: two bets of Ada's,
// and three snapshots of one race. Seconds count from its beginning.
type crossing struct {
	loop
	began     time.Time
	incidents []incident
}

func newCrossing() *crossing {
	c := &crossing{began: time.Unix(1786000000, 0)}
	c.odds = betting.NewOddsOracle(betting.OddsConfig{MaxAge: oddsMaxAge})
	c.bets = betting.NewBetsOracle(betting.BetsConfig{})
	for _, id := range []string{"m1", "m2"} {
		c.bets.Placing(adasBets, "", id, betting.Taken, wish())
		c.bets.Accepted(betting.Message{Channel: adasBets, ID: id, Data: []byte(id), At: c.at(0)})
	}
	for offset := range int64(3) {
		c.odds.Recorded(betting.Snapshot{
			Place: betting.Place{Partition: 1, Offset: offset}, Event: "race-1", Value: fmt.Appendf(nil, "[%d]", offset), At: c.at(float64(offset)),
		})
	}
	return c
}

func wish() betting.Wish {
	return betting.Wish{User: "ada", Event: "race-1", Runner: "Car 1", Stake: 500, Odds: 125}
}

func (c *crossing) at(seconds float64) time.Time {
	return c.began.Add(time.Duration(seconds * float64(time.Second)))
}

// taken is a bet in the topic. The processor counts each once.
func (c *crossing) taken(id string, at float64) {
	c.bets.Recorded(betting.TopicBet{ID: id, Wish: wish(), At: c.at(at)})
}

// shown is a snapshot on the channel.
func (c *crossing) shown(offset int, at float64) {
	c.odds.Accepted(betting.Message{
		Channel: raceOdds, ID: fmt.Sprintf("cluster/odds/1/%d", offset), Data: fmt.Appendf(nil, "[%d]", offset), At: c.at(at),
	})
}

// right is what should come of it, with one bet counted for each in the topic.
func (c *crossing) right() {
	c.taken("m1", 1)
	c.taken("m2", 1)
	c.counted.Store(2)
	for offset := range 3 {
		c.shown(offset, float64(offset))
	}
}

// fault strikes one replica, which has claimed these bets.
func (c *crossing) fault(kind faultKind, at, lasts float64, bets ...string) {
	held := map[string]bool{}
	for _, id := range bets {
		held[id] = true
	}
	c.incidents = append(c.incidents, incident{
		kind: kind, what: string(kind), began: c.at(at), ended: c.at(at + lasts), bets: map[string]map[string]bool{"owner": held},
	})
}

// overtaken shows the second snapshot after the third.
func (c *crossing) overtaken(newer, older float64) {
	c.taken("m1", 1)
	c.taken("m2", 1)
	c.counted.Store(2)
	c.shown(0, 1)
	c.shown(2, newer)
	c.shown(1, older)
	c.odds.Recorded(betting.Snapshot{Place: betting.Place{Partition: 1, Offset: 3}, Event: "race-1", Value: []byte("[3]"), At: c.at(older + 1)})
	c.shown(3, older+1) // what puts it right
}

func TestPassage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		story func(c *crossing)
		// want names the problems; none means clean.
		want  []string
		check func(t *testing.T, p passage)
	}{
		{name: "as it should be", story: (*crossing).right},
		{
			name: "a bet lost",
			story: func(c *crossing) {
				c.right()
				c.bets.Accepted(betting.Message{Channel: adasBets, ID: "m3", At: c.at(1)})
			},
			want: []string{"bet_lost"},
		},
		{
			name: "a bet lost, and a kill is no excuse",
			story: func(c *crossing) {
				c.fault(faultKill, 0, 1, "m3")
				c.right()
				c.bets.Accepted(betting.Message{Channel: adasBets, ID: "m3", At: c.at(1)})
			},
			want: []string{"bet_lost"},
		},
		{
			name:  "a bet doubled",
			story: func(c *crossing) { c.right(); c.taken("m1", 2) },
			want:  []string{"bet_duplicate"},
		},
		{
			name:  "a bet repeated that the killed replica had claimed",
			story: func(c *crossing) { c.right(); c.fault(faultKill, 1.5, 1, "m1"); c.taken("m1", 32) },
			check: func(t *testing.T, p passage) {
				require.Equal(t, 1, p.bets.Repeats)
				require.Equal(t, 1, p.inFlight)
			},
		},
		{
			name:  "repeated twice after one kill",
			story: func(c *crossing) { c.right(); c.fault(faultKill, 1.5, 1, "m1"); c.taken("m1", 32); c.taken("m1", 33) },
			want:  []string{"bet_duplicate"},
		},
		{
			name: "repeated twice, and the replica that repeated it was killed as well",
			story: func(c *crossing) {
				c.right()
				c.fault(faultKill, 1.5, 1, "m1")
				c.taken("m1", 32)
				c.fault(faultKill, 32.5, 1, "m1")
				c.taken("m1", 63)
			},
			check: func(t *testing.T, p passage) { require.Equal(t, 2, p.bets.Repeats) },
		},
		{
			name:  "repeated after a kill that found another bet",
			story: func(c *crossing) { c.right(); c.fault(faultKill, 1.5, 1, "m2"); c.taken("m1", 2) },
			want:  []string{"bet_duplicate"},
		},
		{
			name:  "repeated before the kill",
			story: func(c *crossing) { c.right(); c.taken("m1", 2); c.fault(faultKill, 3, 1, "m1") },
			want:  []string{"bet_duplicate"},
		},
		{
			name: "written long after the kill, and then repeated",
			story: func(c *crossing) {
				c.fault(faultKill, -10, 1, "m1")
				c.right()
				c.taken("m1", 2)
			},
			want: []string{"bet_duplicate"},
		},
		{
			name:  "repeated after a stop that was longer than the claim",
			story: func(c *crossing) { c.right(); c.fault(faultLongStop, 0.5, 70, "m1"); c.taken("m1", 40) },
			check: func(t *testing.T, p passage) { require.Equal(t, 1, p.bets.Repeats) },
		},
		{
			name:  "repeated after a stop that was shorter",
			story: func(c *crossing) { c.right(); c.fault(faultStop, 0.5, 8, "m1"); c.taken("m1", 40) },
			want:  []string{"bet_duplicate"},
		},
		{
			name:  "repeated after a cut of the database",
			story: func(c *crossing) { c.right(); c.fault(faultCut, 0.5, 5, "m1"); c.taken("m1", 7) },
			want:  []string{"bet_duplicate"},
		},
		{
			name: "another bet in the place of the first, although its replica was killed",
			story: func(c *crossing) {
				c.right()
				c.fault(faultKill, 1.5, 1, "m1")
				changed := wish()
				changed.Stake++
				c.bets.Recorded(betting.TopicBet{ID: "m1", Wish: changed, At: c.at(32)})
			},
			want: []string{"bet_changed"},
		},
		{
			name: "the last snapshot missing",
			story: func(c *crossing) {
				c.right()
				c.odds.Recorded(betting.Snapshot{Place: betting.Place{Partition: 1, Offset: 3}, Event: "race-1", Value: []byte("[3]"), At: c.at(3)})
			},
			want: []string{"odds_missing"},
		},
		{
			name:  "odds that go back",
			story: func(c *crossing) { c.overtaken(4, 5) },
			want:  []string{"odds_out_of_order"},
		},
		{
			name:  "odds that go back after a kill",
			story: func(c *crossing) { c.fault(faultKill, 3, 1); c.overtaken(4, 5) },
			want:  []string{"odds_out_of_order"},
		},
		{
			name:  "odds whose replica was stopped over them, and continued",
			story: func(c *crossing) { c.fault(faultLongStop, 3, 70); c.overtaken(20, 74) },
			check: func(t *testing.T, p passage) { require.Equal(t, 1, p.odds.Excused) },
		},
		{
			name:  "the same long after it was continued",
			story: func(c *crossing) { c.fault(faultLongStop, 3, 70); c.overtaken(20, 76) },
			want:  []string{"odds_out_of_order"},
		},
		{
			name:  "the same while it was stopped",
			story: func(c *crossing) { c.fault(faultLongStop, 3, 70); c.overtaken(20, 60) },
			want:  []string{"odds_out_of_order"},
		},
		{
			name:  "the same after a stop that lost no partition",
			story: func(c *crossing) { c.fault(faultStop, 3, 5); c.overtaken(4, 8.5) },
			want:  []string{"odds_out_of_order"},
		},
		{
			name:  "the newer one was there before the stop",
			story: func(c *crossing) { c.fault(faultLongStop, 3, 70); c.overtaken(2.5, 74) },
			want:  []string{"odds_out_of_order"},
		},
		{
			name:  "the older one came into the topic after the stop began",
			story: func(c *crossing) { c.fault(faultLongStop, 0.5, 70); c.overtaken(20, 71) },
			want:  []string{"odds_out_of_order"},
		},
		{
			name: "a second one of the same channel",
			story: func(c *crossing) {
				c.fault(faultLongStop, 3, 70)
				c.taken("m1", 1)
				c.taken("m2", 1)
				c.counted.Store(2)
				c.shown(2, 20)
				c.shown(0, 73.5)
				c.shown(1, 74)
				c.odds.Recorded(betting.Snapshot{Place: betting.Place{Partition: 1, Offset: 3}, Event: "race-1", Value: []byte("[3]"), At: c.at(75)})
				c.shown(3, 76)
			},
			want: []string{"odds_out_of_order"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCrossing()
			test.story(c)
			p := judgePassage(&c.loop, c.incidents)
			var names []string
			for _, problem := range p.problems() {
				names = append(names, problem.Name)
			}
			require.Equal(t, test.want, names, "%v", p.problems())
			r := report{Odds: p.odds, BetsIn: p.bets, BetsUnique: p.counted}
			require.Equal(t, len(test.want) == 0, r.clean())
			if test.check != nil {
				test.check(t, p)
			}
		})
	}
}

// What bets_unique holds is counted by itself: neither fewer nor more than the
// different bets of the topic.
func TestPassageCountsEachBetOnce(t *testing.T) {
	t.Parallel()
	for _, counted := range []int64{1, 3} {
		c := newCrossing()
		c.right()
		c.counted.Store(counted)
		p := judgePassage(&c.loop, nil)
		require.Empty(t, p.problems())
		require.False(t, report{Odds: p.odds, BetsIn: p.bets, BetsUnique: p.counted}.clean())
	}
}

func TestPassageIsTold(t *testing.T) {
	t.Parallel()
	c := newCrossing()
	c.right()
	c.fault(faultCut, 0.5, 5, "m1")
	c.fault(faultKill, 1000, 5, "m1")
	c.taken("m1", 7)
	var out strings.Builder
	for _, p := range judgePassage(&c.loop, c.incidents).problems() {
		tellPassage(&out, p, c.incidents)
	}
	require.Regexp(t, `(?s)bet_duplicate: m1 .*fault .* db_cut, 0 in flight, 1 bets, this one among them\n$`, out.String())
}
