package ably_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/ably/ably-go/ably"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// receiver takes webhooks and answers with the next of its statuses, 200 when
// there is none.
type receiver struct {
	t        *testing.T
	server   *httptest.Server
	mu       sync.Mutex
	statuses []int
	got      []posted
}

type posted struct {
	header http.Header
	raw    []byte
	Items  []struct {
		WebhookID string
		Source    string
		Serial    string
		Timestamp int64
		Name      string
		Data      struct {
			ChannelID string
			Site      string
			Messages  []map[string]any
			Presence  []map[string]any
		}
	}
}

// ids are those of all messages in the request.
func (p posted) ids() string {
	var out []string
	for _, it := range p.Items {
		for _, m := range it.Data.Messages {
			out = append(out, fmt.Sprint(m["id"]))
		}
	}
	return strings.Join(out, " ")
}

func receive(t *testing.T, statuses ...int) *receiver {
	t.Helper()
	r := &receiver{t: t, statuses: statuses}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		p := posted{header: req.Header, raw: b}
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil || json.Unmarshal(b, &p) != nil {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		r.got = append(r.got, p)
		if len(r.statuses) > 0 {
			w.WriteHeader(r.statuses[0])
			r.statuses = r.statuses[1:]
		}
	}))
	t.Cleanup(r.server.Close)
	return r
}

// wait waits for n requests in all.
func (r *receiver) wait(n int) []posted {
	r.t.Helper()
	var got []posted
	require.Eventually(r.t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = append([]posted(nil), r.got...)
		return len(got) >= n
	}, time.Minute, time.Millisecond)
	return got
}

// TestWebhookForm: the body, its headers and its signature are as documented.
func TestWebhookForm(t *testing.T) {
	t.Parallel()
	in := receive(t)
	clock := newVirtual()
	srv := start(t, ably.Config{
		Keys: []ably.Key{{ID: "root", Secret: "s3cret-part"}},
		Now:  clock.now, After: clock.after,
		Webhooks: []ably.Webhook{{
			ID: "whA1", URL: in.server.URL, Channels: "^inbound:betting:.*", SigningKey: "root",
			Sources: []string{ably.SourceMessage, ably.SourcePresence}, Headers: map[string]string{"X-Mine": "yes"},
		}},
	})
	// The vector of the documentation of this format, checked elsewhere too.
	require.Equal(t, "VfmrgijOZYFRvh29QRDNAD3KiEe/AQuFyiaHDpIoW04=", srv.Sign("root", []byte(`{"items":[]}`)))
	require.Empty(t, srv.Sign("none", nil))

	c := raw(t, srv)
	require.Equal(t, 201, c.do("POST", "/channels/outbound:odds:1/messages", `{"id":"o"}`).Status, "does not match")
	require.Equal(t, 201, c.do("POST", "/channels/inbound:betting:f1:u1/messages",
		`{"id":"b1","name":"My-User-Name","clientId":"u1","data":"{\"name\":\"Car 1\",\"odds\":0.125}"}`).Status)
	p := in.wait(1)[0]
	require.JSONEq(t, fmt.Sprintf(`{"items":[{"webhookId":"whA1","source":"channel.message","serial":"bugle0:1","timestamp":%d,"name":"channel.message",
		"data":{"channelId":"inbound:betting:f1:u1","site":"stand-in","messages":[
		{"id":"b1","name":"My-User-Name","clientId":"u1","timestamp":%[1]d,"data":"{\"name\":\"Car 1\",\"odds\":0.125}"}]}}]}`,
		clock.now().UnixMilli()), string(p.raw))
	require.Equal(t, "application/json", p.header.Get("Content-Type"))
	require.Equal(t, "1.2", p.header.Get("X-Ably-Version"))
	require.Equal(t, "yes", p.header.Get("X-Mine"))
	require.Equal(t, "root", p.header.Get("X-Ably-Key"))
	mac := hmac.New(sha256.New, []byte("s3cret-part"))
	mac.Write(p.raw)
	require.Equal(t, base64.StdEncoding.EncodeToString(mac.Sum(nil)), p.header.Get("X-Ably-Signature"))

	// Presence, a message in pieces, data that is no text, one that skips.
	require.Equal(t, time.Second, clock.asleep(t))
	user := realtime(t, srv, sdk.WithKey(srv.Key()), sdk.WithClientID("u1"))
	ch := user.Channels.Get("inbound:betting:f1:u1")
	require.NoError(t, ch.Presence.Enter(soon(t), "Car Racing Page"))
	require.NoError(t, ch.PublishMultiple(soon(t), []*sdk.Message{{Name: "a", Data: []byte{0xff}}, {Name: "b", Data: map[string]any{"n": 1}}}))
	require.Equal(t, 201, c.do("POST", "/channels/inbound:betting:f1:u1/messages", `{"id":"s1","extras":{"privileged":{"skipRule":"*"}}}`).Status)
	require.Equal(t, 201, c.do("POST", "/channels/inbound:betting:f1:u1/messages", `{"id":"s2","extras":{"privileged":{"skipRule":["whA1"]}}}`).Status)
	require.Equal(t, 201, c.do("POST", "/channels/inbound:betting:f1:u1/messages", `{"id":"s3","extras":{"privileged":{"skipRule":["other"]}}}`).Status)
	require.NoError(t, ch.Presence.Leave(soon(t), nil))
	clock.pass(time.Second)
	p = in.wait(2)[1]
	require.Len(t, p.Items, 4)
	require.Equal(t, "channel.presence presence.message", p.Items[0].Source+" "+p.Items[0].Name)
	require.Equal(t, map[string]any{
		"action": 2.0, "clientId": "u1", "data": "Car Racing Page", "connectionId": user.Connection.ID(),
		"id": user.Connection.ID() + ":0:0", "timestamp": float64(clock.now().Add(-time.Second).UnixMilli()),
	}, p.Items[0].Data.Presence[0])
	require.Len(t, p.Items[1].Data.Messages, 2, "published as one")
	require.Equal(t, "/w==", p.Items[1].Data.Messages[0]["data"])
	require.Equal(t, "base64", p.Items[1].Data.Messages[0]["encoding"])
	require.Equal(t, "json", p.Items[1].Data.Messages[1]["encoding"])
	require.Equal(t, "s3", p.Items[2].Data.Messages[0]["id"])
	require.Contains(t, string(p.raw), `"presence":[{"action":3,`)

	clock.asleep(t) // it has read the answer
	st := srv.Stats()
	require.Equal(t, []uint64{2, 0, 5, 0, 0}, []uint64{st.WebhookRequests, st.WebhookFailures, st.WebhookEvents, st.WebhookRepeats, st.WebhookPending})
	got := srv.Deliveries()
	require.Len(t, got, 2)
	require.Equal(t, in.wait(2)[0].raw, got[0].Body)
	require.Equal(t, []string{"b1"}, got[0].Messages)
	require.True(t, got[1].Succeeded())
}

