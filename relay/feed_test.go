package relay_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/relay"
	"github.com/bugle-push/bugle/sandbox/ably"
)

func TestARecordBecomesAMessage(t *testing.T) {
	w := newWorld(t, 1, ably.Config{})
	f := w.feed(func(c *relay.FeedConfig) {
		c.Routes[0].Name = channelOf(t, "#{header.kind}")
		c.Routes[0].Headers = []string{"trace", "absent"}
		c.Routes[0].Conflate = false
	})
	w.produce(
		record(0, "event1", snapshot(1), "kind=odds", "trace=a", "trace=b", "secret=x"),
		record(0, "event2", "plain", "kind=odds"),
		record(0, "event3", "\xff\x00", "kind=odds"),
		&kgo.Record{Partition: 0, Key: []byte("event1"), Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte("odds")}}}, // a tombstone
	)
	w.produce(record(0, "event4", "[\"\xff\"]", "kind=odds"))
	w.eventually(f, "all committed", func() bool { return w.committed(0) == 5 })
	require.Equal(t, []message{{
		ID: w.idOf(0, 0), Name: "odds", Data: snapshot(1), Encoding: "json",
		Extras: struct {
			Headers map[string]any `json:"headers"`
		}{map[string]any{"trace": "b", "kafka-topic": odds, "kafka-partition": 0.0, "kafka-offset": 0.0, "kafka-key": "event1"}},
	}}, w.history("outbound:odds:event1"))
	text := w.history("outbound:odds:event2")[0]
	require.Equal(t, []string{"plain", ""}, []string{text.Data, text.Encoding})
	bytes := w.history("outbound:odds:event3")[0]
	require.Equal(t, []string{"/wA=", "base64"}, []string{bytes.Data, bytes.Encoding})
	broken := w.history("outbound:odds:event4")[0] // JSON but for a text that is not UTF-8
	require.Equal(t, []string{"WyL/Il0=", "base64"}, []string{broken.Data, broken.Encoding})
	require.InDelta(t, 4, f.metric("bugle_relay_records_total", "published"), 0)
	require.InDelta(t, 1, f.metric("bugle_relay_records_total", "tombstone"), 0)
	require.Empty(t, w.deadLetters())
	require.NoError(t, f.Check(t.Context()))
	require.NotContains(t, f.log.String(), "error", f.log)
}

// What Ably refuses, loses, or is too busy for changes neither the order nor the
// number of the messages of a channel.
func TestFaultsKeepOrderAndNumber(t *testing.T) {
	w := newWorld(t, 3, ably.Config{ChannelRate: 1000, Faults: ably.Faults{
		MaxPerMessage: 3,
		Rules: []ably.FaultRule{
			{Kind: ably.RateRequests, Probability: 0.03},
			{Kind: ably.RateEdge, Probability: 0.03},
			{Kind: ably.Internal, Probability: 0.05},
			{Kind: ably.BadGatewayHTML, Probability: 0.03},
			{Kind: ably.Reset, Probability: 0.05},
			{Kind: ably.ResetAfterAccept, Probability: 0.05},
			{Kind: ably.UnavailableAfterAccept, Probability: 0.05},
		},
	}})
	const channels, each = 9, 40
	f := w.feed(func(c *relay.FeedConfig) {
		c.Routes[0].Conflate = false
		c.ChannelRate = 1000
	})
	want := map[string][]int64{}
	for n := range each {
		for ch := range channels {
			key := fmt.Sprintf("event%d", ch)
			want[key] = append(want[key], w.produce(record(int32(ch%3), key, snapshot(n))))
		}
	}
	w.eventually(f, "all published", func() bool {
		return f.metric("bugle_relay_records_total", "published") == channels*each
	})
	for key, want := range want {
		require.Equal(t, want, offsets(w.history("outbound:odds:"+key)), key)
	}
	require.Positive(t, f.metric("bugle_relay_attempts_total", "unknown"))
	require.Positive(t, f.metric("bugle_relay_attempts_total", "account_limited"))
	require.Positive(t, int(w.ably.Stats().Duplicates), "answers were lost")
}

