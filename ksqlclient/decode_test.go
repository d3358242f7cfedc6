package ksqlclient_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/ksqlclient"
)

// decode sends one value of one column through a pull query.
func decode(t testing.TB, columnType, value string) (any, error) {
	t.Helper()
	name, err := json.Marshal(columnType)
	require.NoError(t, err)
	body := fmt.Sprintf("{\"columnNames\":[\"V\"],\"columnTypes\":[%s]}\n[%s]\n", name, value)
	rows, err := answer(t, 200, body).PullAll(t.Context(), selectAll, nil)
	if err != nil {
		require.Empty(t, rows)
		return nil, err
	}
	require.Len(t, rows, 1)
	return rows[0].At(0), nil
}

func TestDecodeValues(t *testing.T) {
	t.Parallel()
	utc := func(y int, m time.Month, d, h, min, s, ms int) time.Time {
		return time.Date(y, m, d, h, min, s, ms*1e6, time.UTC)
	}
	clock := func(d time.Duration) ksqlclient.TimeOfDay { return ksqlclient.TimeOfDay(d) }
	for _, tc := range []struct {
		typ, value string
		want       any
	}{
		{"BOOLEAN", `true`, true},
		{"BOOLEAN", `false`, false},
		{"INTEGER", `-2147483648`, int64(math.MinInt32)},
		{"BIGINT", `9007199254740993`, int64(9007199254740993)},
		{"BIGINT", `-9223372036854775808`, int64(math.MinInt64)},
		{"DOUBLE", `1.0E10`, 1e10},
		{"DOUBLE", `10000000000`, 1e10},
		{"DOUBLE", `"Infinity"`, math.Inf(1)},
		{"DOUBLE", `"-Infinity"`, math.Inf(-1)},
		{"DECIMAL(18, 2)", `1250.50`, mustDecimal(t, "1250.50")},
		{"DECIMAL(38, 10)", `1234567890123456789012345678.0123456789`, mustDecimal(t, "1234567890123456789012345678.0123456789")},
		{"STRING", `"a\"\\\u00e9\n\ud83d\udc0e'"`, "a\"\\é\n🐎'"},
		{"STRING", `""`, ""},
		{"STRING", `"[1,{\"]"`, `[1,{"]`},
		{"BYTES", `"aGn/"`, []byte("hi\xff")},
		{"BYTES", `""`, []byte{}},
		{"TIMESTAMP", `"2026-09-01T14:30:00.007"`, utc(2026, 9, 1, 14, 30, 0, 7)},
		{"TIMESTAMP", `"2026-09-01T14:30:00"`, utc(2026, 9, 1, 14, 30, 0, 0)},
		{"TIMESTAMP", `"+58640-02-29T01:02:03.004"`, utc(58640, 2, 29, 1, 2, 3, 4)},
		{"DATE", `"2026-09-01"`, ksqlclient.Date{Year: 2026, Month: 9, Day: 1}},
		{"DATE", `"-0044-03-15"`, ksqlclient.Date{Year: -44, Month: 3, Day: 15}},
		{"TIME", `"14:30:05"`, clock(14*time.Hour + 30*time.Minute + 5*time.Second)},
		{"TIME", `"14:30"`, clock(14*time.Hour + 30*time.Minute)},
		{"TIME", `"00:00:00.250"`, clock(250 * time.Millisecond)},
		{"ARRAY<STRING>", `["a",null,"]"]`, []any{"a", nil, "]"}},
		{"ARRAY<STRING>", `[]`, []any{}},
		{"ARRAY<TIMESTAMP>", `["1970-01-01T00:00:01.000"]`, []any{utc(1970, 1, 1, 0, 0, 1, 0)}},
		{"ARRAY<ARRAY<INTEGER>>", `[[1, 2] , [ ]]`, []any{[]any{int64(1), int64(2)}, []any{}}},
		{"MAP<STRING, BIGINT>", `{"Ab":1,"c\"":null, "" : 3}`, map[string]any{"Ab": int64(1), `c"`: nil, "": int64(3)}},
		{"MAP<STRING, ARRAY<DATE>>", `{"k":["1970-01-02"]}`, map[string]any{"k": []any{ksqlclient.Date{Year: 1970, Month: 1, Day: 2}}}},
		{
			"STRUCT<`TS` TIMESTAMP, `D` DATE, `T` TIME, `N` DECIMAL(9, 3), `lower Case` STRING, `GONE` INTEGER>",
			`{"TS":1788273005123,"D":20697,"T":52205123,"N":12.5,"lower Case":"x","NEW":[1]}`,
			map[string]any{
				"ts": utc(2026, 9, 1, 14, 30, 5, 123), "d": ksqlclient.Date{Year: 2026, Month: 9, Day: 1},
				"t": clock(52205123 * time.Millisecond), "n": mustDecimal(t, "12.500"), "lower case": "x", "gone": nil,
			},
		},
		{"STRUCT<`N` DECIMAL(20, 2), `M` DECIMAL(20, 2)>", `{"N":1.0E10,"M":1.005}`, map[string]any{"n": mustDecimal(t, "10000000000.00"), "m": mustDecimal(t, "1.005")}},
		{"STRUCT<`D` DATE, `T` TIMESTAMP>", `{"D":-1,"T":-1}`, map[string]any{"d": ksqlclient.Date{Year: 1969, Month: 12, Day: 31}, "t": utc(1969, 12, 31, 23, 59, 59, 999)}},
		{"STRUCT<>", `{}`, map[string]any{}},
		{"MAP<STRING, STRUCT<`A` ARRAY<STRUCT<`B` BYTES>>>>", `{"k":{"A":[{"B":"aA=="},null]}}`, map[string]any{"k": map[string]any{"a": []any{map[string]any{"b": []byte("h")}, nil}}}},
	} {
		t.Run(tc.typ+" "+tc.value, func(t *testing.T) {
			t.Parallel()
			got, err := decode(t, tc.typ, tc.value)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
			got, err = decode(t, tc.typ, "null")
			require.NoError(t, err)
			require.Nil(t, got)
		})
	}
	got, err := decode(t, "DOUBLE", `"NaN"`)
	require.NoError(t, err)
	require.True(t, math.IsNaN(got.(float64)))
}

