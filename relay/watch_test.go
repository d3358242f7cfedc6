package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/relay"
)

const topic = "odds"

// soon is how long a test waits for what must come at once.
const soon = time.Minute

// kafka is a broker in the process, with a client for the test.
type kafka struct {
	*kfake.Cluster
	client *kgo.Client
	admin  *kadm.Client
}

func newKafka(t testing.TB, opts ...kfake.Opt) *kafka {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return &kafka{Cluster: c, client: client, admin: kadm.NewClient(client)}
}

func (k *kafka) produce(t testing.TB, partition int32, key string, value []byte) {
	t.Helper()
	require.NoError(t, k.client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: value}).FirstErr())
}

// watcher is a running Watch.
type watcher struct {
	*relay.Watch
	board *relay.Board
	log   *logtest.Buffer
	stop  func()
}

func (k *kafka) watch(t testing.TB, change ...func(*relay.WatchConfig)) *watcher {
	t.Helper()
	w := &watcher{board: newBoard(t, relay.BoardConfig{}), log: &logtest.Buffer{}}
	cfg := relay.WatchConfig{
		Cluster: relay.Cluster{Brokers: k.ListenAddrs()}, Topic: topic, Board: w.board,
		Log: zerolog.New(w.log), CheckEvery: 200 * time.Millisecond,
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	w.Watch, err = relay.NewWatch(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(w.stop)
	return w
}

func (w *watcher) requireOdds(t testing.TB, event, want string) {
	t.Helper()
	var got string
	require.Eventually(t, func() bool {
		s, err := w.board.Latest(event)
		if err != nil {
			got = err.Error()
			return want == ""
		}
		got = string(s.Odds)
		return got == want
	}, soon, 10*time.Millisecond, "%s: want %q", event, want)
	_ = got
}

func (w *watcher) requireReady(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool { return w.Check(t.Context()) == nil }, soon, 10*time.Millisecond)
}

func TestAWatchReadsTheTopicToItsEndAndGoesOn(t *testing.T) {
	t.Parallel()
	k := newKafka(t, kfake.SeedTopics(3, topic))
	for i := range 300 {
		k.produce(t, int32(i%3), fmt.Sprintf("e%d", i%30), fmt.Appendf(nil, "[%d]", i))
	}
	k.produce(t, 1, "e1", nil)
	k.produce(t, 0, "poison", []byte("{"))
	metrics := prometheus.NewRegistry()
	w := k.watch(t, func(c *relay.WatchConfig) { c.Registerer = metrics })
	require.ErrorContains(t, w.Check(t.Context()), "not read yet")
	w.requireReady(t)
	for i := range 30 {
		s, err := w.board.Latest(fmt.Sprintf("e%d", i))
		if i == 1 {
			require.ErrorIs(t, err, relay.ErrNoOdds)
			continue
		}
		require.NoError(t, err, "ready means that all of it is there")
		require.Equal(t, fmt.Sprintf("[%d]", 270+i), string(s.Odds))
	}
	k.produce(t, 0, "e0", []byte("[1000]"))
	w.requireOdds(t, "e0", "[1000]")
	k.produce(t, 0, "e0", nil)
	w.requireOdds(t, "e0", "")
	w.requireReady(t)
	require.Contains(t, w.log.String(), `"message":"odds caught up"`)
	require.Contains(t, w.log.String(), `"message":"record of odds refused"`)
	n, err := testutil.GatherAndCount(metrics, "bugle_odds_lag_records", "bugle_odds_caught_up")
	require.NoError(t, err)
	require.Equal(t, 2, n)

	groups, err := k.admin.ListGroups(t.Context())
	require.NoError(t, err)
	require.Empty(t, groups, "a watch belongs to no group")
}

// Ids are Kafka positions, so that a client goes on at another replica.
func TestAStreamGoesOnAtAnotherReplica(t *testing.T) {
	t.Parallel()
	k := newKafka(t, kfake.SeedTopics(2, topic))
	k.produce(t, 1, "e1", []byte("[1]"))
	first, second := k.watch(t), k.watch(t)
	first.requireReady(t)
	second.requireReady(t)
	read := func(w *watcher, last string) sse {
		s, err := w.board.Stream("e1", relay.ParsePosition(last))
		require.NoError(t, err)
		defer s.End(relay.EndClient)
		frame, err := s.Next(t.Context(), 100*time.Millisecond)
		if err != nil {
			require.ErrorIs(t, err, relay.ErrHeartbeat)
			return sse{}
		}
		return parseSSE(t, frame)
	}
	seen := read(first, "")
	require.Contains(t, seen.data, `"odds":[1]`)
	require.Equal(t, sse{}, read(second, seen.id), "it has what there is")
	k.produce(t, 1, "e1", []byte("[2]"))
	second.requireOdds(t, "e1", "[2]")
	require.Contains(t, read(second, seen.id).data, `"odds":[2]`)
}

func TestAWatchWaitsForABrokerAndATopic(t *testing.T) {
	t.Parallel()
	k := newKafka(t)
	w := k.watch(t)
	require.Eventually(t, func() bool {
		err := w.Check(t.Context())
		return err != nil && bytes.Contains([]byte(err.Error()), []byte(kerr.UnknownTopicOrPartition.Message))
	}, soon, 10*time.Millisecond)
	_, err := k.admin.CreateTopic(t.Context(), 1, 1, nil, topic)
	require.NoError(t, err)
	k.produce(t, 0, "e1", []byte("[1]"))
	w.requireOdds(t, "e1", "[1]")
	w.requireReady(t)
}

func TestAWatchSaysThatItIsBehind(t *testing.T) {
	t.Parallel()
	k := newKafka(t, kfake.SeedTopics(1, topic))
	k.produce(t, 0, "e1", []byte("[1]"))
	w := k.watch(t)
	w.requireReady(t)
	var mu sync.Mutex
	broken := true
	k.ControlKey(int16(kmsg.ListOffsets), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		return nil, fmt.Errorf("cut"), broken
	})
	require.Eventually(t, func() bool { return w.Check(t.Context()) != nil }, soon, 10*time.Millisecond)
	require.ErrorContains(t, w.Check(t.Context()), "the odds are behind")
	s, err := w.board.Latest("e1")
	require.NoError(t, err, "what is known is still served, with its age")
	require.Equal(t, "[1]", string(s.Odds))
	mu.Lock()
	broken = false
	mu.Unlock()
	w.requireReady(t)
}

