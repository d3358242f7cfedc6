package console

import (
	"math"
	"strconv"
	"strings"

	"github.com/bugle-push/bugle/notifier"
)

// spark is a small line, without axes, with its newest number.
type spark struct {
	Now, Path string
	Width     int
}

func (h history) spark(u unit, values []float64) spark {
	out := spark{Now: u.text(last(values)), Width: h.width()}
	most := extreme(values, math.Max)
	if math.IsNaN(most) {
		return out
	}
	xs := make([]int, len(values))
	for i, s := range h.samples {
		xs[i] = h.place(s.at)
	}
	out.Path, _ = paths(xs, heights(values, max(most, 1)))
	return out
}

// bar is one of a row of small bars, in percent of its height.
type bar struct{ X, Y, Height int }

// barWidth is how far apart bars are; a gap is part of it.
const barWidth = 8

// runBars are what the newest runs of a rule had to tell, the newest at the right.
type runBars struct {
	Bars []bar
	// Width is that of the drawing.
	Width int
	// Words tell the same to who does not see it.
	Words string
}

// barsOf draws runs, which come newest first.
func barsOf(runs []notifier.RunRecord) runBars {
	out := runBars{Width: rulesRuns * barWidth}
	var most int64 = 1
	for _, r := range runs {
		most = max(most, r.Staged+r.Adopted)
	}
	words := make([]string, 0, len(runs))
	for i, r := range runs {
		news := r.Staged + r.Adopted
		height := int(100 * news / most)
		if news > 0 {
			height = max(height, 8) // what is not nothing can be seen
		} else {
			height = 2
		}
		out.Bars = append(out.Bars, bar{X: out.Width - (i+1)*barWidth, Y: 100 - height, Height: height})
		words = append(words, strconv.FormatInt(news, 10))
	}
	if len(words) > 0 {
		out.Words = "News in the last runs, the newest first: " + strings.Join(words, ", ")
	}
	return out
}
