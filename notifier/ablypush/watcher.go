package ablypush

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/bugle-push/bugle/devices"
)

// pushLog is the metachannel of failed pushes (Ably: "Metadata subscriptions").
const pushLog = "[meta]log:push"

// The times of a Watcher.
const (
	// DefaultLookback is how far back a Watcher reads when it starts. Ably keeps
	// messages for two minutes at least, and longer by configuration.
	DefaultLookback = time.Hour
	// rereadEvery is how often history is read without a reason, in case the
	// subscription is silently broken.
	rereadEvery = 5 * time.Minute
	// overlap is read again each time: events may reach history late.
	overlap = time.Minute
	// requestTimeout bounds one request for history.
	requestTimeout = 15 * time.Second
	// retireTimeout bounds one call of the Retirer.
	retireTimeout = 5 * time.Second
	// retryEvery is how often a retirement that failed is tried again.
	retryEvery = 5 * time.Second
	// retireMargin is taken off the time of an event: it may be about a push to
	// a registration that was replaced just before, or our clock may be slow.
	retireMargin = 5 * time.Second
	// spellEnds is how long a kind of failure must be absent before it counts as
	// over.
	spellEnds = 10 * time.Minute
)

// Bounds on memory.
const (
	liveBuffer = 1024
	maxPending = 10_000
	maxSeen    = 32_768
)

// ReasonTokenInvalid is the reason with which targets are retired.
const ReasonTokenInvalid = "ably_token_invalid"

// Retirer retires targets.
type Retirer interface {
	// RetireTarget retires the device that is reached at target, unless there is
	// none or it was activated at or after before. It reports whether one was
	// retired; to ask again is harmless.
	RetireTarget(ctx context.Context, target devices.Target, before time.Time, reason string) (bool, error)
}

// WatcherConfig says how to reach Ably's push log. Key and Retirer are
// required.
type WatcherConfig struct {
	// Key is an API key, "appId.keyId:secret", with the capabilities subscribe
	// and history on "[meta]log:push". Blanks around it are cut off.
	Key devices.Secret
	// URL is where Ably is, as in Config.
	URL string
	// Lookback is how far back history is read at the start: how long a Watcher
	// may have been down without missing an event that Ably still has. 0 means
	// DefaultLookback.
	Lookback time.Duration
	// Retirer takes the devices whose push token is dead.
	Retirer Retirer
	// Registerer takes the metrics; nil means none.
	Registerer prometheus.Registerer
	// Log takes what the Watcher sees, each kind of trouble once per spell.
	Log zerolog.Logger
}

// Watcher reads Ably's log of failed pushes.
type Watcher struct {
	cfg     WatcherConfig
	client  *client
	redact  redactor
	metrics watcherMetrics
	log     zerolog.Logger
	started atomic.Bool

	// live carries events from the subscription; what does not fit is read from
	// history.
	live chan failure
	// reread asks for a reading of history.
	reread chan struct{}

	// What follows is the handler's alone.
	cursor  time.Time // everything before it has been read
	seen    seen
	pending map[string]time.Time // retirements that failed: device to before
	spells  map[int]time.Time    // when a kind of failure was last reported
	unread  bool                 // history cannot be read
	unkept  bool                 // retirements fail
}

// NewWatcher makes a Watcher. It reports every fault of the config and makes no
// request.
func NewWatcher(cfg WatcherConfig) (*Watcher, error) {
	base, urlErr := baseURL(cfg.URL)
	var retirerErr error
	if cfg.Retirer == nil {
		retirerErr = errors.New("retirer is missing")
	}
	lookback, lookbackErr := positive("lookback", cfg.Lookback, DefaultLookback)
	if err := errors.Join(checkKey(&cfg.Key), urlErr, retirerErr, lookbackErr); err != nil {
		return nil, fmt.Errorf("configure ably push log: %w", err)
	}
	cfg.URL, cfg.Lookback = base, lookback
	m, err := newWatcherMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("configure ably push log: %w", err)
	}
	return &Watcher{
		cfg:     cfg,
		client:  newClient(Config{Key: cfg.Key, URL: base, DialTimeout: DefaultDialTimeout, MaxInFlight: 4}),
		redact:  newRedactor(cfg.Key),
		metrics: m,
		log:     cfg.Log.With().Str("component", "ably_push_log").Logger(),
		live:    make(chan failure, liveBuffer),
		reread:  make(chan struct{}, 1),
		seen:    seen{max: maxSeen},
		pending: make(map[string]time.Time),
		spells:  make(map[int]time.Time),
	}, nil
}

