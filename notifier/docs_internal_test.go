package notifier

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rulesDoc returns one "## " section of the guide, or all of it.
func rulesDoc(t *testing.T, section string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "rules.md"))
	require.NoError(t, err)
	if section == "" {
		return string(text)
	}
	_, after, ok := strings.Cut(string(text), "\n## "+section+"\n")
	require.True(t, ok, "no section %q", section)
	before, _, _ := strings.Cut(after, "\n## ")
	return before
}

// firstColumn returns what stands in back-quotes at the beginning of a table's rows.
func firstColumn(text string) []string {
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// keysOf walks over the shape of a rule as the reference lists it: variants
// have the keys of notification, and every translation has the same two.
func keysOf(t reflect.Type, prefix string) []string {
	var keys []string
	for f := range t.Fields() {
		name := prefix + f.Tag.Get("mapstructure")
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		switch {
		case ft.Kind() != reflect.Struct:
			keys = append(keys, name)
		case name == "audience" || name == "notification" || name == "correction":
			keys = append(keys, name)
			fallthrough
		default:
			keys = append(keys, keysOf(ft, name+".")...)
		}
	}
	return keys
}

func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	want := keysOf(reflect.TypeFor[ruleYAML](), "")
	want = append(want, keysOf(reflect.TypeFor[wordsYAML](), "locales.")...)
	require.ElementsMatch(t, want, firstColumn(rulesDoc(t, "Keys")))
}

func TestEveryFunctionIsDocumented(t *testing.T) {
	t.Parallel()
	require.ElementsMatch(t, TemplateFunctions(), firstColumn(rulesDoc(t, "Texts and functions")))
}

func TestEveryBadRowReasonIsDocumented(t *testing.T) {
	t.Parallel()
	var want []string
	for _, r := range BadRowReasons() {
		want = append(want, string(r))
	}
	require.ElementsMatch(t, want, firstColumn(rulesDoc(t, "Bad rows")))
}

func TestEveryParameterIsDocumented(t *testing.T) {
	t.Parallel()
	want := []string{":name"}
	for name := range standardParams() {
		want = append(want, ":"+name)
	}
	require.ElementsMatch(t, want, firstColumn(rulesDoc(t, "Parameters")))
}

// A message in the guide must be one that some invalid file really gets.
func TestDocumentedMessagesAreReal(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all.Write(text)
	}
	messages := firstColumn(rulesDoc(t, "Error messages"))
	require.NotEmpty(t, messages)
	for _, m := range messages {
		require.Contains(t, all.String(), m)
	}
}

func TestReservedDataNamesAreDocumented(t *testing.T) {
	t.Parallel()
	doc := rulesDoc(t, "Keys")
	_, names, ok := strings.Cut(doc, "\nNames in `data` that Firebase or APNs reserve")
	require.True(t, ok)
	for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(names, -1) {
		require.NotEmpty(t, reservedData(m[1]), m[1])
	}
	require.Empty(t, reservedData("bet"))
}

// Every example of the guide compiles as it stands.
func TestExamplesOfTheGuideCompile(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(rulesDoc(t, ""), -1)
	require.Greater(t, len(blocks), 5)
	for _, b := range blocks {
		set, err := CompileRules(RuleSource{YAML: []byte(b[1])})
		require.NoError(t, err, b[1])
		require.NotEmpty(t, set.All())
	}
}
