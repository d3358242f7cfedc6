package console

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// vitals are what the metrics of this replica say now. The backlog and the rate
// are those of all replicas, the attempts and the relay this one's.
type vitals struct {
	Lanes     []laneVitals
	Providers []providerVitals
	// Relay is nil where nothing is relayed.
	Relay *relayVitals
	// Outdated says that another replica has newer rules, so that this one begins no runs.
	Outdated bool
}

// laneVitals is the queue of a lane.
type laneVitals struct {
	Name string
	// Queued is that of all replicas, where it is Counted: what cannot be read is not shown as nothing.
	Queued  float64
	Counted bool
	// InFlight is what this replica has claimed.
	InFlight float64
	// Oldest is how long the delivery has been due that has waited longest.
	Oldest time.Duration
}

// providerVitals is how it goes with a provider.
type providerVitals struct {
	Name string
	// Rate is the limit, in sends a second of all replicas together, where there is one: 0 is that
	// all must wait.
	Rate    float64
	Limited bool
	// Sending is how many calls a second this replica makes now, where that is Known.
	Sending float64
	Known   bool
	// Paused names the causes for which nothing is sent to it.
	Paused []string
	// Verdicts count the attempts since this replica started.
	Verdicts []verdictCount
}

// Quota tells how much of its limit a provider is sent to.
func (p providerVitals) Quota() string {
	if p.Rate == 0 {
		return "all replicas: nothing now"
	}
	if !p.Known || math.IsNaN(p.Sending) {
		return "all replicas: " + perSecond.text(p.Rate) + " a second at most"
	}
	return "this replica: " + perSecond.text(p.Sending) + " a second; all: at most " + perSecond.text(p.Rate)
}

// Share is how much that is, in percent, as far as there is a limit.
func (p providerVitals) Share() int {
	if !p.Known || math.IsNaN(p.Sending) || p.Rate <= 0 {
		return 0
	}
	return min(100, int(math.Ceil(100*p.Sending/p.Rate)))
}

type verdictCount struct {
	Verdict string
	Count   float64
}

// relayVitals is how far the relay of odds is behind.
type relayVitals struct {
	Lag, Waiting, Channels float64
	// Held names the causes for which nothing is published.
	Held []string
}

func (c *Console) vitals() (vitals, error) {
	families, err := c.gatherer.Gather()
	if len(families) == 0 && err != nil {
		return vitals{}, err
	}
	return vitalsOf(families), nil // one collector that fails does not hide the others
}

func vitalsOf(families []*dto.MetricFamily) vitals {
	var (
		out       vitals
		lanes     = map[string]*laneVitals{}
		providers = map[string]*providerVitals{}
		verdicts  = map[string]map[string]float64{}
		relay     relayVitals
		relayed   bool
		share     = map[string]float64{}
		full      = map[string]float64{}
	)
	lane := func(m *dto.Metric) *laneVitals {
		name := label(m, "lane")
		if lanes[name] == nil {
			lanes[name] = &laneVitals{Name: name}
		}
		return lanes[name]
	}
	provider := func(m *dto.Metric) *providerVitals {
		name := label(m, "provider")
		if providers[name] == nil {
			providers[name] = &providerVitals{Name: name}
		}
		return providers[name]
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			value := m.GetGauge().GetValue()
			switch f.GetName() {
			case "bugle_deliveries_pending":
				lane(m).Queued, lane(m).Counted = value, true
			case "bugle_deliveries_oldest_due_seconds":
				lane(m).Oldest = time.Duration(value * float64(time.Second))
			case "bugle_deliveries_in_flight":
				lane(m).InFlight = value
			case "bugle_send_rate_limit":
				p := provider(m)
				p.Rate, p.Limited = value, value > 0
			case metricQuotaRate:
				full[provider(m).Name] = value
			case metricQuotaShare:
				share[provider(m).Name] = value
			case "bugle_provider_paused":
				if p := provider(m); value > 0 {
					p.Paused = append(p.Paused, label(m, "cause"))
				}
			case "bugle_attempts_total":
				name := provider(m).Name
				if verdicts[name] == nil {
					verdicts[name] = map[string]float64{}
				}
				verdicts[name][label(m, "verdict")] += m.GetCounter().GetValue()
			case "bugle_rules_outdated":
				out.Outdated = value > 0
			case "bugle_relay_lag_records":
				relay.Lag, relayed = relay.Lag+value, true
			case "bugle_relay_records_waiting":
				relay.Waiting, relayed = relay.Waiting+value, true
			case "bugle_relay_channels":
				relay.Channels, relayed = value, true
			case "bugle_relay_held":
				relayed = true
				if value > 0 {
					relay.Held = append(relay.Held, label(m, "cause"))
				}
			}
		}
	}
	for name, p := range providers {
		part, known := share[name]
		if !known { // then it is at most all of it
			if !p.Limited {
				p.Rate, p.Limited = full[name], full[name] > 0
			}
			continue
		}
		// What is granted now, and not what this replica was granted last, perhaps long ago.
		if p.Rate, p.Limited = part*full[name], true; part == 0 && !slices.Contains(p.Paused, "throttled") {
			p.Paused = append(p.Paused, "throttled") // one that sends nothing has not heard of it
		}
	}
	for name, counts := range verdicts {
		for _, verdict := range slices.Sorted(maps.Keys(counts)) {
			providers[name].Verdicts = append(providers[name].Verdicts, verdictCount{verdict, counts[verdict]})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lanes)) {
		out.Lanes = append(out.Lanes, *lanes[name])
	}
	for _, p := range providers {
		out.Providers = append(out.Providers, *p)
	}
	slices.SortFunc(out.Providers, func(a, b providerVitals) int { return cmp.Compare(a.Name, b.Name) })
	if relayed {
		out.Relay = &relay
	}
	return out
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
