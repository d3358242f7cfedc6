package ksqldb_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{})
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/", "", 307, ``},
		{"GET", "/info", "", 200, `{"KsqlServerInfo":{"kafkaClusterId":"stand-in","ksqlServiceId":"default_","serverStatus":"RUNNING","version":"8.3.0"}}`},
		{"GET", "/healthcheck", "", 200, `{"details":{"commandRunner":{"isHealthy":true},"kafka":{"isHealthy":true},"metastore":{"isHealthy":true}},"isHealthy":true,"serverState":"READY"}`},
		{"GET", "/status", "", 200, `{"commandStatuses":{}}`},
		{"GET", "/status/stream/%60X%60/create", "", 404, `{"@type":"generic_error","error_code":40400,"message":"Command not found"}`},
		{"GET", "/clusterStatus", "", 404, ``},
		{"POST", "/close-query", `{"queryId":"query_1"}`, 400, `{"@type":"generic_error","error_code":40000,"message":"No query with id query_1"}`},
		{"POST", "/close-query", `{}`, 400, ``},
		{"GET", "/is_valid_property/auto.offset.reset", "", 200, `true`},
		{"GET", "/is_valid_property/x", "", 400, ``},
		{"GET", "/chc/live", "", 200, `{}`},
		{"GET", "/chc/ready", "", 200, `{}`},
		{"GET", "/v1/metadata/id", "", 200, ``},
		{"GET", "/query-stream", "", 405, ``},
		{"GET", "/nowhere", "", 404, ``},
	} {
		r := send(t, c.method, s.URL()+c.path, c.body)
		require.Equal(t, c.status, r.status, c.path)
		if c.want != "" {
			require.JSONEq(t, c.want, r.body, c.path)
		}
	}
	require.Equal(t, "/info", send(t, "GET", s.URL()+"/", "").header.Get("Location"))
	s.SetHealthy(false)
	r := send(t, "GET", s.URL()+"/healthcheck", "")
	require.Equal(t, 200, r.status, "an unhealthy server still answers 200")
	require.Contains(t, r.body, `"isHealthy":false`)
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{})
	for _, body := range []string{``, `nonsense`, `[]`, `{}`, `{"ksql":"SELECT * FROM order_book;"}`, `{"sql":1}`} {
		r := send(t, "POST", s.URL()+"/query-stream", body)
		require.Equal(t, 400, r.status, body)
		require.Equal(t, 40000, r.code(t), body)
	}
	require.Equal(t, 40001, send(t, "POST", s.URL()+"/query", `{"sql":"SELECT * FROM order_book;"}`).code(t), "no statement under the legacy name")
	require.Equal(t, 40000, send(t, "POST", s.URL()+"/ksql", `nonsense`).code(t))
	r := send(t, "POST", s.URL()+"/query-stream", `{"sql":"SELECT * FROM order_book;","streamsProperties":{"x":1},"more":true}`)
	require.Equal(t, 200, r.status, "unknown fields are ignored")
	require.Equal(t, 40001, send(t, "POST", s.URL()+"/query-stream", `{"sql":"SELECT * FROM order_book;","sessionVariables":{"a":"b"}}`).code(t))
}

