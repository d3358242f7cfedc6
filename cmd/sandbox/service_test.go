package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/sandbox/setup"
)

func TestConfigurationIsWhatServeTakes(t *testing.T) {
	t.Parallel()
	secret := setup.NewSecret()
	text, cfg, err := writeConfig(t.TempDir(), setup.Backends{
		Listen: "127.0.0.1:17080", AdminListen: "127.0.0.1:17081", KSQLDB: "http://127.0.0.1:17082",
		FCM:  setup.FCM{URL: "http://127.0.0.1:17083/v1", Project: "p", Credentials: []byte(`{"type":"service_account"}`)},
		Ably: setup.Ably{URL: "http://127.0.0.1:17084", Key: "bugle0.root:hunter2"}, Secret: secret,
	})
	require.NoError(t, err)
	require.NotContains(t, text, string(secret))
	require.NotContains(t, text, "service_account")
	require.NotContains(t, text, "hunter2")
	require.Equal(t, "bugle0.root:hunter2", cfg.Ably.Key.Reveal())
	require.Equal(t, "http://127.0.0.1:17084", cfg.Ably.URL)
	require.InDelta(t, ablyRate, cfg.Ably.Rate, 0)
	require.Equal(t, "127.0.0.1:17080", cfg.Listen)
	require.Equal(t, string(secret), cfg.Auth.Secret.Reveal())
	rules, err := app.Rules(cfg)
	require.NoError(t, err)
	require.Len(t, rules.All(), 4)
}
