package console

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// quotaSample is what the metrics of a quota said at one moment; below 0 is what
// is not shown.
type quotaSample struct{ share, until, slowed, granted, sent float64 }

// quotaTold is a history of FCM's quota of 100 a second, one sample a second
// from the beginning of 1970 on.
func quotaTold(samples ...quotaSample) history {
	h := history{every: time.Second}
	for i, q := range samples {
		s := sample{at: time.Unix(int64(i), 0), values: map[series]float64{{metricQuotaRate, "fcm", ""}: 100}}
		for metric, v := range map[string]float64{
			metricQuotaShare: q.share, metricQuotaPausedUntil: q.until, metricQuotaSlowed: q.slowed, metricQuotaGranted: q.granted,
		} {
			if v >= 0 {
				s.values[series{metric, "fcm", ""}] = v
			}
		}
		s.values[series{metricAttempts, "fcm", "sent"}] = q.sent
		s.values[series{metricAttempts, "ably", "sent"}] = 1000 * float64(i) // another provider's
		s.values[series{metricQuotaGranted, "ably", ""}] = 1000 * float64(i)
		h.samples = append(h.samples, s)
	}
	return h
}

func namedLine(t *testing.T, c chart, name string) line {
	t.Helper()
	for _, l := range c.Lines {
		if l.Name == name {
			return l
		}
	}
	require.Fail(t, "no such line", "%s: %s", c.Title, name)
	return line{}
}

// What is used is the fleet's, and so is the limit; what this replica has sent is
// a line of its own.
func TestTheUseOfAQuotaIsThatOfAll(t *testing.T) {
	t.Parallel()
	var samples []quotaSample
	for i := range 10 {
		n := float64(i)
		samples = append(samples, quotaSample{share: .5, granted: 40 * n, sent: 10 * n})
	}
	h := quotaTold(samples...)
	require.Len(t, h.charts(), 7)
	c := h.quota("fcm")
	require.Equal(t, "quota-fcm", c.ID)
	require.Equal(t, "all: 100 a second", c.Of)
	require.InDelta(t, 100, c.Top, 0, "the limit is in sight however little is used")
	require.InDelta(t, 40, namedLine(t, c, quotaOfAll).Now(), 1e-9)
	require.InDelta(t, 10, namedLine(t, c, quotaOfOne).Now(), 1e-9)
	require.InDelta(t, 50, namedLine(t, c, quotaLimit).Now(), 1e-9)
	require.Equal(t, "limit", namedLine(t, c, quotaLimit).Look)
	require.InDelta(t, 80, c.Head, 1e-9, "40 of the 50 that are allowed now")
	require.Equal(t, "80\u202f%", c.Text(c.Head))
}

// A limit that has just fallen is not held against what was used before it did.
func TestTheUseIsMeasuredByWhatWasAllowedThen(t *testing.T) {
	t.Parallel()
	var samples []quotaSample
	for i := range 10 {
		samples = append(samples, quotaSample{share: 1, granted: 90 * float64(i)})
	}
	samples[9].share = .5
	c := quotaTold(samples...).quota("fcm")
	require.InDelta(t, 90/(5.5/6), c.Head, 1e-9)
	samples[9].share = -1
	require.True(t, math.IsNaN(quotaTold(samples...).quota("fcm").Head), "nobody knows what is allowed")
}

func TestTheStateOfAQuotaIsTold(t *testing.T) {
	t.Parallel()
	busy := func(last quotaSample) history {
		var samples []quotaSample
		for i := range 20 {
			samples = append(samples, quotaSample{share: 1, granted: 95 * float64(i)})
		}
		last.granted = 95 * 20
		return quotaTold(append(samples, last)...)
	}
	with := func(h history, cause string) history {
		h.samples[len(h.samples)-1].values[series{metricPaused, "fcm", cause}] = 1
		h.samples[len(h.samples)-1].values[series{metricPaused, "ably", "blocked"}] = 1 // another provider's
		return h
	}
	for _, tt := range []struct {
		name, look, text string
		h                history
	}{
		{"at rest", "plain", "at rest, begins at 10\u202f%", quotaTold(quotaSample{share: notifier.QuotaFirst}, quotaSample{share: notifier.QuotaFirst})},
		{"little used", "good", "within its limit", quotaTold(quotaSample{share: 1}, quotaSample{share: 1, granted: 1})},
		{"nearly used up", "warn", "near its limit", busy(quotaSample{share: 1})},
		{"not nearly used up", "good", "within its limit", quotaTold(quotaSample{share: 1}, quotaSample{share: 1, granted: 89})},
		{"climbing", "plain", "climbs, at 40\u202f%", busy(quotaSample{share: .4})},
		{"slowed down", "warn", "slowed to 40\u202f%", busy(quotaSample{share: .4, slowed: 15})},
		{"slowed down long ago", "plain", "climbs, at 40\u202f%", quotaTold(append(make([]quotaSample, 80), quotaSample{share: .4, slowed: 15})...)},
		{"slowed down, and paused for long", "warn", "slowed to 40\u202f%", func() history {
			samples := make([]quotaSample, 80)
			for i := 15; i < 75; i++ {
				samples[i] = quotaSample{until: 75, slowed: 15}
			}
			return quotaTold(append(samples, quotaSample{share: .4, slowed: 15})...)
		}()},
		{"paused by the provider", "bad", "paused, goes on", busy(quotaSample{until: 95, slowed: 19})},
		{"its breaker is open", "bad", "paused: breaker", with(busy(quotaSample{share: 1}), "breaker")},
		{"out of reach", "bad", "not known", busy(quotaSample{share: -1, until: -1, slowed: -1})},
		{"never seen", "bad", "not known", quotaTold(quotaSample{share: -1, until: -1, slowed: -1}, quotaSample{share: -1, until: -1, slowed: -1})},
	} {
		c := tt.h.quota("fcm")
		require.Equal(t, tt.look, c.State.Look, tt.name)
		require.Equal(t, tt.text, c.State.Text, tt.name)
		require.Equal(t, tt.text == "paused, goes on", c.State.Until.Equal(time.Unix(95, 0)), tt.name)
		require.Equal(t, tt.look == "bad" && tt.text != "not known", len(c.Bands) > 0 && c.Bands[len(c.Bands)-1].X+c.Bands[len(c.Bands)-1].Width == c.Width, "%s: the ground is shaded in a pause, and only then", tt.name)
	}
}

