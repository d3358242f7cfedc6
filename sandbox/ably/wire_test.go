package ably_test

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"nhooyr.io/websocket"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// socket is a WebSocket without an SDK.
type socket struct {
	t  *testing.T
	ws *websocket.Conn
}

type frame struct {
	Action            int
	ID                string
	Channel           string
	ChannelSerial     string
	ConnectionID      string
	ConnectionDetails struct {
		ClientID        string
		ConnectionKey   string
		MaxIdleInterval int
	}
	Error     *struct{ Code, StatusCode int }
	MsgSerial *int
	Count     *int
	Flags     int
	Params    map[string]string
	Res       []struct{ Serials []string }
	Messages  []struct{ ID, Name, Data, ClientID string }
	Presence  []struct {
		Action   int
		ClientID string
	}
}

// dial opens a socket with the given parameters.
func dial(t *testing.T, srv *ably.Server, query string) *socket {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(srv.URL(), "http")+"/?v=3&format=json&"+query, nil)
	require.NoError(t, err)
	return &socket{t, ws}
}

func (s *socket) send(text string) {
	s.t.Helper()
	require.NoError(s.t, s.ws.Write(s.t.Context(), websocket.MessageText, []byte(text)))
}

// next returns the next frame that is no heartbeat of the server's own.
func (s *socket) next() frame {
	s.t.Helper()
	for {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
		_, b, err := s.ws.Read(ctx)
		cancel()
		require.NoError(s.t, err)
		var f frame
		require.NoError(s.t, json.Unmarshal(b, &f))
		if f.Action != 0 || f.ID != "" {
			return f
		}
	}
}

// is wants the next frame to be of an action.
func (s *socket) is(action int) frame {
	s.t.Helper()
	f := s.next()
	require.Equal(s.t, action, f.Action, "%+v", f)
	return f
}

// ends wants the server to close, after heartbeats at most.
func (s *socket) ends() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for {
		_, b, err := s.ws.Read(ctx)
		if err != nil {
			require.NoError(s.t, ctx.Err())
			return
		}
		require.JSONEq(s.t, `{"action":0}`, string(b))
	}
}

func key(srv *ably.Server) string { return "key=" + url.QueryEscape(srv.Key()) }

