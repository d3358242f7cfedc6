package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/relay"
)

// soon is how long a test waits for what must come at once.
const soon = time.Minute

// atOnce is what a busy machine may take for something that waits for nothing.
const atOnce = 20 * time.Second

// serverTimeout is that of the server, which requests keep on a busy machine too, and
// streams outlive.
const serverTimeout = 3 * time.Second

// oddsWorld is a handler with odds behind a real server.
type oddsWorld struct {
	*world
	board  *relay.Board
	server *http.Server
	addr   string
	offset int64
}

// newOddsWorld serves odds with times that are short enough for a test, those of
// the server included: a stream outlives them all.
func newOddsWorld(t testing.TB, change ...func(*api.Config, *relay.BoardConfig)) *oddsWorld {
	t.Helper()
	return newOddsWorldWithin(t, serverTimeout, change...)
}

// newOddsWorldWithin is newOddsWorld with a server that has these timeouts.
func newOddsWorldWithin(t testing.TB, timeout time.Duration, change ...func(*api.Config, *relay.BoardConfig)) *oddsWorld {
	t.Helper()
	o := &oddsWorld{}
	o.world = newWorld(t, func(cfg *api.Config) {
		board := relay.BoardConfig{Registerer: cfg.Registerer}
		cfg.RequestTimeout, cfg.UserLimit, cfg.IPLimit = 2*time.Second, -1, -1
		cfg.Odds = api.OddsConfig{Heartbeat: 50 * time.Millisecond, WriteTimeout: soon}
		for _, c := range change {
			c(cfg, &board)
		}
		var err error
		o.board, err = relay.NewBoard(board)
		require.NoError(t, err)
		o.board.Loaded(exampleTopic)
		cfg.Odds.Board = o.board
	})
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o.addr = listener.Addr().String()
	o.server = api.NewServer(o.addr, o.handler)
	o.server.ReadTimeout, o.server.WriteTimeout = timeout, timeout
	o.server.RegisterOnShutdown(o.board.Close)
	served := make(chan error, 1)
	go func() { served <- o.server.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, o.server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return o
}

func (o *oddsWorld) put(t testing.TB, event, value string) {
	t.Helper()
	o.offset++
	require.Equal(t, relay.Updated, o.board.Put(relay.Update{Event: event, Position: relay.NewPosition(exampleTopic, 0, o.offset), Value: []byte(value)}))
}

func (o *oddsWorld) requireEnded(t testing.TB, why relay.StreamEnd, n int) {
	t.Helper()
	want := fmt.Sprintf(`bugle_odds_streams_ended_total{reason="%s"} %d`, why, n)
	require.Eventually(t, func() bool { return strings.Contains(o.scrape(t), want) }, soon, 10*time.Millisecond, want)
}

func (o *oddsWorld) scrape(t testing.TB) string {
	t.Helper()
	families, err := o.metrics.Gather()
	require.NoError(t, err)
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			fmt.Fprintf(&b, "%s{%s} %v\n", f.GetName(), strings.Join(labels, ","), m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	return b.String()
}

// client is one that follows odds.
type client struct {
	resp  *http.Response
	lines *bufio.Reader
	retry string
	beats int
}

func (o *oddsWorld) follow(t testing.TB, event, last string) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.addr+"/v1/odds/"+event+"/stream", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+tokenFor(t, "ada"))
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	transport := &http.Transport{}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	require.NoError(t, err)
	c := &client{resp: resp, lines: bufio.NewReader(resp.Body)}
	t.Cleanup(func() { cancel(); _ = resp.Body.Close(); transport.CloseIdleConnections() })
	return c
}

// next reads to the next event, and returns its id, name and data.
func (c *client) next() (id, event, data string, err error) {
	for {
		line, err := c.lines.ReadString('\n')
		if err != nil {
			return "", "", "", err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data = value
		case "retry":
			c.retry = value
		case "":
			if line == ":\n" {
				c.beats++
			} else if event != "" {
				return id, event, data, nil
			}
		}
	}
}

func (c *client) require(t testing.TB, wantID, wantData string) {
	t.Helper()
	id, event, data, err := c.next()
	require.NoError(t, err)
	require.Equal(t, "odds", event)
	require.Equal(t, wantID+"-"+exampleTopic, id)
	require.Contains(t, data, `"odds":`+wantData)
}

func TestOddsComeWithTheirAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.do(t, call{method: "GET", path: "/v1/odds/ascot-1505", token: tokenFor(t, "ada")})
	require.Equal(t, 200, rec.Code, rec.Body.String())
	got := decode[api.OddsSnapshot](t, rec)
	require.Equal(t, "3-1842-"+exampleTopic, got.ID)
	require.GreaterOrEqual(t, got.AgeMS, int64(1000))
	require.Less(t, got.AgeMS, int64(60_000))
	require.WithinDuration(t, time.Now(), got.UpdatedAt, time.Minute)
	require.Len(t, got.Odds, 2)
	require.Equal(t, "no-store", rec.Header().Get("Cache-Control"))
	for _, path := range []string{"/v1/odds/ascot-1505", "/v1/odds/ascot-1505/stream"} {
		requireProblem(t, w.do(t, call{method: "GET", path: path}), 401)
	}
}

