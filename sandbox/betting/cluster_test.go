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
	c, err := betting.StartCluster(betting.ClusterConfig{Retention: time.Minute})
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