func TestRealtimeWire(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{ChannelRate: -1})
	s := dial(t, srv, key(srv))
	hello := s.is(4)
	require.Equal(t, "*", hello.ConnectionDetails.ClientID)
	require.Equal(t, 15000, hello.ConnectionDetails.MaxIdleInterval)
	s.send(`{"action":0,"id":"ping"}`)
	require.Equal(t, "ping", s.is(0).ID)

	s.send(`{"action":10,"channel":"[?rewind=1]c","params":{"delta":"vcdiff"}}`)
	f := s.is(11)
	require.Equal(t, "[?rewind=1]c", f.Channel)
	require.Equal(t, map[string]string{"rewind": "1", "delta": "vcdiff"}, f.Params)
	require.Equal(t, 0xf<<16, f.Flags)

	// A frame that is sent again is published once and, on one WebSocket,
	// answered once.
	for range 2 {
		s.send(`{"action":15,"channel":"c","msgSerial":0,"messages":[{"name":"n","data":{"a":1}}]}`)
	}
	m := s.is(15)
	require.Equal(t, hello.ConnectionID+":0", m.ID)
	require.Equal(t, `{"a":1}`, m.Messages[0].Data)
	ack := s.is(1)
	require.Equal(t, 0, *ack.MsgSerial)
	require.Equal(t, 1, *ack.Count)
	for range 2 {
		s.send(`{"action":15,"channel":"c","msgSerial":1,"messages":[]}`)
	}
	nack := s.is(2)
	require.Equal(t, 1, *nack.MsgSerial)
	require.Equal(t, 40000, nack.Error.Code)
	for i, tc := range []struct {
		frame string
		code  int
	}{
		{`"action":15,"channel":"","messages":[{}]`, 40010},
		{`"action":15,"channel":"[meta]log:push","messages":[{}]`, 40160},
		{`"action":15,"channel":"c","messages":[{"id":"a:0"},{"id":"b:1"}]`, 40031},
		{`"action":14,"channel":"other","presence":[{"action":2,"clientId":"u"}]`, 91000},
		{`"action":14,"channel":"[?rewind=1]c","presence":[{"action":2}]`, 40012},
		{`"action":14,"channel":"[?rewind=1]c","presence":[{"action":9,"clientId":"u"}]`, 40000},
		{`"action":14,"channel":"[?rewind=1]c","presence":[{"action":2,"clientId":"u","data":"!","encoding":"base64"}]`, 40013},
	} {
		s.send(`{"msgSerial":` + jsonText(t, i+2) + `,` + tc.frame + `}`)
		require.Equal(t, tc.code, s.is(2).Error.Code, tc.frame)
	}
	// Modes: who asks to subscribe only may not publish.
	s.send(`{"action":10,"channel":"d","flags":262144}`)
	require.Equal(t, 262144, s.is(11).Flags)
	s.send(`{"action":15,"channel":"d","msgSerial":9,"messages":[{}]}`)
	require.Equal(t, 40160, s.is(2).Error.Code)
	s.send(`{"action":12,"channel":"d"}`)
	require.Equal(t, "d", s.is(13).Channel)

	// A second client sees who is present, and who leaves by closing.
	s.send(`{"action":14,"channel":"[?rewind=1]c","msgSerial":10,"presence":[{"action":2,"clientId":"u","data":"x"}]}`)
	require.Equal(t, 2, s.is(14).Presence[0].Action)
	s.is(1)
	other := dial(t, srv, key(srv))
	other.is(4)
	other.send(`{"action":10,"channel":"c"}`)
	require.Equal(t, 1, other.is(11).Flags&1)
	require.Equal(t, "u", other.is(16).Presence[0].ClientID)
	s.send(`{"action":7}`)
	s.is(8)
	require.Equal(t, 3, other.is(14).Presence[0].Action)
	s.ends()
	other.send(`{"action":5}`)
	other.is(6)
	other.ends()
}

func TestRealtimeResume(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{ChannelRate: -1, PresenceGrace: time.Minute})
	c := raw(t, srv)
	a := dial(t, srv, key(srv))
	hello := a.is(4)
	a.send(`{"action":10,"channel":"c"}`)
	serial := a.is(11).ChannelSerial
	srv.DropConnections()
	a.ends()
	require.Equal(t, 201, c.do("POST", "/channels/c/messages", `{"data":"missed"}`).Status)

	b := dial(t, srv, key(srv)+"&resume="+url.QueryEscape(hello.ConnectionDetails.ConnectionKey))
	again := b.is(4)
	require.Equal(t, hello.ConnectionID, again.ConnectionID)
	require.Nil(t, again.Error)
	require.NotEqual(t, hello.ConnectionDetails.ConnectionKey, again.ConnectionDetails.ConnectionKey)
	b.send(`{"action":10,"channel":"c","flags":32,"channelSerial":"` + serial + `"}`)
	require.Equal(t, 4, b.is(11).Flags&4)
	require.Equal(t, "missed", b.is(15).Messages[0].Data)

	// The second to come with the key takes the connection over.
	d := dial(t, srv, key(srv)+"&resume="+url.QueryEscape(again.ConnectionDetails.ConnectionKey))
	third := d.is(4)
	require.Equal(t, hello.ConnectionID, third.ConnectionID)
	b.ends()

	for query, code := range map[string]int{
		"resume=unknown!x": 80008,
		"resume=" + url.QueryEscape(hello.ConnectionDetails.ConnectionKey):                                80018, // an old key
		"clientId=u&resume=" + url.QueryEscape(third.ConnectionDetails.ConnectionKey):                     40102,
		"recover=" + url.QueryEscape(strings.Replace(hello.ConnectionDetails.ConnectionKey, "!", "?", 1)): 80008,
	} {
		s := dial(t, srv, key(srv)+"&"+query)
		f := s.is(4)
		require.Equal(t, code, f.Error.Code, query)
		require.NotEqual(t, hello.ConnectionID, f.ConnectionID)
		s.send(`{"action":7}`)
		s.is(8)
	}
	// A place that is not kept any more: no promise of continuity.
	srv.ForgetConnections()
	d.ends()
	e := dial(t, srv, key(srv))
	e.is(4)
	e.send(`{"action":10,"channel":"c","flags":32,"channelSerial":"` + serial + `"}`)
	require.Zero(t, e.is(11).Flags&4)
	e.send(`{"action":7}`)
	e.is(8)
}

