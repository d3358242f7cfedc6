package ablypush_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ablypush"
	"github.com/bugle-push/bugle/sandbox/ably"
)

// retired is one call of RetireTarget.
type retired struct {
	target devices.Target
	before time.Time
	reason string
}

// registry notes what is retired.
type registry struct{ calls chan retired }

func (r registry) RetireTarget(_ context.Context, target devices.Target, before time.Time, reason string) (bool, error) {
	r.calls <- retired{target, before, reason}
	return true, nil
}

// next waits for the next call.
func (r registry) next(t *testing.T) retired {
	t.Helper()
	select {
	case c := <-r.calls:
		return c
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was retired")
		return retired{}
	}
}

// attached is the metric by which the tests wait for a subscription.
const attached = "bugle_ably_push_log_attached"

// watch runs a watcher until the end of the test.
func watch(t *testing.T, srv *ably.Server, url string, out io.Writer) (registry, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	r := registry{make(chan retired, 100)}
	w, err := ablypush.NewWatcher(ablypush.WatcherConfig{
		Key: devices.Secret(srv.Key()), URL: url, Retirer: r, Registerer: reg, Log: zerolog.New(out),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return r, reg
}

// value reads a metric; series is what stands before the value.
func value(t *testing.T, reg *prometheus.Registry, name, code string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if code == "" || m.GetLabel()[0].GetValue() == code {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func waitFor(t *testing.T, reg *prometheus.Registry, name, code string, want float64) {
	t.Helper()
	require.Eventually(t, func() bool { return value(t, reg, name, code) == want }, time.Minute, 5*time.Millisecond, "%s %s", name, code)
}

// TestDeadDeviceIsRetired: the failure comes over the realtime connection.
func TestDeadDeviceIsRetired(t *testing.T) {
	t.Parallel()
	srv := startAbly(t, ably.Config{})
	out := &log{}
	r, reg := watch(t, srv, srv.URL(), out)
	waitFor(t, reg, attached, "", 1)
	s := senderTo(t, srv)
	alive, dead := srv.MintDevice("", ably.Android), srv.MintDevice("", ably.IOS)
	require.NoError(t, srv.KillDevice(dead))
	start := time.Now()
	for _, id := range []string{alive, dead} {
		require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), pushToDevice(id)).Verdict)
	}
	got := r.next(t)
	require.Equal(t, devices.Target{Kind: devices.AblyDevice, Value: devices.Secret(dead)}, got.target)
	require.Equal(t, ablypush.ReasonTokenInvalid, got.reason)
	require.WithinRange(t, got.before, start.Add(-10*time.Second), time.Now())
	require.Less(t, time.Since(start), 40*time.Second, "that was history, not the subscription")
	waitFor(t, reg, "bugle_ably_push_failures_total", "103005", 1)
	require.Empty(t, r.calls)
	require.NotContains(t, out.String(), dead)
	require.NotContains(t, out.String(), srv.Key())
}

// TestFailuresAreCounted: alarms, trouble at a provider, drops over the rate.
func TestFailuresAreCounted(t *testing.T) {
	t.Parallel()
	srv := startAbly(t, ably.Config{})
	out := &log{}
	r, reg := watch(t, srv, srv.URL(), out)
	waitFor(t, reg, attached, "", 1)
	device := srv.MintDevice("", ably.Android)
	const failures, alarm = "bugle_ably_push_failures_total", "bugle_ably_push_alarm"
	for _, code := range []int{103006, 103006, 103008, 103001, 103007, 42926, 103000} {
		require.NoError(t, srv.LogPush(device, code))
	}
	waitFor(t, reg, failures, "103000", 1)
	waitFor(t, reg, failures, "103006", 2)
	for _, code := range []string{"103008", "103001", "103007", "42926"} {
		waitFor(t, reg, failures, code, 1)
	}
	require.InDelta(t, 1, value(t, reg, alarm, "103006"), 0)
	require.InDelta(t, 1, value(t, reg, alarm, "103008"), 0)
	require.Equal(t, 2, strings.Count(out.String(), `"level":"error"`), out.String())
	require.Empty(t, r.calls)
	count, err := testutil.GatherAndCount(reg, failures)
	require.NoError(t, err)
	require.Len(t, ablypush.FailureCodes(), count)
}

// TestWatcherStartsLate: what failed before it started is read from history.
func TestWatcherStartsLate(t *testing.T) {
	t.Parallel()
	srv := startAbly(t, ably.Config{})
	dead := srv.MintDevice("", ably.Android)
	require.NoError(t, srv.LogPush(dead, 103005))
	r, reg := watch(t, srv, srv.URL(), io.Discard)
	require.Equal(t, dead, r.next(t).target.Value.Reveal())
	waitFor(t, reg, attached, "", 1)
}

// TestWatcherReconnects: what fails while the connection is cut is not missed,
// whether the service resumes the connection or has forgotten it, and nothing
// is handled twice.
func TestWatcherReconnects(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]bool{"resumed": false, "forgotten": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := startAbly(t, ably.Config{})
			line := newLine(t, strings.TrimPrefix(srv.URL(), "http://"))
			r, reg := watch(t, srv, line.url(), io.Discard)
			waitFor(t, reg, attached, "", 1)
			before, during, after := srv.MintDevice("", ably.Android), srv.MintDevice("", ably.IOS), srv.MintDevice("", ably.Browser)
			require.NoError(t, srv.LogPush(before, 103005))
			require.Equal(t, before, r.next(t).target.Value.Reveal())

			line.cut()
			waitFor(t, reg, attached, "", 0)
			require.NoError(t, srv.LogPush(during, 103005))
			if forget {
				srv.ForgetConnections()
			}
			line.restore()
			require.Equal(t, during, r.next(t).target.Value.Reveal())
			waitFor(t, reg, attached, "", 1)
			require.NoError(t, srv.LogPush(after, 103005))
			require.Equal(t, after, r.next(t).target.Value.Reveal())
			require.Empty(t, r.calls)
			waitFor(t, reg, "bugle_ably_push_failures_total", "103005", 3)
		})
	}
}

