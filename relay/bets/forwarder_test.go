package bets_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/relay/bets"
)

func TestBetsAndDeadLettersGetToKafkaOnce(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		kafka := newKafka(t)
		r := newReplica(t, db, settings{brokers: kafka.ListenAddrs(), poll: time.Hour})
		r.run(t)
		batch := item(anns, append(many("c1", "ann", 30), message("bad", "ann", `{"name":"a","odds":1,"stake":-1}`))...)
		for range 3 { // Ably did not hear our answer
			r.receive(t, batch)
		}
		records := topic(t, kafka.ListenAddrs(), bets.DefaultTopic, 30)
		require.Len(t, records, 30)
		require.Len(t, ids(records), 30)
		for _, rec := range records {
			require.Contains(t, string(rec.Value), `"bet_id":"`+string(rec.Key)+`"`)
		}
		letters := topic(t, kafka.ListenAddrs(), bets.DefaultDeadLetterTopic, 1)
		require.Len(t, letters, 1)
		require.Equal(t, "bad", string(letters[0].Key))
		sent := `{"name":"a","odds":1,"stake":-1}`
		require.Equal(t, sent, string(letters[0].Value), "as it came")
		require.Equal(t, "bad_stake", header(letters[0], "bugle-reason"))
		require.Equal(t, anns, header(letters[0], "bugle-channel"))
		require.Equal(t, "bad", header(letters[0], "bugle-message-id"))
		require.Equal(t, "32", header(letters[0], "bugle-size"))
		drained(t, r)
		require.NoError(t, r.forwarder.Check(t.Context()))
		require.InDelta(t, 30, r.value(t, "bugle_bets_produced_total", "bet"), 0)
		require.InDelta(t, 62, r.value(t, "bugle_bets_duplicates_total", ""), 0)
	})
}

// Two replicas get the same webhooks at once, in a Kafka that fails now and then:
// each bet is in the topic once, and each channel in its order.
func TestTwoReplicasKeepOrderAndDoubleNothing(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		kafka := newKafka(t, kfake.SeedTopics(1, "ordered"))
		var requests atomic.Int32
		kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			kafka.KeepControl()
			if requests.Add(1)%4 == 2 {
				return nil, errors.New("the connection breaks"), true
			}
			return nil, nil, false
		})
		a := newReplica(t, db, settings{brokers: kafka.ListenAddrs(), owner: "a", topic: "ordered"})
		b := newReplica(t, db, settings{brokers: kafka.ListenAddrs(), owner: "b", topic: "ordered"})
		a.run(t)
		b.run(t)
		const users, rounds, each = 5, 12, 4
		for round := range rounds {
			var items []map[string]any
			for u := range users {
				user := fmt.Sprint("u", u)
				var messages []msg
				for i := range each {
					messages = append(messages, message(fmt.Sprintf("%s:%04d:0", user, round*each+i), user, tile))
				}
				items = append(items, item("inbound:betting:h:"+user, messages...))
			}
			body := signed(webhook(t, items...))
			var g sync.WaitGroup
			for _, r := range []*replica{a, b} {
				g.Go(func() { require.NoError(t, r.receiver.Receive(t.Context(), body)) })
			}
			g.Wait()
		}
		records := topic(t, kafka.ListenAddrs(), "ordered", users*rounds*each)
		require.Len(t, records, users*rounds*each)
		last := map[string]string{}
		for _, rec := range records {
			user, _, _ := strings.Cut(string(rec.Key), ":")
			require.Greater(t, string(rec.Key), last[user], "the order of a channel")
			last[user] = string(rec.Key)
		}
		drained(t, a)
		require.Positive(t, requests.Load())
	})
}

// dying is the outbox of a process that is killed between producing and its note.
type dying struct {
	bets.Outbox
	reached chan struct{}
	killed  chan struct{}
	once    sync.Once
}

func (d *dying) Produced(ctx context.Context, claims []bets.Claimed) (int, error) {
	d.once.Do(func() { close(d.reached) })
	<-d.killed
	return d.Outbox.Produced(ctx, claims)
}

