package notifier

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/sony/gobreaker/v2"

	"github.com/bugle-push/bugle/devices"
)

const (
	// viewAge is how old the gates' view may be when a send begins.
	viewAge = 500 * time.Millisecond
	// beginAge is how old it may be when the request begins: the sender may have to wait for a place,
	// an access token or a connection. It is less than the second within which a suppression or a
	// stop must hold.
	beginAge = 900 * time.Millisecond
	// leaseMargin is kept between the end of the slowest send and the end of its lease.
	leaseMargin = 5 * time.Second
	// laneLook is how often a lane looks for due deliveries without being woken.
	laneLook = 250 * time.Millisecond
	// trialWait is how long a delivery waits that came too late to be one of the breaker's trials.
	trialWait = 250 * time.Millisecond
	// viewRetry is how long a delivery waits when its view cannot be read.
	viewRetry = time.Second
	// shunFor is how long a lane leaves a rule alone of which its own rules do not know enough: what
	// it claimed would only be kept from those who do.
	shunFor = 30 * time.Second
	// removedPatience is how long rules must have been in force before what they do not know is
	// cancelled.
	removedPatience = 5 * time.Minute
	// ledgerTimeout bounds one step with the ledger: a database that has vanished from the network
	// never answers.
	ledgerTimeout = 10 * time.Second
	// orphansFor is how long after a claim that failed its rows may turn up as ours, because the
	// database has committed it all the same.
	orphansFor = 30 * time.Second
	// orphansEvery is how often they are looked for.
	orphansEvery = 5 * time.Second
)

// lane claims and sends the deliveries of one provider and urgency.
type lane struct {
	id          LaneID
	provider    *provider
	queue       Queue
	frequency   FrequencyLedger
	rules       *Rules
	gates       Gates
	retirer     Retirer
	recorder    *recorder
	owner       string
	lease       time.Duration
	sendTimeout time.Duration
	spread      time.Duration // what a gate has postponed comes within this time after its end
	slots       chan struct{} // one token for each delivery in flight
	wake        chan struct{}
	metrics     *Metrics
	log         zerolog.Logger
	turn        int // rotates the rule that is asked first

	// orphansUntil and orphansNext say whether and when to look for claims that we do not know of.
	orphansUntil, orphansNext time.Time

	mu      sync.Mutex
	held    map[DeliveryID]struct{} // claimed and not yet recorded
	shunned map[string]time.Time    // rules that are left alone, and until when
}

// run claims until ctx ends, and returns when everything in flight has been handed to the recorder.
func (l *lane) run(ctx context.Context) {
	failing := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		claimed, wait, err := l.round(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			if !failing {
				l.log.Error().Err(err).Msg("deliveries cannot be claimed")
			}
			failing, wait = true, time.Second
		case err == nil && failing:
			failing = false
			l.log.Info().Msg("deliveries are claimed again")
		}
		if claimed > 0 {
			continue // there may be more
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-timer.C:
		}
	}
	for range cap(l.slots) { // wait for what is in flight
		l.slots <- struct{}{}
	}
}

// round claims what may start now and starts it. It returns how many and, for
// none, how long to wait.
func (l *lane) round(ctx context.Context) (int, time.Duration, error) {
	now := time.Now()
	free := cap(l.slots) - len(l.slots)
	if free == 0 {
		return 0, 10 * time.Millisecond, nil
	}
	// A claim is not cut by a stop: what it has leased would have to lapse.
	step, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerTimeout)
	defer cancel()
	if err := l.disown(step, now); err != nil {
		return 0, laneLook, err
	}
	allowed, wait, dry := l.provider.ready(now, l.id.Urgency, free)
	if dry {
		return 0, laneLook, l.ask(step)
	}
	if allowed == 0 {
		return 0, min(max(wait, time.Millisecond), time.Second), nil
	}
	claims, more, err := l.claim(step, allowed)
	l.provider.claimed(l.id.Urgency, len(claims), more)
	if err != nil {
		l.orphansUntil = now.Add(orphansFor)
	}
	if err != nil || len(claims) == 0 {
		return 0, laneLook, err
	}
	l.provider.pacer.Take(time.Now(), len(claims))
	views, err := l.queue.View(step, claims)
	if err != nil {
		// Their leases are given back rather than left to lapse: nothing was sent.
		for range claims {
			l.provider.pacer.Give(time.Now())
		}
		l.giveBack(claims)
		return 0, laneLook, fmt.Errorf("read views: %w", err)
	}
	if err := l.reserve(step, views); err != nil {
		// Each that needs room asks again by itself, and waits when it gets no answer.
		l.log.Warn().Err(err).Msg("caps of frequency could not be asked for a batch")
	}
	for _, v := range views {
		l.slots <- struct{}{}
		l.metrics.inFlight.WithLabelValues(l.id.String()).Inc()
		go l.deliver(ctx, v)
	}
	return len(views), 0, nil
}

