package ably_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	sdk "github.com/ably/ably-go/ably"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// inbox collects messages of a subscription.
type inbox struct {
	mu  sync.Mutex
	got []*sdk.Message
}

func (b *inbox) add(m *sdk.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, m)
}

func (b *inbox) all() []*sdk.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

// wait waits for n messages.
func (b *inbox) wait(t *testing.T, n int) []*sdk.Message {
	t.Helper()
	require.Eventually(t, func() bool { return len(b.all()) >= n }, time.Minute, 5*time.Millisecond)
	return b.all()
}

// failure is an event on the push log.
type failure struct {
	Error    struct{ Code int }
	DeviceID string
	ClientID string
}

func failureOf(t *testing.T, m *sdk.Message) failure {
	t.Helper()
	require.Equal(t, "json", m.Encoding)
	var f failure
	text, isText := m.Data.(string)
	require.True(t, isText)
	require.NoError(t, json.Unmarshal([]byte(text), &f))
	return f
}

func TestRealtimePushLog(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{FailAfter: 2})
		phone := srv.MintDevice("u1", ably.Android)
		c := realtime(t, srv, format, sdk.WithKey(srv.Key()))
		var log inbox
		_, err := c.Channels.Get(ably.PushLog).SubscribeAll(soon(t), log.add)
		require.NoError(t, err)
		h := raw(t, srv)

		require.Equal(t, 204, h.publish(push(phone, "n1")).Status)
		require.NoError(t, srv.KillDevice(phone))
		for i, state := range []string{"FAILING", "FAILED"} {
			require.Equal(t, 204, h.publish(push(phone, fmt.Sprint("dead", i))).Status, "the answer knows nothing of it")
			got, err := srv.DeviceState(phone)
			require.NoError(t, err)
			require.Equal(t, state, got)
		}
		events := log.wait(t, 2)
		for _, m := range events {
			f := failureOf(t, m)
			require.Equal(t, 103005, f.Error.Code)
			require.Equal(t, phone, f.DeviceID)
			require.Equal(t, "u1", f.ClientID)
		}
		require.Contains(t, h.do("GET", "/push/deviceRegistrations/"+phone, "").Body, `"state":"FAILED","error":{"message":`)
		codes := []int{}
		for _, a := range srv.Accepted() {
			codes = append(codes, a.Code)
		}
		require.Equal(t, []int{0, 103005, 103005}, codes)

		// A new token in the registration ends it.
		require.Equal(t, 200, h.do("PATCH", "/push/deviceRegistrations/"+phone,
			`{"push":{"recipient":{"transportType":"fcm","registrationToken":"new"}}}`).Status)
		require.Equal(t, 204, h.publish(push(phone, "n2")).Status)
		require.True(t, srv.Accepted()[3].Delivered())

		// A transport without credentials; then history tells the same.
		srv.FailTransport("fcm", 103008)
		require.Equal(t, 204, h.publish(push(phone, "n3")).Status)
		srv.FailTransport("fcm", 0)
		require.NoError(t, srv.LogPush(phone, 103007))
		require.Equal(t, 103007, failureOf(t, log.wait(t, 4)[3]).Error.Code)
		page, err := c.Channels.Get(ably.PushLog).History().Pages(soon(t))
		require.NoError(t, err)
		require.True(t, page.Next(soon(t)))
		var history []int
		for _, m := range page.Items() {
			history = append(history, failureOf(t, m).Error.Code)
		}
		require.Equal(t, []int{103007, 103008, 103005, 103005}, history)
		require.Equal(t, map[int]uint64{103005: 2, 103007: 1, 103008: 1}, srv.Stats().LogEvents)

		// Nobody publishes there.
		var e *sdk.ErrorInfo
		require.ErrorAs(t, c.Channels.Get(ably.PushLog).Publish(soon(t), "x", "y"), &e)
		require.Equal(t, sdk.ErrorCode(40160), e.Code)
	})
}

