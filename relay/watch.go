package relay

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/bugle-push/bugle/internal/fault"
)

const (
	// checkEvery is how often a watch compares where it stands with the end of
	// the topic; while it is loading, checkLoading.
	checkEvery   = 10 * time.Second
	checkLoading = time.Second
	// checkTimeout bounds one comparison.
	checkTimeout = 5 * time.Second
	// decodeWait is how long one record may hold up the others: who waits for a
	// schema longer is put aside, and decoded when it has come.
	decodeWait = 250 * time.Millisecond
	// maxAside is how many records may be put aside, one for each key.
	maxAside = 10_000
	// pauseMin and pauseMax bound the pause after a session that failed.
	pauseMin = 500 * time.Millisecond
	pauseMax = 15 * time.Second
)

// errTopicChanged ends a session: the topic was made anew or has more partitions.
var errTopicChanged = errors.New("the topic has changed")

// WatchConfig is what a Watch needs.
type WatchConfig struct {
	// Cluster has the topic; required.
	Cluster Cluster
	// Topic is the odds topic: a record's key is its event; required.
	Topic string
	// Board takes the records; required.
	Board *Board
	// Decoder makes JSON of values; nil takes them as they are.
	Decoder Decoder
	Log     zerolog.Logger
	// Registerer takes the metrics; nil keeps them unregistered.
	Registerer prometheus.Registerer
	// CheckEvery is how often the end of the topic is asked for; 0 means 10 s.
	CheckEvery time.Duration
}

// Watch reads a topic into a Board, all partitions from the beginning and then
// what comes. It belongs to no consumer group, so that every replica reads
// everything, and it commits nothing. It sees committed records only.
type Watch struct {
	cfg     WatchConfig
	options []kgo.Opt
	log     zerolog.Logger
	lag     prometheus.Gauge
	current prometheus.Gauge

	mu      sync.Mutex
	loaded  bool   // the topic has been read to its end once
	trouble string // why the board may be behind; empty for nothing
}

// NewWatch makes a Watch; Run makes it read. It returns an Invalid fault when
// something required is missing, and an error when the metrics cannot be
// registered.
func NewWatch(cfg WatchConfig) (*Watch, error) {
	if cfg.Topic == "" || cfg.Board == nil {
		return nil, fault.New(fault.Invalid, "watch: Topic and Board are required")
	}
	options, err := cfg.Cluster.Options()
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, err.Error())
	}
	cfg.CheckEvery = cmp.Or(cfg.CheckEvery, checkEvery)
	w := &Watch{
		cfg: cfg, log: cfg.Log.With().Str("component", "odds").Str("topic", cfg.Topic).Logger(),
		options: append(options,
			kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.KeepControlRecords(), // so that the end of a transaction counts as read
			kgo.FetchMaxWait(time.Second)),
		lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bugle_odds_lag_records", Help: "Records of the odds topic that this replica has not read yet, as of the last comparison.",
		}),
		current: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bugle_odds_caught_up", Help: "1 while this replica knows the newest odds.",
		}),
		trouble: "the topic has not been read yet",
	}
	if cfg.Registerer != nil {
		if err := errors.Join(cfg.Registerer.Register(w.lag), cfg.Registerer.Register(w.current)); err != nil {
			return nil, fmt.Errorf("register watch metrics: %w", err)
		}
	}
	return w, nil
}

// Check returns nil while the board has what the topic has, and otherwise an
// error that says what it is waiting for.
func (w *Watch) Check(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.trouble == "":
		return nil
	case !w.loaded:
		return fmt.Errorf("the odds are not read yet: %s", w.trouble)
	}
	return fmt.Errorf("the odds are behind: %s", w.trouble)
}

// note says how things stand, and logs a change.
func (w *Watch) note(trouble string) {
	w.mu.Lock()
	before := w.trouble
	w.trouble = trouble
	caughtUp := trouble == ""
	w.loaded = w.loaded || caughtUp
	w.mu.Unlock()
	switch {
	case caughtUp && before != "":
		w.current.Set(1)
		w.log.Info().Msg("odds caught up")
	case !caughtUp && before == "":
		w.current.Set(0)
		w.log.Warn().Str("reason", trouble).Msg("odds fell behind")
	}
}

// Run reads until ctx ends, and returns nil then. Whatever fails is tried again.
func (w *Watch) Run(ctx context.Context) error {
	pause, logged := pauseMin, ""
	for {
		began := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end that was asked for
		}
		w.note(err.Error())
		if err.Error() != logged {
			logged = err.Error()
			w.log.Warn().Err(err).Msg("reading the odds was interrupted")
		}
		if time.Since(began) > pauseMax {
			pause = pauseMin
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, pauseMax)
	}
}

// session reads with one client, until something is wrong with it.
func (w *Watch) session(ctx context.Context) error {
	client, err := kgo.NewClient(w.options...)
	if err != nil {
		return fmt.Errorf("make kafka client: %w", err)
	}
	defer client.Close()
	s := &session{watch: w, client: client, admin: kadm.NewClient(client), aside: map[string]*kgo.Record{}, failing: map[string]time.Time{}}
	if err := s.begin(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.read(ctx) })
	g.Go(func() error { return s.compare(ctx) })
	return g.Wait()
}

// session is one client's reading of the topic.
type session struct {
	watch  *Watch
	client *kgo.Client
	admin  *kadm.Client
	// id, its beginning in text, and the number of partitions are what the
	// session began with.
	id         kadm.TopicID
	topic      string
	partitions int

	mu      sync.Mutex
	next    map[int32]int64 // the next offset of each partition
	waiting int             // records that were put aside

	// Only read uses what follows.
	aside   map[string]*kgo.Record // by key, the newest whose schema has not come yet
	failing map[string]time.Time   // until when a schema is not asked for again, by the header of values
	refused time.Time              // when the last refusal was logged
}

