package ably_test

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	sdk "github.com/ably/ably-go/ably"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// TestFrameFaults: what a client sees of each fault, and that sending again
// after it publishes once.
func TestFrameFaults(t *testing.T) {
	t.Parallel()
	for _, kind := range []ably.Kind{ably.Reset, ably.ResetAfterAccept, ably.AckWithheld, ably.TokenExpired} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			srv := start(t, ably.Config{ChannelRate: -1})
			s := dial(t, srv, key(srv))
			hello := s.is(4)
			require.NoError(t, srv.InjectFrames(kind))
			// Two frames at once: the second must not overtake the first.
			for i := range 2 {
				s.send(fmt.Sprintf(`{"action":15,"channel":"c","msgSerial":%d,"messages":[{"name":"%[1]d"}]}`, i))
			}
			switch kind {
			case ably.TokenExpired:
				require.Equal(t, 40142, s.is(6).Error.Code)
				s.ends()
			case ably.AckWithheld:
				require.Eventually(t, func() bool { return len(srv.Messages("c")) == 2 }, time.Minute, time.Millisecond)
				s.send(`{"action":0,"id":"ping"}`)
				require.Equal(t, "ping", s.is(0).ID, "no ACK came before")
				srv.DropConnections()
				s.ends()
			default:
				s.ends()
			}
			again := dial(t, srv, key(srv)+"&resume="+url.QueryEscape(hello.ConnectionDetails.ConnectionKey))
			require.Equal(t, hello.ConnectionID, again.is(4).ConnectionID)
			for i := range 2 {
				again.send(fmt.Sprintf(`{"action":15,"channel":"c","msgSerial":%d,"messages":[{"name":"%[1]d"}]}`, i))
				ack := again.is(1)
				require.Equal(t, i, *ack.MsgSerial)
				require.Equal(t, srv.Messages("c")[i].Serial, ack.Res[0].Serials[0], "the repeat is told the same")
			}
			msgs := srv.Messages("c")
			require.Len(t, msgs, 2)
			require.Equal(t, "0", msgs[0].Name)
			require.Equal(t, uint64(1), srv.Stats().Faults[kind])
			again.send(`{"action":7}`)
			again.is(8)
		})
	}
	t.Run("nack", func(t *testing.T) {
		t.Parallel()
		srv := start(t, ably.Config{ChannelRate: -1})
		s := dial(t, srv, key(srv))
		s.is(4)
		i := 0
		for kind, code := range map[ably.Kind]int{
			ably.RateGeneric: 42910, ably.RateChannel: 42913, ably.RateMessages: 42917, ably.AccountBlocked: 40112,
			ably.Internal: 50000, ably.Unavailable: 50003,
		} {
			require.NoError(t, srv.InjectFrames(kind))
			s.send(fmt.Sprintf(`{"action":15,"channel":"c","msgSerial":%d,"messages":[{"id":"same"}]}`, i))
			nack := s.is(2)
			require.Equal(t, code, nack.Error.Code, kind)
			require.Equal(t, i, *nack.MsgSerial)
			i++
		}
		require.Empty(t, srv.Messages("c"))
		s.send(`{"action":7}`)
		s.is(8)
	})
	t.Run("delay", func(t *testing.T) {
		t.Parallel()
		srv := start(t, ably.Config{Faults: ably.Faults{AckDelay: 200 * time.Millisecond}})
		s := dial(t, srv, key(srv))
		s.is(4)
		require.NoError(t, srv.InjectFrames(ably.AckDelayed))
		began := time.Now()
		for i := range 3 {
			s.send(fmt.Sprintf(`{"action":15,"channel":"c","msgSerial":%d,"messages":[{}]}`, i))
		}
		for i := range 3 {
			require.Equal(t, i, *s.is(1).MsgSerial, "in order")
		}
		require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
		s.send(`{"action":7}`)
		s.is(8)
	})
	t.Run("withheld for too long", func(t *testing.T) {
		t.Parallel()
		srv := start(t, ably.Config{HangLimit: 50 * time.Millisecond})
		s := dial(t, srv, key(srv))
		s.is(4)
		require.NoError(t, srv.InjectFrames(ably.AckWithheld))
		s.send(`{"action":15,"channel":"c","msgSerial":0,"messages":[{}]}`)
		s.ends()
	})
	srv := start(t, ably.Config{})
	for _, k := range []ably.Kind{ably.Hang, ably.RateEdge, ably.ItemInternal, "no such"} {
		require.ErrorIs(t, srv.InjectFrames(k), ably.ErrFaults)
		require.ErrorIs(t, srv.SetFaults(ably.Faults{FrameRules: []ably.FaultRule{{Kind: k, Probability: 0.1}}}), ably.ErrFaults)
	}
	require.ErrorIs(t, srv.Inject(ably.AckDelayed), ably.ErrFaults)
}

