package racing

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// progress is how far the announcement of some subjects has come.
type progress struct {
	told    int // devices and subjects that the revision was accepted for
	retried int // of which more than one attempt was needed
	sample  *arrival
	device  DeviceID
}

// progress looks at one revision, counted from 1, of the given subjects. The
// sample is one accepted message, one that was retried if there is any.
func (o *Oracle) progress(rev int, keys []subjectKey) progress {
	o.mu.Lock()
	defer o.mu.Unlock()
	var p progress
	for _, key := range keys {
		s := o.subjects[key]
		if s == nil || len(s.revs) < rev {
			continue
		}
		for _, h := range o.order {
			first, _ := firstArrivals(s.arrivals[h.id], rev-1)
			if first == nil {
				continue
			}
			p.told++
			if first.push.Attempt > 1 {
				p.retried++
			}
			if p.sample == nil || first.push.Attempt > p.sample.push.Attempt {
				p.sample, p.device = first, h.id
			}
		}
	}
	return p
}

// tellProgress plans a line about who has been told by then.
func (w *World) tellProgress(at time.Time, about string, rev int, keys ...subjectKey) {
	w.plan(action{at: at, do: func(context.Context, time.Time) error {
		p := w.cfg.Oracle.progress(rev, keys)
		if p.sample == nil {
			w.tellf("nobody has been told of %s yet", about)
			return nil
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%d pushes about %s", p.told, about)
		if p.retried > 0 {
			fmt.Fprintf(&b, " (%d refused first with 429 or 5xx, retried: one push each)", p.retried)
		}
		m := p.sample.push
		fmt.Fprintf(&b, "; on %s, attempt %d: “%s” “%s”", p.device, max(1, m.Attempt), m.Title, m.Body)
		w.tellf("%s", b.String())
		return nil
	}})
}

func raceKey(r *race) subjectKey { return subjectKey{aboutRace, r.id} }

func betKeys(r *race) []subjectKey {
	keys := make([]subjectKey, len(r.bets))
	for i, b := range r.bets {
		keys[i] = subjectKey{aboutBet, b.id}
	}
	return keys
}
