package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/bugle-push/bugle/internal/kafkatest"
	"github.com/bugle-push/bugle/relay"
	"github.com/bugle-push/bugle/relay/ablyfeed"
	"github.com/bugle-push/bugle/sandbox/ably"
)

// clock is Ably's.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// rewind makes the group begin at the start of the topic again, as if nothing had
// been committed before a crash.
func (w *world) rewind(partitions int32) {
	w.t.Helper()
	var offsets kadm.Offsets
	for p := range partitions {
		offsets.Add(kadm.Offset{Topic: odds, Partition: p, At: 0, LeaderEpoch: -1})
	}
	require.NoError(w.t, w.admin.CommitAllOffsets(w.t.Context(), group, offsets))
}

// A restart long after Ably has forgotten ids publishes the newest of each
// channel, and nothing before it.
func TestARestartPublishesNothingOld(t *testing.T) {
	var c clock
	w := newWorld(t, 2, ably.Config{Now: c.now, History: 10 * time.Hour})
	change := func(cfg *relay.FeedConfig) { cfg.Routes[0].Suspended = suspendedBy(t, "value.suspended") }
	f := w.feed(change)
	w.produce(record(0, "a", `{"n":0}`), record(1, "b", `{"n":0}`))
	w.eventually(f, "committed", func() bool { return w.committed(0) == 1 && w.committed(1) == 1 })
	w.produce(record(0, "a", `{"n":1,"suspended":true}`))
	w.eventually(f, "committed", func() bool { return w.committed(0) == 2 })
	f.stop()

	for n := 2; n < 100; n++ {
		w.produce(record(0, "a", fmt.Sprintf(`{"n":%d,"suspended":%t}`, n, n == 50)), record(1, "b", fmt.Sprintf(`{"n":%d}`, n)))
	}
	c.advance(time.Hour)
	f = w.feed(change)
	w.eventually(f, "committed", func() bool { return w.committed(0) == 100 && w.committed(1) == 99 })
	require.Equal(t, []int64{0, 1, 50, 99}, offsets(w.history("outbound:odds:a")))
	require.Equal(t, []int64{0, 98}, offsets(w.history("outbound:odds:b")))
	f.stop()

	// The same after a crash that has committed nothing: no suspension comes back.
	w.rewind(2)
	c.advance(time.Hour)
	f = w.feed(change)
	w.eventually(f, "committed", func() bool { return w.committed(0) == 100 && w.committed(1) == 99 })
	require.Equal(t, []int64{0, 1, 50, 99, 99}, offsets(w.history("outbound:odds:a")))
	require.Equal(t, []int64{0, 98, 98}, offsets(w.history("outbound:odds:b")))
	require.Positive(t, f.metric("bugle_relay_records_total", "known"))
}

// Without conflation a restart publishes what was in flight, and nothing that was
// published before, though nothing was committed and Ably has forgotten all.
func TestProgressOutlivesAblysMemory(t *testing.T) {
	var c clock
	w := newWorld(t, 1, ably.Config{Now: c.now, History: 10 * time.Hour, ChannelRate: -1})
	change := func(cfg *relay.FeedConfig) {
		cfg.Routes[0].Conflate = false
		cfg.ChannelRate = 1000
	}
	f := w.feed(change)
	for n := range 50 {
		w.produce(record(0, fmt.Sprint("event", n%3), snapshot(n)))
	}
	w.eventually(f, "committed", func() bool { return w.committed(0) == 50 })
	f.stop()
	w.rewind(1)
	c.advance(time.Hour)
	w.produce(record(0, "event0", snapshot(50)))
	f = w.feed(change)
	w.eventually(f, "committed", func() bool { return w.committed(0) == 51 })
	var all []int64
	for n := range 3 {
		all = append(all, offsets(w.history(fmt.Sprint("outbound:odds:event", n)))...)
	}
	slices.Sort(all)
	require.Len(t, all, 51)
	require.Len(t, slices.Compact(all), 51)
	require.InDelta(t, 50, f.metric("bugle_relay_records_total", "known"), 0)
}

// What is done is committed before a partition is given away, however long ago the
// last commit was: whoever gets it begins behind that.
func TestWhatIsDoneIsCommittedAtTheEnd(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	f := w.feed(func(cfg *relay.FeedConfig) { cfg.CommitEvery = time.Hour })
	w.produce(record(0, "a", snapshot(0)), record(0, "b", snapshot(1)))
	w.eventually(f, "published", func() bool { return f.metric("bugle_relay_records_total", "published") == 2 })
	require.EqualValues(t, -1, w.committed(0))
	f.stop()
	require.EqualValues(t, 2, w.committed(0))
}

