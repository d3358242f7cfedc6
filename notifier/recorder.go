package notifier

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

const (
	// recordBatch is how many results one transaction writes at most.
	recordBatch = 500
	// recordDelay is how long a result waits for others to share its commit.
	recordDelay = 20 * time.Millisecond
	// recordRetry is how long to wait after the database refused.
	recordRetry = 250 * time.Millisecond
	// recordPatience is how long results are kept that the database does not take. Beyond their
	// leases others may have taken the deliveries, which the fence notices; but while the database
	// was away nobody could, and what is known need not be sent again.
	recordPatience = 10 * time.Minute
)

// pending is a result on its way to the ledger, with what to do once it is there.
type pending struct {
	result Result
	done   func()
}

// recorder writes results down in bulk. A place in flight is given back only
// when its result is recorded: what a crash can leave unknown is bounded by the
// places, whatever the database does.
type recorder struct {
	queue   Queue
	owner   string
	in      chan pending
	metrics *Metrics
	log     zerolog.Logger
}

func newRecorder(q Queue, owner string, m *Metrics, log zerolog.Logger) *recorder {
	return &recorder{queue: q, owner: owner, in: make(chan pending, recordBatch), metrics: m, log: log}
}

// run records until the channel is closed and everything in it is written. The
// end of ctx cuts no write: results of sends that were made are worth waiting
// for, but then no longer than their leases.
func (r *recorder) run(ctx context.Context) {
	batch := make([]pending, 0, recordBatch)
	for p := range r.in {
		batch = append(batch[:0], p)
		timer := time.NewTimer(recordDelay)
	collect:
		for len(batch) < recordBatch {
			select {
			case p, ok := <-r.in:
				if !ok {
					break collect
				}
				batch = append(batch, p)
			case <-timer.C:
				break collect
			}
		}
		timer.Stop()
		r.write(ctx, batch)
	}
}

func (r *recorder) write(ctx context.Context, batch []pending) {
	began := time.Now()
	results := make([]Result, len(batch))
	lastUntil := time.Time{}
	for i, p := range batch {
		results[i] = p.result
		if p.result.Claim.Until.After(lastUntil) {
			lastUntil = p.result.Claim.Until
		}
	}
	failed := false
	for {
		writeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		lost, err := r.queue.Record(writeCtx, r.owner, results)
		cancel()
		if err == nil {
			if lost > 0 {
				r.metrics.leasesLost.Add(float64(lost))
				r.log.Warn().Int("count", lost).Msg("results came after their lease was lost")
			}
			if failed {
				r.log.Info().Msg("results are recorded again")
			}
			break
		}
		if !failed {
			failed = true
			r.log.Error().Err(err).Int("count", len(results)).Msg("results could not be recorded; trying again")
		}
		if now := time.Now(); ctx.Err() != nil && now.After(lastUntil) || now.Sub(began) > recordPatience {
			r.metrics.leasesLost.Add(float64(len(results)))
			r.log.Error().Int("count", len(results)).Msg("results were not recorded in time; their outcome is unknown")
			break
		}
		time.Sleep(recordRetry)
	}
	for _, p := range batch {
		p.done()
	}
}
