package ksqlclient

import (
	"html"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMessage bounds the server's text in an Error, in bytes.
const maxMessage = 600

// maxMasked bounds the work of masking: a message that would have to be searched
// for more values than this is withheld.
const maxMasked = 2000

// mask knows what must not appear in a message: the server quotes statements,
// and so values, in its errors.
type mask struct {
	texts   []string // values that are masked wherever they stand as a whole
	numbers bool     // a number or a time was bound: every number is masked
	bools   bool     // a boolean was bound: true and false are masked
}

func (m *mask) add(texts ...string) {
	for _, s := range texts {
		if s == "" {
			continue
		}
		// The server may print it with escapes.
		quoted := strconv.Quote(s)
		m.texts = append(m.texts, s)
		if inner := quoted[1 : len(quoted)-1]; inner != s {
			m.texts = append(m.texts, inner)
		}
	}
}

// clean masks the values, folds white space and control characters, and shortens
// the text.
func (m mask) clean(s string) string {
	if len(m.texts) > maxMasked {
		return ""
	}
	// The page of a proxy may echo a value with HTML's escapes.
	s = html.UnescapeString(strings.ToValidUTF8(s, "\uFFFD"))
	texts := slices.Clone(m.texts)
	// Longest first, so that a value inside another leaves no rest of it.
	slices.SortStableFunc(texts, func(a, b string) int { return len(b) - len(a) })
	for _, text := range texts {
		s = replaceWhole(s, text)
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if m.numbers {
		s = replaceNumbers(s)
	}
	if m.bools {
		s = replaceWhole(replaceWhole(s, "true"), "false")
	}
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	}), " ")
	if len(s) <= maxMessage {
		return s
	}
	end := maxMessage
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// replaceWhole replaces text by ?, ignoring the case of ASCII letters. A text of
// up to three bytes is replaced only where it is not part of a longer word,
// since it would leave nothing of the message.
func replaceWhole(s, text string) string {
	if text == "" || len(text) > len(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if i+len(text) <= len(s) && strings.EqualFold(s[i:i+len(text)], text) &&
			(len(text) > 3 || wordEnds(s, i) && wordEnds(s, i+len(text))) {
			b.WriteByte('?')
			i += len(text)
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// wordEnds reports whether a word begins or ends at s[i:].
func wordEnds(s string, i int) bool {
	return i == 0 || i == len(s) || !isNameByte(s[i-1]) || !isNameByte(s[i])
}

// replaceNumbers replaces every run of digits, with points, exponents and
// separators of times in it, unless it belongs to a name.
func replaceNumbers(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if !isDigit(s[i]) || i > 0 && isNameByte(s[i-1]) {
			b.WriteByte(s[i])
			i++
			continue
		}
		for i < len(s) && (isNameByte(s[i]) || i+1 < len(s) && strings.IndexByte(".:+-", s[i]) >= 0 && isDigit(s[i+1])) {
			i++
		}
		b.WriteByte('?')
	}
	return b.String()
}