// On a channel that gets more than it may carry, the newest wins, suspensions
// all arrive, and nothing goes back.
func TestConflationUnderLoad(t *testing.T) {
	w := newWorld(t, 1, ably.Config{ChannelRate: 50})
	f := w.feed(func(c *relay.FeedConfig) {
		c.Routes[0].Suspended = suspendedBy(t, "header.state=SUSPENDED")
	})
	const records = 3000
	var suspended []int64
	for n := 0; n < records; n += 100 {
		var batch []*kgo.Record
		for i := range 100 {
			r := record(0, "event1", snapshot(n+i))
			if i == 50 && n%500 == 0 {
				r = record(0, "event1", snapshot(n+i), "state=SUSPENDED")
				suspended = append(suspended, int64(n+i))
			}
			batch = append(batch, r)
		}
		w.produce(batch...)
	}
	w.eventually(f, "all committed", func() bool { return w.committed(0) == records })
	got := offsets(w.history("outbound:odds:event1"))
	require.True(t, slices.IsSorted(got))
	require.Equal(t, int64(records-1), got[len(got)-1])
	for _, offset := range suspended {
		require.Contains(t, got, offset)
	}
	require.Less(t, len(got), records/3)
	require.InDelta(t, records-len(got), f.metric("bugle_relay_records_total", "conflated"), 0)
	require.Zero(t, f.metric("bugle_relay_attempts_total", "channel_limited"), "the bucket stays below Ably's limit")
	require.Zero(t, f.metric("bugle_relay_dead_letters_total"))
}

// What can never be published is in the dead-letter topic with the reason, and
// what comes behind it is published.
func TestPoisonIsBuriedAndNothingWaits(t *testing.T) {
	w := newWorld(t, 2, ably.Config{})
	f := w.feed(func(c *relay.FeedConfig) {
		c.Routes[0].Channel = channelOf(t, "#{value.channel}")
		c.Routes[0].Name = channelOf(t, "#{header.kind}")
		c.Routes[0].Conflate = false
		c.MaxMessageBytes = 70_000 // more than Ably takes
	})
	value := func(channel, more string) string { return fmt.Sprintf(`{"channel":%q,"more":%q}`, channel, more) }
	w.produce(
		record(0, "k", "no json", "kind=odds"),                                      // 0
		record(0, "k", `{"a":1}`, "kind=odds"),                                      // 1
		record(0, "k", value("good", "")),                                           // 2: no header
		record(0, "k", value(":bad", ""), "kind=odds"),                              // 3
		record(0, "k", value("good", strings.Repeat("x", 71_000)), "kind=odds"),     // 4: too large for us
		record(0, "k", value("good", strings.Repeat("x", 66_000)), "kind=odds"),     // 5: too large for Ably
		record(0, "k", value("[meta]log", ""), "kind=odds"),                         // 6
		record(0, "k", value("good", "last"), "kind=odds", "bugle-code=0", "own=1"), // 7
	)
	w.eventually(f, "the first partition committed", func() bool { return w.committed(0) == 8 })
	w.produce(record(1, "k", value("good", ""), "kind=odds")) // another partition for the same channel
	w.eventually(f, "the second partition committed", func() bool { return w.committed(1) == 1 })

	require.Equal(t, []int64{7}, offsets(w.history("good")))
	letters := map[string]string{}
	for _, r := range w.deadLetters() {
		letters[header(r, "bugle-partition")+"/"+header(r, "bugle-offset")] = header(r, "bugle-code") + " " + header(r, "bugle-reason")
		require.Equal(t, odds, header(r, "bugle-topic"))
		require.Equal(t, "k", string(r.Key))
		require.NotEmpty(t, r.Value)
	}
	require.Len(t, letters, 8)
	require.Equal(t, "template channel: #{value.channel}: it is not JSON", letters["0/0"])
	require.Equal(t, "template channel: #{value.channel}: the record has none", letters["0/1"])
	require.Equal(t, "template name: #{header.kind}: the record has none", letters["0/2"])
	require.Equal(t, `40010 a channel's name does not begin with ":"`, letters["0/3"])
	require.Contains(t, letters["0/4"], "40009 the message has 71")
	require.Contains(t, letters["0/5"], "40009 ")
	require.Equal(t, `40010 a channel's name does not begin with "["`, letters["0/6"])
	require.Equal(t, "channel_of_other_partition the channel is fed by partition 0 of odds", letters["1/0"])
	require.InDelta(t, 8, f.metric("bugle_relay_dead_letters_total"), 0)
}