// TestWatcherSurvivesManyCuts: every event is handled, each once, however the
// connections break.
func TestWatcherSurvivesManyCuts(t *testing.T) {
	t.Parallel()
	srv := startAbly(t, ably.Config{ChannelRate: -1})
	r, reg := watch(t, srv, srv.URL(), io.Discard)
	waitFor(t, reg, attached, "", 1)
	want := map[string]bool{}
	for round := range 6 {
		for i := range 20 {
			id := srv.MintDevice("", ably.Android)
			want[id] = true
			require.NoError(t, srv.LogPush(id, 103005))
			switch {
			case i == 5:
				srv.DropConnections()
			case i == 12 && round%2 == 1:
				srv.ForgetConnections()
			}
		}
		for range 20 {
			id := r.next(t).target.Value.Reveal()
			require.True(t, want[id], "retired twice, or nobody's")
			delete(want, id)
		}
	}
	waitFor(t, reg, attached, "", 1)
	require.Empty(t, r.calls)
	waitFor(t, reg, "bugle_ably_push_failures_total", "103005", 120)
}

// TestWatcherWithoutCapability: the operator is told what is missing.
func TestWatcherWithoutCapability(t *testing.T) {
	t.Parallel()
	srv := startAbly(t, ably.Config{Keys: []ably.Key{{ID: "root", Capability: map[string][]string{"*": {"*"}}}}})
	out := &log{}
	_, reg := watch(t, srv, srv.URL(), out)
	require.Eventually(t, func() bool {
		return strings.Contains(out.String(), "capability subscribe") && strings.Contains(out.String(), "capability history")
	}, time.Minute, 5*time.Millisecond)
	require.Zero(t, value(t, reg, attached, ""))
	require.NotContains(t, out.String(), srv.Key())
	require.Equal(t, 1, strings.Count(out.String(), "capability subscribe"))
}