// What was produced and not noted is produced again, with the same id, and nothing
// else is.
func TestAKillBetweenProducingAndItsNoteRepeatsTheRecord(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		kafka := newKafka(t)
		d := &dying{reached: make(chan struct{}), killed: make(chan struct{})}
		first := newReplica(t, db, settings{
			brokers: kafka.ListenAddrs(), owner: "first", lease: 3 * time.Second,
			outbox: func(o bets.Outbox) bets.Outbox { d.Outbox = o; return d },
		})
		first.run(t)
		first.receive(t, item(anns, many("c1", "ann", 5)...))
		<-d.reached
		second := newReplica(t, db, settings{brokers: kafka.ListenAddrs(), owner: "second"})
		second.run(t)
		second.receive(t, item(anns, many("c2", "ann", 5)...))
		records := topic(t, kafka.ListenAddrs(), bets.DefaultTopic, 15)
		require.Len(t, records, 15)
		for id, n := range ids(records) {
			want := 1
			if strings.HasPrefix(id, "c1:") {
				want = 2
			}
			require.Equal(t, want, n, id)
		}
		drained(t, second)
		close(d.killed)
		require.Eventually(t, func() bool { return first.value(t, "bugle_bets_leases_lost_total", "") == 5 }, time.Minute, 10*time.Millisecond)
		require.Len(t, topic(t, kafka.ListenAddrs(), bets.DefaultTopic, 15), 15)
	})
}

// The bets of an outage wait in the database, and all of them arrive when Kafka is
// back, with those that came meanwhile.
func TestKafkaMayBeAwayForLong(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		port := freePort(t)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		r := newReplica(t, db, settings{brokers: []string{addr}, lease: 2 * time.Second})
		r.run(t)
		const before = 1200 // more than one claim
		r.receive(t, item(anns, many("c1", "ann", before)...))
		require.Eventually(t, func() bool { // an outage of three leases
			backlog, err := r.books.Backlog(context.Background(), bets.KindBet)
			return err == nil && backlog.Oldest > 6*time.Second
		}, time.Minute, 50*time.Millisecond)
		r.receive(t, item(bobs, many("c2", "bob", 10)...))
		backlog, err := r.books.Backlog(t.Context(), bets.KindBet)
		require.NoError(t, err)
		require.Equal(t, before+10, backlog.Rows)
		require.Greater(t, backlog.Oldest, 6*time.Second)

		newKafka(t, kfake.Ports(port))
		records := topic(t, []string{addr}, bets.DefaultTopic, before+10)
		require.Len(t, records, before+10)
		require.Len(t, ids(records), before+10)
		drained(t, r)
	})
}

// A replica ends while Kafka is away: the next one takes over what it had claimed.
func TestWhatAnEndedReplicaHadClaimedIsTakenOver(t *testing.T) {
	t.Parallel()
	db := sqldbtest.SQLite(t)
	first := newReplica(t, db, settings{brokers: []string{fmt.Sprintf("127.0.0.1:%d", freePort(t))}, owner: "first", lease: 500 * time.Millisecond})
	first.run(t)
	first.receive(t, item(anns, many("c1", "ann", 5)...))
	require.Eventually(t, func() bool {
		var leased int
		err := db.SQL().QueryRowContext(context.Background(), `SELECT COUNT(*) FROM bets WHERE state = 'leased' AND owner = 'first'`).Scan(&leased)
		return err == nil && leased == 5
	}, time.Minute, 10*time.Millisecond)
	started := time.Now()
	first.stop()
	require.Less(t, time.Since(started), 20*time.Second)

	kafka := newKafka(t)
	second := newReplica(t, db, settings{brokers: kafka.ListenAddrs(), owner: "second"})
	second.run(t)
	require.Len(t, topic(t, kafka.ListenAddrs(), bets.DefaultTopic, 5), 5)
}

// An end waits for a broker that was away for a moment: what it gives up may be in
// Kafka all the same, and then is produced twice.
func TestAnEndWaitsForABrokerThatComesBack(t *testing.T) {
	t.Parallel()
	db := sqldbtest.SQLite(t)
	kafka := newKafka(t)
	var away atomic.Bool
	away.Store(true)
	kafka.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		if !away.Load() {
			return nil, nil, false
		}
		kafka.KeepControl()
		return nil, errors.New("away"), true
	})
	r := newReplica(t, db, settings{brokers: kafka.ListenAddrs(), owner: "first"})
	r.run(t)
	r.receive(t, item(anns, many("c1", "ann", 5)...))
	count := func(state string) (n int) {
		require.NoError(t, db.SQL().QueryRowContext(context.Background(), `SELECT COUNT(*) FROM bets WHERE state = $1`, state).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return count("leased") == 5 }, time.Minute, 10*time.Millisecond)
	time.AfterFunc(6*time.Second, func() { away.Store(false) })
	r.stop()
	require.Equal(t, 5, count("produced"))
	require.Len(t, topic(t, kafka.ListenAddrs(), bets.DefaultTopic, 5), 5)
}

