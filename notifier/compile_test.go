package notifier_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// compile returns the only rule of a file.
func compile(t testing.TB, yaml string) *notifier.Rule {
	t.Helper()
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(yaml)})
	require.NoError(t, err)
	rules := set.All()
	require.Len(t, rules, 1)
	return rules[0]
}

// problemsOf compiles what must not compile, and returns "path: message" of each problem.
func problemsOf(t testing.TB, sources ...notifier.RuleSource) []string {
	t.Helper()
	set, err := notifier.CompileRules(sources...)
	require.Error(t, err)
	require.Nil(t, set)
	fe, ok := errors.AsType[*fault.Error](err)
	require.True(t, ok, "%T", err)
	require.Equal(t, fault.Invalid, fe.Kind)
	var lines []string
	for _, f := range fe.Fields {
		lines = append(lines, f.Path+": "+f.Message)
	}
	return lines
}

// TestCompileRulesInvalid compiles each file of testdata/invalid. Its first
// lines, "# want: <path>: <message>", are exactly the problems that it has.
func TestCompileRulesInvalid(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	require.NoError(t, err)
	require.Greater(t, len(files), 40)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			var want []string
			for line := range strings.Lines(string(text)) {
				if after, ok := strings.CutPrefix(line, "# want: "); ok {
					want = append(want, strings.TrimSpace(after))
				}
			}
			require.NotEmpty(t, want, "%s says nothing about what is wrong", file)
			got := problemsOf(t, notifier.RuleSource{YAML: text})
			require.ElementsMatch(t, want, got)
			require.Equal(t, got, problemsOf(t, notifier.RuleSource{YAML: text}), "in the same order each time")
		})
	}
}

func TestCompileRulesReportsEveryErrorOfEverySource(t *testing.T) {
	t.Parallel()
	got := problemsOf(t,
		notifier.RuleSource{Name: "a.yaml", YAML: []byte("rules:\n  - {id: x}\n")},
		notifier.RuleSource{Name: "b.yaml", YAML: []byte("rules:\n  - {id: x, klass: 1}\n")},
		notifier.RuleSource{Name: "c.yaml", YAML: []byte("rules: [\n")},
	)
	require.Contains(t, got, "a.yaml: rules[0].class: is missing: transactional, service or marketing")
	require.Contains(t, got, "b.yaml: rules[0].klass: unknown key")
	require.Contains(t, got, `b.yaml: rules[0].id: "x" is the id of a.yaml: rules[0] already`)
	require.Condition(t, func() bool {
		for _, line := range got {
			if strings.HasPrefix(line, "c.yaml: line ") {
				return true
			}
		}
		return false
	}, "%q names the line of the syntax error", got)
}

const minimal = `
rules:
  - id: r
    schedule: "@every 30s"
    class: marketing
    query: SELECT a, b, c FROM v WHERE c > :now
    key: [a]
    audience: all
    expires: c
    notification: {category: race, title: "T {{.b}}"}
`

func TestCompileRulesDefaults(t *testing.T) {
	t.Parallel()
	r := compile(t, minimal)
	require.Equal(t, notifier.ModeLive, r.Mode)
	require.Equal(t, notifier.High, r.Urgency, "perishable")
	require.True(t, r.Perishable)
	require.Nil(t, r.Watermark)
	require.Nil(t, r.Sweep)
	require.Zero(t, r.MaxDeliveries)
	require.Zero(t, r.TTL, "each draft has its own expiry")
	require.False(t, r.HasCorrection)
	require.Equal(t, []string{"race"}, r.Categories())

	for class, want := range map[string]notifier.Urgency{
		"marketing": notifier.Normal, "service": notifier.High, "transactional": notifier.High,
	} {
		y := strings.Replace(minimal, "expires: c", "forget_after: 2d", 1)
		r := compile(t, strings.Replace(y, "class: marketing", "class: "+class, 1))
		require.Equal(t, want, r.Urgency, class)
		require.Equal(t, notifier.DefaultTTL, r.TTL)
		require.Equal(t, 48*time.Hour, r.ForgetAfter)
	}
	r = compile(t, strings.Replace(minimal, "audience: all", "audience: all\n    urgency: normal", 1))
	require.Equal(t, notifier.Normal, r.Urgency)
}

