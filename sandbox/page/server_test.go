package page_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/page"
)

// ask makes one request, with its own connection.
func ask(t *testing.T, method, url, body string, head map[string]string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for k, v := range head {
		req.Header.Set(k, v)
		if k == "Host" {
			req.Host = v
		}
	}
	req.Close = true
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, res.Header, string(text)
}

func get(t *testing.T, url string, head map[string]string) (int, http.Header, string) {
	t.Helper()
	return ask(t, http.MethodGet, url, "", head)
}

// start returns a page without a world.
func start(t *testing.T, cfg page.Config) *page.Server {
	t.Helper()
	cfg.Document.API, cfg.Document.Ably = "http://127.0.0.1:17080", "http://127.0.0.1:17084"
	p, err := page.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

type admission struct {
	page.Guest
	Key, Error string
}

func enter(t *testing.T, p *page.Server, key string) (int, admission) {
	t.Helper()
	status, _, body := ask(t, http.MethodPost, p.URL()+"/guest", `{"key":"`+key+`"}`, nil)
	var a admission
	require.NoError(t, json.Unmarshal([]byte(body), &a))
	return status, a
}

func TestOnlyThisMachineAndThisPage(t *testing.T) {
	t.Parallel()
	p := start(t, page.Config{Host: &hosts{}})
	for host, want := range map[string]int{
		"127.0.0.1:1": http.StatusOK, "localhost": http.StatusOK, "localhost:17085": http.StatusOK, "[::1]:17085": http.StatusOK,
		"example.com": http.StatusMisdirectedRequest, "127.0.0.1.example.com:17085": http.StatusMisdirectedRequest, "10.0.0.1": http.StatusMisdirectedRequest,
	} {
		status, _, _ := get(t, p.URL()+"/", map[string]string{"Host": host})
		require.Equal(t, want, status, host)
	}
	for _, head := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}} {
		status, _, _ := ask(t, http.MethodPost, p.URL()+"/guest", `{}`, head)
		require.Equal(t, http.StatusForbidden, status, head)
	}
	status, _, body := ask(t, http.MethodPost, p.URL()+"/guest", `{"key":`, nil)
	require.Equal(t, http.StatusBadRequest, status, body)
	_, a := enter(t, p, "")
	require.Equal(t, "guest-1", a.User, "nobody before has taken a place")
	for _, path := range []string{"/server.go", "/assets/index.html", "/guest", "/live", "/live?key=nobody"} {
		status, _, _ := get(t, p.URL()+path, nil)
		require.GreaterOrEqual(t, status, 400, path)
	}
	_, head, _ := get(t, p.URL()+"/", nil)
	require.Equal(t, "nosniff", head.Get("X-Content-Type-Options"))
	require.Contains(t, head.Get("Content-Security-Policy"), "frame-ancestors 'none'")

	for _, addr := range []string{"0.0.0.0:0", ":0", "10.1.2.3:80", "localhost:0", "nonsense"} {
		_, err := page.Start(t.Context(), page.Config{Addr: addr, Document: page.Document{API: "http://a", Ably: "http://b"}})
		require.ErrorContains(t, err, "loopback", addr)
	}
}

// A guest is the same for who has the key. One more than there is room for takes the
// place of who has been away longest, or is told.
func TestGuestsHaveARoomWithABound(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	h := &hosts{}
	p := start(t, page.Config{Host: h, Guests: 2, Away: time.Minute, Now: func() time.Time { return time.Unix(later.Load(), 0) }})
	_, one := enter(t, p, "")
	require.Equal(t, "guest-1", one.User)
	require.Equal(t, "token-of-guest-1", one.Token)
	_, again := enter(t, p, one.Key)
	require.Equal(t, one, again)
	later.Store(10)
	_, two := enter(t, p, "made up")
	require.Equal(t, "guest-2", two.User)
	require.NotEqual(t, one.Key, two.Key)
	status, refused := enter(t, p, "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, refused.Error, "room for 2 guests")

	// Both have been away for long enough, but one has the page open.
	later.Store(100)
	stream := follow(t, p, one.Key, "")
	require.Equal(t, "races", stream.next(t).name)
	_, three := enter(t, p, "")
	require.Equal(t, "guest-3", three.User)
	require.Equal(t, []string{"guest-2"}, h.left())
	status, _ = enter(t, p, two.Key)
	require.Equal(t, http.StatusServiceUnavailable, status)

	// What is still on its way to a phone that is gone concerns no oracle.
	require.True(t, p.Push("fcm:guest-2", page.Push{Title: "late"}))
	require.True(t, p.Push("fcm:guest-1", page.Push{Title: "hello"}))
	require.False(t, p.Push("fcm:somebody", page.Push{Title: "not ours"}))
	require.Contains(t, stream.next(t).data, `"title":"hello"`)

	// The one who has left is the next to go.
	stream.close()
	later.Store(300)
	require.Eventually(t, func() bool { status, four := enter(t, p, ""); return status == http.StatusOK && four.User == "guest-4" }, time.Minute, 20*time.Millisecond)
}

// stream is a page's.
type stream struct {
	lines *bufio.Scanner
	close func()
}

type got struct{ name, id, data string }

func follow(t *testing.T, p *page.Server, key, last string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+"/live?key="+key, nil)
	require.NoError(t, err)
	req.Header.Set("Last-Event-ID", last)
	req.Close = true
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	end := func() { cancel(); _ = res.Body.Close() }
	t.Cleanup(end)
	return &stream{lines: bufio.NewScanner(res.Body), close: end}
}

