package ksqlclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/ksqlclient"
)

// read iterates and returns the rows' first values and the error. It closes the
// channels at the first row: a server that cuts its connection only then cannot
// be overtaken by the cut, which may discard what the client has not read.
func read(ctx context.Context, c *ksqlclient.Client, sql string, seen ...chan struct{}) (got []any, err error) {
	for row, e := range c.Pull(ctx, sql, nil) {
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		got = append(got, row.At(0))
		for _, ch := range seen {
			close(ch)
		}
	}
	return got, err
}

func TestPullOverEveryProtocol(t *testing.T) {
	t.Parallel()
	for name := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantMajor := 1
			if name == "h2c" || name == "https/2" {
				wantMajor = 2
			}
			handler := func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				user, password, _ := r.BasicAuth()
				var args struct {
					SQL        string         `json:"sql"`
					Properties map[string]any `json:"properties"`
				}
				dec := json.NewDecoder(strings.NewReader(string(body)))
				dec.DisallowUnknownFields() // no sessionVariables, ever
				if dec.Decode(&args) != nil || r.Method != http.MethodPost || r.URL.Path != "/query-stream" ||
					r.Header.Get("Accept") != "application/vnd.ksqlapi.delimited.v1" || r.ProtoMajor != wantMajor ||
					user != "key" || password != "secret" || args.SQL != "SELECT id FROM t WHERE c = 'x';" ||
					args.Properties["ksql.query.pull.table.scan.enabled"] != false || r.Header.Values("Idempotency-Key") != nil ||
					r.Header.Get("Accept-Encoding") != "identity" {
					w.WriteHeader(http.StatusTeapot)
					return
				}
				write(w, idHeader)
				write(w, "[1]\n[2]")
				write(w, "\n")
			}
			c := serve(t, name, handler, func(c *ksqlclient.Config) { c.Username, c.Password = "key", "secret" })
			rows, err := c.PullAll(t.Context(), "SELECT id FROM t WHERE c = :c", ksqlclient.Params{"c": "x"},
				ksqlclient.WithProperties(map[string]any{"ksql.query.pull.table.scan.enabled": false}))
			require.NoError(t, err)
			require.Len(t, rows, 2)
			require.Equal(t, map[string]any{"id": int64(2)}, rows[1].Map())
			require.Equal(t, []ksqlclient.Column{{Name: "id", Original: "ID", Type: ksqlclient.Type{Kind: ksqlclient.TypeBigint}}}, rows[0].Columns())
			_, ok := rows[0].Get("ID")
			require.False(t, ok)
			v, ok := rows[0].Get("id")
			require.True(t, ok)
			require.Equal(t, int64(1), v)
		})
	}
}

func TestPullNeverTakesACutForTheEnd(t *testing.T) {
	t.Parallel()
	for name := range protocols {
		t.Run("aborted "+name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan struct{})
			c := serve(t, name, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				write(w, idHeader+"[1]\n")
				<-seen
				panic(http.ErrAbortHandler)
			})
			got, err := read(t.Context(), c, selectAll, seen)
			require.ErrorIs(t, err, ksqlclient.ErrTruncated)
			require.True(t, ksqlclient.Retryable(err))
			require.Equal(t, []any{int64(1)}, got)
		})
	}
	chunk := "4e\r\n" + idHeader + "[1]\n[2]\n\r\n"
	for name, raw := range map[string]string{
		"cut between chunks":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk,
		"cut in a chunk":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + idHeader + "[1]\n[2]\n",
		"shorter than promised": "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + idHeader + "[1]\n[2]\n",
		"header only, cut":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n45\r\n" + idHeader,
		"end of connection":     "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + idHeader + "[1]\n[2]\n",
		"HTTP/1.0":              "HTTP/1.0 200 OK\r\n\r\n" + idHeader + "[1]\n[2]\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, "http/1.1", func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, raw)
				_ = conn.Close()
			})
			_, err := read(t.Context(), c, selectAll)
			require.ErrorIs(t, err, ksqlclient.ErrTruncated)
			rows, err := c.PullAll(t.Context(), selectAll, nil)
			require.ErrorIs(t, err, ksqlclient.ErrTruncated)
			require.Nil(t, rows)
		})
	}
}

