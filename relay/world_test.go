package relay_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/kafkatest"
	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/relay"
	"github.com/bugle-push/bugle/relay/ablyfeed"
	"github.com/bugle-push/bugle/sandbox/ably"
)

const (
	odds  = "odds"
	dead  = "odds-dead-letters"
	group = "bugle-relay"
)

// world is a Kafka and an Ably, as far as the relay can tell.
type world struct {
	t        *testing.T
	brokers  []string
	cluster  string // its id
	ably     *ably.Server
	producer *kgo.Client
	admin    *kadm.Client
	progress *memory
	http     *http.Client
}

// onApache makes the worlds of a test be on Apache Kafka, when it is set.
const onApache = "BUGLE_TEST_WORLD_ON_APACHE"

func newWorld(t *testing.T, partitions int32, cfg ably.Config) *world {
	t.Helper()
	if os.Getenv(onApache) != "" {
		broker := kafkatest.Apache(t)
		broker.CreateTopic(t, odds, int(partitions))
		broker.CreateTopic(t, dead, 1)
		w := newWorldAt(t, broker.Brokers(), cfg)
		// The next world has topics and a group of the same names; later is a test's own.
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			_, err := w.admin.DeleteTopics(ctx, odds, dead, "later")
			require.NoError(t, err)
			_, err = w.admin.DeleteGroups(ctx, group)
			require.NoError(t, err)
		})
		return w
	}
	return newWorldAt(t, newFake(t, partitions).ListenAddrs(), cfg)
}

// newWorldAt is a world around brokers that have the topics.
func newWorldAt(t *testing.T, brokers []string, cfg ably.Config) *world {
	t.Helper()
	if cfg.Seed == 0 {
		cfg.Seed = 11
	}
	service, err := ably.Start(context.WithoutCancel(t.Context()), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, service.Close()) })
	producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(producer.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	admin := kadm.NewClient(producer)
	meta, err := admin.BrokerMetadata(t.Context())
	require.NoError(t, err)
	return &world{
		t: t, brokers: brokers, cluster: meta.Cluster, ably: service, producer: producer, admin: admin,
		progress: &memory{marks: map[string]map[string]relay.Mark{}}, http: &http.Client{Transport: transport},
	}
}

// produce appends records and returns the last one's offset.
func (w *world) produce(records ...*kgo.Record) int64 {
	w.t.Helper()
	for _, r := range records {
		if r.Topic == "" {
			r.Topic = odds
		}
	}
	results := w.producer.ProduceSync(w.t.Context(), records...)
	require.NoError(w.t, results.FirstErr())
	return results[len(results)-1].Record.Offset
}

func record(partition int32, key, value string, headers ...string) *kgo.Record {
	r := &kgo.Record{Partition: partition, Key: []byte(key), Value: []byte(value)}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, "=")
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	return r
}

// snapshot is an odds message as the demo's app takes it.
func snapshot(n int) string { return fmt.Sprintf(`[{"name":"Car 1","imageURL":null,"odds":%d}]`, n) }

func channelOf(t *testing.T, text string) relay.Template {
	t.Helper()
	tmpl, err := relay.ParseChannelTemplate(text)
	require.NoError(t, err)
	return tmpl
}

func suspendedBy(t *testing.T, text string) relay.Suspension {
	t.Helper()
	s, err := relay.ParseSuspension(text)
	require.NoError(t, err)
	return s
}

// feed is a running relay.
type feed struct {
	*relay.Feed
	t        *testing.T
	registry *prometheus.Registry
	log      *logtest.Buffer
	cancel   context.CancelFunc
	ended    chan error
	once     sync.Once
}

// feed starts a relay, which ends with the test unless it is stopped before.
func (w *world) feed(change func(*relay.FeedConfig)) *feed {
	w.t.Helper()
	cfg := relay.FeedConfig{
		Cluster: relay.Cluster{Brokers: w.brokers}, Group: group,
		Routes: []relay.Route{{
			Topic: odds, Channel: channelOf(w.t, "outbound:odds:#{key}"), Conflate: true, DeadLetter: dead,
		}},
		Progress:    w.progress,
		CommitEvery: 20 * time.Millisecond,
		Backoff:     func(n int) time.Duration { return min(time.Duration(n)*10*time.Millisecond, 200*time.Millisecond) },
	}
	if change != nil {
		change(&cfg)
	}
	f := &feed{t: w.t, registry: prometheus.NewPedanticRegistry(), log: &logtest.Buffer{}, ended: make(chan error, 1)}
	cfg.Registerer, cfg.Log = f.registry, zerolog.New(f.log)
	if cfg.Publisher == nil {
		publisher, err := ablyfeed.New(ablyfeed.Config{Key: w.ably.Key(), URL: w.ably.URL()})
		require.NoError(w.t, err)
		w.t.Cleanup(func() { require.NoError(w.t, publisher.Close(context.Background())) })
		cfg.Publisher = publisher
	}
	var err error
	f.Feed, err = relay.NewFeed(cfg)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	f.cancel = cancel
	go func() { f.ended <- f.Run(ctx) }()
	w.t.Cleanup(f.stop)
	return f
}