// TestEarlyFrames: a new frame that overtakes those to be sent again after a
// reconnection waits for them; if they do not come, not for ever.
func TestEarlyFrames(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{MaxIdle: 3 * time.Second})
	s := dial(t, srv, key(srv))
	hello := s.is(4)
	publish := func(s *socket, serial int) {
		s.send(fmt.Sprintf(`{"action":15,"channel":"c","msgSerial":%d,"messages":[{"name":"%[1]d"}]}`, serial))
	}
	publish(s, 0)
	s.is(1)
	srv.DropConnections()
	s.ends()
	again := dial(t, srv, key(srv)+"&resume="+url.QueryEscape(hello.ConnectionDetails.ConnectionKey))
	again.is(4)
	publish(again, 3)
	publish(again, 1)
	require.Equal(t, 1, *again.is(1).MsgSerial)
	publish(again, 2)
	require.Equal(t, 2, *again.is(1).MsgSerial)
	require.Equal(t, 3, *again.is(1).MsgSerial)
	publish(again, 3)
	publish(again, 9)
	require.Equal(t, 9, *again.is(1).MsgSerial)
	var names []string
	for _, m := range srv.Messages("c") {
		names = append(names, m.Name)
	}
	require.Equal(t, []string{"0", "1", "2", "3", "9"}, names)
	again.send(`{"action":7}`)
	again.is(8)
}

func TestInboundRate(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, ably.Config{InboundRate: 2, Now: clock.now})
	s := dial(t, srv, key(srv))
	s.is(4)
	for i, want := range []int{1, 1, 2} {
		s.send(fmt.Sprintf(`{"action":15,"channel":"c","msgSerial":%d,"messages":[{}]}`, i))
		f := s.is(want)
		if want == 2 {
			require.Equal(t, 42911, f.Error.Code)
		}
	}
	clock.pass(time.Second)
	s.send(`{"action":15,"channel":"c","msgSerial":3,"messages":[{}]}`)
	s.is(1)
	s.send(`{"action":7}`)
	s.is(8)
}

func TestMembersAreBounded(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	s := dial(t, srv, key(srv))
	s.is(4)
	s.send(`{"action":10,"channel":"c","flags":65536}`)
	s.is(11)
	enter := func(i int, client string) frame {
		s.send(fmt.Sprintf(`{"action":14,"channel":"c","msgSerial":%d,"presence":[{"action":2,"clientId":%q}]}`, i, client))
		return s.next()
	}
	for i := range ably.MaxMembers {
		require.Equal(t, 1, enter(i, fmt.Sprint("u", i)).Action)
	}
	full := enter(ably.MaxMembers, "one more")
	require.Equal(t, 91003, full.Error.Code)
	require.Equal(t, 1, enter(ably.MaxMembers+1, "u1").Action, "who is there may say so again")
	s.send(`{"action":7}`)
	s.is(8)
}

// TestTokenRenewal: half a minute before a token ends the client is asked for a
// new one, and stays connected.
func TestTokenRenewal(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	s := dial(t, srv, "access_token="+srv.MintJWT("u1", nil, 31*time.Second))
	hello := s.is(4)
	s.is(17)
	s.send(`{"action":17,"auth":{"accessToken":"` + srv.MintJWT("u1", nil, time.Hour) + `"}}`)
	require.Equal(t, hello.ConnectionID, s.is(4).ConnectionID)
	s.send(`{"action":7}`)
	s.is(8)
}

// TestDetachChannel: an SDK attaches again by itself, and enters again.
func TestDetachChannel(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{})
		c := realtime(t, srv, format, sdk.WithKey(srv.Key()), sdk.WithClientID("u1"))
		ch := c.Channels.Get("c")
		var got inbox
		_, err := ch.SubscribeAll(soon(t), got.add)
		require.NoError(t, err)
		require.NoError(t, ch.Presence.Enter(soon(t), nil))
		attached := make(chan struct{}, 10)
		off := ch.On(sdk.ChannelEventAttached, func(sdk.ChannelStateChange) { attached <- struct{}{} })
		defer off()
		srv.DetachChannel("none")
		srv.DetachChannel("c")
		select {
		case <-attached:
		case <-time.After(time.Minute):
			require.Fail(t, "not attached again")
		}
		say(t, srv, "c", "x")
		require.Equal(t, "x", got.wait(t, 1)[0].Data)
		require.Eventually(t, func() bool {
			page, err := rest(t, srv, sdk.WithKey(srv.Key())).Channels.Get("c").Presence.Get().Pages(soon(t))
			return err == nil && page.Next(soon(t)) && len(page.Items()) == 1
		}, time.Minute, 20*time.Millisecond)
	})
}

