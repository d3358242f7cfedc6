package notifier

import (
	"strings"

	"github.com/rivo/uniseg"
)

const (
	ellipsis = "…"
	// blanks do not stand before an ellipsis.
	blanks = " \t\n\u00a0\u202f"
)

// Shorten returns a text as it is when its size is at most room, and else its
// longest beginning that is, with an ellipsis at its end. It cuts between
// characters as a reader sees them (UAX #29, extended grapheme clusters): no
// flag, family or accented letter is ever halved. Directional isolates that the
// cut has left open are closed. It returns "" when not even one character fits.
//
// size must be additive: the size of two texts in a row is the sum of theirs.
func Shorten(text string, room int, size func(string) int) string {
	if size(text) <= room {
		return text
	}
	var (
		room1   = room - size(ellipsis)
		closing = size(popIsolate)
		end     int // of what is kept
		open    int // isolates open there
		used    int
		state   = -1
	)
	for rest := text; rest != ""; {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		after := open
		switch cluster {
		case firstStrongIsolate:
			after++
		case popIsolate:
			after = max(0, after-1)
		}
		used += size(cluster)
		if used+after*closing > room1 {
			break
		}
		end, open = end+len(cluster), after
	}
	short := strings.TrimRight(text[:end], blanks)
	for strings.HasSuffix(short, firstStrongIsolate) { // of a value of which nothing is left
		short = strings.TrimRight(strings.TrimSuffix(short, firstStrongIsolate), blanks)
		open--
	}
	if short == "" {
		return ""
	}
	return short + ellipsis + strings.Repeat(popIsolate, open)
}