// record hands a result over; the place in flight is free once it is written.
func (l *lane) record(r Result) {
	l.recorder.in <- pending{result: r, done: func() {
		l.release(r.Claim.ID)
		<-l.slots
		l.metrics.inFlight.WithLabelValues(l.id.String()).Dec()
	}}
}

// deliver takes one delivery through the gates and, if they let it pass, to the provider.
func (l *lane) deliver(ctx context.Context, v View) {
	begun := false
	defer func() {
		if !begun {
			l.provider.pacer.Give(time.Now())
		}
	}()
	if time.Since(v.ReadAt) > viewAge {
		viewCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewRetry)
		fresh, err := l.queue.View(viewCtx, []Claim{v.Claim})
		cancel()
		if err != nil || len(fresh) != 1 {
			l.record(Result{Claim: v.Claim, State: Queued, DueAt: time.Now().Add(viewRetry)})
			return
		}
		v = fresh[0]
	}
	now := time.Now()
	rules := l.rules.Set() // one set: the next call may see another
	rule, _ := rules.Get(v.Rule)
	decision := l.gates.Decide(v, rule, now.Add(v.Skew))
	if decision.Capped && v.Frequency == nil {
		views := []View{v}
		reserveCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewRetry)
		err := l.reserve(reserveCtx, views)
		cancel()
		if err != nil {
			l.record(Result{Claim: v.Claim, State: Queued, DueAt: time.Now().Add(viewRetry)})
			return
		}
		if v = views[0]; time.Since(v.ReadAt) > viewAge {
			l.record(Result{Claim: v.Claim, State: Queued, DueAt: time.Now()}) // it took its time: look again
			return
		}
		now = time.Now()
		decision = l.gates.Decide(v, rule, now.Add(v.Skew))
	}
	if v.Unreadable != nil {
		l.log.Error().Err(v.Unreadable).Int64("delivery_id", int64(v.Claim.ID)).Msg("what is on record about a delivery cannot be read")
	}
	outdated := v.RulesInForce != "" && v.RulesInForce != rules.Generation()
	switch {
	case outdated && decision.Reason.ofRule():
		l.leave(v, now)
		return
	case decision.Reason == ReasonRuleRemoved && now.Add(v.Skew).Sub(v.RulesInForceSince) < removedPatience:
		// Those who know the rule may only be away for a moment.
		l.leave(v, now)
		return
	}
	switch {
	case !decision.Until.IsZero():
		l.postpone(v, decision)
		return
	case !decision.Pass():
		l.refuse(v, decision)
		return
	}
	if to := v.Device.Target.Provider(); to != l.id.Provider {
		// The device is reached elsewhere since: its delivery moves along.
		l.record(Result{Claim: v.Claim, State: Queued, DueAt: now, Provider: to})
		return
	}
	text, err := rule.Render(v.Draft, RenderContext{
		Locale: v.Device.Locale, TimeZone: v.Device.TimeZone, Now: now.Add(v.Skew), Correction: decision.Correction,
	})
	if err != nil && outdated {
		l.leave(v, now)
		return
	}
	if err != nil {
		l.log.Error().Err(err).Str("rule_id", v.Rule).Int64("delivery_id", int64(v.Claim.ID)).Msg("text could not be rendered")
		l.finish(v, Rejected, ReasonUnrenderable, nil)
		return
	}
	if ctx.Err() != nil || !l.inTime(v, now) {
		l.record(Result{Claim: v.Claim, State: Queued, DueAt: now})
		return
	}
	if until := l.provider.blockedUntil(v.Device.Platform); until.After(now) {
		l.record(Result{Claim: v.Claim, State: Queued, DueAt: until})
		return
	}
	done, err := l.provider.breaker.Allow()
	if err != nil {
		wait := breakerOpen
		if errors.Is(err, gobreaker.ErrTooManyRequests) {
			wait = trialWait // the trials of others decide soon
		}
		l.record(Result{Claim: v.Claim, State: Queued, DueAt: now.Add(wait)})
		return
	}
	begun = true
	// A send that has begun is finished even when we are asked to stop.
	// Its time runs from before the checks: after a pause in between there is none left.
	sendCtx, cancel := context.WithDeadline(context.WithoutCancel(ctx), now.Add(l.sendTimeout))
	o := l.provider.sender.Send(sendCtx, Push{
		Delivery: v.Claim.ID, Platform: v.Device.Platform, Target: v.Device.Target, BeginBy: v.ReadAt.Add(beginAge), Message: Message{
			NotificationID: v.Notification.ID, Thread: v.Thread, Category: v.Category, Urgency: l.id.Urgency, Class: v.Class,
			Title: text.Title, Body: text.Body, Link: text.Link, Data: text.Data, ExpiresAt: v.ExpiresAt.Add(-v.Skew), Perishable: rule.Perishable,
		},
	})
	cancel()
	if o.failure() {
		done(errProviderFailed)
	} else {
		done(nil)
	}
	l.settle(context.WithoutCancel(ctx), v, o, now, time.Now())
}

