package ksqlclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/ksqlclient"
)

func commandEntity(state, message string) string {
	return fmt.Sprintf("{\"@type\":\"currentStatus\",\"statementText\":\"x\",\"commandId\":\"stream/`BETS`/create\","+
		"\"commandStatus\":{\"status\":%q,\"message\":%q,\"queryId\":null},\"commandSequenceNumber\":4,\"warnings\":[{\"message\":\"old\"}]}", state, message)
}

// script is a transport that answers one request after the other and repeats the
// last answer.
type script struct {
	answers []*http.Response
	seen    []string
	bodies  []string
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.seen = append(s.seen, r.Method+" "+r.URL.EscapedPath())
	if r.Body != nil {
		var args json.RawMessage
		if err := json.NewDecoder(r.Body).Decode(&args); err != nil {
			return nil, err
		}
		s.bodies = append(s.bodies, string(args))
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	} else {
		s.answers = []*http.Response{response(404, `{"error_code":40400}`)}
	}
	return a, nil
}

func (s *script) client(t testing.TB) *ksqlclient.Client {
	t.Helper()
	c, err := ksqlclient.New(ksqlclient.Config{URL: "http://ksqldb.test/prefix/", Transport: s})
	require.NoError(t, err)
	return c
}

func TestExecSucceeds(t *testing.T) {
	t.Parallel()
	s := &script{answers: []*http.Response{response(200, "["+commandEntity("SUCCESS", "Stream created")+`,{"@type":"warning_entity","message":"exists"}]`)}}
	results, err := s.client(t).Exec(t.Context(), "CREATE STREAM bets (a STRING) WITH (x=:x)", ksqlclient.Params{"x": 1},
		ksqlclient.AfterCommand(3), ksqlclient.WithProperties(map[string]any{"auto.offset.reset": "earliest", "n": 5, "b": true}))
	require.NoError(t, err)
	require.Len(t, results, 2)
	require.Equal(t, &ksqlclient.Command{ID: "stream/`BETS`/create", Sequence: 4, State: ksqlclient.StateSuccess, Message: "Stream created"}, results[0].Command)
	require.Equal(t, []string{"old"}, results[0].Warnings)
	require.Equal(t, "warning_entity", results[1].Type)
	require.Nil(t, results[1].Command)
	require.Equal(t, []string{"POST /prefix/ksql"}, s.seen)
	require.JSONEq(t, `{"ksql":"CREATE STREAM bets (a STRING) WITH (x=1);","commandSequenceNumber":3,
		"streamsProperties":{"auto.offset.reset":"earliest","n":5,"b":true}}`, s.bodies[0])
}

func TestExecWithoutEntities(t *testing.T) {
	t.Parallel()
	s := &script{answers: []*http.Response{response(200, "[]")}}
	results, err := s.client(t).Exec(t.Context(), "SET 'a'='b';", nil)
	require.NoError(t, err)
	require.Empty(t, results)
	require.JSONEq(t, `{"ksql":"SET 'a'='b';","streamsProperties":{}}`, s.bodies[0])
}

func TestExecPollsUntilDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []*http.Response{
			response(200, "["+commandEntity("QUEUED", "Statement written to command topic")+"]"),
			response(404, `{"error_code":40400,"message":"unknown"}`),
			response(503, `{"error_code":50302,"message":"starting"}`),
			response(200, `{"status":"EXECUTING","message":"..."}`),
			response(200, `{"status":"SUCCESS","message":"Created query with ID CTAS_BETS_7","queryId":"CTAS_BETS_7"}`),
		}}
		begin := time.Now()
		results, err := s.client(t).Exec(t.Context(), "CREATE TABLE x AS SELECT 1;", nil)
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(begin))
		require.Equal(t, ksqlclient.StateSuccess, results[0].Command.State)
		require.Equal(t, "CTAS_BETS_7", results[0].Command.QueryID)
		require.Equal(t, "GET /prefix/status/stream/%60BETS%60/create", s.seen[4])
		require.Len(t, s.seen, 5)
	})
}

func TestExecEscapesTheStatusPath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []*http.Response{
			response(200, strings.ReplaceAll("["+commandEntity("QUEUED", "")+"]", "BETS", "a/b?c%d")),
			response(200, `{"status":"SUCCESS","message":""}`),
		}}
		_, err := s.client(t).Exec(t.Context(), "DROP STREAM x;", nil)
		require.NoError(t, err)
		require.Equal(t, "GET /prefix/status/stream/%60a%2Fb%3Fc%25d%60/create", s.seen[1])
	})
}