// begin finds the topic and starts at the beginning of all its partitions.
func (s *session) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	id, partitions, err := s.find(ctx)
	if err != nil {
		return err
	}
	starts, err := s.admin.ListStartOffsets(ctx, s.watch.cfg.Topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("list start offsets of topic %s: %w", s.watch.cfg.Topic, err)
	}
	s.id, s.partitions, s.next = id, partitions, make(map[int32]int64, partitions)
	if id != (kadm.TopicID{}) {
		s.topic = hex.EncodeToString(id[:4])
	}
	from := map[int32]kgo.Offset{}
	starts.Each(func(o kadm.ListedOffset) {
		s.next[o.Partition] = o.Offset
		from[o.Partition] = kgo.NewOffset().At(o.Offset)
	})
	if len(from) != partitions {
		return errTopicChanged
	}
	s.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{s.watch.cfg.Topic: from})
	return nil
}

// find returns the topic's id, which is zero with brokers that have none, and
// how many partitions it has.
func (s *session) find(ctx context.Context) (kadm.TopicID, int, error) {
	topics, err := s.admin.ListTopics(ctx, s.watch.cfg.Topic)
	if err == nil {
		err = topics[s.watch.cfg.Topic].Err
	}
	if err != nil {
		return kadm.TopicID{}, 0, fmt.Errorf("look up topic %s: %w", s.watch.cfg.Topic, err)
	}
	detail := topics[s.watch.cfg.Topic]
	return detail.ID, len(detail.Partitions), nil
}

// read takes records until ctx ends or Kafka refuses.
func (s *session) read(ctx context.Context) error {
	for {
		// Records that were put aside are looked at now and then.
		poll, cancel := ctx, context.CancelFunc(func() {})
		if len(s.aside) > 0 {
			poll, cancel = context.WithTimeout(ctx, checkLoading)
		}
		fetches := s.client.PollFetches(poll)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fetchFault(fetches); err != nil {
			return fmt.Errorf("read topic %s: %w", s.watch.cfg.Topic, err)
		}
		s.retryAside(ctx)
		fetches.EachRecord(func(r *kgo.Record) { s.take(ctx, r) })
		s.advance(fetches)
		for len(s.aside) > maxAside && ctx.Err() == nil {
			s.pause(ctx)
			s.retryAside(ctx)
		}
	}
}

// fetchFault returns what Kafka refuses. What the client mends itself it does
// not tell; lost records (an unclean election, a shortened retention) are read
// over.
func fetchFault(fetches kgo.Fetches) error {
	for _, f := range fetches.Errors() {
		if _, lost := errors.AsType[*kgo.ErrDataLoss](f.Err); lost || errors.Is(f.Err, context.DeadlineExceeded) {
			continue
		}
		return f.Err
	}
	return nil
}

func (s *session) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(checkLoading):
	}
}

// take puts a record on the board, or aside when its schema has not come.
func (s *session) take(ctx context.Context, r *kgo.Record) {
	if r.Attrs.IsControl() {
		return
	}
	delete(s.aside, string(r.Key)) // this one is newer
	value, ok := s.decode(ctx, r)
	if !ok {
		return
	}
	outcome := s.watch.cfg.Board.Put(Update{
		Event: string(r.Key), Position: NewPosition(s.topic, r.Partition, r.Offset), At: r.Timestamp, Value: value,
	})
	if outcome == Unfit {
		s.logRefused(r, "its key is no name of an event, or its value no JSON, or too large")
	}
}

// decode returns the value as JSON, or false when there is none, or not yet.
func (s *session) decode(ctx context.Context, r *kgo.Record) ([]byte, bool) {
	if s.watch.cfg.Decoder == nil || r.Value == nil {
		return r.Value, true
	}
	schema := string(r.Value[:min(len(r.Value), wireHeader)])
	if time.Now().Before(s.failing[schema]) {
		s.aside[string(r.Key)] = r
		return nil, false
	}
	wait, cancel := context.WithTimeout(ctx, decodeWait)
	value, err := s.watch.cfg.Decoder.Decode(wait, r.Topic, r.Value)
	cancel()
	switch {
	case err == nil:
		return value, true
	case errors.Is(err, ErrUndecodable):
		s.watch.cfg.Board.metrics.records.WithLabelValues(string(Unfit)).Inc()
		s.logRefused(r, err.Error())
		return nil, false
	}
	s.aside[string(r.Key)] = r
	if len(s.failing) > maxAside {
		clear(s.failing)
	}
	s.failing[schema] = time.Now().Add(checkLoading)
	s.watch.note("waiting for the schema registry: " + err.Error())
	return nil, false
}

// wireHeader is how many bytes of a value name its schema.
const wireHeader = 5

// retryAside tries what was put aside again.
func (s *session) retryAside(ctx context.Context) {
	for key, r := range s.aside {
		if ctx.Err() != nil {
			return
		}
		delete(s.aside, key)
		s.take(ctx, r)
	}
}

// logRefused tells of a record that is no snapshot, at most once in ten seconds.
func (s *session) logRefused(r *kgo.Record, reason string) {
	if time.Since(s.refused) < checkEvery {
		return
	}
	s.refused = time.Now()
	s.watch.log.Warn().Int64("partition", int64(r.Partition)).Int64("offset", r.Offset).Str("reason", reason).Msg("record of odds refused")
}

// advance notes what has been read.
func (s *session) advance(fetches kgo.Fetches) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = len(s.aside)
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if n := len(p.Records); n > 0 {
			s.next[p.Partition] = max(s.next[p.Partition], p.Records[n-1].Offset+1)
		}
	})
}
