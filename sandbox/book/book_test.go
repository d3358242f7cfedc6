package book_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/sandbox/book"
)

func race() *book.Book {
	b := book.New(book.Config{})
	b.Open(book.Event{ID: "race-1", Runners: []book.Runner{
		{Name: "Car 1", Seed: 400_00}, {Name: "Car 2", Seed: 200_00, ImageURL: "https://x/2.png"}, {Name: "Car 3"},
	}})
	return b
}

func odds(b *book.Book) map[string]float64 {
	m := map[string]float64{}
	for _, t := range b.Snapshot("race-1") {
		m[t.Name] = t.Odds
	}
	return m
}

// A pool of 700.00 less 15 %: 595.00 over 400.00, 200.00 and 100.00, less the
// stake, in whole eighths.
func TestOddsFollowThePool(t *testing.T) {
	t.Parallel()
	b := race()
	require.Equal(t, map[string]float64{"Car 1": 0.375, "Car 2": 1.875, "Car 3": 4.875}, odds(b))
	got := b.Take(book.Bet{ID: "a", Event: "race-1", Runner: "Car 3", User: "ada", Stake: 100_00, Odds: 4.875})
	require.Equal(t, book.Decision{Verdict: book.Accepted, Odds: 39, Now: 39}, got)
	// 800.00 less 15 % is 680.00.
	require.Equal(t, map[string]float64{"Car 1": 0.625, "Car 2": 2.375, "Car 3": 2.375}, odds(b))
}

func TestBetCountsOnce(t *testing.T) {
	t.Parallel()
	b := race()
	bet := book.Bet{ID: "a", Event: "race-1", Runner: "Car 3", User: "ada", Stake: 10_00}
	require.Equal(t, book.Accepted, b.Take(bet).Verdict)
	before := b.Snapshot("race-1")
	require.Equal(t, book.Decision{Verdict: book.Repeated}, b.Take(bet))
	require.Equal(t, before, b.Snapshot("race-1"))
}

func TestRejections(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		bet    book.Bet
		do     func(b *book.Book)
		reason book.Reason
		now    book.Odds
	}{
		"another race":    {bet: book.Bet{Event: "race-2", Runner: "Car 1", Stake: 1}, reason: book.UnknownEvent},
		"another runner":  {bet: book.Bet{Event: "race-1", Runner: "Car 9", Stake: 1}, reason: book.UnknownRunner},
		"nothing staked":  {bet: book.Bet{Event: "race-1", Runner: "Car 1"}, reason: book.NoStake, now: 3},
		"a debt":          {bet: book.Bet{Event: "race-1", Runner: "Car 1", Stake: -5}, reason: book.NoStake, now: 3},
		"too good odds":   {bet: book.Bet{Event: "race-1", Runner: "Car 2", Stake: 1, Odds: 2.5}, reason: book.Drifted, now: 15},
		"too bad odds":    {bet: book.Bet{Event: "race-1", Runner: "Car 2", Stake: 1, Odds: 1.5}, reason: book.Drifted, now: 15},
		"less than odds":  {bet: book.Bet{Event: "race-1", Runner: "Car 2", Stake: 1, Odds: -1}, reason: book.Drifted, now: 15},
		"odds of nothing": {bet: book.Bet{Event: "race-1", Runner: "Car 2", Stake: 1, Odds: math.NaN()}, reason: book.Drifted, now: 15},
		"after the start": {
			bet: book.Bet{Event: "race-1", Runner: "Car 2", Stake: 1, Odds: 1.875},
			do:  func(b *book.Book) { b.Close("race-1") }, reason: book.Started, now: 15,
		},
		"after the race": {
			bet: book.Bet{Event: "race-1", Runner: "Car 2", Stake: 1},
			do:  func(b *book.Book) { b.Forget("race-1") }, reason: book.UnknownEvent,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := race()
			if tt.do != nil {
				tt.do(b)
			}
			tt.bet.ID = "a"
			before := b.Snapshot("race-1")
			require.Equal(t, book.Decision{Verdict: book.Rejected, Reason: tt.reason, Now: tt.now}, b.Take(tt.bet))
			require.Equal(t, before, b.Snapshot("race-1"))
		})
	}
}

func TestOddsAsSeenAreKeptWithinTolerance(t *testing.T) {
	t.Parallel()
	d := race().Take(book.Bet{ID: "a", Event: "race-1", Runner: "Car 2", Stake: 1, Odds: 2.2})
	require.Equal(t, book.Decision{Verdict: book.Accepted, Odds: 17, Now: 15}, d)
}

func TestReopenedRaceKeepsItsStakes(t *testing.T) {
	t.Parallel()
	b := race()
	require.Equal(t, book.Accepted, b.Take(book.Bet{ID: "a", Event: "race-1", Runner: "Car 3", Stake: 500_00}).Verdict)
	before := b.Snapshot("race-1")
	b.Close("race-1")
	b.Open(book.Event{ID: "race-1", Runners: []book.Runner{{Name: "Car 1"}}})
	require.Equal(t, before, b.Snapshot("race-1"))
	require.Equal(t, book.Repeated, b.Take(book.Bet{ID: "a", Event: "race-1", Runner: "Car 3", Stake: 1}).Verdict)
	require.Equal(t, book.Accepted, b.Take(book.Bet{ID: "b", Event: "race-1", Runner: "Car 3", Stake: 1}).Verdict)
}

// On the wire it is the demo's: an array of name, imageURL and odds.
func TestSnapshotOnTheWire(t *testing.T) {
	t.Parallel()
	value, err := book.Encode(race().Snapshot("race-1"))
	require.NoError(t, err)
	require.JSONEq(t, `[{"name":"Car 1","imageURL":null,"odds":0.375},
		{"name":"Car 2","imageURL":"https://x/2.png","odds":1.875},{"name":"Car 3","imageURL":null,"odds":4.875}]`, string(value))
	tiles, err := book.Decode(value)
	require.NoError(t, err)
	require.Equal(t, race().Snapshot("race-1"), tiles)
	_, err = book.Decode([]byte(`{"name":"Car 1"}`))
	require.Error(t, err)
	require.Nil(t, race().Snapshot("race-2"))
}

// Whatever is bet, in whatever order and however often: a bet shortens its own
// runner's odds and lengthens those of the others, never below the shortest,
// and repeats change nothing.
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
			d := b.Take(bet)
			after := odds(b)
			if d.Verdict == book.Repeated {
				require.Equal(t, before, after, "bet %d", i)
				continue
			}
			require.Equal(t, book.Accepted, d.Verdict)
			require.InDelta(t, before[bet.Runner], d.Now.Float(), 0)
			for name, o := range after {
				require.GreaterOrEqual(t, o, 0.125)
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
	require.Equal(t, "5/2", book.Odds(20).String())
	require.Equal(t, book.Money(17_50), book.Odds(20).Payout(5_00))
	require.Equal(t, book.Money(1), book.Odds(1).Payout(1))
}
