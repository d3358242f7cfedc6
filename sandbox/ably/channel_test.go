package ably_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

func TestPublishRefusals(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{ChannelRate: -1})
	c := raw(t, srv)
	for _, tc := range []struct {
		channel, body string
		code          int
	}{
		{"c", ``, 40001},
		{"c", `"x"`, 40001},
		{"c", `[]`, 40000},
		{"c", `[1]`, 40001},
		{"c", `{"data":"!","encoding":"base64"}`, 40013},
		{"c", `{"extras":{"kafka":{}}}`, 40032},
		{"c", `[{"id":"a:0"},{"id":"a:2"}]`, 40031},
		{"c", `[{"id":"a:0"},{}]`, 40031},
		{"c", `[{"id":"a"},{"id":"b"}]`, 40031},
		{"c", `{"data":"` + strings.Repeat("x", ably.DefaultMaxMessageSize+1) + `"}`, 40009},
		{"c", `[` + strings.TrimSuffix(strings.Repeat(`{},`, 1001), ",") + `]`, 40034},
		{"c?_forceNack=true", `{}`, 40099},
		{":c", `{}`, 40010},
		{"c%0A", `{}`, 40010},
		{"[x][y]c", `{}`, 40010},
		{"[meta]log:push", `{}`, 40160},
	} {
		path, query, _ := strings.Cut(tc.channel, "?")
		require.Equal(t, tc.code, c.do("POST", "/channels/"+path+"/messages?"+query, tc.body).Code, "%s %.60s", tc.channel, tc.body)
	}
	require.Zero(t, srv.Stats().Messages)
	for _, tc := range []struct{ path string }{
		{"/channels/c/messages?limit=0"},
		{"/channels/c/messages?limit=1001"},
		{"/channels/c/messages?limit=x"},
		{"/channels/c/messages?direction=up"},
		{"/channels/c/messages?start=2&end=1"},
		{"/channels/c/messages?cursor=x"},
	} {
		require.Equal(t, 40003, c.do("GET", tc.path, "").Code, tc.path)
	}
	require.Equal(t, 404, c.do("GET", "/nothing", "").Status)
	require.Equal(t, 404, c.do("PUT", "/channels/c/messages", "{}").Status)
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, ably.Config{ChannelRate: -1, Now: clock.now, History: time.Hour})
	c := raw(t, srv)
	send := func(body string) string {
		r := c.do("POST", "/channels/c/messages", body)
		require.Equal(t, 201, r.Status, r.Body)
		return r.Body
	}
	count := func() int {
		var got []map[string]any
		decode(t, c.do("GET", "/channels/c/messages", "").Body, &got)
		return len(got)
	}
	first := send(`{"id":"kafka/odds/0/1","data":"a"}`)
	require.Contains(t, first, `"channel":"c","messageId":"kafka/odds/0/1","serials":["`)
	require.Equal(t, first, send(`{"id":"kafka/odds/0/1","data":"b"}`))
	require.Equal(t, first, send(`{"id":"kafka/odds/0/1:0","data":"b"}`), "one trailing :0 is not part of the key")
	send(`[{"id":"k:0"},{"id":"k:1"}]`)
	send(`[{"id":"k:0"},{"id":"k:1"}]`)
	require.Equal(t, 3, count())
	clock.pass(ably.DefaultHistory - time.Second)
	send(`{"id":"kafka/odds/0/1"}`)
	require.Equal(t, 3, count())
	clock.pass(2 * time.Second)
	send(`{"id":"kafka/odds/0/1"}`)
	require.Equal(t, 4, count(), "two minutes later it is a new message")

	// An answer that was lost: the repeat with the same id is harmless.
	require.NoError(t, srv.Inject(ably.ResetAfterAccept))
	_, err := c.try("POST", "/channels/c/messages", `{"id":"again"}`)
	require.Error(t, err)
	send(`{"id":"again"}`)
	require.Equal(t, 5, count())
}