func TestPullBodies(t *testing.T) {
	t.Parallel()
	two := `{"columnNames":["A","B"],"columnTypes":["STRING","INTEGER"]}` + "\n"
	cases := map[string]struct {
		body string
		rows int
		is   error // nil means success
	}{
		"no rows":               {idHeader, 0, nil},
		"tokens are skipped":    {idHeader + `{"continuationToken":"x"}` + "\n[1]\n" + `{"consistencyToken":"y"}` + "\n", 1, nil},
		"unknown header fields": {`{"new":[{}],"columnNames":["A"],"columnTypes":["STRING"],"queryId":null}` + "\n[null]\n", 1, nil},
		"header with a type":    {`{"@type":"header","columnNames":["A"],"columnTypes":["STRING"]}` + "\n[null]\n", 1, nil},
		"blank lines, CRLF":     {"\n" + strings.ReplaceAll(idHeader, "\n", "\r\n") + "\r\n[1]\r\n", 1, nil},
		"spaces":                {idHeader + " [ 1 ] \n", 1, nil},

		"empty body":             {"", 0, ksqlclient.ErrTruncated},
		"empty body, no header":  {"", 0, ksqlclient.ErrMalformed},
		"row first":              {"[1]\n", 0, ksqlclient.ErrMalformed},
		"no header, token":       {`{"continuationToken":"x"}` + "\n", 0, ksqlclient.ErrMalformed},
		"two headers":            {idHeader + idHeader, 0, ksqlclient.ErrMalformed},
		"row too short":          {two + `["a",1]` + "\n" + `["a"]` + "\n", 1, ksqlclient.ErrMalformed},
		"row too long":           {two + `["a",1,2]` + "\n", 0, ksqlclient.ErrMalformed},
		"empty row":              {two + `[]` + "\n", 0, ksqlclient.ErrMalformed},
		"wrong type":             {two + `[1,"a"]` + "\n", 0, ksqlclient.ErrMalformed},
		"no JSON":                {idHeader + "[1]\n[1,]\n", 1, ksqlclient.ErrMalformed},
		"scalar":                 {idHeader + "5\n", 0, ksqlclient.ErrMalformed},
		"text":                   {"<html>hi</html>\n", 0, ksqlclient.ErrMalformed},
		"invalid UTF-8":          {`{"columnNames":["A"],"columnTypes":["STRING"]}` + "\n[\"\xff\"]\n", 0, ksqlclient.ErrMalformed},
		"unknown object":         {idHeader + `{"surprise":1}` + "\n", 0, ksqlclient.ErrMalformed},
		"names without types":    {`{"columnNames":["A"]}` + "\n", 0, ksqlclient.ErrMalformed},
		"no columns":             {`{"columnNames":[],"columnTypes":[]}` + "\n", 0, ksqlclient.ErrMalformed},
		"unknown type":           {`{"columnNames":["A"],"columnTypes":["BLOB"]}` + "\n", 0, ksqlclient.ErrMalformed},
		"names differ in case":   {`{"columnNames":["A","a"],"columnTypes":["STRING","STRING"]}` + "\n", 0, ksqlclient.ErrMalformed},
		"stops inside a row":     {idHeader + "[1]\n[2", 1, ksqlclient.ErrTruncated},
		"stops before line end":  {idHeader + "[1]\n[2]", 1, ksqlclient.ErrTruncated},
		"stops inside header":    {`{"columnNames":["A"]`, 0, ksqlclient.ErrTruncated},
		"error after rows":       {idHeader + "[1]\n[2]\n" + `{"@type":"generic_error","error_code":50000,"message":"x"}` + "\n", 2, ksqlclient.ErrInStream},
		"error without line end": {idHeader + "[1]\n" + `{"@type":"generic_error","error_code":50000,"message":"x"}`, 1, ksqlclient.ErrInStream},
		"error instead of all":   {`{"@type":"generic_error","error_code":50000,"message":"x"}` + "\n", 0, ksqlclient.ErrInStream},
		"error without a code":   {idHeader + `{"@type":"generic_error"}` + "\n", 0, ksqlclient.ErrInStream},
		"error without a type":   {idHeader + `{"error_code":42900}` + "\n[1]\n", 0, ksqlclient.ErrInStream},
		"nested error":           {idHeader + `{"errorMessage":{"error_code":50000,"message":"x"}}` + "\n", 0, ksqlclient.ErrInStream},
		"error, odd code":        {idHeader + `{"@type":"generic_error","error_code":"x"}` + "\n", 0, ksqlclient.ErrMalformed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := answer(t, 200, tc.body)
			got, err := read(t.Context(), c, selectAll)
			require.Len(t, got, tc.rows)
			all, allErr := c.PullAll(t.Context(), selectAll, nil)
			if tc.is == nil {
				require.NoError(t, err)
				require.NoError(t, allErr)
				require.Len(t, all, tc.rows)
				return
			}
			require.ErrorIs(t, err, tc.is)
			require.ErrorIs(t, allErr, tc.is)
			require.Nil(t, all)
		})
	}
}

