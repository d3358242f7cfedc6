package betting_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/sandbox/betting"
)

func TestClusterForgetsWhatIsOld(t *testing.T) {
	t.Parallel()
	c, err := betting.StartCluster(t.Context(), betting.ClusterConfig{Retention: time.Minute})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	now := time.Now()
	for _, at := range []time.Time{now.Add(-time.Hour), now.Add(-2 * time.Minute), now} {
		produce(t, c.Broker(), &kgo.Record{Topic: betting.TopicOdds, Key: []byte("race-1"), Value: []byte("[]"), Timestamp: at})
	}
	c.Tidy()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Broker()))
	require.NoError(t, err)
	defer client.Close()
	starts, err := kadm.NewClient(client).ListStartOffsets(t.Context(), betting.TopicOdds)
	require.NoError(t, err)
	require.NoError(t, starts.Error())
	var first int64
	starts.Each(func(o kadm.ListedOffset) { first += o.Offset })
	require.Equal(t, int64(2), first)
}

func TestPortOf(t *testing.T) {
	t.Parallel()
	port, err := betting.PortOf("127.0.0.1:17092")
	require.NoError(t, err)
	require.Equal(t, 17092, port)
	for _, addr := range []string{"127.0.0.1", "127.0.0.1:kafka"} {
		_, err := betting.PortOf(addr)
		require.Error(t, err)
	}
}

// A broker that is away takes nothing, and one that is back has what was promised.
func TestClusterFailsWhenTold(t *testing.T) {
	t.Parallel()
	c := startCluster(t, betting.BrokerFaults{})
	require.Error(t, c.SetFaults(betting.BrokerFaults{Refused: 2}))
	require.Error(t, c.SetFaults(betting.BrokerFaults{Commit: -1}))
	produce(t, c.Broker(), betRecord("m1", "Car 1", "2", 1))
	require.Empty(t, c.Faults())

	require.NoError(t, c.SetFaults(betting.BrokerFaults{Away: true}))
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Broker()), kgo.MetadataMinAge(100*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	done := make(chan error, 1)
	client.Produce(t.Context(), betRecord("m2", "Car 1", "2", 1), func(_ *kgo.Record, err error) { done <- err })
	require.Eventually(t, func() bool { return c.Faults()["away"] > 1 }, time.Minute, 10*time.Millisecond)
	require.Empty(t, done, "the broker is away")

	require.NoError(t, c.SetFaults(betting.BrokerFaults{AnswerLost: 1}))
	require.Eventually(t, func() bool { return c.Faults()["produce_answer_lost"] > 0 }, time.Minute, 10*time.Millisecond)
	require.NoError(t, c.SetFaults(betting.BrokerFaults{}))
	require.NoError(t, <-done)
	got := collect(t, c.Broker(), betting.TopicBets)
	require.Eventually(t, func() bool { return len(got.all()) >= 2 }, time.Minute, 10*time.Millisecond)
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), betting.TopicBets)
	require.NoError(t, err)
	var records int64
	ends.Each(func(o kadm.ListedOffset) { records += o.Offset })
	require.Equal(t, int64(2), records, "written twice")
}