// Partitions that go from one relay to another while records come take nothing
// back, lose nothing, and repeat nothing.
func TestPartitionsChangeHands(t *testing.T) { kafkatest.OwnBrokers(t, partitionsChangeHands) }

func partitionsChangeHands(t *testing.T, broker *kafkatest.Broker) {
	const partitions, each = 6, 60
	broker.CreateTopic(t, odds, partitions)
	broker.CreateTopic(t, dead, 1)
	w := newWorldAt(t, broker.Brokers(), ably.Config{ChannelRate: -1, Faults: ably.Faults{LatencyMin: time.Millisecond, LatencyMax: 5 * time.Millisecond}})
	change := func(cfg *relay.FeedConfig) {
		cfg.Routes[0].Conflate = false
		cfg.ChannelRate = 1000
	}
	first := w.feed(change)
	produce := func(from, to int) {
		for n := from; n < to; n++ {
			for p := range int32(partitions) {
				w.produce(record(p, fmt.Sprint("event", p), snapshot(n)))
			}
		}
	}
	produce(0, each/3)
	second := w.feed(change)
	produce(each/3, 2*each/3)
	w.eventually(second, "it has partitions", func() bool { return second.has("partition opened") })
	produce(2*each/3, each)
	first.stop()
	w.eventually(second, "all committed", func() bool {
		for p := range int32(partitions) {
			if w.committed(p) != each {
				return false
			}
		}
		return true
	})
	for p := range partitions {
		got := offsets(w.history(fmt.Sprint("outbound:odds:event", p)))
		want := make([]int64, each)
		for i := range want {
			want[i] = int64(i)
		}
		require.Equal(t, want, got, "partition %d", p)
	}
	require.Zero(t, w.ably.Stats().Duplicates, "nothing was published twice")
	total := first.metric("bugle_relay_records_total", "published") + second.metric("bugle_relay_records_total", "published")
	require.InDelta(t, partitions*each, total, 0)
	require.Positive(t, second.metric("bugle_relay_records_total", "published"))
}

// A broker that crashes and comes back costs no record and repeats none: what is
// read is published meanwhile, and what is done is committed later.
func TestTheBrokerCrashes(t *testing.T) {
	kafkatest.OwnBrokers(t, func(t *testing.T, broker *kafkatest.Broker) {
		broker.CreateTopic(t, odds, 2)
		broker.CreateTopic(t, dead, 1)
		w := newWorldAt(t, broker.Brokers(), ably.Config{ChannelRate: -1})
		f := w.feed(func(cfg *relay.FeedConfig) {
			cfg.Routes[0].Conflate = false
			cfg.ChannelRate = 1000
		})
		for n := range 50 {
			w.produce(record(int32(n%2), fmt.Sprint("event", n%2), snapshot(n)))
		}
		w.eventually(f, "the first is published", func() bool { return f.metric("bugle_relay_records_total", "published") > 0 })
		broker.Crash(t)
		broker.Resume(t)
		for n := range 50 {
			w.produce(record(int32(n%2), fmt.Sprint("event", n%2), snapshot(n)))
		}
		w.eventually(f, "committed", func() bool { return w.committed(0) == 50 && w.committed(1) == 50 })
		want := make([]int64, 50)
		for i := range want {
			want[i] = int64(i)
		}
		require.Equal(t, want, offsets(w.history("outbound:odds:event0")))
		require.Equal(t, want, offsets(w.history("outbound:odds:event1")))
		require.NoError(t, f.Check(t.Context()))
	})
}

// gate stands before Ably, and may answer in its place.
type gate struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	asked  atomic.Int64
}

