package ksqlsource_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ksqlsource"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

func newSource(t *testing.T, server *ksqldb.Server) *ksqlsource.Source {
	t.Helper()
	client, err := ksqlclient.New(ksqlclient.Config{URL: server.URL(), Timeout: 10 * time.Second})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return ksqlsource.New(client)
}

func start(t *testing.T, views ...ksqldb.View) *ksqldb.Server {
	t.Helper()
	server, err := ksqldb.Start(t.Context(), ksqldb.Config{Views: views})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server
}

// read collects all rows, or the error that ended them.
func read(t *testing.T, s *ksqlsource.Source, query string, params map[string]any) ([]notifier.Row, error) {
	t.Helper()
	var rows []notifier.Row
	for row, err := range s.Read(t.Context(), query, params) {
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func TestValuesSurviveJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 9, 1, 14, 30, 0, 250e6, time.UTC)
	table := ksqldb.NewTable("THINGS",
		ksqldb.Column{Name: "ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "BIG", Type: "BIGINT"},
		ksqldb.Column{Name: "PRICE", Type: "DECIMAL(18, 2)"},
		ksqldb.Column{Name: "ODDS", Type: "DOUBLE"},
		ksqldb.Column{Name: "YES", Type: "BOOLEAN"},
		ksqldb.Column{Name: "SEEN", Type: "TIMESTAMP"},
		ksqldb.Column{Name: "RAW", Type: "BYTES"},
		ksqldb.Column{Name: "TAGS", Type: "ARRAY<BIGINT>"},
		ksqldb.Column{Name: "NOTHING", Type: "STRING"},
	)
	require.NoError(t, table.Put(at, "a", int64(9007199254740993), "12.50", 0.125, true, at, []byte{0xff, 0}, []any{int64(1), nil}, nil))
	s := newSource(t, start(t, table))

	rows, err := read(t, s, "SELECT id, big, price, odds, yes, seen, raw, tags, nothing, ROWTIME AS rowtime FROM things;", nil)
	require.NoError(t, err)
	want := notifier.Row{
		"id": "a", "big": json.Number("9007199254740993"), "price": json.Number("12.50"), "odds": json.Number("0.125"),
		"yes": true, "seen": "2026-09-01T14:30:00.25Z", "raw": "/wA=", "tags": []any{json.Number("1"), nil}, "nothing": nil,
		"rowtime": json.Number("1788273000250"),
	}
	require.Equal(t, []notifier.Row{want}, rows)

	// What a row is kept as must come back the same.
	text, err := json.Marshal(rows[0])
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"a","big":9007199254740993,"price":12.50,"odds":0.125,"yes":true,"seen":"2026-09-01T14:30:00.25Z",
		"raw":"/wA=","tags":[1,null],"nothing":null,"rowtime":1788273000250}`, string(text))
}

func TestTimesAreBoundAsTheColumnWantsThem(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 9, 1, 14, 30, 0, 0, time.UTC)
	table := ksqldb.NewTable("RACES",
		ksqldb.Column{Name: "ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "STARTS_AT", Type: "TIMESTAMP"},
		ksqldb.Column{Name: "SEEN_MS", Type: "BIGINT"},
	)
	require.NoError(t, table.Put(at, "in", at.Add(time.Minute), at.UnixMilli()))
	require.NoError(t, table.Put(at.Add(-time.Hour), "early", at.Add(time.Minute), at.UnixMilli()))
	require.NoError(t, table.Put(at, "late", at.Add(time.Hour), at.UnixMilli()))
	s := newSource(t, start(t, table))

	rows, err := read(t, s,
		"SELECT id FROM races WHERE ROWTIME >= :since AND starts_at <= :soon AND seen_ms = :seen_ms;",
		map[string]any{"since": at, "soon": at.Add(5 * time.Minute), "seen_ms": at.UnixMilli()})
	require.NoError(t, err)
	require.Equal(t, []notifier.Row{{"id": "in"}}, rows)
}

func TestErrorsHaveTheirKind(t *testing.T) {
	t.Parallel()
	table := ksqldb.NewTable("THINGS", ksqldb.Column{Name: "ID", Type: "STRING", Key: true})
	server := start(t, table)
	s := newSource(t, server)
	require.NoError(t, s.Check(t.Context()))

	_, err := read(t, s, "SELECT id FROM things WHERE id = :missing;", nil)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorIs(t, err, ksqlclient.ErrParam)

	server.Close()
	_, err = read(t, s, "SELECT id FROM things;", nil)
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	require.Equal(t, fault.Unavailable, fault.KindOf(s.Check(t.Context())))
}

func TestACutAnswerIsAnError(t *testing.T) {
	t.Parallel()
	table := ksqldb.NewTable("THINGS", ksqldb.Column{Name: "ID", Type: "STRING", Key: true})
	for _, id := range []string{"a", "b", "c", "d"} {
		require.NoError(t, table.Put(time.Now(), id))
	}
	server := start(t, table)
	server.SetFaults(ksqldb.Faults{Cut: 1})
	_, err := read(t, newSource(t, server), "SELECT id FROM things;", nil)
	require.ErrorIs(t, err, ksqlclient.ErrTruncated)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

func TestStoppingEarlyIsNoError(t *testing.T) {
	t.Parallel()
	table := ksqldb.NewTable("THINGS", ksqldb.Column{Name: "ID", Type: "STRING", Key: true})
	for _, id := range []string{"a", "b", "c", "d"} {
		require.NoError(t, table.Put(time.Now(), id))
	}
	n := 0
	for _, err := range newSource(t, start(t, table)).Read(t.Context(), "SELECT id FROM things;", nil) {
		require.NoError(t, err)
		n++
		break
	}
	require.Equal(t, 1, n)
}
