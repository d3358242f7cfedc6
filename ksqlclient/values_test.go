package ksqlclient_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/ksqlclient"
)

func TestParseDecimal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "-0.00": "0.00", "+1": "1", "007.50": "7.50", ".5": "0.5", "5.": "5", "-12.340": "-12.340",
		"1e3": "1000", "1.25E1": "12.5", "1.25E5": "125000", "125E-2": "1.25", "-1e-3": "-0.001", "12.5e-1": "1.25", "0e5": "0",
	} {
		require.Equal(t, want, mustDecimal(t, in).String(), in)
	}
	for _, bad := range []string{"", "-", ".", "1.2.3", "1e", "e5", "0x1", "1_0", "--1", "NaN", " 1", "1e1101", "1e-1101", strings.Repeat("1", 1200)} {
		_, err := ksqlclient.ParseDecimal(bad)
		require.Error(t, err, bad)
	}
	require.Equal(t, ksqlclient.Decimal{}, mustDecimal(t, "0"))
}

func TestDecimalIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`-?[0-9]{0,20}\.?[0-9]{1,20}([eE][-+]?[0-9]{1,2})?`).Draw(t, "s")
		d, err := ksqlclient.ParseDecimal(s)
		require.NoError(t, err)
		want, ok := new(big.Rat).SetString(s)
		require.True(t, ok)
		require.Zero(t, want.Cmp(d.Rat()))
		require.Equal(t, want.Sign(), d.Sign())
		again, err := ksqlclient.ParseDecimal(d.String())
		require.NoError(t, err)
		require.Equal(t, d, again)
		text, err := json.Marshal(d)
		require.NoError(t, err)
		var decoded ksqlclient.Decimal
		require.NoError(t, json.Unmarshal(text, &decoded))
		require.Equal(t, d, decoded)
	})
	a, b := mustDecimal(t, "12.50"), mustDecimal(t, "12.5")
	require.NotEqual(t, a, b)
	require.Zero(t, a.Cmp(b))
	require.Equal(t, 2, a.Scale())
	require.InDelta(t, 12.5, a.Float64(), 0)
	require.Equal(t, -1, ksqlclient.Decimal{}.Cmp(b))
	require.Error(t, new(ksqlclient.Decimal).UnmarshalText([]byte("x")))
}

func TestDateAndTimeOfDay(t *testing.T) {
	t.Parallel()
	type both struct {
		D ksqlclient.Date
		T ksqlclient.TimeOfDay
	}
	in := both{ksqlclient.DateOf(time.Date(2026, 2, 3, 23, 0, 0, 0, london)), ksqlclient.TimeOfDay(90*time.Second + 5*time.Millisecond)}
	text, err := json.Marshal(in)
	require.NoError(t, err)
	require.JSONEq(t, `{"D":"2026-02-03","T":"00:01:30.005"}`, string(text))
	var out both
	require.NoError(t, json.Unmarshal(text, &out))
	require.Equal(t, in, out)
	require.Equal(t, "14:30:00", ksqlclient.TimeOfDay(14*time.Hour+30*time.Minute).String())
	require.Equal(t, time.Date(2026, 2, 3, 0, 0, 0, 0, london), in.D.In(london))
	require.Equal(t, time.UTC, in.D.In(nil).Location())
	for _, bad := range []string{"", "24:00", "1:02", "12", "12:60", "12:00:00Z", "12:00:00,5x"} {
		require.Error(t, new(ksqlclient.TimeOfDay).UnmarshalText([]byte(bad)), bad)
	}
	require.Error(t, new(ksqlclient.Date).UnmarshalText([]byte("2026-02-30")))
}
