package ablyfeed_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/relay"
	"github.com/bugle-push/bugle/relay/ablyfeed"
)

const (
	secret = "s3cret-part/of+it="
	key    = "app1.key1:" + secret
)

var message = relay.Message{
	Channel: "outbound:odds:event 1/x", ID: "c/odds/0/7", Name: "odds", Data: []byte(`[{"odds":0.125}]`), Encoding: relay.EncodingJSON,
	Headers: map[string]any{"kafka-offset": int64(7), "kafka-topic": "odds"},
}

// service answers in Ably's place.
type service struct {
	*httptest.Server
	requests, conns atomic.Int64
}

func newService(t *testing.T, answer http.HandlerFunc) *service {
	t.Helper()
	s := &service{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		answer(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func newPublisher(t *testing.T, url string) *ablyfeed.Publisher {
	t.Helper()
	p, err := ablyfeed.New(ablyfeed.Config{Key: " " + key + "\n", URL: url, DialTimeout: time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close(context.Background())) })
	return p
}

func accept(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{"channel":"c","messageId":"m","serials":["`+strings.Repeat("s", 5000)+`"]}`)
}

// What goes over the wire, and over as few connections as there are requests at once.
func TestRequest(t *testing.T) {
	t.Parallel()
	type request struct {
		method, path, auth string
		body               []map[string]any
	}
	got := make(chan request, 10)
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		q := request{method: r.Method, path: r.URL.EscapedPath(), auth: r.Header.Get("Authorization")}
		if err := json.NewDecoder(r.Body).Decode(&q.body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		got <- q
		accept(w, r)
	})
	p := newPublisher(t, s.URL)
	for _, m := range []relay.Message{
		message,
		{Channel: "c", ID: "c/odds/0/8", Data: []byte("plain"), Headers: map[string]any{"kafka-offset": int64(8)}},
		{Channel: "c", ID: "c/odds/0/9", Data: []byte{0xff, 0}, Encoding: relay.EncodingBytes, Headers: map[string]any{"kafka-offset": int64(9)}},
	} {
		require.Equal(t, relay.Answer{Verdict: relay.Accepted}, p.Publish(t.Context(), m))
	}
	require.Equal(t, request{
		method: http.MethodPost, path: "/channels/outbound:odds:event%201%2Fx/messages",
		auth: "Basic " + base64.StdEncoding.EncodeToString([]byte(key)),
		body: []map[string]any{{
			"id": "c/odds/0/7", "name": "odds", "data": `[{"odds":0.125}]`, "encoding": "json",
			"extras": map[string]any{"headers": map[string]any{"kafka-offset": 7.0, "kafka-topic": "odds"}},
		}},
	}, <-got)
	require.Equal(t, map[string]any{
		"id": "c/odds/0/8", "data": "plain", "extras": map[string]any{"headers": map[string]any{"kafka-offset": 8.0}},
	}, (<-got).body[0])
	require.Equal(t, map[string]any{
		"id": "c/odds/0/9", "data": "/wA=", "encoding": "base64", "extras": map[string]any{"headers": map[string]any{"kafka-offset": 9.0}},
	}, (<-got).body[0])
	require.EqualValues(t, 1, s.conns.Load(), "answers are read, so that connections are used again")
}

func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func refuse(status, code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Ably-ErrorCode", fmt.Sprint(code))
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"message":"no %s?key=%s&x=1","code":%d,"statusCode":%d}}`, secret, key, code, status)
	}
}

func html(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html>"+key+"</html>")
	}
}

// Each answer means one thing, is one request, and tells no secret.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   relay.Verdict
		code   int
	}{
		"channel rate":     {refuse(429, 42913), relay.ChannelLimited, 42913},
		"channel bytes":    {refuse(429, 42914), relay.ChannelLimited, 42914},
		"account messages": {refuse(429, 42917), relay.AccountLimited, 42917},
		"account requests": {refuse(429, 42918), relay.AccountLimited, 42918},
		"edge, headers alone": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Ably-ErrorCode", "42922")
			w.WriteHeader(http.StatusTooManyRequests)
		}, relay.AccountLimited, 42922},
		"429 by a proxy": {html(429), relay.AccountLimited, 0},
		"internal":       {refuse(500, 50000), relay.Unknown, 50000},
		"gateway":        {html(502), relay.Unknown, 0},
		"unavailable":    {html(503), relay.Unknown, 0},
		"connection":     {refuse(400, 80003), relay.Unknown, 80003},
		"reset":          {reset, relay.Unknown, 0},
		"cut": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"chan`)
			_ = http.NewResponseController(w).Flush()
			reset(w, r)
		}, relay.Unknown, 0},
		"key":             {refuse(401, 40101), relay.Blocked, 40101},
		"key unreadable":  {refuse(400, 40005), relay.Blocked, 40005},
		"token expired":   {refuse(401, 40142), relay.Blocked, 40142},
		"account blocked": {refuse(403, 40112), relay.Blocked, 40112},
		"401 by a proxy":  {html(401), relay.Blocked, 0},
		"capability":      {refuse(401, 40160), relay.Denied, 40160},
		"forbidden":       {refuse(403, 40300), relay.Denied, 40300},
		"not found":       {refuse(404, 40400), relay.Denied, 40400},
		"no such page":    {html(404), relay.Denied, 0},
		"redirect":        {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, relay.Denied, 0},
		"bad request":     {refuse(400, 40000), relay.Refused, 40000},
		"too large":       {refuse(413, 40009), relay.Refused, 40009},
		"413 by a proxy":  {html(413), relay.Refused, 0},
		"channel name":    {refuse(400, 40010), relay.Refused, 40010},
		"extras":          {refuse(400, 40032), relay.Refused, 40032},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, tc.answer)
			got := newPublisher(t, s.URL).Publish(t.Context(), message)
			require.Equal(t, tc.want, got.Verdict, "%+v", got)
			require.Equal(t, tc.code, got.Code)
			require.NotEmpty(t, got.Reason)
			for _, s := range []string{secret, "key1", base64.StdEncoding.EncodeToString([]byte(key))} {
				require.NotContains(t, got.Reason, s)
			}
			require.EqualValues(t, 1, s.requests.Load())
		})
	}
}

// A request that cannot have arrived is told from one that may have.
func TestNotSent(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	p := newPublisher(t, "http://"+l.Addr().String())
	require.Equal(t, relay.NotSent, p.Publish(t.Context(), message).Verdict)

	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, relay.NotSent, p.Publish(over, message).Verdict)

	s := newService(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the client has gone
		<-r.Context().Done()
	})
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.Equal(t, relay.Unknown, newPublisher(t, s.URL).Publish(short, message).Verdict)
}

func TestAWrongConfigurationIsToldWithoutTheKey(t *testing.T) {
	t.Parallel()
	for _, cfg := range []ablyfeed.Config{
		{}, {Key: secret}, {Key: "app1.key1:"}, {Key: key, URL: "ftp://h"}, {Key: key, URL: "http://u:" + "p@h"}, {Key: key, URL: "http://h/path"},
	} {
		_, err := ablyfeed.New(cfg)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "s3cret")
	}
}
