package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// FeedConfig configures a Feed.
type FeedConfig struct {
	// Cluster is where the topics are.
	Cluster Cluster
	// Group is the consumer group that the replicas share.
	Group string
	// Routes are the topics with their channels, at least one.
	Routes []Route
	// Publisher publishes the messages.
	Publisher Publisher
	// Progress remembers what was published. It may be nil when every route
	// conflates and none marks suspensions.
	Progress Progress
	// Decoder makes JSON of values; nil takes them as they are.
	Decoder Decoder

	// ChannelRate is the most messages a second on one channel. Zero means 40:
	// Ably takes 50 (Ably, "Platform limits").
	ChannelRate float64
	// MessageRate and RequestRate are the most messages and API requests a second
	// of this replica. Each message is a request. Zero means no limit.
	MessageRate, RequestRate float64
	// InFlight is the most messages in flight at once, on different channels.
	// Zero means 64.
	InFlight int
	// MaxMessageBytes is the most bytes of a message as Ably counts them. Zero
	// means 65,536, the limit of Ably's Free and Standard plans.
	MaxMessageBytes int
	// MaxWaiting is the most records of a partition that wait without a newer one
	// being able to take their place; beyond it the partition is not read. Zero
	// means 10,000. Their values are bounded to 64 MiB as well.
	MaxWaiting int

	// PublishTimeout bounds one attempt. Zero means 10 seconds.
	PublishTimeout time.Duration
	// RevokeTimeout is how long what is in flight may take to end when a partition
	// goes to another replica, and when the feed stops. Zero means 10 seconds.
	RevokeTimeout time.Duration
	// SessionTimeout is how long a replica may say nothing to the brokers until its
	// partitions go to others: after a crash their channels stand still for that
	// long. Zero means 10 seconds. The brokers' group.min.session.timeout.ms, 6
	// seconds by default, is the least.
	SessionTimeout time.Duration
	// CommitEvery is how often offsets are committed. Zero means one second.
	CommitEvery time.Duration
	// Backoff is how long to wait after the n-th failure in a row, from 1. Nil
	// means from a quarter of a second to half a minute, with jitter.
	Backoff func(n int) time.Duration

	// Log is where the feed reports.
	Log zerolog.Logger
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer
}

func (c FeedConfig) withDefaults() FeedConfig {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	number := func(n *int, to int) {
		if *n == 0 {
			*n = to
		}
	}
	set(&c.PublishTimeout, 10*time.Second)
	set(&c.RevokeTimeout, 10*time.Second)
	set(&c.SessionTimeout, 10*time.Second)
	set(&c.CommitEvery, time.Second)
	number(&c.InFlight, 64)
	number(&c.MaxMessageBytes, 64<<10)
	number(&c.MaxWaiting, 10_000)
	if c.ChannelRate == 0 {
		c.ChannelRate = 40
	}
	if c.Backoff == nil {
		c.Backoff = backoff
	}
	return c
}

func (c *FeedConfig) check() error {
	topics := map[string]bool{}
	for i := range c.Routes {
		r := &c.Routes[i]
		if err := r.check(); err != nil {
			return err
		}
		if topics[r.Topic] {
			return fmt.Errorf("relay: topic %s twice", r.Topic)
		}
		topics[r.Topic] = true
		if r.mayKeep() && c.Progress == nil {
			return fmt.Errorf("relay: topic %s needs a Progress", r.Topic)
		}
	}
	switch {
	case len(c.Routes) == 0:
		return errors.New("relay: no routes")
	case c.Group == "":
		return errors.New("relay: no consumer group")
	case c.Publisher == nil:
		return errors.New("relay: no publisher")
	}
	return nil
}

// The waits after failures.
const (
	firstBackoff   = 250 * time.Millisecond
	longestBackoff = 30 * time.Second
)

// backoff doubles from firstBackoff to longestBackoff, of which between a half
// and all is waited: Ably asks for no time of its own (it sends no Retry-After).
func backoff(n int) time.Duration {
	d := min(firstBackoff<<min(max(n-1, 0), 10), longestBackoff)
	return d/2 + rand.N(d/2+1)
}

// maxWaitingBytes bounds the values of a partition's records that wait.
const maxWaitingBytes = 64 << 20

