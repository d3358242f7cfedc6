package console

import (
	"math"
	"slices"
	"time"

	"github.com/bugle-push/bugle/notifier"
)

// nearLimit is the use, in percent of what is allowed, from which a quota is
// nearly used up.
const nearLimit = 90

// quotaState is what a quota's chart says of it in words.
type quotaState struct {
	// Look is the class of the words: good, warn, bad or plain.
	Look, Text string
	// Until is when it is over, where that is known; zero where not.
	Until time.Time
}

// The lines of a chart of a quota.
const (
	quotaOfAll = "all replicas"
	quotaOfOne = "this replica"
	quotaLimit = "allowed"
)

// quotas are the charts of what is used of what may be sent: one for each
// provider, and one for the relay where it has a limit.
func (h history) quotas() []chart {
	newest := h.samples[len(h.samples)-1]
	var providers []string
	relayed := false
	for key := range newest.values {
		switch key.metric {
		case metricQuotaRate:
			providers = append(providers, key.first)
		case metricRelayLimit:
			relayed = true
		}
	}
	slices.Sort(providers)
	out := make([]chart, 0, len(providers)+1)
	for _, p := range providers {
		out = append(out, h.quota(p))
	}
	if relayed {
		out = append(out, h.relayQuota())
	}
	return out
}

// quota is how much of a provider's quota is used, in percent of the configured
// rate. That rate is the fleet's, and so is what is granted of it: the database
// knows both. What is sent is known of this replica alone.
func (h history) quota(provider string) chart {
	of := func(metric string) pick {
		return func(s series) (string, bool) { return "", s.metric == metric && s.first == provider }
	}
	rate := last(h.values(of(metricQuotaRate))[""])
	share := h.values(of(metricQuotaShare))[""]
	lines := map[string][]float64{
		quotaOfAll: scaled(h.rateWhere(share, of(metricQuotaGranted)), 100/rate),
		quotaOfOne: scaled(h.rates(of(metricAttempts), shortWindow, time.Second)[""], 100/rate),
		quotaLimit: scaled(share, 100),
	}
	used := h.used(lines[quotaOfAll], lines[quotaLimit])
	c := h.draw(chart{
		ID: "quota-" + provider, Title: "Quota of " + provider, Of: "all: " + perSecond.text(rate) + " a second", Unit: percent,
		Empty: "Not known: the database does not answer.", Head: used, HeadOf: "used", BandsAre: "paused",
	}, lines, []string{quotaOfAll, quotaOfOne, quotaLimit})
	c.limit()
	paused := h.paused(provider)
	c.Bands = h.bandsOf(func(s series, v float64) bool {
		return s.first == provider && v > 0 && (s.metric == metricPaused || s.metric == metricQuotaPausedUntil)
	})
	newest := h.samples[len(h.samples)-1]
	until, slowed := newest.values[series{metricQuotaPausedUntil, provider, ""}], newest.values[series{metricQuotaSlowed, provider, ""}]
	now := last(share)
	c.State = quotaState{Look: "good", Text: "within its limit"}
	switch {
	case until > 0:
		c.State = quotaState{Look: "bad", Text: "paused, goes on", Until: time.UnixMicro(int64(until * 1e6)).UTC()}
	case paused != "":
		c.State = quotaState{Look: "bad", Text: "paused: " + paused}
	case share == nil || math.IsNaN(now):
		c.State = quotaState{Look: "bad", Text: "not known"}
	case now < 1 && slowed > 0 && newest.at.Sub(h.ended(provider, slowed)) < notifier.QuotaClimb:
		c.State = quotaState{Look: "warn", Text: "slowed to " + percent.text(100*now)}
	case now <= notifier.QuotaFirst:
		c.State = quotaState{Look: "plain", Text: "at rest, begins at " + percent.text(100*now)}
	case now < 1:
		c.State = quotaState{Look: "plain", Text: "climbs, at " + percent.text(100*now)}
	case used >= nearLimit:
		c.State = quotaState{Look: "warn", Text: "near its limit"}
	}
	return c
}

