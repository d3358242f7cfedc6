package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// faultKind is what a fault does, and its key in the report.
type faultKind string

// The kinds of faults.
const (
	faultKill     faultKind = "kill"      // SIGKILL, and a replacement
	faultStop     faultKind = "stop"      // SIGSTOP for seconds, SIGCONT
	faultLongStop faultKind = "long_stop" // for longer than a delivery's lease
	faultTerm     faultKind = "term"      // SIGTERM, and a replacement
	faultCrash    faultKind = "db_crash"  // the database crashes and starts again
	faultCut      faultKind = "db_cut"    // every connection to it is cut, and none accepted for a while
	faultFCM      faultKind = "fcm"       // FCM's stand-in fails
	faultAbly     faultKind = "ably"      // Ably's stand-in fails
	faultKSQLDB   faultKind = "ksqldb"    // ksqlDB's stand-in fails
	faultKafka    faultKind = "kafka"     // the broker fails
)

// fault is one planned fault.
type fault struct {
	kind faultKind
	// at is when it begins, from the beginning of its round.
	at time.Duration
	// lasts is how long it goes on; zero for what is done at once.
	lasts time.Duration
	// slot is the replica that a process fault strikes.
	slot int
	// profile names how a stand-in fails.
	profile string
}

// String returns "kill replica 2 at 3s", for instance.
func (f fault) String() string {
	var b strings.Builder
	b.WriteString(string(f.kind))
	if f.onProcess() {
		fmt.Fprintf(&b, " of replica %d", f.slot+1)
	}
	if f.profile != "" {
		b.WriteString(" " + f.profile)
	}
	if f.lasts > 0 {
		fmt.Fprintf(&b, " for %v", f.lasts)
	}
	fmt.Fprintf(&b, " at %v", f.at)
	return b.String()
}

// onProcess tells whether the fault strikes one replica.
func (f fault) onProcess() bool {
	switch f.kind {
	case faultKill, faultStop, faultLongStop, faultTerm:
		return true
	default:
		return false
	}
}

// round is a stretch of time with its faults, in the order of their beginning.
type round struct {
	length time.Duration
	faults []fault
}

// longStop is longer than the lease of a delivery, which is 60 s, with what it
// takes to be tidied up.
const longStop = 70 * time.Second

// roundsPerLongStop is how many rounds have at most one long stop. A run with no
// more than shortRun rounds has none: it is what CI waits for.
const (
	roundsPerLongStop = 10
	shortRun          = 3
)

// makePlan makes the plan of a run, which follows from the options alone.
func makePlan(o options) []round {
	p := planner{options: o, rng: rand.New(rand.NewPCG(o.seed, 0x706c616e))}
	p.process = p.deck(faultStop, faultTerm, faultKill)
	if o.db == dbPostgres {
		p.process = p.deck(faultStop, faultCrash, faultTerm, faultCut)
	}
	p.fcm, p.ably, p.ksqldb = p.deckOf(fcmProfiles), p.deckOf(ablyProfiles), p.deckOf(ksqldbProfiles)
	// The broker's dice are its own, so that the other faults of a seed are what
	// they were without it.
	brokers := &planner{options: o, rng: rand.New(rand.NewPCG(o.seed, 0x6b61666b61))}
	broker := brokers.deckOf(kafkaProfiles)
	longAt := -1
	rounds := make([]round, o.rounds)
	for i := range rounds {
		if i%roundsPerLongStop == 0 {
			// One of the ten, unless it falls behind the end.
			longAt = i + p.rng.IntN(roundsPerLongStop)
		}
		rounds[i] = p.round(i == longAt && o.rounds > shortRun)
		rounds[i].add(brokers.broker(rounds[i], broker()))
	}
	return rounds
}

// planner draws the faults. Its decks return each kind once before any again, so
// that a short run meets many.
type planner struct {
	options
	rng               *rand.Rand
	process           func() faultKind
	fcm, ably, ksqldb func() string
}

