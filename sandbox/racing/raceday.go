package racing

import (
	"context"
	"fmt"
	"time"
)

// Times within a race's day, as offsets. A settlement becomes visible at most
// maxLate after it was recorded, and the stewards wait for all of them.
const (
	resultAfter  = 2 * time.Second
	settleWithin = 1500 * time.Millisecond
	maxLate      = 5 * time.Second
	stewardAfter = settleWithin + maxLate + 500*time.Millisecond
	changeAfter  = 9 * time.Second // after being entered: race-soon has gone out
	awayFor      = 34 * time.Second
	firstLead    = 20 * time.Second
	photoFor     = 3 * time.Second // a result is provisional
)

// planRace plans the next race. now is the time of the plan.
func (w *World) planRace(now time.Time) {
	n := w.races
	w.races++
	r := newRace(w.rng, n+1, w.names[n%len(w.names)])
	r.fate = pickFate(w.rng, w.cfg.Seed, n)
	// The wire's TIMESTAMP has milliseconds.
	r.startsAt = now.Add(min(firstLead, w.cfg.Lead)).Truncate(time.Millisecond)
	entered := now
	if n > 0 {
		r.startsAt = now.Add(w.cfg.Lead).Truncate(time.Millisecond)
	}
	w.plan(action{at: entered, all: true, do: func(ctx context.Context, at time.Time) error { return w.enter(ctx, r, at) }})
	// The next one starts RaceEvery after this one.
	next := r.startsAt.Add(w.cfg.RaceEvery).Add(-w.cfg.Lead)
	w.plan(action{at: next, do: func(context.Context, time.Time) error {
		w.planRace(time.Now())
		return nil
	}})
}

// show makes a race visible as it stands.
func (w *World) show(r *race) error {
	now := time.Now()
	w.cfg.Oracle.RaceSeen(r.id, r.startsAt, r.status)
	if w.cfg.Market != nil {
		w.running[r.id] = r
		w.cfg.Market.Show(r.card())
	}
	return w.views.putRace(r, now)
}

// enter shows a new race, and plans its bets and its fate.
func (w *World) enter(_ context.Context, r *race, at time.Time) error {
	w.stats.Races++
	r.open = true
	if err := w.show(r); err != nil {
		return err
	}
	w.tellf("%s (%s) at %s starts in %.0f s", r.name, r.id, r.course, time.Until(r.startsAt).Seconds())
	w.tellProgress(at.Add(5*time.Second), r.name, 1, raceKey(r))
	until := changeAfter - 2*time.Second
	for i, u := range w.users {
		if w.rng.IntN(10) < 3 && i%5 != 0 {
			continue
		}
		placed := at.Add(time.Second + time.Duration(w.rng.Int64N(int64(until))))
		w.plan(action{at: placed, do: func(context.Context, time.Time) error { w.bet(u, r); return nil }})
	}
	switch r.fate {
	case fatePostponed, fateRescheduled:
		w.planChange(r, at, Postponed)
	case fateAbandoned:
		w.planChange(r, at, Abandoned)
	default:
		w.planOff(r)
	}
	return nil
}

// bet places a bet, in the market or in the world.
func (w *World) bet(u *user, r *race) {
	if !r.open {
		return
	}
	if w.cfg.Market != nil {
		w.cfg.Market.Bet(u.id, r.id, Money(200*(1+w.rng.Int64N(12))), w.rng.Uint64())
		return
	}
	w.bets++
	i := w.rng.IntN(len(r.runners))
	if w.rng.IntN(2) == 0 {
		i = w.rng.IntN(2) // there are favourites
	}
	w.took(&bet{
		id: fmt.Sprintf("bet-%06d", w.bets), user: u, race: r, runner: i,
		stake: Money(200 * (1 + w.rng.Int64N(12))), odds: r.runners[i].odds, currency: u.currency,
	})
}

// planChange plans that the race does not start as announced.
func (w *World) planChange(r *race, entered time.Time, to RaceStatus) {
	at := entered.Add(changeAfter)
	w.plan(action{at: at, all: true, do: func(_ context.Context, at time.Time) error {
		r.status, r.open = to, false
		until := "another day"
		if to == Postponed {
			away := 24 * time.Hour
			if r.fate == fateRescheduled {
				away = awayFor + w.cfg.Lead
				until = "later today"
			}
			r.startsAt = r.startsAt.Add(away)
		}
		if err := w.show(r); err != nil {
			return err
		}
		if to == Postponed {
			w.tellf("%s is postponed to %s", r.name, until)
		} else {
			w.tellf("%s is abandoned, all bets are void", r.name)
			w.planSettlements(r, at.Add(resultAfter))
		}
		w.tellProgress(at.Add(5*time.Second), "the change of "+r.name, 2, raceKey(r))
		switch r.fate {
		case fateRescheduled:
			w.planReturn(r)
		case fatePostponed:
			w.planForget(r)
		case fateRuns, fateEnquiry, fateDeadHeat, fateNonRunner, fateAbandoned:
		}
		return nil
	}})
}

// planReturn plans that a postponed race is on again at its new start.
func (w *World) planReturn(r *race) {
	w.plan(action{at: r.startsAt.Add(-w.cfg.Lead), all: true, do: func(context.Context, time.Time) error {
		r.status, r.open = Scheduled, true
		if err := w.show(r); err != nil {
			return err
		}
		w.tellf("%s (%s) is on again and starts in %.0f s", r.name, r.id, time.Until(r.startsAt).Seconds())
		w.planOff(r)
		return nil
	}})
}