func newGate(t *testing.T, behind http.Handler) *gate {
	g := &gate{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		answer := g.answer
		g.mu.Unlock()
		g.asked.Add(1)
		if answer != nil {
			answer(rw, r)
			return
		}
		behind.ServeHTTP(rw, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// set answers everything; nil lets it through.
func (g *gate) set(answer http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

func refusing(status, code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"message":"refused","code":%d,"statusCode":%d}}`, code, status)
	}
}

func (w *world) through(g *gate) func(*relay.FeedConfig) {
	return func(c *relay.FeedConfig) {
		publisher, err := ablyfeed.New(ablyfeed.Config{Key: w.ably.Key(), URL: g.URL})
		require.NoError(w.t, err)
		w.t.Cleanup(func() { require.NoError(w.t, publisher.Close(context.Background())) })
		c.Publisher = publisher
	}
}

// A key that is refused holds everything: nothing is dead-lettered or committed,
// readiness fails, and when the key is mended all goes on.
func TestARefusedKeyHoldsEverything(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	g := newGate(t, w.ably.Handler())
	g.set(refusing(http.StatusUnauthorized, 40101))
	f := w.feed(w.through(g))
	for n := range 20 {
		w.produce(record(0, fmt.Sprint("event", n), snapshot(n)))
	}
	w.eventually(f, "not ready", func() bool {
		return f.Check(t.Context()) != nil && f.metric("bugle_relay_attempts_total", "blocked") > 3
	})
	require.ErrorContains(t, f.Check(t.Context()), "40101")
	require.InDelta(t, 1, f.metric("bugle_relay_held", "credentials"), 0)
	require.Less(t, w.committed(0), int64(1))
	g.set(nil)
	w.eventually(f, "all committed", func() bool { return w.committed(0) == 20 })
	require.NoError(t, f.Check(t.Context()))
	require.Zero(t, f.metric("bugle_relay_held"))
	require.Zero(t, f.metric("bugle_relay_dead_letters_total"))
	require.NotContains(t, f.log.String(), w.ably.Key()[len(w.ably.Key())-8:])
}

// One channel that is over its rate, or not permitted, keeps no other waiting.
func TestOneChannelHoldsNoOther(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	g := newGate(t, w.ably.Handler())
	behind := w.ably.Handler()
	var denied atomic.Int64
	g.set(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/channels/outbound:odds:slow/messages":
			refusing(http.StatusTooManyRequests, 42913)(rw, r)
		case "/channels/outbound:odds:denied/messages":
			denied.Add(1)
			refusing(http.StatusUnauthorized, 40160)(rw, r)
		default:
			behind.ServeHTTP(rw, r)
		}
	})
	f := w.feed(w.through(g))
	w.produce(record(0, "slow", snapshot(1)), record(0, "denied", snapshot(2)), record(0, "a", snapshot(3)))
	w.eventually(f, "a is published, and the channel was denied", func() bool {
		return len(w.history("outbound:odds:a")) == 1 && denied.Load() > 0
	})
	w.produce(record(0, "b", snapshot(4)))
	w.eventually(f, "the denied one is buried", func() bool { return f.metric("bugle_relay_records_total", "dead_lettered") == 1 })
	require.Len(t, w.history("outbound:odds:b"), 1)
	require.Equal(t, "40160", header(w.deadLetters()[0], "bugle-code"))
	require.Equal(t, "outbound:odds:denied", header(w.deadLetters()[0], "bugle-channel"))
	require.Less(t, w.committed(0), int64(1), "the slow one is not done")
	require.NoError(t, f.Check(t.Context()))
	g.set(nil)
	w.eventually(f, "all committed", func() bool { return w.committed(0) == 4 })
	require.Len(t, w.history("outbound:odds:slow"), 1)
}

// A partition of which too much waits is not read until there is room.
func TestReadingWaitsForRoom(t *testing.T) {
	w := newWorld(t, 1, ably.Config{ChannelRate: -1})
	g := newGate(t, w.ably.Handler())
	g.set(refusing(http.StatusTooManyRequests, 42910))
	f := w.feed(func(c *relay.FeedConfig) {
		w.through(g)(c)
		c.Routes[0].Conflate = false
		c.MaxWaiting = 100
		c.ChannelRate = 10_000
	})
	w.produce(record(0, "a", snapshot(0)))
	w.eventually(f, "it waits", func() bool { return f.metric("bugle_relay_records_waiting") == 1 })
	more := func() {
		for n := range 30 {
			batch := make([]*kgo.Record, 100)
			for i := range batch {
				batch[i] = record(0, fmt.Sprint("event", i%10), snapshot(n))
			}
			w.produce(batch...)
		}
	}
	more()
	w.eventually(f, "paused", func() bool { return f.metric("bugle_relay_partition_paused") == 1 })
	more()
	require.Less(t, f.metric("bugle_relay_records_waiting"), 6001.0, "one poll too much at the most")
	g.set(nil)
	w.eventually(f, "all committed", func() bool { return w.committed(0) == 6001 })
	require.InDelta(t, 6001, f.metric("bugle_relay_records_total", "published"), 0)
	require.Zero(t, f.metric("bugle_relay_partition_paused"))
}

// Without its dead-letter topic nothing is committed past a poison record, and
// everything behind it is published all the same.
func TestDeadLettersAreAcknowledgedFirst(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	f := w.feed(func(c *relay.FeedConfig) { c.Routes[0].DeadLetter = "later" })
	w.produce(&kgo.Record{Value: []byte("without a key")}, record(0, "a", snapshot(1)))
	w.eventually(f, "the other is published", func() bool { return len(w.history("outbound:odds:a")) == 1 })
	w.eventually(f, "told", func() bool { return f.has("dead letter could not be produced") })
	require.Less(t, w.committed(0), int64(1))
	_, err := w.admin.CreateTopic(t.Context(), 1, 1, nil, "later")
	require.NoError(t, err)
	w.eventually(f, "committed", func() bool { return w.committed(0) == 2 })
	require.InDelta(t, 1, f.metric("bugle_relay_records_total", "dead_lettered"), 0)
}

// A database that is away holds what must be written down, and nothing else.
func TestTheDatabaseIsAway(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	f := w.feed(func(c *relay.FeedConfig) { c.Routes[0].Suspended = suspendedBy(t, "header.suspended") })
	w.produce(record(0, "a", snapshot(0)))
	w.eventually(f, "committed", func() bool { return w.committed(0) == 1 })
	w.progress.set(errors.New("away"))
	w.produce(record(0, "a", snapshot(1), "suspended=true"), record(0, "a", snapshot(2)), record(0, "b", snapshot(3)))
	w.eventually(f, "b is published", func() bool { return len(w.history("outbound:odds:b")) == 1 && f.has("progress could not be saved") })
	require.Equal(t, []int64{0, 1}, offsets(w.history("outbound:odds:a")), "what follows waits")
	require.EqualValues(t, 1, w.committed(0))
	w.progress.set(nil)
	w.eventually(f, "committed", func() bool { return w.committed(0) == 4 })
	require.Equal(t, []int64{0, 1, 2}, offsets(w.history("outbound:odds:a")))
}

// A partition that cannot be opened is told by readiness until it is.
func TestAPartitionThatCannotBeOpenedIsTold(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	w.progress.set(errors.New("away"))
	f := w.feed(func(c *relay.FeedConfig) { c.Routes[0].Conflate = false })
	w.produce(record(0, "a", snapshot(0)))
	w.eventually(f, "told", func() bool { return f.Check(t.Context()) != nil })
	require.ErrorContains(t, f.Check(t.Context()), "partition 0 of topic odds")
	require.Empty(t, w.history("outbound:odds:a"))
	w.progress.set(nil)
	w.eventually(f, "committed", func() bool { return w.committed(0) == 1 })
	require.NoError(t, f.Check(t.Context()))
}

// decoder knows one encoding: a byte and JSON behind it.
type decoder struct{ away atomic.Bool }

func (d *decoder) Decode(_ context.Context, topic string, value []byte) ([]byte, error) {
	switch {
	case topic != odds:
		return nil, errors.New("another topic")
	case d.away.Load():
		return nil, errors.New("the registry is away")
	case value[0] != 0:
		return nil, &relay.UndecodableError{Topic: topic, Reason: relay.BadValue, Err: errors.New("no magic byte")}
	}
	return value[1:], nil
}

// Values are decoded first; those that cannot be are buried, and while nobody
// knows they wait.
func TestValuesAreDecoded(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	d := &decoder{}
	d.away.Store(true)
	f := w.feed(func(c *relay.FeedConfig) {
		c.Decoder = d
		c.Routes[0].Channel = channelOf(t, "#{value.channel}")
		c.Routes[0].Conflate = false
	})
	w.produce(record(0, "k", "\x00"+`{"channel":"a"}`), record(0, "k", "\x01"), record(0, "k", "\x00"+`{"channel":"a","n":2}`))
	w.eventually(f, "told", func() bool { return f.has("values cannot be decoded for now") })
	require.ErrorContains(t, f.Check(t.Context()), "the registry is away")
	require.Less(t, w.committed(0), int64(1))
	d.away.Store(false)
	w.eventually(f, "committed", func() bool { return w.committed(0) == 3 })
	require.NoError(t, f.Check(t.Context()))
	got := w.history("a")
	require.Equal(t, []int64{0, 2}, offsets(got))
	require.JSONEq(t, `{"channel":"a"}`, got[0].Data)
	letter := w.deadLetters()[0]
	require.Equal(t, "bad_value", header(letter, "bugle-code"))
	require.Contains(t, header(letter, "bugle-reason"), "no magic byte")
}

// What is too old when its turn comes is not published, unless it suspends.
func TestMaxAge(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	f := w.feed(func(c *relay.FeedConfig) {
		c.Routes[0].MaxAge = time.Minute
		c.Routes[0].Suspended = suspendedBy(t, "header.suspended")
	})
	old := record(0, "a", snapshot(0))
	suspended := record(0, "b", snapshot(1), "suspended=true")
	for _, r := range []*kgo.Record{old, suspended} {
		r.Timestamp = time.Now().Add(-time.Hour)
	}
	w.produce(old, suspended, record(0, "c", snapshot(2)))
	w.eventually(f, "committed", func() bool { return w.committed(0) == 3 })
	require.Empty(t, w.history("outbound:odds:a"))
	require.Len(t, w.history("outbound:odds:b"), 1)
	require.Len(t, w.history("outbound:odds:c"), 1)
	require.InDelta(t, 1, f.metric("bugle_relay_records_total", "stale"), 0)
}

// A partition that was written in transactions ends with a marker that is no
// record; its end is reached all the same, at once.
func TestTransactionsAreReadToTheirEnd(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	tx, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.TransactionalID("ksql"), kgo.DefaultProduceTopic(odds))
	require.NoError(t, err)
	defer tx.Close()
	for n, commit := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryCommit, kgo.TryAbort} {
		require.NoError(t, tx.BeginTransaction())
		require.NoError(t, tx.ProduceSync(t.Context(), record(0, "a", snapshot(n))).FirstErr())
		require.NoError(t, tx.EndTransaction(t.Context(), commit))
	}
	f := w.feed(nil)
	// To join a group takes a while of its own.
	w.eventually(f, "opened", func() bool { return f.has("partition opened") })
	begun := time.Now()
	w.eventually(f, "published", func() bool { return len(w.history("outbound:odds:a")) > 0 })
	require.Less(t, time.Since(begun), 4*time.Second, "not by waiting for silence")
	w.eventually(f, "committed past the markers", func() bool { return w.committed(0) == 6 })
	got := w.history("outbound:odds:a")
	require.Equal(t, []int64{2}, offsets(got), "the newest that was committed")
	require.Equal(t, snapshot(1), got[0].Data)
}

// What a mark says of offsets that the partition does not have is about other
// records: the log has lost its end, or brokers without topic ids made it anew.
func TestMarksBeyondTheEndAreOfOtherRecords(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	meta, err := w.admin.Metadata(t.Context(), odds)
	require.NoError(t, err)
	source := fmt.Sprintf("%s/%s/%s/0", meta.Cluster, odds, meta.Topics[odds].ID)
	w.produce(record(0, "b", snapshot(0)), record(0, "b", snapshot(1)))
	require.NoError(t, w.progress.Save(t.Context(), []relay.Mark{
		{Source: source, Channel: "outbound:odds:a", Offset: 7, Epoch: 9}, {Source: source, Channel: "outbound:odds:b", Offset: 0, Epoch: -1},
	}))
	f := w.feed(func(cfg *relay.FeedConfig) { cfg.Routes[0].Conflate = false })
	w.eventually(f, "committed", func() bool { return w.committed(0) == 2 })
	w.produce(record(0, "a", snapshot(2)))
	w.eventually(f, "committed", func() bool { return w.committed(0) == 3 })
	require.Equal(t, []int64{2}, offsets(w.history("outbound:odds:a")))
	require.Equal(t, []int64{1}, offsets(w.history("outbound:odds:b")), "what a mark knows is not published again")
}

// A topic that is made anew counts from 0 again, and what it brings is not taken
// for what was published before, neither here nor by Ably within its two minutes.
func TestATopicIsMadeAnew(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	change := func(cfg *relay.FeedConfig) { cfg.Routes[0].Conflate = false }
	f := w.feed(change)
	w.produce(record(0, "a", snapshot(0)), record(0, "a", snapshot(1)))
	w.eventually(f, "committed", func() bool { return w.committed(0) == 2 })
	f.stop()

	w.makeAnew(snapshot(2))
	f = w.feed(change)
	w.eventually(f, "published", func() bool {
		got := w.history("outbound:odds:a")
		return len(got) == 3 && got[2].Data == snapshot(2)
	})
	w.eventually(f, "committed", func() bool { return w.committed(0) == 1 })
}

// A topic that is made anew while it is relayed is read from its beginning, without
// a restart, whatever is committed meanwhile for the one before.
func TestATopicIsMadeAnewWhileItIsRelayed(t *testing.T) {
	worlds := map[string]func(*testing.T) *world{
		"offsets by topic id": func(t *testing.T) *world { return newWorld(t, 1, ably.Config{}) },
		"offsets by name": func(t *testing.T) *world { // before Kafka 4.1
			return newWorldAt(t, newFake(t, 1, kfake.MaxVersions(kversion.V3_9_0())).ListenAddrs(), ably.Config{})
		},
	}
	for name, world := range worlds {
		t.Run(name, func(t *testing.T) {
			w := world(t)
			f, g := w.waiting()
			w.makeAnew(snapshot(3), snapshot(4), snapshot(5), snapshot(6), snapshot(7))
			g.set(nil) // the offset 3 will be committed, of a topic that is gone
			w.eventually(f, "published", func() bool { return len(w.history("outbound:odds:a")) == 8 })
			require.Equal(t, []int64{0, 1, 2, 0, 1, 2, 3, 4}, offsets(w.history("outbound:odds:a")))
			w.eventually(f, "committed", func() bool { return w.committed(0) == 5 })
			w.eventually(f, "ready", func() bool { return f.Check(t.Context()) == nil })
		})
	}
}

// Brokers without topic ids do not tell: the offsets go back, and the records' times
// tell their messages apart.
func TestATopicIsMadeAnewWithoutTopicIDs(t *testing.T) {
	w := newWorldAt(t, newFake(t, 1, kfake.MaxVersions(kversion.V2_7_0())).ListenAddrs(), ably.Config{})
	f, g := w.waiting()
	g.set(nil)
	w.eventually(f, "committed", func() bool { return w.committed(0) == 3 })
	w.makeAnew(snapshot(3), snapshot(4))
	w.eventually(f, "published", func() bool { return len(w.history("outbound:odds:a")) == 5 })
	got := w.history("outbound:odds:a")
	require.Equal(t, []int64{0, 1, 2, 0, 1}, offsets(got))
	require.Regexp(t, `^cluster1/t[0-9]{13}\.0/odds/0/1$`, got[4].ID)
	w.eventually(f, "committed", func() bool { return w.committed(0) == 2 })
}

// Dead letters go to their topic also after that was made anew.
func TestTheTopicOfDeadLettersIsMadeAnew(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	f := w.feed(nil)
	w.produce(&kgo.Record{Value: []byte("without a key")})
	w.eventually(f, "committed", func() bool { return w.committed(0) == 1 })
	_, err := w.admin.DeleteTopic(t.Context(), dead)
	require.NoError(t, err)
	_, err = w.admin.CreateTopic(t.Context(), 1, 1, nil, dead)
	require.NoError(t, err)
	w.produce(&kgo.Record{Value: []byte("another")})
	w.eventually(f, "committed", func() bool { return w.committed(0) == 2 })
	letters := w.deadLetters()
	require.Len(t, letters, 1)
	require.Equal(t, "another", string(letters[0].Value))
}

// waiting is a relay of every record that has published one, and has two more that
// wait for the gate.
func (w *world) waiting() (*feed, *gate) {
	w.t.Helper()
	g := newGate(w.t, w.ably.Handler())
	f := w.feed(func(cfg *relay.FeedConfig) {
		w.through(g)(cfg)
		cfg.Routes[0].Conflate = false
	})
	w.produce(record(0, "a", snapshot(0)))
	w.eventually(f, "committed", func() bool { return w.committed(0) == 1 })
	g.set(refusing(http.StatusTooManyRequests, 42913))
	w.produce(record(0, "a", snapshot(1)), record(0, "a", snapshot(2)))
	w.eventually(f, "they wait", func() bool { return f.metric("bugle_relay_records_waiting") == 2 })
	return f, g
}

// makeAnew deletes the topic and makes it again, with these records of the key a.
func (w *world) makeAnew(values ...string) {
	w.t.Helper()
	_, err := w.admin.DeleteTopic(w.t.Context(), odds)
	require.NoError(w.t, err)
	_, err = w.admin.CreateTopic(w.t.Context(), 1, 1, nil, odds)
	require.NoError(w.t, err)
	fresh, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...)) // the world's own client holds on to the old topic
	require.NoError(w.t, err)
	defer fresh.Close()
	for _, value := range values {
		r := record(0, "a", value)
		r.Topic = odds
		require.NoError(w.t, fresh.ProduceSync(w.t.Context(), r).FirstErr())
	}
}
