package ably_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/ably/ably-go/ably"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// batchReply is the answer to one spec of a batch.
type batchReply struct {
	SuccessCount int           `json:"successCount"`
	FailureCount int           `json:"failureCount"`
	Results      []batchResult `json:"results"`
}

type batchResult struct {
	Channel   string   `json:"channel"`
	MessageID string   `json:"messageId"`
	Serials   []string `json:"serials"`
	Error     *struct {
		Code int `json:"code"`
	} `json:"error"`
}

func TestBatchPublish(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{ChannelRate: 2})
	c := raw(t, srv)
	r := c.do("POST", "/messages", `[
		{"channels":["a","b",":bad"],"messages":{"id":"k1","data":"1"}},
		{"channels":"a","messages":[{"id":"k2:0"},{"id":"k2:1"},{"id":"k2:2"}]},
		{"channels":["a","[meta]log:push"],"messages":{"id":"k3"}}]`)
	require.Equal(t, 201, r.Status, r.Body)
	var got []batchReply
	decode(t, r.Body, &got)
	require.Len(t, got, 3)
	require.Equal(t, batchResult{Channel: "a", MessageID: "k1", Serials: got[0].Results[0].Serials}, got[0].Results[0])
	require.Equal(t, []int{2, 1, 1, 0, 0, 2}, []int{
		got[0].SuccessCount, got[0].FailureCount, got[1].SuccessCount, got[1].FailureCount, got[2].SuccessCount, got[2].FailureCount,
	})
	require.Equal(t, 40010, got[0].Results[2].Error.Code)
	require.Len(t, got[1].Results[0].Serials, 3, "three messages count as one for the channel's rate")
	require.Equal(t, 42913, got[2].Results[0].Error.Code)
	require.Equal(t, 40160, got[2].Results[1].Error.Code)
	var ids []string
	for _, m := range srv.Messages("a") {
		ids = append(ids, m.ID)
		require.Equal(t, ably.ViaBatch, m.Via)
	}
	require.Equal(t, []string{"k1", "k2:0", "k2:1", "k2:2"}, ids)
	require.Len(t, srv.Messages("b"), 1)

	// Again: the same ids are the same messages, on each channel.
	r = c.do("POST", "/messages", `{"channels":["a","b"],"messages":{"id":"k1","data":"other"}}`)
	var one batchReply
	decode(t, r.Body, &one)
	require.Equal(t, 2, one.SuccessCount)
	require.Equal(t, got[0].Results[:2], one.Results)
	require.Equal(t, uint64(2), srv.Stats().Duplicates)
	require.Equal(t, uint64(2), srv.Stats().DuplicatesAnswered)

	// The form of protocol version 2.
	c.head["X-Ably-Version"] = "2"
	r = c.do("POST", "/messages", `[{"channels":["d","e"],"messages":{}}]`)
	var flat []batchResult
	decode(t, r.Body, &flat)
	require.Len(t, flat, 2)
	r = c.do("POST", "/messages", `[{"channels":["d",":bad"],"messages":{}}]`)
	require.Equal(t, 400, r.Status)
	require.Equal(t, 40020, r.Code)
	var partial struct{ BatchResponse []batchResult }
	decode(t, r.Body, &partial)
	require.NotEmpty(t, partial.BatchResponse[0].MessageID)
	require.Equal(t, 40010, partial.BatchResponse[1].Error.Code)
	r = c.do("POST", "/messages?newBatchResponse=true", `[{"channels":["f"],"messages":{}}]`)
	require.Contains(t, r.Body, `"successCount":1`)
}

