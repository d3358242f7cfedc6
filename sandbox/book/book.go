package book

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// Limits of the odds that a book lays.
const (
	shortest Odds = 1       // 1/8
	longest  Odds = 100 * 8 // 100/1
)

// Config configures a Book.
type Config struct {
	// TakeOut is the share of the pool that the house keeps, less than 1. Zero
	// means 0.15.
	TakeOut float64
	// Tolerance is how far the odds may have moved since the user saw them, as
	// a share of what the user saw: a bet beyond it is rejected. Zero means 0.2.
	Tolerance float64
}

// Runner is one runner of a race.
type Runner struct {
	Name string
	// ImageURL is shown by the app; empty means none.
	ImageURL string
	// Seed is what the house stakes on the runner at the beginning, so that
	// there are odds before the first bet. Zero means 100.00.
	Seed Money
}

// Event is a race that is bet on.
type Event struct {
	ID      string
	Runners []Runner
}

// Bet is one bet as the topic bets carries it.
type Bet struct {
	// ID identifies the bet: the same one again changes nothing.
	ID                  string
	Event, Runner, User string
	Stake               Money
	// Odds is what the user saw, zero if unknown: then the bet is taken at
	// whatever the odds are.
	Odds float64
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

// The reasons.
const (
	// Drifted: the odds have moved too far since the user saw them.
	Drifted Reason = "odds_drifted"
	// Started: the race takes no bets any more, or not at present.
	Started Reason = "race_started"
	// UnknownEvent and UnknownRunner: there is no such race, or no such runner in it.
	UnknownEvent  Reason = "unknown_event"
	UnknownRunner Reason = "unknown_runner"
	// NoStake: the stake is not positive.
	NoStake Reason = "no_stake"
)

// Decision is what became of a bet.
type Decision struct {
	Verdict Verdict
	// Reason is set for a rejected bet.
	Reason Reason
	// Odds are those that an accepted bet is settled at: what the user saw, in
	// whole eighths. Zero otherwise.
	Odds Odds
	// Now are the odds of the runner just before the bet; zero if there is no
	// such runner.
	Now Odds
}

// Book is the books on any number of races.
type Book struct {
	cfg    Config
	events map[string]*event
	seen   map[string]bool // ids of bets
}

// event is the book on one race.
type event struct {
	runners []Runner
	staked  []Money
	open    bool
	bets    []string // ids, to be forgotten with the race
}

// New returns an empty book.
func New(cfg Config) *Book {
	cfg.TakeOut = cmp.Or(cfg.TakeOut, 0.15)
	cfg.Tolerance = cmp.Or(cfg.Tolerance, 0.2)
	return &Book{cfg: cfg, events: map[string]*event{}, seen: map[string]bool{}}
}

// Open takes bets on a race from now on. A race that has been open before keeps
// what was staked.
func (b *Book) Open(e Event) {
	if known := b.events[e.ID]; known != nil {
		known.open = true
		return
	}
	n := &event{runners: slices.Clone(e.Runners), staked: make([]Money, len(e.Runners)), open: true}
	for i, r := range n.runners {
		n.staked[i] = cmp.Or(r.Seed, 100_00)
	}
	b.events[e.ID] = n
}

// Close takes no more bets on a race.
func (b *Book) Close(id string) {
	if e := b.events[id]; e != nil {
		e.open = false
	}
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
	e := b.events[bet.Event]
	if e == nil {
		return Decision{Verdict: Rejected, Reason: UnknownEvent}
	}
	b.seen[bet.ID] = true
	e.bets = append(e.bets, bet.ID)
	i := slices.IndexFunc(e.runners, func(r Runner) bool { return r.Name == bet.Runner })
	if i < 0 {
		return Decision{Verdict: Rejected, Reason: UnknownRunner}
	}
	now := b.odds(e, i)
	at := now
	if bet.Odds != 0 {
		at = floorOdds(bet.Odds)
	}
	switch {
	case !e.open:
		return Decision{Verdict: Rejected, Reason: Started, Now: now}
	case bet.Stake <= 0:
		return Decision{Verdict: Rejected, Reason: NoStake, Now: now}
	case at == 0 || math.Abs(now.Float()-bet.Odds) > b.cfg.Tolerance*bet.Odds && bet.Odds != 0:
		return Decision{Verdict: Rejected, Reason: Drifted, Now: now}
	}
	e.staked[i] += bet.Stake
	return Decision{Verdict: Accepted, Odds: at, Now: now}
}

// odds are those of runner i as the pool stands.
func (b *Book) odds(e *event, i int) Odds {
	var pool Money
	for _, m := range e.staked {
		pool += m
	}
	profit := float64(pool)*(1-b.cfg.TakeOut)/float64(e.staked[i]) - 1
	return min(max(floorOdds(profit), shortest), longest)
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
	tiles := make([]Tile, len(e.runners))
	for i, r := range e.runners {
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
