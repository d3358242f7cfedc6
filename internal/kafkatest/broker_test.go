package kafkatest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/internal/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Main(m)) }

// What was acknowledged before a crash is there after it, at the same address.
func TestABrokerKeepsItsRecordsOverACrash(t *testing.T) {
	kafkatest.OwnBrokers(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.Topic(t, 2)
		before := b.Address()
		var want []string
		produce := func(value string) {
			client := b.Client(t)
			require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr())
			want = append(want, value)
		}
		for i := range 3 {
			produce(fmt.Sprint("before ", i))
		}
		b.Crash(t)
		b.Resume(t)
		produce("after")
		require.Equal(t, before, b.Address())
		var got []string
		for _, r := range b.Records(t, topic) {
			got = append(got, string(r.Value))
		}
		require.ElementsMatch(t, want, got)
	})
}

// A topic that nobody made is an error on both, as on Confluent Cloud.
func TestBrokersMakeNoTopicsByThemselves(t *testing.T) {
	kafkatest.Brokers(t, func(t *testing.T, b *kafkatest.Broker) {
		client := b.Client(t, kgo.UnknownTopicRetries(0))
		require.Error(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: kafkatest.Name(t)}).FirstErr())
	})
}
