package ablypush

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
)

// These tests look inside for the parts of a Watcher that take minutes, or that
// a real connection hides.

// call is one call of a Retirer.
type call struct {
	target devices.Target
	before time.Time
	reason string
}

// fakeRetirer notes its calls and fails when told to.
type fakeRetirer struct {
	mu    sync.Mutex
	calls []call
	err   error
}

func (r *fakeRetirer) RetireTarget(_ context.Context, target devices.Target, before time.Time, reason string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call{target, before, reason})
	return r.err == nil, r.err
}

func (r *fakeRetirer) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func newTestWatcher(t *testing.T, url string, reg prometheus.Registerer, out io.Writer) (*Watcher, *fakeRetirer) {
	t.Helper()
	r := &fakeRetirer{}
	w, err := NewWatcher(WatcherConfig{
		Key: "app1.key1:s3cret", URL: url, Retirer: r, Registerer: reg, Log: zerolog.New(out),
	})
	require.NoError(t, err)
	t.Cleanup(w.client.transport.CloseIdleConnections)
	return w, r
}

func event(id string, at time.Time, code int, device string) failure {
	return failure{id: id, at: at, code: code, device: device}
}

// TestHandle: what is counted, what is retired.
func TestHandle(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	w, r := newTestWatcher(t, "", reg, io.Discard)
	now := time.Now()
	for i, f := range []failure{
		{code: failureToken, device: "d1"},
		{code: failureToken},
		{code: failureExhausted, device: "d2"},
		{code: failureUnreachable, device: "d2"},
		{code: failureRate, device: "d3"},
		{code: 40181},
		{device: "d4"},
		{code: failurePayload, device: "d5"},
	} {
		f.id, f.at = fmt.Sprint(i), now
		w.handle(t.Context(), f)
		w.handle(t.Context(), f) // from the other way
	}
	require.Equal(t, []call{{
		devices.Target{Kind: devices.AblyDevice, Value: "d1"}, now.Add(-retireMargin), ReasonTokenInvalid,
	}}, r.calls)
	for code, want := range map[string]float64{
		"103005": 2, "103001": 1, "103007": 1, "42926": 1, "103004": 1, FailureOther: 1, FailureUnreadable: 1, "103006": 0,
	} {
		require.InDelta(t, want, testutil.ToFloat64(w.metrics.failures.WithLabelValues(code)), 0, code)
	}
	require.Equal(t, len(FailureCodes()), testutil.CollectAndCount(w.metrics.failures), "the set of codes is closed")
	require.InDelta(t, 1, testutil.ToFloat64(w.metrics.retired), 0)
}

// TestAlarm: one line when credentials are refused, one when that is over.
func TestAlarm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		w, r := newTestWatcher(t, "", nil, &out)
		raised := func() float64 { return testutil.ToFloat64(w.metrics.alarm.WithLabelValues("103008")) }

		w.handle(t.Context(), event("old", time.Now().Add(-time.Hour), failureCredentials, "d1"))
		require.Zero(t, raised(), "an alarm about what may be mended since")
		for i := range 20 {
			w.handle(t.Context(), event(fmt.Sprint(i), time.Now(), failureCredentials, "d1"))
			time.Sleep(time.Minute)
			w.endSpells(time.Now())
		}
		require.InDelta(t, 1, raised(), 0)
		require.Equal(t, 1, strings.Count(out.String(), `"level":"error"`), out.String())
		require.Contains(t, out.String(), "103008")
		time.Sleep(spellEnds)
		w.endSpells(time.Now())
		require.Zero(t, raised())
		require.Equal(t, 1, strings.Count(out.String(), "no longer"))
		w.handle(t.Context(), event("again", time.Now(), failureCredentials, "d1"))
		require.Equal(t, 2, strings.Count(out.String(), `"level":"error"`))
		require.Empty(t, r.calls)
		require.NotContains(t, out.String(), "d1")
	})
}

// TestRetirementsAreKept: what the registry could not take is tried again, with
// the latest time.
func TestRetirementsAreKept(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	w, r := newTestWatcher(t, "", nil, &out)
	r.fail(errors.New("database is away"))
	now := time.Now()
	for i := range 3 {
		w.handle(t.Context(), event(fmt.Sprint(i), now.Add(time.Duration(i)*time.Second), failureToken, "d1"))
	}
	w.handle(t.Context(), event("late", now.Add(-time.Minute), failureToken, "d1"))
	w.handle(t.Context(), event("other", now, failureToken, "d2"))
	require.Len(t, w.pending, 2)
	require.Equal(t, 1, strings.Count(out.String(), "could not be retired"))
	before := len(r.calls)
	w.retryPending(t.Context())
	require.Len(t, r.calls, before+1, "one try shows that the registry is still away")

	r.fail(nil)
	r.calls = nil
	w.retryPending(t.Context())
	require.Empty(t, w.pending)
	require.ElementsMatch(t, []call{
		{devices.Target{Kind: devices.AblyDevice, Value: "d1"}, now.Add(2*time.Second - retireMargin), ReasonTokenInvalid},
		{devices.Target{Kind: devices.AblyDevice, Value: "d2"}, now.Add(-retireMargin), ReasonTokenInvalid},
	}, r.calls)
	require.Contains(t, out.String(), "retired again")
	require.NotContains(t, out.String(), "d1", "a device id is a target")
}

