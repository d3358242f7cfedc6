package notifier

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

// FanLedger turns released notifications into deliveries.
type FanLedger interface {
	// EndHolds releases a batch of notifications that were provisional and have been confirmed or
	// held long enough. It says which holds it has ended, and whether there may be more.
	EndHolds(ctx context.Context) (ended []EndedHolds, more bool, err error)
	// FanOut does one bounded step: it makes the deliveries of a batch of notifications for single users, and those of at most limit devices of one broad notification.
	// It reports how many deliveries it made and whether there is more to do.
	FanOut(ctx context.Context, limit int) (made int, more bool, err error)
}

// EndedHolds counts holds of a rule that have ended.
type EndedHolds struct {
	Rule string
	// Confirmed were ended by a row; Elapsed ended by themselves, and nothing has confirmed what is
	// told now.
	Confirmed, Elapsed int
}

// fanOutDevices is how many deliveries one transaction makes at most: large
// enough that the set-wise insert pays, small enough that a claim never waits long.
const fanOutDevices = 20_000

// fanOutTimeout bounds one step, which may write that many rows.
const fanOutTimeout = time.Minute

// Fanout makes the deliveries of what runs have released.
type Fanout struct {
	ledger FanLedger
	wake   <-chan struct{}
	made   func()
	// metrics count the holds.
	metrics *Metrics
	log     zerolog.Logger
}

// NewFanout returns a Fanout that works when wake delivers, and looks by itself
// every few seconds for what another replica left half done. made is called
// when there are new deliveries.
func NewFanout(ledger FanLedger, wake <-chan struct{}, made func(), m *Metrics, log zerolog.Logger) *Fanout {
	return &Fanout{ledger: ledger, wake: wake, made: made, metrics: m, log: log.With().Str("component", "fanout").Logger()}
}

func (f *Fanout) step(ctx context.Context) (made int, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, fanOutTimeout)
	defer cancel()
	ended, moreHolds, err := f.ledger.EndHolds(ctx)
	if err != nil {
		return 0, false, err
	}
	f.metrics.holdsEnded(ended)
	made, more, err = f.ledger.FanOut(ctx, fanOutDevices)
	return made, more || moreHolds, err
}

// Run works until ctx ends. What is half done then goes on from its cursor.
func (f *Fanout) Run(ctx context.Context) error {
	const look = 5 * time.Second
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		case <-timer.C:
		}
		for ctx.Err() == nil {
			made, more, err := f.step(ctx)
			if err != nil {
				if ctx.Err() == nil {
					f.log.Warn().Err(err).Msg("fan-out stopped; it goes on from its cursor")
				}
				break
			}
			if made > 0 {
				f.made()
			}
			if !more {
				break
			}
		}
		timer.Reset(look)
	}
}
