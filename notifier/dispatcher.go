package notifier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/devices"
)

var errProviderFailed = errors.New("provider failed")

// tidyEvery is how often lapsed leases and expired deliveries are looked for.
const tidyEvery = 5 * time.Second

// DefaultSpread is within which time after the end of quiet hours their
// deliveries come when nothing is said about it: the phones of a whole country
// end them in the same second.
const DefaultSpread = 10 * time.Minute

// measureEvery is how often it is counted what waits.
const measureEvery = 15 * time.Second

// SenderConfig is a sender and how hard it may be driven.
type SenderConfig struct {
	Sender Sender
	// RatePerSecond is the most messages a second, on all lanes of all replicas together. Zero
	// means 100.
	RatePerSecond float64
	// InFlight is the most messages in flight on one lane. Zero means 64.
	InFlight int
}

// DispatcherConfig is what a Dispatcher needs.
type DispatcherConfig struct {
	Queue Queue
	// Frequency keeps what the caps of the gates decide; it may be nil when they have none.
	Frequency FrequencyLedger
	Quotas    Quotas
	Rules     *Rules
	Senders   map[devices.Provider]SenderConfig
	Retirer   Retirer
	Gates     Gates
	// Spread is within which time after the end of quiet hours their deliveries come. Zero means
	// DefaultSpread, and less that they all come at once.
	Spread time.Duration
	// Owner names this replica; no two running replicas may share one.
	Owner string
	// SendTimeout bounds one send. Zero means 15 seconds: Google asks for at least 10, and
	// answers that come later than the client's patience make duplicates.
	SendTimeout time.Duration
	// Lease is how long a claimed delivery is ours. Zero means 60 seconds; it must be longer than
	// SendTimeout by more than 10 seconds.
	Lease   time.Duration
	Metrics *Metrics
	Log     zerolog.Logger
}

// Dispatcher sends what is queued: it claims due deliveries lane by lane, lets
// the gates decide on a fresh view, sends, and records.
type Dispatcher struct {
	queue     Queue
	lanes     []*lane
	providers []*provider
	askers    []*asker
	recorder  *recorder
	metrics   *Metrics
	log       zerolog.Logger
}

// NewDispatcher checks the configuration and returns a Dispatcher.
func NewDispatcher(c DispatcherConfig) (*Dispatcher, error) {
	if c.SendTimeout == 0 {
		c.SendTimeout = 15 * time.Second
	}
	if c.Lease == 0 {
		c.Lease = time.Minute
	}
	if c.Spread == 0 {
		c.Spread = DefaultSpread
	}
	c.Gates.zones = &zones{}
	if c.Lease < c.SendTimeout+2*leaseMargin {
		return nil, fmt.Errorf("a lease of %s is too short for a send timeout of %s", c.Lease, c.SendTimeout)
	}
	if len(c.Gates.Caps) > 0 && c.Frequency == nil {
		return nil, errors.New("dispatcher with caps of frequency needs a ledger for them")
	}
	if c.Owner == "" {
		return nil, errors.New("dispatcher needs an owner")
	}
	log := c.Log.With().Str("component", "dispatcher").Logger()
	d := &Dispatcher{queue: c.Queue, recorder: newRecorder(c.Queue, c.Owner, c.Metrics, log), metrics: c.Metrics, log: log}
	for _, name := range slices.Sorted(maps.Keys(c.Senders)) {
		s := c.Senders[name]
		if s.RatePerSecond == 0 {
			s.RatePerSecond = 100
		}
		if s.InFlight == 0 {
			s.InFlight = 64
		}
		p := newProvider(name, s, c.Metrics, log)
		c.Metrics.provider(name)
		d.providers = append(d.providers, p)
		first := len(d.lanes)
		for _, u := range []Urgency{High, Normal} {
			id := LaneID{Provider: name, Urgency: u}
			d.lanes = append(d.lanes, &lane{
				id: id, provider: p, queue: c.Queue, frequency: c.Frequency, rules: c.Rules, gates: c.Gates, retirer: c.Retirer, recorder: d.recorder,
				owner: c.Owner, lease: c.Lease, sendTimeout: c.SendTimeout, spread: c.Spread, slots: make(chan struct{}, s.InFlight),
				wake: make(chan struct{}, 1), held: map[DeliveryID]struct{}{}, shunned: map[string]time.Time{}, metrics: c.Metrics, log: log.With().Stringer("lane", id).Logger(),
			})
		}
		lanes, high := d.lanes[first:], d.lanes[first].slots
		p.highFree = func() int { return cap(high) - len(high) }
		p.wake = func() { wake(lanes) }
		d.askers = append(d.askers, &asker{
			provider: name, pacer: p.pacer, quotas: c.Quotas, meter: newQuotaMeter(name, s.RatePerSecond, c.Metrics.quota), told: p.ask, wake: p.wake, metrics: c.Metrics, log: p.log,
		})
	}
	return d, nil
}