func TestProperties(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{})
	const scans = `"ksql.query.pull.table.scan.enabled"`
	for _, c := range []struct {
		name, sql, properties string
		strict, legacy        int // error codes, 0 for 200
	}{
		{"boolean", "SELECT * FROM order_book;", `{` + scans + `:true}`, 0, 0},
		{"boolean as text", "SELECT * FROM order_book;", `{` + scans + `:"true"}`, 50000, 0},
		{"no boolean", "SELECT * FROM order_book;", `{` + scans + `:1}`, 50000, 40000},
		{"small long", "SELECT * FROM order_book;", `{"ksql.query.pull.max.allowed.offset.lag":5}`, 50000, 0},
		{"large long", "SELECT * FROM order_book;", `{"ksql.query.pull.max.allowed.offset.lag":5000000000}`, 0, 0},
		{"unknown", "SELECT * FROM order_book;", `{"ksql.nothing":true}`, 40000, 50000},
		{"text", "SELECT * FROM order_book;", `{"auto.offset.reset":"earliest"}`, 0, 0},
		{"limit off", "SELECT * FROM order_book LIMIT 1;", `{"ksql.query.pull.limit.clause.enabled":false}`, 40001, 40001},
		{"no where", "SELECT * FROM order_book;", `{` + scans + `:false}`, 40001, 40001},
		{"half a key", "SELECT * FROM order_book WHERE event_id = 'e1';", `{` + scans + `:false}`, 40001, 40001},
		{"whole key", "SELECT * FROM order_book WHERE event_id = 'e1' AND 7 = runner_id AND odds > 1;", `{` + scans + `:false}`, 0, 0},
		{"key or key", "SELECT * FROM upcoming_races WHERE event_id IN ('e1', 'e2');", `{` + scans + `:false}`, 0, 0},
		{"key or other", "SELECT * FROM upcoming_races WHERE event_id = 'e1' OR runners = 1;", `{` + scans + `:false}`, 40001, 40001},
		{"not the key", "SELECT * FROM upcoming_races WHERE event_id <> 'e1';", `{` + scans + `:false}`, 40001, 40001},
		{"key range", "SELECT * FROM upcoming_races WHERE event_id > 'e1';", `{` + scans + `:false}`, 0, 0},
		{"two-sided range", "SELECT * FROM upcoming_races WHERE event_id > 'e1' AND event_id < 'e3';", `{` + scans + `:false}`, 40001, 40001},
		{"range scans off", "SELECT * FROM upcoming_races WHERE event_id > 'e1';", `{` + scans + `:false,"ksql.query.pull.range.scan.enabled":false}`, 40001, 40001},
		{"range of a windowed key", "SELECT * FROM settled_bets WHERE bet_id > 'b1';", `{` + scans + `:false}`, 40001, 40001},
		{"window of a key", "SELECT * FROM settled_bets WHERE bet_id = 'b1' AND WINDOWSTART >= '2026-09-01' AND WINDOWEND <= '2026-09-02';", `{` + scans + `:false}`, 0, 0},
		{"window alone", "SELECT * FROM settled_bets WHERE WINDOWSTART >= '2026-09-01';", `{` + scans + `:false}`, 40001, 40001},
		{"column with column", "SELECT * FROM upcoming_races WHERE event_id = course;", `{` + scans + `:false}`, 40001, 40001},
		{"like", "SELECT * FROM upcoming_races WHERE event_id = 'e1' AND UCASE(course) LIKE 'A%';", `{` + scans + `:false}`, 40001, 40001},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			strict := strings.TrimSuffix(request(c.sql), "}") + `,"properties":` + c.properties + `}`
			legacy := strings.NewReplacer(`"sql"`, `"ksql"`, `"properties"`, `"streamsProperties"`).Replace(strict)
			for path, body := range map[string]string{"/query-stream": strict, "/query": legacy} {
				want := map[string]int{"/query-stream": c.strict, "/query": c.legacy}[path]
				r := send(t, "POST", s.URL()+path, body)
				if want == 0 {
					require.Equal(t, 200, r.status, "%s: %s", path, r.body)
					continue
				}
				require.Equal(t, want, r.code(t), path)
				require.Equal(t, want/100, r.status, path)
			}
		})
	}
}

