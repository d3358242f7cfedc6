package setup_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/sandbox/setup"
)

// The sandbox's rules are the built-in ones but for their schedules.
func TestRulesDifferInSchedulesOnly(t *testing.T) {
	t.Parallel()
	text, err := setup.Rules()
	require.NoError(t, err)
	got, want := rulesOf(t, text), rulesOf(t, notifier.BuiltinRules().YAML)
	require.Len(t, got, len(want))
	for i, rule := range got {
		require.Equal(t, setup.Schedule, rule["schedule"])
		rule["schedule"] = want[i]["schedule"]
		if _, ok := want[i]["jitter"]; ok {
			require.Equal(t, setup.Jitter, rule["jitter"])
			rule["jitter"] = want[i]["jitter"]
		}
		if sweep, ok := want[i]["sweep"].(map[string]any); ok {
			require.Equal(t, setup.SweepEvery, rule["sweep"].(map[string]any)["every"])
			rule["sweep"].(map[string]any)["every"] = sweep["every"]
		}
	}
	require.Equal(t, want, got)
}

func rulesOf(t *testing.T, text []byte) []map[string]any {
	t.Helper()
	var file struct {
		Rules []map[string]any `yaml:"rules"`
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	require.NotEmpty(t, file.Rules)
	return file.Rules
}
