package ably_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	sdk "github.com/ably/ably-go/ably"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// post makes a call that ably-go has no method for, and decodes the answer
// unless into is nil.
func post(t *testing.T, c *sdk.REST, path string, body, into any) *sdk.HTTPPaginatedResponse {
	t.Helper()
	res, err := c.Request(http.MethodPost, path, sdk.RequestWithBody(body)).Pages(soon(t))
	require.NoError(t, err)
	if into != nil && res.Success() {
		require.True(t, res.Next(soon(t)), "%v", res.Err())
		require.NoError(t, res.Items(into))
	}
	return res
}

func TestSDKPush(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{})
		c := rest(t, srv, format, sdk.WithKey(srv.Key()))
		phone := srv.MintDevice("u1", ably.Android)
		tablet := srv.MintDevice("u1", ably.IOS)
		page := srv.MintDevice("u2", ably.Browser)
		body := func(recipient map[string]any) map[string]any {
			return map[string]any{
				"recipient":    recipient,
				"notification": map[string]any{"title": "You won", "body": "2.50", "collapseKey": "bet-1", "ttl": 600},
				"data":         map[string]any{"nid": "n1", "seq": "3"},
				"apns":         map[string]any{"apns-headers": map[string]any{"apns-collapse-id": "bet-1"}},
				"fcm":          map[string]any{"android": map[string]any{"notification": map[string]any{"tag": "bet-1"}}},
			}
		}
		res := post(t, c, "/push/publish", body(map[string]any{"deviceId": phone}), nil)
		require.Equal(t, http.StatusNoContent, res.StatusCode())
		got := srv.Accepted()
		require.Len(t, got, 1)
		require.JSONEq(t, `{"notification":{"title":"You won","body":"2.50"},"data":{"nid":"n1","seq":"3"},"collapse_key":"bet-1",
			"android":{"notification":{"tag":"bet-1"}}}`, string(got[0].Payload))
		require.Equal(t, ably.Accepted{
			Seq: 1, At: got[0].At, Recipient: ably.Recipient{DeviceID: phone}, DeviceID: phone, ClientID: "u1", Platform: ably.Android,
			Transport: "fcm", NID: "n1", Tag: "bet-1", CollapseKey: "bet-1", Title: "You won", Body: "2.50",
			Data: map[string]string{"nid": "n1", "seq": "3"}, Payload: got[0].Payload, Attempt: 1, Acceptance: 1,
		}, got[0])

		// A client has its pushes on every device, in each transport's form.
		res = post(t, c, "/push/publish", body(map[string]any{"clientId": "u1"}), nil)
		require.True(t, res.Success())
		got = srv.AcceptedSince(1)
		require.Len(t, got, 2)
		require.ElementsMatch(t, []string{phone, tablet}, []string{got[0].DeviceID, got[1].DeviceID})
		for _, a := range got {
			require.Equal(t, ably.Recipient{ClientID: "u1"}, a.Recipient)
			if a.DeviceID == tablet {
				require.Equal(t, "bet-1", a.CollapseID)
				require.Equal(t, "bet-1", a.ThreadID)
				require.JSONEq(t, `{"aps":{"alert":{"title":"You won","body":"2.50"},"thread-id":"bet-1"},"nid":"n1","seq":"3"}`, string(a.Payload))
				require.Equal(t, map[string]string{"nid": "n1", "seq": "3"}, a.Data)
			}
		}

		// A batch, with an item that cannot be delivered.
		var items []struct {
			Error *struct {
				Code int `json:"code"`
			} `json:"error"`
		}
		payload := map[string]any{"notification": map[string]any{"title": "A"}, "data": map[string]any{"nid": "n2"}}
		res = post(t, c, "/push/batch/publish", []any{
			map[string]any{"recipient": map[string]any{"deviceId": page}, "payload": payload},
			map[string]any{"recipient": map[string]any{"deviceId": "nobody"}, "payload": payload},
			map[string]any{"recipient": []any{map[string]any{"clientId": "u2"}, map[string]any{"deviceId": tablet}}, "payload": payload},
		}, &items)
		require.Equal(t, http.StatusOK, res.StatusCode())
		require.Len(t, items, 3)
		require.Nil(t, items[0].Error)
		require.Equal(t, 40400, items[1].Error.Code)
		require.Nil(t, items[2].Error)
		got = srv.AcceptedSince(3)
		require.Len(t, got, 3)
		require.Equal(t, page, got[0].DeviceID)
		require.Equal(t, "web", got[0].Transport)
		require.Equal(t, 2, got[1].Acceptance, "the page has it by its device id and by its client")
		require.True(t, got[2].Batch)

		// A push to an unknown device fails with the error in the headers too.
		res = post(t, c, "/push/publish", body(map[string]any{"deviceId": "nobody"}), nil)
		require.Equal(t, http.StatusNotFound, res.StatusCode())
		require.Equal(t, sdk.ErrorCode(40400), res.ErrorCode())
		require.Equal(t, "device not found", res.ErrorMessage())
	})
}

