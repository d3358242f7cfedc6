package ksqldb_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

func numbers(t *testing.T, n int) *ksqldb.Table {
	t.Helper()
	table := ksqldb.NewTable("T", ksqldb.Column{Name: "K", Type: "INTEGER", Key: true})
	for i := range n {
		require.NoError(t, table.Put(noon(), i))
	}
	return table
}

func TestRefusingFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		faults ksqldb.Faults
		code   int
		count  func(ksqldb.Stats) uint64
	}{
		{"forbidden", ksqldb.Faults{Forbidden: 1}, 40300, func(s ksqldb.Stats) uint64 { return s.Forbidden }},
		{"initialising", ksqldb.Faults{Initialising: 1}, 50302, func(s ksqldb.Stats) uint64 { return s.Initialising }},
		{"rate limited", ksqldb.Faults{RateLimited: 1}, 42900, func(s ksqldb.Stats) uint64 { return s.RateLimited }},
		{"not available", ksqldb.Faults{NotAvailable: 1}, 40001, func(s ksqldb.Stats) uint64 { return s.NotAvailable }},
		{"internal", ksqldb.Faults{Internal: 1}, 50000, func(s ksqldb.Stats) uint64 { return s.Internal }},
		{"one at a time", ksqldb.Faults{RateLimited: 1, Internal: 1, Cut: 1}, 42900, func(s ksqldb.Stats) uint64 { return s.RateLimited }},
	} {
		s := start(t, ksqldb.Config{Faults: c.faults})
		r := send(t, "POST", s.URL()+"/query-stream", request("SELECT * FROM order_book;"))
		require.Equal(t, c.code/100, r.status, c.name)
		require.Equal(t, c.code, r.code(t), c.name)
		require.EqualValues(t, 1, c.count(s.Stats()), c.name)
		require.Zero(t, s.Stats().Completed, c.name)
		require.Zero(t, s.Stats().Cut, c.name)
		s.SetFaults(ksqldb.Faults{})
		require.Equal(t, 200, send(t, "POST", s.URL()+"/query-stream", request("SELECT * FROM order_book;")).status)
		require.EqualValues(t, 1, s.Stats().Completed)
	}
}

func TestCutBodyIsAReadError(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Views: []ksqldb.View{numbers(t, 5000)}})
	h2 := func() *http.Transport {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		return tr
	}
	h1 := func() *http.Transport { return new(http.Transport) }
	for _, c := range []struct {
		after, rows int
	}{{-1, 0}, {3, 3}, {9000, 5000}} {
		for name, transport := range map[string]func() *http.Transport{"HTTP/1.1": h1, "HTTP/2": h2} {
			for _, accept := range []string{delimited, ksqlJSON, plainJSON} {
				s.SetFaults(ksqldb.Faults{Cut: 1, AfterRows: c.after})
				r := sendWith(t, transport(), "POST", s.URL()+"/query-stream", request("SELECT * FROM t;"), "Accept: "+accept)
				require.Equal(t, 200, r.status)
				require.Error(t, r.err, "%s %s: the body must not end cleanly", name, accept)
				if accept == delimited {
					require.Equal(t, c.rows, strings.Count(r.body, "\n")-1, "%s after %d", name, c.after)
				}
			}
		}
	}
	require.EqualValues(t, 18, s.Stats().Cut)
	require.Zero(t, s.Stats().Completed)
}

func TestInStreamErrorIsTheLastElement(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Views: []ksqldb.View{numbers(t, 10)}, Faults: ksqldb.Faults{InStream: 1, AfterRows: 4, Code: 42900}})
	read := func(accept string) string {
		r := send(t, "POST", s.URL()+"/query-stream", request("SELECT * FROM t;"), "Accept: "+accept)
		require.NoError(t, r.err, "the body ends cleanly")
		require.Equal(t, 200, r.status)
		return r.body
	}
	const object = `{"@type":"generic_error","error_code":42900,"message":"io.confluent.ksql.util.KsqlException: Exhausted standby hosts to try."}`
	lines := strings.Split(strings.TrimSuffix(read(delimited), "\n"), "\n")
	require.Len(t, lines, 6)
	require.JSONEq(t, object, lines[5])
	require.True(t, strings.HasSuffix(read(plainJSON), "],"+object+"]"))
	require.True(t, strings.HasSuffix(read(ksqlJSON), "}},\n"+`{"errorMessage":`+object+"}]"))
	s.SetFaults(ksqldb.Faults{InStream: 1, Cut: 1, Partial: 1, Duplicate: 1, AfterRows: 4})
	require.Contains(t, read(delimited), `"error_code":50000`)
	require.Equal(t, [4]uint64{4, 0, 0, 0}, [4]uint64{s.Stats().InStream, s.Stats().Cut, s.Stats().Partial, s.Stats().Duplicated}, "one fault at a time")
	require.EqualValues(t, 16, s.Stats().RowsSent)
	require.Zero(t, s.Stats().Completed)
}

