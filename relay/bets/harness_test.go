package bets_test

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/freeport"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/relay"
	"github.com/bugle-push/bugle/relay/bets"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

const (
	secret = "s3cret-part"
	anns   = "inbound:betting:horses:ann"
	bobs   = "inbound:betting:horses:bob"
	tile   = `{"name":"Car 1","odds":0.125}`
)

func eachDatabase(t *testing.T, run func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			run(t, d.Open(t))
		})
	}
}

func sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func signed(body []byte) bets.Delivery {
	return bets.Delivery{Key: "app.k1", Signature: sign(secret, body), ContentType: "application/json", Body: body}
}

// msg is a message of Ably; zero values are left out.
type msg map[string]any

// message is a bet as the app of that user sends it.
func message(id, client, data string) msg {
	return msg{"id": id, "clientId": client, "name": client, "connectionId": "c1", "timestamp": time.Now().UnixMilli(), "data": data}
}

func item(channel string, messages ...msg) map[string]any {
	return map[string]any{
		"webhookId": "wh", "source": "channel.message", "serial": "s:1", "timestamp": time.Now().UnixMilli(), "name": "channel.message",
		"data": map[string]any{"channelId": channel, "site": "eu-west-1-A", "messages": messages},
	}
}

func presence(channel string, messages ...msg) map[string]any {
	return map[string]any{
		"webhookId": "wh", "source": "channel.presence", "timestamp": time.Now().UnixMilli(), "name": "presence.message",
		"data": map[string]any{"channelId": channel, "site": "eu-west-1-A", "presence": messages},
	}
}

func webhook(t testing.TB, items ...map[string]any) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"items": items})
	require.NoError(t, err)
	return body
}

// replica is one receiver and forwarder over a database and a Kafka.
type replica struct {
	books     *sqlrelay.Bets
	receiver  *bets.Receiver
	forwarder *bets.Forwarder
	metrics   *prometheus.Registry
	stop      func()
}

type settings struct {
	outbox    func(bets.Outbox) bets.Outbox
	book      func(bets.Book) bets.Book
	anonymous bool
	lease     time.Duration
	poll      time.Duration
	owner     string
	brokers   []string
	options   []kgo.Opt
	topic     string
}

func newReplica(t testing.TB, db *sqldb.DB, s settings) *replica {
	t.Helper()
	r := &replica{books: sqlrelay.NewBets(db), metrics: prometheus.NewRegistry()}
	metrics, err := bets.NewMetrics(r.metrics)
	require.NoError(t, err)
	var outbox bets.Outbox = r.books
	if s.outbox != nil {
		outbox = s.outbox(outbox)
	}
	var book bets.Book = r.books
	if s.book != nil {
		book = s.book(book)
	}
	if s.owner == "" {
		s.owner = "r1"
	}
	if s.brokers == nil {
		s.brokers = []string{"127.0.0.1:1"}
	}
	r.forwarder, err = bets.NewForwarder(bets.ForwarderConfig{
		Outbox: outbox, Cluster: relay.Cluster{Brokers: s.brokers}, Owner: s.owner, Lease: s.lease, Poll: cmp.Or(s.poll, 50*time.Millisecond),
		Topic: s.topic, Metrics: metrics, Log: zerolog.Nop(), Options: s.options,
	})
	require.NoError(t, err)
	keys, err := bets.ParseKeys("app.k1:" + secret)
	require.NoError(t, err)
	r.receiver, err = bets.NewReceiver(bets.ReceiverConfig{
		Book: book, Keys: keys, DefaultStake: "5", AllowAnonymous: s.anonymous, Wake: r.forwarder.Wake, Metrics: metrics, Log: zerolog.Nop(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.forwarder.Close(context.Background())) })
	return r
}

// run starts the forwarder; it ends with the test or with stop.
func (r *replica) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var g sync.WaitGroup
	g.Go(func() { _ = r.forwarder.Run(ctx) })
	r.stop = sync.OnceFunc(func() { cancel(); g.Wait() })
	t.Cleanup(r.stop)
}

func (r *replica) receive(t testing.TB, items ...map[string]any) {
	t.Helper()
	require.NoError(t, r.receiver.Receive(t.Context(), signed(webhook(t, items...))))
}

// dead lists the dead letters that wait, and gives them back.
func (r *replica) waiting(t testing.TB, kind bets.Kind) []bets.Claimed {
	t.Helper()
	claims, err := r.books.Claim(t.Context(), bets.ClaimRequest{Kind: kind, Owner: "test", Limit: 1000, Lease: time.Minute})
	require.NoError(t, err)
	require.NoError(t, r.books.Release(t.Context(), claims))
	return claims
}

// value is the sum of a metric over series with that label value, or of all.
func (r *replica) value(t testing.TB, name, label string) (sum float64) {
	t.Helper()
	families, err := r.metrics.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == label {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func newKafka(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1), kfake.SeedTopics(3, bets.DefaultTopic), kfake.SeedTopics(1, bets.DefaultDeadLetterTopic),
	}, options...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// freePort is one that nobody listens on, and that nobody is given meanwhile.
func freePort(t testing.TB) int {
	t.Helper()
	port, err := freeport.Find(1)
	require.NoError(t, err)
	return port
}

// topic reads a topic until it has so many records, and then a little longer for
// those that must not be there.
func topic(t testing.TB, brokers []string, name string, want int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(50*time.Millisecond))
	require.NoError(t, err)
	defer client.Close()
	var out []*kgo.Record
	deadline := time.Now().Add(time.Minute)
	for len(out) < want && time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		out = append(out, client.PollFetches(ctx).Records()...)
		cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		out = append(out, client.PollFetches(ctx).Records()...)
	}
	require.GreaterOrEqual(t, len(out), want, "records of %s", name)
	return out
}

func ids(records []*kgo.Record) map[string]int {
	out := map[string]int{}
	for _, r := range records {
		out[string(r.Key)]++
	}
	return out
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func drained(t testing.TB, r *replica) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, kind := range bets.Kinds() {
			if b, err := r.books.Backlog(context.Background(), kind); err != nil || b.Rows > 0 {
				return false
			}
		}
		return true
	}, time.Minute, 10*time.Millisecond)
}

func many(prefix, user string, n int) []msg {
	out := make([]msg, n)
	for i := range out {
		out[i] = message(fmt.Sprintf("%s:%d:0", prefix, i), user, tile)
	}
	return out
}
