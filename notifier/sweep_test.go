package notifier_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// windowed lets a test refuse reads by their window.
type windowed struct {
	*world
	refuse func(since, until time.Time) bool
}

func (s windowed) Read(ctx context.Context, query string, params map[string]any) iter.Seq2[notifier.Row, error] {
	since, ok := params["since"].(time.Time)
	until, _ := params["until"].(time.Time)
	if ok && s.refuse(since, until) {
		return func(yield func(notifier.Row, error) bool) { yield(nil, errCut) }
	}
	return s.world.Read(ctx, query, params)
}

func TestASweepThatFailsDoesNotHoldUpTheNews(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesYAML)})
		require.NoError(t, err)
		source := windowed{w, func(since, _ time.Time) bool { return time.Since(since) > 30*time.Second }}
		n, err := notifier.New(notifier.Config{
			Rules: rules, Source: source, Ledger: w.ledger, Retirer: w, Owner: "r", Log: zerolog.Nop(),
			Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: {Sender: w}},
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		time.Sleep(90 * time.Second) // by now a sweep is due, and refused
		w.settle("bet1", "ann", "WON")
		time.Sleep(20 * time.Second)
		cancel()
		require.NoError(t, <-done)
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
	})
}