// TestLiveNeverWaits: what does not fit is left to history.
func TestLiveNeverWaits(t *testing.T) {
	t.Parallel()
	w, _ := newTestWatcher(t, "", nil, io.Discard)
	for i := range liveBuffer {
		w.offer(event(fmt.Sprint(i), time.Now(), failureToken, "d"))
	}
	require.Empty(t, w.reread)
	w.offer(event("one more", time.Now(), failureToken, "d"))
	require.Len(t, w.reread, 1)
}

// historyServer serves pages of the push log.
func historyServer(t *testing.T, serve http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != "/channels/%5Bmeta%5Dlog:push/messages" || r.URL.Query().Get("direction") != "forwards" {
			http.NotFound(w, r)
			return
		}
		serve(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func message(id string, at time.Time, device string) string {
	return fmt.Sprintf(`{"id":%q,"name":"push","timestamp":%d,"encoding":"json","data":"{\"deviceId\":\"%s\",\"error\":{\"code\":103005}}"}`, id, at.UnixMilli(), device)
}

// TestHistoryPages: pages are followed, and the next reading begins where this
// one was complete, with an overlap that changes nothing.
func TestHistoryPages(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	var starts []string
	url := historyServer(t, func(rw http.ResponseWriter, r *http.Request) {
		starts = append(starts, r.URL.Query().Get("start"))
		rw.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		rw.Header().Add("Link", `<./messages?limit=1>; rel="first"`)
		switch r.URL.Query().Get("cursor") {
		case "":
			rw.Header().Add("Link", `<./messages?direction=forwards&cursor=2>; rel="next"`)
			_, _ = io.WriteString(rw, "["+message("m1", now.Add(-3*time.Second), "d1")+"]")
		case "2":
			rw.Header().Add("Link", `<./messages?x=1>; rel="current", <./messages?direction=forwards&cursor=3>; rel="next"`)
			_, _ = io.WriteString(rw, "[]")
		case "3":
			_, _ = io.WriteString(rw, "["+message("m2", now.Add(-2*time.Second), "d2")+","+message("m2", now.Add(-2*time.Second), "d2")+"]")
		}
	})
	w, r := newTestWatcher(t, url, nil, io.Discard)
	w.cursor = now.Add(-time.Hour)
	require.True(t, w.catchUp(t.Context()))
	require.Len(t, r.calls, 2)
	require.Equal(t, now.Add(-overlap).UnixMilli(), w.cursor.UnixMilli())
	require.Equal(t, fmt.Sprint(now.Add(-time.Hour).UnixMilli()), starts[0])

	require.True(t, w.catchUp(t.Context()))
	require.Len(t, r.calls, 2, "an event was handled twice")
	require.Equal(t, fmt.Sprint(now.Add(-overlap).UnixMilli()), starts[3])
}

// TestHistoryFails: the cursor stays before what was not read, the operator is
// told once, and a link to another server is not followed with our key.
func TestHistoryFails(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Error("the key was sent to", r.Host)
	}))
	t.Cleanup(elsewhere.Close)
	for name, serve := range map[string]http.HandlerFunc{
		"capability": func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(rw, `{"error":{"code":40160}}`)
		},
		"a page":      func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "<html>") },
		"an object":   func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "{}") },
		"unavailable": func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) },
		"elsewhere": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Link", "<"+elsewhere.URL+`/messages>; rel="next"`)
			_, _ = io.WriteString(rw, "[]")
		},
		"second page": func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") != "" {
				rw.WriteHeader(http.StatusInternalServerError)
				return
			}
			rw.Header().Set("Link", `<./messages?direction=forwards&cursor=2>; rel=next`)
			_, _ = io.WriteString(rw, "["+message("m1", time.Now().Add(-30*time.Minute), "d1")+"]")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			w, _ := newTestWatcher(t, historyServer(t, serve), nil, &out)
			start := time.Now().Add(-time.Hour)
			w.cursor = start
			for range 3 {
				require.False(t, w.catchUp(t.Context()))
			}
			require.False(t, w.cursor.Before(start))
			require.True(t, w.cursor.Before(time.Now().Add(-30*time.Minute)), "what was not read is skipped")
			require.Equal(t, 1, strings.Count(out.String(), "could not be read"), out.String())
			require.NotContains(t, out.String(), "s3cret")
		})
	}
}

// TestHistoryIsBounded: an endless history ends a reading, and the next goes on.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	start := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	pages := 0
	url := historyServer(t, func(rw http.ResponseWriter, _ *http.Request) {
		pages++
		rw.Header().Set("Link", fmt.Sprintf(`<./messages?direction=forwards&cursor=%d>; rel="next"`, pages))
		_, _ = io.WriteString(rw, "["+message(fmt.Sprint(pages), start.Add(time.Duration(pages)*time.Second), "d")+"]")
	})
	w, _ := newTestWatcher(t, url, nil, io.Discard)
	w.cursor = start
	require.True(t, w.catchUp(t.Context()))
	require.Equal(t, maxPages, pages)
	require.Len(t, w.reread, 1, "nobody reads the rest")
	require.Equal(t, start.Add(maxPages*time.Second).UnixMilli(), w.cursor.UnixMilli())
}
