package betting_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/book"
)

// startCluster starts a broker on a free port.
func startCluster(t *testing.T, faults betting.BrokerFaults) *betting.Cluster {
	t.Helper()
	c, err := betting.StartCluster(t.Context(), betting.ClusterConfig{Seed: 1, Faults: faults})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// collected are records as they were read.
type collected struct {
	mu   sync.Mutex
	list []*kgo.Record
}

func (c *collected) all() []*kgo.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*kgo.Record{}, c.list...)
}

// collect reads topics until the test ends.
func collect(t *testing.T, broker string, topics ...string) *collected {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	c := &collected{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				c.mu.Lock()
				c.list = append(c.list, r)
				c.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait(); client.Close() })
	return c
}

// produce writes records, one after the other.
func produce(t *testing.T, broker string, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(t.Context(), records...).FirstErr())
}

func betRecord(id, runner, stake string, odds float64) *kgo.Record {
	value := fmt.Sprintf(`{"bet_id":%q,"event_id":"race-1","runner":%q,"user_id":"ada","authenticated":true,"stake":%s,"odds":%v,"placed_at":%d}`,
		id, runner, stake, odds, time.Now().UnixMilli())
	return &kgo.Record{Topic: betting.TopicBets, Key: []byte(id), Value: []byte(value)}
}

func aRace(status book.Status) betting.Race {
	return betting.Race{Name: "Copper Cup", Course: "Meydan", Event: book.Event{
		ID: "race-1", Status: status, StartsAt: time.Now().Add(time.Minute).Truncate(time.Millisecond),
		Runners: []book.Runner{{Name: "Car 1", Seed: 100_00}, {Name: "Car 2", Seed: 100_00}},
	}}
}

// Bets go in by Kafka, odds come out by Kafka, each bet counts once, and what is
// no bet stops nothing.
func TestProcessor(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t, betting.BrokerFaults{Refused: 0.1, AnswerLost: 0.1, Fetch: 0.05})
	decided := make(chan betting.Decided, 10)
	p, err := betting.NewProcessor(betting.ProcessorConfig{Broker: cluster.Broker(), OnBet: func(d betting.Decided) { decided <- d }})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done); p.Close() })
	odds := collect(t, cluster.Broker(), betting.TopicOdds)

	p.Race(ctx, aRace(book.Scheduled))
	// One partition, so that their order is that of the test.
	bets := []*kgo.Record{
		betRecord("m1", "Car 1", "20", 0.9),
		{Topic: betting.TopicBets, Value: []byte("no bet")},
		betRecord("m1", "Car 1", "20", 0.9), betRecord("m2", "Car 2", "0.50", 5), betRecord("m3", "Car 2", `"12.50"`, 1.1),
	}
	for _, b := range bets {
		b.Key = []byte("one")
	}
	produce(t, cluster.Broker(), bets...)

	got := map[string]betting.Decided{}
	for range 3 {
		d := <-decided
		got[d.ID] = d
	}
	require.Equal(t, book.Accepted, got["m1"].Verdict)
	require.Equal(t, book.Odds(900), got["m1"].Now)
	require.Equal(t, "Copper Cup", got["m1"].EventName)
	require.Equal(t, book.OddsMoved, got["m2"].Reason)
	require.Equal(t, book.Accepted, got["m3"].Verdict)
	require.Equal(t, book.Money(12_50), got["m3"].Stake)

	p.Race(ctx, aRace(book.Off))
	require.Eventually(t, func() bool { return len(odds.all()) == 4 }, time.Minute, 10*time.Millisecond)
	var values []float64
	for i, r := range odds.all() {
		require.Equal(t, "race-1", string(r.Key))
		var tiles []book.Tile
		require.NoError(t, json.Unmarshal(r.Value, &tiles))
		require.Len(t, tiles, 2)
		values = append(values, tiles[0].Odds)
		if i == 3 {
			require.Equal(t, []kgo.RecordHeader{{Key: "suspended", Value: []byte("true")}}, r.Headers)
		} else {
			require.Empty(t, r.Headers)
		}
	}
	require.Equal(t, []float64{0.9, 0.742, 0.841, 0.841}, values)
	require.Equal(t, betting.Place{Partition: odds.all()[1].Partition, Offset: odds.all()[1].Offset}, got["m1"].Place)
	require.Empty(t, decided)
}
