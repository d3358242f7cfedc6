package relay_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/kafkatest"
	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/relay"
)

// A board is filled from a topic, knows when the broker is away, and goes on when
// it is back: it has the newest odds of each event then, and is ready again.
func TestRealKafkaFillsABoardOverACrash(t *testing.T) {
	broker := kafkatest.OwnApache(t)
	name := broker.Topic(t, 3)
	client := broker.Client(t)
	const events = 30
	produce := func(round int) {
		t.Helper()
		for event := range events {
			require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{
				Topic: name, Key: fmt.Appendf(nil, "e%d", event), Value: fmt.Appendf(nil, "[%d]", round*events+event),
			}).FirstErr())
		}
	}
	produce(0)
	produce(1)

	w := &watcher{board: newBoard(t, relay.BoardConfig{}), log: &logtest.Buffer{}}
	var err error
	w.Watch, err = relay.NewWatch(relay.WatchConfig{
		Cluster: relay.Cluster{Brokers: broker.Brokers()}, Topic: name, Board: w.board,
		Log: zerolog.New(w.log), CheckEvery: 200 * time.Millisecond,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	newest := func(round int) {
		t.Helper()
		for event := range events {
			w.requireOdds(t, fmt.Sprintf("e%d", event), fmt.Sprintf("[%d]", round*events+event))
		}
	}
	w.requireReady(t)
	newest(1)

	broker.Crash(t)
	require.Eventually(t, func() bool { return w.Check(t.Context()) != nil }, soon, 10*time.Millisecond)
	newest(1) // what is known is served all the same
	broker.Resume(t)
	w.requireReady(t)
	produce(2)
	newest(2)
	w.requireReady(t)
}
