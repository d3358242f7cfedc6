package ksqldb_test

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// one is a view of one row.
func one(columns []ksqldb.Column, values ...any) ksqldb.View {
	return ksqldb.Func("T", columns, func() iter.Seq[ksqldb.Row] {
		return func(yield func(ksqldb.Row) bool) { yield(ksqldb.Row{Values: values}) }
	})
}

func TestEncodings(t *testing.T) {
	t.Parallel()
	paris := time.FixedZone("", 7200)
	at := time.Date(2026, 9, 1, 16, 30, 5, 7_999_999, paris)
	for _, c := range []struct {
		typ   string
		value any
		want  string
	}{
		{"BOOLEAN", true, `true`},
		{"INTEGER", math.MinInt32, `-2147483648`},
		{"BIGINT", int64(math.MaxInt64), `9223372036854775807`},
		{"DOUBLE", 4.2, `4.2`},
		{"DOUBLE", 1e10, `1.0E10`},
		{"DOUBLE", 5.0, `5.0`},
		{"DOUBLE", 0.0001, `1.0E-4`},
		{"DOUBLE", math.NaN(), `"NaN"`},
		{"DOUBLE", math.Inf(-1), `"-Infinity"`},
		{"DECIMAL(18, 2)", "12.5", `12.50`},
		{"DECIMAL(18, 2)", "-0.005", `-0.01`},
		{"DECIMAL(18, 2)", big.NewRat(1, 3), `0.33`},
		{"DECIMAL(38, 0)", "99999999999999999999999999999999999999", `99999999999999999999999999999999999999`},
		{"DECIMAL(4, 2)", 7, `7.00`},
		{"STRING", "a \"<b>\"\n", `"a \"<b>\"\n"`},
		{"BYTES", []byte("hi"), `"aGk="`},
		{"TIMESTAMP", at, `"2026-09-01T14:30:05.007"`},
		{"DATE", at, `"2026-09-01"`},
		{"TIME", 14*time.Hour + 30*time.Minute + 5*time.Second + 999*time.Millisecond, `"14:30:05"`},
		{"TIME", 14*time.Hour + 30*time.Minute, `"14:30"`},
		{"STRING", nil, `null`},
		{"ARRAY<TIMESTAMP>", []any{at, nil}, `["2026-09-01T14:30:05.007",null]`},
		{"MAP<STRING, DECIMAL(4, 1)>", map[string]any{"b": "2", "a": "1"}, `{"a":1.0,"b":2.0}`},
		{
			"STRUCT<`A` TIMESTAMP, `d` DATE, `T` TIME, `N` DECIMAL(18, 2), `B` BYTES, `L` ARRAY<TIMESTAMP>, `S` STRUCT<`X` DATE>>",
			map[string]any{"A": at, "d": at, "T": time.Minute, "N": "12.50", "B": []byte("hi"), "L": []any{at}, "S": map[string]any{"X": at}},
			`{"A":1788273005007,"d":20697,"T":60000,"N":12.5,"B":"aGk=","L":[1788273005007],"S":{"X":20697}}`,
		},
		{"ARRAY<STRUCT<`A` TIMESTAMP>>", []any{map[string]any{"A": at}}, `[{"A":1788273005007}]`},
		{"STRUCT<>", map[string]any{}, `{}`},
	} {
		t.Run(fmt.Sprintf("%s %v", c.typ, c.value), func(t *testing.T) {
			t.Parallel()
			s := start(t, ksqldb.Config{Views: []ksqldb.View{one([]ksqldb.Column{{Name: "V", Type: c.typ}}, c.value)}})
			header, rows := pull(t, s, "SELECT v FROM t;")
			require.Contains(t, header, `"columnTypes":["`+c.typ+`"]`)
			require.Equal(t, []string{"[" + c.want + "]"}, rows)
		})
	}
}

