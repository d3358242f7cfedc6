package racing

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// Stats counts what happened in a World.
type Stats struct {
	// Users have at least one device that was activated.
	Users int
	// Devices were activated at least once; AblyDevices of them use Ably push.
	Devices, AblyDevices int
	// Races became visible.
	Races int
	Bets  int
	// Rejections of bets by the market became visible.
	Rejections int
	// Settlements became visible, first ones of a bet.
	Settlements int
	// Corrections of settlements became visible.
	Corrections int
	// Provisional counts provisional settlements that became visible; none without Config.Provisional.
	Provisional int
	// LateRows became visible later than their ROWTIME says.
	LateRows int
}

// World is the world that the service under test serves. Run it once.
type World struct {
	cfg     Config
	service Service
	rng     *rand.Rand
	users   []*user
	names   []string // of races
	views   *views
	queue   actions
	queued  int
	races   int
	stats   Stats
	all     time.Time // when something last became visible that concerns everybody
	bets    int
	acted   int       // life events so far
	dead    []*device // at Ably, in the order of their deaths
	inbox   *inbox
	byID    map[UserID]*user
	running map[string]*race // those that the market knows
	// outstanding is what users wait for, as of the present action.
	outstanding map[UserID]int
}

// New returns a world that has not begun.
func New(cfg Config) (*World, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(cfg.Seed, 0x72616365))
	w := &World{
		cfg: cfg, rng: rng, users: newUsers(rng, cfg.Users), names: raceNames(rng), views: newViews(),
		inbox: newInbox(), byID: map[UserID]*user{}, running: map[string]*race{},
	}
	for _, u := range w.users {
		w.byID[u.id] = u
	}
	return w, nil
}

// Views returns the views for a ksqlDB stand-in.
func (w *World) Views() []ksqldb.View {
	return []ksqldb.View{w.views.settled, w.views.staged, w.views.rejected, w.views.upcoming}
}

// Stats returns the counts. Call it when Run has returned.
func (w *World) Stats() Stats { return w.stats }

// action is something that happens at a planned time.
type action struct {
	at    time.Time
	order int
	// user is concerned by what becomes visible; nil with all set means
	// everybody, nil without means nobody.
	user *user
	all  bool
	do   func(ctx context.Context, at time.Time) error
}

// actions is a heap by time, then by the order of planning.
type actions []*action

func (a actions) Len() int { return len(a) }
func (a actions) Less(i, j int) bool {
	if a[i].at.Equal(a[j].at) {
		return a[i].order < a[j].order
	}
	return a[i].at.Before(a[j].at)
}
func (a actions) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push is for container/heap.
func (a *actions) Push(x any) { *a = append(*a, x.(*action)) } //nolint:forcetypeassert // only plan pushes

// Pop is for container/heap.
func (a *actions) Pop() any {
	old := *a
	x := old[len(old)-1]
	*a = old[:len(old)-1]
	return x
}

func (w *World) plan(a action) {
	w.queued++
	a.order = w.queued
	heap.Push(&w.queue, &a)
}

// Run lets the world live with the service until ctx ends, which is not an error: from then on
// nothing new happens, and what has not become visible never will. An error
// means that the service refused what an app may ask.
func (w *World) Run(ctx context.Context, service Service) error {
	w.service = service
	if err := w.begin(ctx); err != nil {
		return stopped(ctx, err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for len(w.queue) > 0 {
		timer.Reset(time.Until(w.queue[0].at))
		select {
		case <-ctx.Done():
			return nil
		case <-w.inbox.some:
			if err := w.receive(); err != nil {
				return err
			}
			continue
		case <-timer.C:
		}
		// The tick may have come together with the end.
		if ctx.Err() != nil {
			return nil
		}
		a := heap.Pop(&w.queue).(*action) //nolint:forcetypeassert // only plan pushes
		now := time.Now()
		switch {
		case a.all:
			w.all = now
		case a.user != nil:
			a.user.touched = now
		}
		if err := a.do(ctx, a.at); err != nil {
			return stopped(ctx, err)
		}
	}
	return nil
}

// receive takes what has come from outside.
func (w *World) receive() error {
	for _, do := range w.inbox.take() {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// stopped hides the errors that the end of ctx causes.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// begin activates the first devices and plans the rest.
func (w *World) begin(ctx context.Context) error {
	by := map[string]int{} // by platform and by kind of target
	var names []string
	active, devices := 0, 0
	// One in eight comes later.
	for i, u := range w.users {
		if i%8 == 7 {
			continue
		}
		n := 1
		if w.rng.IntN(3) == 0 {
			n += 1 + w.rng.IntN(2)
		}
		if i == 0 {
			n = max(n, 2) // somebody has a device at both providers
		}
		for range n {
			d := w.newDevice(u)
			if err := w.activate(ctx, d, u); err != nil {
				return err
			}
			by[d.Platform]++
			by[d.Kind]++
			devices++
		}
		active++
		if len(names) < 3 {
			names = append(names, u.name)
		}
	}
	w.tellf("%s, %s, %s and %d more activated %d devices: %d Android, %d iOS, %d web; %d are reached by FCM, %d by Ably",
		names[0], names[1], names[2], active-3, devices, by["android"], by["ios"], by["web"], by[KindFCM], by[KindAbly])
	now := time.Now()
	w.planRace(now)
	w.plan(action{at: now.Add(6 * time.Second), do: w.live})
	w.plan(action{at: now.Add(time.Minute), do: w.tidy})
	return nil
}

// tidy removes what has left the views' retention.
func (w *World) tidy(_ context.Context, at time.Time) error {
	w.views.prune(time.Now())
	w.plan(action{at: at.Add(time.Minute), do: w.tidy})
	return nil
}

// activate activates a device for a user and tells the oracle. The request goes
// on when ctx ends meanwhile: an app does not know about the end of a sandbox.
func (w *World) activate(ctx context.Context, d *device, u *user) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !d.active && d.user.devices[0] == d {
		w.stats.Users++
	}
	w.stats.Devices++
	if d.Kind == KindAbly {
		w.stats.AblyDevices++
	}
	return w.present(ctx, d, u)
}

// present activates a device as it is now, for the first time or again.
func (w *World) present(ctx context.Context, d *device, u *user) error {
	acknowledged := w.cfg.Oracle.Activating(d.ID, u.id, d.Token)
	if err := w.service.Activate(context.WithoutCancel(ctx), u.id, d.Device); err != nil {
		return fmt.Errorf("activate device %s: %w", d.ID, err)
	}
	acknowledged()
	d.active, d.since = true, time.Now()
	return nil
}

func (w *World) tellf(format string, args ...any) { w.cfg.Tell(fmt.Sprintf(format, args...)) }
