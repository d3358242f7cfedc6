package relay_test

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bugle-push/bugle/sandbox/ably"
)

func newFake(t *testing.T, partitions int32, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	k, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.ClusterID("cluster1"), kfake.SeedTopics(partitions, odds), kfake.SeedTopics(1, dead))...)
	require.NoError(t, err)
	t.Cleanup(k.Close)
	return k
}

// A broker that falls silent in the middle of what is to be read, as one does
// that holds a client back for its quota, has not said that this was all: what
// was read so far is old, and is not published.
func TestSilenceIsNotTheEnd(t *testing.T) {
	t.Parallel()
	const records = 20 // of 60 kB: more than one answer has of a partition, which is 1 MiB
	k := newFake(t, 1)
	w := newWorldAt(t, k.ListenAddrs(), ably.Config{})
	for n := range records {
		pad := make([]byte, 30_000) // which no compression makes smaller
		_, _ = rand.Read(pad)
		w.produce(record(0, "a", fmt.Sprintf(`{"n":%d,"pad":"%x"}`, n, pad)))
	}
	release := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() {
		select {
		case <-release:
		default:
			close(release)
		}
	}))
	var reads atomic.Int64
	k.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		if reads.Add(1) > 1 {
			k.SleepControl(func() { <-release })
		}
		return nil, nil, false
	})
	f := w.feed(nil)
	w.eventually(f, "it waits for the rest", func() bool { return reads.Load() > 1 })
	// Longer than the silence after which the leader is asked.
	require.Never(t, func() bool { return len(w.history("outbound:odds:a")) > 0 }, 7*time.Second, 100*time.Millisecond)
	close(release)
	w.eventually(f, "committed", func() bool { return w.committed(0) == records })
	require.Equal(t, []int64{records - 1}, offsets(w.history("outbound:odds:a")), "the newest, and nothing before it")
}

// Compaction may take the last records away, so that the end of a partition is
// beyond anything that a consumer is given. Its leader says that nothing is left.
func TestAGapBeforeTheEndHoldsNothingUp(t *testing.T) {
	t.Parallel()
	k := newFake(t, 1)
	w := newWorldAt(t, k.ListenAddrs(), ably.Config{})
	w.produce(record(0, "a", snapshot(0)))
	gapBeforeTheEnd(k)
	f := w.feed(nil)
	w.eventually(f, "published", func() bool { return len(w.history("outbound:odds:a")) == 1 })
}
