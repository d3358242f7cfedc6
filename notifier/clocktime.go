package notifier

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bojanz/currency"
	"golang.org/x/text/language"
)

// clock is how a language writes the time of day: CLDR's short time format.
type clock struct {
	layout string // of the package time
	// am and pm stand for AM and PM in a layout that has them.
	am, pm string
}

// narrowSpace keeps the time and its AM together; CLDR has used it since version 42.
const narrowSpace = "\u202f"

// clockOf returns how a locale writes the time of day, by CLDR. A language of
// which it knows nothing, and English of no known country, has 15:05.
func clockOf(locale language.Tag) clock {
	base, _, region := locale.Raw()
	switch base.String() {
	case "en":
		const twelve = "3:04" + narrowSpace + "PM"
		switch region.String() {
		case "US", "PH", "PR", "HK", "SG", "MY", "PK":
			return clock{twelve, "AM", "PM"}
		case "CA":
			return clock{twelve, "a.m.", "p.m."}
		case "AU", "NZ", "IN":
			return clock{twelve, "am", "pm"}
		}
	case "ar":
		return clock{"3:04" + narrowSpace + "PM", "ص", "م"}
	case "el":
		return clock{"3:04" + narrowSpace + "PM", "π.μ.", "μ.μ."}
	case "hi":
		return clock{"3:04" + narrowSpace + "PM", "am", "pm"}
	case "ko":
		return clock{"PM" + narrowSpace + "3:04", "오전", "오후"}
	case "fr":
		if region.String() == "CA" {
			return clock{layout: "15\u00a0h\u00a004"}
		}
	case "da", "id":
		return clock{layout: "15.04"}
	case "fi":
		return clock{layout: "h.04"}
	case "ca", "cs", "es", "he", "hu", "ja", "sk":
		return clock{layout: "h:04"}
	}
	return clock{layout: "15:04"}
}

// format writes the time of day in the zone of t.
func (c clock) format(t time.Time) string {
	if c.am != "" {
		half := c.am
		if t.Hour() >= 12 {
			half = c.pm
		}
		return strings.Replace(t.Format(strings.Replace(c.layout, "PM", "\x00", 1)), "\x00", half, 1)
	}
	// The package time has no hour of 24 without a zero in front.
	if rest, ok := strings.CutPrefix(c.layout, "h"); ok {
		return strconv.Itoa(t.Hour()) + t.Format(rest)
	}
	return t.Format(c.layout)
}

// minuteUnit returns the short word for minutes, with the blank in front of it
// where the language has one: CLDR's short unit patterns, which are the same for
// every number in these languages.
func minuteUnit(locale language.Tag) string {
	base, _ := locale.Base()
	switch base.String() {
	case "ar":
		return " د"
	case "da":
		return " min."
	case "de":
		return " Min."
	case "el":
		return " λ."
	case "he":
		return " דק׳"
	case "hi":
		return " मि॰"
	case "hu":
		return " perc" // CLDR's long one: the short p is hardly ever seen
	case "id":
		return " mnt"
	case "ja":
		return " 分"
	case "ko":
		return "분"
	case "ru":
		return " мин"
	case "th":
		return " นาที"
	case "tr":
		return " dk."
	case "uk":
		return " хв"
	case "vi":
		return " phút"
	case "zh":
		if script, _ := locale.Script(); script.String() == "Hant" {
			return " 分鐘"
		}
		return "分钟"
	}
	return " min"
}

// localDigits writes the digits of a text as the locale writes those of money,
// so that one sentence does not have both: ٣:٠٥ in Egypt, 3:05 in Morocco.
func localDigits(text string, locale language.Tag) string {
	zero := zeroDigit(locale)
	if zero == '0' {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return zero + r - '0'
		}
		return r
	}, text)
}

// zeroDigit asks the currency formatter, which has CLDR's numbering systems.
func zeroDigit(locale language.Tag) rune {
	switch base, _ := locale.Base(); base.String() {
	case "en", "de", "es", "fr", "it", "ja", "ko", "nl", "pt", "zh":
		return '0' // no need to ask
	}
	amount, err := currency.NewAmount("0", "JPY")
	if err != nil {
		return '0'
	}
	for _, r := range currency.NewFormatter(currencyLocale(locale)).Format(amount) {
		if unicode.Is(unicode.Nd, r) {
			return r
		}
	}
	return '0'
}
