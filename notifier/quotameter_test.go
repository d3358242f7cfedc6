package notifier_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// quotaShown is what a replica shows of the quota of FCM; what it does not show
// is not in it.
func quotaShown(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "provider" && l.GetValue() == "fcm" {
					switch f.GetName() {
					case "bugle_quota_rate", "bugle_quota_share", "bugle_quota_paused_until_timestamp_seconds", "bugle_quota_slowed_timestamp_seconds":
						out[f.GetName()] = m.GetGauge().GetValue()
					case "bugle_quota_granted_total", "bugle_attempts_total":
						out[f.GetName()] += m.GetCounter().GetValue()
					}
				}
			}
		}
	}
	return out
}

// Every replica shows the quota of all: what one was granted, and that one was
// asked to wait, is seen on the other too.
func TestAReplicaShowsTheQuotaOfAll(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 1500 {
			w.device(fmt.Sprintf("d%04d", i), "ann")
		}
		var refused time.Time
		ctx, cancel := context.WithCancel(t.Context())
		regs := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
		start := func(i int, s notifier.Sender) <-chan error {
			w.configure = func(c *notifier.Config) { c.Registerer = regs[i] }
			return w.startSender(ctx, fmt.Sprint("replica-", i), s, w.ledger)
		}
		first := start(0, throttled(w, &refused))
		second := start(1, w)
		time.Sleep(2 * time.Second)
		for _, reg := range regs {
			require.Equal(t, map[string]float64{
				"bugle_quota_rate": 1000, "bugle_quota_share": 0.1, "bugle_quota_granted_total": 0,
				"bugle_quota_paused_until_timestamp_seconds": 0, "bugle_quota_slowed_timestamp_seconds": 0,
			}, quotaShown(t, reg), "nothing was sent yet")
		}
		w.settle("bet1", "ann", "WON")
		time.Sleep(18 * time.Second)
		w.mu.Lock()
		since := refused
		w.mu.Unlock()
		require.False(t, since.IsZero())
		for _, reg := range regs {
			got := quotaShown(t, reg)
			require.Contains(t, got, "bugle_quota_share")
			require.Zero(t, got["bugle_quota_share"], "in a pause nothing is granted")
			require.InDelta(t, float64(since.Add(20*time.Second).Unix()), got["bugle_quota_paused_until_timestamp_seconds"], 8)
			require.InDelta(t, float64(since.Unix()), got["bugle_quota_slowed_timestamp_seconds"], 8)
		}
		time.Sleep(40 * time.Second)
		granted := w.counts(`SELECT 'n', granted FROM quotas WHERE provider = 'fcm'`)["n"]
		require.GreaterOrEqual(t, granted, 1500)
		for _, reg := range regs {
			got := quotaShown(t, reg)
			require.Greater(t, got["bugle_quota_share"], 0.1)
			require.Zero(t, got["bugle_quota_paused_until_timestamp_seconds"])
			require.InDelta(t, granted, got["bugle_quota_granted_total"], 0, "what the other was granted counts too")
			require.Less(t, got["bugle_attempts_total"], float64(granted), "it has sent a part of that")
		}
		cancel()
		require.NoError(t, errors.Join(<-first, <-second))
	})
}

// How the quota stands is not shown while nobody can know, and nothing of what
// was granted meanwhile is missing afterwards.
func TestAQuotaOutOfReachIsNotShown(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 50 {
			w.device(fmt.Sprintf("d%03d", i), "ann")
		}
		reg := prometheus.NewRegistry()
		w.configure = func(c *notifier.Config) { c.Registerer = reg }
		var away atomic.Bool
		stop := w.flaky(rulesYAML, "replica-1", &away)
		time.Sleep(2 * time.Second)
		require.Contains(t, quotaShown(t, reg), "bugle_quota_share")
		away.Store(true)
		time.Sleep(5 * time.Second)
		got := quotaShown(t, reg)
		require.Equal(t, map[string]float64{"bugle_quota_rate": 1000, "bugle_quota_granted_total": 0}, got)
		w.exec(`INSERT INTO quotas (provider, granted) VALUES ('fcm', 0) ON CONFLICT DO NOTHING`)
		w.exec(`UPDATE quotas SET granted = 40 WHERE provider = 'fcm'`) // another replica
		away.Store(false)
		time.Sleep(5 * time.Second)
		got = quotaShown(t, reg)
		require.Contains(t, got, "bugle_quota_share")
		require.InDelta(t, 40, got["bugle_quota_granted_total"], 0)
		w.exec(`UPDATE quotas SET granted = 3 WHERE provider = 'fcm'`) // a backup was restored
		time.Sleep(3 * time.Second)
		w.exec(`UPDATE quotas SET granted = 5 WHERE provider = 'fcm'`)
		time.Sleep(3 * time.Second)
		require.InDelta(t, 42, quotaShown(t, reg)["bugle_quota_granted_total"], 0)
		stop()
	})
}
