package ksqlclient_test

import (
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/ksqlclient"
)

// requireSameStructure checks that the bound statement has the tokens of the
// template, with exactly one literal in the place of each placeholder, and that
// each literal is its value. holes is the template with every placeholder
// replaced by a lone question mark, which is no token of the language.
func requireSameStructure(t require.TestingT, holes, bound string, want []any) {
	expected, actual := lex(holes), lex(bound)
	n := 0
	for _, e := range expected {
		if e.text != "?" {
			require.NotEmpty(t, actual, "tokens are missing in %q", bound)
			require.Equal(t, e, actual[0], "in %q", bound)
			actual = actual[1:]
			continue
		}
		value, rest, err := takeLiteral(actual)
		require.NoError(t, err, "in %q", bound)
		requireValue(t, want[n], value)
		actual = rest
		n++
	}
	require.Empty(t, actual, "tokens too many in %q", bound)
	require.Len(t, want, n)
}

func requireValue(t require.TestingT, want, got any) {
	switch w := want.(type) {
	case ksqlclient.Decimal:
		require.IsType(t, (*big.Rat)(nil), got)
		require.Zero(t, w.Rat().Cmp(got.(*big.Rat)))
	case time.Time:
		parsed, err := time.Parse("2006-01-02T15:04:05.000", got.(string))
		require.NoError(t, err)
		require.True(t, w.Truncate(time.Millisecond).Equal(parsed), "%s is not %s", got, w)
	case ksqlclient.EpochMillis:
		require.Equal(t, time.Time(w).UnixMilli(), got)
	default:
		require.Equal(t, want, got)
	}
}

// nasty are the characters that mean something to one lexer or another.
var nasty = []rune("'\"`:;-/*\\\n\r\t ?${}@%_ax0é\u2028\U0001F40E")