func TestSDKPublishHistory(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{ChannelRate: -1})
		c := rest(t, srv, format, sdk.WithKey(srv.Key()))
		require.NoError(t, c.Channels.Get("odds/a b").Publish(soon(t), "x", "1"), "escaped in the path")
		ch := c.Channels.Get("outbound:odds:1")
		require.NoError(t, ch.Publish(soon(t), "text", "hello"))
		require.NoError(t, ch.Publish(soon(t), "bytes", []byte{0, 1, 0xff}))
		require.NoError(t, ch.Publish(soon(t), "object", map[string]any{"name": "Car 1", "odds": 0.125}))
		// The same id twice is one message; the first data stays.
		for _, data := range []string{"first", "second"} {
			require.NoError(t, ch.PublishMultiple(soon(t), []*sdk.Message{{ID: "kafka/odds/0/7", Name: "once", Data: data}}))
		}
		require.NoError(t, ch.PublishMultiple(soon(t), []*sdk.Message{{Name: "m", Data: "0"}, {Name: "m", Data: "1"}}))

		var names []string
		var data []any
		pages, err := ch.History(sdk.HistoryWithDirection(sdk.Forwards), sdk.HistoryWithLimit(4)).Items(soon(t))
		require.NoError(t, err)
		for pages.Next(soon(t)) { // over two pages
			names = append(names, pages.Item().Name)
			data = append(data, pages.Item().Data)
		}
		require.NoError(t, pages.Err())
		require.Equal(t, []string{"text", "bytes", "object", "once", "m", "m"}, names)
		// ably-go gives bytes as a string when it speaks msgpack.
		data[1] = fmt.Sprintf("%s", data[1])
		require.Equal(t, []any{"hello", "\x00\x01\xff", map[string]any{"name": "Car 1", "odds": 0.125}, "first", "0", "1"}, data)
		require.Equal(t, uint64(1), srv.Stats().Duplicates)

		back, err := ch.History(sdk.HistoryWithLimit(1)).Pages(soon(t))
		require.NoError(t, err)
		require.True(t, back.Next(soon(t)))
		require.Equal(t, "1", back.Items()[0].Data)
		require.True(t, back.HasNext(soon(t)))

		status, err := ch.Status(soon(t))
		require.NoError(t, err)
		require.True(t, status.Status.IsActive)
		stats, err := c.Stats().Pages(soon(t))
		require.NoError(t, err)
		require.True(t, stats.Next(soon(t)))
		require.Empty(t, stats.Items())
		now, err := c.Time(soon(t))
		require.NoError(t, err)
		require.False(t, now.IsZero())
	})
}

