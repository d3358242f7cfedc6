package relay

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/kafkatest"
)

// early is a group that assigns before the client is made.
type early struct{ assign func(*kgo.Client) }

func (e early) OnNewClient(c *kgo.Client) { e.assign(c) }

// A partition may be assigned while the client is still being made: its work
// must not begin without one.
func TestAPartitionAssignedAtOnceFindsItsClient(t *testing.T) {
	t.Parallel()
	f := &Feed{}
	var ready bool
	began := make(chan struct{})
	hook := early{assign: func(c *kgo.Client) {
		go func() {
			defer close(began)
			f.onAssigned(context.Background(), c, map[string][]int32{"another topic": {0}})
			ready = f.client == c && f.admin != nil
		}()
		select {
		case <-began: // it did not wait
		case <-time.After(100 * time.Millisecond):
		}
	}}
	require.NoError(t, f.connect(kgo.SeedBrokers("127.0.0.1:1"), kgo.WithHooks(hook)))
	t.Cleanup(f.client.Close)
	<-began
	require.True(t, ready)
}

// Until the group has been left, partitions may still be assigned: nothing of them
// is begun, which the end would not wait for.
func TestNothingBeginsWhileTheFeedEnds(t *testing.T) {
	t.Parallel()
	f := feedOf(t, taking{}, "127.0.0.1:1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, f.Run(ctx))
	f.onAssigned(t.Context(), f.client, map[string][]int32{"odds": {0}})
	require.Empty(t, f.parts)
}

// The id of a topic is the one that it has now, not one that the client remembers.
func TestATopicIsIdentifiedAsItIsNow(t *testing.T) {
	t.Parallel()
	broker := kafkatest.Fake(t)
	broker.CreateTopic(t, "odds", 1)
	f := feedOf(t, taking{}, broker.Brokers()...)
	require.NoError(t, f.connect(kgo.SeedBrokers(broker.Brokers()...)))
	t.Cleanup(f.client.Close)
	before, err := f.admin.Metadata(t.Context(), "odds")
	require.NoError(t, err)
	cluster, ids, err := f.identify(t.Context(), "odds")
	require.NoError(t, err)
	require.Equal(t, before.Cluster, cluster)
	require.Equal(t, before.Topics["odds"].ID, ids["odds"])

	_, err = kadm.NewClient(broker.Client(t)).DeleteTopic(t.Context(), "odds")
	require.NoError(t, err)
	_, ids, err = f.identify(t.Context(), "odds")
	require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
	require.Empty(t, ids)
	broker.CreateTopic(t, "odds", 1)
	_, ids, err = f.identify(t.Context(), "odds")
	require.NoError(t, err)
	require.NotEqual(t, before.Topics["odds"].ID, ids["odds"])
}
