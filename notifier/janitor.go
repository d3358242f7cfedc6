package notifier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

const (
	// janitorEvery is how often the janitor looks for what may go. It has gone through all of it
	// then, so that it never has much to do at once.
	janitorEvery = 5 * time.Minute
	// janitorFirst leaves the start to those who have news.
	janitorFirst = time.Minute
	// janitorRows is how many rows one transaction removes at most. A delivery costs 20 to 200 µs,
	// more the further its index entries lie apart: others wait for SQLite's writer a tenth of a
	// second at worst.
	janitorRows = 500
	// janitorRest is how many times as long as its last transaction took the janitor rests before
	// the next one: it never takes more than a fifth of the writer.
	janitorRest = 4
	// janitorLeastRest lets others in where a transaction takes next to nothing.
	janitorLeastRest = 20 * time.Millisecond
)

// Janitor removes what has been kept long enough, in short steps with rests in
// between. Every replica has one; they do not get in each other's way.
type Janitor struct {
	ledger    RetentionLedger
	rules     *Rules
	retention Retention
	metrics   *Metrics
	log       zerolog.Logger
}

// NewJanitor returns a Janitor; zero durations of the retention mean the default.
func NewJanitor(ledger RetentionLedger, rules *Rules, retention Retention, metrics *Metrics, log zerolog.Logger) *Janitor {
	metrics.tables(Removed{})
	return &Janitor{
		ledger: ledger, rules: rules, retention: retention.withDefaults(), metrics: metrics,
		log: log.With().Str("component", "janitor").Logger(),
	}
}

// Run works until ctx ends.
func (j *Janitor) Run(ctx context.Context) error {
	failure := ""
	timer := time.NewTimer(janitorFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		removed, err := j.pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		j.tell(removed)
		now := ""
		if err != nil {
			if now = err.Error(); now != failure {
				j.log.Warn().Err(err).Msg("what has been kept long enough cannot be removed")
			}
		}
		failure = now
		timer.Reset(janitorEvery)
	}
}

func (j *Janitor) tell(removed Removed) {
	total := 0
	event := j.log.Info()
	for _, t := range removed.tables() {
		if t.rows > 0 {
			event.Int(t.table, t.rows)
		}
		total += t.rows
	}
	if total == 0 {
		event.Discard()
		return
	}
	event.Int("count", total).Msg("old rows removed")
}

// step is one transaction of the janitor.
type step func(ctx context.Context, limit int) (Removed, error)

// pass goes once through everything that may go. Deliveries come first: their
// notifications can go when they have none. What fails keeps nothing else from
// being removed.
func (j *Janitor) pass(ctx context.Context) (total Removed, err error) {
	steps := []step{
		func(ctx context.Context, limit int) (Removed, error) {
			return j.ledger.RemoveDeliveries(ctx, j.retention.Deliveries, limit)
		},
		func(ctx context.Context, limit int) (Removed, error) {
			return j.ledger.RemoveReplaced(ctx, j.retention.Deliveries, limit)
		},
		func(ctx context.Context, limit int) (Removed, error) {
			return j.ledger.RemoveBadRows(ctx, j.retention.Runs, limit)
		},
		func(ctx context.Context, limit int) (Removed, error) {
			// As long as a cap counts it, and a notification it was decided about can wait.
			return j.ledger.RemoveFrequency(ctx, MaxTTL+MaxFrequencyWindow, limit)
		},
	}
	rules, err := j.ledger.RulesOnRecord(ctx)
	for _, id := range rules {
		steps = append(steps, func(ctx context.Context, limit int) (Removed, error) {
			return j.ledger.ForgetKeys(ctx, j.retention.memory(id, j.rules.Set()), limit)
		}, func(ctx context.Context, limit int) (Removed, error) {
			return j.ledger.RemoveRuns(ctx, id, j.retention.Runs, limit)
		})
	}
	for _, s := range steps {
		err = errors.Join(err, j.exhaust(ctx, s, &total))
	}
	return total, err
}

// exhaust takes a step again until it is not full any more.
func (j *Janitor) exhaust(ctx context.Context, s step, total *Removed) error {
	for ctx.Err() == nil {
		started := time.Now()
		removed, err := s(ctx, janitorRows)
		if err != nil {
			return fmt.Errorf("remove old rows: %w", err)
		}
		j.metrics.tables(removed)
		total.add(removed)
		if !removed.More {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(janitorLeastRest, janitorRest*time.Since(started))):
		}
	}
	return nil
}
