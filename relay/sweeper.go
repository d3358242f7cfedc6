package relay

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

// SourceRetention is how long the progress of a source is kept that no replica
// has: its topic was deleted or made anew, or is not relayed any more. Kafka
// forgets the offsets of a group that is gone after seven days
// (offsets.retention.minutes, Kafka 2.0 and newer), and without them marks say
// nothing of use.
const SourceRetention = 30 * 24 * time.Hour

const (
	// sweepEvery is how often a Sweeper looks for what may go, sweepFirst leaves the
	// start to those who have news.
	sweepEvery = time.Hour
	sweepFirst = time.Minute
	// sweepRows bounds one transaction, sweepRest is how many times as long it rests after it: a
	// sweep never takes more than a fifth of the writer.
	sweepRows      = 500
	sweepRest      = 4
	sweepLeastRest = 20 * time.Millisecond
)

// SourceRemover removes progress.
type SourceRemover interface {
	// RemoveGone removes at most limit marks of a source that nobody has used for
	// keep, and tells whether there may be more to remove.
	RemoveGone(ctx context.Context, keep time.Duration, limit int) (removed int, more bool, err error)
}

// Sweeper removes the progress of sources that are gone. Every replica has one;
// they do not get in each other's way.
type Sweeper struct {
	remover SourceRemover
	log     zerolog.Logger
}

// NewSweeper returns a Sweeper.
func NewSweeper(remover SourceRemover, log zerolog.Logger) *Sweeper {
	return &Sweeper{remover: remover, log: log.With().Str("component", "relay").Logger()}
}

// Run works until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	failing := false
	for wait := sweepFirst; pause(ctx, wait) == nil; wait = sweepEvery {
		removed, err := s.pass(ctx)
		if removed > 0 {
			s.log.Info().Int("count", removed).Msg("progress of partitions that are gone removed")
		}
		if err != nil && !failing && ctx.Err() == nil {
			s.log.Warn().Err(err).Msg("progress of partitions that are gone cannot be removed")
		}
		failing = err != nil
	}
	return nil
}

// pass removes in short steps with rests in between.
func (s *Sweeper) pass(ctx context.Context) (sum int, err error) {
	for {
		started := time.Now()
		removed, more, err := s.remover.RemoveGone(ctx, SourceRetention, sweepRows)
		sum += removed
		if err != nil || !more {
			return sum, err
		}
		if pause(ctx, max(sweepLeastRest, sweepRest*time.Since(started))) != nil {
			return sum, nil
		}
	}
}
