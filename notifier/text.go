package notifier

import (
	"errors"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"
)

// Limits of a rendered text. FCM takes 4096 bytes for a whole message and APNs
// as much, so a body in a script of three or four bytes a rune may still be too
// long for the two together with link and data: what a provider refuses for its
// size is a rejected delivery.
const (
	// MaxTitleRunes is where a title is cut.
	MaxTitleRunes = 200
	// MaxBodyRunes is where a body is cut.
	MaxBodyRunes = 1000
	// MaxLinkBytes is the longest link; a longer one is an error, because half a link opens nothing.
	MaxLinkBytes = 1000
	// MaxDataBytes is the longest value in data; a longer one is an error.
	MaxDataBytes = 1000
)

// RenderContext is for whom and when a text is rendered.
type RenderContext struct {
	// Locale is the device's BCP 47 tag; empty or nonsense means the default texts.
	Locale string
	// TimeZone is the device's IANA zone; empty or nonsense means UTC, and times say so.
	TimeZone string
	// Now is what "in 5 min" counts from.
	Now time.Time
	// Correction asks for the correction text; a rule without one has its ordinary text.
	Correction bool
}

// Text is a rendered notification.
type Text struct {
	Title, Body string
	// Link is empty when the rule has none.
	Link string
	// Data is nil when the rule has none. The map is the caller's.
	Data map[string]string
}

// ruleText is one notification, variant or correction with its translations.
type ruleText struct {
	category string
	plain    localText
	locales  map[string]localText // by canonical BCP 47 tag
	link     textID
	data     []dataText
	hasData  bool
}

type localText struct {
	language    language.Tag
	title, body textID
}

type dataText struct {
	name string
	text textID
}

// in returns the text for a locale: de-CH, else de, else the plain one.
func (t *ruleText) in(locale language.Tag) localText {
	if len(t.locales) > 0 {
		for name := range localeChain(locale) {
			if l, ok := t.locales[name]; ok {
				return l
			}
		}
	}
	return t.plain
}

// Render makes the text of a draft for one device. The error is always a
// *BadRow; a draft that passed Check renders in every locale, zone and moment.
func (r *Rule) Render(d Draft, c RenderContext) (Text, error) {
	base, ok := r.variants[d.Variant]
	if !ok {
		return Text{}, r.badRow(BadUnknownVariant, "the rule has no such variant any more")
	}
	words := base
	if c.Correction && r.correction != nil {
		words = r.correction
	}
	device := deviceLocale(c.Locale)
	return r.renderLocal(d.Row, base, words, words.in(device), device, c)
}

// Check renders every text of the draft's variant, ordinary and correction, in
// every locale. A row that fails it would fail again at the moment of sending,
// so it is kept out before anything is staged. The error is always a *BadRow.
func (r *Rule) Check(d Draft) error {
	base, ok := r.variants[d.Variant]
	if !ok {
		return r.badRow(BadUnknownVariant, "the rule has no such variant")
	}
	c := RenderContext{TimeZone: "UTC", Now: d.Arrival}
	for _, words := range []*ruleText{base, r.correction} {
		if words == nil {
			continue
		}
		if _, err := r.renderLocal(d.Row, base, words, words.plain, language.Und, c); err != nil {
			return err
		}
		for _, l := range words.locales {
			if _, err := r.renderLocal(d.Row, base, words, l, language.Und, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// renderLocal renders one language. A correction that has no link or data of
// its own takes those of the text that it corrects.
func (r *Rule) renderLocal(row Row, base, words *ruleText, l localText, device language.Tag, c RenderContext) (Text, error) {
	w, err := r.texts.borrow()
	if err != nil {
		return Text{}, r.badRow(BadTemplate, "%s", err)
	}
	defer r.texts.pool.Put(w)
	w.env.now, w.env.zone, w.env.locale = c.Now, c.TimeZone, formatLocale(device, l.language)
	w.env.rtl = rightToLeft(l.language)

	var t Text
	link, data := words.link, words.data
	if link == noText {
		link = base.link
	}
	if !words.hasData {
		data = base.data
	}
	for _, part := range []struct {
		id  textID
		dst *string
	}{{l.title, &t.Title}, {l.body, &t.Body}, {link, &t.Link}} {
		if part.id == noText {
			continue
		}
		if *part.dst, err = r.texts.render(w, part.id, row); err != nil {
			return Text{}, r.badRow(BadTemplate, "%s", err)
		}
	}
	if len(data) > 0 {
		t.Data = make(map[string]string, len(data))
		for _, d := range data {
			if t.Data[d.name], err = r.texts.render(w, d.text, row); err != nil {
				return Text{}, r.badRow(BadTemplate, "%s", err)
			}
		}
	}
	return t, nil
}

var errLink = errors.New(`the link must be a URL with a scheme, or a path that begins with "/"`)

// checkLink refuses what an app or a browser must not be made to open.
func checkLink(link string) error {
	if link == "" {
		return nil
	}
	if len(link) > MaxLinkBytes {
		return errors.New("the link is too long")
	}
	if strings.ContainsFunc(link, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
		return errLink
	}
	u, err := url.Parse(link)
	if err != nil {
		return errLink // url.Error repeats the link, which is not for logs
	}
	switch u.Scheme {
	case "":
		if !strings.HasPrefix(link, "/") || strings.HasPrefix(link, "//") {
			return errLink
		}
	case "javascript", "data", "vbscript", "file":
		return errors.New("the link's scheme is not allowed")
	}
	return nil
}

// oneLine trims a text and makes each run of space, line breaks and control
// characters one space.
func oneLine(s string) string { return strings.Join(strings.FieldsFunc(s, isGap), " ") }

// isGap spares the no-break spaces, which hold an amount and its currency together.
func isGap(c rune) bool {
	return c != '\u00a0' && c != '\u202f' && (unicode.IsSpace(c) || unicode.IsControl(c))
}

// cleanLines trims a text, keeps its line breaks, at most one empty line in a
// row, and makes each other run of space and control characters one space.
func cleanLines(s string) string {
	var kept []string
	empty := true // no empty line at the beginning
	for line := range strings.Lines(s) {
		line = oneLine(line)
		if line == "" && empty {
			continue
		}
		empty = line == ""
		kept = append(kept, line)
	}
	return strings.TrimRight(strings.Join(kept, "\n"), "\n")
}

// cutRunes shortens a text to n runes.
func cutRunes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	if short := Shorten(s, n, utf8.RuneCountInString); short != "" {
		return short
	}
	// One character of more than n runes, which nobody writes: a letter under a heap of accents.
	return string([]rune(s)[:n-1]) + ellipsis
}
