package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// followed is a stream that a client reads.
type followed struct {
	res    *http.Response
	lines  *bufio.Reader
	cancel context.CancelFunc
}

// follow asks for the stream of the overview.
func (b *browser) follow(t testing.TB) *followed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // bounds each wait for an event
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.URL+"/live/stream", http.NoBody)
	require.NoError(t, err)
	res, err := b.client.Do(r)
	require.NoError(t, err)
	s := &followed{res: res, lines: bufio.NewReader(res.Body), cancel: cancel}
	t.Cleanup(s.close)
	return s
}

func (s *followed) close() {
	s.cancel()
	_ = s.res.Body.Close()
}

// event reads the next event that is not a comment; an empty name is the end.
func (s *followed) event() (name, data string) {
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return "", ""
		}
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(line, "event: "); ok {
			name = text
		}
		if text, ok := strings.CutPrefix(line, "data:"); ok {
			data = strings.TrimPrefix(text, " ")
		}
		if line == "" && name != "" {
			return name, data
		}
	}
}

// next reads until an event of the name.
func (s *followed) next(t testing.TB, name string) string {
	t.Helper()
	for {
		got, data := s.event()
		require.NotEmpty(t, got, "the stream has ended before an event %q", name)
		if got == name {
			return data
		}
	}
}

// parts reads the parts of an event, by their ids.
func parts(t testing.TB, data string) map[string]string {
	t.Helper()
	var list []struct{ ID, Class, HTML string }
	require.NoError(t, json.Unmarshal([]byte(data), &list), data)
	out := map[string]string{}
	for _, p := range list {
		out[p.ID] = text(p.HTML)
	}
	return out
}

func TestAStreamTellsAllAndThenWhatHasChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.signedIn(t).follow(t)
	require.Equal(t, http.StatusOK, s.res.StatusCode)
	require.Equal(t, "text/event-stream", s.res.Header.Get("Content-Type"))
	all := parts(t, s.next(t, "all"))
	require.Contains(t, all["tiles"], "1 failing")
	require.Contains(t, all["checks"], "failing ksqldb connection refused")
	require.Contains(t, all, "chart-sends")
	require.Contains(t, all["replicas"], "replica-1")

	w.broken.Store(false)
	for {
		changed := parts(t, s.next(t, "parts"))
		require.NotContains(t, changed, "replicas", "nothing is new about them but how long ago they were heard of")
		if tiles, ok := changed["tiles"]; ok {
			require.Contains(t, tiles, "Ready")
			require.Contains(t, changed["checks"], "ok ksqldb")
			break
		}
	}
	w.work.attempts.WithLabelValues("fcm", "sent", "").Add(5)
	for !strings.Contains(parts(t, s.next(t, "parts"))["chart-sends"], "In numbers") {
	}
	require.NotContains(t, w.log.String(), `"level":"error"`)
}

func TestAStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lines, err := os.ReadFile(w.tokens)
	require.NoError(t, err)
	for name, end := range map[string]func(b *browser){
		"sign-out": func(b *browser) {
			res, _ := b.post(t, "/sign-out", nil)
			require.Equal(t, http.StatusSeeOther, res.StatusCode)
		},
		"its token is removed": func(*browser) { require.NoError(t, os.WriteFile(w.tokens, nil, 0o600)) },
	} {
		b := w.signedIn(t)
		s := b.follow(t)
		s.next(t, "all")
		end(b)
		s.next(t, "ended")
		last, _ := s.event()
		require.Empty(t, last, name)
		require.NoError(t, os.WriteFile(w.tokens, lines, 0o600))
		require.Eventually(t, func() bool { // the file is looked at once a second
			res, _ := w.browser(t).post(t, "/sign-in", url.Values{"token": {w.token}})
			return res.StatusCode == http.StatusSeeOther
		}, time.Minute, 50*time.Millisecond)
	}
}

func TestABrowserFollowsAFewOverviews(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	var open []*followed
	for range 4 {
		s := b.follow(t)
		s.next(t, "all")
		open = append(open, s)
	}
	res, body := b.get(t, "/live/stream")
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode, body)
	require.Contains(t, page(t, b, "/live"), "tiles", "it can ask all the same")
	w.signedIn(t).follow(t).next(t, "all")

	open[0].close()
	require.Eventually(t, func() bool {
		s := b.follow(t)
		defer s.close()
		return s.res.StatusCode == http.StatusOK
	}, time.Minute, 20*time.Millisecond)
}

// A stop does not wait for those who look, and pages work without a stream.
func TestAStreamEndsWithTheService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	s := b.follow(t)
	s.next(t, "all")
	w.stop()
	for name := "all"; name != ""; name, _ = s.event() {
	}
	res, _ := b.get(t, "/live/stream")
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.Contains(t, page(t, b, "/"), "Sends by verdict")
}

// A server's own limit for answers does not end a stream.
func TestAStreamOutlivesTheWriteTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server = httptest.NewUnstartedServer(w.routes)
	w.server.Config.WriteTimeout = 2 * time.Second // other answers come within it
	w.server.Start()
	t.Cleanup(w.server.Close)
	s := w.signedIn(t).follow(t)
	began := time.Now()
	s.next(t, "all")
	for time.Since(began) < 3*time.Second {
		w.work.attempts.WithLabelValues("fcm", "sent", "").Inc()
		s.next(t, "parts")
	}
}

// An outage is one line in the log for each of its causes, however long somebody looks.
func TestAnOutageIsLoggedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.signedIn(t).follow(t)
	s.next(t, "all")
	require.NoError(t, w.db.Close())
	for !strings.Contains(parts(t, s.next(t, "parts"))["held"], "Not known now. Something went wrong here; the log has the cause") {
	}
	lines := strings.Count(w.log.String(), `"level":"error"`)
	for range 5 {
		w.work.attempts.WithLabelValues("fcm", "sent", "").Inc()
		s.next(t, "parts")
	}
	require.Equal(t, lines, strings.Count(w.log.String(), `"level":"error"`), w.log.String())
}