func TestATopicThatIsMadeAnewOrGrowsIsReadAgain(t *testing.T) {
	t.Parallel()
	k := newKafka(t, kfake.SeedTopics(1, topic))
	for i := range 5 {
		k.produce(t, 0, fmt.Sprint(i), []byte("[1]"))
	}
	w := k.watch(t)
	w.requireReady(t)
	_, err := k.admin.CreatePartitions(t.Context(), 2, topic)
	require.NoError(t, err)
	k.client.ForceMetadataRefresh()
	require.Eventually(t, func() bool {
		return k.client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: 2, Key: []byte("0"), Value: []byte("[2]")}).FirstErr() == nil
	}, soon, 100*time.Millisecond)
	w.requireOdds(t, "0", "[2]")
	w.requireOdds(t, "4", "[1]")

	_, err = k.admin.DeleteTopics(t.Context(), topic)
	require.NoError(t, err)
	_, err = k.admin.CreateTopic(t.Context(), 1, 1, nil, topic)
	require.NoError(t, err)
	fresh, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...))
	require.NoError(t, err)
	defer fresh.Close()
	require.NoError(t, fresh.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte("0"), Value: []byte("[3]")}).FirstErr())
	w.requireOdds(t, "0", "[3]")
	w.requireOdds(t, "4", "")
}