func TestExecPollingEnds(t *testing.T) {
	t.Parallel()
	queued := "[" + commandEntity("QUEUED", "") + "]"
	for name, tc := range map[string]struct {
		answers []*http.Response
		is      error
	}{
		"deadline":       {[]*http.Response{response(200, queued)}, context.DeadlineExceeded},
		"refused":        {[]*http.Response{response(200, queued), response(401, "")}, ksqlclient.ErrUnauthorized},
		"without status": {[]*http.Response{response(200, queued), response(200, "{}")}, ksqlclient.ErrMalformed},
		"no JSON":        {[]*http.Response{response(200, queued), response(200, "hi")}, ksqlclient.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: tc.answers}
				begin := time.Now()
				results, err := s.client(t).Exec(t.Context(), "DROP STREAM x;", nil, ksqlclient.WithTimeout(time.Minute), ksqlclient.WithTimeout(0))
				require.ErrorIs(t, err, tc.is)
				if errors.Is(tc.is, context.DeadlineExceeded) {
					require.Equal(t, time.Minute, time.Since(begin))
				}
				require.Equal(t, ksqlclient.StateQueued, results[0].Command.State)
			})
		})
	}
}

func TestExecReportsFailedCommands(t *testing.T) {
	t.Parallel()
	body := "[" + commandEntity("ERROR", "no topic for O'Brien 7345") + "," + commandEntity("SUCCESS", "") + "]"
	results, err := answer(t, 200, body).Exec(t.Context(), "CREATE STREAM a WITH (n=:n, s=:s);", ksqlclient.Params{"n": 7345, "s": "O'Brien"})
	require.Len(t, results, 2)
	e, ok := errors.AsType[*ksqlclient.CommandError](err)
	require.True(t, ok)
	require.Equal(t, ksqlclient.StateError, e.Command.State)
	require.EqualError(t, err, "execute statement: ksqldb command stream/`BETS`/create ended in state ERROR: no topic for ? ?")
	require.False(t, ksqlclient.Retryable(err))
}

func TestExecRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		is     error
	}{
		"object, not a list":  {200, `{"@type":"statement_error"}`, ksqlclient.ErrMalformed},
		"no JSON":             {200, "<html>", ksqlclient.ErrMalformed},
		"empty":               {200, "", ksqlclient.ErrMalformed},
		"entity without type": {200, "[{}]", ksqlclient.ErrMalformed},
		"status without id":   {200, `[{"@type":"currentStatus","commandStatus":{"status":"SUCCESS"}}]`, ksqlclient.ErrMalformed},
		"id without status":   {200, `[{"@type":"currentStatus","commandId":"a/b/c"}]`, ksqlclient.ErrMalformed},
		"too large":           {200, "[" + strings.Repeat(" ", 2000) + "]", ksqlclient.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := answer(t, tc.status, tc.body, func(c *ksqlclient.Config) { c.MaxReplyBytes = 1000 })
			_, err := c.Exec(t.Context(), "LIST STREAMS;", nil)
			require.ErrorIs(t, err, tc.is)
		})
	}
	_, err := answer(t, 200, `[{"@type":"statement_error","error_code":40001,"message":"m"}]`).Exec(t.Context(), "LIST STREAMS;", nil)
	e, ok := errors.AsType[*ksqlclient.Error](err)
	require.True(t, ok)
	require.Equal(t, 40001, e.Code)

	_, err = answer(t, 200, "[]").Exec(t.Context(), "-- nothing", nil)
	require.ErrorIs(t, err, ksqlclient.ErrStatement)
	_, err = answer(t, 200, "[]").Exec(t.Context(), "LIST :x;", nil)
	require.ErrorIs(t, err, ksqlclient.ErrParam)
	_, err = answer(t, 200, "[]").Exec(t.Context(), "LIST STREAMS;", nil, ksqlclient.WithProperties(map[string]any{"f": func() {}}))
	require.ErrorContains(t, err, "encode request")
}

func TestExecCutAnswer(t *testing.T) {
	t.Parallel()
	c := serve(t, "https/2", func(w http.ResponseWriter, _ *http.Request) {
		write(w, "[")
		panic(http.ErrAbortHandler)
	})
	_, err := c.Exec(t.Context(), "LIST STREAMS;", nil)
	require.ErrorIs(t, err, ksqlclient.ErrTruncated)
}