func TestPullInStreamErrorOverTheWire(t *testing.T) {
	t.Parallel()
	for name := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, name, func(w http.ResponseWriter, _ *http.Request) {
				write(w, idHeader+"[1]\n")
				write(w, `{"@type":"generic_error","error_code":42900,"message":"io.confluent.ksql.X: queue full"}`+"\n")
			})
			got, err := read(t.Context(), c, selectAll)
			require.Equal(t, []any{int64(1)}, got)
			e, ok := errors.AsType[*ksqlclient.Error](err)
			require.True(t, ok)
			require.Equal(t, ksqlclient.Error{Kind: ksqlclient.KindPull, Status: 200, Code: 42900, InStream: true, Message: "io.confluent.ksql.X: queue full"}, *e)
			require.Equal(t, ksqlclient.Transient, e.Class())
		})
	}
}

func TestPullBounds(t *testing.T) {
	t.Parallel()
	long := idHeader + "[1]\n[" + strings.Repeat(" ", 100_000) + "2]\n"
	for name, change := range map[string]func(*ksqlclient.Config){
		"row":    func(c *ksqlclient.Config) { c.MaxRowBytes = 100_000 },
		"result": func(c *ksqlclient.Config) { c.MaxResultBytes = 100_000 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := read(t.Context(), answer(t, 200, long, change), selectAll)
			require.ErrorIs(t, err, ksqlclient.ErrTooLarge)
			require.False(t, ksqlclient.Retryable(err))
			require.Len(t, got, 1)
		})
	}
	got, err := read(t.Context(), answer(t, 200, long), selectAll)
	require.NoError(t, err)
	require.Len(t, got, 2)
}

// expiring is a context whose deadline passes when done is closed, so that a test
// needs no guess at how long a busy machine takes to the first row.
type expiring struct {
	context.Context
	done chan struct{}
}

func (e expiring) Done() <-chan struct{} { return e.done }

func (e expiring) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestPullDeadlineAndCancel(t *testing.T) {
	t.Parallel()
	for name := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				write(w, idHeader+"[1]\n")
				<-r.Context().Done()
			}
			c := serve(t, name, slow)
			deadline := expiring{t.Context(), make(chan struct{})}
			got, err := read(deadline, c, selectAll, deadline.done)
			require.ErrorIs(t, err, ksqlclient.ErrTruncated)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.True(t, ksqlclient.Retryable(err))
			require.Len(t, got, 1)

			c = serve(t, name, slow)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var last error
			for _, err := range c.Pull(ctx, selectAll, nil) {
				last = err
				cancel()
			}
			require.ErrorIs(t, last, ksqlclient.ErrTruncated)
			require.ErrorIs(t, last, context.Canceled)
			require.False(t, ksqlclient.Retryable(last))
		})
	}
}

func TestPullDeadlineBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	c := serve(t, "http/1.1", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}, func(c *ksqlclient.Config) { c.Timeout = 100 * time.Millisecond })
	_, err := c.PullAll(t.Context(), selectAll, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, ksqlclient.Retryable(err))
}

func TestPullBreakStopsTheRequest(t *testing.T) {
	t.Parallel()
	for name := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stopped := make(chan struct{})
			c := serve(t, name, func(w http.ResponseWriter, r *http.Request) {
				defer close(stopped)
				_, _ = io.Copy(io.Discard, r.Body)
				write(w, idHeader+"[1]\n[2]\n")
				<-r.Context().Done()
			})
			rows := 0
			for _, err := range c.Pull(t.Context(), selectAll, nil) {
				require.NoError(t, err)
				rows++
				break
			}
			require.Equal(t, 1, rows)
			<-stopped
		})
	}
}

