package ably_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	sdk "github.com/ably/ably-go/ably"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// events is a client of server-sent events, as a browser is one.
type events struct {
	t     *testing.T
	res   *http.Response
	lines chan string
	end   context.CancelFunc
}

// sse is an event as a browser hands it to a page.
type sse struct{ id, event, data string }

func listen(t *testing.T, srv *ably.Server, path string, header http.Header) *events {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL()+path, nil)
	require.NoError(t, err)
	maps.Copy(req.Header, header)
	tr := &http.Transport{}
	res, err := tr.RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
	e := &events{t: t, res: res, lines: make(chan string, 1000), end: cancel}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(e.lines)
		for sc := bufio.NewScanner(res.Body); sc.Scan(); {
			e.lines <- sc.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-read
		_ = res.Body.Close()
		tr.CloseIdleConnections()
	})
	return e
}

// line returns the next line, and whether there is one.
func (e *events) line() (string, bool) {
	e.t.Helper()
	select {
	case l, more := <-e.lines:
		return l, more
	case <-time.After(time.Minute):
		require.Fail(e.t, "no line")
		return "", false
	}
}

// next returns the next event.
func (e *events) next() sse {
	e.t.Helper()
	var ev sse
	var data []string
	for {
		l, more := e.line()
		require.True(e.t, more, "the stream has ended")
		field, value, _ := strings.Cut(l, ": ")
		switch field {
		case "id":
			ev.id = value
		case "event":
			ev.event = value
		case "data":
			data = append(data, value)
		case "":
			if ev.event != "" {
				ev.data = strings.Join(data, "\n")
				return ev
			}
		}
	}
}

// ends wants the stream to end without more events.
func (e *events) ends() {
	e.t.Helper()
	for {
		l, more := e.line()
		if !more {
			return
		}
		require.Empty(e.t, strings.TrimPrefix(l, ":keepalive"))
	}
}

// say publishes texts, one message each.
func say(t *testing.T, srv *ably.Server, channel string, texts ...string) {
	t.Helper()
	c := raw(t, srv)
	for _, text := range texts {
		require.Equal(t, 201, c.do("POST", "/channels/"+url.PathEscape(channel)+"/messages", `{"data":`+jsonText(t, text)+`}`).Status)
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{ChannelRate: -1})
	token := srv.MintJWT("u1", map[string][]string{"odds:*": {"subscribe"}}, time.Minute)
	say(t, srv, "odds:1", "a", "b")
	say(t, srv, "odds:2", "c")
	say(t, srv, "odds:1", "d")
	base := "/sse?v=1.2&channels=" + url.QueryEscape("[?rewind=2]odds:1,odds:2") + "&accessToken=" + token
	s := listen(t, srv, base+"&rewind=1", nil)
	require.Equal(t, "text/event-stream", s.res.Header.Get("Content-Type"))
	require.Equal(t, "*", s.res.Header.Get("Access-Control-Allow-Origin"))
	var got []string
	var last sse
	for range 3 {
		last = s.next()
		var m struct{ ID, Channel, Data string }
		require.NoError(t, json.Unmarshal([]byte(last.data), &m))
		require.Equal(t, "message", last.event)
		require.NotEmpty(t, m.ID)
		got = append(got, m.Channel+" "+m.Data)
	}
	require.Equal(t, []string{"odds:1 b", "odds:2 c", "odds:1 d"}, got, "in order over all channels")

	// Messages in pieces have an id each; objects are JSON texts, bytes base64.
	c := raw(t, srv)
	require.Equal(t, 201, c.do("POST", "/channels/odds:2/messages", `[{"id":"x:0","name":"n","data":{"a":1}},{"id":"x:1","data":"/w==","encoding":"base64","extras":{"headers":{"h":1}}}]`).Status)
	first, second := s.next(), s.next()
	require.NotEqual(t, first.id, second.id)
	stamp := srv.Messages("odds:2")[1].At.UnixMilli()
	require.JSONEq(t, fmt.Sprintf(`{"id":"x:0","name":"n","data":"{\"a\":1}","encoding":"json","channel":"odds:2","timestamp":%d,"serial":%q}`,
		stamp, srv.Messages("odds:2")[1].Serial), first.data)
	require.Contains(t, second.data, `"data":"/w==","encoding":"base64"`)
	require.Contains(t, second.data, `"extras":{"headers":{"h":1}}`)

	// Cut by the network; the browser comes back by itself with a header, a page
	// with a parameter. Both get what they missed, and no rewind.
	srv.DropConnections()
	s.ends()
	say(t, srv, "odds:1", "missed")
	for _, how := range []*events{
		listen(t, srv, base+"&rewind=1&lastEvent=stale", http.Header{"Last-Event-Id": {first.id}}),
		listen(t, srv, base+"&rewind=1&lastEvent="+first.id, nil),
	} {
		require.Equal(t, second, how.next())
		require.Contains(t, how.next().data, `"data":"missed"`)
		how.end()
	}
	// A place that is not kept: the client is told, and goes on.
	lost := listen(t, srv, base+"&lastEvent=0000000000000-0000000000000001", nil)
	ev := lost.next()
	require.Equal(t, "error", ev.event)
	require.Contains(t, ev.data, `"code":80008`)
	say(t, srv, "odds:1", "new")
	require.Contains(t, lost.next().data, `"data":"new"`)
	lost.end()
	require.Eventually(t, func() bool {
		return strings.Contains(c.do("GET", "/channels/odds:1", "").Body, `"subscribers":0`)
	}, time.Minute, time.Millisecond, "who has gone is not served")
}

