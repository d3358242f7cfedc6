package bets_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/kafkatest"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/relay/bets"
)

// A real Kafka is taken away twice. Bets that come meanwhile wait in the database,
// and each gets there once when it is back. Then it is killed when it has taken
// bets and its answers are lost: all get there, and only bets of which the
// forwarder had heard nothing may be there twice, with the same id.
func TestRealKafkaIsTakenAwayFromBets(t *testing.T) {
	broker := kafkatest.OwnApache(t)
	broker.CreateTopic(t, bets.DefaultTopic, 3)
	broker.CreateTopic(t, bets.DefaultDeadLetterTopic, 1)
	line := &kafkatest.Line{}
	r := newReplica(t, sqldbtest.SQLite(t), settings{brokers: broker.Brokers(), options: []kgo.Opt{kgo.Dialer(line.Dial)}})
	r.run(t)
	all := many("m", "ann", 1200)
	poison := func(n int) map[string]any {
		return item(anns, message(fmt.Sprintf("p:%d:0", n), "ann", "no bet"))
	}
	once := func(n int) {
		t.Helper()
		got := ids(broker.Records(t, bets.DefaultTopic))
		for _, m := range all[:n] {
			require.Equal(t, 1, got[m["id"].(string)], m["id"])
		}
		require.Len(t, got, n)
	}

	r.receive(t, item(anns, all[:50]...), poison(0))
	drained(t, r)
	broker.Crash(t)
	for n := 50; n < 600; n += 50 {
		r.receive(t, item(anns, all[n:n+50]...), poison(n))
	}
	backlog, err := r.books.Backlog(t.Context(), bets.KindBet)
	require.NoError(t, err)
	require.Equal(t, 550, backlog.Rows)
	broker.Resume(t)
	drained(t, r)
	once(600)
	require.Len(t, broker.Records(t, bets.DefaultDeadLetterTopic), 12)
	require.NoError(t, r.forwarder.Check(t.Context()))

	line.Mute()
	r.receive(t, item(anns, all[600:]...))
	unheard := map[string]bool{}
	require.Eventually(t, func() bool {
		for id := range ids(broker.Records(t, bets.DefaultTopic)) {
			unheard[id] = true
		}
		return len(unheard) > 600
	}, time.Minute, 100*time.Millisecond)
	broker.Crash(t)
	line.Cut()
	broker.Resume(t)
	drained(t, r)
	got := ids(broker.Records(t, bets.DefaultTopic))
	require.Len(t, got, len(all), "none is lost")
	for i, m := range all {
		id := m["id"].(string)
		switch {
		case i < 600:
			require.Equal(t, 1, got[id], id)
		case got[id] > 1:
			require.True(t, unheard[id], "%s is there %d times", id, got[id])
			require.Equal(t, 2, got[id], id)
		}
	}
}