func (p *planner) round(long bool) round {
	r := round{length: p.between(12*time.Second, 18*time.Second)}
	main := p.process()
	if long {
		main = faultLongStop
	}
	slot := p.rng.IntN(p.replicas)
	f := fault{kind: main, slot: slot, at: p.between(time.Second, 4*time.Second)}
	switch main {
	case faultStop:
		f.lasts = p.between(2*time.Second, 8*time.Second)
	case faultLongStop:
		f.lasts = longStop
	case faultCut, faultCrash:
		f.lasts = p.between(300*time.Millisecond, 5*time.Second)
	default: // done at once
	}
	r.faults = append(r.faults, f)
	// A kill in each round: of another replica meanwhile, or, of the only one,
	// when the first fault is over.
	kill := fault{kind: faultKill, at: p.between(2*time.Second, 9*time.Second), slot: (slot + 1 + p.rng.IntN(max(1, p.replicas-1))) % p.replicas}
	if p.replicas == 1 {
		kill.at = f.at + f.lasts + p.between(2*time.Second, 5*time.Second)
	}
	r.faults = append(r.faults, kill)
	// What providers do to messages is at its worst while a replica dies: so one
	// of them fails around the kill.
	first, second := faultFCM, faultAbly
	if p.rng.IntN(2) == 0 {
		first, second = second, first
	}
	r.faults = append(r.faults, p.provider(first, max(0, kill.at-2*time.Second)))
	if p.rng.IntN(2) == 0 {
		r.faults = append(r.faults, p.provider(second, p.between(0, 8*time.Second)))
	}
	if p.rng.IntN(3) > 0 {
		r.faults = append(r.faults, fault{
			kind: faultKSQLDB, profile: p.ksqldb(), at: p.between(0, 6*time.Second), lasts: p.between(2*time.Second, 6*time.Second),
		})
	}
	slices.SortStableFunc(r.faults, func(a, b fault) int { return int(a.at - b.at) })
	return r
}

// broker lets the broker fail around the round's kill, so that bets are on their
// way when the replica dies: their answers are awaited or lost.
func (p *planner) broker(r round, profile string) fault {
	kill := r.faults[slices.IndexFunc(r.faults, func(f fault) bool { return f.kind == faultKill })]
	f := fault{kind: faultKafka, profile: profile, at: max(0, kill.at-p.between(500*time.Millisecond, 2*time.Second)), lasts: p.between(3*time.Second, 7*time.Second)}
	if profile == kafkaAway {
		f.lasts = p.between(500*time.Millisecond, 3*time.Second)
	}
	return f
}

// add adds a fault in its place.
func (r *round) add(f fault) {
	r.faults = append(r.faults, f)
	slices.SortStableFunc(r.faults, func(a, b fault) int { return int(a.at - b.at) })
}

func (p *planner) provider(kind faultKind, at time.Duration) fault {
	profile := p.fcm
	if kind == faultAbly {
		profile = p.ably
	}
	return fault{kind: kind, profile: profile(), at: at, lasts: p.between(3*time.Second, 6*time.Second)}
}

func (p *planner) between(lo, hi time.Duration) time.Duration { return between(p.rng, lo, hi) }

// between draws a duration in tenths of a second, both ends included.
func between(rng *rand.Rand, lo, hi time.Duration) time.Duration {
	const step = 100 * time.Millisecond
	return lo + time.Duration(rng.Int64N(int64((hi-lo)/step)+1))*step
}

// deck returns a function that deals the kinds in a random order, again and again.
func (p *planner) deck(kinds ...faultKind) func() faultKind { return deal(p.rng, kinds) }

// deckOf returns a function that deals the names of profiles.
func (p *planner) deckOf(names []string) func() string { return deal(p.rng, names) }

func deal[T any](rng *rand.Rand, cards []T) func() T {
	var left []T
	return func() T {
		if len(left) == 0 {
			left = slices.Clone(cards)
			rng.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		}
		card := left[0]
		left = left[1:]
		return card
	}
}
