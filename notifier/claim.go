package notifier

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ask looks whether anything is due and, if so, has a grant for it asked for: what
// idles costs no grant. The answer wakes the lane.
func (l *lane) ask(ctx context.Context) error {
	ids, err := l.queue.Rules(ctx, l.id)
	due := 0
	ids = l.unshunned(ids, time.Now())
	if err == nil && len(ids) > 0 { // an empty queue is most common, and cheaper to see
		due, err = l.queue.Due(ctx, l.id, l.provider.pacer.Most())
	}
	if err != nil {
		return err
	}
	l.provider.claimed(l.id.Urgency, 0, due > 0)
	if due > 0 {
		l.provider.pacer.Want(due)
		l.provider.tell()
	}
	return nil
}

// claim shares the places between the rules that have something queued, so that
// a flood of one rule delays no other. More says that there was more than was
// asked for.
func (l *lane) claim(ctx context.Context, n int) (out []Claim, more bool, err error) {
	ids, err := l.queue.Rules(ctx, l.id)
	if err != nil || len(ids) == 0 {
		return nil, false, err
	}
	ids = l.unshunned(ids, time.Now())
	l.turn++
	for i := range ids {
		left := len(ids) - i
		// What an earlier rule did not need is shared by the later ones.
		share := (n - len(out) + left - 1) / left
		if share == 0 {
			break
		}
		got, err := l.queue.Claim(ctx, ClaimRequest{
			Lane: l.id, Rule: ids[(i+l.turn)%len(ids)], Limit: share, Owner: l.owner, Lease: l.lease,
		})
		if err != nil {
			l.giveBack(out)
			return nil, false, fmt.Errorf("claim deliveries: %w", err)
		}
		l.hold(got)
		out = append(out, got...)
		more = more || len(got) == share
	}
	return out, more, nil
}

// disown gives back what a claim has leased that failed here and was committed in
// the database.
func (l *lane) disown(ctx context.Context, now time.Time) error {
	if now.After(l.orphansUntil) || now.Before(l.orphansNext) {
		return nil
	}
	l.mu.Lock()
	held := slices.Collect(maps.Keys(l.held))
	l.mu.Unlock()
	n, err := l.queue.Disown(ctx, l.owner, l.id, held)
	if err != nil {
		return fmt.Errorf("look for lost claims: %w", err)
	}
	l.orphansNext = now.Add(orphansEvery)
	if n > 0 {
		l.log.Info().Int("count", n).Msg("claims given back whose commit had not been confirmed")
	}
	return nil
}

// hold notes what has been claimed.
func (l *lane) hold(claims []Claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range claims {
		l.held[c.ID] = struct{}{}
	}
}

// release notes what has been recorded.
func (l *lane) release(id DeliveryID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, id)
}

func (l *lane) giveBack(claims []Claim) {
	for _, c := range claims {
		l.slots <- struct{}{}
		l.metrics.inFlight.WithLabelValues(l.id.String()).Inc()
		l.record(Result{Claim: c, State: Queued, DueAt: time.Now().Add(viewRetry)})
	}
}

// unshunned leaves out the rules that are left alone.
func (l *lane) unshunned(ids []string, now time.Time) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(ids, func(id string) bool {
		until, ok := l.shunned[id]
		if ok && !now.Before(until) {
			delete(l.shunned, id)
			ok = false
		}
		return ok
	})
}
