package relay

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/kafkatest"
)

func feedOf(t *testing.T, publisher Publisher, brokers ...string) *Feed {
	t.Helper()
	channel, err := ParseChannelTemplate("#{key}")
	require.NoError(t, err)
	f, err := NewFeed(FeedConfig{
		Cluster: Cluster{Brokers: brokers}, Group: "g", Publisher: publisher,
		Routes:      []Route{{Topic: "odds", Channel: channel, Conflate: true, DeadLetter: "dead"}},
		CommitEvery: 20 * time.Millisecond,
		Backoff:     func(int) time.Duration { return 10 * time.Millisecond },
	})
	require.NoError(t, err)
	return f
}

// fetched is what a poll hands over.
func fetched(records ...*kgo.Record) kgo.Fetches {
	return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "odds", Partitions: []kgo.FetchPartition{{Records: records}}}}}}
}

// holding is a feed that has a partition with one request in flight, whose
// offsets go back.
func holding(t *testing.T) (f *Feed, before, after *partition) {
	t.Helper()
	f = feedOf(t, taking{}, "127.0.0.1:1")
	f.work = t.Context()
	before = newPartition(f.work, topicPartition{"odds", 0}, f.routes["odds"])
	before.prefix.add(3)
	before.takeOff()
	f.parts[before.topicPartition] = before
	require.Empty(t, f.take(fetched(&kgo.Record{Topic: "odds", Offset: 0})))
	f.mu.Lock()
	defer f.mu.Unlock()
	after = f.parts[before.topicPartition]
	require.NotSame(t, before, after)
	require.True(t, before.revoked, "nothing more of it begins")
	after.revoke() // there are no brokers: it shall not be opened
	return f, before, after
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// What is in flight when offsets go back has the time of a release to end. The
// partition is neither begun anew nor given away before.
func TestARenewedPartitionWaitsForWhatIsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, before, after := holding(t)
		time.Sleep(f.cfg.RevokeTimeout - time.Millisecond)
		synctest.Wait()
		require.NoError(t, before.send.Err(), "it is not cut")
		require.False(t, closed(after.idle))

		f.mu.Lock()
		before.land()
		f.mu.Unlock()
		synctest.Wait()
		require.True(t, closed(after.idle))
		f.workers.Wait()
	})
}

// An attempt that does not end is cut, and cannot hold the partition for ever.
func TestARenewedPartitionWaitsNoLongerThanARelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, before, after := holding(t)
		begun := time.Now()
		<-before.send.Done()
		require.Equal(t, f.cfg.RevokeTimeout, time.Since(begun))
		<-after.idle
		require.Equal(t, f.cfg.RevokeTimeout+cutTimeout, time.Since(begun))
		f.workers.Wait()
	})
}

// A partition that is lost while it waits for the one before cuts that one too.
func TestALostPartitionCutsTheOneBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, before, after := holding(t)
		begun := time.Now()
		go func() {
			<-before.send.Done()
			f.mu.Lock()
			defer f.mu.Unlock()
			before.land()
		}()
		f.onLost(t.Context(), nil, map[string][]int32{"odds": {0}})
		require.True(t, closed(after.idle))
		require.Less(t, time.Since(begun), cutTimeout)
		require.Empty(t, f.parts)
		f.workers.Wait()
	})
}

// later takes nothing until it is opened.
type later struct {
	mu   sync.Mutex
	open bool
	got  map[string]bool // by channel
}

func (l *later) Publish(_ context.Context, m Message) Answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return Answer{Verdict: NotSent}
	}
	l.got[m.Channel] = true
	return Answer{Verdict: Accepted}
}

// A log that loses its end takes nothing along that stands before it: what was
// read and not published yet is read again.
func TestWhatIsBeforeALostEndIsPublished(t *testing.T) {
	broker := kafkatest.Fake(t)
	broker.CreateTopic(t, "odds", 1)
	broker.CreateTopic(t, "dead", 1)
	client := broker.Client(t)
	for n := range 10 {
		require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "odds", Key: fmt.Append(nil, n), Value: []byte("[]")}).FirstErr())
	}
	publisher := &later{got: map[string]bool{}}
	f := feedOf(t, publisher, broker.Brokers()...)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	defer func() {
		stop()
		require.NoError(t, <-ended)
	}()
	tp := topicPartition{"odds", 0}
	part := func() *partition {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.parts[tp]
	}
	var before *partition
	require.Eventually(t, func() bool {
		before = part()
		f.mu.Lock()
		defer f.mu.Unlock()
		return before != nil && before.prefix.next == 10 && len(before.lanes) == 10
	}, time.Minute, 5*time.Millisecond)

	back := f.take(fetched(&kgo.Record{Topic: "odds", Offset: 7, Key: []byte("7"), Value: []byte("[]")}))
	require.Equal(t, map[string]map[int32]kgo.EpochOffset{"odds": {0: {Epoch: -1, Offset: 0}}}, back)
	require.NotSame(t, before, part())
	f.client.SetOffsets(back)
	publisher.mu.Lock()
	publisher.open = true
	publisher.mu.Unlock()

	admin := kadm.NewClient(client)
	require.Eventually(t, func() bool {
		offsets, err := admin.FetchOffsets(t.Context(), "g")
		o, ok := offsets.Lookup("odds", 0)
		return err == nil && ok && o.At == 10
	}, time.Minute, 20*time.Millisecond)
	publisher.mu.Lock()
	defer publisher.mu.Unlock()
	require.Len(t, publisher.got, 10)
}
