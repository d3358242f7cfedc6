package ksqldb_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

const (
	delimited = "application/vnd.ksqlapi.delimited.v1"
	ksqlJSON  = "application/vnd.ksql.v1+json"
	plainJSON = "application/json"
)

func TestFramings(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{})
	const (
		sql       = "SELECT event_id, pool FROM upcoming_races WHERE event_id = 'e1';"
		header    = `{"queryId":"query_1788264000000","columnNames":["EVENT_ID","POOL"],"columnTypes":["STRING","DECIMAL(18, 2)"]}`
		asLines   = header + "\n" + `["e1",12.50]` + "\n"
		asArray   = "[" + header + `,["e1",12.50]]`
		asObjects = "[" + `{"header":{"queryId":"query_1788264000000","schema":"` + "`EVENT_ID` STRING KEY, `POOL` DECIMAL(18, 2)" + `"}}` +
			",\n" + `{"row":{"columns":["e1",12.50]}}` + "]"
	)
	for _, c := range []struct {
		name, path, accept, contentType, body string
	}{
		{"no accept", "/query-stream", "", delimited, asLines},
		{"any", "/query-stream", "*/*", delimited, asLines},
		{"delimited", "/query-stream", delimited, delimited, asLines},
		{"v1+json", "/query-stream", ksqlJSON, ksqlJSON, asObjects},
		{"json", "/query-stream", plainJSON, plainJSON, asArray},
		{"weights", "/query-stream", delimited + ";q=0.5, " + ksqlJSON, ksqlJSON, asObjects},
		{"legacy no accept", "/query", "", ksqlJSON, asObjects},
		{"legacy any", "/query", "*/*", delimited, asLines},
		{"legacy delimited", "/query", delimited, delimited, asLines},
		{"legacy v1+json", "/query", ksqlJSON, ksqlJSON, asObjects},
		{"legacy json", "/query", plainJSON, ksqlJSON, asObjects},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			body := request(sql)
			if c.path == "/query" {
				body = strings.Replace(body, `"sql"`, `"ksql"`, 1)
			}
			r := send(t, "POST", s.URL()+c.path, body, accept(c.accept)...)
			require.NoError(t, r.err)
			require.Equal(t, 200, r.status)
			require.Equal(t, c.contentType, r.contentType)
			require.Equal(t, c.body, r.body)
			require.Empty(t, r.header.Get("Content-Length"), "answers are chunked, however short")
		})
	}
	for _, path := range []string{"/query-stream", "/query"} {
		r := send(t, "POST", s.URL()+path, request(sql), "Accept: text/html")
		require.Equal(t, 404, r.status, "not 406")
		require.Equal(t, "Not Found", strings.TrimSpace(r.body))
		require.Equal(t, 501, send(t, "POST", s.URL()+path, request(sql), "Accept: application/vnd.ksql.v1+protobuf").status)
	}
}

func accept(v string) []string {
	if v == "" {
		return nil
	}
	return []string{"Accept: " + v}
}

func TestEmptyAnswers(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{})
	body := request("SELECT event_id FROM upcoming_races WHERE event_id = 'none';")
	require.Equal(t, 1, strings.Count(send(t, "POST", s.URL()+"/query-stream", body).body, "\n"))
	require.Regexp(t, `^\[\{.*\}\]$`, send(t, "POST", s.URL()+"/query-stream", body, "Accept: "+plainJSON).body)
	require.Regexp(t, `^\[\{"header":.*\}\}\]$`, send(t, "POST", s.URL()+"/query-stream", body, "Accept: "+ksqlJSON).body)
}

func TestProtocols(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{})
	body := request("SELECT * FROM order_book;")

	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	r := sendWith(t, h2, "POST", s.URL()+"/query-stream", body)
	require.NoError(t, r.err)
	require.Equal(t, 3, strings.Count(r.body, "\n"))
	require.Equal(t, 40001, sendWith(t, h2, "POST", s.URL()+"/inserts-stream", `{"target":"X"}`).code(t))
	require.Equal(t, 40004, send(t, "POST", s.URL()+"/inserts-stream", `{"target":"X"}`).code(t))
}