// While the database does not answer, nobody knows what is granted: there is no
// line that says 0. What was granted meanwhile is no peak afterwards.
func TestAQuotaOutOfReachHasNoLine(t *testing.T) {
	t.Parallel()
	var samples []quotaSample
	for i := range 30 {
		q := quotaSample{share: 1, granted: 50 * float64(i)}
		if i >= 10 && i < 20 {
			q = quotaSample{share: -1, until: -1, slowed: -1, granted: 50 * 9}
		}
		samples = append(samples, q)
	}
	c := quotaTold(samples...).quota("fcm")
	l := namedLine(t, c, quotaOfAll)
	for i, v := range l.Values {
		if i == 0 || i >= 10 && i < 20 {
			require.True(t, math.IsNaN(v), "%d: %v", i, v)
			continue
		}
		require.InDelta(t, 50, v, 1e-9, i)
	}
	require.InDelta(t, 50, c.Head, 1e-9)
}

func TestTheRelaysQuotaIsThatOfTheNearerLimit(t *testing.T) {
	t.Parallel()
	relay := func(limits map[string]float64, perSecond, holds, held float64) history {
		h := history{every: time.Second}
		for i := range 20 {
			s := sample{at: time.Unix(int64(i), 0), values: map[series]float64{
				{metricRelayAttempts, "", ""}:         perSecond * float64(i),
				{metricRelayHeld, "account", ""}:      0,
				{metricRelayHolds, "account", ""}:     7,
				{metricRelayHolds, "trouble", ""}:     float64(i),
				{metricRelayRecords, "published", ""}: 1,
			}}
			if i >= 10 {
				s.values[series{metricRelayHolds, "account", ""}] = 7 + holds
			}
			if i == 19 {
				s.values[series{metricRelayHeld, "account", ""}] = held
			}
			for name, rate := range limits {
				s.values[series{metricRelayLimit, name, ""}] = rate
			}
			h.samples = append(h.samples, s)
		}
		return h
	}
	both := map[string]float64{"requests": 40, "messages": 400}
	c := relay(both, 10, 0, 0).relayQuota()
	require.InDelta(t, 25, c.Head, 1e-9)
	require.InDelta(t, 25, namedLine(t, c, "requests").Now(), 1e-9)
	require.Equal(t, "of 40 a second", namedLine(t, c, "requests").Note)
	require.InDelta(t, 2.5, namedLine(t, c, "messages").Now(), 1e-9)
	require.InDelta(t, 100, namedLine(t, c, quotaLimit).Now(), 0)
	require.Equal(t, quotaState{Look: "good", Text: "within its limit"}, c.State)
	require.Empty(t, c.Bands)

	require.Equal(t, quotaState{Look: "warn", Text: "near its limit"}, relay(both, 36, 0, 0).relayQuota().State)
	require.Equal(t, quotaState{Look: "warn", Text: "held 3× by the account"}, relay(both, 10, 3, 0).relayQuota().State)
	c = relay(both, 10, 3, 1).relayQuota()
	require.Equal(t, quotaState{Look: "bad", Text: "held: account"}, c.State)
	require.Equal(t, []band{{X: c.Width - 1, Width: 1}}, c.Bands)

	c = relay(map[string]float64{"requests": 40}, 10, 0, 0).relayQuota()
	require.Len(t, c.Lines, 2, "what has no limit has no line")
	for _, c := range relay(nil, 10, 0, 0).charts() {
		require.NotEqual(t, "quota-relay", c.ID, "without limits there is nothing to use up")
	}
}
