package notifier

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

// FanLedger turns released notifications into deliveries.
type FanLedger interface {
	// FanOut does one bounded step: it releases a batch of notifications that were provisional and
	// have been confirmed or held long enough, makes the deliveries of a batch of
	// notifications for single users, and those of at most limit devices of one broad notification.
	// It reports how many deliveries it made and whether there is more to do.
	FanOut(ctx context.Context, limit int) (made int, more bool, err error)
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
	log    zerolog.Logger
}

// NewFanout returns a Fanout that works when wake delivers, and looks by itself
// every few seconds for what another replica left half done. made is called
// when there are new deliveries.
func NewFanout(ledger FanLedger, wake <-chan struct{}, made func(), log zerolog.Logger) *Fanout {
	return &Fanout{ledger: ledger, wake: wake, made: made, log: log.With().Str("component", "fanout").Logger()}
}

func (f *Fanout) step(ctx context.Context) (made int, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, fanOutTimeout)
	defer cancel()
	return f.ledger.FanOut(ctx, fanOutDevices)
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
