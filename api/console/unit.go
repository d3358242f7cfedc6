package console

import (
	"math"
	"strconv"
)

// unit is what the numbers of a chart are.
type unit string

const (
	perSecond unit = "a second"
	perMinute unit = "a minute"
	amount    unit = "" // what is counted stands in the title
	duration  unit = "s"
	percent   unit = "%"
)

// text writes a value for people: three digits or so.
func (u unit) text(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	switch u {
	case duration:
		return seconds(v)
	case percent:
		if v > 0 && v < 1 {
			return "<1\u202f%"
		}
		return amount.text(v) + "\u202f%"
	case perSecond, perMinute, amount:
	}
	if r := math.Round(v*10) / 10; u != amount && r < 10 {
		if r == 0 && v > 0 {
			return "<0.1"
		}
		return strconv.FormatFloat(r, 'f', -1, 64)
	}
	out, _ := grouped(v) // a float64 is one of what it takes
	return out
}

// seconds writes a duration in one unit.
func seconds(v float64) string {
	switch {
	case v == 0:
		return "0 s"
	case v < 0.9995:
		return strconv.Itoa(int(math.Round(v*1000))) + " ms"
	case v < 9.95:
		return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) + " s"
	case v < 120:
		return strconv.Itoa(int(math.Round(v))) + " s"
	case v < 7200:
		return strconv.Itoa(int(math.Round(v/60))) + " min"
	}
	return strconv.Itoa(int(math.Round(v/3600))) + " h"
}

// top is the end of an axis that holds v, such that it and its half are plain numbers.
func (u unit) top(v float64) float64 {
	if u == duration {
		for _, t := range []float64{.1, .2, .4, 1, 2, 4, 10, 20, 60, 120, 240, 600, 1200, 3600, 7200, 4 * 3600, 12 * 3600, 24 * 3600} {
			if v <= t {
				return t
			}
		}
	}
	least := 1.0
	switch u {
	case amount:
		least = 2 // there is no half of a thing
	case percent:
		least = 100
	case perSecond, perMinute, duration:
	}
	if !(v > least) {
		return least
	}
	scale := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 4, 6, 8} {
		if t := step * scale; v <= t*(1+1e-9) {
			return t
		}
	}
	return 10 * scale
}
