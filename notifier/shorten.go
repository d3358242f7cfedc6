package notifier

import (
	"strings"

	"github.com/rivo/uniseg"
)

const (
	ellipsis = "…"
	// blanks do not stand before an ellipsis.
	blanks = " \t\r\n\u00a0\u202f"
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
		left    int // isolates open there
		at      int
		open    int // isolates open here
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
		at, open = at+len(cluster), after
		// Neither a blank nor the beginning of a value of which nothing is left ends what
		// is kept. A blank may be a part of a character, which stays whole.
		if cluster != firstStrongIsolate && strings.Trim(cluster, blanks) != "" {
			end, left = at, open
		}
	}
	if end == 0 {
		return ""
	}
	return text[:end] + ellipsis + strings.Repeat(popIsolate, left)
}
