package notifier_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/notifier"
)

const (
	fsi = "\u2068"
	pdi = "\u2069"
)

// visible shows what a reader of a golden file would not see.
var visible = strings.NewReplacer(fsi, "⟦", pdi, "⟧", "\u200f", "{RLM}", "\u200e", "{LRM}", "\u061c", "{ALM}",
	"\u00a0", "{NBSP}", "\u202f", "{NNBSP}", "\u200d", "{ZWJ}", "\u202e", "{RLO}", "\ufe0f", "{VS16}")

// family is one character of seven runes, britain (a flag) one of two.
const (
	family  = "👩\u200d👩\u200d👧\u200d👦"
	britain = "🇬🇧"
)

func localeRule(t testing.TB, id string) *notifier.Rule {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "locales.yaml"))
	require.NoError(t, err)
	set, err := notifier.CompileRules(notifier.RuleSource{Name: "locales.yaml", YAML: text})
	require.NoError(t, err)
	r, ok := set.Get(id)
	require.True(t, ok)
	return r
}

// TestGoldenLocales renders six languages, in places whose money, clocks and
// digits differ.
func TestGoldenLocales(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 1, 14, 0, 20, 0, time.UTC)
	devices := []struct{ locale, zone string }{
		{"en-GB", "Europe/London"},
		{"en-US", "America/New_York"},
		{"de-DE", "Europe/Berlin"},
		{"de-CH", "Europe/Zurich"},
		{"hu-HU", "Europe/Budapest"},
		{"fr-FR", "Europe/Paris"},
		{"fr-CA", "America/Montreal"},
		{"ar-EG", "Africa/Cairo"},
		{"ar-MA", "Africa/Casablanca"},
		{"ja-JP", "Asia/Tokyo"},
	}
	won := func(runner, currency string) notifier.Row {
		return notifier.Row{
			"bet_id": "b-1", "user_id": "ann", "runner": runner, "event_name": "Kempton 15:05",
			"payout": json.Number("1234.5"), "currency": currency,
		}
	}
	soon := func(name, starts string) notifier.Row {
		return notifier.Row{"event_id": "e-1", "name": name, "course": "Ascot", "starts_at": starts}
	}
	for name, tc := range map[string]struct {
		rule string
		row  notifier.Row
	}{
		"won":           {"won", won("Blue Heron", "GBP")},
		"won-euro":      {"won", won("Blue Heron", "EUR")},
		"won-by-arabic": {"won", won("البرق الأزرق", "GBP")},
		"won-override":  {"won", won("Blue\u202eHeron\u2069 "+pdi, "GBP")},
		"won-long":      {"won", won(strings.Repeat(family+" "+britain+" ", 200), "GBP")},
		"soon":          {"soon", soon("The Gold Cup", "2026-09-01T14:05:00Z")},
		"soon-tomorrow": {"soon", soon("The Gold Cup", "2026-09-02T23:05:00Z")},
		"soon-hebrew":   {"soon", soon("גביע הזהב 5", "2026-09-01T14:05:00Z")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := localeRule(t, tc.rule)
			d, err := r.Draft(tc.row)
			require.NoError(t, err)
			require.NoError(t, r.Check(d))
			var out strings.Builder
			for _, device := range devices {
				text, err := r.Render(d, notifier.RenderContext{Locale: device.locale, TimeZone: device.zone, Now: now})
				require.NoError(t, err)
				requireWhole(t, text.Title, notifier.MaxTitleRunes)
				requireWhole(t, text.Body, notifier.MaxBodyRunes)
				for _, v := range text.Data {
					require.NotContains(t, v, fsi, "data is for the app, not for people")
				}
				require.NotContains(t, text.Link, fsi)
				fmt.Fprintf(&out, "[%s]\ntitle: %s\nbody:  %s\n\n", device.locale, visible.Replace(text.Title), visible.Replace(text.Body))
			}
			golden(t, "locale-"+name, out.String())
		})
	}
}

// requireWhole demands a text within its bound, without half characters and with
// every isolate closed.
func requireWhole(t require.TestingT, text string, most int) {
	require.True(t, utf8.ValidString(text))
	require.LessOrEqual(t, utf8.RuneCountInString(text), most)
	open := 0
	for _, r := range text {
		switch string(r) {
		case fsi:
			open++
		case pdi:
			open--
		}
		require.GreaterOrEqual(t, open, 0, "%q", text)
	}
	require.Zero(t, open, "an isolate stays open: %q", text)
}

