package racing

import (
	"context"
	"sync"
	"time"
)

// Market is where users bet, outside of the world: an order book behind Ably and
// Kafka. What becomes of a bet comes back by [World.Accepted] and
// [World.Rejected]. No method may block.
type Market interface {
	// Show tells how a race stands, also for the first time.
	Show(c Card)
	// Bet lets a user look at the odds of a race and bet on it. dice decides what
	// the user makes of them.
	Bet(user UserID, event string, stake Money, dice uint64)
	// Result tells how a race came out, or again when that has changed.
	Result(r Result)
	// Settled tells of a settlement that is in the view from now on.
	Settled(s Settlement)
	// Story is what there is to tell about the bets on a race, a line at a time.
	Story(event string) []string
	// Forget says that a race is over, and its bets are settled for good.
	Forget(event string)
}

// Card is what is printed about a race.
type Card struct {
	ID, Name, Course string
	StartsAt         time.Time
	Status           RaceStatus
	Runners          []CardRunner
}

// CardRunner is one runner and the odds at the beginning.
type CardRunner struct {
	Name string
	Odds Odds
}

// Result is how a race came out.
type Result struct {
	Event, Winner string
	// Tied is the runner that came first with the winner, empty if none did.
	Tied string
	// Withdrawn is the runner that did not run, empty if all did.
	Withdrawn string
	// Void says that the race does not count.
	Void bool
	At   time.Time
}

// Settlement is a row of SETTLED_BETS.
type Settlement struct {
	BetID, User, Event, EventName, Runner string
	Stake, Payout                         Money
	Odds                                  Odds
	Currency                              string
	Outcome                               Outcome
	// Recorded is the time of the record; SettledAt is that of the result.
	Recorded, SettledAt time.Time
}

// Placed is a bet that came from the market.
type Placed struct {
	ID            string
	User          UserID
	Event, Runner string
	Stake         Money
	// Odds are those that the bet is settled at.
	Odds Odds
}

// Rejection is a row of REJECTED_BETS.
type Rejection struct {
	Placed
	// EventName is empty for an unknown race.
	EventName string
	// Known says that there is such a runner: OddsNow are its odds.
	Known    bool
	OddsNow  Odds
	Reason   string
	PlacedAt time.Time
}

// keptRace is how long after its last result a race is forgotten.
const keptRace = 2 * time.Minute

// inbox holds what came from outside until the world gets to it.
type inbox struct {
	mu   sync.Mutex
	list []func() error
	some chan struct{} // has one item while the list is not empty
}

func newInbox() *inbox { return &inbox{some: make(chan struct{}, 1)} }

func (i *inbox) put(do func() error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list = append(i.list, do)
	select {
	case i.some <- struct{}{}:
	default:
	}
}

func (i *inbox) take() []func() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := i.list
	i.list = nil
	return list
}

// Accepted takes a bet that the market has accepted: it counts, and is settled
// with its race. It may be called from any goroutine.
func (w *World) Accepted(p Placed) {
	w.inbox.put(func() error { return w.accepted(p) })
}

func (w *World) accepted(p Placed) error {
	r := w.running[p.Event]
	if r == nil {
		return nil // a market that accepts bets on what is over is found out by its own oracle
	}
	u := w.byID[p.User]
	if u == nil { // somebody from outside
		u = &user{id: p.User, name: string(p.User), currency: "EUR"}
		w.byID[p.User] = u
	}
	i := r.index(p.Runner)
	if i < 0 {
		return nil
	}
	b := &bet{id: p.ID, user: u, race: r, runner: i, stake: p.Stake, odds: p.Odds, currency: u.currency}
	w.took(b)
	if r.settled {
		w.planSettlement(b, time.Now(), time.Now(), time.Now())
	}
	return nil
}

// Rejected takes a bet that the market has rejected: its user is told. It may be
// called from any goroutine.
func (w *World) Rejected(r Rejection) {
	w.inbox.put(func() error {
		w.stats.Rejections++
		u := w.byID[r.User]
		if u != nil {
			u.touched = time.Now()
		}
		w.cfg.Oracle.BetRejected(r.ID, r.User, r.Reason)
		if u != nil && w.stats.Rejections == 1 {
			w.tellf("%s's bet on %s in %s at %s is rejected: %s", u.name, r.Runner, r.EventName, r.Odds, r.Reason)
		}
		return w.views.putRejection(r, time.Now())
	})
}

// took counts a bet.
func (w *World) took(b *bet) {
	r := b.race
	r.bets = append(r.bets, b)
	w.stats.Bets++
	if len(r.bets) > 1 {
		return
	}
	through := ""
	if w.cfg.Market != nil {
		through = ": it went from Ably by webhook to Kafka and into the order book"
	}
	w.tellf("%s bets %s %s on %s in %s at %s, the first of many%s", b.user.name, b.stake, b.currency, r.runners[b.runner].name, r.name, b.odds, through)
}

// card returns what is printed about the race as it stands.
func (r *race) card() Card {
	c := Card{ID: r.id, Name: r.name, Course: r.course, StartsAt: r.startsAt, Status: r.status}
	for _, x := range r.runners {
		c.Runners = append(c.Runners, CardRunner{Name: x.name, Odds: x.odds})
	}
	return c
}

// index returns the place of a runner, -1 if there is none of that name.
func (r *race) index(name string) int {
	for i, x := range r.runners {
		if x.name == name {
			return i
		}
	}
	return -1
}

// result tells the market how a race came out, and plans to forget it.
func (w *World) result(r *race, at time.Time) {
	if w.cfg.Market == nil {
		return
	}
	res := Result{Event: r.id, Void: r.status == Abandoned, At: at}
	if !res.Void {
		res.Winner = r.runners[r.winner].name
		if r.tied >= 0 {
			res.Tied = r.runners[r.tied].name
		}
	}
	if r.withdrawn >= 0 {
		res.Withdrawn = r.runners[r.withdrawn].name
	}
	w.cfg.Market.Result(res)
	w.planForget(r)
}

// planForget plans that the market forgets a race.
func (w *World) planForget(r *race) {
	if w.cfg.Market == nil {
		return
	}
	w.plan(action{at: time.Now().Add(keptRace), do: func(context.Context, time.Time) error {
		if w.running[r.id] == r {
			delete(w.running, r.id)
			w.cfg.Market.Forget(r.id)
		}
		return nil
	}})
}

// tellMarket tells what there is to tell about the bets on a race.
func (w *World) tellMarket(r *race) {
	if w.cfg.Market == nil {
		return
	}
	for _, line := range w.cfg.Market.Story(r.id) {
		w.tellf("%s", line)
	}
}