// leave puts a delivery back for a replica that knows its rule as it is now, and
// leaves the others of that rule alone for a while.
func (l *lane) leave(v View, now time.Time) {
	l.mu.Lock()
	l.shunned[v.Rule] = now.Add(shunFor)
	l.mu.Unlock()
	l.record(Result{Claim: v.Claim, State: Queued, DueAt: now})
}

// inTime tells whether a send that begins now ends well within the lease, by
// both clocks: the wall clock may jump and the monotonic one may have stood still.
func (l *lane) inTime(v View, now time.Time) bool {
	end := now.Add(l.sendTimeout + leaseMargin)
	return end.Before(v.Claim.Until) && end.Round(0).Before(v.Claim.Until.Round(0))
}

// settle turns an outcome into a result.
func (l *lane) settle(ctx context.Context, v View, o Outcome, started, ended time.Time) {
	switch o.Verdict {
	case VerdictSent, VerdictRetry, VerdictGone, VerdictRejected, VerdictBlocked, VerdictUnknown:
	default: // a sender's mistake must not keep the place in flight for ever
		o.Verdict, o.Code = VerdictUnknown, "no_verdict"
	}
	l.provider.learn(o, v.Device.Platform, ended)
	l.metrics.attempts.WithLabelValues(string(l.id.Provider), string(o.Verdict), o.Code).Inc()
	l.metrics.sendSeconds.WithLabelValues(string(l.id.Provider)).Observe(ended.Sub(started).Seconds())
	attempt := &Attempt{
		Generation: v.Device.Generation, StartedAt: started, EndedAt: ended,
		Verdict: o.Verdict, Code: o.Code, Status: o.Status, ProviderID: o.ProviderID,
	}
	log := l.log.With().Int64("delivery_id", int64(v.Claim.ID)).Int64("notification_id", int64(v.Notification.ID)).
		Str("rule_id", v.Rule).Str("verdict", string(o.Verdict)).Str("reason", o.Code).Int("attempt", v.Attempts+1).Logger()
	log.Debug().Err(o.Err).Int64("took_ms", ended.Sub(started).Milliseconds()).Msg("attempt made")
	switch o.Verdict {
	case VerdictSent:
		since := v.DueAt
		if since.IsZero() {
			since = v.CreatedAt
		}
		l.metrics.latency.WithLabelValues(v.Rule).Observe(ended.Add(v.Skew).Sub(since).Seconds())
		l.finish(v, Sent, "", attempt)
	case VerdictRejected:
		log.Warn().Err(o.Err).Msg("message refused for good")
		l.finish(v, Rejected, Reason(o.Code), attempt)
	case VerdictGone:
		l.gone(ctx, v, o, attempt)
	case VerdictBlocked:
		// Not the delivery's fault: it is not counted, and waits with the lane.
		l.requeue(v, attempt, Result{DueAt: ended.Add(max(blockedPause, o.After))})
	case VerdictRetry:
		l.requeue(v, attempt, Result{DueAt: ended.Add(Backoff(v.Attempts+1, o.After)), Counted: true})
	case VerdictUnknown:
		l.requeue(v, attempt, Result{DueAt: ended.Add(Backoff(v.Attempts+1, o.After)), Counted: true, Unknown: true})
	}
}

// gone retires the generation that was sent to. A device that has a newer one
// is tried again there: the verdict was not about it.
func (l *lane) gone(ctx context.Context, v View, o Outcome, attempt *Attempt) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if l.retire(ctx, v, o) {
		l.finish(v, Gone, Reason(o.Code), attempt)
		return
	}
	if fresh, err := l.queue.View(ctx, []Claim{v.Claim}); err == nil && len(fresh) == 1 &&
		fresh[0].Device.State == devices.Active && fresh[0].Device.Generation > v.Device.Generation {
		l.requeue(v, attempt, Result{DueAt: attempt.EndedAt, Provider: fresh[0].Device.Target.Provider()})
		return
	}
	l.finish(v, Gone, Reason(o.Code), attempt)
}