func TestShorten(t *testing.T) {
	t.Parallel()
	runes := utf8.RuneCountInString
	for name, tc := range map[string]struct {
		text string
		room int
		want string
	}{
		"fits":                      {"abc", 3, "abc"},
		"cut":                       {"abcd", 3, "ab…"},
		"no blank before ellipsis":  {"ab cd", 4, "ab…"},
		"a family is one character": {"ab" + family + "c", 9, "ab…"},
		"a family that fits":        {"ab" + family + "cd", 10, "ab" + family + "…"},
		"a flag is one character":   {britain + britain + "cd", 4, britain + "…"},
		"a letter and its accent":   {"ae\u0301ab", 3, "a…"},
		"a hand and its colour":     {"a👍🏽bc", 3, "a…"},
		"an isolate is closed":      {fsi + "abcdef" + pdi, 5, fsi + "ab…" + pdi},
		"an isolate that is done":   {fsi + "a" + pdi + "bcdef", 5, fsi + "a" + pdi + "b…"},
		"a line's end of two":       {"ab\r\ncd", 5, "ab…"},
		"a sign before a blank":     {"ab\u0600 cd", 5, "ab\u0600 …"},
		"no empty isolate":          {"ab " + fsi + "cdef" + pdi, 5, "ab…"},
		"nothing fits":              {family, 3, ""},
		"no room":                   {"abc", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, notifier.Shorten(tc.text, tc.room, runes))
		})
	}
}

// Whatever the text, what is left fits, begins like the text, ends between two
// characters, and leaves no isolate open.
func TestShortenNeverHalvesACharacter(t *testing.T) {
	t.Parallel()
	part := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{family, britain, "e\u0301", "👍🏽", "한", "\u1112\u1161\u11ab", "क्षि", " ", "\n"}),
		rapid.Map(rapid.StringN(0, 5, -1), func(s string) string { return fsi + strings.NewReplacer(fsi, "", pdi, "").Replace(s) + pdi }))
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(part, 0, 20).Draw(t, "parts"), "")
		text = strings.ToValidUTF8(text, "?")
		room := rapid.IntRange(0, 60).Draw(t, "room")
		size := rapid.SampledFrom([]func(string) int{utf8.RuneCountInString, func(s string) int { return len(s) }}).Draw(t, "size")
		short := notifier.Shorten(text, room, size)
		if size(text) <= room {
			require.Equal(t, text, short)
			return
		}
		if short == "" {
			return
		}
		require.LessOrEqual(t, size(short), room)
		kept, _, found := strings.Cut(strings.TrimRight(short, pdi), "…")
		if strings.Contains(text, "…") {
			kept, found = strings.TrimSuffix(strings.TrimRight(short, pdi), "…"), true
		}
		require.True(t, found)
		require.True(t, strings.HasPrefix(text, kept))
		boundary, state := 0, -1
		for rest := text; boundary < len(kept); {
			var cluster string
			cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
			boundary += len(cluster)
		}
		require.Equal(t, len(kept), boundary, "cut inside a character")
	})
}

func TestClocksAndMinutesByLocale(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 1, 14, 0, 0, 0, time.UTC)
	for locale, want := range map[string]string{
		"en": "15:05, 65 min", "en-GB": "15:05, 65 min", "en-US": "3:05\u202fPM, 65 min", "en-CA": "3:05\u202fp.m., 65 min",
		"en-AU": "3:05\u202fpm, 65 min", "de-AT": "15:05, 65 Min.", "fi": "15.05, 65 min", "da": "15.05, 65 min.",
		"fr": "15:05, 65 min", "fr-CA": "15\u00a0h\u00a005, 65 min", "hu": "15:05, 65 perc", "ja": "15:05, 65 分",
		"ko": "오후\u202f3:05, 65분", "zh-TW": "15:05, 65 分鐘", "zh-CN": "15:05, 65分钟", "el": "3:05\u202fμ.μ., 65 λ.",
	} {
		t.Run(locale, func(t *testing.T) {
			t.Parallel()
			yaml := strings.Replace(minimal, "  - id:", "  - language: "+locale+"\n    id:", 1)
			yaml = strings.Replace(yaml, `"T {{.b}}"`, `"{{localtime .b}}, {{minutes .b}}"`, 1)
			r := compile(t, yaml)
			d, err := r.Draft(notifier.Row{"a": "1", "b": "2026-09-01T15:05:00Z", "c": "2026-09-01T16:00:00Z"})
			require.NoError(t, err)
			text, err := r.Render(d, notifier.RenderContext{Locale: locale, TimeZone: "Atlantic/Reykjavik", Now: now})
			require.NoError(t, err)
			require.Equal(t, want, text.Title)
		})
	}
}