// TestWebhookRetries: failures grow the interval by √2, new events are
// appended, order stays, and what is five minutes old is discarded.
func TestWebhookRetries(t *testing.T) {
	t.Parallel()
	in := receive(t, 500, 503, 429, 404, 302)
	clock := newVirtual()
	srv := start(t, ably.Config{Now: clock.now, After: clock.after, Webhooks: []ably.Webhook{{URL: in.server.URL, MaxEvents: 5}}})
	c := raw(t, srv)
	send := func(id string) {
		require.Equal(t, 201, c.do("POST", "/channels/c/messages", `{"id":"`+id+`"}`).Status)
	}
	send("m0")
	want := "m0"
	for i := range 5 {
		got := in.wait(i + 1)
		require.Equal(t, want, got[i].ids())
		require.Empty(t, got[i].header.Get("X-Ably-Signature"), "no key, no signature")
		exact := math.Pow(math.Sqrt2, float64(i+1)) * float64(time.Second)
		require.InDelta(t, exact, float64(clock.asleep(t)), float64(time.Microsecond))
		if i < 4 {
			send(fmt.Sprint("m", i+1))
			want += fmt.Sprint(" m", i+1)
		} else {
			send("m5") // does not fit
		}
		require.Len(t, in.wait(i+1), i+1, "not before its time")
		clock.pass(clock.asleep(t))
	}
	require.Equal(t, want, in.wait(6)[5].ids(), "and this one succeeds")
	require.Equal(t, time.Second, clock.asleep(t))
	clock.pass(time.Second)
	require.Equal(t, "m5", in.wait(7)[6].ids())
	clock.pass(clock.asleep(t))

	// A receiver that is away for longer than events live.
	in.mu.Lock()
	for range 1000 {
		in.statuses = append(in.statuses, 500)
	}
	in.mu.Unlock()
	began := clock.now()
	send("old")
	n := 8
	for ; clock.now().Sub(began) <= 5*time.Minute; n++ {
		in.wait(n)
		d := clock.asleep(t)
		require.LessOrEqual(t, d, time.Minute)
		if n == 8 {
			send("newer")
			began = began.Add(-time.Millisecond)
		}
		clock.pass(d)
	}
	require.Eventually(t, func() bool { return srv.Stats().WebhookPending == 0 }, time.Minute, time.Millisecond)
	st := srv.Stats()
	require.Equal(t, uint64(2), st.WebhookDiscarded)
	require.Equal(t, uint64(7+n-8), st.WebhookRequests)
	require.Equal(t, uint64(6), st.WebhookEvents)
}

