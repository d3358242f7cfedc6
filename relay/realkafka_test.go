package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/kafkatest"
	"github.com/bugle-push/bugle/sandbox/ably"
)

// rig is a real Kafka with two topics, an Ably, and relays in processes.
type rig struct {
	*world
	broker   *kafkatest.Broker
	observer *observer
	settings relaySettings
	// want are the offsets of each channel.
	mu   sync.Mutex
	want map[string][]int64
}

const rigPartitions, rigChannels = 6, 24

func newRig(t *testing.T, broker *kafkatest.Broker) *rig {
	t.Helper()
	w := newWorldAt(t, broker.Brokers(), ably.Config{ChannelRate: -1, ChannelByteRate: -1})
	progress := httptest.NewServer(http.HandlerFunc(w.progress.serve))
	t.Cleanup(progress.Close)
	r := &rig{world: w, broker: broker, observer: newObserver(t, w.ably.URL(), w.progress), want: map[string][]int64{}}
	r.settings = relaySettings{
		Brokers: broker.Brokers(), Group: kafkatest.Name(t), Key: w.ably.Key(), Progress: progress.URL, Session: 3 * time.Second,
		Every: broker.Topic(t, rigPartitions), Newest: broker.Topic(t, rigPartitions), Dead: broker.Topic(t, 1),
	}
	return r
}

// relay starts one, with its link to Ably.
func (r *rig) relay() (*relayProcess, *link) {
	r.t.Helper()
	s, l := r.settings, r.observer.link()
	s.URL = l.url
	return startRelay(r.t, s), l
}

// until waits for a condition.
func until(t *testing.T, condition func() bool, never string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.FailNow(t, "it never comes: "+fmt.Sprintf(never, args...))
		}
	}
}

// shared waits until so many relays have partitions of both topics.
func (r *rig) shared(relays int) {
	r.t.Helper()
	until(r.t, func() bool {
		groups, err := r.admin.DescribeGroups(r.t.Context(), r.settings.Group)
		if err != nil {
			return false
		}
		g := groups[r.settings.Group]
		all, members := 0, 0
		for _, m := range g.Members {
			assigned, ok := m.Assigned.AsConsumer()
			if !ok {
				return false
			}
			n := 0
			for _, topic := range assigned.Topics {
				n += len(topic.Partitions)
			}
			all += n
			if n > 0 {
				members++
			}
		}
		return g.State == "Stable" && members == relays && all == 2*rigPartitions
	}, "a group shared by %d relays", relays)
}

// produce writes rounds of one record for each channel to both topics.
func (r *rig) round(n int) {
	var records []*kgo.Record
	for ch := range rigChannels {
		for _, topic := range []string{r.settings.Every, r.settings.Newest} {
			rec := record(int32(ch%rigPartitions), fmt.Sprintf("event%d", ch), snapshot(n))
			rec.Topic = topic
			records = append(records, rec)
		}
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	require.NoError(r.t, r.producer.ProduceSync(ctx, records...).FirstErr())
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range records {
		channel := rec.Topic + ":" + string(rec.Key)
		r.want[channel] = append(r.want[channel], rec.Offset)
	}
}

// arrived waits until everything is published, and holds it against what was produced.
func (r *rig) arrived() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for channel, want := range r.want {
		last := want[len(want)-1]
		var got []int64
		until(r.t, func() bool {
			got = offsets(r.history(channel))
			return slices.Contains(got, last)
		}, "the last record on %s", channel)
		if channel[:len(r.settings.Every)] == r.settings.Every {
			require.Equal(r.t, want, got, channel)
			continue
		}
		require.True(r.t, slices.IsSortedFunc(got, func(a, b int64) int {
			if a >= b { // neither back nor twice
				return 1
			}
			return -1
		}), "%s: %v", channel, got)
	}
	r.observer.noFaults()
}

// Relays come, go, and are killed while records keep coming. On no channel does
// an offset come after a newer one; of the topic that does not conflate each
// record is published, once, and of the other the newest. What is attempted a
// second time had an unknown outcome, because the one relay was killed before it
// heard of it, and carries the id that it had.
func TestRealKafkaHandsOverWhenARelayIsKilled(t *testing.T) {
	const rounds = 150
	r := newRig(t, kafkatest.Apache(t))
	first, link := r.relay()
	r.shared(1)
	r.relay()
	r.shared(2)

	at := make(chan int, rounds)
	produced := make(chan struct{})
	go func() {
		defer close(produced)
		for n := range rounds {
			r.round(n)
			at <- n
			time.Sleep(30 * time.Millisecond) // the pace of a market
		}
	}()
	await := func(n int) {
		for got := range at {
			if got == n {
				return
			}
		}
	}
	await(rounds / 5)
	link.hold()
	until(t, func() bool { return link.kept.Load() >= rigChannels/2 }, "publishes in flight")
	first.kill(t) // its partitions go to the second when its session has ended
	link.giveUp()
	await(rounds * 2 / 5)
	third, _ := r.relay()
	r.shared(2)
	await(rounds * 4 / 5)
	third.stop(t)
	r.shared(1)
	<-produced
	r.arrived()
	require.Positive(t, r.observer.repeated())
	require.LessOrEqual(t, r.observer.repeated(), int(link.kept.Load()))
	require.Empty(t, r.broker.Records(t, r.settings.Dead))
}

// The suite of the feed, on Apache Kafka.
func TestRealKafkaRunsTheFeed(t *testing.T) {
	kafkatest.Apache(t)
	for name, test := range map[string]func(*testing.T){
		"ARecordBecomesAMessage":          TestARecordBecomesAMessage,
		"FaultsKeepOrderAndNumber":        TestFaultsKeepOrderAndNumber,
		"ConflationUnderLoad":             TestConflationUnderLoad,
		"PoisonIsBuriedAndNothingWaits":   TestPoisonIsBuriedAndNothingWaits,
		"ARestartPublishesNothingOld":     TestARestartPublishesNothingOld,
		"ProgressOutlivesAblysMemory":     TestProgressOutlivesAblysMemory,
		"ARefusedKeyHoldsEverything":      TestARefusedKeyHoldsEverything,
		"OneChannelHoldsNoOther":          TestOneChannelHoldsNoOther,
		"ReadingWaitsForRoom":             TestReadingWaitsForRoom,
		"DeadLettersAreAcknowledgedFirst": TestDeadLettersAreAcknowledgedFirst,
		"TheDatabaseIsAway":               TestTheDatabaseIsAway,
		"ValuesAreDecoded":                TestValuesAreDecoded,
		"MaxAge":                          TestMaxAge,
		"TransactionsAreReadToTheirEnd":   TestTransactionsAreReadToTheirEnd,
		"ATopicIsMadeAnew":                TestATopicIsMadeAnew,
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(onApache, "yes")
			test(t)
		})
	}
}

// The broker is killed while two relays work. They go on when it is back, and
// nothing is published again that was noted.
func TestRealKafkaMayCrashUnderRelays(t *testing.T) {
	const rounds = 60
	r := newRig(t, kafkatest.OwnApache(t))
	r.relay()
	r.relay()
	r.shared(2)
	for n := range rounds {
		r.round(n)
		if n == rounds/2 {
			r.broker.Crash(t)
			r.broker.Resume(t)
		}
	}
	r.arrived()
	require.Empty(t, r.broker.Records(t, r.settings.Dead))
}
