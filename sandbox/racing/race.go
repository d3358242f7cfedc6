package racing

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// RaceStatus is the status column of UPCOMING_RACES.
type RaceStatus string

// The statuses of a race.
const (
	Scheduled RaceStatus = "SCHEDULED"
	Postponed RaceStatus = "POSTPONED"
	Abandoned RaceStatus = "ABANDONED"
	Off       RaceStatus = "OFF"
)

// fate is what will become of a race; only the world knows.
type fate int

const (
	fateRuns        fate = iota
	fateEnquiry          // it runs, and the stewards change the result
	fateDeadHeat         // it runs, and the stewards find that two came first
	fateNonRunner        // it runs without one runner, whose bets are void
	fatePostponed        // to another day
	fateRescheduled      // postponed, and on again today
	fateAbandoned        // every bet is void
)

// runner is one car of a race.
type runner struct {
	name string
	odds Odds
}

// race is one event of the world.
type race struct {
	id, name, course string
	runners          []runner
	startsAt         time.Time
	status           RaceStatus
	fate             fate
	open             bool // for bets
	bets             []*bet
	settled          bool
	decided          bool // who came first
	withdrawn        int  // index of the runner that did not run, -1 for none
	winner           int
	tied             int // index of the runner that came first as well, -1 for none
}

// Outcome is the outcome column of SETTLED_BETS.
type Outcome string

// The outcomes of a bet.
const (
	Won  Outcome = "WON"
	Lost Outcome = "LOST"
	Void Outcome = "VOID"
	// DeadHeat is won by half: the first place is shared.
	DeadHeat Outcome = "DEAD_HEAT"
)

// bet is one bet of one user; its odds are those it was placed at.
type bet struct {
	id       string
	user     *user
	race     *race
	runner   int
	stake    Money
	odds     Odds
	currency string
	outcome  Outcome // latest announced by the world; empty until settled
}

// settle returns the outcome and the payout of the bet as the race stands.
func (b *bet) settle() (Outcome, Money) {
	switch {
	case b.race.status == Abandoned || b.runner == b.race.withdrawn:
		return Void, b.stake
	case b.race.tied >= 0 && (b.runner == b.race.winner || b.runner == b.race.tied):
		return DeadHeat, b.odds.Payout(b.stake) / 2
	case b.runner == b.race.winner:
		return Won, b.odds.Payout(b.stake)
	default:
		return Lost, 0
	}
}

// raceNames returns every name a race can have, in a random order.
func raceNames(rng *rand.Rand) []string {
	first := []string{"Evening", "Harbour", "Copper", "Silver", "Lantern", "Autumn", "Quayside", "Orchard", "Marathon", "Foundry"}
	second := []string{"Stakes", "Handicap", "Cup", "Plate", "Sprint", "Trophy", "Mile"}
	var names []string
	for _, a := range first {
		for _, b := range second {
			names = append(names, a+" "+b)
		}
	}
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names
}

// newRace makes up race number n, from 1.
func newRace(rng *rand.Rand, n int, name string) *race {
	courses := []string{"Kempton Park", "Meydan", "Hoppegarten", "Longchamp", "Belmont", "Flemington", "San Siro"}
	r := &race{
		id:        fmt.Sprintf("race-%04d", n),
		name:      name,
		course:    courses[rng.IntN(len(courses))],
		status:    Scheduled,
		withdrawn: -1, tied: -1,
	}
	prices := []Odds{125, 250, 500, 750, 1000, 1500, 2000, 2500, 3500, 5000, 10000} // 1/8 … 10/1
	for i := range 6 {
		r.runners = append(r.runners, runner{name: fmt.Sprintf("Car %d", i+1), odds: prices[rng.IntN(len(prices))]})
	}
	return r
}

// pickFate decides what becomes of race number n. The first ones are fixed, so
// that a short run shows everything whatever the seed.
func pickFate(rng *rand.Rand, seed uint64, n int) fate {
	change := []fate{fatePostponed, fateAbandoned}
	switch n {
	case 0:
		if seed%3 == 2 {
			return fateDeadHeat
		}
		return fateEnquiry
	case 1, 2:
		return change[(uint64(n)+seed)%2]
	case 3:
		return fateNonRunner
	case 4:
		return fateRescheduled
	}
	switch p := rng.IntN(100); {
	case p < 35:
		return fateRuns
	case p < 50:
		return fateEnquiry
	case p < 60:
		return fateDeadHeat
	case p < 72:
		return fateNonRunner
	case p < 80:
		return fatePostponed
	case p < 90:
		return fateRescheduled
	default:
		return fateAbandoned
	}
}

// backed returns the indices of the runners by the number of bets on them,
// most first, without the one that did not run.
func (r *race) backed() []int {
	count := make([]int, len(r.runners))
	for _, b := range r.bets {
		count[b.runner]++
	}
	var order []int
	for i := range r.runners {
		if i == r.withdrawn {
			continue
		}
		at := len(order)
		for at > 0 && count[order[at-1]] < count[i] {
			at--
		}
		order = append(order[:at], append([]int{i}, order[at:]...)...)
	}
	return order
}