func TestRealtimePublishSubscribe(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{ChannelRate: -1})
		a := realtime(t, srv, format, sdk.WithKey(srv.Key()))
		b := realtime(t, srv, sdk.WithUseBinaryProtocol(true), sdk.WithKey(srv.Key()), sdk.WithEchoMessages(false))
		var atA, atB, named inbox
		_, err := a.Channels.Get("odds:1").SubscribeAll(soon(t), atA.add)
		require.NoError(t, err)
		_, err = b.Channels.Get("odds:1").SubscribeAll(soon(t), atB.add)
		require.NoError(t, err)
		_, err = a.Channels.Get("odds:1").Subscribe(soon(t), "one", named.add)
		require.NoError(t, err)

		require.NoError(t, a.Channels.Get("odds:1").Publish(soon(t), "one", "1"))
		require.NoError(t, b.Channels.Get("odds:1").Publish(soon(t), "two", "2"))
		require.NoError(t, a.Channels.Get("odds:1").PublishMultiple(soon(t), []*sdk.Message{
			{Name: "x", Data: "3", Extras: map[string]any{"headers": map[string]any{"offset": "7"}}}, {Name: "y", Data: "4"},
		}))
		got := atA.wait(t, 4)
		require.Equal(t, []string{"one", "two", "x", "y"}, []string{got[0].Name, got[1].Name, got[2].Name, got[3].Name})
		require.Equal(t, a.Connection.ID()+":0:0", got[0].ID)
		require.Equal(t, a.Connection.ID(), got[0].ConnectionID)
		require.NotZero(t, got[0].Timestamp)
		require.Equal(t, map[string]any{"headers": map[string]any{"offset": "7"}}, got[2].Extras)
		require.Len(t, atB.wait(t, 3), 3, "b asked for no echo")
		require.Len(t, named.wait(t, 1), 1)

		// Rewind on the first attachment, detach, presence.
		var late inbox
		_, err = b.Channels.Get("odds:1x").SubscribeAll(soon(t), late.add)
		require.NoError(t, err)
		c := realtime(t, srv, format, sdk.WithKey(srv.Key()), sdk.WithClientID("u3"))
		ch := c.Channels.Get("odds:1", sdk.ChannelWithParams("rewind", "1"))
		_, err = ch.SubscribeAll(soon(t), late.add)
		require.NoError(t, err)
		require.Equal(t, "4", late.wait(t, 1)[0].Data)

		require.NoError(t, ch.Presence.Enter(soon(t), "page"))
		require.Eventually(t, func() bool {
			members, err := a.Channels.Get("odds:1").Presence.Get(soon(t))
			return err == nil && len(members) == 1 && members[0].ClientID == "u3"
		}, time.Minute, 5*time.Millisecond)
		d := realtime(t, srv, format, sdk.WithKey(srv.Key()))
		members, err := d.Channels.Get("odds:1").Presence.Get(soon(t)) // by SYNC
		require.NoError(t, err)
		require.Len(t, members, 1)
		r, err := rest(t, srv, format, sdk.WithKey(srv.Key())).Channels.Get("odds:1").Presence.Get().Pages(soon(t))
		require.NoError(t, err)
		require.True(t, r.Next(soon(t)))
		require.Equal(t, "u3", r.Items()[0].ClientID)
		require.NoError(t, ch.Detach(soon(t)))
		require.Eventually(t, func() bool {
			members, err := d.Channels.Get("odds:1").Presence.Get(soon(t))
			return err == nil && len(members) == 0
		}, time.Minute, 5*time.Millisecond)
	})
}