func TestWebhookFaults(t *testing.T) {
	t.Parallel()
	in := receive(t)
	clock := newVirtual()
	srv := start(t, ably.Config{
		Now: clock.now, After: clock.after, Webhooks: []ably.Webhook{{URL: in.server.URL, LongKeyName: true, SigningKey: "root"}},
	})
	c := raw(t, srv)
	send := func(id string) {
		require.Equal(t, 201, c.do("POST", "/channels/c/messages", `{"id":"`+id+`"}`).Status)
	}
	srv.SendTwice(1)
	send("a")
	require.Equal(t, "a", in.wait(1)[0].ids())
	require.Equal(t, srv.AppID()+".root", in.wait(1)[0].header.Get("X-Ably-Key"))
	send("b")
	clock.pass(clock.asleep(t))
	require.Equal(t, "a b", in.wait(2)[1].ids(), "made again, with what came meanwhile")
	clock.pass(clock.asleep(t))

	require.NoError(t, srv.SetFaults(ably.Faults{Webhooks: ably.WebhookFaults{Repeat: 1}}))
	send("c")
	require.Equal(t, "c", in.wait(3)[2].ids())
	clock.pass(clock.asleep(t))
	require.Equal(t, "c", in.wait(4)[3].ids(), "an event repeats once")
	clock.pass(clock.asleep(t))

	require.NoError(t, srv.SetFaults(ably.Faults{Webhooks: ably.WebhookFaults{Twice: 1, DelayMin: time.Minute, DelayMax: time.Minute}}))
	send("d")
	require.Equal(t, time.Minute, clock.asleep(t))
	send("e")
	clock.pass(time.Minute)
	require.Equal(t, "d e", in.wait(5)[4].ids())
	clock.pass(clock.asleep(t))
	require.Equal(t, time.Minute, clock.asleep(t))
	clock.pass(time.Minute)
	require.Equal(t, "d e", in.wait(6)[5].ids())
	require.Eventually(t, func() bool { return srv.Stats().WebhookPending == 0 }, time.Minute, time.Millisecond)
	st := srv.Stats()
	require.Equal(t, uint64(4), st.WebhookRepeats)
	require.Equal(t, map[ably.Kind]uint64{ably.WebhookTwice: 2, ably.WebhookRepeat: 1}, st.Faults)
	require.ErrorIs(t, srv.SetFaults(ably.Faults{Webhooks: ably.WebhookFaults{Twice: 2}}), ably.ErrFaults)
}

// TestWebhookTimeout: an answer that does not come is a failure.
func TestWebhookTimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) })
	srv := start(t, ably.Config{Webhooks: []ably.Webhook{{URL: slow.URL, Timeout: 20 * time.Millisecond, Interval: time.Millisecond}}})
	require.Equal(t, 201, raw(t, srv).do("POST", "/channels/c/messages", `{"id":"a"}`).Status)
	require.Eventually(t, func() bool { return srv.Stats().WebhookFailures >= 2 }, time.Minute, time.Millisecond)
	for i, d := range srv.Deliveries() {
		require.Zero(t, d.Status)
		require.Equal(t, i+1, d.Attempt)
	}
}

func TestWebhookConfig(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]ably.Webhook{
		"url":      {URL: "ftp://x"},
		"host":     {URL: "http://"},
		"regexp":   {URL: "http://x", Channels: "("},
		"source":   {URL: "http://x", Sources: []string{"channel.lifecycle"}},
		"key":      {URL: "http://x", SigningKey: "none"},
		"interval": {URL: "http://x", Interval: -1},
	} {
		_, err := ably.Start(t.Context(), ably.Config{Webhooks: []ably.Webhook{w}})
		require.ErrorContains(t, err, "webhook rule1", name)
	}
}
