package relay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Suspension tells records that suspend a market from others. They are never
// conflated away and never too old: a user who misses one goes on betting. The
// zero value finds none.
type Suspension struct {
	text  string
	at    *place
	words []string
}

// ParseSuspension reads where a suspended market is marked: "value.suspended"
// or "header.suspended" when the mark is true, "value.status=SUSPENDED|CLOSED"
// when it is one of some words. The empty text finds none.
func ParseSuspension(text string) (Suspension, error) {
	if text == "" {
		return Suspension{}, nil
	}
	name, words, given := strings.Cut(text, "=")
	p, err := parsePlace(strings.TrimSpace(name))
	if err != nil {
		return Suspension{}, fmt.Errorf("%s: %w", name, err)
	}
	if p.source != "value" && p.source != "header" {
		return Suspension{}, errors.New("wants value.FIELD or header.NAME")
	}
	s := Suspension{text: text, at: &p, words: []string{"true"}}
	if given {
		s.words = strings.Split(words, "|")
		for i, w := range s.words {
			if s.words[i] = strings.TrimSpace(w); s.words[i] == "" {
				return Suspension{}, errors.New("has an empty word")
			}
		}
	}
	return s, nil
}

// String returns the text that it was read from.
func (s Suspension) String() string { return s.text }

// marks tells whether the record suspends a market.
func (s Suspension) marks(d *document) bool {
	if s.at == nil {
		return false
	}
	text, err := s.at.text(d)
	return err == nil && slices.Contains(s.words, text)
}