// rateWhere is how fast a counter grew, a second, at the samples where another
// line is known. What it grew by while that was not known is spread over that time.
func (h history) rateWhere(known []float64, p pick) []float64 {
	sure := history{every: h.every}
	var at []int
	for i, v := range known {
		if !math.IsNaN(v) {
			sure.samples, at = append(sure.samples, h.samples[i]), append(at, i)
		}
	}
	out := slices.Repeat([]float64{math.NaN()}, len(h.samples))
	for i, v := range sure.rates(p, shortWindow, time.Second)[""] {
		out[at[i]] = v
	}
	return out
}

// paused names why this replica sends nothing to a provider, or is empty.
func (h history) paused(provider string) string {
	var causes []string
	for key, v := range h.samples[len(h.samples)-1].values {
		if key.metric == metricPaused && key.first == provider && v > 0 {
			causes = append(causes, key.second)
		}
	}
	if len(causes) == 0 {
		return ""
	}
	return slices.Min(causes)
}

// ended is from when a quota that was slowed down has climbed again: since then,
// or since the end of a pause that came with it.
func (h history) ended(provider string, slowed float64) time.Time {
	out := time.UnixMicro(int64(slowed * 1e6))
	for _, s := range slices.Backward(h.samples) {
		if s.values[series{metricQuotaPausedUntil, provider, ""}] > 0 && s.at.After(out) {
			return s.at
		}
	}
	return out
}

// relayQuota is how much the relay of this replica uses of what it may publish.
func (h history) relayQuota() chart {
	attempts := h.rates(whole(metricRelayAttempts, ""), shortWindow, time.Second)[""]
	limits := h.values(first(metricRelayLimit))
	lines := map[string][]float64{quotaLimit: nil}
	names := []string{"requests", "messages", quotaLimit}
	most := math.NaN()
	for name, values := range limits {
		lines[name] = scaled(attempts, 100/last(values))
		most = extreme([]float64{most, last(lines[name])}, math.Max)
		lines[quotaLimit] = scaled(values, 0)
	}
	for i := range lines[quotaLimit] {
		lines[quotaLimit][i] += 100
	}
	c := h.draw(chart{
		ID: "quota-relay", Title: "Relay's quota", Of: ofReplica, Unit: percent, Empty: "Nothing was relayed yet.",
		Head: most, HeadOf: "used", BandsAre: "held",
	}, lines, names)
	for i := range c.Lines {
		if l := &c.Lines[i]; l.Name != quotaLimit {
			l.Note = "of " + perSecond.text(last(limits[l.Name])) + " a second"
		}
	}
	c.limit()
	c.Bands = h.bandsOf(func(s series, v float64) bool { return s.metric == metricRelayHeld && v > 0 })
	held, times := "", 0.0
	for key, v := range h.samples[len(h.samples)-1].values {
		switch {
		case key.metric == metricRelayHeld && v > 0 && (held == "" || key.first < held):
			held = key.first
		case key.metric == metricRelayHolds && key.first == "account":
			times = v - h.samples[0].values[key]
		}
	}
	c.State = quotaState{Look: "good", Text: "within its limit"}
	switch {
	case held != "":
		c.State = quotaState{Look: "bad", Text: "held: " + held}
	case times > 0:
		c.State = quotaState{Look: "warn", Text: "held " + amount.text(times) + "× by the account"}
	case most >= nearLimit:
		c.State = quotaState{Look: "warn", Text: "near its limit"}
	}
	return c
}

// limit makes a line of what is allowed out of the last one.
func (c *chart) limit() {
	for i := range c.Lines {
		if l := &c.Lines[i]; l.Name == quotaLimit {
			l.Look, l.Area, l.End = "limit", "", nowhere
		}
	}
}

// used is what was used lately in percent of what was allowed in the same time;
// NaN when nothing was allowed, or one of them is not known.
func (h history) used(use, allowed []float64) float64 {
	if len(use) == 0 || len(allowed) == 0 {
		return math.NaN()
	}
	n, sum := 0, 0.0
	for _, v := range allowed[h.windowStart(len(h.samples)-1, shortWindow):] {
		if !math.IsNaN(v) {
			n, sum = n+1, sum+v
		}
	}
	if sum == 0 || math.IsNaN(last(allowed)) {
		return math.NaN()
	}
	return 100 * last(use) * float64(n) / sum
}

// scaled multiplies all values.
func scaled(values []float64, by float64) []float64 {
	out := slices.Clone(values)
	for i := range out {
		out[i] *= by
	}
	return out
}