func TestNestedAccess(t *testing.T) {
	t.Parallel()
	v := one([]ksqldb.Column{
		{Name: "S", Type: "STRUCT<`A` INT, `B` STRUCT<`C` VARCHAR>>"},
		{Name: "L", Type: "ARRAY<STRING>"},
		{Name: "M", Type: "MAP<STRING, BIGINT>"},
	}, map[string]any{"A": 1, "B": map[string]any{"C": "x"}}, []any{"a", "b"}, map[string]any{"k": 5})
	s := start(t, ksqldb.Config{Views: []ksqldb.View{v}})
	header, rows := pull(t, s, "SELECT s->b->c, l[1] AS first, l[-1] AS last, l[3] AS none, m['k'] AS k FROM t WHERE s->a = 1 AND l[2] = 'b';")
	require.Contains(t, header, `"columnNames":["C","FIRST","LAST","NONE","K"],"columnTypes":["STRING","STRING","STRING","STRING","BIGINT"]`)
	require.Equal(t, []string{`["x","a","b",null,5]`}, rows)
	for _, sql := range []string{"SELECT s->z FROM t;", "SELECT l->a FROM t;", "SELECT l['a'] FROM t;", "SELECT m[1] FROM t;"} {
		_, err := ksqldb.Check(sql, v)
		require.Error(t, err, sql)
	}
}

func TestDecimalsCompareAsTheyArePrinted(t *testing.T) {
	t.Parallel()
	v := one([]ksqldb.Column{{Name: "V", Type: "DECIMAL(9, 2)"}}, "0.005")
	rows, err := ksqldb.Run("SELECT v FROM t WHERE v = 0.01;", v)
	require.NoError(t, err)
	require.Len(t, rows, 1)
}

func TestDates(t *testing.T) {
	t.Parallel()
	v := one([]ksqldb.Column{{Name: "D", Type: "DATE"}, {Name: "TS", Type: "TIMESTAMP"}, {Name: "C", Type: "TIME"}, {Name: "S", Type: "STRING"}},
		noon(), noon(), 14*time.Hour, "2026-09-01")
	for where, want := range map[string]int{
		"d = '2026-09-01'": 1, "d >= '2026'": 1, "d > '2026-09-01'": 0, "ts > d": 1, "d = s": 1, "s = d": 1, "ts > s": 1,
		"c = '14:00'": 1, "c < '14:00:00.001'": 1, "'15:00:00' > c": 1, "c = s": 0,
	} {
		rows, err := ksqldb.Run("SELECT d FROM t WHERE "+where+";", v)
		require.NoError(t, err, where)
		require.Len(t, rows, want, where)
	}
	for _, where := range []string{"d = '2026-09-01T00:00'", "d = 5", "c = ts", "c = '2pm'", "c = '1:00'", "d = c"} {
		_, err := ksqldb.Check("SELECT d FROM t WHERE "+where+";", v)
		require.Error(t, err, where)
	}
}

