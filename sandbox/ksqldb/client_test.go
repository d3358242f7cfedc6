package ksqldb_test

import (
	"context"
	"errors"
	"iter"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// connect makes a client of Bugle for a server, over HTTP/1.1 or h2c.
func connect(t *testing.T, s *ksqldb.Server, change ...func(*ksqlclient.Config)) *ksqlclient.Client {
	t.Helper()
	cfg := ksqlclient.Config{URL: s.URL(), Timeout: 30 * time.Second, PollInterval: time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	c, err := ksqlclient.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func h2c(cfg *ksqlclient.Config) { cfg.CleartextHTTP2 = true }

func TestClientReadsEveryType(t *testing.T) {
	t.Parallel()
	at := noon().Add(7 * time.Millisecond)
	columns := []ksqldb.Column{
		{Name: "B", Type: "BOOLEAN"},
		{Name: "I", Type: "INTEGER"},
		{Name: "L", Type: "BIGINT"},
		{Name: "D", Type: "DOUBLE"},
		{Name: "N", Type: "DECIMAL(38, 4)"},
		{Name: "S", Type: "STRING"},
		{Name: "Y", Type: "BYTES"},
		{Name: "AT", Type: "TIMESTAMP"},
		{Name: "DAY", Type: "DATE"},
		{Name: "C", Type: "TIME"},
		{Name: "Z", Type: "STRING"},
		{Name: "A", Type: "ARRAY<DECIMAL(4, 2)>"},
		{Name: "M", Type: "MAP<STRING, TIMESTAMP>"},
		{Name: "R", Type: "STRUCT<`AT` TIMESTAMP, `DAY` DATE, `C` TIME, `Y` BYTES, `IN` STRUCT<`L` BIGINT>>"},
	}
	view := one(columns, true, -5, int64(math.MinInt64), 1e300, "1234567890123456789012345678901234.5600", "a'b\n;--", []byte{0, 255},
		at, at, 14*time.Hour+30*time.Minute, nil, []any{"1.50", nil}, map[string]any{"k": at},
		map[string]any{"AT": at, "DAY": at, "C": time.Minute, "Y": []byte{1}, "IN": map[string]any{"L": int64(math.MaxInt64)}})
	s := start(t, ksqldb.Config{Views: []ksqldb.View{view}})
	decimal := func(text string) ksqlclient.Decimal {
		d, err := ksqlclient.ParseDecimal(text)
		require.NoError(t, err)
		return d
	}
	day := ksqlclient.Date{Year: 2026, Month: 9, Day: 1}
	want := map[string]any{
		"b": true, "i": int64(-5), "l": int64(math.MinInt64), "d": 1e300,
		"n": decimal("1234567890123456789012345678901234.5600"), "s": "a'b\n;--", "y": []byte{0, 255},
		"at": at, "day": day, "c": ksqlclient.TimeOfDay(14*time.Hour + 30*time.Minute), "z": nil,
		"a": []any{decimal("1.50"), nil}, "m": map[string]any{"k": at},
		"r": map[string]any{"at": at, "day": day, "c": ksqlclient.TimeOfDay(time.Minute), "y": []byte{1}, "in": map[string]any{"l": int64(math.MaxInt64)}},
	}
	for _, change := range [][]func(*ksqlclient.Config){nil, {h2c}} {
		rows, err := connect(t, s, change...).PullAll(t.Context(), "SELECT * FROM t", nil)
		require.NoError(t, err)
		require.Len(t, rows, 1)
		require.Equal(t, want, rows[0].Map())
	}
}

func TestClientBindsEveryType(t *testing.T) {
	t.Parallel()
	at := noon()
	s := start(t, ksqldb.Config{Views: []ksqldb.View{ksqldb.Func("T", []ksqldb.Column{
		{Name: "B", Type: "BOOLEAN"},
		{Name: "L", Type: "BIGINT"},
		{Name: "D", Type: "DOUBLE"},
		{Name: "N", Type: "DECIMAL(9, 2)"},
		{Name: "S", Type: "STRING"},
		{Name: "Y", Type: "BYTES"},
		{Name: "TS", Type: "TIMESTAMP"},
		{Name: "DAY", Type: "DATE"},
		{Name: "C", Type: "TIME"},
	}, func() iter.Seq[ksqldb.Row] {
		return func(yield func(ksqldb.Row) bool) {
			yield(ksqldb.Row{Time: at, Values: []any{true, int64(math.MinInt64), 12.5, "12.50", "it's", []byte("hi"), at, at, time.Hour}})
		}
	})}})
	client := connect(t, s)
	decimal, err := ksqlclient.ParseDecimal("12.5")
	require.NoError(t, err)
	for where, value := range map[string]any{
		"b = :v": true, "l = :v": int64(math.MinInt64), "d = :v": 12.5, "n = :v": decimal, "s = :v": "it's", "y = :v": []byte("hi"),
		"ts = :v": at, "day = :v": ksqlclient.DateOf(at), "c = :v": ksqlclient.TimeOfDay(time.Hour),
		"ROWTIME = :v": at, "ts >= :v AND ROWTIME >= :v": at.In(time.FixedZone("", 3600)), "UNIX_TIMESTAMP(ts) = :v": ksqlclient.EpochMillis(at),
		"s IN (:v)": []string{"x", "it's"}, "l BETWEEN :v AND 0": int64(math.MinInt64), "l - :v = 0": int64(math.MinInt64),
	} {
		rows, err := client.PullAll(t.Context(), "SELECT s FROM t WHERE "+where, ksqlclient.Params{"v": value})
		require.NoError(t, err, where)
		require.Len(t, rows, 1, where)
	}
}

// TestBoundStringsMatchThemselves binds hostile strings: a literal that is not
// closed where it should be would be refused or match something else.
func TestBoundStringsMatchThemselves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune("a'\"`;:-/*\\${}%\n é😀"))).Draw(rt, "text")
		sql, err := ksqlclient.Bind("SELECT s FROM t WHERE s = :v AND ':v' <> s; -- :v", ksqlclient.Params{"v": text})
		require.NoError(rt, err)
		rows, err := ksqldb.Run(sql, one([]ksqldb.Column{{Name: "S", Type: "STRING"}}, text))
		require.NoError(rt, err, sql)
		require.Equal(rt, [][]any{{text}}, rows)
	})
}

