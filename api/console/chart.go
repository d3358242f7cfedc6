package console

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// chartHeight is that of a chart's drawing, which is stretched to the space that
	// there is; its width is the number of samples.
	chartHeight = 200
	// mostLines is how many lines a chart has; what is less is added up.
	mostLines = 6
)

// chart is a drawing of lines over time, from the oldest sample to now.
type chart struct {
	// ID is a word, unlike those of the other charts.
	ID, Title string
	// Of says whose numbers these are.
	Of   string
	Unit unit
	// Empty is what stands in the place of lines that there are not.
	Empty string
	// Head is the number that matters, and HeadOf what it is.
	Head   float64
	HeadOf string
	// State is how it stands in a word; none where that is empty.
	State quotaState
	Lines []line
	// Bands are the times in which what BandsAre says was the case.
	Bands    []band
	BandsAre string
	// Top is the end of the axis.
	Top float64
	// Width is how many samples the axis of time is long, and Span how long that is.
	Width int
	Span  time.Duration
}

// line is one line of a chart.
type line struct {
	Name string
	// Look is its class: a colour and a pattern of dashes.
	Look string
	// Path is what SVG calls d, and Area that of what is below the line; empty where
	// that would say nothing.
	Path, Area string
	Values     []float64
	// End is how high it ends, from above; negative when it ends nowhere.
	End int
	// Note stands beside its number in the legend.
	Note string
}

// band is a stretch of time.
type band struct{ X, Width int }

// Now, Least and Most are what a line has at its end, and at its lowest and
// highest; NaN when it is nowhere.
func (l line) Now() float64 { return l.Values[len(l.Values)-1] }

// Least is the lowest value.
func (l line) Least() float64 { return extreme(l.Values, math.Min) }

// Most is the highest value.
func (l line) Most() float64 { return extreme(l.Values, math.Max) }

func extreme(values []float64, choose func(a, b float64) float64) float64 {
	out := math.NaN()
	for _, v := range values {
		switch {
		case math.IsNaN(v):
		case math.IsNaN(out):
			out = v
		default:
			out = choose(out, v)
		}
	}
	return out
}

// draw makes a chart of lines, which it gives their paths and an order: as they
// come in names, the others by name. Without names that order is all, and the
// lines beyond mostLines are added up.
func (h history) draw(c chart, lines map[string][]float64, names []string) chart {
	c.Width = h.width()
	c.Span = time.Duration(c.Width) * h.every
	if len(h.samples) < 2 {
		c.Empty = "The first numbers come in a moment."
		return c
	}
	ordered := names != nil // and then the first is the one that matters
	if !ordered {
		names, lines = fewer(lines)
	}
	xs := make([]int, len(h.samples))
	for i, s := range h.samples {
		xs[i] = h.place(s.at)
	}
	var most float64
	for i, name := range names {
		values, ok := lines[name]
		if !ok || math.IsNaN(extreme(values, math.Max)) {
			continue
		}
		l := line{Name: name, Look: "l" + strconv.Itoa(i%mostLines), Values: values}
		if m := l.Most(); m > most {
			most = m
		}
		c.Lines = append(c.Lines, l)
	}
	c.Top = c.Unit.top(most)
	for i := range c.Lines {
		l := &c.Lines[i]
		ys := heights(l.Values, c.Top)
		l.End = ys[len(ys)-1]
		l.Path, l.Area = paths(xs, ys)
		if i > 0 || !ordered && len(c.Lines) > 1 {
			l.Area = ""
		}
	}
	return c
}

// width is how many samples an axis of time is long: a young history does not
// stand in a corner of the whole. With DefaultEvery it is 2, 5, 10 or 15 minutes.
func (h history) width() int {
	if len(h.samples) > 0 {
		age := h.samples[len(h.samples)-1].at.Sub(h.samples[0].at)
		for _, w := range []int{samplesKept * 2 / 15, samplesKept / 3, samplesKept * 2 / 3} {
			if age <= time.Duration(w)*h.every {
				return w
			}
		}
	}
	return samplesKept
}

// place is where a moment stands, from the left; of what is long ago that is
// beyond the edge.
func (h history) place(at time.Time) int {
	newest := h.samples[len(h.samples)-1].at
	return h.width() - int(math.Round(float64(newest.Sub(at))/float64(h.every)))
}

// others is the name of what is added up.
const others = "others"