func TestInfo(t *testing.T) {
	t.Parallel()
	info, err := answer(t, 200, `{"KsqlServerInfo":{"version":"8.1.0","kafkaClusterId":"k","ksqlServiceId":"default_","serverStatus":"RUNNING","more":1}}`).Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, ksqlclient.Info{Version: "8.1.0", KafkaClusterID: "k", ServiceID: "default_", Status: "RUNNING"}, info)
	_, err = answer(t, 200, `{}`).Info(t.Context())
	require.ErrorIs(t, err, ksqlclient.ErrMalformed)
	_, err = answer(t, 307, "").Info(t.Context())
	require.EqualError(t, err, "get server info: ksqldb info: status 307")
}

func TestHealth(t *testing.T) {
	t.Parallel()
	h, err := answer(t, 200, `{"isHealthy":true,"details":{"kafka":{"isHealthy":true}},"serverState":"READY"}`).Health(t.Context())
	require.NoError(t, err)
	require.Equal(t, ksqlclient.Health{Healthy: true, State: "READY", Checks: map[string]bool{"kafka": true}}, h)

	h, err = answer(t, 200, `{"isHealthy":false,"details":{"metastore":{"isHealthy":true},"kafka":{"isHealthy":false},"commandRunner":{}},"serverState":"READY"}`).Health(t.Context())
	require.ErrorIs(t, err, ksqlclient.ErrUnhealthy)
	require.EqualError(t, err, "check health: server is unhealthy: commandRunner, kafka")
	require.False(t, h.Healthy)
	require.False(t, h.Checks["kafka"])

	_, err = answer(t, 503, `{"@type":"generic_error","error_code":50302,"message":"KSQL is not yet ready to serve requests."}`).Health(t.Context())
	require.ErrorIs(t, err, ksqlclient.ErrUnavailable)
	require.NotErrorIs(t, err, ksqlclient.ErrUnhealthy)
	require.True(t, ksqlclient.Retryable(err))

	_, err = answer(t, 200, `{}`).Health(t.Context())
	require.ErrorIs(t, err, ksqlclient.ErrMalformed)
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	entity := `[{"@type":"sourceDescription","statementText":"x","sourceDescription":{"name":"SETTLED","windowType":"TUMBLING","type":"TABLE","fields":[
		{"name":"BET_ID","schema":{"type":"STRING","fields":null,"memberSchema":null},"type":"KEY"},
		{"name":"payout","schema":{"type":"DECIMAL","parameters":{"precision":18,"scale":2}}},
		{"name":"LEGS","schema":{"type":"ARRAY","memberSchema":{"type":"STRUCT","fields":[{"name":"R","schema":{"type":"MAP","memberSchema":{"type":"BIGINT"}}}]}}}
	],"more":{}}}]`
	s := &script{answers: []*http.Response{response(200, entity), response(200, entity), response(200, entity), response(200, "[]"), response(200, `[{"@type":"sourceDescription"}]`)}}
	c := s.client(t)
	source, err := c.Describe(t.Context(), "settled")
	require.NoError(t, err)
	require.Equal(t, "SETTLED", source.Name)
	require.Equal(t, "TABLE", source.Type)
	require.True(t, source.Windowed)
	var types []string
	for _, col := range source.Columns {
		types = append(types, col.Name+" "+col.Type.String())
	}
	require.Equal(t, []string{"bet_id STRING", "payout DECIMAL(18, 2)", "legs ARRAY<STRUCT<`R` MAP<STRING, BIGINT>>>"}, types)
	col, ok := source.Column("bet_id")
	require.True(t, ok)
	require.Equal(t, "BET_ID", col.Original)
	_, ok = source.Column("BET_ID")
	require.False(t, ok)

	_, err = c.Describe(t.Context(), "`Mixed`")
	require.NoError(t, err)
	_, err = c.Describe(t.Context(), "`a``b`")
	require.NoError(t, err)
	require.JSONEq(t, "{\"ksql\":\"DESCRIBE `SETTLED`;\",\"streamsProperties\":{}}", s.bodies[0])
	require.JSONEq(t, "{\"ksql\":\"DESCRIBE `Mixed`;\",\"streamsProperties\":{}}", s.bodies[1])
	for range 2 {
		_, err = c.Describe(t.Context(), "x")
		require.ErrorIs(t, err, ksqlclient.ErrMalformed)
	}
	for _, bad := range []string{"", "``", "`a`; DROP TABLE b; --`", "`a"} {
		_, err = c.Describe(t.Context(), bad)
		require.ErrorIs(t, err, ksqlclient.ErrStatement, bad)
	}
}