func TestRealtimeReconnect(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{ChannelRate: -1})
		sub := realtime(t, srv, format, sdk.WithKey(srv.Key()))
		pub := realtime(t, srv, format, sdk.WithKey(srv.Key()))
		var got inbox
		_, err := sub.Channels.Get("c").SubscribeAll(soon(t), got.add)
		require.NoError(t, err)
		const n = 60
		for i := range n {
			require.NoError(t, pub.Channels.Get("c").Publish(soon(t), "m", fmt.Sprint(i)))
			if i%10 == 9 {
				srv.DropConnections() // also what the publisher has in flight
			}
		}
		msgs := got.wait(t, n)
		require.Len(t, msgs, n, "nothing lost, nothing twice")
		for i, m := range msgs {
			require.Equal(t, fmt.Sprint(i), m.Data)
		}
		require.NotZero(t, srv.Stats().Resumed)

		// A connection that the service has forgotten: a new one, with a gap
		// that the client is told about.
		gap := make(chan sdk.ChannelStateChange, 8)
		off := sub.Channels.Get("c").OnAll(func(ch sdk.ChannelStateChange) {
			if ch.Current == sdk.ChannelStateAttached && !ch.Resumed {
				gap <- ch
			}
		})
		defer off()
		id := sub.Connection.ID()
		srv.ForgetConnections()
		select {
		case <-gap:
		case <-time.After(time.Minute):
			require.Fail(t, "no gap reported")
		}
		require.NotEqual(t, id, sub.Connection.ID())
	})
}

func TestRealtimeAuth(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{})
		jwt := srv.MintJWT("u1", map[string][]string{"odds:*": {"subscribe"}, "bets:u1": {"publish"}}, time.Minute)
		c := realtime(t, srv, format, sdk.WithToken(jwt))
		require.Equal(t, "u1", c.Auth.ClientID())
		_, err := c.Channels.Get("odds:1").SubscribeAll(soon(t), func(*sdk.Message) {})
		require.NoError(t, err)
		_, err = c.Channels.Get("other").SubscribeAll(soon(t), func(*sdk.Message) {})
		require.ErrorContains(t, err, "code=40160")
		_, err = c.Channels.Get(ably.PushLog).SubscribeAll(soon(t), func(*sdk.Message) {})
		require.ErrorContains(t, err, "code=40160", "a plain resource does not cover metachannels")
		require.NoError(t, c.Channels.Get("bets:u1").Publish(soon(t), "bet", "1"))
		require.ErrorContains(t, c.Channels.Get("odds:1").Publish(soon(t), "bet", "1"), "code=40160")
		require.ErrorContains(t, c.Channels.Get(":bad").Attach(soon(t)), "code=40010")

		// A key the app does not know.
		bad, err := sdk.NewRealtime(options(t, srv, format, sdk.WithKey(srv.AppID()+".root:wrong"), sdk.WithAutoConnect(false))...)
		require.NoError(t, err)
		failed := make(chan sdk.ConnectionStateChange, 1)
		bad.Connection.On(sdk.ConnectionEventFailed, func(ch sdk.ConnectionStateChange) { failed <- ch })
		bad.Connect()
		select {
		case ch := <-failed:
			require.Equal(t, sdk.ErrorCode(40101), ch.Reason.Code)
		case <-time.After(time.Minute):
			require.Fail(t, "not failed")
		}
	})
}

func TestRealtimeTokenExpires(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{})
		var mu sync.Mutex
		asked := 0
		c := realtime(t, srv, format, sdk.WithKey(srv.Key()), sdk.WithUseTokenAuth(true),
			sdk.WithDefaultTokenParams(sdk.TokenParams{TTL: 1500}))
		c.Connection.On(sdk.ConnectionEventConnected, func(sdk.ConnectionStateChange) { mu.Lock(); asked++; mu.Unlock() })
		require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return asked > 0 }, time.Minute, 10*time.Millisecond)
		require.GreaterOrEqual(t, srv.Stats().Tokens, uint64(2), "the SDK renewed the token and came back")
	})
}

func TestRealtimeHeartbeats(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{MaxIdle: 300 * time.Millisecond})
	c := realtime(t, srv, sdk.WithKey(srv.Key()), sdk.WithRealtimeRequestTimeout(3*time.Second))
	lost := make(chan struct{}, 1)
	c.Connection.On(sdk.ConnectionEventDisconnected, func(sdk.ConnectionStateChange) { lost <- struct{}{} })
	select {
	case <-lost:
		require.Fail(t, "an idle connection was given up")
	case <-time.After(5 * time.Second): // the SDK waits for both of these times
	}
}
