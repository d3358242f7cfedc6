package notifier_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/notifier"
)

// oddsRule renders the odds in column b.
func oddsRule(t testing.TB) func(odds any) (string, error) {
	t.Helper()
	r := compile(t, strings.Replace(minimal, "T {{.b}}", "{{odds .b}}", 1))
	return func(odds any) (string, error) {
		text, err := r.Render(notifier.Draft{Row: notifier.Row{"b": odds}}, notifier.RenderContext{})
		return text.Title, err
	}
}

// Whatever fraction a bookmaker has rounded to three digits is found again.
func TestOddsFindTheFractionThatWasRounded(t *testing.T) {
	t.Parallel()
	odds := oddsRule(t)
	for q := int64(1); q <= 15; q++ {
		for p := int64(1); p <= 6*q; p++ {
			want := big.NewRat(p, q)
			got, err := odds(json.Number(want.FloatString(3))) // rounds half up
			require.NoError(t, err)
			require.Equal(t, want.Num().String()+"/"+want.Denom().String(), got, want.FloatString(3))
		}
	}
}

func TestOddsProperties(t *testing.T) {
	t.Parallel()
	odds := oddsRule(t)
	rapid.Check(t, func(t *rapid.T) {
		text := fmt.Sprintf("%d.%s", rapid.IntRange(0, 1000).Draw(t, "whole"), rapid.StringMatching(`[0-9]{0,8}[1-9]`).Draw(t, "digits"))
		value, ok := new(big.Rat).SetString(text)
		require.True(t, ok)
		got, err := odds(json.Number(text))
		require.NoError(t, err)
		shown, ok := new(big.Rat).SetString(got)
		require.True(t, ok, got)
		require.Equal(t, 1, shown.Sign(), "odds are never shown as nothing")
		// One percent, or half of the last digit that was given where that is more.
		off := new(big.Rat).Sub(shown, value)
		off.Abs(off)
		percent := new(big.Rat).Mul(value, big.NewRat(1, 100))
		digits := len(text) - strings.Index(text, ".") - 1
		half := new(big.Rat).SetFrac(big.NewInt(5), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits+1)), nil))
		require.True(t, off.Cmp(percent) <= 0 || off.Cmp(half) <= 0, "%s shown as %s", text, got)
	})
}

// Two numbers are one key exactly when they are equal, however they are written.
func TestNumbersAreComparedByValue(t *testing.T) {
	t.Parallel()
	r := compile(t, minimal)
	number := rapid.Custom(func(t *rapid.T) string {
		text := rapid.StringMatching(`-?(0|[1-9][0-9]{0,2})0{0,3}`).Draw(t, "whole")
		if rapid.Bool().Draw(t, "point") {
			text += "." + rapid.StringMatching(`[0-9]{0,2}0{0,2}[05]`).Draw(t, "fraction")
		}
		if rapid.Bool().Draw(t, "exp") {
			text += rapid.SampledFrom([]string{"e", "E"}).Draw(t, "e") + rapid.SampledFrom([]string{"0", "+1", "-1", "3", "-45", "60"}).Draw(t, "n")
		}
		return text
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		if rapid.Bool().Draw(t, "same value") {
			b = a + "e0"
			if strings.ContainsAny(a, "eE") {
				b = strings.Replace(strings.ToLower(a), "e", "00e", 1)
				if !strings.Contains(a, ".") {
					b = strings.Replace(strings.ToLower(a), "e", ".00e", 1)
				}
			}
		}
		ra, ok := new(big.Rat).SetString(a)
		require.True(t, ok, a)
		rb, ok := new(big.Rat).SetString(b)
		require.True(t, ok, b)
		key := func(n string) string {
			d, err := r.Draft(notifier.Row{"a": json.Number(n), "c": "2026-09-01T14:30:00Z"})
			require.NoError(t, err)
			return d.Key
		}
		require.Equal(t, ra.Cmp(rb) == 0, key(a) == key(b), "%s and %s: %s, %s", a, b, key(a), key(b))
	})
}

// A number with a huge exponent must neither fill the memory nor be taken for another.
func TestHugeExponents(t *testing.T) {
	t.Parallel()
	r := compile(t, minimal)
	key := func(n string) (string, error) {
		d, err := r.Draft(notifier.Row{"a": json.Number(n), "c": "2026-09-01T14:30:00Z"})
		return d.Key, err
	}
	a, err := key("1e999999999")
	require.NoError(t, err)
	require.Equal(t, "[1e999999999]", a)
	b, err := key("1e-999999999")
	require.NoError(t, err)
	require.NotEqual(t, a, b)
	for _, bad := range []string{"1e99999999999", "", "-", ".5", "5.", "1e", "0x1", "1_000", "NaN", "+1"} {
		_, err := key(bad)
		requireBad(t, err, notifier.BadValue)
	}
}

func TestGoNumbersInARow(t *testing.T) {
	t.Parallel()
	r := compile(t, strings.Replace(minimal, "key: [a]", "key: [a, b]", 1))
	d, err := r.Draft(notifier.Row{"a": int64(5), "b": 0.25, "c": 1788273000000})
	require.NoError(t, err)
	require.Equal(t, "[5,0.25]", d.Key)
	require.Equal(t, time.UnixMilli(1788273000000).UTC(), d.ExpiresAt)
}

func TestBadRowError(t *testing.T) {
	t.Parallel()
	_, err := compile(t, minimal).Draft(notifier.Row{"a": nil})
	require.EqualError(t, err, `rule r: null_key: column "a"`)
}