// Run watches until ctx ends, and then returns nil. No trouble with Ably ends
// it: it is logged and tried again. A second call is an error.
func (w *Watcher) Run(ctx context.Context) error {
	if !w.started.CompareAndSwap(false, true) {
		return errors.New("ably push log: already run")
	}
	defer w.client.transport.CloseIdleConnections()
	w.cursor = time.Now().Add(-w.cfg.Lookback)
	w.askHistory() // not to depend on the subscription
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { w.follow(ctx); return nil })
	g.Go(func() error { w.work(ctx); return nil })
	return g.Wait()
}

// askHistory asks for a reading of history; one request waits at most.
func (w *Watcher) askHistory() {
	select {
	case w.reread <- struct{}{}:
	default:
	}
}

// offer takes an event from the subscription without ever waiting.
func (w *Watcher) offer(f failure) {
	select {
	case w.live <- f:
	default:
		w.askHistory()
	}
}

// work handles events one after the other until ctx ends.
func (w *Watcher) work(ctx context.Context) {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	history := time.NewTimer(rereadEvery)
	defer history.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-w.live:
			w.handle(ctx, f)
			continue
		case <-tick.C:
			w.retryPending(ctx)
			w.endSpells(time.Now())
			continue
		case <-w.reread:
		case <-history.C:
		}
		wait := rereadEvery
		if w.catchUp(ctx) {
			failures = 0
		} else {
			failures++
			wait = backoff(failures)
		}
		history.Reset(wait)
	}
}

// handle takes one event, once.
func (w *Watcher) handle(ctx context.Context, f failure) {
	if !w.seen.add(f.key()) {
		return
	}
	w.metrics.failures.WithLabelValues(label(f.code)).Inc()
	w.spell(f, time.Now())
	if f.code != failureToken || f.device == "" {
		return
	}
	w.retire(ctx, f.device, f.at.Add(-retireMargin))
}

// retire retires a device, or keeps it for another try.
func (w *Watcher) retire(ctx context.Context, device string, before time.Time) {
	callCtx, cancel := context.WithTimeout(ctx, retireTimeout)
	defer cancel()
	target := devices.Target{Kind: devices.AblyDevice, Value: devices.Secret(device)}
	retired, err := w.cfg.Retirer.RetireTarget(callCtx, target, before, ReasonTokenInvalid)
	if err != nil {
		if old, ok := w.pending[device]; (ok || len(w.pending) < maxPending) && !before.Before(old) {
			w.pending[device] = before
		}
		if !w.unkept && ctx.Err() == nil {
			w.unkept = true
			w.log.Warn().Err(err).Msg("dead targets could not be retired; they are kept and tried again")
		}
		return
	}
	delete(w.pending, device)
	if w.unkept && len(w.pending) == 0 {
		w.unkept = false
		w.log.Info().Msg("dead targets are retired again")
	}
	if retired {
		w.metrics.retired.Inc()
		w.log.Info().Object("target", target).Str("reason", ReasonTokenInvalid).Msg("target retired")
	}
}

// retryPending tries the retirements that failed, until one fails again.
func (w *Watcher) retryPending(ctx context.Context) {
	for device, before := range w.pending {
		w.retire(ctx, device, before)
		if _, still := w.pending[device]; still || ctx.Err() != nil {
			return
		}
	}
}

// spell reports a kind of failure when it begins; an event from long ago, read
// from history, begins none.
func (w *Watcher) spell(f failure, now time.Time) {
	if f.code == failureToken || now.Sub(f.at) > spellEnds {
		return
	}
	last, on := w.spells[f.code]
	if f.at.After(last) {
		w.spells[f.code] = f.at
	}
	if on {
		return
	}
	switch f.code {
	case failureNotConfigured, failureCredentials:
		w.metrics.alarm.WithLabelValues(label(f.code)).Set(1)
		w.log.Error().Str("reason", label(f.code)).
			Msg("ably cannot push: a transport is not configured (103006) or its credentials are refused (103008); see the application's push settings at Ably")
	default:
		w.log.Warn().Str("reason", label(f.code)).Msg("ably reported failed pushes")
	}
}

// endSpells ends the kinds of failure that have not been seen for a while.
func (w *Watcher) endSpells(now time.Time) {
	for code, last := range w.spells {
		if now.Sub(last) <= spellEnds {
			continue
		}
		delete(w.spells, code)
		if code == failureNotConfigured || code == failureCredentials {
			w.metrics.alarm.WithLabelValues(label(code)).Set(0)
		}
		w.log.Info().Str("reason", label(code)).Msg("ably no longer reports such failed pushes")
	}
}