func (f *feed) stop() {
	f.once.Do(func() {
		f.cancel()
		select {
		case err := <-f.ended:
			require.NoError(f.t, err)
		case <-time.After(patience):
			require.Fail(f.t, "the feed does not stop", "%s", f.log)
		}
	})
}

// metric sums a counter or gauge over the series that have all these label values.
func (f *feed) metric(name string, values ...string) (sum float64) {
	families, err := f.registry.Gather()
	require.NoError(f.t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	series:
		for _, m := range family.GetMetric() {
			have := map[string]bool{}
			for _, l := range m.GetLabel() {
				have[l.GetValue()] = true
			}
			for _, v := range values {
				if !have[v] {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// message is what a subscriber of a channel gets.
type message struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Data     string `json:"data"`
	Encoding string `json:"encoding"`
	Extras   struct {
		Headers map[string]any `json:"headers"`
	} `json:"extras"`
}

// idOf is the id of a message, whose record no second leader has written.
func (w *world) idOf(partition int32, offset int64) string {
	w.t.Helper()
	topics, err := w.admin.ListTopics(w.t.Context(), odds)
	require.NoError(w.t, err)
	topic := topics[odds]
	return fmt.Sprintf("%s/%s.%d/odds/%d/%d", w.cluster, base64.RawURLEncoding.EncodeToString(topic.ID[:]),
		topic.Partitions[partition].LeaderEpoch, partition, offset)
}

// offset is where the message's record stands.
func (m message) offset() int64 {
	n, err := strconv.ParseInt(m.ID[strings.LastIndexByte(m.ID, '/')+1:], 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// history returns the newest 1000 messages of a channel, oldest first.
func (w *world) history(channel string) (out []message) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet,
		w.ably.URL()+"/channels/"+url.PathEscape(channel)+"/messages?direction=forwards&limit=1000", nil)
	require.NoError(w.t, err)
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(w.ably.Key())))
	resp, err := w.http.Do(req)
	require.NoError(w.t, err)
	defer resp.Body.Close()
	require.Equal(w.t, http.StatusOK, resp.StatusCode)
	require.NoError(w.t, json.NewDecoder(resp.Body).Decode(&out))
	return out
}

func offsets(messages []message) []int64 {
	out := make([]int64, len(messages))
	for i, m := range messages {
		out[i] = m.offset()
	}
	return out
}

// deadLetters returns what is in the dead-letter topic.
func (w *world) deadLetters() (out []*kgo.Record) {
	w.t.Helper()
	ends, err := w.admin.ListEndOffsets(w.t.Context(), dead)
	require.NoError(w.t, err)
	end, _ := ends.Lookup(dead, 0)
	if end.Offset == 0 {
		return nil
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(dead), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(w.t, err)
	defer reader.Close()
	for int64(len(out)) < end.Offset {
		fetches := reader.PollFetches(w.t.Context())
		require.NoError(w.t, fetches.Err())
		out = append(out, fetches.Records()...)
	}
	return out
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// committed is the group's offset, -1 for none, or while no broker answers.
func (w *world) committed(partition int32) int64 {
	w.t.Helper()
	all, err := w.admin.FetchOffsets(w.t.Context(), group)
	o, ok := all.Lookup(odds, partition)
	if err != nil || !ok {
		return -1
	}
	return o.At
}

// patience is how long something may take that a busy machine does slowly.
const patience = 2 * time.Minute

// eventually waits for a condition.
func (w *world) eventually(f *feed, what string, condition func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.Fail(w.t, "never: "+what, "%s", f.log)
		}
	}
}

// has tells whether something was logged.
func (f *feed) has(text string) bool { return strings.Contains(f.log.String(), text) }

// memory is a Progress that survives relays, not processes.
type memory struct {
	mu    sync.Mutex
	marks map[string]map[string]relay.Mark
	used  []string // sources, each time that one was opened or used
	fail  error
}

// set makes every call fail, or none.
func (m *memory) set(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *memory) Open(_ context.Context, source string, end int64) (map[string]relay.Mark, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used = append(m.used, source)
	maps.DeleteFunc(m.marks[source], func(_ string, mark relay.Mark) bool { return mark.Offset >= end })
	return maps.Clone(m.marks[source]), m.fail
}

func (m *memory) Use(_ context.Context, sources []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used = append(m.used, sources...)
	return m.fail
}

func (m *memory) Save(_ context.Context, marks []relay.Mark) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	for _, mark := range marks {
		if m.marks[mark.Source] == nil {
			m.marks[mark.Source] = map[string]relay.Mark{}
		}
		old, again := m.marks[mark.Source][mark.Channel]
		if !again || mark.Epoch > old.Epoch || mark.Epoch == old.Epoch && mark.Offset > old.Offset {
			m.marks[mark.Source][mark.Channel] = mark
		}
	}
	return nil
}

func (m *memory) Forget(_ context.Context, source string, below int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.marks[source], func(_ string, mark relay.Mark) bool { return mark.Offset < below })
	return m.fail
}