// fewer orders lines by name. Of too many it keeps those that had the most, and
// adds up the others.
func fewer(lines map[string][]float64) ([]string, map[string][]float64) {
	names := make([]string, 0, len(lines))
	for name := range lines {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) <= mostLines {
		return names, lines
	}
	byMost := slices.Clone(names)
	slices.SortStableFunc(byMost, func(a, b string) int {
		x, y := extreme(lines[a], math.Max), extreme(lines[b], math.Max)
		switch {
		case x > y || math.IsNaN(y) && !math.IsNaN(x):
			return -1
		case x == y || math.IsNaN(x) && math.IsNaN(y):
			return 0
		}
		return 1
	})
	kept := map[string][]float64{}
	var rest []float64
	for i, name := range byMost {
		if i < mostLines-1 {
			kept[name] = lines[name]
			continue
		}
		rest = added(rest, lines[name])
	}
	names = slices.DeleteFunc(names, func(name string) bool { return kept[name] == nil })
	kept[others] = rest
	return append(names, others), kept
}

// added adds up what is known of two lines.
func added(a, b []float64) []float64 {
	if a == nil {
		return slices.Clone(b)
	}
	for i, v := range b {
		switch {
		case math.IsNaN(v):
		case math.IsNaN(a[i]):
			a[i] = v
		default:
			a[i] += v
		}
	}
	return a
}

// nowhere is the height of a value that there is not.
const nowhere = -1

// heights are where values stand, from above.
func heights(values []float64, top float64) []int {
	out := make([]int, len(values))
	for i, v := range values {
		out[i] = nowhere
		if !math.IsNaN(v) {
			out[i] = chartHeight - int(math.Round(chartHeight*min(max(v/top, 0), 1)))
		}
	}
	return out
}

// paths draws a line, and what is below it, in short: relative steps in whole
// units, and level stretches in one. What is nowhere breaks it.
func paths(xs, ys []int) (path, area string) {
	var p, a strings.Builder
	for from := 0; from < len(xs); {
		if ys[from] == nowhere {
			from++
			continue
		}
		to := from
		for to+1 < len(xs) && ys[to+1] != nowhere {
			to++
		}
		steps := steps(xs[from:to+1], ys[from:to+1])
		fmt.Fprintf(&p, "M%d %d%s", xs[from], ys[from], steps)
		fmt.Fprintf(&a, "M%d %d%sV%dH%dz", xs[from], ys[from], steps, chartHeight, xs[from])
		from = to + 1
	}
	return p.String(), a.String()
}

func steps(xs, ys []int) string {
	if len(xs) == 1 {
		return "h0" // round caps make a dot of it
	}
	var (
		out   strings.Builder
		level int
	)
	flush := func() {
		if level > 0 {
			fmt.Fprintf(&out, "h%d", level)
		}
		level = 0
	}
	for i := 1; i < len(xs); i++ {
		dx, dy := xs[i]-xs[i-1], ys[i]-ys[i-1]
		if dy == 0 {
			level += dx
			continue
		}
		flush()
		fmt.Fprintf(&out, "l%d %d", dx, dy)
	}
	flush()
	return out.String()
}

// Drawn are the lines in the order of drawing: the first lies on top.
func (c chart) Drawn() []line {
	out := slices.Clone(c.Lines)
	slices.Reverse(out)
	return out
}

// Middle is half of the axis.
func (c chart) Middle() float64 { return c.Top / 2 }

// Text writes a value with what it is.
func (c chart) Text(v float64) string { return c.Unit.text(v) }

// Words tells the chart to who does not see it.
func (c chart) Words() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s over the last %s", c.Title, span(c.Span))
	if c.Unit == perSecond || c.Unit == perMinute {
		fmt.Fprintf(&out, ", %s", c.Unit)
	}
	for _, l := range c.Lines {
		fmt.Fprintf(&out, "; %s: now %s, lowest %s, highest %s", l.Name, c.Text(l.Now()), c.Text(l.Least()), c.Text(l.Most()))
	}
	return out.String()
}

// Ago is what a line had a share of the span ago; NaN before there were samples.
func (c chart) Ago(l line, share float64) float64 {
	i := len(l.Values) - 1 - int(math.Round(share*float64(c.Width)))
	if i < 0 {
		return math.NaN()
	}
	return l.Values[i]
}

// Back is how long a share of the span is.
func (c chart) Back(share float64) time.Duration { return time.Duration(share * float64(c.Span)) }