func TestPullRefusesStatementsBeforeSending(t *testing.T) {
	t.Parallel()
	config := ksqlclient.Config{URL: "http://ksqldb.test", Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, errors.New("no")
	})}
	c, err := ksqlclient.New(config)
	require.NoError(t, err)
	for name, sql := range map[string]string{
		"empty":        "",
		"comment only": "-- hi",
		"divider only": ";",
		"two":          "SELECT 1; SELECT 2;",
		"two, short":   "SELECT 1;;",
		"print":        "PRINT t;",
		"drop":         "DROP TABLE t;",
		"push":         "SELECT * FROM t EMIT CHANGES;",
		"push final":   "select * from t emit final",
		"unterminated": "SELECT 'a",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.PullAll(t.Context(), sql, nil)
			require.ErrorIs(t, err, ksqlclient.ErrStatement)
		})
	}
	_, err = c.PullAll(t.Context(), selectAll, nil, ksqlclient.AfterCommand(1))
	require.ErrorIs(t, err, ksqlclient.ErrStatement)
	_, err = c.PullAll(t.Context(), "SELECT :a", nil)
	require.ErrorIs(t, err, ksqlclient.ErrParam)
}

func TestPullTerminatesStatements(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SELECT 1":               "SELECT 1;",
		"SELECT 1;":              "SELECT 1;",
		"SELECT 1; -- done":      "SELECT 1; -- done",
		"SELECT 1 -- not ; here": "SELECT 1 -- not ; here\n;",
		"SELECT 1 -- x\n":        "SELECT 1 -- x\n;",
		"SELECT ';'":             "SELECT ';';",
		"SELECT emit FROM t":     "SELECT emit FROM t;",
		"/* ; */ select 1 /*;*/": "/* ; */ select 1 /*;*/;",
	} {
		var got string
		c, err := ksqlclient.New(ksqlclient.Config{URL: "http://ksqldb.test", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			var args struct{ SQL string }
			if err := json.NewDecoder(r.Body).Decode(&args); err != nil {
				return nil, err
			}
			got = args.SQL
			return response(200, idHeader), nil
		})})
		require.NoError(t, err)
		_, err = c.PullAll(t.Context(), sql, nil)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	c := serve(t, "http/1.1", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		write(w, idHeader)
		<-r.Context().Done() // rows are not waited for
	})
	columns, err := c.Columns(t.Context(), "SELECT id FROM t WHERE a = :a", ksqlclient.Params{"a": 1})
	require.NoError(t, err)
	require.Len(t, columns, 1)
	require.Equal(t, "id", columns[0].Name)

	_, err = answer(t, 400, `{"error_code":40001,"message":"no such column"}`).Columns(t.Context(), selectAll, nil)
	require.EqualError(t, err, "pull columns: ksqldb pull: status 400, code 40001: no such column")
	columns, err = answer(t, 200, "").Columns(t.Context(), selectAll, nil)
	require.ErrorIs(t, err, ksqlclient.ErrTruncated)
	require.Nil(t, columns)
}

func TestPullLosesTheConnection(t *testing.T) {
	t.Parallel()
	type connKey struct{}
	for _, name := range []string{"http/1.1", "h2c", "https/2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan struct{})
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				write(w, idHeader+"[1]\n")
				<-seen
				_ = r.Context().Value(connKey{}).(net.Conn).Close()
				<-r.Context().Done()
			}))
			s.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
				return context.WithValue(ctx, connKey{}, conn)
			}
			config := ksqlclient.Config{Timeout: 10 * time.Second}
			protocols[name](s, &config)
			t.Cleanup(s.Close)
			config.URL = s.URL
			c, err := ksqlclient.New(config)
			require.NoError(t, err)
			t.Cleanup(c.Close)
			_, err = read(t.Context(), c, selectAll, seen)
			require.ErrorIs(t, err, ksqlclient.ErrTruncated)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			require.True(t, ksqlclient.Retryable(err))
		})
	}
}

// endsWithContext is a body whose clean end is the server's reaction to the
// client's leaving.
type endsWithContext struct {
	ctx  context.Context
	text *strings.Reader
}

func (b endsWithContext) Read(p []byte) (int, error) {
	if n, err := b.text.Read(p); err == nil {
		return n, nil
	}
	<-b.ctx.Done()
	return 0, io.EOF
}

func TestPullDoesNotTrustAnEndAfterTheDeadline(t *testing.T) {
	t.Parallel()
	c, err := ksqlclient.New(ksqlclient.Config{URL: "http://ksqldb.test", Timeout: time.Millisecond, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		resp := response(200, "")
		resp.Body = io.NopCloser(endsWithContext{r.Context(), strings.NewReader(idHeader + "[1]\n")})
		return resp, nil
	})})
	require.NoError(t, err)
	_, err = c.PullAll(t.Context(), selectAll, nil)
	require.ErrorIs(t, err, ksqlclient.ErrTruncated)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