// The end of a transaction and an aborted record are offsets that no consumer
// is given: they must not look like something that is still to be read.
func TestTransactionsCountAsRead(t *testing.T) {
	t.Parallel()
	k := newKafka(t, kfake.SeedTopics(1, topic))
	producer, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.TransactionalID("tx"), kgo.DefaultProduceTopic(topic))
	require.NoError(t, err)
	defer producer.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		require.NoError(t, producer.BeginTransaction())
		require.NoError(t, producer.ProduceSync(t.Context(), kgo.KeyStringRecord("e1", fmt.Sprintf("[%d]", i+1))).FirstErr())
		require.NoError(t, producer.EndTransaction(t.Context(), end))
	}
	w := k.watch(t)
	w.requireReady(t)
	w.requireOdds(t, "e1", "[1]")
}

// gapBeforeTheEnd makes a broker say that each partition ends at offset 5, as it
// does when compaction has taken the last records away.
func gapBeforeTheEnd(k *kfake.Cluster) {
	k.ControlKey(int16(kmsg.ListOffsets), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req, _ := kreq.(*kmsg.ListOffsetsRequest)
		resp, _ := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewListOffsetsResponseTopic()
			st.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				sp := kmsg.NewListOffsetsResponseTopicPartition()
				sp.Partition, sp.Offset, sp.LeaderEpoch = rp.Partition, 0, 0
				if rp.Timestamp == -1 {
					sp.Offset = 5
				}
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
}

// Compaction may take the last records away, so that the end of a partition is
// beyond anything that a consumer is given.
func TestAGapBeforeTheEndCountsAsRead(t *testing.T) {
	t.Parallel()
	k := newKafka(t, kfake.SeedTopics(1, topic))
	k.produce(t, 0, "e1", []byte("[1]"))
	gapBeforeTheEnd(k.Cluster)
	w := k.watch(t, func(c *relay.WatchConfig) { c.CheckEvery = 5 * time.Second })
	w.requireReady(t)
	w.requireOdds(t, "e1", "[1]")
}

// While the registry is away, records whose schema is known pass; the newest of
// the others are taken once it is back, and never lost.
func TestAWatchOutlivesAnOutageOfTheRegistry(t *testing.T) {
	t.Parallel()
	k := newKafka(t, kfake.SeedTopics(1, topic))
	f := newFakeRegistry(t)
	f.schemas[1] = fakeSchema{Schema: `"int"`}
	f.schemas[2] = fakeSchema{Schema: `"string"`}
	k.produce(t, 0, "old", framed(1, []byte{2}))
	w := k.watch(t, func(c *relay.WatchConfig) { c.Decoder = f.decoder(t) })
	w.requireOdds(t, "old", "1")
	w.requireReady(t)
	f.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	k.produce(t, 0, "new", framed(2, []byte{2, 'a'}))
	k.produce(t, 0, "new", framed(2, []byte{2, 'b'}))
	k.produce(t, 0, "other", framed(2, []byte{2, 'c'}))
	k.produce(t, 0, "other", framed(1, []byte{4}))
	k.produce(t, 0, "old", framed(1, []byte{6}))
	k.produce(t, 0, "poison", framed(1, []byte{6, 6}))
	k.produce(t, 0, "plain", []byte("[9]"))
	w.requireOdds(t, "plain", "[9]")
	w.requireOdds(t, "old", "3")
	w.requireOdds(t, "other", "2")
	w.requireOdds(t, "new", "")
	require.Eventually(t, func() bool { return w.Check(t.Context()) != nil }, soon, 10*time.Millisecond)
	require.ErrorContains(t, w.Check(t.Context()), "schema registry")
	f.set(nil)
	w.requireOdds(t, "new", `"b"`)
	w.requireReady(t)
	w.requireOdds(t, "other", "2")
	w.requireOdds(t, "poison", "")
}

func TestAWatchNeedsATopicAndABoard(t *testing.T) {
	t.Parallel()
	_, err := relay.NewWatch(relay.WatchConfig{Cluster: relay.Cluster{Brokers: []string{"127.0.0.1:1"}}, Topic: topic})
	require.ErrorContains(t, err, "required")
	_, err = relay.NewWatch(relay.WatchConfig{Topic: topic, Board: newBoard(t, relay.BoardConfig{})})
	require.ErrorContains(t, err, "no brokers")
}
