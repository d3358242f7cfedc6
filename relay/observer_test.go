package relay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// observer sees every attempt to publish that reaches Ably.
type observer struct {
	t        *testing.T
	service  *url.URL
	progress *memory

	mu       sync.Mutex
	attempts map[string]int // by message id
	faults   []string
}

func newObserver(t *testing.T, service string, progress *memory) *observer {
	t.Helper()
	u, err := url.Parse(service)
	require.NoError(t, err)
	return &observer{t: t, service: u, progress: progress, attempts: map[string]int{}}
}

// link is Ably for one relay.
type link struct {
	url  string
	mu   sync.Mutex
	held chan struct{} // nil when answers get through; closed when they are given up
	kept atomic.Int64  // answers that were held
}

func (o *observer) link() *link {
	l := &link{}
	proxy := httputil.NewSingleHostReverseProxy(o.service)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the relay is gone
		}
		o.see(r.URL.Path, body)
		// Once Ably has it, Ably has it: also when the relay is gone meanwhile.
		r = r.WithContext(context.WithoutCancel(r.Context()))
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		time.Sleep(5 * time.Millisecond) // the latency of a network
		l.mu.Lock()
		held := l.held
		l.mu.Unlock()
		if held != nil {
			l.kept.Add(1)
			<-held
			return
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = answer.Body.WriteTo(w)
	}))
	l.url = server.URL
	o.t.Cleanup(func() {
		l.giveUp()
		server.Close()
	})
	return l
}

// hold lets no more answers through: what Ably takes from now on, the relay
// never hears of.
func (l *link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = make(chan struct{})
}

// giveUp ends the requests whose answers were held.
func (l *link) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// see books an attempt. It is a fault when the message is noted as published:
// then its outcome was known.
func (o *observer) see(path string, body []byte) {
	var messages []message
	channel, ok := strings.CutSuffix(strings.TrimPrefix(path, "/channels/"), "/messages")
	if err := json.Unmarshal(body, &messages); err != nil || !ok {
		o.fault("unreadable publish to " + path)
		return
	}
	for _, m := range messages {
		if mark, ok := o.progress.mark(channel); ok && m.offset() <= mark {
			o.fault(m.ID + " is published again on " + channel + " though offset " + strconv.FormatInt(mark, 10) + " is noted")
		}
		o.mu.Lock()
		o.attempts[m.ID]++
		o.mu.Unlock()
	}
}

func (o *observer) fault(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = append(o.faults, text)
}

// repeated counts the messages that were attempted more than once.
func (o *observer) repeated() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, attempts := range o.attempts {
		if attempts > 1 {
			n++
		}
	}
	return n
}

func (o *observer) noFaults() {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Empty(o.t, o.faults)
}

// mark is the newest offset noted for a channel.
func (m *memory) mark(channel string) (int64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, marks := range m.marks {
		if mark, ok := marks[channel]; ok {
			return mark.Offset, true
		}
	}
	return 0, false
}
