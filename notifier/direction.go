package notifier

import (
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/unicode/bidi"
)

// The characters that keep a value from disturbing the order of the text around
// it (UAX #9, explicit directional isolates).
const (
	firstStrongIsolate = "\u2068"
	popIsolate         = "\u2069"
)

// rightToLeft tells whether a language is written from right to left.
func rightToLeft(tag language.Tag) bool {
	script, _ := tag.Script()
	switch script.String() {
	case "Adlm", "Arab", "Hebr", "Mand", "Mend", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi":
		return true
	}
	return false
}

// isolate makes a value fit to stand in a title or body. What it has of bidi
// controls is taken out: an override in the name of a horse could turn the rest
// of the text around. It is isolated where it could disturb the order: any value
// in a text that runs from right to left, and a value with right-to-left letters
// in any other. Ordinary texts so hold no invisible characters.
func isolate(value string, rtl bool) string {
	value = strings.Map(func(r rune) rune {
		if isBidiControl(r) {
			return -1
		}
		return r
	}, value)
	if !rtl && !hasRightToLeft(value) {
		return value
	}
	trimmed := strings.TrimSpace(value)
	if trimmed == "" {
		return value
	}
	return firstStrongIsolate + trimmed + popIsolate
}

// isBidiControl names the embeddings, overrides and isolates. The marks (LRM,
// RLM, ALM) stay: currencies are written with them, and they turn nothing.
func isBidiControl(r rune) bool { return r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 }

func hasRightToLeft(s string) bool {
	for i, r := range s {
		if r < 0x590 {
			continue // no right-to-left letter stands below
		}
		p, _ := bidi.LookupString(s[i:])
		if c := p.Class(); c == bidi.R || c == bidi.AL {
			return true
		}
	}
	return false
}
