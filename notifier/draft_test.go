package notifier_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/notifier"
)

func builtin(t testing.TB, id string) *notifier.Rule {
	t.Helper()
	set, err := notifier.CompileRules(notifier.BuiltinRules())
	require.NoError(t, err)
	r, ok := set.Get(id)
	require.True(t, ok)
	return r
}

// wonBet is a row of settled_bets as a Source delivers it.
func wonBet(changes ...any) notifier.Row {
	row := notifier.Row{
		"bet_id": "b-1", "user_id": "ann", "event_id": "e-1", "event_name": "Ascot 15:05", "runner": "Red Rum",
		"outcome": "WON", "payout": json.Number("12.50"), "currency": "GBP",
		"settled_at": "2026-09-01T14:07:00.25Z", "rowtime": json.Number("1788271627500"),
	}
	return with(row, changes...)
}

// rejectedBet is a row of rejected_bets.
func rejectedBet(changes ...any) notifier.Row {
	row := notifier.Row{
		"bet_id": "b-2", "user_id": "ann", "event_id": "e-1", "event_name": "Ascot 15:05", "runner": "Red Rum",
		"odds": 0.5, "odds_now": 0.333, "reason": "ODDS_MOVED",
		"placed_at": "2026-09-01T14:00:10Z", "rowtime": json.Number("1788271211500"),
	}
	return with(row, changes...)
}

// with sets pairs of column and value; the value drop removes the column.
func with(row notifier.Row, changes ...any) notifier.Row {
	row = maps.Clone(row)
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == drop {
			delete(row, changes[i].(string))
		} else {
			row[changes[i].(string)] = changes[i+1]
		}
	}
	return row
}

const drop = "\x00drop"

func TestDraft(t *testing.T) {
	t.Parallel()
	r := builtin(t, "bet-settled")
	row := wonBet()
	d, err := r.Draft(row)
	require.NoError(t, err)
	require.Equal(t, `["b-1"]`, d.Key)
	require.Equal(t, int64(1788271627500), d.Order)
	require.Equal(t, "ann", string(d.User))
	require.Equal(t, "WON", d.Variant)
	require.Equal(t, "win", d.Category)
	due := time.Date(2026, 9, 1, 14, 7, 0, 250_000_000, time.UTC)
	require.Equal(t, due, d.DueAt)
	require.Equal(t, due.Add(24*time.Hour), d.ExpiresAt)
	require.Equal(t, time.UnixMilli(1788271627500).UTC(), d.Arrival)
	require.Equal(t, row, d.Row)

	again, err := r.Draft(row)
	require.NoError(t, err)
	require.Equal(t, d, again)
}

func TestDraftVersionHash(t *testing.T) {
	t.Parallel()
	r := builtin(t, "bet-settled")
	hash := func(changes ...any) string {
		d, err := r.Draft(wonBet(changes...))
		require.NoError(t, err)
		return d.VersionHash
	}
	base := hash()
	for _, same := range []string{"12.5", "12.500", "1.25e1", "125E-1", "0012.50"} {
		require.Equal(t, base, hash("payout", json.Number(same)), same)
	}
	require.Equal(t, base, hash("runner", "Shergar", "rowtime", json.Number("1788271999999")), "not version columns")
	for _, other := range []any{json.Number("12.51"), json.Number("-12.5"), "12.5", nil, true} {
		require.NotEqual(t, base, hash("payout", other), "%v", other)
	}
	require.NotEqual(t, base, hash("outcome", "VOID"))
}

func TestDraftExpires(t *testing.T) {
	t.Parallel()
	r := compile(t, minimal)
	want := time.Date(2026, 9, 1, 14, 30, 0, 0, time.UTC)
	for _, v := range []any{"2026-09-01T14:30:00Z", "2026-09-01T16:30:00+02:00", "2026-09-01T14:30:00.0000004Z", json.Number("1788273000000"), json.Number("1.788273e12")} {
		d, err := r.Draft(notifier.Row{"a": "1", "c": v})
		require.NoError(t, err)
		require.Equal(t, want, d.ExpiresAt, "%v", v)
		require.Zero(t, d.DueAt)
		require.Zero(t, d.Arrival)
		require.Zero(t, d.Order)
		require.Empty(t, d.User)
	}
}

func TestDraftOrder(t *testing.T) {
	t.Parallel()
	r := builtin(t, "bet-settled")
	// The watermark needs a time, so only times that are orders too can be seen here.
	d, err := r.Draft(wonBet("rowtime", "2026-09-01T14:30:00.123456Z"))
	require.NoError(t, err)
	require.Equal(t, time.Date(2026, 9, 1, 14, 30, 0, 123456000, time.UTC).UnixMicro(), d.Order)

	r = compile(t, strings.Replace(minimal, "key: [a]", "key: [a]\n    version: [b]\n    order: n", 1))
	for v, want := range map[json.Number]int64{"0": 0, "-5": -5, "9223372036854775807": 1<<63 - 1, "2.0": 2, "1e3": 1000} {
		d, err := r.Draft(notifier.Row{"a": "1", "b": "x", "c": "2026-09-01T14:30:00Z", "n": v})
		require.NoError(t, err)
		require.Equal(t, want, d.Order, v)
	}
	for _, v := range []any{nil, true, "yesterday", json.Number("1.5"), json.Number("9223372036854775808"), []any{}} {
		_, err := r.Draft(notifier.Row{"a": "1", "b": "x", "c": "2026-09-01T14:30:00Z", "n": v})
		requireBad(t, err, notifier.BadOrder)
	}
}

