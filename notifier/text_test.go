package notifier_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

var update = flag.Bool("update", false, "write the golden files of rendered notifications")

func race(changes ...any) notifier.Row {
	return with(notifier.Row{
		"event_id": "ascot/15:05", "name": "The Gold Cup", "course": "Ascot", "status": "SCHEDULED",
		"starts_at": "2026-09-01T14:05:00Z", "rowtime": json.Number("1788271200000"),
	}, changes...)
}

// TestGoldenNotifications renders the built-in rules as devices would get them.
func TestGoldenNotifications(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 1, 14, 0, 20, 0, time.UTC)
	devices := []struct{ name, locale, zone string }{
		{"default", "", ""},
		{"en-GB", "en-GB", "Europe/London"},
		{"de-DE", "de-DE", "Europe/Berlin"},
		{"de-CH", "de_CH", "Europe/Zurich"},
		{"fr-FR", "fr-FR", "Europe/Paris"},
	}
	long := strings.Repeat("A Very Long Name Of A Horse, Übergroß und “quoted” 🐎\n", 40)
	for _, tc := range []struct {
		name, rule string
		row        notifier.Row
		correction bool
	}{
		{"bet-won", "bet-settled", wonBet(), false},
		{"bet-won-yen", "bet-settled", wonBet("payout", json.Number("1234567"), "currency", "JPY"), false},
		{"bet-won-big", "bet-settled", wonBet("payout", json.Number("12345678901234567.89"), "currency", "EUR"), false},
		{"bet-lost", "bet-settled", wonBet("outcome", "LOST", "payout", json.Number("0.00")), false},
		{"bet-dead-heat", "bet-settled", wonBet("outcome", "DEAD_HEAT"), false},
		{"bet-corrected-dead-heat", "bet-settled", wonBet("outcome", "DEAD_HEAT"), true},
		{"bet-void", "bet-settled", wonBet("outcome", "VOID"), false},
		{"bet-corrected-won", "bet-settled", wonBet("currency", "CHF"), true},
		{"bet-corrected-lost", "bet-settled", wonBet("outcome", "LOST"), true},
		{"bet-corrected-void", "bet-settled", wonBet("outcome", "VOID"), true},
		{"bet-long", "bet-settled", wonBet("runner", long), false},
		{"bet-odds-moved", "bet-rejected", rejectedBet(), false},
		{"bet-too-late", "bet-rejected", rejectedBet("reason", "RACE_STARTED"), false},
		{"bet-not-offered", "bet-rejected", rejectedBet("reason", "NOT_OFFERED", "event_name", nil, "odds_now", nil), false},
		{"race-soon", "race-soon", race(), false},
		{"race-soon-long", "race-soon", race("name", long), false},
		{"race-postponed", "race-changed", race("status", "POSTPONED", "starts_at", "2026-09-01T22:30:00Z"), false},
		{"race-abandoned", "race-changed", race("status", "ABANDONED"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := builtin(t, tc.rule)
			d, err := r.Draft(tc.row)
			require.NoError(t, err)
			require.NoError(t, r.Check(d))
			var out strings.Builder
			for _, device := range devices {
				text, err := r.Render(d, notifier.RenderContext{
					Locale: device.locale, TimeZone: device.zone, Now: now, Correction: tc.correction,
				})
				require.NoError(t, err)
				require.LessOrEqual(t, utf8.RuneCountInString(text.Title), notifier.MaxTitleRunes)
				require.LessOrEqual(t, utf8.RuneCountInString(text.Body), notifier.MaxBodyRunes)
				data, err := json.Marshal(text.Data)
				require.NoError(t, err)
				fmt.Fprintf(&out, "[%s]\ntitle: %s\nbody:  %s\nlink:  %s\ndata:  %s\n\n", device.name, text.Title, text.Body, text.Link, data)
			}
			golden(t, tc.name, out.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run go test -update once and look at what it wrote")
	require.Equal(t, string(want), got)
}

// one compiles a rule with one text and renders it.
func one(t testing.TB, title string, row notifier.Row, c notifier.RenderContext) (string, error) {
	t.Helper()
	quoted, err := json.Marshal(title)
	require.NoError(t, err)
	r := compile(t, strings.Replace(minimal, `"T {{.b}}"`, string(quoted), 1))
	d, err := r.Draft(with(row, "a", "1", "c", "2026-09-01T14:30:00Z"))
	require.NoError(t, err)
	text, err := r.Render(d, c)
	return text.Title, err
}

func TestTemplateFunctions(t *testing.T) {
	t.Parallel()
	at := func(locale, zone string) notifier.RenderContext {
		return notifier.RenderContext{Locale: locale, TimeZone: zone, Now: time.Date(2026, 9, 1, 14, 0, 0, 0, time.UTC)}
	}
	n := func(s string) json.Number { return json.Number(s) }
	for _, tc := range []struct {
		title string
		value any
		c     notifier.RenderContext
		want  string
	}{
		{`{{money .v "GBP"}}`, n("12.5"), at("en-GB", ""), "£12.50"},
		{`{{money .v "GBP"}}`, n("1234.56"), at("", ""), "£1,234.56"},
		{`{{money .v "GBP"}}`, "12.50", at("", ""), "£12.50"},
		{`{{money .v "GBP"}}`, n("-3"), at("", ""), "-£3.00"},
		{`{{money .v "GBP"}}`, n("0.1e1"), at("", ""), "£1.00"},
		{`{{money .v "GBP"}}`, n("0.125"), at("", ""), "£0.125"},
		{`{{money .v "GBP"}}`, n("9007199254740993.01"), at("", ""), "£9,007,199,254,740,993.01"},
		{`{{money .v "JPY"}}`, n("500"), at("", ""), "¥500"},
		{`{{money .v "USD"}}`, n("5"), at("en-CA", ""), "US$5.00"},
		{`{{money .v "USD"}}`, n("5"), at("fr-FR", ""), "$5.00"}, // the text is English, so its digits are
		{`{{odds .v}}`, n("0.125"), at("", ""), "1/8"},
		{`{{odds .v}}`, n("1"), at("", ""), "1/1"},
		{`{{odds .v}}`, n("1.0"), at("", ""), "1/1"},
		{`{{odds .v}}`, n("2.5"), at("", ""), "5/2"},
		{`{{odds .v}}`, n("1.1"), at("", ""), "11/10"},
		{`{{odds .v}}`, n("0.33"), at("", ""), "1/3"},
		{`{{odds .v}}`, n("0.36"), at("", ""), "4/11"},
		{`{{odds .v}}`, n("0.62"), at("", ""), "8/13"},
		{`{{odds .v}}`, n("1.38"), at("", ""), "11/8"},
		{`{{odds .v}}`, n("0.91"), at("", ""), "10/11"},
		{`{{odds .v}}`, n("0.666667"), at("", ""), "2/3"},
		{`{{odds .v}}`, n("0.0101"), at("", ""), "1/99"},
		{`{{odds .v}}`, "33", at("", ""), "33/1"},
		{`{{odds .v}}`, n("3.14159265"), at("", ""), "19/6"},
		{`{{localtime .v}}`, "2026-09-01T14:05:00Z", at("", "Europe/London"), "15:05"},
		{`{{localtime .v}}`, "2026-09-01T14:05:00Z", at("", "Asia/Kolkata"), "19:35"},
		{`{{localtime .v}}`, "2026-09-01T14:05:00Z", at("", ""), "14:05 UTC"},
		{`{{localtime .v}}`, "2026-09-01T14:05:00Z", at("", "Local"), "14:05 UTC"},
		{`{{localtime .v}}`, "2026-09-01T14:05:00Z", at("", "../../etc/passwd"), "14:05 UTC"},
		{`{{localtime .v}}`, n("1788271500000"), at("", "UTC"), "14:05"},
		{`{{localtime .v}}`, "2026-09-02T02:00:00Z", at("", "UTC"), "02:00"}, // tonight
		{`{{localtime .v}}`, "2026-09-02T02:00:01Z", at("", "Europe/London"), "2026-09-02 03:00"},
		{`{{localtime .v}}`, "2026-08-31T22:30:00Z", at("", "Europe/Berlin"), "2026-09-01 00:30"},
		{`{{minutes .v}}`, "2026-09-01T14:05:00Z", at("", ""), "5 min"},
		{`{{minutes .v}}`, "2026-09-01T14:04:30Z", at("", ""), "5 min"},
		{`{{minutes .v}}`, "2026-09-01T14:04:29Z", at("", ""), "4 min"},
		{`{{minutes .v}}`, "2026-09-01T14:00:01Z", at("", ""), "1 min"},
		{`{{minutes .v}}`, "2026-09-01T14:00:00Z", at("", ""), "0 min"},
		{`{{minutes .v}}`, "2026-09-01T13:00:00Z", at("", ""), "0 min"},
		{`{{upper .v}}/{{lower .v}}`, "Café Ω", at("", ""), "CAFÉ Ω/café ω"},
		{`{{.v}}`, n("12.50"), at("", ""), "12.50"},
		{`{{.v}}`, true, at("", ""), "true"},
		{`x{{if .v}}y{{else}}z{{end}}`, nil, at("", ""), "xz"},
		{`{{or .v "nobody"}}`, nil, at("", ""), "nobody"},
		{`{{with .v}}{{.}}!{{end}}`, "hi", at("", ""), "hi!"},
		{`{{$x := .v}}{{$x}}`, "hi", at("", ""), "hi"},
		{`{{if and (eq .v "5") (ne .v "6") (not .b)}}five{{end}}`, n("5"), at("", ""), "five"},
		{"  a \n\t b {{.v}} ", "c\r\n\x00d\u2028e", at("", ""), "a b c d e"},
		{`{{.v}}`, "{{.a}} <b>&amp;</b> %s ${x}", at("", ""), "{{.a}} <b>&amp;</b> %s ${x}"},
		{`{{.v}}`, "\xff", at("", ""), "\uFFFD"},
		{`{{.v.w}}`, map[string]any{"w": "deep"}, at("", ""), "deep"},
	} {
		got, err := one(t, tc.title, notifier.Row{"v": tc.value, "b": ""}, tc.c)
		require.NoError(t, err, "%s of %v", tc.title, tc.value)
		require.Equal(t, tc.want, got, "%s of %v in %+v", tc.title, tc.value, tc.c)
	}
}

func TestTemplateErrors(t *testing.T) {
	t.Parallel()
	n := func(s string) json.Number { return json.Number(s) }
	for _, tc := range []struct {
		title  string
		value  any
		detail string
	}{
		{`{{.missing}}`, "x", `map has no entry for key "missing"`},
		{`{{if .missing}}{{end}}x`, "x", `map has no entry for key "missing"`},
		{`a {{.v}}`, nil, "notification.title: line 1:4: the value is null"},
		{`{{upper .v}}`, nil, "is null"},
		{`{{.v}}`, []any{"x"}, "is a list or a structure"},
		{`{{.v}}`, "  ", "the title is empty"},
		{`{{money .v "GBP"}}`, nil, "the amount is null"},
		{`{{money .v "GBP"}}`, "NaN", "the amount is not a number"},
		{`{{money .v "GBP"}}`, n("1e31"), "the amount is not a number"},
		{`{{money .v "GBP"}}`, true, "the amount is not a number"},
		{`{{money "1" .v}}`, nil, "the currency is null or empty"},
		{`{{money "1" .v}}`, "", "the currency is null or empty"},
		{`{{money "1" .v}}`, "gbp", `"gbp" is no ISO 4217 currency code`},
		{`{{odds .v}}`, nil, "the odds are null"},
		{`{{odds .v}}`, n("0"), "the odds are not a positive number"},
		{`{{odds .v}}`, n("-0.5"), "the odds are not a positive number"},
		{`{{odds .v}}`, "8/1", "the odds are not a positive number"},
		{`{{odds .v}}`, n("1e300"), "the odds are not a positive number"},
		{`{{localtime .v}}`, "soon", "not a time"},
		{`{{minutes .v}}`, nil, "not a time"},
		{`{{money .v}}`, n("1"), "wrong number of args"},
	} {
		_, err := one(t, tc.title, notifier.Row{"v": tc.value, "b": ""}, notifier.RenderContext{})
		bad := requireBad(t, err, notifier.BadTemplate)
		require.Contains(t, bad.Detail, tc.detail, tc.title)
		require.True(t, strings.HasPrefix(bad.Detail, "notification.title: "), "%s names the place", bad.Detail)
	}
}

func TestLongTextsAreCutByRunes(t *testing.T) {
	t.Parallel()
	got, err := one(t, "{{.v}}", notifier.Row{"v": strings.Repeat("ü", 201), "b": ""}, notifier.RenderContext{})
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("ü", 199)+"…", got)
	exact := strings.Repeat("ü", 200)
	got, err = one(t, "{{.v}}", notifier.Row{"v": exact, "b": ""}, notifier.RenderContext{})
	require.NoError(t, err)
	require.Equal(t, exact, got)
}

func TestBodyKeepsLines(t *testing.T) {
	t.Parallel()
	r := compile(t, strings.Replace(minimal, `"T {{.b}}"`, `T, body: "{{.b}}"`, 1))
	d, err := r.Draft(notifier.Row{"a": "1", "c": "2026-09-01T14:30:00Z", "b": "\n one \r\ntwo\x07\n\n\n\nthree\t.  \n"})
	require.NoError(t, err)
	text, err := r.Render(d, notifier.RenderContext{})
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\n\nthree .", text.Body)
}

func TestLinks(t *testing.T) {
	t.Parallel()
	render := func(link string, value any) (string, error) {
		r := compile(t, strings.Replace(minimal, `"T {{.b}}"`, fmt.Sprintf("T, link: %q", link), 1))
		d, err := r.Draft(notifier.Row{"a": "1", "c": "2026-09-01T14:30:00Z", "b": value})
		require.NoError(t, err)
		text, err := r.Render(d, notifier.RenderContext{})
		return text.Link, err
	}
	for _, tc := range []struct {
		link  string
		value any
		want  string
	}{
		{"app://race/{{.b}}", "e1", "app://race/e1"},
		{"app://race/{{.b}}", "../x?a=b&c#d e", "app://race/..%2Fx%3Fa%3Db%26c%23d%20e"},
		{"https://x.test/?q={{.b}}&r=1", "a&r=2", "https://x.test/?q=a%26r%3D2&r=1"},
		{"/race/{{.b}}", json.Number("7"), "/race/7"},
		{"{{url .b}}", "https://x.test/a?b=c", "https://x.test/a?b=c"},
		{"{{if eq .b `x`}}app://x{{end}}", "y", ""},
	} {
		got, err := render(tc.link, tc.value)
		require.NoError(t, err)
		require.Equal(t, tc.want, got)
	}
	for _, tc := range []struct {
		link  string
		value any
	}{
		{"{{.b}}", "https://x.test"}, // not declared whole, so escaped, so no URL
		{"{{url .b}}", "javascript:alert(1)"},
		{"{{url .b}}", "JavaScript:alert(1)"},
		{"{{url .b}}", "//evil.test"},
		{"{{url .b}}", "https://x.test/a b"},
		{"{{url .b}}", nil},
		{"app://race/{{.b}}", nil},
		{"app://race/{{.b}}", strings.Repeat("x", notifier.MaxLinkBytes)},
	} {
		_, err := render(tc.link, tc.value)
		requireBad(t, err, notifier.BadTemplate)
	}
}

func TestLocaleFallback(t *testing.T) {
	t.Parallel()
	r := compile(t, strings.Replace(minimal, `"T {{.b}}"`,
		`plain, locales: {de: {title: de}, de-CH: {title: de-CH}, zh-Hans: {title: zh-Hans}, pt_BR: {title: pt-BR}, es-419: {title: es-419}}`, 1))
	d, err := r.Draft(notifier.Row{"a": "1", "c": "2026-09-01T14:30:00Z"})
	require.NoError(t, err)
	for locale, want := range map[string]string{
		"": "plain", "nonsense!": "plain", "fr-FR": "plain", "en": "plain",
		"de": "de", "de-DE": "de", "de_AT": "de", "DE-at": "de", "de-CH": "de-CH", "de-CH-1996": "de-CH",
		"zh-Hans-CN": "zh-Hans", "zh-CN": "zh-Hans", "zh-Hant-TW": "plain", "zh-TW": "plain",
		"pt-BR": "pt-BR", "pt-PT": "plain", "es-MX": "es-419", "es-ES": "plain", "de-DE-u-nu-arab": "de",
	} {
		text, err := r.Render(d, notifier.RenderContext{Locale: locale})
		require.NoError(t, err)
		require.Equal(t, want, text.Title, locale)
	}
}

func TestLanguageOfPlainTexts(t *testing.T) {
	t.Parallel()
	r := compile(t, strings.Replace(minimal, `"T {{.b}}"`, "\"{{money `1234.5` `EUR`}}\"}\n    language: de\n    data: {x: \"{{.b}}\"", 1))
	d, err := r.Draft(notifier.Row{"a": "1", "b": "y", "c": "2026-09-01T14:30:00Z"})
	require.NoError(t, err)
	for locale, want := range map[string]string{"": "1.234,50\u00a0€", "en-GB": "1.234,50\u00a0€", "de-AT": "€\u00a01.234,50"} {
		text, err := r.Render(d, notifier.RenderContext{Locale: locale})
		require.NoError(t, err)
		require.Equal(t, want, text.Title, locale)
		require.Equal(t, map[string]string{"x": "y"}, text.Data)
	}
}

func TestCorrection(t *testing.T) {
	t.Parallel()
	r := compile(t, strings.NewReplacer("key: [a]", "key: [a]\n    version: [b]\n    order: n",
		`"T {{.b}}"`, `first, link: "app://{{.a}}", data: {k: v}`,
		"audience: all", `audience: all
    correction: {title: "now {{.b}}", locales: {de: {title: "jetzt {{.b}}"}}}`).Replace(minimal))
	require.True(t, r.HasCorrection)
	d, err := r.Draft(notifier.Row{"a": "1", "b": "2", "n": json.Number("1"), "c": "2026-09-01T14:30:00Z"})
	require.NoError(t, err)
	text, err := r.Render(d, notifier.RenderContext{Locale: "de", Correction: true})
	require.NoError(t, err)
	require.Equal(t, notifier.Text{Title: "jetzt 2", Link: "app://1", Data: map[string]string{"k": "v"}}, text)
	text, err = r.Render(d, notifier.RenderContext{Locale: "de"})
	require.NoError(t, err)
	require.Equal(t, "first", text.Title)

	// A rule without a correction has its ordinary text.
	r = compile(t, minimal)
	d, err = r.Draft(notifier.Row{"a": "1", "b": "2", "c": "2026-09-01T14:30:00Z"})
	require.NoError(t, err)
	text, err = r.Render(d, notifier.RenderContext{Correction: true})
	require.NoError(t, err)
	require.Equal(t, "T 2", text.Title)
}

// Check must find what only one locale or the correction would trip over.
func TestCheckRendersEverything(t *testing.T) {
	t.Parallel()
	for _, texts := range []string{
		`T, body: "{{.zz}}"`,
		`T, link: "app://{{.zz}}"`,
		`T, data: {x: "{{.zz}}"}`,
		`T, locales: {de: {title: "{{.zz}}"}}`,
		`T, body: B, locales: {de: {title: T, body: "{{.zz}}"}}`,
		"T}\n    correction: {title: \"{{.zz}}\"",
		"T}\n    correction: {title: C, locales: {de: {title: \"{{.zz}}\"}}",
	} {
		y := strings.NewReplacer("key: [a]", "key: [a]\n    version: [b]\n    order: n", `"T {{.b}}"`, texts).Replace(minimal)
		r := compile(t, y)
		d, err := r.Draft(notifier.Row{"a": "1", "b": "2", "n": json.Number("1"), "c": "2026-09-01T14:30:00Z"})
		require.NoError(t, err)
		requireBad(t, r.Check(d), notifier.BadTemplate)
		d.Row["zz"] = "there"
		require.NoError(t, r.Check(d), texts)
	}
}

// A notification may be older than the rules that render it.
func TestRenderOfVariantThatIsGone(t *testing.T) {
	t.Parallel()
	r := builtin(t, "bet-settled")
	d, err := r.Draft(wonBet())
	require.NoError(t, err)
	d.Variant = "HALF_WON"
	_, err = r.Render(d, notifier.RenderContext{})
	requireBad(t, err, notifier.BadUnknownVariant)
	requireBad(t, r.Check(d), notifier.BadUnknownVariant)
}

// Renders at the same time must not see one another's locale, zone or row.
func TestRenderConcurrently(t *testing.T) {
	t.Parallel()
	r := builtin(t, "race-soon")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			locale, zone, want, unit := "en-GB", "Europe/London", "Ascot, 15:05", "min"
			if i%2 == 0 {
				locale, zone, want, unit = "de", "Europe/Berlin", "Ascot, Start 16:05", "Min."
			}
			d, err := r.Draft(race("name", fmt.Sprint("race ", i)))
			for range 300 {
				var text notifier.Text
				if err == nil {
					text, err = r.Render(d, notifier.RenderContext{Locale: locale, TimeZone: zone, Now: d.ExpiresAt.Add(-time.Duration(i) * time.Minute)})
				}
				if err == nil && (text.Body != want || text.Title != fmt.Sprintf("race %d in %d %s", i, i, unit)) {
					err = errors.New(text.Title + ", " + text.Body)
				}
			}
			errs[i] = err
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
}

func BenchmarkDraftAndRender(b *testing.B) {
	set, err := notifier.CompileRules(notifier.BuiltinRules())
	require.NoError(b, err)
	r, _ := set.Get("bet-settled")
	row := wonBet()
	c := notifier.RenderContext{Locale: "de-CH", TimeZone: "Europe/Zurich", Now: time.Unix(1788271627, 0)}
	b.ReportAllocs()
	for b.Loop() {
		d, err := r.Draft(row)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Render(d, c); err != nil {
			b.Fatal(err)
		}
	}
}

// A language that CLDR has no formats for must not stop a notification.
func TestMoneyInAnUncommonLanguage(t *testing.T) {
	t.Parallel()
	r := compile(t, strings.Replace(minimal, `"T {{.b}}"`, "plain, locales: {tlh: {title: \"{{money `1234.5` `EUR`}}\"}, zu-ZA: {title: \"{{money `1` `ZAR`}}\"}}", 1))
	d, err := r.Draft(notifier.Row{"a": "1", "c": "2026-09-01T14:30:00Z"})
	require.NoError(t, err)
	require.NoError(t, r.Check(d))
	text, err := r.Render(d, notifier.RenderContext{Locale: "tlh"})
	require.NoError(t, err)
	require.Contains(t, text.Title, "1,234.50")
}
