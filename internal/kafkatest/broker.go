// Package kafkatest gives tests a Kafka to talk to: franz-go's kfake, which is
// there at once and everywhere, and Apache Kafka itself, which needs Java and,
// the first time, Maven. A test over Apache Kafka is skipped without them, with
// the reason.
package kafkatest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/apachekafka"
)

// patience bounds each wait for a broker.
const patience = 3 * time.Minute

// Broker is a Kafka cluster of one node.
type Broker struct {
	node node
	own  bool
}

// node is what there is of either kind.
type node interface {
	// Address is host:port, in the clear, without a password, and the same for
	// the broker's life.
	Address() string
	Crash(context.Context) error
	Resume(context.Context) error
}

// Brokers runs a suite over each kind of broker: kfake, which the suite has for
// itself, and Apache Kafka, which the tests of the package share, so topics and
// groups need names of their own (Topic). It needs Main.
func Brokers(t *testing.T, suite func(*testing.T, *Broker)) {
	t.Helper()
	t.Run("kfake", func(t *testing.T) { suite(t, Fake(t)) })
	t.Run("apache", func(t *testing.T) { suite(t, Apache(t)) })
}

// OwnBrokers is as Brokers, but nobody else uses the brokers: they may be crashed.
func OwnBrokers(t *testing.T, suite func(*testing.T, *Broker)) {
	t.Helper()
	t.Run("kfake", func(t *testing.T) { suite(t, Fake(t)) })
	t.Run("apache", func(t *testing.T) { suite(t, OwnApache(t)) })
}

// Apache returns the Apache Kafka that the tests of a package share.
func Apache(t testing.TB) *Broker {
	t.Helper()
	return &Broker{node: sharedApache(t)}
}

// OwnApache starts an Apache Kafka for this test alone, which takes some seconds.
func OwnApache(t testing.TB) *Broker {
	t.Helper()
	b, err := startApache()
	b = atHand(t, b, err)
	t.Cleanup(func() { require.NoError(t, b.Close(context.Background())) })
	return &Broker{node: b, own: true}
}

// Address is host:port of the listener in the clear, without a password. It
// stays the same over a crash.
func (b *Broker) Address() string { return b.node.Address() }

// Brokers is Address as the list that a configuration wants.
func (b *Broker) Brokers() []string { return []string{b.Address()} }

// Apache is the Apache Kafka behind it, for its other listeners; the test fails
// when it is a kfake.
func (b *Broker) Apache(t testing.TB) *apachekafka.Broker {
	t.Helper()
	apache, ok := b.node.(*apachekafka.Broker)
	require.True(t, ok, "the broker is no Apache Kafka")
	return apache
}

// Crash ends the broker at once, in the middle of whatever it does. What it has
// acknowledged is there after Resume.
func (b *Broker) Crash(t testing.TB) {
	t.Helper()
	require.True(t, b.own, "others use this broker too")
	require.NoError(t, b.node.Crash(t.Context()))
}

// Resume starts a broker that was crashed, and returns when it answers.
func (b *Broker) Resume(t testing.TB) {
	t.Helper()
	require.NoError(t, b.node.Resume(t.Context()))
}

// Client makes a client of the broker that is closed with the test.
func (b *Broker) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Brokers()...)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// Topic makes a topic and returns its name, which has the test's and is like no
// other.
func (b *Broker) Topic(t testing.TB, partitions int) string {
	t.Helper()
	name := Name(t)
	b.CreateTopic(t, name, partitions)
	return name
}

// CreateTopic makes a topic of that name.
func (b *Broker) CreateTopic(t testing.TB, name string, partitions int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...))
	require.NoError(t, err)
	defer client.Close()
	answer, err := kadm.NewClient(client).CreateTopic(ctx, int32(partitions), 1, nil, name)
	require.NoError(t, err)
	require.NoError(t, answer.Err)
}

// Records reads a topic from its beginning to the end that it has now, those of
// each partition in the order of their offsets.
func (b *Broker) Records(t testing.TB, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	require.NoError(t, err)
	require.NoError(t, ends.Error())
	left := make(map[int32]int64) // what each partition still owes
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	var out []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err(), "read topic %s", topic)
		fetches.EachRecord(func(r *kgo.Record) {
			out = append(out, r)
			if end, ok := left[r.Partition]; ok && r.Offset >= end-1 {
				delete(left, r.Partition)
			}
		})
	}
	return out
}

// Name makes a name for a topic or a group that has the test's and is like no other.
func Name(t testing.TB) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, t.Name())
	// Kafka's limit is 249 bytes (org.apache.kafka.common.internals.Topic).
	return name[:min(len(name), 200)] + "-" + suffix()
}