func TestClientSeesFaults(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Views: []ksqldb.View{numbers(t, 2000)}})
	code := func(want int, class ksqlclient.Class) func(t *testing.T, err error) {
		return func(t *testing.T, err error) {
			t.Helper()
			e, ok := errors.AsType[*ksqlclient.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, want, e.Code)
			require.Equal(t, class, e.Class())
		}
	}
	is := func(target error) func(t *testing.T, err error) {
		return func(t *testing.T, err error) { t.Helper(); require.ErrorIs(t, err, target) }
	}
	cases := []struct {
		name   string
		faults ksqldb.Faults
		check  func(t *testing.T, err error)
		count  func(ksqldb.Stats) uint64
	}{
		{"cut at once", ksqldb.Faults{Cut: 1, AfterRows: -1}, is(ksqlclient.ErrTruncated), func(s ksqldb.Stats) uint64 { return s.Cut }},
		{"cut in the middle", ksqldb.Faults{Cut: 1, AfterRows: 1000}, is(ksqlclient.ErrTruncated), func(s ksqldb.Stats) uint64 { return s.Cut }},
		{"cut after the last row", ksqldb.Faults{Cut: 1, AfterRows: 2000}, is(ksqlclient.ErrTruncated), func(s ksqldb.Stats) uint64 { return s.Cut }},
		{"in stream", ksqldb.Faults{InStream: 1}, is(ksqlclient.ErrInStream), func(s ksqldb.Stats) uint64 { return s.InStream }},
		{"in stream after the last row", ksqldb.Faults{InStream: 1, AfterRows: 2000, Code: 42900}, code(42900, ksqlclient.Transient), func(s ksqldb.Stats) uint64 { return s.InStream }},
		{"forbidden", ksqldb.Faults{Forbidden: 1}, is(ksqlclient.ErrForbidden), func(s ksqldb.Stats) uint64 { return s.Forbidden }},
		{"starting", ksqldb.Faults{Initialising: 1}, is(ksqlclient.ErrUnavailable), func(s ksqldb.Stats) uint64 { return s.Initialising }},
		{"rate limit", ksqldb.Faults{RateLimited: 1}, code(42900, ksqlclient.Transient), func(s ksqldb.Stats) uint64 { return s.RateLimited }},
		{"not available", ksqldb.Faults{NotAvailable: 1}, code(40001, ksqlclient.Ambiguous), func(s ksqldb.Stats) uint64 { return s.NotAvailable }},
		{"internal", ksqldb.Faults{Internal: 1}, code(50000, ksqlclient.Transient), func(s ksqldb.Stats) uint64 { return s.Internal }},
	}
	for _, change := range [][]func(*ksqlclient.Config){nil, {h2c}} {
		client := connect(t, s, change...)
		for _, c := range cases {
			before := c.count(s.Stats())
			s.SetFaults(c.faults)
			rows, err := client.PullAll(t.Context(), "SELECT * FROM t", nil)
			require.Error(t, err, c.name)
			require.Nil(t, rows, c.name)
			c.check(t, err)
			require.Equal(t, before+1, c.count(s.Stats()), c.name)
		}
		s.SetFaults(ksqldb.Faults{})
		rows, err := client.PullAll(t.Context(), "SELECT * FROM t", nil)
		require.NoError(t, err)
		require.Len(t, rows, 2000)
	}
	s.SetFaults(ksqldb.Faults{Hang: 1})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client, done := connect(t, s), make(chan error, 1)
	go func() {
		_, err := client.PullAll(ctx, "SELECT * FROM t", nil)
		done <- err
	}()
	require.Eventually(t, func() bool { return s.Stats().Hung == 1 }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestClientSeesRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Username: "bugle", Password: "tally-ho"})
	right := func(c *ksqlclient.Config) { c.Username, c.Password = "bugle", "tally-ho" }
	wrong := func(c *ksqlclient.Config) { c.Username, c.Password = "bugle", "view-halloo" }
	_, err := connect(t, s, wrong).PullAll(t.Context(), "SELECT * FROM order_book", nil)
	require.ErrorIs(t, err, ksqlclient.ErrUnauthorized)

	client := connect(t, s, right)
	for _, sql := range []string{"SELECT * FROM nowhere", "SELECT * FROM upcoming_races WHERE starts_at > 5", "SELECT * FROM order_book ORDER BY odds"} {
		_, err := client.PullAll(t.Context(), sql, nil)
		e, ok := errors.AsType[*ksqlclient.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, 40001, e.Code)
	}
	_, err = client.PullAll(t.Context(), "SELECT * FROM order_book", nil, ksqlclient.WithProperties(map[string]any{"ksql.query.pull.table.scan.enabled": false}))
	require.Error(t, err)
	rows, err := client.PullAll(t.Context(), "SELECT * FROM order_book", nil, ksqlclient.WithProperties(map[string]any{"ksql.query.pull.table.scan.enabled": true}))
	require.NoError(t, err)
	require.Len(t, rows, 2)
}

func TestClientUsesTheOtherEndpoints(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{DDL: true, QueuedPolls: 3})
	client := connect(t, s)

	source, err := client.Describe(t.Context(), "settled_bets")
	require.NoError(t, err)
	require.Equal(t, "TABLE", source.Type)
	require.True(t, source.Windowed)
	source, err = client.Describe(t.Context(), "upcoming_races")
	require.NoError(t, err)
	pool, ok := source.Column("pool")
	require.True(t, ok)
	require.Equal(t, "DECIMAL(18, 2)", pool.Type.String())

	info, err := client.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, "RUNNING", info.Status)
	_, err = client.Health(t.Context())
	require.NoError(t, err)
	s.SetHealthy(false)
	_, err = client.Health(t.Context())
	require.ErrorIs(t, err, ksqlclient.ErrUnhealthy)

	results, err := client.Exec(t.Context(), "CREATE TABLE winners AS SELECT * FROM upcoming_races EMIT CHANGES;", nil)
	require.NoError(t, err)
	require.Len(t, results, 1)
	require.Equal(t, ksqlclient.StateSuccess, results[0].Command.State, "it was queued and then polled")
	require.Equal(t, "CTAS_WINNERS_1", results[0].Command.QueryID)
}