func genValue() *rapid.Generator[any] {
	return rapid.OneOf(
		rapid.StringOfN(rapid.SampledFrom(nasty), 0, 12, -1).AsAny(),
		rapid.String().Filter(func(s string) bool { return !strings.Contains(s, "\x00") && utf8.ValidString(s) }).AsAny(),
		rapid.Int64().AsAny(),
		rapid.Bool().AsAny(),
		rapid.Float64().AsAny(), // rapid draws no NaN and no infinity
		rapid.SliceOfN(rapid.Byte(), 1, 20).AsAny(),
		rapid.Map(rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,18})?`), func(s string) ksqlclient.Decimal {
			d, err := ksqlclient.ParseDecimal(s)
			if err != nil {
				panic(err)
			}
			return d
		}).AsAny(),
		rapid.Map(rapid.Int64Range(-62135596800, 253402300799), func(n int64) time.Time { return time.Unix(n, 123456789) }).AsAny(),
		rapid.Map(rapid.Int64Range(-1<<50, 1<<50), func(n int64) ksqlclient.EpochMillis {
			return ksqlclient.EpochMillis(time.UnixMilli(n))
		}).AsAny(),
	)
}

// genPiece draws a part of a template that is no placeholder.
func genPiece() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			"SELECT", "AND", "col", "=", "<>", "<=", ">", "-", "+", "/", "*", "(", ")", ",", ".", "||", "->", "[", "]", ";",
			"STRUCT(a:=", "1", "1.5", "2E3", "LIKE", "IN (", "-- note :p0\n", "--@ :p0\r\n", "-- it's\r", "/* :p0 ' */", "/**/", "\n", "\t", "x", "''", "${v}",
		}),
		rapid.Map(rapid.StringOfN(rapid.SampledFrom(nasty), 0, 8, -1), func(s string) string {
			return "'" + strings.ReplaceAll(s, "'", "''") + "'"
		}),
		rapid.Map(rapid.StringOfN(rapid.SampledFrom(nasty), 0, 8, -1), ksqlclient.QuoteIdentifier),
	)
}

func TestBindKeepsTheStructureOfTheStatement(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var template, holes strings.Builder
		params := ksqlclient.Params{}
		var want []any
		names := []string{"p0", "p1", "_x", "Since"}
		afterParam := false
		for range rapid.IntRange(1, 12).Draw(t, "parts") {
			if rapid.IntRange(0, 2).Draw(t, "kind") > 0 {
				piece := genPiece().Draw(t, "piece")
				// Directly after a placeholder only what does not lengthen its name.
				if !afterParam || rapid.Bool().Draw(t, "apart") || isNameStart(piece) {
					template.WriteString(" ")
				}
				holes.WriteString(" ")
				template.WriteString(piece)
				holes.WriteString(piece)
				afterParam = false
				continue
			}
			name := rapid.SampledFrom(names).Draw(t, "name")
			if _, ok := params[name]; !ok {
				params[name] = genValue().Draw(t, "value")
			}
			want = append(want, params[name])
			if rapid.Bool().Draw(t, "space") {
				template.WriteString(" ")
			}
			template.WriteString(":" + name)
			holes.WriteString(" ? ")
			afterParam = true
		}
		bound, err := ksqlclient.Bind(template.String(), params)
		require.NoError(t, err, "template %q", template.String())
		requireSameStructure(t, holes.String(), bound, want)

		found, err := ksqlclient.Placeholders(template.String())
		require.NoError(t, err)
		require.Len(t, found, len(params))
	})
}

func isNameStart(s string) bool {
	c := s[0]
	return c == '_' || c == '@' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func FuzzBindString(f *testing.F) {
	for _, seed := range []string{"", "c9", "O'Brien", "' OR 1=1; --", "''", "\\'", "'||'", "--\n", "*/", ":q", "${x}", "a\x00", "\xff", "`", `"`} {
		f.Add(seed)
	}
	const (
		template = "SELECT * FROM t -- it's :p\nWHERE a=:p AND'x':p'y'AND b-:p-- :p\n AND c = ':p' /* :p */;"
		holes    = "SELECT * FROM t -- it's :p\nWHERE a= ? AND 'x' ? 'y' AND b- ? -- :p\n AND c = ':p' /* :p */;"
	)
	f.Fuzz(func(t *testing.T, value string) {
		bound, err := ksqlclient.Bind(template, ksqlclient.Params{"p": value})
		if !utf8.ValidString(value) || strings.Contains(value, "\x00") {
			require.ErrorIs(t, err, ksqlclient.ErrParam)
			require.Empty(t, bound)
			return
		}
		require.NoError(t, err)
		requireSameStructure(t, holes, bound, []any{value, value, value})
	})
}

// FuzzBindTemplate checks on any statement that the value stays one literal as
// the server's lexer sees it, wherever the placeholder stands.
func FuzzBindTemplate(f *testing.F) {
	for _, seed := range []string{
		"SELECT * FROM t WHERE a = :p;", "':p' :p \":p\" `:p`", "-- :p\n:p", "--\n:p", "/* :p */:p", ":p:p", "x-:p", "a:=:p", "'a':p'b'",
		"::p", "--@ x\r:p", "1:p", ".5:p.5", "${p}:p", "-:p--x", "/:p*", "'''':p", "\u2028:p", "${:p}", "a.:p", "IN(:p)",
	} {
		f.Add(seed, "' --\n; :p")
	}
	f.Fuzz(func(t *testing.T, template, value string) {
		names, err := ksqlclient.Placeholders(template)
		if err != nil || len(names) != 1 {
			return
		}
		bound, err := ksqlclient.Bind(template, ksqlclient.Params{names[0]: value})
		if err != nil {
			require.Empty(t, bound)
			return
		}
		// A harmless value in the same place shows the intended structure.
		plain, err := ksqlclient.Bind(template, ksqlclient.Params{names[0]: "v"})
		require.NoError(t, err)
		expected, actual := lex(plain), lex(bound)
		require.Len(t, actual, len(expected), "%q became %q", template, bound)
		literal := "'" + strings.ReplaceAll(value, "'", "''") + "'"
		for i, e := range expected {
			if e == actual[i] {
				continue
			}
			require.Equal(t, lexeme{"string", "'v'"}, e)
			require.Equal(t, lexeme{"string", literal}, actual[i])
		}
	})
}
