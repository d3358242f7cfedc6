package book_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/sandbox/book"
)

var start = time.Unix(1786000000, 0)

func event(status book.Status) book.Event {
	return book.Event{ID: "race-1", Status: status, StartsAt: start, Runners: []book.Runner{
		{Name: "Car 1", Seed: 400_00}, {Name: "Car 2", Seed: 200_00, ImageURL: "https://x/2.png"}, {Name: "Car 3", Seed: 100_00},
	}}
}

func race() *book.Book {
	b := book.New(book.Config{})
	b.Put(event(book.Scheduled))
	return b
}

func odds(b *book.Book) map[string]float64 {
	m := map[string]float64{}
	for _, t := range b.Snapshot("race-1") {
		m[t.Name] = t.Odds
	}
	return m
}

// 95 % of a pool of 700.00 over 400.00, 200.00 and 100.00, less the stake; then
// of 800.00 over 400.00, 200.00 and 200.00.
func TestOddsFollowThePool(t *testing.T) {
	t.Parallel()
	b := race()
	require.Equal(t, map[string]float64{"Car 1": 0.663, "Car 2": 2.325, "Car 3": 5.65}, odds(b))
	got := b.Take(book.Bet{ID: "a", Event: "race-1", Runner: "Car 3", User: "ada", Stake: 100_00, Odds: 5650})
	require.Equal(t, book.Decision{Verdict: book.Accepted, Known: true, Now: 5650}, got)
	require.Equal(t, map[string]float64{"Car 1": 0.9, "Car 2": 2.8, "Car 3": 2.8}, odds(b))
}

func TestShortestOdds(t *testing.T) {
	t.Parallel()
	b := race()
	b.Take(book.Bet{ID: "a", Event: "race-1", Runner: "Car 1", Stake: 1_000_000_00, Odds: 663})
	require.InDelta(t, 0.01, odds(b)["Car 1"], 0)
}

func TestBetCountsOnce(t *testing.T) {
	t.Parallel()
	b := race()
	bet := book.Bet{ID: "a", Event: "race-1", Runner: "Car 3", User: "ada", Stake: 10_00, Odds: 5650}
	require.Equal(t, book.Accepted, b.Take(bet).Verdict)
	before := b.Snapshot("race-1")
	require.Equal(t, book.Decision{Verdict: book.Repeated}, b.Take(bet))
	require.Equal(t, before, b.Snapshot("race-1"))
}

func TestRejections(t *testing.T) {
	t.Parallel()
	good := func(change func(b *book.Bet)) book.Bet {
		b := book.Bet{ID: "a", Event: "race-1", Runner: "Car 2", Stake: 1, Odds: 2325, Arrived: start.Add(-time.Second)}
		change(&b)
		return b
	}
	status := func(s book.Status) func(*book.Book) { return func(b *book.Book) { b.Put(event(s)) } }
	tests := map[string]struct {
		bet    book.Bet
		do     func(b *book.Book)
		reason book.Reason
	}{
		"another race":      {bet: good(func(b *book.Bet) { b.Event = "race-2" }), reason: book.NotOffered},
		"another runner":    {bet: good(func(b *book.Bet) { b.Runner = "Car 9" }), reason: book.NotOffered},
		"nothing staked":    {bet: good(func(b *book.Bet) { b.Stake = 0 }), reason: book.NotOffered},
		"a debt":            {bet: good(func(b *book.Bet) { b.Stake = -5 }), reason: book.NotOffered},
		"odds below zero":   {bet: good(func(b *book.Bet) { b.Odds = -1 }), reason: book.NotOffered},
		"too good odds":     {bet: good(func(b *book.Bet) { b.Odds = 2492 }), reason: book.OddsMoved},
		"too bad odds":      {bet: good(func(b *book.Bet) { b.Odds = 2158 }), reason: book.OddsMoved},
		"as the race began": {bet: good(func(b *book.Bet) { b.Arrived = start }), reason: book.RaceStarted},
		"the race is off":   {bet: good(func(*book.Bet) {}), do: status(book.Off), reason: book.RaceStarted},
		"postponed":         {bet: good(func(*book.Bet) {}), do: status("POSTPONED"), reason: book.NotOffered},
		"after the race":    {bet: good(func(*book.Bet) {}), do: func(b *book.Book) { b.Forget("race-1") }, reason: book.NotOffered},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := race()
			if tt.do != nil {
				tt.do(b)
			}
			before := b.Snapshot("race-1")
			d := b.Take(tt.bet)
			require.Equal(t, book.Rejected, d.Verdict)
			require.Equal(t, tt.reason, d.Reason)
			if d.Known {
				require.Equal(t, book.Odds(2325), d.Now)
			}
			require.Equal(t, before, b.Snapshot("race-1"))
			require.Equal(t, book.Repeated, b.Take(tt.bet).Verdict)
		})
	}
	for _, o := range []book.Odds{2491, 2159} { // five hundredths of 3.325
		require.Equal(t, book.Accepted, race().Take(good(func(b *book.Bet) { b.Odds = o })).Verdict)
	}
}

