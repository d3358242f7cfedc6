package relay_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/apachekafka"
	"github.com/bugle-push/bugle/internal/kafkatest"
	"github.com/bugle-push/bugle/relay"
)

// A record goes in and comes out over each way into a cluster; the last ones are
// those of Confluent Cloud, PLAIN over TLS, and of other vendors, SCRAM over TLS.
func TestRealKafkaIsReachedEveryWay(t *testing.T) {
	broker := kafkatest.Apache(t)
	kafka := broker.Apache(t)
	trust, err := kafka.TLS()
	require.NoError(t, err)
	ways := map[string]relay.Cluster{"clear": {Brokers: []string{kafka.Address()}}}
	for _, mechanism := range relay.Mechanisms() {
		c := relay.Cluster{Mechanism: mechanism, Username: apachekafka.Username, Password: apachekafka.Password}
		c.Brokers = []string{kafka.SASLAddress()}
		ways[string(mechanism)] = c
		c.Brokers, c.TLS = []string{kafka.TLSAddress()}, trust
		ways[string(mechanism)+" over TLS"] = c
	}
	for name, cluster := range ways {
		t.Run(name, func(t *testing.T) {
			topic := broker.Topic(t, 1)
			opts, err := cluster.Options()
			require.NoError(t, err)
			client, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(kafkatest.Name(t)),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
			require.NoError(t, err)
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			require.NoError(t, client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("1.95")}).FirstErr())
			fetches := client.PollFetches(ctx)
			require.NoError(t, fetches.Err())
			require.Equal(t, "1.95", string(fetches.Records()[0].Value))
		})
	}
}

// Whoever may not in is told why, at once.
func TestRealKafkaRefusesWithAReason(t *testing.T) {
	kafka := kafkatest.Apache(t).Apache(t)
	trust, err := kafka.TLS()
	require.NoError(t, err)
	for _, mechanism := range relay.Mechanisms() {
		for name, cluster := range map[string]relay.Cluster{
			"wrong password":          {Brokers: []string{kafka.SASLAddress()}, Username: apachekafka.Username, Password: "wrong"},
			"wrong password over TLS": {Brokers: []string{kafka.TLSAddress()}, TLS: trust, Username: apachekafka.Username, Password: "wrong"},
			"unknown user":            {Brokers: []string{kafka.SASLAddress()}, Username: "nobody", Password: apachekafka.Password},
		} {
			t.Run(string(mechanism)+" "+name, func(t *testing.T) {
				cluster.Mechanism = mechanism
				err := ask(t, cluster)
				require.ErrorIs(t, err, kerr.SaslAuthenticationFailed)
				require.NotContains(t, err.Error(), cluster.Password)
			})
		}
	}
	right := relay.Cluster{Brokers: []string{kafka.TLSAddress()}, Mechanism: relay.Plain, Username: apachekafka.Username, Password: apachekafka.Password}
	t.Run("an authority that we do not trust", func(t *testing.T) {
		cluster := right
		cluster.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		var unknown x509.UnknownAuthorityError
		require.ErrorAs(t, ask(t, cluster), &unknown)
	})
	t.Run("a name that the certificate does not have", func(t *testing.T) {
		cluster := right
		cluster.TLS = trust.Clone()
		cluster.TLS.ServerName = "kafka.example.com"
		var name x509.HostnameError
		require.ErrorAs(t, ask(t, cluster), &name)
	})
	t.Run("no TLS where it is asked for", func(t *testing.T) {
		require.ErrorContains(t, ask(t, right), "is this a plaintext connection speaking to a tls endpoint?")
	})
	t.Run("no password where it is asked for", func(t *testing.T) {
		require.ErrorContains(t, ask(t, relay.Cluster{Brokers: []string{kafka.SASLAddress()}}), "is SASL missing?")
	})
}

// A broker is killed while records are produced in chunks, each chunk once the one
// before it is acknowledged. It has taken a chunk whose acknowledgement never
// arrives: every record is there once all the same, and
// those of a key in their order. That holds without transactions, by the
// idempotent producer, and for one batch at a time only: a broker that comes back
// remembers the last batch of a producer and partition, while up to five may be on
// their way when nobody waits. Those before the last would be there twice.
func TestRealKafkaProducesOnceOverACrash(t *testing.T) {
	const chunks, chunk, keys = 60, 50, 5
	broker := kafkatest.OwnApache(t)
	topic := broker.Topic(t, 3)
	opts, err := relay.Cluster{Brokers: broker.Brokers()}.Options()
	require.NoError(t, err)
	line := &kafkatest.Line{}
	client, err := kgo.NewClient(append(opts, kgo.DefaultProduceTopic(topic), kgo.Dialer(line.Dial))...)
	require.NoError(t, err)
	defer client.Close()

	var acknowledged atomic.Int64
	end := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	go func() {
		for n := range chunks {
			var records []*kgo.Record
			for i := range chunk {
				number := n*chunk + i
				records = append(records, &kgo.Record{Key: []byte(strconv.Itoa(number % keys)), Value: []byte(strconv.Itoa(number))})
			}
			if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
				end <- err
				return
			}
			acknowledged.Add(chunk)
		}
		end <- nil
	}()
	admin := kadm.NewClient(broker.Client(t))
	require.Eventually(t, func() bool { return acknowledged.Load() > chunks*chunk/3 }, time.Minute, time.Millisecond)
	line.Mute()
	require.Eventually(t, func() bool { // all of the next chunk is there
		listed, err := admin.ListEndOffsets(ctx, topic)
		taken := int64(0)
		listed.Each(func(o kadm.ListedOffset) { taken += o.Offset })
		return err == nil && taken >= acknowledged.Load()+chunk
	}, time.Minute, 10*time.Millisecond)
	broker.Crash(t)
	line.Cut()
	broker.Resume(t)
	require.NoError(t, <-end)

	next := make(map[string]int) // by key, the number that comes next
	for i := range keys {
		next[strconv.Itoa(i)] = i
	}
	got := broker.Records(t, topic)
	for _, r := range got {
		require.Equal(t, strconv.Itoa(next[string(r.Key)]), string(r.Value), "offset %d of partition %d", r.Offset, r.Partition)
		next[string(r.Key)] += keys
	}
	require.Len(t, got, chunks*chunk)
}