func TestCompileRulesWatermark(t *testing.T) {
	t.Parallel()
	y := strings.NewReplacer("c > :now", "ROWTIME >= :since_ms AND ROWTIME < :until", "expires: c", `watermark: {column: c}
    start: 2026-09-01T02:00:00+02:00
    sweep: {every: 1h, lookback: 1d}
    max_deliveries: 50
    mode: shadow`).Replace(minimal)
	r := compile(t, y)
	require.Equal(t, &notifier.Watermark{Column: "c", Lookback: 2 * time.Minute, MaxWindow: time.Hour}, r.Watermark)
	require.Equal(t, &notifier.Sweep{Every: time.Hour, Lookback: 24 * time.Hour}, r.Sweep)
	require.Equal(t, time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), r.Start)
	require.Equal(t, 50, r.MaxDeliveries)
	require.Equal(t, notifier.ModeShadow, r.Mode)
}

func TestGenerationAndIdentity(t *testing.T) {
	t.Parallel()
	generation := func(sources ...string) string {
		var list []notifier.RuleSource
		for _, y := range sources {
			list = append(list, notifier.RuleSource{YAML: []byte(y)})
		}
		set, err := notifier.CompileRules(list...)
		require.NoError(t, err)
		return set.Generation()
	}
	second := strings.Replace(minimal, "id: r", "id: s", 1)
	base := generation(minimal)
	require.Equal(t, base, generation("# a comment\n"+strings.ReplaceAll(minimal, "[a]", "[ a ]")))
	require.Equal(t, generation(minimal, second), generation(second, minimal), "the order of sources does not count")
	for _, change := range [][2]string{{"T {{.b}}", "U {{.b}}"}, {"30s", "31s"}, {"c > :now", "c >= :now"}, {"category: race", "category: other"}} {
		require.NotEqual(t, base, generation(strings.Replace(minimal, change[0], change[1], 1)), change)
	}
	require.NotEqual(t, base, generation(minimal, second))

	identity := compile(t, minimal).Identity
	require.Equal(t, identity, compile(t, strings.Replace(minimal, "T {{.b}}", "U", 1)).Identity)
	for _, change := range [][2]string{{"key: [a]", "key: [b]"}, {"key: [a]", "key: [a]\n    version: [b]\n    order: c"}} {
		require.NotEqual(t, identity, compile(t, strings.Replace(minimal, change[0], change[1], 1)).Identity, change)
	}
}

func TestRuleSet(t *testing.T) {
	t.Parallel()
	set, err := notifier.CompileRules(notifier.BuiltinRules())
	require.NoError(t, err)
	var ids []string
	for _, r := range set.All() {
		ids = append(ids, r.ID)
		got, ok := set.Get(r.ID)
		require.True(t, ok)
		require.Same(t, r, got)
	}
	require.Equal(t, []string{"bet-settled", "bet-rejected", "race-soon", "race-changed"}, ids)
	_, ok := set.Get("no-such-rule")
	require.False(t, ok)
	require.Equal(t, []string{"bet", "loss", "race", "win"}, set.Categories())
	clear(set.All())
	require.NotNil(t, set.All()[0], "the slice is the caller's")

	empty, err := notifier.CompileRules()
	require.NoError(t, err)
	require.Empty(t, empty.All())
}