func TestDecodeRefusesValues(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ typ, value, want string }{
		{"BOOLEAN", `"true"`, "column v: found a string, expected BOOLEAN"},
		{"BOOLEAN", `1`, "column v: found a number, expected BOOLEAN"},
		{"INTEGER", `2147483648`, "column v: found a number out of range or with a fraction, expected INTEGER"},
		{"BIGINT", `9223372036854775808`, "column v: found a number out of range or with a fraction, expected BIGINT"},
		{"BIGINT", `1.5`, "column v: found a number out of range or with a fraction, expected BIGINT"},
		{"BIGINT", `"1"`, "column v: found a string, expected BIGINT"},
		{"BIGINT", `true`, "column v: found a boolean, expected BIGINT"},
		{"DOUBLE", `1e999`, "column v: found a number out of range, expected DOUBLE"},
		{"DOUBLE", `"nan"`, "column v: found a string, expected DOUBLE"},
		{"DECIMAL(4, 2)", `1e999999999`, "column v: found a number out of range, expected DECIMAL"},
		{"DECIMAL(4, 2)", `"1.00"`, "column v: found a string, expected DECIMAL"},
		{"STRING", `5`, "column v: found a number, expected STRING"},
		{"STRING", `["a"]`, "column v: found an array, expected STRING"},
		{"BYTES", `"secret!"`, "column v: found text that is not base64, expected BYTES"},
		{"TIMESTAMP", `"secret"`, "column v: found text that is no timestamp, expected TIMESTAMP"},
		{"TIMESTAMP", `"+1-02-03T00:00:00"`, "column v: found text that is no timestamp, expected TIMESTAMP"},
		{"TIMESTAMP", `"+12345-13-01T00:00:00"`, "column v: found text that is no timestamp, expected TIMESTAMP"},
		{"TIMESTAMP", `1.5`, "column v: found a number out of range or with a fraction, expected TIMESTAMP"},
		{"DATE", `"secret"`, "column v: found text that is no date, expected DATE"},
		{"DATE", `9223372036854775807`, "column v: found a number out of range, expected DATE"},
		{"TIME", `"secret"`, "column v: found text that is no time of day, expected TIME"},
		{"TIME", `86400000`, "column v: found a number out of range, expected TIME"},
		{"TIME", `-1`, "column v: found a number out of range, expected TIME"},
		{"ARRAY<INTEGER>", `{"a":1}`, "column v: found an object, expected ARRAY"},
		{"ARRAY<INTEGER>", `[1,"secret"]`, "column v[1]: found a string, expected INTEGER"},
		{"MAP<STRING, INTEGER>", `[1]`, "column v: found an array, expected MAP"},
		{"MAP<STRING, INTEGER>", `{"secret":"x"}`, "column v[key]: found a string, expected INTEGER"},
		{"STRUCT<`A` ARRAY<STRUCT<`B` BIGINT>>>", `{"A":[{"B":1},{"B":true}]}`, "column v.a[1].b: found a boolean, expected BIGINT"},
	} {
		t.Run(tc.typ+" "+tc.value, func(t *testing.T) {
			t.Parallel()
			_, err := decode(t, tc.typ, tc.value)
			require.ErrorIs(t, err, ksqlclient.ErrMalformed)
			require.EqualError(t, err, "pull rows: answer does not follow the protocol: row 0: "+tc.want)
		})
	}
}

func TestDecodeIntegersAndStringsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.Int64().Draw(rt, "n")
		got, err := decode(t, "BIGINT", fmt.Sprint(n))
		require.NoError(rt, err)
		require.Equal(rt, n, got)

		s := strings.ToValidUTF8(rapid.String().Draw(rt, "s"), "")
		encoded, err := json.Marshal(s)
		require.NoError(rt, err)
		got, err = decode(t, "ARRAY<STRING>", "["+string(encoded)+" , "+string(encoded)+"]")
		require.NoError(rt, err)
		require.Equal(rt, []any{s, s}, got)
	})
}

// FuzzDecodeRow checks that a row is a value or an error, and that an accepted
// row is as long as its header.
func FuzzDecodeRow(f *testing.F) {
	for _, seed := range [][2]string{
		{"BIGINT", "[1]"},
		{"STRING", `["a\u0041"]`},
		{"DECIMAL(4, 2)", "[1e5]"},
		{"DOUBLE", `["NaN"]`},
		{"ARRAY<MAP<STRING, DATE>>", `[[{"a":"2026-01-01"},{"b":5}]]`},
		{"STRUCT<`A` TIME, `B` TIMESTAMP>", `[{"A":1,"B":"2026-01-01T00:00:00"}]`},
		{"STRUCT<`A`` B`` BYTES>", `[{"A":""}]`},
		{"BYTES", `["="]`},
		{"TIMESTAMP", `["+99999-01-01T00:00:00"]`},
		{"TIME", `["1:2"]`},
		{"MAP<STRING, STRING>", `[{"\"":"}"}]`},
		{"INTEGER", `{"@type":"x","error_code":1}`},
		{"BOOLEAN", "[tru]"},
		{"DATE", "[]"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, typ, line string) {
		header, err := json.Marshal(map[string][]string{"columnNames": {"V"}, "columnTypes": {typ}})
		require.NoError(t, err)
		rows, failed := answer(t, 200, string(header)+"\n"+line+"\n").PullAll(t.Context(), selectAll, nil)
		if failed != nil {
			require.Empty(t, rows)
			return
		}
		require.True(t, utf8.ValidString(line))
		for _, row := range rows {
			require.Equal(t, 1, row.Len())
			var boxed []struct {
				V any `ksql:"v"`
			}
			boxed, err = ksqlclient.Collect[struct {
				V any `ksql:"v"`
			}](func(yield func(ksqlclient.Row, error) bool) { yield(row, nil) })
			require.NoError(t, err)
			require.Len(t, boxed, 1)
		}
	})
}

// FuzzParseType checks that a type that parses prints as one that parses to the
// same.
func FuzzParseType(f *testing.F) {
	for _, seed := range []string{"INT", "varchar", "DECIMAL( 4,2 )", "ARRAY<MAP<STRING, STRUCT<`A` INT, b VARCHAR>>>", "STRUCT<`a`b` INT>", "MAP<", "STRUCT<>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		typ, err := ksqlclient.ParseType(s)
		if err != nil {
			require.Zero(t, typ)
			return
		}
		again, err := ksqlclient.ParseType(typ.String())
		require.NoError(t, err)
		require.Equal(t, typ, again)
	})
}

func TestParseType(t *testing.T) {
	t.Parallel()
	const all = "STRUCT<`A` ARRAY<MAP<STRING, DECIMAL(9, 3)>>, `b ``c` STRUCT<`D` TIMESTAMP>, `E` INTEGER, `F` BYTES>"
	typ, err := ksqlclient.ParseType(all)
	require.NoError(t, err)
	require.Equal(t, all, typ.String())
	require.Equal(t, "b ``c", typ.Fields[1].Original)
	require.Equal(t, 3, typ.Fields[0].Type.Elem.Elem.Scale)

	typ, err = ksqlclient.ParseType(" struct < a int , `B` varchar > ")
	require.NoError(t, err)
	require.Equal(t, "STRUCT<`a` INTEGER, `B` STRING>", typ.String())

	deep := strings.Repeat("ARRAY<", 65) + "INT" + strings.Repeat(">", 65)
	for _, bad := range []string{
		"", "BLOB", "ARRAY", "ARRAY<", "ARRAY<INT", "ARRAY<INT>>", "MAP<STRING>", "MAP<STRING, >", "DECIMAL", "DECIMAL(4)", "DECIMAL(4, x)", "DECIMAL(-1, 2)",
		"STRUCT", "STRUCT<`A>", "STRUCT<`A`>", "STRUCT<`` INT>", "STRUCT<`A` INT", "STRUCT<`A` INT `B` INT>", "STRUCT<`A` INT, `a` INT>", "STRUCT<, >", "INT KEY", deep,
	} {
		_, err := ksqlclient.ParseType(bad)
		require.Error(t, err, bad)
	}
}