func TestSDKTokens(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{})
		admin := rest(t, srv, format, sdk.WithKey(srv.Key()))
		token, err := admin.Auth.RequestToken(soon(t), &sdk.TokenParams{
			ClientID: "u1", Capability: `{"odds:*":["subscribe","history"],"bets:*:u1":["publish"]}`, TTL: 60_000,
		})
		require.NoError(t, err)
		require.Equal(t, "u1", token.ClientID)
		require.JSONEq(t, `{"bets:*:u1":["publish"],"odds:*":["history","subscribe"]}`, token.Capability)
		require.Equal(t, token.Issued+60_000, token.Expires)

		jwt := srv.MintJWT("u1", map[string][]string{"odds:*": {"subscribe", "history"}, "bets:*:u1": {"publish"}}, time.Minute)
		for name, text := range map[string]string{"token": token.Token, "jwt": jwt} {
			c := rest(t, srv, format, sdk.WithToken(text))
			require.NoError(t, c.Channels.Get("bets:racing:u1").Publish(soon(t), "bet", "1"), name)
			var e *sdk.ErrorInfo
			require.ErrorAs(t, c.Channels.Get("bets:racing:u2").Publish(soon(t), "bet", "1"), &e, name)
			require.Equal(t, sdk.ErrorCode(40160), e.Code, name)
			require.Equal(t, 401, e.StatusCode, name)
			require.ErrorAs(t, c.Channels.Get("odds:1").Publish(soon(t), "x", "1"), &e, name)
			require.Equal(t, sdk.ErrorCode(40160), e.Code, name)
			_, err = c.Channels.Get("odds:1").History().Pages(soon(t))
			require.NoError(t, err, name)
			// Acting as somebody else is refused, being silent about it is not.
			err := c.Channels.Get("bets:racing:u1").PublishMultiple(soon(t), []*sdk.Message{{Name: "bet", ClientID: "u2"}})
			require.ErrorAs(t, err, &e, name)
			require.Equal(t, sdk.ErrorCode(40012), e.Code, name)
			res := post(t, c, "/push/publish", json.RawMessage(`{}`), nil)
			require.Equal(t, sdk.ErrorCode(40160), res.ErrorCode(), name)
		}
		page, err := admin.Channels.Get("bets:racing:u1").History().Pages(soon(t))
		require.NoError(t, err)
		require.True(t, page.Next(soon(t)))
		for _, m := range page.Items() {
			require.Equal(t, "u1", m.ClientID, "the token's client is put on messages")
		}

		// An SDK that has a key and uses tokens asks for one by itself.
		c := rest(t, srv, format, sdk.WithKey(srv.Key()), sdk.WithUseTokenAuth(true))
		require.NoError(t, c.Channels.Get("any").Publish(soon(t), "x", "1"))
		_, err = c.Auth.RequestToken(soon(t), &sdk.TokenParams{TTL: int64(25 * time.Hour / time.Millisecond)})
		var e *sdk.ErrorInfo
		require.ErrorAs(t, err, &e)
		require.Equal(t, sdk.ErrorCode(40003), e.Code)
	})
}

func TestSDKDevices(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format sdk.ClientOption) {
		srv := start(t, ably.Config{})
		c := rest(t, srv, format, sdk.WithKey(srv.Key()))
		for range 3 {
			srv.MintDevice("u1", ably.IOS)
		}
		items, err := c.Request(http.MethodGet, "/push/deviceRegistrations", sdk.RequestWithParams(url.Values{
			"clientId": {"u1"}, "limit": {"2"},
		})).Items(soon(t))
		require.NoError(t, err)
		n := 0
		for items.Next(soon(t)) {
			var d struct {
				Platform string `json:"platform"`
				Push     struct {
					State     string         `json:"state"`
					Recipient map[string]any `json:"recipient"`
				} `json:"push"`
			}
			require.NoError(t, items.Item(&d))
			require.Equal(t, ably.IOS, d.Platform)
			require.Equal(t, "ACTIVE", d.Push.State)
			require.Equal(t, "apns", d.Push.Recipient["transportType"])
			n++
		}
		require.NoError(t, items.Err())
		require.Equal(t, 3, n)
	})
}
