package ablypush_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ablypush"
)

const (
	testKeyName = "bugle0.root"
	testSecret  = "s3cret-part+of/the=key"
	testKey     = testKeyName + ":" + testSecret
	testDevice  = "01J8ZZSECRETDEVICE"
	testClient  = "punter-77"
	testTitle   = "You won £12.50"
	testBody    = "Blue Heron came first in Kempton 15:05."
)

// service is a small server for one test: Ably's push API, with a publish that
// the test writes.
type service struct {
	*httptest.Server
	// publishes counts the requests to publish, whatever became of them.
	publishes atomic.Int64
	// lists counts the requests for the list of devices.
	lists atomic.Int64
	mu    sync.Mutex
	// bodies are the bodies of the publishes.
	bodies [][]byte
	// list answers a request for the list of devices; nil gives an empty one.
	list http.HandlerFunc
	// other takes all other requests; nil answers 404.
	other http.HandlerFunc
}

func newService(tb testing.TB, publish http.HandlerFunc) *service {
	tb.Helper()
	s := &service{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /push/publish", func(w http.ResponseWriter, r *http.Request) {
		s.publishes.Add(1)
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.bodies = append(s.bodies, b)
		s.mu.Unlock()
		publish(w, r)
	})
	mux.HandleFunc("GET /push/deviceRegistrations", func(w http.ResponseWriter, r *http.Request) {
		s.lists.Add(1)
		if s.list != nil {
			s.list(w, r)
			return
		}
		_, _ = io.WriteString(w, "[]")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if s.other != nil {
			s.other(w, r)
			return
		}
		http.NotFound(w, r)
	})
	s.Server = httptest.NewServer(mux)
	tb.Cleanup(s.Close)
	return s
}

// accept answers like Ably to a push that it takes.
func accept(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// answerWith answers with a status, headers and a body.
func answerWith(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// newSender makes a sender for a server, closed at the end of the test.
func newSender(tb testing.TB, url string, change func(*ablypush.Config)) *ablypush.Sender {
	tb.Helper()
	cfg := ablypush.Config{Key: testKey, URL: url, Timeout: 5 * time.Second, MaxInFlight: 8}
	if change != nil {
		change(&cfg)
	}
	s, err := ablypush.New(tb.Context(), cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close(tb.Context())) })
	return s
}

// push is a bet won, for an Android device.
func push() notifier.Push {
	return notifier.Push{
		Delivery: 7,
		Platform: devices.Android,
		Target:   devices.Target{Kind: devices.AblyDevice, Value: testDevice},
		Message: notifier.Message{
			NotificationID: 4711, Thread: "b1ByRx3kQ0a", Category: "win",
			Urgency: notifier.High, Class: notifier.Transactional,
			Title: testTitle, Body: testBody, Link: "app://bet/b-1",
			Data:      map[string]string{"bet": "b-1"},
			ExpiresAt: time.Now().Add(time.Hour),
		},
	}
}

// log is a log that may be written and read at once.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
