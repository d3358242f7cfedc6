package console

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAnAxisHoldsItsValues(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		u       unit
		v, want float64
	}{
		{perSecond, 0, 1},
		{perSecond, 1, 1},
		{perSecond, 1.1, 2},
		{perSecond, 130, 200},
		{amount, 0, 2},
		{amount, 9001, 10000},
		{amount, 100, 100},
		{duration, 0, .1},
		{duration, 2.3, 4},
		{duration, 95, 120},
		{duration, 7000, 7200},
		{perSecond, math.NaN(), 1},
		{percent, 0, 100},
		{percent, 3, 100},
		{percent, 130, 200},
	} {
		require.InDelta(t, tt.want, tt.u.top(tt.v), 1e-9, "%q %v", tt.u, tt.v)
	}
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.SampledFrom([]unit{perSecond, amount, duration, percent}).Draw(t, "unit")
		v := rapid.Float64Range(0, 1e9).Draw(t, "value")
		top := u.top(v)
		if top < v*(1-1e-9) || v > 200 && u != duration && top > 2.5*v {
			t.Fatalf("%v ends at %v", v, top)
		}
	})
}

func TestNumbersAreShort(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		u    unit
		v    float64
		want string
	}{
		{perSecond, 0, "0"},
		{perSecond, .01, "<0.1"},
		{perSecond, .25, "0.3"},
		{perSecond, 9.96, "10"},
		{perSecond, 12.4, "12"},
		{perMinute, 1234, "1\u202f234"},
		{amount, 2.5, "3"},
		{amount, math.NaN(), "–"},
		{duration, 0, "0 s"},
		{duration, .0424, "42 ms"},
		{duration, .9999, "1 s"},
		{duration, 2.34, "2.3 s"},
		{duration, 9.99, "10 s"},
		{duration, 119, "119 s"},
		{duration, 120, "2 min"},
		{duration, 7200, "2 h"},
		{percent, 0, "0\u202f%"},
		{percent, .4, "<1\u202f%"},
		{percent, 99.6, "100\u202f%"},
		{percent, math.NaN(), "–"},
	} {
		require.Equal(t, tt.want, tt.u.text(tt.v), "%q %v", tt.u, tt.v)
	}
}

func TestALineIsBrokenWhereNothingIsKnown(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	for _, tt := range []struct {
		values     []float64
		path, area string
	}{
		{[]float64{0, 10, 10, 10, 5}, "M0 200l1 -200h2l1 100", "M0 200l1 -200h2l1 100V200H0z"},
		{[]float64{nan, 5, 5, nan, 10}, "M1 100h1M4 0h0", "M1 100h1V200H1zM4 0h0V200H4z"},
		{[]float64{nan, nan}, "", ""},
	} {
		xs := make([]int, len(tt.values))
		for i := range xs {
			xs[i] = i
		}
		path, area := paths(xs, heights(tt.values, 10))
		require.Equal(t, tt.path, path)
		require.Equal(t, tt.area, area)
	}
}

func TestAChartWithoutNumbersSaysSo(t *testing.T) {
	t.Parallel()
	for _, c := range (history{every: DefaultEvery}).charts() {
		require.Empty(t, c.Lines)
		require.Equal(t, "The first numbers come in a moment.", c.Empty)
		require.Equal(t, "–", c.Text(c.Head))
	}
	quiet := told(-1, -1, -1)
	c := quiet.sends()
	require.Empty(t, c.Lines)
	require.Equal(t, "Nothing sent yet.", c.Empty)
	c = told(5, 5, 5).sends()
	require.Len(t, c.Lines, 1, "nothing was sent lately, and something before: a level line")
	require.InDelta(t, 0, c.Lines[0].Most(), 1e-9)
}

func TestAChartTellsWhatItDraws(t *testing.T) {
	t.Parallel()
	c := told(0, 10, 40, 50).sends()
	require.InDelta(t, 50.0/3, c.Head, 1e-9)
	require.Len(t, c.Lines, 1)
	l := c.Lines[0]
	require.Equal(t, "sent", l.Name)
	require.InDelta(t, 10, l.Least(), 1e-9)
	require.InDelta(t, 20, l.Most(), 1e-9)
	require.Equal(t, "Sends by verdict over the last 40 s, a second; sent: now 17, lowest 10, highest 20", c.Words())
	require.True(t, math.IsNaN(c.Ago(l, .5)), "there was nothing then")
	require.Equal(t, 20*time.Second, c.Back(.5))
}

func TestAYoungHistoryFillsItsChart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ samples, width int }{{0, 300}, {1, 40}, {41, 40}, {42, 100}, {101, 100}, {102, 200}, {201, 200}, {202, 300}, {301, 300}} {
		h := told(make([]float64, tt.samples)...)
		require.Equal(t, tt.width, h.width(), tt)
		if tt.samples > 0 {
			require.Equal(t, tt.width, h.place(h.samples[tt.samples-1].at))
			require.Equal(t, tt.width-tt.samples+1, h.place(h.samples[0].at))
		}
	}
}

// Of more lines than can be told apart the smaller ones are added up, and
// nothing is left out.
func TestTooManyLinesBecomeFewer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines := map[string][]float64{}
		sum, most := 0.0, 0.0
		for i := range rapid.IntRange(0, 15).Draw(t, "lines") {
			v := rapid.Float64Range(0, 100).Draw(t, "value")
			sum += v
			most = max(most, v)
			lines[fmt.Sprintf("rule-%02d", i)] = []float64{math.NaN(), v}
		}
		names, kept := fewer(lines)
		got, highest := 0.0, 0.0
		for _, name := range names {
			got += kept[name][1]
			if name != others {
				highest = max(highest, kept[name][1])
			}
		}
		if len(names) != min(len(lines), mostLines) || len(names) != len(kept) || math.Abs(got-sum) > 1e-9 || highest != most {
			t.Fatalf("%v became %v %v", lines, names, kept)
		}
	})
}

func TestBandsAreWhatLasted(t *testing.T) {
	t.Parallel()
	h := told(1, 1, 1, 1, 1, 1, 1)
	for i, paused := range []float64{0, 1, 1, 0, 0, 1, 0} {
		h.samples[i].values[series{metricPaused, "fcm", "breaker"}] = paused
		h.samples[i].values[series{metricPaused, "fcm", "blocked"}] = 0
	}
	x := h.place(h.samples[1].at)
	require.Equal(t, []band{{x - 1, 2}, {x + 3, 1}}, h.bands(metricPaused))
	c := h.byProvider()
	require.Equal(t, h.bands(metricPaused), c.Bands)
}

func TestTheNewestSamplesAreKept(t *testing.T) {
	t.Parallel()
	var s samples
	var early []sample
	for i := range samplesKept + 50 {
		s.add(time.Unix(int64(i), 0), nil)
		if i == 10 {
			early = s.all()
		}
	}
	require.Len(t, s.all(), samplesKept+1)
	require.Equal(t, int64(49), s.all()[0].at.Unix())
	require.Len(t, early, 11, "what was handed out stays as it was")
	require.Equal(t, int64(10), early[10].at.Unix())
}

// A chart of a full history is small enough to be sent every few seconds.
func TestAPathIsShort(t *testing.T) {
	t.Parallel()
	values := make([]float64, samplesKept+1)
	n := 0.0
	for i := range values {
		n += 100 + 90*math.Sin(float64(i)/7)
		values[i] = math.Round(n)
	}
	c := told(values...).sends()
	require.Less(t, len(c.Lines[0].Path), 3000)
	require.Equal(t, 1, strings.Count(c.Lines[0].Path, "M"))
}