func TestBatchPublishRefusals(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{ChannelRate: -1})
	c := raw(t, srv)
	channels := func(n int) string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf(`"c%d"`, i))
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	for _, tc := range []struct {
		body string
		code int
	}{
		{`[]`, 40000},
		{`[1]`, 40001},
		{`[{"channels":[],"messages":{}}]`, 40000},
		{`[{"messages":{}}]`, 40000},
		{`[{"channels":[1],"messages":{}}]`, 40000},
		{`[{"channels":"c"}]`, 40000},
		{`[{"channels":"c","messages":[]}]`, 40000},
		{`[{"channels":"c","messages":[{"id":"a"},{}]}]`, 40031},
		{`[{"channels":"c","messages":{"extras":{"x":1}}}]`, 40032},
		{`[{"channels":` + channels(101) + `,"messages":{}}]`, 40000},
		{`[{"channels":` + channels(60) + `,"messages":{}},{"channels":["x1"` + strings.Repeat(`,"c1"`, 39) + `],"messages":{}}]`, 0},
		{`[{"channels":"c","messages":[` + strings.TrimSuffix(strings.Repeat(`{},`, 1001), ",") + `]}]`, 40034},
		{`[{"channels":"c","messages":{"data":"` + strings.Repeat("x", ably.DefaultMaxMessageSize+1) + `"}}]`, 40009},
		{`[{"channels":"c","messages":{"data":"` + strings.Repeat("x", ably.MaxBatchBytes) + `"}}]`, 40009},
	} {
		require.Equal(t, tc.code, c.do("POST", "/messages", tc.body).Code, "%.60s", tc.body)
	}

	// Faults strike the whole batch or one of its items.
	require.NoError(t, srv.Inject(ably.RateRequests, ably.ItemInternal))
	require.Equal(t, 42918, c.do("POST", "/messages", `[{"channels":"x","messages":{"id":"x"}}]`).Code)
	r := c.do("POST", "/messages", `[{"channels":["x","y"],"messages":{"id":"x"}}]`)
	require.Contains(t, r.Body, `"channel":"x","error":{"message":"internal error","code":50000`)
	require.Contains(t, r.Body, `"channel":"y","messageId":"x"`)

	// An answer that was lost excuses the repeat.
	require.NoError(t, srv.Inject(ably.ResetAfterAccept))
	_, err := c.try("POST", "/messages", `[{"channels":"z","messages":{"id":"z"}}]`)
	require.Error(t, err)
	for n := range uint64(2) {
		require.Equal(t, 201, c.do("POST", "/messages", `[{"channels":"z","messages":{"id":"z"}}]`).Status)
		require.Equal(t, n, srv.Stats().DuplicatesAnswered)
	}
	require.Len(t, srv.Messages("z"), 1)
}

// TestPublishRates: each rate answers its own code, and nothing of an array is taken
// when not all of it fits.
func TestPublishRates(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	for code, cfg := range map[int]ably.Config{
		42913: {ChannelRate: 2},
		42914: {ChannelByteRate: 20},
		42917: {ChannelRate: -1, MessageRate: 2},
		42918: {ChannelRate: -1, RequestRate: 2},
	} {
		cfg.Now = clock.now
		srv := start(t, cfg)
		c := raw(t, srv)
		send := func() int { return c.do("POST", "/channels/c/messages", `{"data":"0123456789"}`).Code }
		require.Zero(t, send())
		require.Zero(t, send())
		require.Equal(t, code, send())
		clock.pass(time.Second)
		require.Zero(t, send())
		if code != 42918 {
			require.Equal(t, code, c.do("POST", "/channels/c/messages", `[{"data":"0123456789"},{"data":"0123456789"}]`).Code)
			require.Zero(t, send())
		}
		if code == 42913 || code == 42914 {
			require.Zero(t, c.do("POST", "/channels/d/messages", `{"data":"0123456789"}`).Code, "another channel")
		}
	}
	// The first second of messages on a channel at the documented rate.
	c := raw(t, start(t, ably.Config{Now: clock.now}))
	for range ably.DefaultChannelRate {
		require.Equal(t, 201, c.do("POST", "/channels/c/messages", `{}`).Status)
	}
	require.Equal(t, 429, c.do("POST", "/channels/c/messages", `{}`).Status)

	srv := start(t, ably.Config{})
	c = raw(t, srv)
	require.NoError(t, srv.Inject(ably.RateChannel, ably.RateMessages))
	require.Equal(t, 42913, c.do("POST", "/channels/c/messages", `{}`).Code)
	require.Equal(t, 42917, c.do("POST", "/messages", `{"channels":"c","messages":{}}`).Code)
	require.NoError(t, srv.Inject(ably.RateChannel))
	require.Equal(t, 201, c.do("POST", "/messages", `{"channels":"c","messages":{}}`).Status, "a batch does not meet it")
	require.Equal(t, 42913, c.do("POST", "/channels/c/messages", `{}`).Code)
}

