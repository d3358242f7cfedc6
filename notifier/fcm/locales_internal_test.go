package fcm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// TestEveryLanguageFits renders a rule in six languages with the longest values
// that there are and looks at what would be sent.
func TestEveryLanguageFits(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "testdata", "locales.yaml"))
	require.NoError(t, err)
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: text})
	require.NoError(t, err)
	rule, ok := set.Get("won")
	require.True(t, ok)
	names := map[string]string{
		"ascii": "Blue Heron ", "arabic": "البرق الأزرق ", "japanese": "青いサギ", "families": "👩\u200d👩\u200d👧\u200d👦", "flags": "🇬🇧🇩🇪",
		"escaped": `<&"\`, "accents": "e\u0301", "hindi": "क्षि",
	}
	cuts := 0
	for name, unit := range names {
		draft, err := rule.Draft(notifier.Row{
			"bet_id": "b-1", "user_id": "ann", "runner": strings.Repeat(unit, 400), "event_name": "Kempton",
			"payout": json.Number("1234.5"), "currency": "GBP",
		})
		require.NoError(t, err)
		for _, locale := range []string{"en-GB", "de-CH", "hu-HU", "fr-FR", "ar-EG", "ja-JP"} {
			rendered, err := rule.Render(draft, notifier.RenderContext{Locale: locale, TimeZone: "Europe/London", Now: noon})
			require.NoError(t, err)
			for _, platform := range []devices.Platform{devices.Android, devices.IOS, devices.Web} {
				msg := betWon()
				msg.Title, msg.Body, msg.Link, msg.Data = rendered.Title, rendered.Body, rendered.Link, rendered.Data
				m, cut, refused := testBuilder().build(pushOf(platform, msg), noon)
				require.Nil(t, refused, "%s %s %s", name, locale, platform)
				size, err := payloadSize(m)
				require.NoError(t, err)
				require.LessOrEqual(t, size, maxPayload)
				body := m.Notification.Body
				require.True(t, utf8.ValidString(body))
				require.Equal(t, strings.Count(body, "\u2068"), strings.Count(body, "\u2069"), "an isolate stays open")
				if !cut {
					require.Equal(t, rendered.Body, body)
					continue
				}
				cuts++
				kept := strings.TrimSuffix(strings.TrimRight(body, "\u2069"), "…")
				require.True(t, strings.HasPrefix(rendered.Body, kept))
				boundary, state := 0, -1
				for rest := rendered.Body; boundary < len(kept); {
					var cluster string
					cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
					boundary += len(cluster)
				}
				require.Equal(t, len(kept), boundary, "%s %s: cut inside a character", name, locale)
			}
		}
	}
	require.Positive(t, cuts, "nothing was too long, so that nothing was tested")
}