func TestBadValueEndsTheAnswerWithAnError(t *testing.T) {
	t.Parallel()
	for typ, value := range map[string]any{
		"STRING": 1, "BIGINT": "1", "INTEGER": int64(math.MaxInt32) + 1, "DOUBLE": float32(1), "DECIMAL(4, 2)": "100",
		"TIMESTAMP": "2026-09-01", "TIME": 24 * time.Hour, "ARRAY<STRING>": []string{"a"},
		"STRUCT<`A` INTEGER>": map[string]any{"a": 1},
	} {
		s := start(t, ksqldb.Config{Views: []ksqldb.View{one([]ksqldb.Column{{Name: "V", Type: typ}}, value)}})
		_, rows := pull(t, s, "SELECT * FROM t;")
		require.Len(t, rows, 1, typ)
		require.Contains(t, rows[0], `"error_code":50000`, typ)
		require.Contains(t, rows[0], "column V")
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	table := bets(t)
	require.NoError(t, table.Put(noon(), "e1", 7, 5.0))
	require.Equal(t, 2, table.Len(), "a second put of a key replaces the row")
	require.Error(t, table.Put(noon(), "e1", 7))
	require.Error(t, table.Put(noon(), nil, 7, 5.0))
	require.True(t, table.Delete("e1", 7))
	require.False(t, table.Delete("e1", 7))
	require.True(t, table.Delete("e1", 9))
	require.Zero(t, table.Len())
	require.NoError(t, table.Put(noon(), "e1", 9, nil))
	require.Equal(t, 1, table.Len())
	require.Panics(t, func() { ksqldb.NewTable("T", ksqldb.Column{Name: "A", Type: "STRING"}) })
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	column := func(name, typ string, key bool) ksqldb.View {
		return one([]ksqldb.Column{{Name: name, Type: typ, Key: key}})
	}
	for name, cfg := range map[string]ksqldb.Config{
		"open address":      {Addr: "0.0.0.0:0"},
		"no port":           {Addr: "127.0.0.1"},
		"unknown type":      {Views: []ksqldb.View{column("A", "TEXT", true)}},
		"bad decimal":       {Views: []ksqldb.View{column("A", "DECIMAL(2, 3)", true)}},
		"pseudo column":     {Views: []ksqldb.View{column("ROWTIME", "BIGINT", false)}},
		"half a window":     {Views: []ksqldb.View{column("WINDOWSTART", "BIGINT", true)}},
		"window not key":    {Views: []ksqldb.View{column("WINDOWEND", "BIGINT", false)}},
		"same name":         {Views: []ksqldb.View{column("A", "STRING", true), column("A", "STRING", true)}},
		"no columns":        {Views: []ksqldb.View{one(nil)}},
		"bad name":          {Views: []ksqldb.View{ksqldb.Func("A B", []ksqldb.Column{{Name: "A", Type: "STRING"}}, nil)}},
		"same column twice": {Views: []ksqldb.View{one([]ksqldb.Column{{Name: "A", Type: "STRING"}, {Name: "A", Type: "STRING"}})}},
	} {
		_, err := ksqldb.Start(t.Context(), cfg)
		require.Error(t, err, name)
	}
}

func TestContextEndsTheServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := ksqldb.Start(ctx, ksqldb.Config{})
	require.NoError(t, err)
	require.Equal(t, 200, send(t, "GET", s.URL()+"/info", "").status)
	cancel()
	s.Close()
	s.Close()
	require.Error(t, send(t, "GET", s.URL()+"/info", "").err)
}

// TestLikeAgreesWithRegexp compares LIKE with the regular expression it stands
// for.
func TestLikeAgreesWithRegexp(t *testing.T) {
	t.Parallel()
	alphabet := rapid.SampledFrom([]rune("ab%_.é"))
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOfN(alphabet, 0, 8, -1).Draw(rt, "text")
		pattern := rapid.StringOfN(alphabet, 0, 6, -1).Draw(rt, "pattern")
		re := regexp.MustCompile("(?s)^" + strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(pattern)) + "$")
		rows, err := ksqldb.Run("SELECT v FROM t WHERE v LIKE '"+pattern+"';", one([]ksqldb.Column{{Name: "V", Type: "STRING"}}, text))
		require.NoError(rt, err)
		require.Equal(rt, re.MatchString(text), len(rows) == 1)
	})
}

// TestComparisonsAgreeWithGo compares the six operators on integers and
// decimals with Go's, on both sides of the operator.
func TestComparisonsAgreeWithGo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		a := rapid.Int64Range(-3, 3).Draw(rt, "a")
		b := rapid.Int64Range(-3, 3).Draw(rt, "b")
		typ := rapid.SampledFrom([]string{"BIGINT", "INTEGER", "DECIMAL(9, 3)"}).Draw(rt, "type")
		form := rapid.SampledFrom([]string{"%d", "%d.0", "%dE0"}).Draw(rt, "form")
		op := rapid.SampledFrom([]string{"=", "<>", "!=", "<", "<=", ">", ">="}).Draw(rt, "op")
		want := map[string]bool{"=": a == b, "<>": a != b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]
		v := one([]ksqldb.Column{{Name: "V", Type: typ}}, a)
		rows, err := ksqldb.Run(fmt.Sprintf("SELECT v FROM t WHERE v %s "+form+";", op, b), v)
		require.NoError(rt, err)
		require.Equal(rt, want, len(rows) == 1)
		rows, err = ksqldb.Run(fmt.Sprintf("SELECT v FROM t WHERE "+form+" %s v;", a, op), one([]ksqldb.Column{{Name: "V", Type: typ}}, b))
		require.NoError(rt, err)
		require.Equal(rt, want, len(rows) == 1)
	})
}
