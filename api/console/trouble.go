package console

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// longWait is how long a delivery may be due before the overview speaks of it: by
// then a burst that the rate allows has gone out.
const longWait = 30 * time.Second

// trouble is one thing that wants a look: what it is, since when, and where
// something can be done about it.
type trouble struct {
	// Bad says that something is not done that should be, and not that it waits for a word.
	Bad bool
	// State is the word for it: "failing", "held".
	State string
	What  string
	// Why is the reason as far as it is known; empty for none.
	Why string
	// Since is zero where nobody knows. Longer says that it may have begun before.
	Since  time.Time
	Longer bool
	// Path is where to go, and Do what that is called.
	Path, Do string
}

// troubles are taken from a view that is complete but for them, the bad ones first.
func troubles(view overviewView, past history, now time.Time) []trouble {
	var out []trouble
	for _, check := range view.Checks {
		if check.Err != nil {
			out = append(out, trouble{Bad: true, State: "failing", What: check.Name, Why: check.Err.Error(), Since: check.Since, Path: "#live-checks", Do: "All checks"})
		}
	}
	out = append(out, unknowns(view)...)
	if view.Replicas.Unknown == "" && len(view.Replicas.Value) > 0 && view.Alive == 0 {
		out = append(out, trouble{Bad: true, State: "silent", What: "every replica", Path: "#live-replicas", Do: "Replicas"})
	}
	out = append(out, stuck(view.Vitals.Value, past, now)...)
	out = append(out, ofRules(view)...)
	if !view.HeldMore {
		for _, run := range view.Held.Value {
			t := trouble{State: "held", What: fmt.Sprintf("run %d of %s", run.ID, run.Rule), Since: run.FinishedAt, Path: runPath(run.ID), Do: "Release or discard"}
			if planned, err := grouped(run.Planned); err == nil {
				t.What += ": " + planned + " deliveries"
			}
			out = append(out, t)
		}
	} else {
		out = append(out, trouble{State: "held", What: fmt.Sprintf("more than %d runs", heldShown), Path: "/runs?state=held", Do: "Release or discard"})
	}
	slices.SortStableFunc(out, func(a, b trouble) int {
		switch {
		case a.Bad == b.Bad:
			return 0
		case a.Bad:
			return -1
		}
		return 1
	})
	return out
}

// unknowns is one trouble for all that cannot be found out: they have one cause.
func unknowns(view overviewView) []trouble {
	var names []string
	why := ""
	for _, p := range []struct{ name, unknown string }{
		{"rules", view.Rules.Unknown},
		{"held runs", view.Held.Unknown},
		{"replicas", view.Replicas.Unknown},
		{"stops", view.Stops.Unknown},
		{"queue and providers", view.Vitals.Unknown},
	} {
		if p.unknown != "" {
			names, why = append(names, p.name), p.unknown
		}
	}
	if names == nil {
		return nil
	}
	return []trouble{{Bad: true, State: "not known", What: strings.Join(names, ", "), Why: why}}
}

// stuck is what does not go out.
func stuck(v vitals, past history, now time.Time) []trouble {
	var out []trouble
	for _, p := range v.Providers {
		for _, cause := range p.Paused {
			t := trouble{Bad: true, State: "paused", What: p.Name + ": " + cause, Path: deliveriesPath(p.Name), Do: "What waits"}
			t.Since, t.Longer = past.since(series{metricPaused, p.Name, cause})
			out = append(out, t)
		}
	}
	if v.Relay != nil {
		for _, cause := range v.Relay.Held {
			t := trouble{Bad: true, State: "held", What: "relay of odds: " + cause, Path: "#live-providers", Do: "Relay"}
			t.Since, t.Longer = past.since(series{metric: metricRelayHeld, first: cause})
			out = append(out, t)
		}
	}
	for _, lane := range v.Lanes {
		if lane.Oldest < longWait {
			continue
		}
		provider, _, _ := strings.Cut(lane.Name, "/")
		out = append(out, trouble{Bad: true, State: "waits", What: "the queue " + lane.Name, Since: now.Add(-lane.Oldest), Path: deliveriesPath(provider), Do: "What waits"})
	}
	return out
}

// ofRules is what an operator has said of rules, and those that cannot read.
func ofRules(view overviewView) []trouble {
	var out []trouble
	for _, r := range view.Rules.Value {
		at := "/rules/" + url.PathEscape(r.Rule.ID)
		if run := r.LastRun; run != nil && run.State == "failed" {
			since := run.FinishedAt
			if since.IsZero() {
				since = run.TickAt
			}
			out = append(out, trouble{Bad: true, State: "failed", What: r.Rule.ID, Why: firstLine(run.Error), Since: since, Path: runPath(run.ID), Do: fmt.Sprintf("Run %d", run.ID)})
		}
		if s := r.Stop; s != nil {
			out = append(out, trouble{State: "stopped", What: "the sending of " + r.Rule.ID, Why: by(s.Actor, s.Reason), Since: s.At, Path: at, Do: "Start it"})
		}
		if r.Control.Paused {
			out = append(out, trouble{State: "paused", What: r.Rule.ID, Why: by(r.Control.Actor, r.Control.Reason), Since: r.Control.At, Path: at, Do: "Resume it"})
		}
	}
	return out
}

func by(actor, reason string) string {
	if reason == "" {
		return "by " + actor
	}
	return "by " + actor + ": " + reason
}

func deliveriesPath(provider string) string {
	return "/deliveries?" + url.Values{"provider": {provider}, "state": {"queued"}}.Encode()
}

// since is how long a gauge has not been 0 without a break; longer says that this
// is as far back as there are samples. Zero where there are none of it.
func (h history) since(s series) (at time.Time, longer bool) {
	for _, x := range slices.Backward(h.samples) {
		if x.values[s] <= 0 {
			return at, false
		}
		at = x.at
	}
	return at, !at.IsZero()
}
