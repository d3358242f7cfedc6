package app_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ablypush"
	"github.com/bugle-push/bugle/notifier/fcm"
)

// Whatever ended a delivery, support can read out why.
func TestEveryReasonIsThereInWords(t *testing.T) {
	t.Parallel()
	doc := section(t, "What happened to a delivery")
	codes := slices.Concat(fcm.Codes(), ablypush.Codes(), []string{ablypush.ReasonTokenInvalid})
	for _, code := range codes {
		words := notifier.CodeWords(code)
		require.NotEmpty(t, words, code)
		require.Contains(t, doc, "\n| `"+code+"` | "+words+" |\n")
	}
	require.Empty(t, notifier.CodeWords("no_such_code"))
	var reasons []string
	for _, file := range []string{"notifier/gate.go", "devices/activation.go"} {
		text, err := os.ReadFile(filepath.Join("..", "..", file))
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?:Reason[A-Z]\w+ +Reason|Cancel[A-Z]\w+ +CancelReason) = "([a-z_]+)"`).FindAllStringSubmatch(string(text), -1) {
			reasons = append(reasons, m[1])
		}
	}
	require.Subset(t, reasons, []string{"muted", "erased", "not_imported", "target_moved"})
	for _, reason := range reasons {
		require.Regexp(t, "\n\\| `"+reason+"` \\| [a-z].* \\|\n", doc)
	}
}
