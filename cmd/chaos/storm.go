package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// storm carries the plan out.
type storm struct {
	options
	db       database
	fleet    *fleet
	standIns *standIns
	journal  *journal
	say      func(line string)
}

// play plays one round, and returns when its time is over and its faults are.
func (s *storm) play(ctx context.Context, n int, r round) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return wait(ctx, r.length) })
	for _, f := range r.faults {
		g.Go(func() error {
			if err := wait(ctx, f.at); err != nil {
				return err
			}
			s.journal.count(f.kind)
			if err := s.strike(ctx, n, f); err != nil {
				return fmt.Errorf("round %d, %v: %w", n+1, f, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (s *storm) strike(ctx context.Context, n int, f fault) error {
	switch f.kind {
	case faultKill:
		return s.kill(ctx, n, f)
	case faultStop, faultLongStop:
		return s.stop(ctx, n, f)
	case faultTerm:
		return s.term(ctx, n, f)
	case faultCrash, faultCut:
		return s.breakDatabase(ctx, n, f)
	case faultFCM, faultAbly, faultKSQLDB, faultKafka:
		if err := s.standIns.fail(f.kind, f.profile); err != nil {
			return err
		}
		err := wait(ctx, f.lasts)
		if calm := s.standIns.fail(f.kind, ""); calm != nil {
			return calm
		}
		return err
	default:
		return fmt.Errorf("unknown kind of fault %q", f.kind)
	}
}

// kill kills a replica with what it has in flight, and starts another one.
func (s *storm) kill(ctx context.Context, n int, f fault) error {
	r, err := s.fleet.open(ctx, f.slot)
	if err != nil {
		return err
	}
	over, err := s.frozen(ctx, incident{kind: f.kind, round: n, what: "kill of " + r.String(), outage: s.replicas == 1}, r)
	if err != nil {
		return err
	}
	if err := r.end(os.Kill); err != nil {
		return err
	}
	<-r.ended
	if err := s.fleet.start(f.slot, r); err != nil {
		return err
	}
	_, err = s.fleet.open(ctx, f.slot)
	over()
	return err
}

// stop holds a replica still for a time, as a machine does that swaps or moves.
func (s *storm) stop(ctx context.Context, n int, f fault) error {
	r, err := s.fleet.open(ctx, f.slot)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("stop of %s for %v", r, f.lasts)
	over, err := s.frozen(ctx, incident{kind: f.kind, round: n, what: what, outage: s.replicas == 1}, r)
	if err != nil {
		return err
	}
	err = wait(ctx, f.lasts)
	over()
	if thaw := r.thaw(); thaw != nil {
		return thaw
	}
	return err
}

// term asks a replica to end and replaces it: before, as a rolling update does,
// where more than one can live, and after it where there is one file for one
// service. Nothing is in flight at the end of a replica that was asked, so it is
// no excuse for any repeat.
func (s *storm) term(ctx context.Context, n int, f fault) error {
	r, err := s.fleet.open(ctx, f.slot)
	if err != nil {
		return err
	}
	what := "orderly end of " + r.String()
	if s.options.db != dbSQLite {
		if err := s.fleet.start(f.slot, r); err != nil {
			return err
		}
		if _, err := s.fleet.open(ctx, f.slot); err != nil {
			return err
		}
	}
	if err := s.lurk(ctx, []*replica{r}); err != nil {
		return err
	}
	s.say("  " + what)
	over := s.journal.add(incident{kind: f.kind, round: n, what: what, began: time.Now(), outage: s.replicas == 1 && s.options.db == dbSQLite})
	defer over()
	if err := r.end(signalStop); err != nil || s.options.db != dbSQLite {
		return err
	}
	if err := r.gone(ctx); err != nil {
		return err
	}
	if err := s.fleet.start(f.slot, r); err != nil {
		return err
	}
	_, err = s.fleet.open(ctx, f.slot)
	return err
}

// breakDatabase lets the database crash, or cuts every replica from it.
func (s *storm) breakDatabase(ctx context.Context, n int, f fault) error {
	db, ok := s.db.(frail)
	if !ok {
		return fmt.Errorf("%s has no server that could fail", s.options.db)
	}
	what := fmt.Sprintf("crash of the database, which is away for %v", f.lasts)
	if f.kind == faultCut {
		what = fmt.Sprintf("cut of every connection to the database, for %v", f.lasts)
	}
	all := s.fleet.running()
	over, err := s.frozen(ctx, incident{kind: f.kind, round: n, what: what, outage: true}, all...)
	if err != nil {
		return err
	}
	defer over()
	// The replicas go on as soon as the database is away from them.
	thaw := sync.OnceValue(func() error {
		var errs []error
		for _, r := range all {
			errs = append(errs, r.thaw())
		}
		return errors.Join(errs...)
	})
	if f.kind == faultCut {
		err = db.cut(ctx, f.lasts, func() { _ = thaw() })
	} else {
		err = db.crash(ctx, f.lasts, func() { _ = thaw() })
	}
	return errors.Join(err, thaw())
}

// settling is how far two looks at the leases are apart that must agree: what a
// stopped process has sent to the database before is carried out meanwhile.
const settling = 50 * time.Millisecond

// A fault waits for a moment at which it finds so many pushes in flight, and a
// bet, but not for long: rules look every second, so there is one in every second
// or two unless something else keeps the replicas from sending. Bets are on their
// way for milliseconds only, unless the broker fails: so at last it does without.
const (
	worthwhile = 4
	lurking    = 4 * time.Second
	lurkingBet = 2 * time.Second
)

// lurk waits for that moment.
func (s *storm) lurk(ctx context.Context, rs []*replica) error {
	began := time.Now()
	for time.Since(began) < lurking {
		now, err := s.flights(ctx, rs)
		if err != nil {
			return err
		}
		if i := (incident{flights: now.pushes, bets: now.bets}); i.inFlight() >= worthwhile && (i.betsInFlight() > 0 || time.Since(began) > lurkingBet) {
			return nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// frozen stops replicas, reads what they have in flight, and writes the incident
// down. They stay stopped. The returned function ends the incident.
func (s *storm) frozen(ctx context.Context, i incident, rs ...*replica) (over func(), err error) {
	if err := s.lurk(ctx, rs); err != nil {
		return nil, err
	}
	i.began = time.Now()
	for _, r := range rs {
		if err := r.freeze(); err != nil {
			return nil, err
		}
	}
	before, err := s.flights(ctx, rs)
	for err == nil {
		if err = wait(ctx, settling); err != nil {
			break
		}
		var now flights
		now, err = s.flights(ctx, rs)
		if before.equal(now) {
			break
		}
		before = now
	}
	if err != nil {
		for _, r := range rs {
			_ = r.thaw() // the run ends with the first error
		}
		return nil, err
	}
	i.flights, i.bets = before.pushes, before.bets
	s.say(fmt.Sprintf("  %s, %d in flight, %d bets", i.what, i.inFlight(), i.betsInFlight()))
	return s.journal.add(i), nil
}

// flights is what replicas hold leases on, by owner.
type flights struct {
	pushes map[string]map[pair]bool
	bets   map[string]map[string]bool
}

func (f flights) equal(g flights) bool {
	return maps.EqualFunc(f.pushes, g.pushes, maps.Equal[map[pair]bool, map[pair]bool]) &&
		maps.EqualFunc(f.bets, g.bets, maps.Equal[map[string]bool, map[string]bool])
}

// flights reads what the replicas hold leases on.
func (s *storm) flights(ctx context.Context, rs []*replica) (flights, error) {
	pushes, err := leases(ctx, s.db)
	if err != nil {
		return flights{}, err
	}
	bets, err := claims(ctx, s.db)
	if err != nil {
		return flights{}, err
	}
	out := flights{map[string]map[pair]bool{}, map[string]map[string]bool{}}
	for _, r := range rs {
		if held := pushes[r.owner]; len(held) > 0 {
			out.pushes[r.owner] = held
		}
		if held := bets[r.owner]; len(held) > 0 {
			out.bets[r.owner] = held
		}
	}
	return out, nil
}