func TestPublishBare(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	c := raw(t, srv)
	c.head["X-Ably-MessageId"] = "m1"
	c.head["X-Ably-Name"] = "odds"
	c.head["X-Ably-ClientId"] = base64.StdEncoding.EncodeToString([]byte("u1"))
	for i, tc := range []struct{ kind, body, data, encoding string }{
		{"text/plain", `{"a":1}`, `{"a":1}`, ""},
		{"application/json", `{"a":1}`, `{"a":1}`, "json"},
		{"application/octet-stream", "\xff", "\xff", ""},
	} {
		c.head["Content-Type"], c.head["X-Ably-MessageId"] = tc.kind, fmt.Sprint("m", i)
		require.Equal(t, 201, c.do("POST", "/channels/c/messages?enveloped=false", tc.body).Status)
		m := srv.Messages("c")[i]
		require.Equal(t, ably.Message{
			Seq: uint64(i + 1), At: m.At, Channel: "c", ID: fmt.Sprint("m", i), Name: "odds", ClientID: "u1",
			Data: []byte(tc.data), Encoding: tc.encoding, Serial: m.Serial, Via: ably.ViaREST,
		}, m)
	}
	c.head["X-Ably-ClientId"] = "%"
	require.Equal(t, 40012, c.do("POST", "/channels/c/messages?enveloped=false", "x").Code)
}

// TestPublishFor: a connectionKey publishes in the name of a connection.
func TestPublishFor(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{Keys: []ably.Key{
		{ID: "root"}, {ID: "plain", Capability: map[string][]string{"*": {"publish", "subscribe"}}},
	}})
	c := raw(t, srv)
	s := dial(t, srv, key(srv))
	hello := s.is(4)
	require.Equal(t, 40006, c.do("POST", "/channels/c/messages", `{"connectionKey":"no such"}`).Code)
	require.Equal(t, 201, c.do("POST", "/channels/c/messages", `{"connectionKey":"`+hello.ConnectionDetails.ConnectionKey+`"}`).Status)
	require.Equal(t, hello.ConnectionID, srv.Messages("c")[0].ConnectionID)

	// Extras: what is unknown, nested, or not for everybody.
	plain := c.as(basic(srv.KeyOf("plain")))
	require.Equal(t, 40032, c.do("POST", "/channels/c/messages", `{"extras":{"headers":{"a":{}}}}`).Code)
	require.Equal(t, 40032, c.do("POST", "/channels/c/messages", `{"extras":{"headers":"x"}}`).Code)
	require.Equal(t, 40160, plain.do("POST", "/channels/c/messages", `{"extras":{"privileged":{"skipRule":"*"}}}`).Code)
	require.Equal(t, 40012, c.do("POST", "/channels/c/messages", `{"clientId":"*"}`).Code)
}

// TestMessagesTold: OnMessage hears of everything, once and in order.
func TestMessagesTold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []ably.Message
	srv := start(t, ably.Config{ChannelRate: -1, MaxMessages: 8, OnMessage: func(m ably.Message) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, m)
	}})
	var wg sync.WaitGroup
	rt := realtime(t, srv, sdk.WithKey(srv.Key()))
	for i := range 4 {
		wg.Go(func() {
			c := raw(t, srv)
			for j := range 10 {
				r, err := c.try("POST", "/channels/c/messages", fmt.Sprintf(`{"id":"%d-%d"}`, i, j))
				if err != nil || r.Status != 201 {
					t.Error("not published", err)
				}
				if err := rt.Channels.Get("c").Publish(t.Context(), "x", "y"); err != nil {
					t.Error("not published", err)
				}
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(told) == 80 }, time.Minute, time.Millisecond)
	for i, m := range told {
		require.Equal(t, uint64(i+1), m.Seq)
	}
	kept := srv.Messages("c")
	require.GreaterOrEqual(t, len(kept), 8)
	require.Less(t, len(kept), 17)
	require.Equal(t, told[80-len(kept):], kept)
	require.Equal(t, kept[1:], srv.MessagesSince(kept[0].Seq))
}

func TestBatchPresence(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	user := realtime(t, srv, sdk.WithKey(srv.Key()), sdk.WithClientID("u1"))
	require.NoError(t, user.Channels.Get("a").Presence.Enter(soon(t), "page"))
	c := raw(t, srv)
	var got struct {
		SuccessCount, FailureCount int
		Results                    []struct {
			Channel  string
			Presence []struct{ ClientID, Data string }
			Error    *struct{ Code int }
		}
	}
	decode(t, c.do("GET", "/presence?channels=a,b,:c", "").Body, &got)
	require.Equal(t, 2, got.SuccessCount)
	require.Equal(t, 1, got.FailureCount)
	require.Equal(t, "page", got.Results[0].Presence[0].Data)
	require.NotNil(t, got.Results[1].Presence)
	require.Empty(t, got.Results[1].Presence)
	require.Equal(t, 40010, got.Results[2].Error.Code)
	require.Equal(t, 40003, c.do("GET", "/presence", "").Code)
}