func TestSelect(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{})
	for _, c := range []struct {
		name, sql, columns string
		rows               []string
	}{
		{"star has no rowtime", "SELECT * FROM order_book WHERE runner_id = 7;", `["EVENT_ID","RUNNER_ID","ODDS"]`, []string{`["e1",7,4.2]`}},
		{
			"star of a windowed table has its bounds after the key", "select * from SETTLED_BETS where bet_id='b1';",
			`["BET_ID","WINDOWSTART","WINDOWEND","OUTCOME"]`,
			[]string{`["b1",1788220800000,1788307200000,"WON"]`},
		},
		{"rowtime", "SELECT ROWTIME, ROWTIME AS x FROM upcoming_races WHERE event_id = 'e1';", `["ROWTIME","X"]`, []string{`[1788263820000,1788263820000]`}},
		{"rowtime as rowtime is allowed", "SELECT ROWTIME AS rowtime FROM upcoming_races WHERE event_id = 'e1';", `["ROWTIME"]`, []string{`[1788263820000]`}},
		{"quoted alias and implicit alias", "SELECT event_id AS `id`, runners n FROM upcoming_races r WHERE r.event_id = 'e1';", `["id","N"]`, []string{`["e1",8]`}},
		{"names of expressions", "SELECT runners + 1, LCASE(course) FROM upcoming_races WHERE event_id = 'e1';", `["KSQL_COL_0","KSQL_COL_1"]`, []string{`[9,"ascot"]`}},
		{"decimal arithmetic", "SELECT pool * 2 - 0.001 AS p FROM upcoming_races WHERE event_id = 'e1';", `["P"]`, []string{`[24.999]`}},
		{"unix timestamp is the server's clock", "SELECT UNIX_TIMESTAMP() AS now FROM upcoming_races LIMIT 1;", `["NOW"]`, []string{`[1788264000000]`}},
		{"comments", "/* a ; */ SELECT event_id -- b ;\nFROM upcoming_races WHERE event_id = 'e1'; -- end", `["EVENT_ID"]`, []string{`["e1"]`}},
		{"integers wrap", "SELECT 2147483647 + runners AS x FROM upcoming_races WHERE event_id = 'e1';", `["X"]`, []string{`[-2147483641]`}},
		{"longs do not", "SELECT 2147483648 + runners AS x, -runners AS y FROM upcoming_races WHERE event_id = 'e1';", `["X","Y"]`, []string{`[2147483656,-8]`}},
		{"null is null", "SELECT course, pool, open FROM upcoming_races WHERE event_id = 'e3';", `["COURSE","POOL","OPEN"]`, []string{`[null,null,null]`}},
		{"limit zero", "SELECT event_id FROM upcoming_races LIMIT 0;", `["EVENT_ID"]`, []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			header, rows := pull(t, s, c.sql)
			require.Contains(t, header, `"columnNames":`+c.columns)
			require.Equal(t, c.rows, rows)
		})
	}
	_, rows := pull(t, s, "SELECT event_id FROM upcoming_races LIMIT 2;")
	require.Len(t, rows, 2)
}

func TestWhere(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{})
	for _, c := range []struct{ where, want string }{
		{"course = 'Ascot'", "e1"},
		{"course = 'York''s'", "e2"},
		{"course <> 'Ascot'", "e2"}, // NULL matches neither way
		{"course != 'Ascot' OR course = 'Ascot'", "e1 e2"},
		{"course = 'ascot'", ""},
		{"'Ascot' = course", "e1"},
		{"COALESCE(course, '') = ''", "e3"},
		{"course LIKE 'A%'", "e1"},
		{"course LIKE '_s%t'", "e1"},
		{"course LIKE '%!_%' ESCAPE '!'", ""},
		{"event_id IN ('e1', 'e3', 'e9')", "e1 e3"},
		{"runners BETWEEN 5 AND 8", "e1 e3"},
		{"runners > 5.5 AND runners < 1.2E1", "e1"},
		{"runners >= -3", "e1 e2 e3"},
		{"runners = 5 OR runners = 8 AND event_id = 'e9'", "e3"}, // AND binds tighter
		{"(runners = 5 OR runners = 8) AND event_id = 'e1'", "e1"},
		{"pool = 12.5", "e1"},
		{"pool < 12.500001 AND pool >= 0", "e1 e2"},
		{"pool > DECIMAL '1.00'", "e1"},
		{"open = true", "e1"},
		{"open <> TRUE", "e2"},
		{"starts_at > '2026-09-01T13:00:00.000'", "e2 e3"},
		{"starts_at >= '2026-09-01T13'", "e1 e2 e3"},
		{"starts_at <= '2026-09-01T16:00:00.000+0200'", "e1 e2"},
		{"starts_at < '2026-09-01T14:00Z'", "e1"},
		{"starts_at > '2026-09-02'", ""},
		{"starts_at > '2026'", "e1 e2 e3"},
		{"starts_at > FROM_UNIXTIME(1788271200000)", "e3"},
		{"UNIX_TIMESTAMP(starts_at) > UNIX_TIMESTAMP() + 3600000", "e2 e3"},
		{"ROWTIME >= 1788263880000 AND ROWTIME < 1788263940000", "e2"},
		{"ROWTIME >= '2026-09-01T11:58' AND ROWTIME < '2026-09-01T11:59:00.000Z'", "e2"},
		{"ROWTIME BETWEEN '2026-09-01T11:58:30' AND '2027'", "e3"},
		{"`COURSE` = 'Ascot'", "e1"},
		{"course > event_id OR event_id = 'e3'", "e3"},
		{"runners - 1 = 7", "e1"},
		{"event_id + '|' + course = 'e1|Ascot'", "e1"},
		{"CONCAT(event_id, '|') = 'e2|'", "e2"},
		{"course = ';-- not a comment'", ""},
	} {
		t.Run(c.where, func(t *testing.T) {
			t.Parallel()
			_, rows := pull(t, s, "SELECT event_id FROM upcoming_races WHERE "+c.where+";")
			got := strings.NewReplacer(`["`, "", `"]`, "").Replace(strings.Join(rows, " "))
			require.Equal(t, c.want, got)
		})
	}
}