func TestBasicAuthentication(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Username: "bugle", Password: "tally-ho"})
	basic := func(user, password string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for _, path := range []string{"/query-stream", "/query", "/ksql", "/close-query"} {
		for _, header := range [][]string{nil, {basic("bugle", "wrong")}, {basic("other", "tally-ho")}, {"Authorization: Bearer x"}} {
			r := send(t, "POST", s.URL()+path, request("SELECT * FROM order_book;"), header...)
			require.Equal(t, 401, r.status, path)
			require.Equal(t, 40100, r.code(t))
			require.Empty(t, r.contentType)
		}
	}
	require.Equal(t, 401, send(t, "GET", s.URL()+"/info", "").status)
	require.Equal(t, 200, send(t, "GET", s.URL()+"/healthcheck", "").status)
	require.Equal(t, 200, send(t, "GET", s.URL()+"/v1/metadata", "").status)
	require.Equal(t, 200, send(t, "POST", s.URL()+"/query-stream", request("SELECT * FROM order_book;"), basic("bugle", "tally-ho")).status)
	stats := s.Stats()
	require.EqualValues(t, 17, stats.Unauthorized)
	require.EqualValues(t, 1, stats.Queries)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	lender := httptest.NewUnstartedServer(nil) // has a certificate for 127.0.0.1
	lender.StartTLS()
	defer lender.Close()
	s := start(t, ksqldb.Config{TLS: &tls.Config{Certificates: lender.TLS.Certificates, MinVersion: tls.VersionTLS12}})
	require.True(t, strings.HasPrefix(s.URL(), "https://"))
	pool := x509.NewCertPool()
	pool.AddCert(lender.Certificate())
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	r := sendWith(t, tr, "POST", s.URL()+"/inserts-stream", `{}`)
	require.NoError(t, r.err)
	require.Equal(t, 40001, r.code(t), "not 40004: ALPN chose HTTP/2")

	_, err := ksqldb.Start(t.Context(), ksqldb.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	require.Error(t, err)
}

func TestStatements(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Views: []ksqldb.View{windows(t), kinded{bets(t), ksqldb.KindStream}}})
	ksql := func(sql string) reply {
		return send(t, "POST", s.URL()+"/ksql", strings.Replace(request(sql), `"sql"`, `"ksql"`, 1))
	}
	r := ksql("LIST TABLES; show streams; SET 'a' = 'b';")
	require.Equal(t, 200, r.status)
	require.Equal(t, "application/json", r.contentType)
	require.JSONEq(t, `[
		{"@type":"tables","statementText":"LIST TABLES;","warnings":[],"tables":[
			{"type":"TABLE","name":"SETTLED_BETS","topic":"SETTLED_BETS","keyFormat":"KAFKA","valueFormat":"JSON","isWindowed":true}]},
		{"@type":"streams","statementText":"show streams;","warnings":[],"streams":[
			{"type":"STREAM","name":"ORDER_BOOK","topic":"ORDER_BOOK","keyFormat":"KAFKA","valueFormat":"JSON","isWindowed":false}]}
	]`, r.body)

	r = ksql("DESCRIBE settled_bets;")
	require.Contains(t, r.body, `"fields":[{"name":"BET_ID","schema":{"type":"STRING","fields":null,"memberSchema":null},"type":"KEY"},{"name":"OUTCOME","schema":{"type":"STRING","fields":null,"memberSchema":null}}]`)
	require.Contains(t, r.body, `"windowType":"TUMBLING"`)
	require.JSONEq(t, `[{"@type":"queries","statementText":"LIST QUERIES;","warnings":[],"queries":[]}]`, ksql("LIST QUERIES;").body)

	r = ksql("CREATE TABLE IF NOT EXISTS settled_bets AS SELECT * FROM x EMIT CHANGES;")
	require.Equal(t, 200, r.status)
	require.Contains(t, r.body, `"@type":"warning_entity"`)

	for _, c := range []struct {
		sql  string
		code int
	}{
		{"SELECT * FROM settled_bets;", 40002},
		{"PRINT x;", 40002},
		{"LIST TABLES; SELECT * FROM settled_bets;", 40002},
		{"LIST TABLES", 40001},
		{"DESCRIBE nothing;", 40001},
		{"CREATE TABLE settled_bets (a STRING PRIMARY KEY) WITH (X='y');", 40001},
		{"CREATE STREAM other (a STRING KEY) WITH (KAFKA_TOPIC='x');", 40001},
		{"DROP TABLE settled_bets;", 40001},
		{"INSERT INTO x (a) VALUES ('b');", 40001},
		{"TERMINATE q;", 40001},
		{"GRANT everything;", 40001},
		{"LIST TABLES; CREATE STREAM other (a STRING) WITH (KAFKA_TOPIC=':);", 40001},
	} {
		r := ksql(c.sql)
		require.Equal(t, 400, r.status, c.sql)
		require.Equal(t, c.code, r.code(t), c.sql)
		require.Contains(t, r.body, `"statementText":`)
		require.Contains(t, r.body, `"entities":[]`)
	}
}

