package notifier

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/devices"
)

// askTimeout bounds one question for a part of the quota.
const askTimeout = 2 * time.Second

// What a question for a part of the quota came to, a label of bugle_quota_grants_total.
const (
	outcomeGranted = "granted"
	outcomeEmpty   = "empty"
	outcomeFailed  = "failed"
)

// asker carries a pacer's questions to the quota of its provider. It stands
// apart from the lanes, so that a database that does not answer holds up
// nothing but the sends that need a grant.
type asker struct {
	provider devices.Provider
	pacer    *Pacer
	quotas   Quotas
	meter    *quotaMeter
	told     <-chan struct{}
	wake     func()
	metrics  *Metrics
	log      zerolog.Logger
}

func (a *asker) run(ctx context.Context) {
	failing := false
	var again <-chan time.Time
	look := time.NewTicker(quotaLook)
	defer look.Stop()
	a.look(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.told:
		case <-look.C:
			a.look(ctx)
			continue
		case <-again: // what is to be told is told in the end, whether or not anything is due here
		}
		again = nil
		err := a.once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			again = time.After(grantRetry)
			if !failing {
				a.log.Error().Err(err).Msg("quota cannot be reached: nothing is sent without a grant")
			}
		case failing:
			a.log.Info().Msg("quota is reached again")
		}
		failing = err != nil
	}
}

// look reads how the quota stands, unless an answer has just told that.
func (a *asker) look(ctx context.Context) {
	if !a.meter.due(time.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, now, err := a.quotas.QuotaNow(ctx, a.provider)
	if err != nil {
		a.meter.lost() // who claims and records finds the database away as well, and says so
		return
	}
	a.meter.read(time.Now(), s.Stands(now))
}

// once asks what the pacer has to ask, if anything.
func (a *asker) once(ctx context.Context) error {
	ask, ok := a.pacer.Next(time.Now())
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var (
		g     Grant
		stand Standing
	)
	err := a.quotas.Quota(ctx, a.provider, func(s QuotaState, now time.Time) QuotaState {
		s, g = s.Answer(now, ask)
		stand = s.Stands(now)
		return s
	})
	outcome := outcomeGranted
	switch {
	case err != nil:
		a.pacer.Failed(time.Now(), ask)
		a.meter.lost()
		outcome = outcomeFailed
	default:
		a.pacer.Granted(time.Now(), ask, g)
		a.meter.read(time.Now(), stand)
		a.metrics.rate.WithLabelValues(string(a.provider)).Set(g.Rate)
		if g.Tokens == 0 {
			outcome = outcomeEmpty
		}
	}
	if ask.Want > 0 {
		a.metrics.grants.WithLabelValues(string(a.provider), outcome).Inc()
		a.wake()
	}
	return err
}
