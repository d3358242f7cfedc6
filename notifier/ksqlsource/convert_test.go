package ksqlsource

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/ksqlclient"
)

// NaN and a value of no known type do not come from the stand-in.
func TestConvertEdges(t *testing.T) {
	t.Parallel()
	for in, want := range map[float64]any{
		math.Inf(1): "Infinity", math.Inf(-1): "-Infinity", 1e6: json.Number("1000000"), 1e300: json.Number("1e+300"), -0.5: json.Number("-0.5"),
	} {
		require.Equal(t, want, convertFloat(in))
	}
	require.Equal(t, "NaN", convertFloat(math.NaN()))

	date, err := ksqlclient.ParseDate("2026-09-01")
	require.NoError(t, err)
	got, err := convert(map[string]any{"d": date})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"d": "2026-09-01"}, got)

	_, err = convert([]any{struct{}{}})
	require.ErrorContains(t, err, "[0]: value of type struct {}")
}