func TestRealtimeRefusals(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	jwt := srv.MintJWT("u1", nil, time.Minute)
	for query, code := range map[string]int{
		"":                                    40101,
		"key=" + srv.AppID() + ".root:wrong":  40101,
		"key=other.root:x":                    40400,
		"access_token=x":                      40143,
		"accessToken=" + jwt + "&clientId=u2": 40102,
	} {
		s := dial(t, srv, query)
		require.Equal(t, code, s.is(9).Error.Code, query)
		s.ends()
	}
	for _, text := range []string{"[]", "nonsense"} {
		s := dial(t, srv, key(srv))
		s.is(4)
		s.send(text)
		require.Equal(t, 40001, s.is(9).Error.Code)
		s.ends()
	}
	// Re-authorization: the same client goes on with its new rights, another
	// client may not take over.
	s := dial(t, srv, "access_token="+jwt)
	s.is(4)
	s.send(`{"action":10,"channel":"c"}`)
	s.is(11)
	s.send(`{"action":17,"auth":{"accessToken":"` + srv.MintJWT("u1", map[string][]string{"d": {"subscribe"}}, time.Minute) + `"}}`)
	s.is(4)
	lost := s.is(9)
	require.Equal(t, "c", lost.Channel)
	require.Equal(t, 40160, lost.Error.Code)
	s.send(`{"action":17,"auth":{"accessToken":"` + srv.MintJWT("u2", nil, time.Minute) + `"}}`)
	require.Equal(t, 40102, s.is(9).Error.Code)
	s.ends()
}

func TestPresenceGrace(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{PresenceGrace: time.Millisecond, ConnectionTTL: 2 * time.Millisecond})
	a, b := dial(t, srv, key(srv)+"&clientId=u1"), dial(t, srv, key(srv))
	first := a.is(4)
	b.is(4)
	for _, s := range []*socket{a, b} {
		s.send(`{"action":10,"channel":"c"}`)
		s.is(11)
	}
	a.send(`{"action":14,"channel":"c","msgSerial":0,"presence":[{"action":2}]}`)
	require.Equal(t, "u1", b.is(14).Presence[0].ClientID)
	require.NoError(t, a.ws.Close(websocket.StatusNormalClosure, "")) // without a CLOSE of the protocol
	require.Equal(t, 3, b.is(14).Presence[0].Action)
	require.Eventually(t, func() bool {
		s := dial(t, srv, key(srv)+"&clientId=u1&resume="+url.QueryEscape(first.ConnectionDetails.ConnectionKey))
		f := s.is(4)
		s.send(`{"action":7}`)
		s.is(8)
		return f.Error != nil && f.Error.Code == 80008
	}, time.Minute, 50*time.Millisecond)
	b.send(`{"action":7}`)
	b.is(8)
}

// TestRealtimeLeavesNothing looks for goroutines that the server forgets, over
// the ways in which a WebSocket can end. It is not parallel: other tests'
// goroutines would show.
func TestRealtimeLeavesNothing(t *testing.T) { //nolint:paralleltest // see above
	known := goleak.IgnoreCurrent()
	srv := start(t, ably.Config{MaxIdle: 30 * time.Millisecond})
	var open []*socket
	for _, query := range []string{key(srv), key(srv) + "&heartbeats=false", "key=bad", "access_token=" + srv.MintJWT("u", nil, 300*time.Millisecond)} {
		open = append(open, dial(t, srv, query))
	}
	open[0].is(4)
	open[0].send(`{"action":10,"channel":"c"}`)
	open[0].is(11)
	open[1].is(4)
	open[2].is(9)
	open[3].is(4)
	expired := open[3].is(6)
	require.Equal(t, 40142, expired.Error.Code)
	require.NoError(t, srv.Close())
	for _, s := range open {
		s.ends()
	}
	goleak.VerifyNone(t, known)
}