// planOff plans the start, the result and the settlements.
func (w *World) planOff(r *race) {
	w.plan(action{at: r.startsAt, do: func(_ context.Context, at time.Time) error {
		r.status, r.open = Off, false
		if err := w.show(r); err != nil {
			return err
		}
		w.tellf("%s is off", r.name)
		w.tellMarket(r)
		w.planSettlements(r, at.Add(resultAfter))
		return nil
	}})
}

// planSettlements plans one settlement per bet, some of them visible late, and
// what the stewards make of it.
func (w *World) planSettlements(r *race, result time.Time) {
	w.plan(action{at: result, do: func(_ context.Context, at time.Time) error {
		if r.status == Off && !r.decided {
			w.decide(r)
			if w.cfg.Provisional && (r.fate == fateEnquiry || r.fate == fateDeadHeat) && len(r.backed()) > 1 {
				w.photoFinish(r, at)
				w.planSettlements(r, at.Add(photoFor))
				return nil
			}
		}
		r.settled = true
		w.result(r, at)
		for i, b := range r.bets {
			recorded := at.Add(time.Duration(w.rng.Int64N(int64(settleWithin))))
			seen := recorded
			// The first bet is never late: the story follows it.
			if late := w.rng.IntN(5) == 0; late && i > 0 {
				seen = recorded.Add(500*time.Millisecond + time.Duration(w.rng.Int64N(int64(maxLate-500*time.Millisecond))))
				w.stats.LateRows++
			}
			w.planSettlement(b, seen, recorded, at)
		}
		if len(r.bets) > 0 {
			w.tellProgress(at.Add(settleWithin+3*time.Second), "the result of "+r.name, 1, betKeys(r)...)
		}
		if (r.fate == fateEnquiry || r.fate == fateDeadHeat) && r.status == Off {
			w.planEnquiry(r, at.Add(stewardAfter))
		}
		return nil
	}})
}

// decide picks the winner among the most backed runners: a result that
// concerns nobody would show nothing.
func (w *World) decide(r *race) {
	if r.fate == fateNonRunner {
		r.withdrawn = r.backed()[0]
		w.tellf("%s did not come to the start of %s: bets on it are void", r.runners[r.withdrawn].name, r.name)
	}
	r.winner, r.decided = r.backed()[0], true
	w.tellf("%s wins %s", r.runners[r.winner].name, r.name)
}

// photoFinish settles every bet provisionally, with another winner: most of it
// is confirmed by the final result, and what is not must never be told. So the
// oracle is not told either.
func (w *World) photoFinish(r *race, at time.Time) {
	winner := r.winner
	r.winner = r.backed()[1]
	w.tellf("a photo finish in %s: %s is first for now", r.name, r.runners[r.winner].name)
	for _, b := range r.bets {
		outcome, payout := b.settle()
		recorded := at.Add(time.Duration(w.rng.Int64N(int64(photoFor / 2))))
		w.plan(action{at: recorded, do: func(context.Context, time.Time) error {
			w.stats.Provisional++
			return w.views.putBet(b, outcome, payout, statusProvisional, recorded, at)
		}})
	}
	r.winner = winner
}

// planSettlement plans that a bet's settlement, recorded at a time, is seen at
// another.
func (w *World) planSettlement(b *bet, seen, recorded, settledAt time.Time) {
	outcome, payout := b.settle()
	w.plan(action{at: seen, user: b.user, do: func(context.Context, time.Time) error {
		switch {
		case b.outcome == "":
			w.stats.Settlements++
		case b.outcome != outcome:
			w.stats.Corrections++
		}
		b.outcome = outcome
		w.cfg.Oracle.BetSeen(b.id, b.user.id, outcome, payout)
		if w.cfg.Market != nil {
			w.cfg.Market.Settled(Settlement{
				BetID: b.id, User: string(b.user.id), Event: b.race.id, EventName: b.race.name, Runner: b.race.runners[b.runner].name,
				Stake: b.stake, Payout: payout, Odds: b.odds, Currency: b.currency, Outcome: outcome, Recorded: recorded, SettledAt: settledAt,
			})
		}
		return w.views.putBet(b, outcome, payout, statusFinal, recorded, settledAt)
	}})
}

// planEnquiry plans that the stewards disqualify the winner, or find a dead heat. Every bet is
// settled anew: for most of them the row says what it said before.
func (w *World) planEnquiry(r *race, at time.Time) {
	w.plan(action{at: at, do: func(_ context.Context, at time.Time) error {
		was, second := r.winner, r.backed()[1]
		if r.fate == fateDeadHeat {
			r.tied = second
			w.tellf("the stewards find a dead heat of %s and %s in %s", r.runners[was].name, r.runners[second].name, r.name)
		} else {
			r.winner = second
			w.tellf("stewards' enquiry: %s is disqualified, %s wins %s", r.runners[was].name, r.runners[second].name, r.name)
		}
		w.result(r, at)
		for _, b := range r.bets {
			recorded := at.Add(time.Duration(w.rng.Int64N(int64(time.Second))))
			w.planSettlement(b, recorded, recorded, at)
		}
		w.tellProgress(at.Add(5*time.Second), "the correction of "+r.name, 2, betKeys(r)...)
		return nil
	}})
}