func TestStatementsChangeTheCatalogue(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{DDL: true})
	ksql := func(sql string) reply {
		return send(t, "POST", s.URL()+"/ksql", strings.Replace(request(sql), `"sql"`, `"ksql"`, 1))
	}
	r := ksql("CREATE STREAM bets (a STRING KEY, b INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON', PARTITIONS=1); CREATE OR REPLACE TABLE t2 AS SELECT a, COUNT(*) AS n FROM bets GROUP BY a; INSERT INTO bets (a) VALUES ('x');")
	require.Equal(t, 200, r.status, r.body)
	require.JSONEq(t, `[
		{"@type":"currentStatus","statementText":"CREATE STREAM bets (a STRING KEY, b INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON', PARTITIONS=1);",
		 "commandId":"stream/`+"`BETS`"+`/create","commandStatus":{"status":"SUCCESS","message":"Stream created","queryId":null},"commandSequenceNumber":0,"warnings":[]},
		{"@type":"currentStatus","statementText":"CREATE OR REPLACE TABLE t2 AS SELECT a, COUNT(*) AS n FROM bets GROUP BY a;",
		 "commandId":"table/`+"`T2`"+`/create","commandStatus":{"status":"SUCCESS","message":"Created query with ID CTAS_T2_2","queryId":"CTAS_T2_2"},"commandSequenceNumber":1,"warnings":[]}
	]`, r.body)
	require.JSONEq(t, `{"status":"SUCCESS","message":"Stream created","queryId":null}`, send(t, "GET", s.URL()+"/status/stream/%60BETS%60/create", "").body)
	require.Contains(t, send(t, "GET", s.URL()+"/status", "").body, "table/`T2`/create")
	require.Equal(t, 400, ksql("CREATE TABLE order_book (a STRING PRIMARY KEY) WITH (X='y');").status, "the name of a view is taken")
	require.Contains(t, ksql("DESCRIBE bets;").body, `"topic":"x"`)
	require.Contains(t, ksql("LIST TABLES;").body, `"name":"T2","topic":"T2"`)
	require.Contains(t, ksql("CREATE STREAM IF NOT EXISTS bets (a STRING KEY, b INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON');").body, `"@type":"warning_entity"`)
	require.Equal(t, 40001, ksql("DROP STREAM bets;").code(t), "t2 reads it")
	require.Equal(t, 200, ksql("DROP TABLE t2;").status)
	require.Equal(t, 200, ksql("DROP STREAM bets;").status)
	require.Equal(t, 400, ksql("DESCRIBE bets;").status)
}

func TestQueuedStatements(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{DDL: true, QueuedPolls: 2})
	r := send(t, "POST", s.URL()+"/ksql", `{"ksql":"DROP STREAM IF EXISTS bets DELETE TOPIC;"}`)
	require.Contains(t, r.body, `"commandStatus":{"status":"QUEUED"`)
	for _, want := range []string{"QUEUED", "SUCCESS", "SUCCESS"} {
		require.Contains(t, send(t, "GET", s.URL()+"/status/stream/%60BETS%60/drop", "").body, `"status":"`+want+`"`)
	}
}

func TestCommandsTakeTheirTime(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{DDL: true, QueuedPolls: 2, FailCommand: func(sql string) bool { return strings.Contains(sql, "unlucky") }})
	ksql := func(sql string) reply {
		return send(t, "POST", s.URL()+"/ksql", strings.Replace(request(sql), `"sql"`, `"ksql"`, 1))
	}
	const columns = " (a STRING KEY, b INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON', PARTITIONS=1);"
	require.Contains(t, ksql("CREATE STREAM slow"+columns).body, `"status":"QUEUED"`)
	for range 2 {
		require.Equal(t, 400, ksql("DESCRIBE slow;").status, "it is not there before its command is done")
		send(t, "GET", s.URL()+"/status/stream/%60SLOW%60/create", "")
	}
	require.Equal(t, 200, ksql("DESCRIBE slow;").status)

	require.Equal(t, 200, ksql("CREATE STREAM unlucky"+columns).status, "a command that fails was accepted")
	require.Contains(t, send(t, "GET", s.URL()+"/status/stream/%60UNLUCKY%60/create", "").body, `"status":"QUEUED"`)
	require.Contains(t, send(t, "GET", s.URL()+"/status/stream/%60UNLUCKY%60/create", "").body, `"status":"ERROR"`)
	require.Equal(t, 400, ksql("DESCRIBE unlucky;").status)
	require.EqualValues(t, 1, s.Stats().CommandsFailed)

	// A request may wait for a command that this node has not seen.
	r := send(t, "POST", s.URL()+"/ksql", `{"ksql":"LIST TABLES;","commandSequenceNumber":2}`)
	require.Equal(t, 503, r.status)
	require.Equal(t, 50301, r.code(t))
	require.Equal(t, 200, send(t, "POST", s.URL()+"/ksql", `{"ksql":"LIST TABLES;","commandSequenceNumber":1}`).status)
}

