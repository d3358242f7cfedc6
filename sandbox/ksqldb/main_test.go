package ksqldb_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is a moment that all tests count from.
func noon() time.Time { return time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC) }

// start runs a server for one test.
func start(t *testing.T, cfg ksqldb.Config) *ksqldb.Server {
	t.Helper()
	if cfg.Views == nil {
		cfg.Views = []ksqldb.View{races(t), bets(t), windows(t)}
	}
	if cfg.Now == nil {
		cfg.Now = noon
	}
	s, err := ksqldb.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// races is a table with one key and one row whose course is NULL.
func races(t *testing.T) *ksqldb.Table {
	t.Helper()
	table := ksqldb.NewTable("UPCOMING_RACES",
		ksqldb.Column{Name: "EVENT_ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "COURSE", Type: "STRING"},
		ksqldb.Column{Name: "STARTS_AT", Type: "TIMESTAMP"},
		ksqldb.Column{Name: "RUNNERS", Type: "INTEGER"},
		ksqldb.Column{Name: "POOL", Type: "DECIMAL(18, 2)"},
		ksqldb.Column{Name: "OPEN", Type: "BOOLEAN"},
	)
	at := noon()
	require.NoError(t, table.Put(at.Add(-3*time.Minute), "e1", "Ascot", at.Add(time.Hour), 8, "12.50", true))
	require.NoError(t, table.Put(at.Add(-2*time.Minute), "e2", "York's", at.Add(2*time.Hour), 12, "0", false))
	require.NoError(t, table.Put(at.Add(-time.Minute), "e3", nil, at.Add(3*time.Hour), 5, nil, nil))
	return table
}

// bets is a table with two key columns.
func bets(t *testing.T) *ksqldb.Table {
	t.Helper()
	table := ksqldb.NewTable("ORDER_BOOK",
		ksqldb.Column{Name: "EVENT_ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "RUNNER_ID", Type: "BIGINT", Key: true},
		ksqldb.Column{Name: "ODDS", Type: "DOUBLE"},
	)
	require.NoError(t, table.Put(noon(), "e1", 7, 4.2))
	require.NoError(t, table.Put(noon(), "e1", 9, nil))
	return table
}

// windows is a windowed table.
func windows(t *testing.T) *ksqldb.Table {
	t.Helper()
	table := ksqldb.NewTable("SETTLED_BETS",
		ksqldb.Column{Name: "BET_ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "OUTCOME", Type: "STRING"},
		ksqldb.Column{Name: "WINDOWSTART", Type: "BIGINT", Key: true},
		ksqldb.Column{Name: "WINDOWEND", Type: "BIGINT", Key: true},
	)
	day := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, table.Put(noon(), "b1", "WON", day.UnixMilli(), day.AddDate(0, 0, 1).UnixMilli()))
	require.NoError(t, table.Put(noon(), "b2", "LOST", day.UnixMilli(), day.AddDate(0, 0, 1).UnixMilli()))
	return table
}

// reply is an answer read to its end.
type reply struct {
	status      int
	contentType string
	header      http.Header
	body        string
	err         error // of reading the body
}

// code returns the error code of an error body, and checks its @type.
func (r reply) code(t *testing.T) int {
	t.Helper()
	var e struct {
		Type    string `json:"@type"`
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &e), "body: %s", r.body)
	require.Contains(t, []string{"generic_error", "statement_error"}, e.Type)
	require.NotEmpty(t, e.Message)
	return e.Code
}

// send makes one request; header entries are "Name: value".
func send(t *testing.T, method, url, body string, header ...string) reply {
	t.Helper()
	return sendWith(t, http.DefaultTransport.(*http.Transport).Clone(), method, url, body, header...)
}

func sendWith(t *testing.T, tr *http.Transport, method, url, body string, header ...string) reply {
	t.Helper()
	defer tr.CloseIdleConnections()
	return exchange(t, tr, method, url, body, header...)
}

func exchange(t *testing.T, tr *http.Transport, method, url, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return reply{err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header.Get("Content-Type"), res.Header, string(b), err}
}

// pull sends a query and expects a whole delimited answer; the rows are sorted.
func pull(t *testing.T, s *ksqldb.Server, sql string) (header string, rows []string) {
	t.Helper()
	r := send(t, "POST", s.URL()+"/query-stream", request(sql))
	require.NoError(t, r.err)
	require.Equal(t, 200, r.status, "body: %s", r.body)
	lines := strings.Split(strings.TrimSuffix(r.body, "\n"), "\n")
	rows = lines[1:]
	slices.Sort(rows)
	return lines[0], rows
}

func request(sql string) string {
	b, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		panic(fmt.Sprint("marshal a map of strings: ", err))
	}
	return string(b)
}
