package bets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/relay"
)

// The defaults of ForwarderConfig.
const (
	DefaultTopic           = "bets"
	DefaultDeadLetterTopic = "bets-dead-letters"
	// DefaultLease is how long a replica keeps rows that has ended meanwhile. Living ones renew.
	DefaultLease = 30 * time.Second
	// DefaultPoll is how often a replica looks for rows that another one has committed.
	DefaultPoll = time.Second
)

const (
	// batchRows bounds what is claimed, and so in memory, at once: 8 MiB of dead letters.
	batchRows = 500
	// leastPause and mostPause bound the pause after a failure.
	leastPause = 100 * time.Millisecond
	mostPause  = 15 * time.Second
	// endTimeout is how long an end waits for the note of what was produced.
	endTimeout = 5 * time.Second
	// flightTimeout is how long it waits before that for what is in flight, which may be in
	// Kafka later and then is repeated: longer than the client's longest pause after a broker
	// was away for a moment (5 s and a reconnect), and with the note within a stop of the service.
	flightTimeout = 12 * time.Second
	// storeTimeout bounds one word with the database.
	storeTimeout = 10 * time.Second
	// measureEvery is how often the backlog is measured.
	measureEvery = 5 * time.Second
	// linger is how long the client waits for the rest of what was claimed, so that it goes in
	// one batch for each partition. A broker that comes back from a crash knows the last batch
	// of a producer again and none before it: those would be in the topic twice.
	linger = 20 * time.Millisecond
	// slowAfter is how long a batch may be on its way before the check fails.
	slowAfter = 15 * time.Second
)

// ForwarderConfig is what a Forwarder needs.
type ForwarderConfig struct {
	// Outbox is where rows come from; required.
	Outbox Outbox
	// Cluster is where records go.
	Cluster relay.Cluster
	// Topic takes the bets, DeadLetterTopic the dead letters; empty means the defaults.
	Topic, DeadLetterTopic string
	// Owner names this replica, and this life of it; required.
	Owner string
	// Lease is how long a claim lasts unless it is renewed; 0 means DefaultLease.
	Lease time.Duration
	// Poll is how often to look for others' rows; 0 means DefaultPoll.
	Poll time.Duration
	// Metrics counts; required.
	Metrics *Metrics
	Log     zerolog.Logger
	// Options are added to those of the Kafka client, for tests.
	Options []kgo.Opt
}

// Forwarder produces what the outbox holds. Each kind has a lane of its own, so
// that a topic of dead letters that is missing holds up no bet.
type Forwarder struct {
	client  *kgo.Client
	lanes   []*lane
	outbox  Outbox
	metrics *Metrics
	log     zerolog.Logger
}

// NewForwarder returns a Forwarder. It asks nothing of Kafka yet. Close it after
// Run has ended.
func NewForwarder(cfg ForwarderConfig) (*Forwarder, error) {
	if cfg.Outbox == nil || cfg.Owner == "" || cfg.Metrics == nil {
		return nil, fault.New(fault.Invalid, "bets: Outbox, Owner and Metrics are required")
	}
	opts, err := cfg.Cluster.Options()
	if err != nil {
		return nil, err
	}
	// The client is idempotent by itself: its own retries repeat no record.
	opts = append(opts, kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(linger), kgo.MaxBufferedRecords(4*batchRows))
	client, err := kgo.NewClient(append(opts, cfg.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	f := &Forwarder{client: client, outbox: cfg.Outbox, metrics: cfg.Metrics, log: cfg.Log.With().Str("component", "bets").Logger()}
	topics := map[Kind]string{
		KindBet: cmp.Or(cfg.Topic, DefaultTopic), KindDead: cmp.Or(cfg.DeadLetterTopic, DefaultDeadLetterTopic),
	}
	for _, kind := range Kinds() {
		f.lanes = append(f.lanes, &lane{
			kind: kind, topic: topics[kind], client: client, outbox: cfg.Outbox, owner: cfg.Owner,
			lease: cmp.Or(cfg.Lease, DefaultLease), poll: cmp.Or(cfg.Poll, DefaultPoll),
			woken: make(chan struct{}, 1), metrics: cfg.Metrics, log: f.log.With().Str("kind", string(kind)).Logger(),
		})
	}
	return f, nil
}

// Wake tells that something has been committed. It never waits.
func (f *Forwarder) Wake() {
	for _, l := range f.lanes {
		select {
		case l.woken <- struct{}{}:
		default:
		}
	}
}

// Run works until ctx ends. It then waits a little for what is in flight.
func (f *Forwarder) Run(ctx context.Context) error {
	var g sync.WaitGroup
	for _, l := range f.lanes {
		g.Go(func() { l.run(ctx) })
	}
	g.Go(func() { f.measure(ctx) })
	g.Wait()
	return nil
}

// Close closes the connections to Kafka.
func (f *Forwarder) Close(context.Context) error {
	f.client.Close()
	return nil
}

// Check tells whether records get to Kafka: an Unavailable fault says since when
// and why they do not.
func (f *Forwarder) Check(context.Context) error {
	var reasons []string
	for _, l := range f.lanes {
		if reason := l.trouble(time.Now()); reason != "" {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) > 0 {
		return fault.New(fault.Unavailable, strings.Join(reasons, "; "))
	}
	return nil
}

// measure keeps the gauges of the backlog.
func (f *Forwarder) measure(ctx context.Context) {
	for {
		for _, kind := range Kinds() {
			ask, cancel := context.WithTimeout(ctx, storeTimeout)
			b, err := f.outbox.Backlog(ask, kind)
			cancel()
			if err != nil {
				continue // the lanes tell of a database that does not answer
			}
			f.metrics.rows.WithLabelValues(string(kind)).Set(float64(b.Rows))
			f.metrics.oldest.WithLabelValues(string(kind)).Set(b.Oldest.Seconds())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(measureEvery):
		}
	}
}

// errEnding says that what is in flight was left alone.
var errEnding = errors.New("the service is stopping")