func TestInsertedRowsReachTables(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{DDL: true, TableLag: 5 * time.Second, Topics: map[string]int{"there": 3}})
	r := send(t, "POST", s.URL()+"/ksql", strings.Replace(request(
		"CREATE STREAM scores (k STRING KEY, a INT, b DECIMAL(9, 2), c TIMESTAMP) WITH (KAFKA_TOPIC='there', VALUE_FORMAT='JSON');"+
			"CREATE TABLE newest AS SELECT k, LATEST_BY_OFFSET(a) AS a, LATEST_BY_OFFSET(b) AS b, LATEST_BY_OFFSET(c) AS c FROM scores GROUP BY k EMIT CHANGES;"+
			"CREATE TABLE counted AS SELECT k, COUNT(*) AS n FROM scores GROUP BY k EMIT CHANGES;"), `"sql"`, `"ksql"`, 1))
	require.Equal(t, 200, r.status, r.body)
	for _, sql := range []string{
		"INSERT INTO scores (ROWTIME, k, a, b, c) VALUES (1788264000000, 'x', 1, 1.5, '2026-09-01T12:00:00');",
		"INSERT INTO scores VALUES ('x', -2, NULL, NULL);",
		"INSERT INTO scores (k, a) VALUES ('y', 7);",
	} {
		r := send(t, "POST", s.URL()+"/ksql", strings.Replace(request(sql), `"sql"`, `"ksql"`, 1))
		require.Equal(t, "[]", r.body, sql)
	}
	_, rows := pull(t, s, "SELECT * FROM newest;")
	require.Empty(t, rows, "the table lags")
	require.Eventually(t, func() bool {
		_, rows := pull(t, s, "SELECT * FROM newest;")
		return slices.Equal(rows, []string{`["x",-2,1.50,"2026-09-01T12:00:00.000"]`, `["y",7,null,null]`})
	}, time.Minute, 5*time.Millisecond)
	_, rows = pull(t, s, "SELECT k FROM newest WHERE a < 0;")
	require.Equal(t, []string{`["x"]`}, rows)
	_, rows = pull(t, s, "SELECT * FROM counted;")
	require.Empty(t, rows, "what is not computed is empty")
}

func TestDescribeNestedTypes(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Views: []ksqldb.View{one([]ksqldb.Column{{Name: "V", Type: "MAP<VARCHAR, STRUCT<`A` DECIMAL(9, 3)>>"}}, nil)}})
	r := send(t, "POST", s.URL()+"/ksql", `{"ksql":"DESCRIBE t;"}`)
	require.Contains(t, r.body, `"fields":[{"name":"V","schema":{"type":"MAP","fields":null,"memberSchema":{"type":"STRUCT","fields":[`+
		`{"name":"A","schema":{"type":"DECIMAL","fields":null,"memberSchema":null,"parameters":{"precision":9,"scale":3}}}],"memberSchema":null}}}]`)
}

func TestOnQuerySeesTheSQL(t *testing.T) {
	t.Parallel()
	var last atomic.Value
	s := start(t, ksqldb.Config{OnQuery: func(sql string) { last.Store(sql) }})
	pull(t, s, "SELECT * FROM order_book;")
	require.Equal(t, "SELECT * FROM order_book;", last.Load())
}