func TestHangLastsUntilTheClientLeaves(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Faults: ksqldb.Faults{Hang: 1}})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/query-stream", strings.NewReader(request("SELECT * FROM order_book;")))
	require.NoError(t, err)
	tr := new(http.Transport)
	defer tr.CloseIdleConnections()
	done := make(chan error, 1)
	go func() {
		res, err := tr.RoundTrip(req)
		if err == nil {
			err = errors.Join(errors.New("answered"), res.Body.Close())
		}
		done <- err
	}()
	require.Eventually(t, func() bool { return s.Stats().Hung == 1 }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	s.Close() // would block if the handler still waited
}

func TestCloseWaitsForQueries(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	var finished atomic.Bool
	slow := ksqldb.Func("T", []ksqldb.Column{{Name: "K", Type: "STRING"}}, func() iter.Seq[ksqldb.Row] {
		close(entered)
		time.Sleep(50 * time.Millisecond) // long enough that a Close which does not wait is caught
		finished.Store(true)
		return func(func(ksqldb.Row) bool) {}
	})
	s := start(t, ksqldb.Config{Views: []ksqldb.View{slow}})
	done := make(chan error, 1)
	go func() { done <- post(t.Context(), s.URL(), "SELECT * FROM t;") }()
	<-entered
	s.Close()
	require.True(t, finished.Load())
	require.Error(t, <-done)
}

func TestCloseEndsAHangingQuery(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Faults: ksqldb.Faults{Hang: 1}})
	done := make(chan error, 1)
	go func() { done <- post(t.Context(), s.URL(), "SELECT * FROM order_book;") }()
	require.Eventually(t, func() bool { return s.Stats().Hung == 1 }, time.Minute, time.Millisecond)
	s.Close()
	require.Error(t, <-done)
}

func TestLatency(t *testing.T) {
	t.Parallel()
	const least = 30 * time.Millisecond
	s := start(t, ksqldb.Config{Faults: ksqldb.Faults{LatencyMin: least}})
	began := time.Now()
	pull(t, s, "SELECT * FROM order_book;")
	require.GreaterOrEqual(t, time.Since(began), least)
}

func TestLyingFaults(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Views: []ksqldb.View{numbers(t, 10)}, Faults: ksqldb.Faults{Partial: 1}})
	_, rows := pull(t, s, "SELECT * FROM t;")
	require.Less(t, len(rows), 10)
	s.SetFaults(ksqldb.Faults{Duplicate: 1})
	_, rows = pull(t, s, "SELECT * FROM t;")
	require.Len(t, rows, 11)
	pull(t, s, "SELECT * FROM t WHERE k = 99;") // nothing to disturb
	stats := s.Stats()
	require.EqualValues(t, 1, stats.Partial)
	require.EqualValues(t, 1, stats.Duplicated)
	require.EqualValues(t, 1, stats.Completed)
}

// TestPresets sends enough queries that each fault of a preset has to show, and
// checks that every query is accounted for once.
func TestPresets(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]ksqldb.Faults{"mild": ksqldb.Mild(), "harsh": ksqldb.Harsh()} {
		f.LatencyMin, f.LatencyMax, f.Hang = 0, 0, 0
		s := start(t, ksqldb.Config{Views: []ksqldb.View{numbers(t, 10)}, Faults: f, Seed: 1})
		const n = 1500
		whole := uint64(0)
		tr := new(http.Transport)
		for range n {
			if r := sendKept(t, tr, s.URL()); r.err == nil && r.status == 200 && strings.Count(r.body, "\n") == 11 && !strings.Contains(r.body, "error_code") {
				whole++
			}
		}
		tr.CloseIdleConnections()
		stats := s.Stats()
		require.EqualValues(t, n, stats.Queries, name)
		require.Equal(t, stats.Completed, whole, name)
		faults := stats.Forbidden + stats.Initialising + stats.RateLimited + stats.NotAvailable + stats.Internal +
			stats.InStream + stats.Cut + stats.Partial + stats.Duplicated
		require.EqualValues(t, n, stats.Completed+faults, name)
		for fault, count := range map[string]uint64{
			"cut": stats.Cut, "in stream": stats.InStream, "503": stats.Initialising, "429": stats.RateLimited, "40001": stats.NotAvailable,
		} {
			require.NotZero(t, count, "%s: %s", name, fault)
		}
		require.Equal(t, name == "harsh", stats.Partial > 0 && stats.Duplicated > 0 && stats.Internal > 0, name)
	}
}

// sendKept is send on a connection that is kept.
func sendKept(t *testing.T, tr *http.Transport, url string) reply {
	t.Helper()
	return exchange(t, tr, "POST", url+"/query-stream", request("SELECT * FROM t;"))
}

// post runs a query and returns what became of it; unlike send it may be called
// in another goroutine than the test's.
func post(ctx context.Context, url, sql string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/query-stream", strings.NewReader(request(sql)))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return errors.Join(err, res.Body.Close())
}
