package ably_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

func TestLifecycle(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	srv, err := ably.Start(ctx, ably.Config{PublicURL: "http://ably.local:17084/"})
	require.NoError(t, err)
	require.Equal(t, "http://ably.local:17084", srv.URL())
	require.Equal(t, "ably.local", srv.Host())
	require.Equal(t, 17084, srv.Port())
	require.NotZero(t, srv.Seed(), "a random one")
	require.Empty(t, srv.KeyOf("none"))
	cancel()
	require.NoError(t, srv.Close())
	require.NoError(t, srv.Close(), "again")
	require.Panics(t, func() {
		srv.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/time", nil))
	}, "closed")

	srv, err = ably.Start(t.Context(), ably.Config{FeedbackDelay: time.Hour})
	require.NoError(t, err)
	s := dial(t, srv, key(srv))
	s.is(4)
	phone := srv.MintDevice("u", ably.Android)
	require.NoError(t, srv.KillDevice(phone))
	require.Equal(t, 204, raw(t, srv).publish(push(phone, "n")).Status)
	require.NoError(t, srv.Inject(ably.Hang))
	hung := make(chan error, 1)
	c := raw(t, srv)
	go func() {
		_, err := c.try("POST", "/push/publish", push(phone, "n"))
		hung <- err
	}()
	require.Eventually(t, func() bool { return srv.Stats().Faults[ably.Hang] == 1 }, time.Minute, time.Millisecond)
	require.NoError(t, srv.Shutdown(t.Context()), "waits for neither the event nor the hanging request")
	require.Error(t, <-hung)
	s.ends()
	require.Empty(t, srv.Stats().LogEvents)
}

func TestFeedbackDelay(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{FeedbackDelay: 20 * time.Millisecond})
	c := raw(t, srv)
	phone := srv.MintDevice("u", ably.Android)
	require.NoError(t, srv.KillDevice(phone))
	require.Equal(t, 204, c.publish(push(phone, "n")).Status)
	require.Eventually(t, func() bool { return srv.Stats().LogEvents[103005] == 1 }, time.Minute, time.Millisecond)
}

// TestFailTransport: a transport's failure strikes direct recipients too.
func TestFailTransport(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	c := raw(t, srv)
	for _, code := range []int{103001, 103005, 103006, 103007, 103008} {
		srv.FailTransport("gcm", code)
		require.Equal(t, 204, c.publish(`{"recipient":{"transportType":"fcm","registrationToken":"x"},"data":{"a":"b"}}`).Status)
		require.Equal(t, 204, c.publish(`{"recipient":{"transportType":"apns","deviceToken":"x"},"data":{"a":"b"}}`).Status)
		got := srv.Accepted()
		require.Equal(t, code, got[len(got)-2].Code)
		require.Zero(t, got[len(got)-1].Code)
	}
	require.Len(t, srv.Stats().LogEvents, 5)
}

func TestRecordsAreBounded(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{MaxRecords: 4})
	c := raw(t, srv)
	phone := srv.MintDevice("u", ably.Android)
	for i := range 20 {
		require.Equal(t, 204, c.publish(push(phone, jsonText(t, i))).Status)
	}
	got := srv.Accepted()
	require.GreaterOrEqual(t, len(got), 4)
	require.LessOrEqual(t, len(got), 8)
	require.Equal(t, uint64(20), got[len(got)-1].Seq)
	require.Equal(t, 20-len(got), int(srv.Stats().Forgotten))
	require.Equal(t, got[1:], srv.AcceptedSince(got[0].Seq))
}

// FuzzBodies sends bodies of any kind to everything that reads one: the
// answer is never the server's own failure, and an error is always told.
func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		push("x", "n"), "[" + push("x", "n") + "]", `[{"recipient":[{"clientId":"u"}],"payload":{"data":{"a":"b"}}}]`,
		registration("d", "u", "t"), `{"channel":"c","clientId":"u"}`, `{"data":{"a":[1,2.5,null]},"extras":{"headers":{"a":1}}}`,
		`[{"id":"a:0"},{"id":"a:1"}]`, `{"keyName":"bugle0.root","ttl":1,"mac":"x"}`, "\x81\xa4data\xc4\x01x", "\x91\x80", "\xdf\xff\xff\xff\xff",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	srv, err := ably.Start(f.Context(), ably.Config{Seed: 1, ChannelRate: -1, MaxRecords: 100, MaxHistory: 100})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, srv.Close()) })
	srv.MintDevice("u", ably.Android)
	h := srv.Handler()
	f.Fuzz(func(t *testing.T, body []byte, msgpack bool) {
		for _, target := range []struct{ method, path string }{
			{"POST", "/push/publish"},
			{"POST", "/push/batch/publish"},
			{"POST", "/push/deviceRegistrations"},
			{"PUT", "/push/deviceRegistrations/d"},
			{"PATCH", "/push/deviceRegistrations/d"},
			{"POST", "/push/channelSubscriptions"},
			{"POST", "/channels/c/messages"},
			{"POST", "/keys/bugle0.root/requestToken"},
		} {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), target.method, target.path, bytes.NewReader(body))
			r.Header.Set("Authorization", basic(srv.Key()))
			r.Header.Set("Content-Type", "application/json")
			if msgpack {
				r.Header.Set("Content-Type", "application/x-msgpack")
			}
			h.ServeHTTP(w, r)
			require.Less(t, w.Code, 500, target.path)
			require.Equal(t, w.Code >= 400, w.Header().Get("X-Ably-ErrorCode") != "", target.path)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/channels/c/messages?format=msgpack", nil)
		r.Header.Set("Authorization", basic(srv.Key()))
		h.ServeHTTP(w, r)
		require.Equal(t, 200, w.Code)
		require.NotEmpty(t, w.Body.Bytes())
	})
}

// BenchmarkPublish is the cost of one push over a kept connection.
func BenchmarkPublish(b *testing.B) {
	srv, err := ably.Start(b.Context(), ably.Config{Seed: 1})
	require.NoError(b, err)
	defer srv.Close()
	phone := srv.MintDevice("u", ably.Android)
	h := srv.Handler()
	body := []byte(push(phone, "n"))
	auth := basic(srv.Key())
	for b.Loop() {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/push/publish", bytes.NewReader(body))
		r.Header.Set("Authorization", auth)
		h.ServeHTTP(w, r)
		if w.Code != http.StatusNoContent {
			b.Fatal(w.Code)
		}
	}
}