func TestStreamForms(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{MaxIdle: 20 * time.Millisecond})
	query := "?v=1.2&channel=a%7Cb&separator=%7C&" + key(srv)
	user := realtime(t, srv, sdk.WithKey(srv.Key()), sdk.WithClientID("u1"), sdk.WithRealtimeRequestTimeout(10*time.Second))

	// Without an envelope; presence; explicit heartbeats.
	bare := listen(t, srv, "/event-stream"+query+"&enveloped=false&heartbeats=true", http.Header{"Accept": {"text/html, text/event-stream"}})
	require.Equal(t, sse{"", "heartbeat", "{}"}, bare.next())
	say(t, srv, "b", "one\ntwo")
	message := func(s *events) sse {
		for {
			if ev := s.next(); ev.event != "heartbeat" {
				return ev
			}
		}
	}
	ev := message(bare)
	require.Equal(t, "message one\ntwo", ev.event+" "+ev.data)
	require.NoError(t, user.Channels.Get("a").Presence.Enter(soon(t), "page"))
	ev = message(bare)
	require.Equal(t, "presence page", ev.event+" "+ev.data)
	require.NotEmpty(t, ev.id)
	bare.end()

	// Comments that keep a stream alive.
	s := listen(t, srv, "/sse"+query, nil)
	l, _ := s.line()
	require.Equal(t, ":keepalive", l)
	require.NoError(t, user.Channels.Get("a").Presence.Leave(soon(t), nil))
	ev = s.next()
	require.Equal(t, "presence", ev.event)
	require.Contains(t, ev.data, `"action":3`)
	require.Contains(t, ev.data, `"channel":"a"`)
	s.end()

	// Lines of JSON.
	for query, want := range map[string]string{
		query: `{"data":"x"}`, query + "&enveloped=false": `"x"`,
	} {
		lines := listen(t, srv, "/event-stream"+query, nil)
		require.Equal(t, "application/json", lines.res.Header.Get("Content-Type"))
		say(t, srv, "b", "x")
		for {
			l, more := lines.line()
			require.True(t, more)
			if l == "" {
				continue
			}
			var e struct {
				ID, Event string
				Data      json.RawMessage
			}
			require.NoError(t, json.Unmarshal([]byte(l), &e))
			require.Equal(t, "message", e.Event)
			require.NotEmpty(t, e.ID)
			var m map[string]any
			if json.Unmarshal(e.Data, &m) == nil {
				e.Data = json.RawMessage(`{"data":` + jsonText(t, m["data"]) + `}`)
			}
			require.JSONEq(t, want, string(e.Data))
			break
		}
		lines.end()
	}
	beat := listen(t, srv, "/event-stream"+query+"&heartbeats=true", nil)
	l, _ = beat.line()
	require.JSONEq(t, `{"event":"heartbeat"}`, l)
	beat.end()
}