func TestHistory(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, ably.Config{ChannelRate: -1, Now: clock.now, MaxHistory: 8})
	c := raw(t, srv)
	began := clock.now()
	for i := range 6 {
		require.Equal(t, 201, c.do("POST", "/channels/a%2Fb/messages", fmt.Sprintf(`{"data":"%d"}`, i)).Status)
		clock.pass(10 * time.Second)
	}
	get := func(query string) (data, next string) {
		r := c.do("GET", "/channels/a%2Fb/messages"+query, "")
		require.Equal(t, 200, r.Status, r.Body)
		var got []struct{ Data string }
		decode(t, r.Body, &got)
		for _, m := range got {
			data += m.Data
		}
		for _, l := range r.Header.Values("Link") {
			if rest, isNext := strings.CutSuffix(l, `>; rel="next"`); isNext {
				next = strings.TrimPrefix(rest, "<./messages")
			}
		}
		return data, next
	}
	all, next := get("")
	require.Equal(t, "543210", all)
	require.Empty(t, next)
	var pages []string
	for query := "?limit=4&direction=forwards&key=" + srv.Key(); query != ""; {
		var data string
		data, query = get(query)
		require.NotContains(t, query, "key=", "no secret in links")
		pages = append(pages, data)
	}
	require.Equal(t, []string{"0123", "45"}, pages)
	data, _ := get(fmt.Sprintf("?start=%d&end=%d", began.Add(10*time.Second).UnixMilli(), began.Add(30*time.Second).UnixMilli()))
	require.Equal(t, "321", data)

	// A page is not shifted by what is published meanwhile.
	data, next = get("?limit=2")
	require.Equal(t, "54", data)
	require.Equal(t, 201, c.do("POST", "/channels/a%2Fb/messages", `{"data":"6"}`).Status)
	data, _ = get(next)
	require.Equal(t, "32", data)

	for range 5 {
		require.Equal(t, 201, c.do("POST", "/channels/a%2Fb/messages", `{"data":"x"}`).Status)
	}
	all, _ = get("")
	require.Len(t, all, 8)
	clock.pass(ably.DefaultHistory + time.Second)
	all, _ = get("")
	require.Empty(t, all)
}

// TestCanonicalData: what publishers send in several forms is kept in one.
func TestCanonicalData(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{ChannelRate: -1})
	c := raw(t, srv)
	for in, want := range map[string]string{
		`"data":"text"`:                          `"data":"text"`,
		`"data":{"b":1,"a":[true]}`:              `"data":"{\"a\":[true],\"b\":1}","encoding":"json"`,
		`"data":[0.125]`:                         `"data":"[0.125]","encoding":"json"`,
		`"data":"{}","encoding":"json"`:          `"data":"{}","encoding":"json"`,
		`"data":7`:                               `"data":"7"`,
		`"data":true`:                            `"data":"true"`,
		`"data":"AAH/","encoding":"base64"`:      `"data":"AAH/","encoding":"base64"`,
		`"data":"e30=","encoding":"json/base64"`: `"data":"e30=","encoding":"json/base64"`,
	} {
		require.Equal(t, 201, c.do("POST", "/channels/c/messages", "{"+in+"}").Status, in)
		require.Contains(t, c.do("GET", "/channels/c/messages?limit=1", "").Body, want, in)
	}
	r := c.do("GET", "/channels/c/messages?limit=1&format=msgpack", "")
	require.Equal(t, "application/x-msgpack", r.Header.Get("Content-Type"))
	c.head["Accept"] = "application/json"
	require.Equal(t, "application/json", c.do("GET", "/time?format=msgpack", "").Header.Get("Content-Type"), "Accept wins")
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	c := raw(t, start(t, ably.Config{})).as("")
	c.head["Access-Control-Request-Headers"] = "authorization"
	r := c.do("OPTIONS", "/channels/c/messages", "")
	require.Equal(t, 204, r.Status)
	require.Equal(t, "authorization", r.Header.Get("Access-Control-Allow-Headers"))
}