func TestOddsAreLeftOutWithoutABoard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *api.Config) { cfg.Odds = api.OddsConfig{} })
	requireProblem(t, w.do(t, call{method: "GET", path: "/v1/odds/e1", token: tokenFor(t, "ada")}), 404)
	_, err := api.New(api.Config{Registry: w.registry, Preferences: w.registry, Auth: down{}, Odds: api.OddsConfig{Heartbeat: -1}})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

func TestPublicOddsNeedNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *api.Config) { cfg.Odds.Public, cfg.UserLimit = true, 1 })
	for range 3 {
		for _, path := range []string{"/v1/odds/ascot-1505", "/v1/odds/ascot-1505/stream"} {
			rec := w.do(t, call{method: "GET", path: path})
			require.Equal(t, 200, rec.Code, rec.Body.String())
			require.Equal(t, "*", rec.Header().Get("Access-Control-Allow-Origin"), "a page of any origin may read it")
		}
	}
	requireProblem(t, w.do(t, call{method: "GET", path: "/v1/preferences"}), 401)
	raw, doc := openAPI(t, w)
	ok, errs := newValidator(t, raw).ValidateDocument()
	require.True(t, ok, errs)
	require.NotContains(t, doc.Paths["/v1/odds/{event}"]["get"].Responses, "401")
	require.Contains(t, string(raw), `"security": [
          {}
        ]`)
}

// The server's own timeouts are for requests.
func TestAStreamOutlivesTheTimeoutsOfTheServer(t *testing.T) {
	t.Parallel()
	o := newOddsWorld(t)
	o.put(t, "e1", "[1]")
	c := o.follow(t, "e1", "")
	require.Equal(t, 200, c.resp.StatusCode)
	require.Equal(t, "text/event-stream", c.resp.Header.Get("Content-Type"))
	require.Equal(t, "no", c.resp.Header.Get("X-Accel-Buffering"))
	c.require(t, "0-1", "[1]")
	require.NotEmpty(t, c.retry)
	time.AfterFunc(serverTimeout+time.Second, func() {
		o.board.Put(relay.Update{Event: "e1", Position: relay.NewPosition(exampleTopic, 0, 2), Value: []byte("[2]")})
	})
	c.require(t, "0-2", "[2]")
	require.Greater(t, c.beats, 5, "a heartbeat every 50 ms")
	o.offset = 2

	// One that comes again gets what it has not seen.
	again := o.follow(t, "e1", "0-2-"+exampleTopic)
	behind := o.follow(t, "e1", "0-1-"+exampleTopic)
	behind.require(t, "0-2", "[2]")
	o.put(t, "e1", "[3]")
	again.require(t, "0-3", "[3]")
}

func TestAClientThatLeavesLeavesNothing(t *testing.T) {
	t.Parallel()
	o := newOddsWorld(t)
	o.put(t, "e1", "[1]")
	c := o.follow(t, "e1", "")
	c.require(t, "0-1", "[1]")
	require.Contains(t, o.scrape(t), "bugle_odds_streams{} 1")
	require.NoError(t, c.resp.Body.Close())
	o.requireEnded(t, relay.EndClient, 1)
	require.Contains(t, o.scrape(t), "bugle_odds_streams{} 0")
	require.NotContains(t, o.scrape(t), `bugle_http_request_duration_seconds{method="GET",route="/v1/odds/{event}/stream"}`)
}

func TestAUserMayHaveSomeStreams(t *testing.T) {
	t.Parallel()
	o := newOddsWorld(t, func(cfg *api.Config, _ *relay.BoardConfig) { cfg.Odds.PerUser = 2 })
	o.put(t, "e1", "[1]")
	first := o.follow(t, "e1", "")
	first.require(t, "0-1", "[1]")
	o.follow(t, "e1", "").require(t, "0-1", "[1]")
	require.Equal(t, 429, o.follow(t, "e1", "").resp.StatusCode)
	require.NoError(t, first.resp.Body.Close())
	o.requireEnded(t, relay.EndClient, 1)
	o.follow(t, "e1", "").require(t, "0-1", "[1]")
}

// Without tokens it is an address that may have some of them, not all.
func TestAnAddressMayHaveSomePublicStreams(t *testing.T) {
	t.Parallel()
	o := newOddsWorld(t, func(cfg *api.Config, _ *relay.BoardConfig) { cfg.Odds.Public, cfg.Odds.PerAddress = true, 2 })
	o.put(t, "e1", "[1]")
	first := o.follow(t, "e1", "")
	first.require(t, "0-1", "[1]")
	o.follow(t, "e1", "").require(t, "0-1", "[1]")
	require.Equal(t, 429, o.follow(t, "e1", "").resp.StatusCode)
	require.NoError(t, first.resp.Body.Close())
	o.requireEnded(t, relay.EndClient, 1)
	o.follow(t, "e1", "").require(t, "0-1", "[1]")
}

