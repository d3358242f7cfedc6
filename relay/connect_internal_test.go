package relay

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
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
