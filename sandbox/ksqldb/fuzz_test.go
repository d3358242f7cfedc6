package ksqldb_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// FuzzQuery checks that no SQL makes the server panic, and that each is either
// planned or refused.
func FuzzQuery(f *testing.F) {
	for _, sql := range []string{
		"SELECT * FROM t;",
		"SELECT k, ROWTIME AS rowtime, d * 2 + 1.5 AS x FROM t AS y WHERE ROWTIME >= '2026' AND y.n IN (1, -2, 3.5) LIMIT 3;",
		"SELECT s->a, l[1], m['x'] FROM t WHERE k LIKE 'a%!_' ESCAPE '!' OR (ts BETWEEN '2026-09-01T10' AND '2026-09-01T10Z');",
		"SELECT CONCAT(k, 'a''b'), COALESCE(k, ''), UNIX_TIMESTAMP(ts) - UNIX_TIMESTAMP() FROM t WHERE NOT b; -- x",
		"/* */ SELECT `k` FROM `t` WHERE k = :x AND b = TRUE AND f <> 1E-3 AND c > '10:30' AND y = y;",
		"CREATE TABLE x AS SELECT * FROM t EMIT CHANGES;",
		"SELECT DECIMAL '1.50' AS d FROM t WHERE - - n = --5\n 5 AND k IS NOT NULL;",
	} {
		f.Add(sql)
	}
	view := one([]ksqldb.Column{
		{Name: "K", Type: "STRING", Key: true},
		{Name: "N", Type: "INTEGER"},
		{Name: "D", Type: "DECIMAL(18, 2)"},
		{Name: "F", Type: "DOUBLE"},
		{Name: "B", Type: "BOOLEAN"},
		{Name: "TS", Type: "TIMESTAMP"},
		{Name: "C", Type: "TIME"},
		{Name: "Y", Type: "BYTES"},
		{Name: "S", Type: "STRUCT<`A` BIGINT>"},
		{Name: "L", Type: "ARRAY<STRING>"},
		{Name: "M", Type: "MAP<STRING, DATE>"},
		{Name: "NOTHING", Type: "STRING"},
	}, "abc", 5, "12.50", 1e-3, true, time.Unix(1788264000, 0), time.Hour, []byte("y"),
		map[string]any{"A": 1}, []any{"a"}, map[string]any{"x": time.Unix(0, 0)}, nil)
	f.Fuzz(func(t *testing.T, sql string) {
		columns, err := ksqldb.Check(sql, view)
		require.Equal(t, err == nil, columns != nil, "a plan or an error, never both or neither")
		rows, runErr := ksqldb.Run(sql, view)
		require.Equal(t, err == nil, runErr == nil, "all values fit, so what is planned runs")
		for _, row := range rows {
			require.Len(t, row, len(columns))
		}
	})
}

// FuzzTypes checks that a type that parses prints as a type that parses to the
// same.
func FuzzTypes(f *testing.F) {
	for _, typ := range []string{"INT", "DECIMAL(18, 2)", "MAP<STRING, ARRAY<STRUCT<`A` DATE, b VARCHAR>>>", "STRUCT<>", "ARRAY<"} {
		f.Add(typ)
	}
	f.Fuzz(func(t *testing.T, typ string) {
		columns, err := ksqldb.Check("SELECT v FROM t;", one([]ksqldb.Column{{Name: "V", Type: typ}}))
		if err != nil || strings.Contains(typ, "``") {
			return // a back-quote in a name is printed once, as the server does, and cannot be read back
		}
		printed := columns[0].Type
		again, err := ksqldb.Check("SELECT v FROM t;", one([]ksqldb.Column{{Name: "V", Type: printed}}))
		require.NoError(t, err, printed)
		require.Equal(t, printed, again[0].Type)
	})
}

// FuzzDefine checks that no statement makes the catalogue panic: each is refused,
// or makes something that has columns.
func FuzzDefine(f *testing.F) {
	for _, sql := range []string{
		"CREATE STREAM x AS SELECT b.event_id AS e, CASE WHEN b.odds IS NOT NULL THEN b.stake / 2e0 ELSE NULL END AS c FROM bets b JOIN races r ON b.event_id = r.event_id;",
		"CREATE TABLE x WITH (KEY_FORMAT='JSON', PARTITIONS=3) AS SELECT runner, event_id, SUM(stake) + 1 AS s FROM bets WINDOW TUMBLING (SIZE 1 DAY) WHERE NOT odds < 1 GROUP BY event_id, runner HAVING COUNT(*) > 3 EMIT CHANGES;",
		"CREATE TABLE x AS SELECT event_id, TRANSFORM(ARRAY_SORT(COLLECT_LIST(bet_id)), i => STRUCT(`i` := CAST(i AS BIGINT)))[1]->`i` AS s FROM latest GROUP BY event_id;",
		"CREATE SOURCE TABLE IF NOT EXISTS x (a STRING PRIMARY KEY, b MAP<STRING, ARRAY<DECIMAL(4, 2)>>) WITH (KAFKA_TOPIC='t', FORMAT='JSON', PARTITIONS=1);",
		"INSERT INTO races (event_id, starts_at) VALUES ('a', '2026'); DROP TABLE IF EXISTS y DELETE TOPIC; TERMINATE ALL; SET 'a'='b';",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		made, err := ksqldb.Define(ground + sql)
		if err != nil {
			require.Nil(t, made)
			return
		}
		for _, s := range made {
			require.NotEmpty(t, s.Columns)
		}
	})
}
