package notifier

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

const (
	// beatEvery is how often a replica says that it is alive.
	beatEvery = 5 * time.Second
	// beatTimeout bounds one word to the ledger.
	beatTimeout = 5 * time.Second
	// ReplicaLife is how long a replica counts as alive after its last word.
	ReplicaLife = 4 * beatEvery
)

// Replica is one running process, as the others know it.
type Replica struct {
	// Owner names it, see Config.Owner.
	Owner string
	// Generation is that of the rules that it goes by.
	Generation string
	// Version is that of the binary.
	Version string
	// Since is when it took these rules, by the ledger's clock.
	Since time.Time
}

// ReplicaRecord is a replica as operators see it.
type ReplicaRecord struct {
	Replica
	// SeenAt is when it was last heard of, by the ledger's clock.
	SeenAt time.Time
	// Alive says that this was within ReplicaLife.
	Alive bool
	// InForce says that its rules are in force.
	InForce bool
}

// FleetLedger is where the replicas know of each other, so that of different
// rules during a deployment one set is in force: that of the living replica
// which took its rules last. The others begin no runs, and leave what their rules
// do not know to those who know it.
type FleetLedger interface {
	// Join says that a replica goes by these rules from now on, which puts them in force, and
	// returns the time by the ledger's clock.
	Join(ctx context.Context, r Replica) (since time.Time, err error)
	// Beat says that a replica is still alive. It returns which rules are in force and the time by
	// the ledger's clock.
	Beat(ctx context.Context, r Replica) (inForce string, now time.Time, err error)
	// Leave says that a replica has ended.
	Leave(ctx context.Context, r Replica) error
}

// Fleet keeps this replica's place among the others.
type Fleet struct {
	ledger  FleetLedger
	rules   *Rules
	self    Replica
	joined  chan struct{} // closed once the replica has joined
	metrics *Metrics
	log     zerolog.Logger
}

// NewFleet returns a Fleet for a replica of that name and version of the binary.
func NewFleet(ledger FleetLedger, rules *Rules, owner, version string, m *Metrics, log zerolog.Logger) *Fleet {
	return &Fleet{
		ledger: ledger, rules: rules, self: Replica{Owner: owner, Version: version}, joined: make(chan struct{}),
		metrics: m, log: log.With().Str("component", "fleet").Logger(),
	}
}

// Joined is closed once the other replicas know of this one and its rules. Before
// that it must begin no run: its rules may be older than theirs.
func (f *Fleet) Joined() <-chan struct{} { return f.joined }

// Run keeps the replica's place until ctx ends, and then leaves.
func (f *Fleet) Run(ctx context.Context) error {
	failing, outdated := false, false
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		rules := f.rules.now.Load()
		isOutdated, err := f.say(ctx, rules.set.Generation())
		switch {
		case err != nil && ctx.Err() == nil && !failing:
			failing = true
			f.log.Warn().Err(err).Msg("the other replicas cannot be told that this one is alive")
		case err == nil && failing:
			failing = false
			f.log.Info().Msg("the other replicas know again that this one is alive")
		}
		if err == nil && isOutdated != outdated {
			outdated = isOutdated
			if outdated {
				f.log.Warn().Str("generation", f.self.Generation).Msg("another replica has newer rules: this one begins no runs")
			} else {
				f.log.Info().Str("generation", f.self.Generation).Msg("the rules of this replica are in force again")
			}
		}
		select {
		case <-ctx.Done():
		case <-rules.replaced:
		case <-ticker.C:
		}
	}
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatTimeout)
	defer cancel()
	if err := f.ledger.Leave(leave, f.self); err != nil {
		f.log.Warn().Err(err).Msg("the other replicas could not be told that this one has ended; they notice by its silence")
	}
	return nil
}

// say joins with new rules, or says that the replica is still alive. It tells
// whether other rules than its own are in force.
func (f *Fleet) say(ctx context.Context, generation string) (outdated bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if f.self.Generation != generation {
		next := f.self
		next.Generation = generation
		if next.Since, err = f.ledger.Join(ctx, next); err != nil {
			return false, err
		}
		if f.self.Generation == "" {
			close(f.joined)
		}
		f.self = next
	}
	asked := time.Now()
	inForce, now, err := f.ledger.Beat(ctx, f.self)
	if err != nil {
		return false, err
	}
	// The answer was made between the question and now: half of that is the best guess.
	took := time.Since(asked)
	f.metrics.clockSkew.Set(asked.Add(took / 2).Sub(now).Seconds())
	f.metrics.setOutdated(inForce != generation)
	return inForce != generation, nil
}