func TestThreadIsSharedWithTheRuleThatIsFollowed(t *testing.T) {
	t.Parallel()
	set, err := notifier.CompileRules(notifier.BuiltinRules())
	require.NoError(t, err)
	soon, _ := set.Get("race-soon")
	changed, _ := set.Get("race-changed")
	bets, _ := set.Get("bet-settled")
	key := `["e1"]`
	require.Equal(t, soon.Thread(key), changed.Thread(key))
	require.NotEqual(t, soon.Thread(key), bets.Thread(key))
	require.NotEqual(t, soon.Thread(key), soon.Thread(`["e2"]`))
	require.Regexp(t, `^[A-Za-z0-9_-]{24,32}$`, soon.Thread(key))

	// A chain shares the thread of its end.
	chain := minimal
	for _, link := range [][2]string{{"s", "r"}, {"q", "s"}} {
		part := strings.NewReplacer("\nrules:\n", "", "id: r", "id: "+link[0], "audience: all", "audience: {follows: "+link[1]+"}").Replace(minimal)
		chain += part
	}
	set, err = notifier.CompileRules(notifier.RuleSource{YAML: []byte(chain)})
	require.NoError(t, err)
	r, _ := set.Get("r")
	q, _ := set.Get("q")
	require.Equal(t, r.Thread(key), q.Thread(key))
}

func TestParams(t *testing.T) {
	t.Parallel()
	y := strings.NewReplacer(
		"WHERE c > :now", "WHERE c > :now AND d < :soon_ms AND e > ':fake' -- :comment\n      AND `:q` = \":r\" /* :s */ AND f = :soon AND g := 1 AND ROWTIME > :since AND x < :until_ms",
		"expires: c", "watermark: {column: c}\n    params: {soon: now + 1h30m}",
		"SELECT", "|\n      SELECT",
	).Replace(minimal)
	r := compile(t, y)
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	got := r.Params(notifier.Window{Now: now, Since: now.Add(-time.Hour), Until: now.Add(-time.Minute)})
	utc := now.UTC()
	require.Equal(t, map[string]any{
		"now":      utc,
		"soon":     utc.Add(90 * time.Minute),
		"soon_ms":  utc.Add(90 * time.Minute).UnixMilli(),
		"since":    utc.Add(-time.Hour),
		"until_ms": utc.Add(-time.Minute).UnixMilli(),
	}, got)
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	r := compile(t, strings.Replace(minimal, "expires: c", "forget_after: 2d\n    ttl: {for: 6h}", 1))
	d, err := r.Draft(notifier.Row{"a": "1", "b": "x"})
	require.NoError(t, err)
	require.Zero(t, d.ExpiresAt)
	created := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	require.Equal(t, created.Add(6*time.Hour), r.Expiry(d, created))
	d.ExpiresAt = created.Add(time.Minute)
	require.Equal(t, created.Add(time.Minute), r.Expiry(d, created))
}

func ExampleCompileRules() {
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(`
rules:
  - id: favourite-won
    schedule: "@every 1m"
    class: service
    query: SELECT race, horse, user_id, rowtime FROM favourites WHERE ROWTIME >= :since AND ROWTIME < :until
    watermark: {column: rowtime}
    key: [race, horse, user_id]
    audience: {user: user_id}
    notification: {category: win, title: "{{.horse}} won"}
`)})
	if err != nil {
		fmt.Println(err)
		return
	}
	rule, _ := set.Get("favourite-won")
	draft, err := rule.Draft(notifier.Row{
		"race": "r1", "horse": "Red Rum", "user_id": "ann", "rowtime": "2026-09-01T14:30:00Z",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := rule.Render(draft, notifier.RenderContext{Locale: "en-GB"})
	fmt.Println(draft.Key, draft.User, text.Title, err)
	// Output: ["r1","Red Rum","ann"] ann Red Rum won <nil>
}

func ExampleCompileRules_errors() {
	_, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(`
rules:
  - id: broken
    schedule: every 5 minutes
    class: marketing
    query: SELECT id FROM v WHERE t > :then
    key: [id]
    audience: all
    forget_after: 1d
    notification: {category: race, title: "{{shout .id}}"}
`)})
	if fe, ok := errors.AsType[*fault.Error](err); ok {
		for _, f := range fe.Fields {
			fmt.Println(f.Path + ": " + f.Message)
		}
	}
	// Output:
	// rules[0].schedule: not a cron spec of five fields: expected exactly 5 fields, found 3: [every 5 minutes]
	// rules[0].query: there is no parameter :then (known are :now, :since, :until, each also with _ms)
	// rules[0].notification.title: line 1: function "shout" not defined
}
