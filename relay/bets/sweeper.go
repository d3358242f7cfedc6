package bets

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

const (
	// sweepEvery is how often a Sweeper looks for what may go.
	sweepEvery = 5 * time.Minute
	// sweepFirst leaves the start to those who have news.
	sweepFirst = time.Minute
	// sweepRows bounds one transaction, sweepRest is how many times as long it rests after it: a
	// sweep never takes more than a fifth of the writer.
	sweepRows      = 500
	sweepRest      = 4
	sweepLeastRest = 20 * time.Millisecond
)

// Sweeper removes what has been kept long enough. Every replica has one; they do
// not get in each other's way.
type Sweeper struct {
	remover Remover
	metrics *Metrics
	log     zerolog.Logger
}

// NewSweeper returns a Sweeper.
func NewSweeper(remover Remover, metrics *Metrics, log zerolog.Logger) *Sweeper {
	return &Sweeper{remover: remover, metrics: metrics, log: log.With().Str("component", "bets").Logger()}
}

// Run works until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	failing := false
	for wait := sweepFirst; ; wait = sweepEvery {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		err := s.pass(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.log.Warn().Err(err).Msg("bets that have been kept long enough cannot be removed")
		}
		failing = err != nil
	}
}

// pass removes in short steps with rests in between.
func (s *Sweeper) pass(ctx context.Context) error {
	for ctx.Err() == nil {
		started := time.Now()
		removed, err := s.remover.Remove(ctx, Retention, sweepRows)
		if err != nil {
			return err
		}
		s.metrics.count(removed)
		if !removed.More {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(sweepLeastRest, sweepRest*time.Since(started))):
		}
	}
	return nil
}
