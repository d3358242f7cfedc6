package console

import (
	"math"
	"time"

	"github.com/bugle-push/bugle/notifier"
)

// charts are those of the overview. Those of the relay and of bets are left out
// where nothing is relayed and no bets are taken.
func (h history) charts() []chart {
	out := []chart{h.sends(), h.byProvider(), h.delay(), h.waiting(), h.oldest(), h.news()}
	if len(h.samples) == 0 {
		return out
	}
	newest := h.samples[len(h.samples)-1]
	has := func(metric string) bool {
		for s := range newest.values {
			if s.metric == metric {
				return true
			}
		}
		return false
	}
	out = append(out, h.quotas()...)
	if has(metricRelayRecords) || has(metricRelayLag) {
		out = append(out, h.relayed(), h.behind())
	}
	if has(metricBetsAccepted) {
		out = append(out, h.bets())
	}
	return out
}

const (
	ofReplica = "by this replica"
	ofAll     = "of all replicas"
)

func (h history) sends() chart {
	rates := h.rates(second(metricAttempts), shortWindow, time.Second)
	return h.draw(chart{
		ID: "sends", Title: "Sends by verdict", Of: ofReplica, Unit: perSecond, Empty: "Nothing sent yet.", Head: total(rates), HeadOf: string(perSecond),
	}, rates, []string{
		string(notifier.VerdictSent), string(notifier.VerdictRetry), string(notifier.VerdictUnknown),
		string(notifier.VerdictGone), string(notifier.VerdictRejected), string(notifier.VerdictBlocked),
	})
}

func (h history) byProvider() chart {
	rates := h.rates(first(metricAttempts), shortWindow, time.Second)
	c := h.draw(chart{
		ID: "providers", Title: "Sends by provider", Of: ofReplica, Unit: perSecond, Empty: "Nothing sent yet.", Head: total(rates), HeadOf: string(perSecond),
		BandsAre: "a provider paused",
	}, rates, nil)
	c.Bands = h.bands(metricPaused)
	return c
}

func (h history) delay() chart {
	both := h.quantiles(first(metricLatency), longWindow, .95, .5)
	lines := map[string][]float64{"p95": both[0], "median": both[1]}
	return h.draw(chart{
		ID: "delay", Title: "Event to accepted", Of: "what was accepted " + ofReplica + " within a minute", Unit: duration, Empty: "Nothing was accepted yet.",
		Head: last(lines["p95"]), HeadOf: "p95",
	}, lines, []string{"p95", "median"})
}

func (h history) waiting() chart {
	queued := h.values(first(metricPending))
	return h.draw(chart{
		ID: "queued", Title: "Queued", Of: ofAll + ", by lane", Unit: amount, Empty: "Not known: it has not been counted.", Head: total(queued), HeadOf: "deliveries",
	}, queued, nil)
}

func (h history) oldest() chart {
	oldest := h.values(first(metricOldest))
	worst := math.NaN()
	for _, values := range oldest {
		worst = extreme([]float64{worst, last(values)}, math.Max)
	}
	return h.draw(chart{
		ID: "oldest", Title: "Oldest due", Of: ofAll + ", by lane", Unit: duration, Empty: "Not known: it has not been counted.", Head: worst, HeadOf: "waited longest",
	}, oldest, nil)
}

func (h history) news() chart {
	rates := h.rates(first(metricNotifications), longWindow, time.Minute)
	return h.draw(chart{
		ID: "news", Title: "News by rule", Of: "notifications made " + ofReplica, Unit: perMinute, Empty: "No rule has had news yet.",
		Head: total(rates), HeadOf: string(perMinute),
	}, rates, nil)
}

func (h history) relayed() chart {
	rates := h.rates(first(metricRelayRecords), shortWindow, time.Second)
	lines := map[string][]float64{}
	for name, values := range rates {
		shown := name
		if name != "published" && name != "conflated" && name != "dead_lettered" {
			shown = others
		}
		lines[shown] = added(lines[shown], values)
	}
	return h.draw(chart{
		ID: "relayed", Title: "Odds relayed", Of: ofReplica + ", by what became of a record", Unit: perSecond, Empty: "Nothing was relayed yet.",
		Head: last(lines["published"]), HeadOf: "published " + string(perSecond),
	}, lines, []string{"published", "conflated", "dead_lettered", others})
}

func (h history) behind() chart {
	lag := h.values(whole(metricRelayLag, "behind"))
	return h.draw(chart{
		ID: "lag", Title: "Relay's lag", Of: "of this replica's partitions", Unit: amount, Empty: "This replica has no partitions.",
		Head: total(lag), HeadOf: "records",
	}, lag, nil)
}

func (h history) bets() chart {
	rates := h.rates(func(s series) (string, bool) {
		switch s.metric {
		case metricBetsAccepted:
			return "accepted", true
		case metricBetsRefused:
			return "refused", true
		}
		return "", false
	}, shortWindow, time.Second)
	return h.draw(chart{
		ID: "bets", Title: "Bets in", Of: "taken " + ofReplica, Unit: perSecond, Empty: "No bet has come yet.", Head: total(rates), HeadOf: string(perSecond),
	}, rates, []string{"accepted", "refused"})
}

// bands are the stretches in which a gauge of a metric was not 0.
func (h history) bands(metric string) []band {
	return h.bandsOf(func(s series, v float64) bool { return s.metric == metric && v > 0 })
}

// bandsOf are the stretches in which is was true of any series.
func (h history) bandsOf(is func(series, float64) bool) []band {
	var out []band
	for _, s := range h.samples {
		on := false
		for key, value := range s.values {
			on = on || is(key, value)
		}
		if !on {
			continue
		}
		// A sample stands for the time since the one before it.
		x := max(h.place(s.at)-1, 0)
		if n := len(out); n > 0 && x <= out[n-1].X+out[n-1].Width {
			out[n-1].Width = x + 1 - out[n-1].X
			continue
		}
		out = append(out, band{X: x, Width: 1})
	}
	return out
}

// perRule is how much news each rule has now, with a small line of it.
func (h history) perRule() map[string]spark {
	out := map[string]spark{}
	for rule, values := range h.rates(first(metricNotifications), longWindow, time.Minute) {
		out[rule] = h.spark(perMinute, values)
	}
	return out
}

// sending is how much each provider is sent to now, a second.
func (h history) sending() map[string]float64 {
	out := map[string]float64{}
	for provider, values := range h.rates(first(metricAttempts), shortWindow, time.Second) {
		out[provider] = last(values)
	}
	return out
}

// latencyOfRules are the rules' own 95th percentiles within the last minute.
func (h history) latencyOfRules() map[string]float64 {
	out := map[string]float64{}
	if len(h.samples) == 0 {
		return out
	}
	recent := history{h.samples[h.windowStart(len(h.samples)-1, longWindow):], h.every}
	for key := range recent.samples[len(recent.samples)-1].histograms {
		if key.metric == metricLatency {
			out[key.first] = last(recent.quantiles(func(s series) (string, bool) { return s.first, s == key }, longWindow, .95)[0])
		}
	}
	return out
}

func last(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return values[len(values)-1]
}

// total is what all lines have now; NaN when none has anything.
func total(lines map[string][]float64) float64 {
	out := math.NaN()
	for _, values := range lines {
		if v := last(values); !math.IsNaN(v) {
			if math.IsNaN(out) {
				out = 0
			}
			out += v
		}
	}
	return out
}