// Feed carries the records of topics to channels: per channel in the order of
// their offsets, one at a time, each with an id of its own that stays the same.
// It commits an offset when that and all before it are done.
type Feed struct {
	cfg     FeedConfig
	log     zerolog.Logger
	routes  map[string]*Route
	prepare *preparer
	keeper  *keeper
	metrics *feedMetrics
	kick    chan struct{} // something may be ready to publish

	client  *kgo.Client
	admin   *kadm.Client
	workers sync.WaitGroup
	// work is the context of everything that is begun; it ends last.
	work context.Context //nolint:containedctx // callbacks of the client begin work without a context of ours

	committing sync.Mutex // one commit at a time, so that none overtakes a newer one

	mu        sync.Mutex // guards what follows, and all partitions and lanes
	lanes     *lanes
	parts     map[topicPartition]*partition
	ending    bool      // nothing more is begun
	reading   error     // why Kafka cannot be read, or nil
	readingAt time.Time // when that was last so
	commitErr error     // of the last commit
}

// NewFeed checks the configuration and registers the metrics. It connects to
// nothing.
func NewFeed(cfg FeedConfig) (*Feed, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if _, err := cfg.Cluster.Options(); err != nil {
		return nil, err
	}
	metrics, err := newFeedMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics of the relay: %w", err)
	}
	metrics.limit(cfg.MessageRate, cfg.RequestRate)
	f := &Feed{
		cfg: cfg, log: cfg.Log.With().Str("component", "relay").Logger(), metrics: metrics,
		routes: map[string]*Route{}, parts: map[topicPartition]*partition{}, kick: make(chan struct{}, 1),
	}
	for i := range cfg.Routes {
		f.routes[cfg.Routes[i].Topic] = &cfg.Routes[i]
	}
	f.keeper = &keeper{progress: cfg.Progress, requests: make(chan keepRequest), retry: cfg.Backoff, log: f.log}
	f.prepare = &preparer{decoder: cfg.Decoder, maxBytes: cfg.MaxMessageBytes, retry: cfg.Backoff, warn: func(err error) {
		f.log.Error().Err(err).Msg("values cannot be decoded for now; their partition waits")
	}}
	f.lanes = newLanes(laneLimits{
		channelRate: cfg.ChannelRate, channelBurst: int(cfg.ChannelRate / 8),
		messageRate: cfg.MessageRate, requestRate: cfg.RequestRate,
		inFlight: cfg.InFlight, troubles: 8, backoff: cfg.Backoff,
		finish: f.finish, refuse: f.refuse, onHold: f.onHold,
	})
	return f, nil
}

// Run relays until ctx ends, and then lets what is in flight end and commits. It
// returns the error of an unusable configuration only: what fails later is
// tried again.
func (f *Feed) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	f.work = work
	opts, err := f.cfg.Cluster.Options()
	if err != nil {
		return err
	}
	if err := f.connect(append(opts, f.options()...)...); err != nil {
		return err
	}

	var loops sync.WaitGroup
	loops.Go(func() { f.dispatch(work) })
	loops.Go(func() { f.commitLoop(work) })
	if f.cfg.Progress != nil {
		loops.Go(func() { f.keeper.run(work) })
	}
	f.poll(ctx)

	f.release(context.WithoutCancel(ctx), f.end(), f.cfg.RevokeTimeout)
	leave, cancel := context.WithTimeout(work, leaveTimeout)
	f.client.AllowRebalance()
	if err := f.client.LeaveGroupContext(leave); err != nil {
		f.log.Warn().Err(err).Msg("consumer group was not left in time; its other members wait for the session to end")
	}
	cancel()
	f.client.CloseAllowingRebalance()
	stop()
	loops.Wait()
	f.workers.Wait()
	return nil
}

// connect makes the clients. It holds f.mu, for which all callbacks wait: the
// client joins the group while it is made, and can be assigned a partition before
// NewClient has returned.
func (f *Feed) connect(opts ...kgo.Opt) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("make kafka client: %w", err)
	}
	f.client, f.admin = client, kadm.NewClient(client)
	return nil
}

// leaveTimeout bounds leaving the group.
const leaveTimeout = 3 * time.Second

