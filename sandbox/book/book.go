package book

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// shortest are the odds below which nothing is laid, as in
// migrations/ksqldb/V000003.
const shortest Odds = 10

// Config configures a Book. Its defaults are those of the migrations.
type Config struct {
	// PayoutShare is the part of the pool that is paid out; the rest is the
	// house's. Zero means 0.95.
	PayoutShare float64
	// Tolerance is how far the odds of a bet may be from those in force when it
	// arrives, as a part of the payout per unit (1 + odds). Zero means 0.05.
	Tolerance float64
}

// Runner is one runner of a race.
type Runner struct {
	Name string
	// ImageURL is shown by the app; empty means none.
	ImageURL string
	// Seed is what the house stakes on the runner at the beginning, so that
	// there are odds before the first bet. It must be positive.
	Seed Money
}

// Status is the status of a race.
type Status string

// Scheduled and Off are the statuses that a book knows: it takes bets on the one
// and says of the other that the race has started. All others take no bets.
const (
	Scheduled Status = "SCHEDULED"
	Off       Status = "OFF"
)

// Event is a race that is bet on.
type Event struct {
	ID string
	// Runners are those that the book begins with; they do not change later.
	Runners  []Runner
	Status   Status
	StartsAt time.Time
}

// Bet is one bet as the topic bets carries it.
type Bet struct {
	// ID identifies the bet: the same one again changes nothing.
	ID                  string
	Event, Runner, User string
	Stake               Money
	// Odds is what the user saw.
	Odds Odds
	// Arrived is when the bet arrived in Kafka. One that was placed in time and
	// arrived late comes too late.
	Arrived time.Time
}

// Verdict is what a book makes of a bet.
type Verdict int

// The verdicts.
const (
	Accepted Verdict = iota
	Rejected
	// Repeated is a bet that has been decided before.
	Repeated
)

// Reason says why a bet was rejected.
type Reason string

// The reasons, as the view REJECTED_BETS has them.
const (
	// NotOffered: no such race or runner, not open for bets, or nothing to bet.
	NotOffered Reason = "NOT_OFFERED"
	// RaceStarted: the race has started.
	RaceStarted Reason = "RACE_STARTED"
	// OddsMoved: the odds have moved beyond the tolerance.
	OddsMoved Reason = "ODDS_MOVED"
)

// Decision is what became of a bet.
type Decision struct {
	Verdict Verdict
	// Reason is set for a rejected bet.
	Reason Reason
	// Known says that there is such a race and runner: Now are its odds just
	// before the bet.
	Known bool
	Now   Odds
}

// Book is the books on any number of races.
type Book struct {
	cfg    Config
	events map[string]*event
	seen   map[string]bool // ids of bets
	lost   []string        // ids of bets on races that are not known
}

// keptLost is how many ids of bets on unknown races are remembered.
const keptLost = 10_000

// event is the book on one race.
type event struct {
	Event
	staked []Money
	bets   []string // ids, to be forgotten with the race
}

// New returns an empty book.
func New(cfg Config) *Book {
	cfg.PayoutShare = cmp.Or(cfg.PayoutShare, 0.95)
	cfg.Tolerance = cmp.Or(cfg.Tolerance, 0.05)
	return &Book{cfg: cfg, events: map[string]*event{}, seen: map[string]bool{}}
}

// Put enters a race, or changes status and start of one that is known, which
// keeps its stakes.
func (b *Book) Put(e Event) {
	if known := b.events[e.ID]; known != nil {
		known.Status, known.StartsAt = e.Status, e.StartsAt
		return
	}
	e.Runners = slices.Clone(e.Runners)
	n := &event{Event: e, staked: make([]Money, len(e.Runners))}
	for i, r := range n.Runners {
		n.staked[i] = max(1, r.Seed)
	}
	b.events[e.ID] = n
}

// Forget removes a race, and the ids of its bets.
func (b *Book) Forget(id string) {
	if e := b.events[id]; e != nil {
		for _, bet := range e.bets {
			delete(b.seen, bet)
		}
		delete(b.events, id)
	}
}

// Take decides about a bet. An accepted one has moved the odds of its race.
func (b *Book) Take(bet Bet) Decision {
	if b.seen[bet.ID] {
		return Decision{Verdict: Repeated}
	}
	b.seen[bet.ID] = true
	e := b.events[bet.Event]
	if e == nil {
		b.lost = append(b.lost, bet.ID)
		if len(b.lost) > keptLost {
			delete(b.seen, b.lost[0])
			b.lost = b.lost[1:]
		}
		return Decision{Verdict: Rejected, Reason: NotOffered}
	}
	e.bets = append(e.bets, bet.ID)
	i := slices.IndexFunc(e.Runners, func(r Runner) bool { return r.Name == bet.Runner })
	if i < 0 {
		return Decision{Verdict: Rejected, Reason: NotOffered}
	}
	d := Decision{Known: true, Now: b.odds(e, i)}
	if d.Reason = b.refuse(e, bet, d.Now); d.Reason != "" {
		d.Verdict = Rejected
		return d
	}
	e.staked[i] += bet.Stake
	return d
}

// refuse says why a bet on a known runner is rejected, empty if it is not. The
// order is that of migrations/ksqldb/V000002.
func (b *Book) refuse(e *event, bet Bet, now Odds) Reason {
	switch {
	case bet.Stake <= 0 || bet.Odds < 0:
		return NotOffered
	case e.Status == Off:
		return RaceStarted
	case e.Status != Scheduled:
		return NotOffered
	case !e.StartsAt.After(bet.Arrived):
		return RaceStarted
	case math.Abs(bet.Odds.Float()-now.Float()) > b.cfg.Tolerance*(now.Float()+1):
		return OddsMoved
	}
	return ""
}

// odds are those of runner i as the pool stands.
func (b *Book) odds(e *event, i int) Odds {
	var pool Money
	for _, m := range e.staked {
		pool += m
	}
	return max(shortest, RoundOdds(b.cfg.PayoutShare*float64(pool)/float64(e.staked[i])-1))
}

// Tile is one runner on the wire of the demo's app.
type Tile struct {
	Name     string  `json:"name"`
	ImageURL *string `json:"imageURL"`
	Odds     float64 `json:"odds"`
}

// Snapshot returns all runners of a race with their odds, nil for a race that is
// not known.
func (b *Book) Snapshot(id string) []Tile {
	e := b.events[id]
	if e == nil {
		return nil
	}
	tiles := make([]Tile, len(e.Runners))
	for i, r := range e.Runners {
		tiles[i] = Tile{Name: r.Name, Odds: b.odds(e, i).Float()}
		if r.ImageURL != "" {
			tiles[i].ImageURL = &r.ImageURL
		}
	}
	return tiles
}

// Encode returns a snapshot as the value of a record of the topic odds.
func Encode(tiles []Tile) ([]byte, error) {
	value, err := json.Marshal(tiles)
	if err != nil {
		return nil, fmt.Errorf("marshal snapshot: %w", err)
	}
	return value, nil
}

// Decode reads such a value.
func Decode(value []byte) ([]Tile, error) {
	var tiles []Tile
	if err := json.Unmarshal(value, &tiles); err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return tiles, nil
}