func requireBad(t testing.TB, err error, reason notifier.BadRowReason) *notifier.BadRow {
	t.Helper()
	bad, ok := errors.AsType[*notifier.BadRow](err)
	require.True(t, ok, "%v is no bad row", err)
	require.Equal(t, reason, bad.Reason, bad.Detail)
	require.NotEmpty(t, bad.Rule)
	require.NotEmpty(t, bad.Detail)
	return bad
}

func TestDraftBadRows(t *testing.T) {
	t.Parallel()
	r := builtin(t, "bet-settled")
	for _, tc := range []struct {
		column string
		value  any
		want   notifier.BadRowReason
	}{
		{"bet_id", drop, notifier.BadMissingColumn},
		{"bet_id", nil, notifier.BadNullKey},
		{"bet_id", strings.Repeat("x", notifier.MaxKeyBytes), notifier.BadLongKey},
		{"bet_id", json.Number("x"), notifier.BadValue},
		{"bet_id", time.Now(), notifier.BadValue},
		{"payout", drop, notifier.BadMissingColumn},
		{"user_id", drop, notifier.BadMissingColumn},
		{"user_id", nil, notifier.BadNoUser},
		{"user_id", "", notifier.BadNoUser},
		{"user_id", "a\x00b", notifier.BadNoUser},
		{"user_id", "\xff", notifier.BadNoUser},
		{"user_id", strings.Repeat("u", notifier.MaxUserBytes+1), notifier.BadNoUser},
		{"user_id", []any{"ann"}, notifier.BadNoUser},
		{"outcome", drop, notifier.BadMissingColumn},
		{"outcome", nil, notifier.BadUnknownVariant},
		{"outcome", "", notifier.BadUnknownVariant},
		{"outcome", "won", notifier.BadUnknownVariant},
		{"settled_at", nil, notifier.BadTime},
		{"settled_at", "2026-09-01 14:30", notifier.BadTime},
		{"settled_at", json.Number("1e300"), notifier.BadTime},
		{"settled_at", json.Number("-1"), notifier.BadTime},
		{"settled_at", false, notifier.BadTime},
		{"rowtime", "now", notifier.BadOrder},
		{"rowtime", json.Number("-1"), notifier.BadTime},
	} {
		_, err := r.Draft(wonBet(tc.column, tc.value))
		bad := requireBad(t, err, tc.want)
		if tc.want != notifier.BadLongKey {
			require.Contains(t, bad.Detail, tc.column)
		}
		require.Contains(t, notifier.BadRowReasons(), bad.Reason)
	}
}

func TestDraftNumbersAsUserAndVariant(t *testing.T) {
	t.Parallel()
	r := compile(t, strings.NewReplacer("audience: all", "audience: {user: u}",
		"notification: {", "variant: v\n    variants:\n      \"1\": {").Replace(minimal))
	d, err := r.Draft(notifier.Row{"a": true, "c": "2026-09-01T14:30:00Z", "u": json.Number("42.0"), "v": json.Number("1")})
	require.NoError(t, err)
	require.Equal(t, "42", string(d.User))
	require.Equal(t, "1", d.Variant)
	require.Equal(t, "[true]", d.Key)
}

// Keys are equal exactly when the values are: a rule's notifications hang on it.
func TestDraftKeyProperties(t *testing.T) {
	t.Parallel()
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(strings.Replace(minimal, "key: [a]", "key: [a, b]", 1))})
	require.NoError(t, err)
	r := set.All()[0]
	value := rapid.OneOf(
		rapid.StringMatching(`[a-c"\\,\[\]]{0,4}`).AsAny(),
		rapid.Map(rapid.IntRange(-20, 20), func(n int) any { return n }),
		rapid.Bool().AsAny(),
	)
	key := func(t *rapid.T, a, b any) string {
		d, err := r.Draft(notifier.Row{"a": a, "b": b, "c": "2026-09-01T14:30:00Z"})
		require.NoError(t, err)
		require.True(t, json.Valid([]byte(d.Key)), d.Key)
		return d.Key
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c, d := value.Draw(t, "a"), value.Draw(t, "b"), value.Draw(t, "c"), value.Draw(t, "d")
		require.Equal(t, a == c && b == d, key(t, a, b) == key(t, c, d))
	})
}

func TestDraftNestedVersionIsCanonical(t *testing.T) {
	t.Parallel()
	r := compile(t, strings.Replace(minimal, "key: [a]", "key: [a]\n    version: [b]\n    order: n", 1))
	hash := func(text string) string {
		var row notifier.Row
		dec := json.NewDecoder(strings.NewReader(`{"a":"1","c":"2026-09-01T14:30:00Z","n":1,"b":` + text + `}`))
		dec.UseNumber()
		require.NoError(t, dec.Decode(&row))
		d, err := r.Draft(row)
		require.NoError(t, err)
		return d.VersionHash
	}
	require.Equal(t, hash(`{"x":[1.0,null,"é"],"y":{}}`), hash(`{"y":{},"x":[1,null,"\u00e9"]}`))
	require.NotEqual(t, hash(`["a","b"]`), hash(`["a,b"]`))
}

// A race that is OFF has begun. The query leaves it out, and even if a row came
// through, no text would announce it.
func TestRaceThatIsOffIsNotAnnounced(t *testing.T) {
	t.Parallel()
	r := builtin(t, "race-changed")
	require.Contains(t, r.Query, "status <> 'OFF'")
	for _, status := range []string{"OFF", "SCHEDULED"} {
		_, err := r.Draft(race("status", status))
		requireBad(t, err, notifier.BadUnknownVariant)
	}
}
