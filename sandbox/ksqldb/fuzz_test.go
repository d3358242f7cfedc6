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