func TestRefusedSQL(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{})
	const from = "SELECT event_id FROM upcoming_races "
	for name, sql := range map[string]string{
		"no semicolon":            "SELECT event_id FROM upcoming_races",
		"nothing":                 "",
		"only a semicolon":        ";",
		"two statements":          from + ";" + from + ";",
		"order by":                from + "ORDER BY event_id;",
		"order by after where":    from + "WHERE event_id = 'e1' ORDER BY event_id;",
		"offset":                  from + "LIMIT 1 OFFSET 1;",
		"join":                    "SELECT * FROM upcoming_races r JOIN order_book b ON r.event_id = b.event_id;",
		"left join":               "SELECT * FROM upcoming_races r LEFT JOIN order_book b ON r.event_id = b.event_id;",
		"group by":                from + "GROUP BY event_id;",
		"partition by":            from + "PARTITION BY event_id;",
		"having":                  from + "HAVING event_id = 'e1';",
		"window":                  from + "WINDOW TUMBLING (SIZE 1 DAY);",
		"emit changes":            from + "EMIT CHANGES;",
		"distinct":                "SELECT DISTINCT event_id FROM upcoming_races;",
		"aggregate":               "SELECT COUNT(*) FROM upcoming_races;",
		"is null":                 from + "WHERE course IS NULL;",
		"is not null":             from + "WHERE course IS NOT NULL;",
		"not":                     from + "WHERE NOT course = 'x';",
		"not in":                  from + "WHERE course NOT IN ('x');",
		"not like":                from + "WHERE course NOT LIKE 'x';",
		"not between":             from + "WHERE runners NOT BETWEEN 1 AND 2;",
		"bare boolean":            from + "WHERE open;",
		"literal boolean":         from + "WHERE true;",
		"compare null":            from + "WHERE course = NULL;",
		"null in list":            from + "WHERE course IN ('x', NULL);",
		"unknown source":          "SELECT * FROM nowhere;",
		"unknown column":          from + "WHERE nothing = 1;",
		"unknown selected column": "SELECT nothing FROM upcoming_races;",
		"wrong case in quotes":    "SELECT `event_id` FROM upcoming_races;",
		"wrong case of source":    "SELECT * FROM `upcoming_races`;",
		"wrong qualifier":         from + "WHERE x.event_id = 'e1';",
		"placeholder":             from + "WHERE event_id = :id;",
		"variable":                from + "WHERE event_id = ${id};",
		"question mark":           from + "WHERE event_id = ?;",
		"double quotes":           from + `WHERE event_id = "e1";`,
		"timestamp and bigint":    from + "WHERE starts_at > 1788264000000;",
		"timestamp and now":       from + "WHERE starts_at > UNIX_TIMESTAMP();",
		"bad datetime":            from + "WHERE starts_at > 'tomorrow';",
		"nine fraction digits":    from + "WHERE starts_at > '2026-09-01T12:00:00.000000000Z';",
		"comma for the point":     from + "WHERE starts_at > '2026-09-01T12:00:00,000';",
		"space for T":             from + "WHERE starts_at > '2026-09-01 12:00:00';",
		"bad rowtime":             from + "WHERE ROWTIME > 'tomorrow';",
		"int and string":          from + "WHERE runners = '8';",
		"string and int":          from + "WHERE event_id = 1;",
		"boolean order":           from + "WHERE open > false;",
		"boolean and string":      from + "WHERE open = 'true';",
		"like on a number":        from + "WHERE runners LIKE '8';",
		"like a column":           from + "WHERE course LIKE event_id;",
		"typed timestamp literal": from + "WHERE starts_at > TIMESTAMP '2026-09-01T12:00:00.000';",
		"huge number":             from + "WHERE runners = 99999999999999999999;",
		"limit text":              from + "LIMIT '1';",
		"limit negative":          from + "LIMIT -1;",
		"limit decimal":           from + "LIMIT 1.5;",
		"limit expression":        from + "LIMIT 1 + 1;",
		"star and more":           "SELECT *, ROWTIME FROM upcoming_races;",
		"duplicate columns":       "SELECT event_id, event_id FROM upcoming_races;",
		"alias is reserved name":  "SELECT starts_at AS rowtime FROM upcoming_races;",
		"alias is reserved word":  "SELECT starts_at AS limit FROM upcoming_races;",
		"rowpartition":            "SELECT ROWPARTITION FROM upcoming_races;",
		"rowoffset":               from + "WHERE ROWOFFSET = 1;",
		"windowstart elsewhere":   from + "WHERE WINDOWSTART = 1;",
		"window not equal":        "SELECT * FROM settled_bets WHERE bet_id = 'b1' AND WINDOWSTART <> 1;",
		"duplicate window bound":  "SELECT * FROM settled_bets WHERE bet_id = 'b1' AND WINDOWSTART > 1 AND WINDOWSTART > 2;",
		"combined window bound":   "SELECT * FROM settled_bets WHERE bet_id = 'b1' AND WINDOWSTART = 1 AND WINDOWSTART < 2;",
		"unterminated string":     from + "WHERE event_id = 'e1;",
		"unterminated comment":    from + "/* ;",
		"chained comparison":      from + "WHERE 1 < runners < 9;",
		"string arithmetic":       from + "WHERE course - 'x' = 'y';",
		"too many arguments":      from + "WHERE UCASE(course, 'x') = 'X';",
		"argument of wrong type":  from + "WHERE UNIX_TIMESTAMP(course) = 1;",
		"types of coalesce":       from + "WHERE COALESCE(course, 1) = 'x';",
		"unknown encoding":        from + "WHERE TO_BYTES(course, 'rot13') = TO_BYTES('x', 'utf8');",
		"case":                    "SELECT CASE WHEN runners > 1 THEN 'x' ELSE 'y' END FROM upcoming_races;",
		"starts with a digit":     "SELECT 1x FROM upcoming_races;",
		"print":                   "PRINT bets;",
		"ddl":                     "CREATE STREAM x (a STRING KEY) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON');",
		"gibberish":               "PULL everything;",
		"deep":                    from + "WHERE " + strings.Repeat("(", 5000) + "runners = 1" + strings.Repeat(")", 5000) + ";",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := send(t, "POST", s.URL()+"/query-stream", request(sql))
			require.Equal(t, 400, r.status, "body: %s", r.body)
			require.Equal(t, 40001, r.code(t))
			require.Empty(t, r.contentType, "the server's failure handler sends none")
		})
	}
}