func TestAStreamEndsWhenItIsOldSoThatItsTokenIsAskedForAgain(t *testing.T) {
	t.Parallel()
	o := newOddsWorld(t, func(cfg *api.Config, _ *relay.BoardConfig) { cfg.Odds.MaxAge = 300 * time.Millisecond })
	c := o.follow(t, "e1", "")
	_, _, _, err := c.next()
	require.ErrorIs(t, err, io.EOF, "in good order, not cut")
	o.requireEnded(t, relay.EndAge, 1)
}

// A client that does not read is dropped when it has not made room in time, and
// nobody waits for it.
func TestASlowClientHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	o := newOddsWorld(t, func(cfg *api.Config, _ *relay.BoardConfig) { cfg.Odds.WriteTimeout = 500 * time.Millisecond })
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", o.addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /v1/odds/e1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", tokenFor(t, "bob"))
	require.NoError(t, err)
	quick := o.follow(t, "e1", "")
	require.Eventually(t, func() bool { return strings.Contains(o.scrape(t), "bugle_odds_streams{} 2") }, soon, time.Millisecond)
	large := strings.Repeat("a", 200_000)
	for i := range 500 { // more than the buffers of a socket hold
		o.put(t, "e1", fmt.Sprintf(`[%d,%q]`, i, large))
		began := time.Now()
		quick.require(t, fmt.Sprintf("0-%d", i+1), fmt.Sprintf("[%d,", i))
		require.Less(t, time.Since(began), atOnce)
		if strings.Contains(o.scrape(t), `bugle_odds_streams_ended_total{reason="slow"} 1`) {
			break
		}
	}
	o.requireEnded(t, relay.EndSlow, 1)
	o.put(t, "e1", "[]")
	quick.require(t, fmt.Sprintf("0-%d", o.offset), "[]")
}

func TestAStopEndsStreamsAtOnceAndSaysWhenToComeBack(t *testing.T) {
	t.Parallel()
	o := newOddsWorld(t)
	o.put(t, "e1", "[1]")
	c := o.follow(t, "e1", "")
	c.require(t, "0-1", "[1]")
	c.retry = ""
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	require.NoError(t, o.server.Shutdown(ctx))
	require.Less(t, time.Since(began), atOnce)
	_, _, _, err := c.next()
	require.ErrorIs(t, err, io.EOF, "in good order, not cut")
	require.NotEmpty(t, c.retry)
	o.requireEnded(t, relay.EndStopping, 1)
}

// Two thousand clients on one machine each get the last of many updates, in
// order and without a repeat.
func TestThousandsOfClientsFollow(t *testing.T) {
	t.Parallel()
	const clients, updates = 2000, 20
	// So many requests at once take a busy machine a while.
	o := newOddsWorldWithin(t, time.Minute, func(cfg *api.Config, _ *relay.BoardConfig) {
		cfg.Odds.PerUser, cfg.Odds.Heartbeat, cfg.RequestTimeout = clients, time.Minute, time.Minute
	})
	o.put(t, "e1", "[0]")
	token := tokenFor(t, "ada")
	var ready, done sync.WaitGroup
	failed := make(chan error, clients)
	ready.Add(clients)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for range clients {
		done.Go(func() { failed <- followToTheEnd(ctx, o.addr, token, updates, ready.Done) })
	}
	ready.Wait()
	select {
	case err := <-failed:
		require.NoError(t, err, "a client has ended before the updates")
	default:
	}
	require.Contains(t, o.scrape(t), fmt.Sprintf("bugle_odds_streams{} %d", clients))
	for i := range updates {
		o.put(t, "e1", fmt.Sprintf("[%d]", i+1))
	}
	done.Wait()
	for range clients {
		require.NoError(t, <-failed)
	}
	o.requireEnded(t, relay.EndClient, clients)
}

// followToTheEnd reads a stream up to an offset; ready is called at the first update.
func followToTheEnd(ctx context.Context, addr, token string, last int64, ready func()) error {
	var once sync.Once
	defer once.Do(ready)
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if _, err := fmt.Fprintf(conn, "GET /v1/odds/e1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", token); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(conn, 1024)
	seen := int64(-1)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("after %d: %w", seen, err)
		}
		id, ok := strings.CutPrefix(strings.TrimSpace(line), "id: ")
		if !ok {
			continue
		}
		p := relay.ParsePosition(id)
		if p.Offset <= seen {
			return fmt.Errorf("%d came after %d", p.Offset, seen)
		}
		seen = p.Offset
		once.Do(ready)
		if seen == last+1 {
			return nil
		}
	}
}

func TestBoardAndHandlerShareARegistry(t *testing.T) {
	t.Parallel()
	o := newOddsWorld(t)
	n, err := testutil.GatherAndCount(o.metrics, "bugle_odds_records_total")
	require.NoError(t, err)
	require.Positive(t, n)
	_, err = relay.NewBoard(relay.BoardConfig{Registerer: o.metrics})
	require.ErrorAs(t, err, new(prometheus.AlreadyRegisteredError))
}
