package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/notifier"
)

// The sandbox's rules are the built-in ones but for their schedules.
func TestSandboxRulesDifferInSchedulesOnly(t *testing.T) {
	t.Parallel()
	text, err := sandboxRules()
	require.NoError(t, err)
	got, want := rulesOf(t, text), rulesOf(t, notifier.BuiltinRules().YAML)
	require.Len(t, got, len(want))
	for i, rule := range got {
		require.Equal(t, sandboxSchedule, rule["schedule"])
		rule["schedule"] = want[i]["schedule"]
		if _, ok := want[i]["jitter"]; ok {
			require.Equal(t, sandboxJitter, rule["jitter"])
			rule["jitter"] = want[i]["jitter"]
		}
		if sweep, ok := want[i]["sweep"].(map[string]any); ok {
			require.Equal(t, sandboxSweepEvery, rule["sweep"].(map[string]any)["every"])
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

func TestConfigurationIsWhatServeTakes(t *testing.T) {
	t.Parallel()
	secret := newSecret()
	text, cfg, err := writeConfig(t.TempDir(), backends{
		ports:   ports{api: "127.0.0.1:17080", admin: "127.0.0.1:17081"},
		ksqlURL: "http://127.0.0.1:17082", fcmURL: "http://127.0.0.1:17083/v1", project: "p",
		ablyURL: "http://127.0.0.1:17084", ablyKey: "bugle0.root:hunter2",
		credentials: []byte(`{"type":"service_account"}`), secret: secret,
	})
	require.NoError(t, err)
	require.NotContains(t, text, string(secret))
	require.NotContains(t, text, "service_account")
	require.NotContains(t, text, "hunter2")
	require.Equal(t, "bugle0.root:hunter2", cfg.Ably.Key.Reveal())
	require.Equal(t, "http://127.0.0.1:17084", cfg.Ably.URL)
	require.Equal(t, "127.0.0.1:17080", cfg.Listen)
	require.Equal(t, string(secret), cfg.Auth.Secret.Reveal())
	rules, err := app.Rules(cfg)
	require.NoError(t, err)
	require.Len(t, rules.All(), 3)
}