func TestRowOrderIsShuffledBySeed(t *testing.T) {
	t.Parallel()
	table := ksqldb.NewTable("T", ksqldb.Column{Name: "K", Type: "INTEGER", Key: true})
	for i := range 50 {
		require.NoError(t, table.Put(noon(), i))
	}
	read := func(s *ksqldb.Server) string {
		return send(t, "POST", s.URL()+"/query-stream", request("SELECT * FROM t;")).body
	}
	a := start(t, ksqldb.Config{Views: []ksqldb.View{table}, Seed: 1})
	b := start(t, ksqldb.Config{Views: []ksqldb.View{table}, Seed: 1})
	other := start(t, ksqldb.Config{Views: []ksqldb.View{table}, Seed: 2})
	first, second := read(a), read(a)
	require.NotEqual(t, first, second, "no two queries in the same order")
	require.Equal(t, first, read(b), "the same seed, the same order")
	require.NotEqual(t, first, read(other))
	require.Len(t, second, len(first))
}

func TestStreamsEndWithAFinalMessage(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Views: []ksqldb.View{kinded{races(t), ksqldb.KindStream}}})
	read := func(sql, accept string) string {
		return send(t, "POST", s.URL()+"/query-stream", request(sql), "Accept: "+accept).body
	}
	require.Contains(t, read("SELECT * FROM upcoming_races;", ksqlJSON), ",\n"+`{"finalMessage":"Query Completed"}]`)
	require.Contains(t, read("SELECT * FROM upcoming_races LIMIT 1;", ksqlJSON), ",\n"+`{"finalMessage":"Limit Reached"}]`)
	require.NotContains(t, read("SELECT * FROM upcoming_races;", delimited), "finalMessage")
	require.NotContains(t, read("SELECT * FROM upcoming_races;", plainJSON), "finalMessage")
}

func TestPlainTableIsNotQueryable(t *testing.T) {
	t.Parallel()
	s := start(t, ksqldb.Config{Views: []ksqldb.View{kinded{races(t), ksqldb.KindUnmaterialized}}})
	r := send(t, "POST", s.URL()+"/query-stream", request("SELECT * FROM upcoming_races;"))
	require.Equal(t, 40001, r.code(t))
	require.Contains(t, r.body, "isn't queryable")
}

type kinded struct {
	ksqldb.View
	kind ksqldb.Kind
}

func (k kinded) Kind() ksqldb.Kind { return k.kind }