// Wake tells the lanes that there is something new.
func (d *Dispatcher) Wake() { wake(d.lanes) }

func wake(lanes []*lane) {
	for _, l := range lanes {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Blocked names the providers that refuse our credentials, with their reason.
func (d *Dispatcher) Blocked() map[devices.Provider]string {
	out := map[devices.Provider]string{}
	for _, p := range d.providers {
		if code := p.blocked(); code != "" {
			out[p.name] = code
		}
	}
	return out
}

// Run sends until ctx ends. Then it claims nothing more, finishes what is in
// flight and records it before it returns.
func (d *Dispatcher) Run(ctx context.Context) error {
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		d.recorder.run(ctx)
	}()
	var lanes sync.WaitGroup
	for _, l := range d.lanes {
		lanes.Go(func() { l.run(ctx) })
	}
	for _, a := range d.askers {
		lanes.Go(func() { a.run(ctx) })
	}
	lanes.Go(func() { d.tidy(ctx) })
	lanes.Go(func() { d.measure(ctx) })
	lanes.Wait()
	close(d.recorder.in)
	<-recorded
	return nil
}

// measure shows what waits. What cannot be read is not shown: an old figure would
// say that all is well.
func (d *Dispatcher) measure(ctx context.Context) {
	for first := true; first || sleep(ctx, measureEvery); first = false {
		step, cancel := context.WithTimeout(ctx, ledgerTimeout)
		stops, err := d.queue.Stops(step)
		cancel()
		if err == nil {
			d.metrics.stops(stops)
		}
		step, cancel = context.WithTimeout(ctx, ledgerTimeout)
		waiting, err := d.queue.Unreleased(step)
		cancel()
		d.metrics.unreleased(waiting, err == nil)
		for _, l := range d.lanes {
			step, cancel := context.WithTimeout(ctx, ledgerTimeout)
			b, err := d.queue.Backlog(step, l.id)
			cancel()
			d.metrics.backlog(l.id, b, err == nil)
		}
	}
}

func (d *Dispatcher) tidyOnce(ctx context.Context, limit int, reclaim bool) (reclaimed, expired int, err error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	if reclaim {
		reclaimed, err = d.queue.Reclaim(ctx, limit)
	}
	ended, expErr := d.queue.Expire(ctx, limit)
	for reason, n := range ended {
		d.metrics.deliveries.WithLabelValues("", string(Expired), string(reason)).Add(float64(n))
		expired += n
	}
	return reclaimed, expired, errors.Join(err, expErr)
}

// tidy looks after what no lane comes to: leases that a dead or paused replica
// has left behind, and deliveries that expired while nothing could be sent.
func (d *Dispatcher) tidy(ctx context.Context) {
	const limit = 1000
	failing, settled := false, false
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	for {
		// Not at once when the database may have been away: who holds the results of lapsed leases
		// comes first.
		reclaimed, expired, err := d.tidyOnce(ctx, limit, settled)
		settled = err == nil
		if err != nil && ctx.Err() == nil && !failing {
			d.log.Warn().Err(err).Msg("lapsed leases and expired deliveries cannot be tidied up")
		}
		failing = err != nil
		if reclaimed > 0 {
			d.metrics.reclaimed.Add(float64(reclaimed))
			d.log.Warn().Int("count", reclaimed).Msg("lapsed leases reclaimed; their outcome is unknown")
			d.Wake()
		}
		if reclaimed == limit || expired == limit {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
