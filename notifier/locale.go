package notifier

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bojanz/currency"
	"golang.org/x/text/language"
)

// defaultLanguage is the language of texts whose rule does not name one.
const defaultLanguage = "en"

// parseLocale reads a BCP 47 tag; "de_CH" is taken for "de-CH".
func parseLocale(text string) (language.Tag, error) {
	tag, err := language.Parse(text)
	if err != nil || tag == language.Und {
		return language.Und, fmt.Errorf("must be a BCP 47 tag such as %q", "de-CH")
	}
	return tag, nil
}

// deviceLocale reads what a device said about itself; nonsense is no locale.
func deviceLocale(text string) language.Tag {
	if text == "" {
		return language.Und
	}
	tag, err := language.Parse(text)
	if err != nil {
		return language.Und
	}
	return tag
}

// localeChain yields a locale and what stands in for it: de-CH, de. A parent is
// CLDR's, so that Traditional Chinese does not fall back to Simplified.
func localeChain(tag language.Tag) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		base, script := tag, language.Und
		if b, _ := tag.Base(); tag != language.Und {
			// What a tag leaves out: zh-CN is written in Hans, so zh-Hans will do.
			s, _ := tag.Script()
			if t, err := language.Compose(b, s); err == nil {
				script = t
			}
		}
		for range 8 { // no CLDR chain is longer than four
			if base == language.Und {
				break
			}
			if !yield(base.String()) {
				return
			}
			base = base.Parent()
		}
		if script != language.Und {
			yield(script.String())
		}
	}
}

// formatLocale is how numbers are written in a text: as the device's locale
// has it when that is the text's language, else as the text's language has it.
// A German sentence reads CHF 12.50 in Switzerland, but an English one does
// not get French digits.
func formatLocale(device, text language.Tag) language.Tag {
	deviceBase, _ := device.Base()
	textBase, _ := text.Base()
	if device != language.Und && deviceBase == textBase {
		return device
	}
	return text
}

// currencyLocale drops what the currency formatter has no use for.
func currencyLocale(tag language.Tag) currency.Locale {
	base, script, region := tag.Raw()
	l := currency.Locale{Language: base.String()}
	if s := script.String(); s != "Zzzz" {
		l.Script = s
	}
	if r := region.String(); r != "ZZ" {
		l.Territory = r
	}
	return l
}

// zones remembers time zones: time.LoadLocation reads a file each time. Only
// zones that exist are kept, so that devices cannot fill the memory.
type zones struct{ loaded sync.Map }

// load returns the zone, or false for a name that is none.
func (z *zones) load(name string) (*time.Location, bool) {
	if name == "" || strings.EqualFold(name, "local") {
		return time.UTC, false // "" would be UTC and "Local" the machine's zone
	}
	if loc, ok := z.loaded.Load(name); ok {
		return loc.(*time.Location), true
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC, false
	}
	z.loaded.Store(name, loc)
	return loc, true
}
