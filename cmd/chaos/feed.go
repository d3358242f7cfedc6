package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
	"github.com/bugle-push/bugle/sandbox/racing"
)

const (
	usersCount = 30
	// farLead is how far away the start of most races is: the built-in rule
	// announces them 5 minutes ahead, and no fault lasts as long as that.
	farLead  = 290 * time.Second
	farEvery = 20 * time.Second
	// shortLeadMin and shortLeadMax are of races that a fault may keep some devices
	// from being told of in time.
	shortLeadMin = 8 * time.Second
	shortLeadMax = 25 * time.Second
	shortEvery   = 15 * time.Second
	// feedStep is how often the feed looks what is due.
	feedStep = 25 * time.Millisecond
)

// feed is the world: it shows settlements and races in the source's views, and
// tells the oracle just before.
type feed struct {
	oracle *oracle
	// betDice and raceDice are apart, and all that a bet will be is drawn at once:
	// so the n-th bet is the same in each run of a seed, whenever it comes.
	betDice, raceDice *rand.Rand
	rate              float64
	users             []racing.UserID
	devices           []device
	settled           *ksqldb.Table
	races             *ksqldb.Table
	began             time.Time

	bets, far, short int
	corrections      []correction
}

// device is a device and whose it is.
type device struct {
	racing.Device
	user racing.UserID
}

// correction is a later revision of a bet that will become visible.
type correction struct {
	due time.Time
	bet *bet
}

// bet is one bet and the revisions that it will have.
type bet struct {
	id    string
	user  racing.UserID
	revs  []revision
	waits []time.Duration // before each revision but the first
	shown int
	day   time.Time // of the first settlement: a bet stays in its window
}

func newFeed(o *oracle, seed uint64, rate float64) *feed {
	f := &feed{
		oracle: o, rate: rate, betDice: rand.New(rand.NewPCG(seed, 0x62657473)), raceDice: rand.New(rand.NewPCG(seed, 0x72616365)),
		settled: racing.NewSettledBets(), races: racing.NewUpcomingRaces(),
	}
	for i := range usersCount {
		f.users = append(f.users, racing.UserID(fmt.Sprintf("user-%02d", i+1)))
	}
	return f
}

// mint makes the devices: one to three for each user, half of them of FCM and
// half of Ably.
func (f *feed) mint(targets racing.Targets, pushes racing.AblyDevices) {
	platforms := []string{"android", "ios", "web"}
	for i, user := range f.users {
		for n := range 1 + i%3*f.betDice.IntN(2) + i%2 {
			d := device{user: user}
			d.Platform = platforms[f.betDice.IntN(len(platforms))]
			d.ID = racing.DeviceID(fmt.Sprintf("%s-%s-%d", user, d.Platform, n+1))
			if d.Kind, d.Token = racing.KindFCM, ""; (i+n)%2 == 0 {
				d.Kind, d.Token = racing.KindAbly, pushes.MintDevice("", d.Platform)
			} else {
				d.Token = targets.MintToken(d.Platform)
			}
			d.Locale, d.TimeZone, d.AppVersion = "en-GB", "Europe/London", "1.0.0"
			f.devices = append(f.devices, d)
		}
	}
}

// run shows what happens until ctx ends, which is no error.
func (f *feed) run(ctx context.Context) error {
	f.began = time.Now()
	ticker := time.NewTicker(feedStep)
	defer ticker.Stop()
	owed := 0.0
	last := f.began
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := time.Now()
		owed += f.rate * now.Sub(last).Seconds()
		for last = now; owed >= 1; owed-- {
			if err := f.settle(now); err != nil {
				return err
			}
		}
		if err := f.correct(now); err != nil {
			return err
		}
		if err := f.enter(now); err != nil {
			return err
		}
	}
}

// settle shows the first settlement of a new bet.
func (f *feed) settle(now time.Time) error {
	f.bets++
	b := &bet{id: fmt.Sprintf("bet-%05d", f.bets), user: f.users[f.betDice.IntN(len(f.users))]}
	// Outcome and payout name the revision, so no two may have both in common.
	stake := racing.Money(200 + 100*f.betDice.IntN(50))
	outcomes := []revision{
		{outcome: racing.Won, payout: 3 * stake}, {outcome: racing.Lost}, {outcome: racing.Void, payout: stake}, {outcome: racing.Won, payout: 2 * stake},
	}
	f.betDice.Shuffle(len(outcomes), func(i, j int) { outcomes[i], outcomes[j] = outcomes[j], outcomes[i] })
	n := 1
	if f.betDice.IntN(4) == 0 {
		n = 2 + f.betDice.IntN(2)
	}
	b.revs = outcomes[:n]
	for range n - 1 {
		b.waits = append(b.waits, between(f.betDice, 200*time.Millisecond, 12*time.Second))
	}
	// Some records are older than the moment at which the view shows them, within
	// the rule's lookback of two minutes; but none is from before the beginning.
	rowtime := now
	if f.betDice.IntN(10) == 0 {
		rowtime = now.Add(-between(f.betDice, time.Second, 40*time.Second))
		if rowtime.Before(f.began) {
			rowtime = f.began
		}
	}
	return f.show(b, now, rowtime)
}

// show shows the next revision of a bet.
func (f *feed) show(b *bet, now, rowtime time.Time) error {
	r := b.revs[b.shown]
	b.shown++
	f.oracle.showing(subject{aboutBet, b.id}, b.user, r)
	const day = 24 * time.Hour
	if b.day.IsZero() {
		b.day = rowtime.Truncate(day)
	}
	err := f.settled.Put(rowtime, b.id, b.day.UnixMilli(), b.day.Add(day).UnixMilli(), string(b.user), "race", "Chaos Stakes", "Car 1",
		"10.00", 1.0, r.payout.String(), "GBP", string(r.outcome), rowtime)
	if err != nil {
		return fmt.Errorf("put settlement: %w", err)
	}
	if b.shown < len(b.revs) {
		f.corrections = append(f.corrections, correction{now.Add(b.waits[b.shown-1]), b})
	}
	return nil
}

// correct shows the corrections that are due.
func (f *feed) correct(now time.Time) error {
	var due []*bet
	f.corrections = slices.DeleteFunc(f.corrections, func(c correction) bool {
		if c.due.After(now) {
			return false
		}
		due = append(due, c.bet)
		return true
	})
	for _, b := range due {
		if err := f.show(b, now, now); err != nil {
			return err
		}
	}
	return nil
}

// enter shows the races whose turn it is.
func (f *feed) enter(now time.Time) error {
	since := now.Sub(f.began)
	if since >= time.Duration(f.far)*farEvery {
		f.far++
		if err := f.race(fmt.Sprintf("far-%03d", f.far), now, farLead, false); err != nil {
			return err
		}
	}
	if since >= time.Duration(f.short)*shortEvery {
		f.short++
		return f.race(fmt.Sprintf("short-%03d", f.short), now, between(f.raceDice, shortLeadMin, shortLeadMax), true)
	}
	return nil
}

func (f *feed) race(id string, now time.Time, lead time.Duration, short bool) error {
	startsAt := now.Add(lead).Truncate(time.Millisecond)
	f.oracle.showing(subject{aboutRace, id}, "", revision{startsAt: startsAt, short: short})
	if err := f.races.Put(now, id, "Chaos Stakes", "Kempton Park", startsAt, string(racing.Scheduled)); err != nil {
		return fmt.Errorf("put race: %w", err)
	}
	return nil
}
