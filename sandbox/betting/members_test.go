package betting_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bugle-push/bugle/sandbox/betting"
)

// A process that is killed while it waits to join a group holds its share of the
// partitions no longer than its session lasts.
func TestAMemberThatDiedWhileJoiningIsForgotten(t *testing.T) {
	t.Parallel()
	const group = "relay"
	c := startCluster(t, betting.BrokerFaults{})
	observer := clientOf(t, c)
	holds := func() map[string]int { // partitions by member
		all, err := kadm.NewClient(observer).DescribeGroups(t.Context(), group)
		require.NoError(t, err)
		out := map[string]int{}
		for _, m := range all[group].Members {
			out[m.MemberID] = 0
			if a, ok := m.Assigned.AsConsumer(); ok {
				for _, topic := range a.Topics {
					out[m.MemberID] += len(topic.Partitions)
				}
			}
		}
		return out
	}

	// One lives. It does not let go of what it has before it is told to.
	alive := clientOf(t, c, kgo.ConsumerGroup(group), kgo.ConsumeTopics(betting.TopicOdds), kgo.Balancers(kgo.RangeBalancer()),
		kgo.BlockRebalanceOnPoll(), kgo.HeartbeatInterval(100*time.Millisecond))
	produce(t, c.Broker(), &kgo.Record{Topic: betting.TopicOdds, Value: []byte("[]")})
	require.NoError(t, alive.PollFetches(t.Context()).Err())
	require.Len(t, holds(), 1)

	// The other waits for that, and dies.
	dead := clientOf(t, c)
	first, err := joinRequest(t, group, "").RequestWith(t.Context(), dead)
	require.NoError(t, err)
	require.Equal(t, kerr.MemberIDRequired.Code, first.ErrorCode)
	ghost := first.MemberID
	ctx, die := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := joinRequest(t, group, ghost).RequestWith(ctx, dead)
		ended <- err
	}()
	require.Eventually(t, func() bool { return len(holds()) == 2 }, time.Minute, 10*time.Millisecond)
	die()
	require.ErrorIs(t, <-ended, context.Canceled)
	dead.Close()

	alive.AllowRebalance()
	require.Eventually(t, func() bool { return holds()[ghost] == betting.Partitions/2 }, time.Minute, 10*time.Millisecond,
		"the group has not got its ghost")
	require.Eventually(t, func() bool {
		now := holds()
		_, there := now[ghost]
		return !there && len(now) == 1 && slices.Contains(slices.Collect(maps.Values(now)), betting.Partitions)
	}, time.Minute, 50*time.Millisecond)
}

func clientOf(t *testing.T, c *betting.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.Broker()))...)
	require.NoError(t, err)
	t.Cleanup(client.CloseAllowingRebalance)
	return client
}

// joinRequest asks to join a group that reads odds, with the shortest session that
// a broker allows.
func joinRequest(t *testing.T, group, id string) *kmsg.JoinGroupRequest {
	t.Helper()
	reads := kmsg.NewConsumerMemberMetadata()
	reads.Topics = []string{betting.TopicOdds}
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = kgo.RangeBalancer().ProtocolName(), reads.AppendTo(nil)
	r := kmsg.NewPtrJoinGroupRequest()
	r.Group, r.MemberID, r.ProtocolType = group, id, "consumer"
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 6000, 60_000
	r.Protocols = append(r.Protocols, protocol)
	return r
}