// Check tells why nothing is relayed, or nil: for readiness.
func (f *Feed) Check(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	cause := f.lanes.hold.cause
	if !f.lanes.wanting() {
		cause = "" // nobody asks any more whether it is over
	}
	switch {
	case cause == holdCredentials:
		return fmt.Errorf("Ably refuses the key: %s", f.lanes.hold.reason) //nolint:staticcheck // a name begins the sentence
	case cause == holdTrouble:
		return fmt.Errorf("Ably takes nothing: %s", f.lanes.hold.reason) //nolint:staticcheck // as above
	case f.reading != nil && time.Since(f.readingAt) < readingFor:
		return fmt.Errorf("kafka cannot be read: %w", f.reading)
	case f.commitErr != nil:
		return fmt.Errorf("offsets cannot be committed: %w", f.commitErr)
	}
	for _, p := range f.parts {
		if p.trouble != nil { // of several, one is enough to look for
			return fmt.Errorf("partition %d of topic %s: %w", p.partition, p.topic, p.trouble)
		}
	}
	return nil
}

// readingFor is how long an error of reading counts: the client reports none
// again while it waits between tries.
const readingFor = 30 * time.Second

func (f *Feed) onHold(h hold) {
	f.metrics.hold(h)
	if h.cause == "" {
		f.log.Info().Msg("publishing goes on")
		return
	}
	level := zerolog.ErrorLevel
	if h.cause == holdAccount { // it is over with the second that was too full
		level = zerolog.WarnLevel
	}
	f.log.WithLevel(level).Str("reason", h.reason).Str("state", h.cause).Msg("publishing is held")
}

// wake makes dispatch look again.
func (f *Feed) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// dispatch begins publishes when their time has come.
func (f *Feed) dispatch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	for {
		f.mu.Lock()
		start, again := f.lanes.next(time.Now())
		f.metrics.channels.Set(float64(len(f.lanes.byChannel)))
		f.mu.Unlock()
		for _, it := range start {
			f.workers.Go(func() { f.publish(it) }) //nolint:contextcheck // it has the context of its partition
		}
		var at <-chan time.Time
		if !again.IsZero() {
			timer.Reset(time.Until(again))
			at = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-f.kick:
		case <-at:
		case <-sweep.C:
			f.mu.Lock()
			f.lanes.forget(idleChannel, time.Now())
			f.mu.Unlock()
		}
	}
}

// idleChannel is how long a channel without records is remembered.
const idleChannel = 10 * time.Minute

// publish makes one attempt.
func (f *Feed) publish(it *item) {
	ctx, cancel := context.WithTimeout(it.from.send, f.cfg.PublishTimeout)
	begun := time.Now()
	answer := f.cfg.Publisher.Publish(ctx, it.message)
	cancel()
	f.metrics.seconds.Observe(time.Since(begun).Seconds())
	f.metrics.attempts.WithLabelValues(string(answer.Verdict)).Inc()
	if answer.Verdict != Accepted {
		f.log.Debug().Str("verdict", string(answer.Verdict)).Str("reason", answer.Reason).Msg("record not published")
	}
	kept := true
	if answer.Verdict == Accepted {
		f.metrics.chargeable.Inc()
		f.metrics.delay.WithLabelValues(it.from.topic).Observe(time.Since(it.record.Timestamp).Seconds())
		if it.from.route.keeps(it.suspended) {
			kept = f.keeper.keep(it.from.send, Mark{it.from.source, it.message.Channel, it.offset(), it.record.LeaderEpoch}) == nil
		}
	}
	f.mu.Lock()
	if kept {
		f.lanes.settle(it, answer, time.Now())
	} else {
		f.lanes.abandon(it, time.Now())
	}
	f.mu.Unlock()
	f.wake()
}

// finish is called when a record is done. f.mu is held.
func (f *Feed) finish(it *item, what fate) {
	f.metrics.records.WithLabelValues(it.from.topic, string(what)).Inc()
	it.from.prefix.finish(it.offset())
	if it.counted {
		it.counted = false
		f.unload(it.from, it.record)
	}
}

// unload takes a record out of a partition's load, and reads on when there is
// room again. f.mu is held.
func (f *Feed) unload(p *partition, r *kgo.Record) {
	p.load--
	p.loadBytes -= len(r.Value)
	if p.load <= f.cfg.MaxWaiting/2 && p.loadBytes <= maxWaitingBytes/2 && !p.revoked {
		f.resume(p)
	}
}

// resume reads a partition again that was paused. f.mu is held.
func (f *Feed) resume(p *partition) {
	if p.paused {
		p.paused = false
		f.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.partition}})
	}
}