// Neither a missing topic of dead letters nor a record that Kafka never takes holds
// up what is behind it.
func TestPoisonHoldsNothingUp(t *testing.T) {
	t.Parallel()
	db := sqldbtest.SQLite(t)
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, bets.DefaultTopic))
	require.NoError(t, err)
	t.Cleanup(kafka.Close)
	r := newReplica(t, db, settings{brokers: kafka.ListenAddrs(), options: []kgo.Opt{
		kgo.UnknownTopicRetries(1), kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 {
			if topic == bets.DefaultTopic {
				return 600
			}
			return 1 << 20
		}),
	}})
	r.run(t)
	large := message("large", "ann", `{"name":"`+strings.Repeat("n", 128)+`","event":"`+strings.Repeat("e", 128)+`","odds":1}`)
	large["id"] = "large:" + strings.Repeat("x", 240)
	r.receive(t, item(anns, message("letter", "ann", "nonsense"), message("before", "ann", tile), large, message("after", "ann", tile)))
	records := topic(t, kafka.ListenAddrs(), bets.DefaultTopic, 2)
	require.Equal(t, map[string]int{"before": 1, "after": 1}, ids(records))
	require.Eventually(t, func() bool { return fault.KindOf(r.forwarder.Check(context.Background())) == fault.Unavailable }, time.Minute, 10*time.Millisecond)
	require.ErrorContains(t, r.forwarder.Check(t.Context()), bets.DefaultDeadLetterTopic)
	r.receive(t, item(anns, message("later", "ann", tile)))
	require.Len(t, topic(t, kafka.ListenAddrs(), bets.DefaultTopic, 3), 3)

	// An operator makes the topic.
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...))
	require.NoError(t, err)
	defer client.Close()
	create := kmsg.NewPtrCreateTopicsRequest()
	wanted := kmsg.NewCreateTopicsRequestTopic()
	wanted.Topic, wanted.NumPartitions, wanted.ReplicationFactor = bets.DefaultDeadLetterTopic, 1, 1
	create.Topics = append(create.Topics, wanted)
	_, err = create.RequestWith(t.Context(), client)
	require.NoError(t, err)
	letters := topic(t, kafka.ListenAddrs(), bets.DefaultDeadLetterTopic, 2)
	require.Len(t, letters, 2)
	reasons := map[string]string{}
	for _, l := range letters {
		reasons[string(l.Key[:5])] = header(l, "bugle-reason")
	}
	require.Equal(t, map[string]string{"lette": "malformed_bet", "large": "refused_by_kafka"}, reasons)
	drained(t, r)
	require.Eventually(t, func() bool { return r.forwarder.Check(context.Background()) == nil }, time.Minute, 10*time.Millisecond)
}

func TestAForwarderNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	metrics, err := bets.NewMetrics(prometheus.NewRegistry())
	require.NoError(t, err)
	_, err = bets.NewForwarder(bets.ForwarderConfig{Metrics: metrics})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	_, err = bets.NewReceiver(bets.ReceiverConfig{Metrics: metrics})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	_, err = bets.NewReceiver(bets.ReceiverConfig{Metrics: metrics, Book: nil, DefaultStake: "0", Log: zerolog.Nop()})
	require.Error(t, err)
}

// A topic that is made anew takes the bets that come then, without a restart.
func TestBetsGetToATopicThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, db *sqldb.DB) {
		kafka := newKafka(t)
		r := newReplica(t, db, settings{brokers: kafka.ListenAddrs()})
		r.run(t)
		r.receive(t, item(anns, message("old", "ann", tile)))
		drained(t, r)

		client, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...))
		require.NoError(t, err)
		defer client.Close()
		admin := kadm.NewClient(client)
		_, err = admin.DeleteTopic(t.Context(), bets.DefaultTopic)
		require.NoError(t, err)
		_, err = admin.CreateTopic(t.Context(), 1, 1, nil, bets.DefaultTopic)
		require.NoError(t, err)
		r.receive(t, item(anns, message("new", "ann", tile)))
		drained(t, r)
		require.Contains(t, ids(topic(t, kafka.ListenAddrs(), bets.DefaultTopic, 1)), "new")
		require.NoError(t, r.forwarder.Check(t.Context()))
	})
}
