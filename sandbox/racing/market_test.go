package racing_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/racing"
)

// market takes every bet a moment later, from another goroutine.
type market struct {
	world *racing.World

	mu          sync.Mutex
	cards       map[string][]racing.Card
	placed      map[string]racing.Placed
	settlements map[string][]racing.Settlement
	results     map[string][]racing.Result
	forgotten   []string
	rejected    int
	going       sync.WaitGroup
}

func newMarket() *market {
	return &market{
		cards: map[string][]racing.Card{}, placed: map[string]racing.Placed{},
		settlements: map[string][]racing.Settlement{}, results: map[string][]racing.Result{},
	}
}

func (m *market) Show(c racing.Card) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cards[c.ID] = append(m.cards[c.ID], c)
}

func (m *market) Bet(user racing.UserID, event string, stake racing.Money, dice uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	card := m.cards[event][0]
	runner := card.Runners[dice%uint64(len(card.Runners))]
	p := racing.Placed{
		ID: fmt.Sprintf("conn:%d:0", len(m.placed)), User: user, Event: event, Runner: runner.Name, Stake: stake, Odds: runner.Odds + 1,
	}
	m.placed[p.ID] = p
	reject := dice%10 == 3
	if reject {
		m.rejected++
	}
	m.going.Go(func() {
		time.Sleep(300 * time.Millisecond)
		if reject {
			m.world.Rejected(racing.Rejection{Placed: p, EventName: card.Name, Known: true, OddsNow: p.Odds + 500, Reason: "ODDS_MOVED", PlacedAt: time.Now()})
			return
		}
		m.world.Accepted(p)
	})
}

func (m *market) Result(r racing.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.results[r.Event] = append(m.results[r.Event], r)
}

func (m *market) Settled(s racing.Settlement) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settlements[s.BetID] = append(m.settlements[s.BetID], s)
}

func (*market) Story(event string) []string { return []string{"the book on " + event} }

func (m *market) Forget(event string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgotten = append(m.forgotten, event)
}

// The bets that are settled and announced are those that the market accepted, at
// its odds.
func TestWorldBetsInTheMarket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMarket()
		o := playIn(t, racing.Config{Seed: 5, Market: m}, func(w *racing.World) { m.world = w }, 10*time.Minute, func(*bugle) {})
		m.going.Wait()
		require.True(t, o.tally.Clean(), "%v", o.tally.Problems)
		require.Positive(t, o.tally.Announced["bet-settled/WON"])
		require.Positive(t, o.tally.CorrectionPushes)
		require.InDelta(t, len(m.placed)-m.rejected, o.stats.Bets, 40) // what was on its way at the end
		require.InDelta(t, m.rejected, o.stats.Rejections, 5)
		require.Positive(t, o.tally.Announced["bet-rejected/ODDS_MOVED"])
		require.Greater(t, len(m.settlements), 200)
		for id, list := range m.settlements {
			p := m.placed[id]
			last := m.results[p.Event][len(m.results[p.Event])-1]
			for i, s := range list {
				require.Equal(t, []any{string(p.User), p.Event, p.Runner, p.Stake, p.Odds}, []any{s.User, s.Event, s.Runner, s.Stake, s.Odds})
				require.NotEmpty(t, s.EventName)
				if i+1 < len(list) || len(list) < len(m.results[p.Event]) {
					continue // of a result that was changed, or is about to be
				}
				switch {
				case last.Void || last.Withdrawn == s.Runner:
					require.Equal(t, racing.Void, s.Outcome)
					require.Equal(t, p.Stake, s.Payout)
				case last.Tied != "" && (last.Winner == s.Runner || last.Tied == s.Runner):
					require.Equal(t, racing.DeadHeat, s.Outcome)
					require.Equal(t, p.Odds.Payout(p.Stake)/2, s.Payout)
				case last.Winner == s.Runner:
					require.Equal(t, racing.Won, s.Outcome)
					require.Equal(t, p.Odds.Payout(p.Stake), s.Payout)
				default:
					require.Equal(t, racing.Lost, s.Outcome)
					require.Zero(t, s.Payout)
				}
			}
		}
		require.NotEmpty(t, m.forgotten)
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(m.forgotten))), len(m.forgotten), "no race is forgotten twice")
		for _, id := range m.forgotten {
			require.NotEqual(t, racing.Scheduled, m.cards[id][len(m.cards[id])-1].Status)
		}
		require.Contains(t, o.story, "the book on race-0001")
	})
}

// A bet of somebody whom the world does not know is settled as well; one on what
// is no race, or on nobody, is not.
func TestStrangersBetIsSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMarket()
		var world *racing.World
		o := playIn(t, racing.Config{Seed: 5, Market: m}, func(w *racing.World) {
			m.world, world = w, w
			w.Accepted(racing.Placed{ID: "early", User: "guest", Event: "race-0001", Runner: "Car 1", Stake: 200, Odds: 500})
			go func() {
				time.Sleep(5 * time.Second)
				for id, runner := range map[string]string{"late": "Car 1", "nobody": "Car 99"} {
					w.Accepted(racing.Placed{ID: id, User: "guest", Event: "race-0001", Runner: runner, Stake: 200, Odds: 500})
				}
				w.Accepted(racing.Placed{ID: "nowhere", User: "guest", Event: "race-9999", Runner: "Car 1", Stake: 200, Odds: 500})
				time.Sleep(19 * time.Second) // the result is known
				w.Accepted(racing.Placed{ID: "later", User: "guest", Event: "race-0001", Runner: "Car 1", Stake: 200, Odds: 500})
			}()
		}, time.Minute, func(*bugle) {})
		m.going.Wait()
		require.NotNil(t, world)
		require.True(t, o.tally.Clean(), "%v", o.tally.Problems)
		for id, want := range map[string]bool{"late": true, "later": true, "nobody": false, "nowhere": false} {
			require.Equal(t, want, len(m.settlements[id]) > 0, id)
		}
	})
}