// next returns the next event, which has no name when the stream has ended.
func (s *stream) next(t *testing.T) (g got) {
	t.Helper()
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch {
		case name == "event":
			g.name = value
		case name == "id":
			g.id = value
		case name == "data":
			g.data = value
		case name == "" && g.name == "now": // what time it is comes all the time
			g = got{}
		case name == "" && g.name != "":
			return g
		}
	}
	return got{}
}

func TestAStreamGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	p := start(t, page.Config{Host: &hosts{}})
	_, a := enter(t, p, "")
	at := time.Date(2026, 9, 1, 14, 5, 0, 0, time.UTC)
	p.Show(page.Race{ID: "race-1", Name: "Copper Cup", StartsAt: &at, Status: "SCHEDULED"})
	for _, title := range []string{"one", "two"} {
		p.Push("fcm:guest-1", page.Push{Title: title})
	}
	s := follow(t, p, a.Key, "")
	require.JSONEq(t, `[{"id":"race-1","name":"Copper Cup","starts_at":"2026-09-01T14:05:00Z","status":"SCHEDULED"}]`, s.next(t).data)
	require.Contains(t, s.next(t).data, `"one"`)
	two := s.next(t)
	require.Contains(t, two.data, `"two"`)
	// The winner stays when the race is shown again.
	p.Result("race-1", "Car 1")
	require.Contains(t, s.next(t).data, `"winner":"Car 1"`)
	p.Show(page.Race{ID: "race-1", Name: "Copper Cup", Status: "OFF"})
	require.JSONEq(t, `[{"id":"race-1","name":"Copper Cup","status":"OFF","winner":"Car 1"}]`, s.next(t).data)
	p.Forget("race-1")
	require.Equal(t, "[]", s.next(t).data)

	p.Push("fcm:guest-1", page.Push{Title: "three"})
	again := follow(t, p, a.Key, two.id)
	require.Equal(t, "races", again.next(t).name)
	require.Contains(t, again.next(t).data, `"three"`)

	// Of what nobody reads only the newest are kept, of races too.
	for range 100 {
		p.Push("fcm:guest-1", page.Push{Title: "many"})
	}
	for i := range 60 {
		p.Show(page.Race{ID: fmt.Sprint("race-", i+2)})
	}
	late := follow(t, p, a.Key, "")
	var races []page.Race
	require.NoError(t, json.Unmarshal([]byte(late.next(t).data), &races))
	require.Len(t, races, 30)
	first := late.next(t)
	require.Equal(t, "84", first.id) // 20 of 103

	// Nobody has more than four streams, and Close ends them all.
	follow(t, p, a.Key, "")
	status, _, _ := get(t, p.URL()+"/live?key="+a.Key, nil)
	require.Equal(t, http.StatusForbidden, status)
	require.NoError(t, p.Close())
	for g := again.next(t); g.name != ""; g = again.next(t) {
		require.NotEmpty(t, g.data)
	}
}

func TestADocumentIsChecked(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "bets.md"))
	require.NoError(t, err)
	_, example, found := strings.Cut(string(doc), "**Against real services**")
	require.True(t, found)
	example = regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(example)[1]
	d, err := page.ReadDocument([]byte(example))
	require.NoError(t, err)
	require.Equal(t, "ascot-1505", d.Events[0].ID)
	p, err := page.Start(t.Context(), page.Config{Document: d})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	_, head, body := get(t, p.URL()+"/config.json", nil)
	require.Contains(t, head.Get("Content-Security-Policy"), "connect-src 'self' https://bugle.example.com https://main.realtime.ably.net;")
	require.Contains(t, body, `"guests":false`)
	status, _, _ := ask(t, http.MethodPost, p.URL()+"/guest", `{}`, nil)
	require.GreaterOrEqual(t, status, 400, "nobody is there to welcome a guest")

	for text, want := range map[string]string{
		`{"api": "https://a", "ably": "https://b"}`:                                           "token is missing",
		`{"api": "bugle.example.com", "ably": "https://b", "token": "t"}`:                     "api: ",
		`{"api": "https://a", "ably": "https://b; script-src *", "token": "t"}`:               "ably: ",
		`{"api": "https://a", "ably": "https://u:p@b", "token": "t"}`:                         "ably: ",
		`{"api": "javascript:alert(1)", "ably": "https://b", "token": "t"}`:                   "api: ",
		`{"api": "https://a", "ably": "https://b", "token": "t", "api_url": "https://other"}`: "api_url",
		`[]`: "read the page's document",
	} {
		_, err := page.ReadDocument([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
}