// retire takes the target out of use and tells whether it did.
func (l *lane) retire(ctx context.Context, v View, o Outcome) bool {
	if !l.provider.mayRetire() {
		return false
	}
	retired, err := l.retirer.Retire(ctx, v.Device.ID, v.Device.Generation, o.Code)
	if err != nil {
		l.log.Warn().Err(err).Msg("target could not be retired; the next verdict will try again")
	}
	if retired {
		l.metrics.retired.WithLabelValues(string(v.Device.Platform)).Inc()
		l.log.Info().Str("device_id", string(v.Device.ID)).Str("reason", o.Code).Msg("target retired")
	}
	return retired
}

// requeue puts a delivery back, or ends it when its next turn would come too late.
func (l *lane) requeue(v View, attempt *Attempt, r Result) {
	if r.Unknown {
		v.Unknowns++
	}
	if !r.DueAt.Add(v.Skew).Before(v.ExpiresAt) {
		d := ended(v, ReasonBackoff)
		l.metrics.deliveries.WithLabelValues(string(l.id.Provider), string(d.State), string(d.Reason)).Inc()
		r.State, r.Reason = d.State, string(d.Reason)
	} else {
		r.State = Queued
	}
	r.Claim, r.Attempt, r.Unused = v.Claim, attempt, l.unused(v, r.State)
	l.record(r)
}

// postpone lets a delivery wait until the gates are to be asked again, and a
// little longer, so that not everybody's come at once. It is still worth
// something then.
func (l *lane) postpone(v View, d Decision) {
	l.metrics.postponed.WithLabelValues(string(l.id.Provider), string(d.Reason)).Inc()
	spread := min(l.spread, v.ExpiresAt.Sub(d.Until)/2)
	if d.Reason != ReasonQuietHours {
		spread = 0
	}
	until := d.Until
	if spread > 0 {
		until = until.Add(rand.N(spread))
	}
	l.record(Result{Claim: v.Claim, State: Queued, Reason: string(d.Reason), DueAt: until.Add(-v.Skew)})
}

// reserve asks the caps of frequency about the views that need their word, all in
// one step, and notes it in them.
func (l *lane) reserve(ctx context.Context, views []View) error {
	if len(l.gates.Caps) == 0 {
		return nil
	}
	rules, now := l.rules.Set(), time.Now()
	var requests []FrequencyRequest
	var asked []int
	for i, v := range views {
		rule, _ := rules.Get(v.Rule)
		if d := l.gates.Decide(v, rule, now.Add(v.Skew)); d.Capped && v.Frequency == nil {
			requests = append(requests, FrequencyRequest{
				User: v.User, Notification: v.Notification.ID, Category: v.Category, Class: v.Class, ExpiresAt: v.ExpiresAt,
			})
			asked = append(asked, i)
		}
	}
	if len(requests) == 0 {
		return nil
	}
	verdicts, err := l.frequency.Reserve(ctx, l.gates.Caps, requests)
	if err != nil {
		return err
	}
	for n, i := range asked {
		views[i].Frequency = &verdicts[n]
	}
	return nil
}

// unused names what a cap may have counted for a delivery that ends in a state
// in which nobody was told.
func (l *lane) unused(v View, s DeliveryState) *FrequencyKey {
	if s == Sent || s == Unconfirmed || s == Queued || v.Unknowns > 0 || !l.gates.Caps.Cover(v.Category, v.Class) {
		return nil
	}
	return &FrequencyKey{User: v.User, Notification: v.Notification.ID}
}

// refuse ends a delivery that a gate stopped.
func (l *lane) refuse(v View, d Decision) {
	l.metrics.deliveries.WithLabelValues(string(l.id.Provider), string(d.State), string(d.Reason)).Inc()
	r := Result{Claim: v.Claim, State: d.State, Reason: string(d.Reason), Unused: l.unused(v, d.State)}
	if s := d.Suppression; s != nil {
		r.Stopped = &Stopped{
			Notification: v.Notification.ID, Rule: v.Rule, Class: v.Class, User: v.User, Device: v.Device.ID,
			Reason: s.Reason, Suppressed: s.Class, SetBy: s.SetBy, SetAt: s.SetAt, Imported: s.Imported,
		}
	}
	l.record(r)
}

func (l *lane) finish(v View, s DeliveryState, reason Reason, attempt *Attempt) {
	l.metrics.deliveries.WithLabelValues(string(l.id.Provider), string(s), string(reason)).Inc()
	l.record(Result{Claim: v.Claim, State: s, Reason: string(reason), Attempt: attempt, Counted: attempt != nil, Unused: l.unused(v, s)})
}