func TestStreamRefusals(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	c := raw(t, srv).as("")
	token := "accessToken=" + srv.MintJWT("u1", map[string][]string{"odds:*": {"subscribe"}, "bets:u1": {"publish"}}, time.Minute)
	for query, code := range map[string]int{
		"channels=c&v=1.2":                             40101,
		"v=1.2&" + token:                               40003,
		"channels=odds:1&" + token:                     40003, // no version
		"channels=odds:1&v=1&" + token:                 40017,
		"channels=odds:1,bets:u1&v=1.2&" + token:       40160,
		"channels=[meta]log:push&v=1.2&" + token:       40160,
		"channels=:x&v=1.2&" + key(srv):                40010,
		"channels=odds:1&v=1.2&accessToken=" + "x.y.z": 40144,
	} {
		r := c.do("GET", "/sse?"+strings.NewReplacer("[", "%5B", "]", "%5D").Replace(query), "")
		require.Equal(t, code, r.Code, query)
	}
	require.Equal(t, 404, raw(t, srv).do("POST", "/sse", "{}").Status)
}

// TestStreamTokenExpires: the stream says so and ends; a new one goes on.
func TestStreamTokenExpires(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	mint := func(life time.Duration) string {
		return "/sse?v=1.2&channels=c&accessToken=" + srv.MintJWT("u1", map[string][]string{"c": {"subscribe"}}, life)
	}
	s := listen(t, srv, mint(6*time.Second), nil) // within which a busy machine gets as far as the first message
	say(t, srv, "c", "a")
	place := s.next().id
	ev := s.next()
	require.Equal(t, "error", ev.event)
	var e struct{ Code, StatusCode int }
	require.NoError(t, json.Unmarshal([]byte(ev.data), &e))
	require.Equal(t, 40142, e.Code)
	require.Equal(t, 401, e.StatusCode)
	s.ends()
	say(t, srv, "c", "b")
	s = listen(t, srv, mint(time.Minute)+"&lastEvent="+place, nil)
	require.Contains(t, s.next().data, `"data":"b"`)

	srv.ExpireTokens()
	require.Contains(t, s.next().data, `"code":40142`)
	s.ends()
}

// TestExpireTokens: what was presented is refused from then on, a new token is
// not, and keys do not care.
func TestExpireTokens(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	token := srv.MintJWT("u1", nil, time.Minute)
	c := raw(t, srv)
	holder := c.as("Bearer " + token)
	require.Equal(t, 201, holder.do("POST", "/channels/c/messages", `{}`).Status)
	s, byKey := dial(t, srv, "access_token="+token), dial(t, srv, key(srv))
	s.is(4)
	byKey.is(4)
	srv.ExpireTokens()
	require.Equal(t, 40142, s.is(6).Error.Code)
	s.ends()
	require.Equal(t, 40142, holder.do("POST", "/channels/c/messages", `{}`).Code)
	s = dial(t, srv, "access_token="+token)
	require.Equal(t, 40142, s.is(9).Error.Code)
	s.ends()
	require.Equal(t, 201, c.as("Bearer "+srv.MintJWT("u1", nil, 2*time.Minute)).do("POST", "/channels/c/messages", `{}`).Status)
	require.Equal(t, 201, c.do("POST", "/channels/c/messages", `{}`).Status)
	byKey.send(`{"action":7}`)
	byKey.is(8)
}

// TestShutdownEndsStreams: Shutdown does not wait for who only listens.
func TestShutdownEndsStreams(t *testing.T) {
	t.Parallel()
	srv, err := ably.Start(t.Context(), ably.Config{})
	require.NoError(t, err)
	s := listen(t, srv, "/sse?v=1.2&channels=c&"+key(srv), nil)
	require.NoError(t, srv.Shutdown(t.Context()))
	s.ends()
}
