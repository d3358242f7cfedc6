package ably_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/ably/ably-go/ably"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/sandbox/ably"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// ably-go leaves the WebSocket open on which it was told that its token
		// has expired. TestRealtimeLeavesNothing looks at our own end.
		goleak.IgnoreTopFunction("nhooyr.io/websocket.(*Conn).timeoutLoop"))
}

// start runs a server for one test.
func start(t *testing.T, cfg ably.Config) *ably.Server {
	t.Helper()
	if cfg.Seed == 0 {
		cfg.Seed = 7
	}
	// Not the test's own context, which ends before clients are closed.
	srv, err := ably.Start(context.WithoutCancel(t.Context()), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv
}

// rawClient speaks HTTP to a server without an SDK's help.
type rawClient struct {
	t    *testing.T
	srv  *ably.Server
	http *http.Client
	auth string // the Authorization header
	head map[string]string
}

func raw(t *testing.T, srv *ably.Server) *rawClient {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &rawClient{
		t: t, srv: srv, http: &http.Client{Transport: tr, Timeout: time.Minute}, auth: basic(srv.Key()), head: map[string]string{},
	}
}

// as returns a copy of the client with other credentials.
func (c *rawClient) as(auth string) *rawClient {
	d := *c
	d.auth = auth
	return &d
}

func basic(key string) string {
	r := &http.Request{Header: http.Header{}}
	name, secret, _ := strings.Cut(key, ":")
	r.SetBasicAuth(name, secret)
	return r.Header.Get("Authorization")
}

// reply is an answer as a client reads it.
type reply struct {
	Status int
	Header http.Header
	Body   string
	Code   int
}

// try makes a request.
func (c *rawClient) try(method, path, body string) (*reply, error) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.srv.URL()+path, strings.NewReader(body))
	require.NoError(c.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.auth != "" {
		req.Header.Set("Authorization", c.auth)
	}
	for k, v := range c.head {
		req.Header.Set(k, v)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	out := &reply{Status: res.StatusCode, Header: res.Header, Body: string(b)}
	var e struct {
		Error struct{ Code, StatusCode int }
	}
	if bytes.HasPrefix(b, []byte(`{"error"`)) {
		require.NoError(c.t, json.Unmarshal(b, &e))
		out.Code = e.Error.Code
		require.Equal(c.t, out.Status, e.Error.StatusCode)
		require.Equal(c.t, res.Header.Get("X-Ably-ErrorCode"), jsonText(c.t, e.Error.Code))
	}
	return out, nil
}

// do makes a request and wants an answer.
func (c *rawClient) do(method, path, body string) *reply {
	c.t.Helper()
	r, err := c.try(method, path, body)
	require.NoError(c.t, err)
	return r
}

func (c *rawClient) publish(body string) *reply {
	c.t.Helper()
	return c.do(http.MethodPost, "/push/publish", body)
}

// push is the body of a push to a device.
func push(device, nid string) string {
	return `{"recipient":{"deviceId":"` + device + `"},"notification":{"title":"T","body":"B"},"data":{"nid":"` + nid + `"},` +
		`"apns":{"apns-headers":{"apns-collapse-id":"c"}},"fcm":{"android":{"collapse_key":"k","notification":{"tag":"t"}}}}`
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// options point an ably-go client to the stand-in.
func options(t *testing.T, srv *ably.Server, more ...sdk.ClientOption) []sdk.ClientOption {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return append([]sdk.ClientOption{
		sdk.WithEndpoint(srv.Host()), sdk.WithPort(srv.Port()), sdk.WithTLS(false),
		sdk.WithInsecureAllowBasicAuthWithoutTLS(), sdk.WithHTTPClient(&http.Client{Transport: tr, Timeout: time.Minute}),
		sdk.WithLogLevel(sdk.LogNone),
	}, more...)
}

// rest makes an ably-go REST client.
func rest(t *testing.T, srv *ably.Server, more ...sdk.ClientOption) *sdk.REST {
	t.Helper()
	c, err := sdk.NewREST(options(t, srv, more...)...)
	require.NoError(t, err)
	return c
}

// realtime makes a connected ably-go realtime client.
func realtime(t *testing.T, srv *ably.Server, more ...sdk.ClientOption) *sdk.Realtime {
	t.Helper()
	c, err := sdk.NewRealtime(options(t, srv, append([]sdk.ClientOption{sdk.WithAutoConnect(false)}, more...)...)...)
	require.NoError(t, err)
	connected := make(chan sdk.ConnectionStateChange, 1)
	c.Connection.OnceAll(func(sdk.ConnectionStateChange) {})
	off := c.Connection.On(sdk.ConnectionEventConnected, func(ch sdk.ConnectionStateChange) {
		select {
		case connected <- ch:
		default:
		}
	})
	failed := make(chan sdk.ConnectionStateChange, 1)
	offFailed := c.Connection.On(sdk.ConnectionEventFailed, func(ch sdk.ConnectionStateChange) { failed <- ch })
	c.Connect()
	select {
	case <-connected:
	case ch := <-failed:
		require.NoError(t, ch.Reason)
	case <-time.After(time.Minute):
		require.Fail(t, "not connected")
	}
	off()
	offFailed()
	t.Cleanup(func() { closeRealtime(t, c) })
	return c
}

// closeRealtime closes a client and waits until it is.
func closeRealtime(t *testing.T, c *sdk.Realtime) {
	t.Helper()
	closed := make(chan struct{}, 1)
	off := c.Connection.On(sdk.ConnectionEventClosed, func(sdk.ConnectionStateChange) { closed <- struct{}{} })
	defer off()
	c.Close()
	if s := c.Connection.State(); s == sdk.ConnectionStateClosed || s == sdk.ConnectionStateFailed {
		return
	}
	select {
	case <-closed:
	case <-time.After(time.Minute):
		require.Fail(t, "not closed", c.Connection.State())
	}
}

// soon is a context for one call.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// formats are the encodings an SDK can use.
func formats(t *testing.T, test func(t *testing.T, format sdk.ClientOption)) {
	t.Helper()
	for name, binary := range map[string]bool{"json": false, "msgpack": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, sdk.WithUseBinaryProtocol(binary))
		})
	}
}

// virtual is a clock that tests move by hand.
type virtual struct {
	mu     sync.Mutex
	at     time.Time
	timers []timer
}

type timer struct {
	due time.Time
	c   chan time.Time
}

func newVirtual() *virtual { return &virtual{at: time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)} }

func (v *virtual) now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at
}

func (v *virtual) after(d time.Duration) <-chan time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := timer{v.at.Add(d), make(chan time.Time, 1)}
	v.timers = append(v.timers, t)
	return t.c
}

func (v *virtual) pass(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at = v.at.Add(d)
	v.timers = slices.DeleteFunc(v.timers, func(t timer) bool {
		due := !t.due.After(v.at)
		if due {
			t.c <- v.at
		}
		return due
	})
}

// asleep waits until somebody waits for the clock, and returns for how long.
func (v *virtual) asleep(t *testing.T) time.Duration {
	t.Helper()
	var left time.Duration
	require.Eventually(t, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		if len(v.timers) == 0 {
			return false
		}
		left = v.timers[0].due.Sub(v.at)
		return true
	}, time.Minute, time.Millisecond)
	return left
}