func TestReopenedRaceKeepsItsStakes(t *testing.T) {
	t.Parallel()
	b := race()
	bet := book.Bet{ID: "a", Event: "race-1", Runner: "Car 3", Stake: 500_00, Odds: 5650}
	require.Equal(t, book.Accepted, b.Take(bet).Verdict)
	before := b.Snapshot("race-1")
	b.Put(event("POSTPONED"))
	b.Put(book.Event{ID: "race-1", Status: book.Scheduled, StartsAt: start.Add(time.Hour)})
	require.Equal(t, before, b.Snapshot("race-1"))
	require.Equal(t, book.Repeated, b.Take(bet).Verdict)
	bet.ID, bet.Odds, bet.Arrived = "b", book.RoundOdds(before[2].Odds), start.Add(time.Minute)
	require.Equal(t, book.Accepted, b.Take(bet).Verdict)
}

// On the wire it is the demo's: an array of name, imageURL and odds.
func TestSnapshotOnTheWire(t *testing.T) {
	t.Parallel()
	value, err := book.Encode(race().Snapshot("race-1"))
	require.NoError(t, err)
	require.JSONEq(t, `[{"name":"Car 1","imageURL":null,"odds":0.663},
		{"name":"Car 2","imageURL":"https://x/2.png","odds":2.325},{"name":"Car 3","imageURL":null,"odds":5.65}]`, string(value))
	tiles, err := book.Decode(value)
	require.NoError(t, err)
	require.Equal(t, race().Snapshot("race-1"), tiles)
	_, err = book.Decode([]byte(`{"name":"Car 1"}`))
	require.Error(t, err)
	require.Nil(t, race().Snapshot("race-2"))
}

// Whatever is bet, in whatever order and however often: a bet shortens its own
// runner's odds and lengthens those of the others, and repeats change nothing.
func TestEveryBetMovesTheOddsItsWay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := race()
		n := rapid.IntRange(1, 60).Draw(t, "bets")
		for i := range n {
			before := odds(b)
			bet := book.Bet{
				ID: fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "id")), Event: "race-1",
				Runner: fmt.Sprintf("Car %d", rapid.IntRange(1, 3).Draw(t, "runner")),
				Stake:  book.Money(rapid.Int64Range(1, 500_00).Draw(t, "stake")),
			}
			bet.Odds = book.RoundOdds(before[bet.Runner])
			d := b.Take(bet)
			after := odds(b)
			if d.Verdict == book.Repeated {
				require.Equal(t, before, after, "bet %d", i)
				continue
			}
			require.Equal(t, book.Accepted, d.Verdict)
			require.Equal(t, bet.Odds, d.Now)
			for name, o := range after {
				require.GreaterOrEqual(t, o, 0.01)
				if name == bet.Runner {
					require.LessOrEqual(t, o, before[name])
				} else {
					require.GreaterOrEqual(t, o, before[name])
				}
			}
		}
	})
}

func TestMoney(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]book.Money{"5": 500, "5.5": 550, "5.50": 550, "0.01": 1, "-2.5": -250, "12.5000": 1250} {
		m, err := book.ParseMoney(text)
		require.NoError(t, err, text)
		require.Equal(t, want, m)
		again, err := book.ParseMoney(m.String())
		require.NoError(t, err)
		require.Equal(t, m, again)
	}
	for _, text := range []string{"", "five", "0.001", "1e9", "1/2", "999999999999999999999", "NaN", "0x10"} {
		_, err := book.ParseMoney(text)
		require.ErrorIs(t, err, book.ErrAmount, text)
	}
	require.Equal(t, "-2.50", book.Money(-250).String())
}

func TestOdds(t *testing.T) {
	t.Parallel()
	require.Equal(t, "5/2", book.Odds(2500).String())
	require.Equal(t, "1.873", book.Odds(1873).String())
	require.Equal(t, book.Money(17_50), book.Odds(2500).Payout(5_00))
	require.Equal(t, book.Money(10_13), book.Odds(1025).Payout(5_00))
	require.Equal(t, book.Odds(2), book.RoundOdds(0.0015))
	require.Equal(t, book.Odds(1), book.RoundOdds(0.00149))
	require.Zero(t, book.RoundOdds(-1))
}
