package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An id is the record's own: the same whenever it is read, and another one for
// whatever stands at its offset in another topic or after the log lost its end.
func TestAMessageIDIsOfOneRecord(t *testing.T) {
	t.Parallel()
	topic := kadm.TopicID{0xfb, 0xff, 1}
	at := time.UnixMilli(1_790_000_000_123)
	read := func(epoch int32, at time.Time) *kgo.Record {
		return &kgo.Record{Topic: "odds", Partition: 3, Offset: 1042, LeaderEpoch: epoch, Timestamp: at}
	}
	require.Equal(t, "c/-_8BAAAAAAAAAAAAAAAAAA.7/odds/3/1042", messageID("c", topic, read(7, at)))
	require.Equal(t, messageID("c", topic, read(7, at)), messageID("c", topic, read(7, at.Add(time.Nanosecond))), "the time is not part of it")
	require.NotEqual(t, messageID("c", topic, read(7, at)), messageID("c", topic, read(8, at)), "the log has lost its end")
	require.NotEqual(t, messageID("c", topic, read(7, at)), messageID("c", kadm.TopicID{1}, read(7, at)), "the topic was made anew")

	none := kadm.TopicID{} // of brokers without topic ids
	require.Equal(t, "c/t1790000000123.0/odds/3/1042", messageID("c", none, read(0, at)))
	require.NotEqual(t, messageID("c", none, read(0, at)), messageID("c", none, read(0, at.Add(time.Millisecond))), "the topic was made anew")
}