// TestRealtimeDrops: sixty forced drops, with frame faults between them, lose
// and repeat nothing, and keep each publisher's order.
func TestRealtimeDrops(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{ChannelRate: -1, ChannelByteRate: -1})
		sub := realtime(t, srv, format, sdk.WithKey(srv.Key()))
		var got inbox
		_, err := sub.Channels.Get("c").SubscribeAll(soon(t), got.add)
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var wg sync.WaitGroup
		sent := make([]int, 4)
		for i := range sent {
			// A connection each: ably-go 1.2 sends a new message before those
			// that it has to send again, and takes the answers out of order for
			// refusals.
			pub := realtime(t, srv, format, sdk.WithKey(srv.Key()))
			wg.Go(func() {
				for ; ctx.Err() == nil; sent[i]++ {
					// Not ctx: an outcome that nobody waited for would be unknown.
					if err := pub.Channels.Get("c").Publish(soon(t), fmt.Sprint(i), fmt.Sprint(sent[i])); err != nil {
						t.Error("publish: ", err)
						return
					}
				}
			})
		}
		for n := range 60 {
			if n%10 == 5 {
				if err := srv.InjectFrames(ably.ResetAfterAccept, ably.Reset, ably.AckDelayed); err != nil {
					t.Error(err)
				}
			}
			seen := srv.Stats().Messages
			require.Eventually(t, func() bool { return srv.Stats().Messages > seen }, time.Minute, time.Millisecond)
			srv.DropConnections()
		}
		stop()
		wg.Wait()
		total := 0
		for _, n := range sent {
			total += n
		}
		require.Equal(t, uint64(total), srv.Stats().Messages)
		msgs := got.wait(t, total)
		require.Len(t, msgs, total, "nothing lost, nothing twice")
		next := map[string]int{}
		for _, m := range msgs {
			require.Equal(t, fmt.Sprint(next[m.Name]), m.Data, "in order of publisher %s", m.Name)
			next[m.Name]++
		}
		require.NotZero(t, srv.Stats().Resumed)
		require.Zero(t, srv.Stats().DuplicatesAnswered)
	})
}

// TestSDKIdempotency: the same id over REST, batch and realtime is one message.
func TestSDKIdempotency(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{})
		c := rest(t, srv, format, sdk.WithKey(srv.Key()))
		r := realtime(t, srv, format, sdk.WithKey(srv.Key()))
		var got inbox
		_, err := r.Channels.Get("c").SubscribeAll(soon(t), got.add)
		require.NoError(t, err)
		msg := func(id, data string) []*sdk.Message { return []*sdk.Message{{ID: id, Name: "odds", Data: data}} }
		require.NoError(t, c.Channels.Get("c").PublishMultiple(soon(t), msg("k/odds/0/1", "first")))
		require.NoError(t, r.Channels.Get("c").PublishMultiple(soon(t), msg("k/odds/0/1", "second")))
		var reply []batchResult // ably-go speaks version 2
		res := post(t, c, "/messages", []any{map[string]any{"channels": []string{"c", "d"}, "messages": map[string]any{"id": "k/odds/0/1", "data": "third"}}}, &reply)
		require.Equal(t, 201, res.StatusCode())
		require.Equal(t, []string{"k/odds/0/1", "k/odds/0/1"}, []string{reply[0].MessageID, reply[1].MessageID})
		require.NoError(t, r.Channels.Get("c").PublishMultiple(soon(t), msg("last", "last")))
		msgs := got.wait(t, 2)
		require.Equal(t, []any{"first", "last"}, []any{msgs[0].Data, msgs[1].Data})
		require.Equal(t, "k/odds/0/1", msgs[0].ID)
		require.Len(t, srv.Messages("d"), 1)
		require.Equal(t, uint64(2), srv.Stats().Duplicates)

		// Refusals come as errors of the SDK, over both.
		for name, err := range map[string]error{
			"rest":     c.Channels.Get("c").PublishMultiple(soon(t), []*sdk.Message{{ID: "a"}, {ID: "b"}}),
			"realtime": r.Channels.Get("c").PublishMultiple(soon(t), []*sdk.Message{{ID: "a"}, {ID: "b"}}),
		} {
			var e *sdk.ErrorInfo
			require.ErrorAs(t, err, &e, name)
			require.Equal(t, sdk.ErrorCode(40031), e.Code, name)
		}
	})
}
