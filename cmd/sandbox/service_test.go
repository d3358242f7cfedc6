package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/setup"
)

func TestConfigurationIsWhatServeTakes(t *testing.T) {
	t.Parallel()
	secret := setup.NewSecret()
	text, cfg, err := writeConfig(t.TempDir(), setup.Backends{
		Listen: "127.0.0.1:17080", AdminListen: "127.0.0.1:17081", KSQLDB: "http://127.0.0.1:17082",
		FCM:  setup.FCM{URL: "http://127.0.0.1:17083/v1", Project: "p", Credentials: []byte(`{"type":"service_account"}`)},
		Ably: setup.Ably{URL: "http://127.0.0.1:17084", Key: "bugle0.root:hunter2"}, Secret: secret,
		Kafka: "127.0.0.1:17092", DefaultStake: "2.00",
	})
	require.NoError(t, err)
	require.NotContains(t, text, string(secret))
	require.NotContains(t, text, "service_account")
	require.NotContains(t, text, "hunter2")
	require.Equal(t, "bugle0.root:hunter2", cfg.Ably.Key.Reveal())
	require.Equal(t, "http://127.0.0.1:17084", cfg.Ably.URL)
	require.InDelta(t, ablyRate, cfg.Ably.Rate, 0)
	require.Equal(t, []string{"127.0.0.1:17092"}, cfg.Kafka.Brokers)
	require.Len(t, cfg.Relay, 1)
	require.Equal(t, betting.TopicOdds, cfg.Relay[0].Topic)
	require.Equal(t, betting.TopicDeadOdds, cfg.Relay[0].DeadLetter)
	require.Equal(t, setup.OddsMaxAge, time.Duration(cfg.Relay[0].MaxAge))
	require.Equal(t, betting.TopicOdds, cfg.Odds.Topic)
	require.False(t, cfg.Odds.Public)
	require.True(t, cfg.Bets.Enabled)
	require.Equal(t, betting.TopicBets, cfg.Bets.Topic)
	require.Equal(t, betting.TopicDeadBets, cfg.Bets.DeadLetterTopic)
	require.Equal(t, "127.0.0.1:17080", cfg.Listen)
	require.Equal(t, string(secret), cfg.Auth.Secret.Reveal())
	rules, err := app.Rules(cfg)
	require.NoError(t, err)
	require.Len(t, rules.All(), 4)
}
