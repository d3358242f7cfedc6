package notifier

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/bugle-push/bugle/devices"
)

// Config is what a Notifier needs.
type Config struct {
	// Rules are the rules to begin with; see Notifier.ReplaceRules.
	Rules   *RuleSet
	Source  Source
	Ledger  Ledger
	Senders map[devices.Provider]SenderConfig
	Retirer Retirer
	// OptIn lists the categories that are off until a user chooses them.
	OptIn map[string]bool
	// Loud lists the classes that do not care for quiet hours.
	Loud map[Class]bool
	// Caps bound how often a user is told something.
	Caps FrequencyCaps
	// Spread is as in DispatcherConfig.
	Spread time.Duration
	// AwaitImport says that suppressions are imported: nothing is sent until that has succeeded once.
	AwaitImport bool
	// Owner names this replica; no two running replicas may share one.
	Owner string
	// Retention says how long is kept what has ended.
	Retention Retention
	// Version is that of the binary, which the other replicas are told.
	Version string
	Log     zerolog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Notifier takes rows to phones: it runs the rules on their schedules and sends
// what they find.
type Notifier struct {
	rules      *Rules
	source     Source
	optIn      map[string]bool
	gates      Gates
	retention  Retention
	planner    *Planner
	scheduler  *Scheduler
	fanout     *Fanout
	dispatcher *Dispatcher
	fleet      *Fleet
	janitor    *Janitor
	// released tells the fan-out that there is something to do.
	released chan struct{}
}

// New wires a Notifier. It starts nothing.
func New(c Config) (*Notifier, error) {
	if c.Rules == nil || c.Source == nil || c.Ledger == nil || c.Retirer == nil || c.Owner == "" {
		return nil, errors.New("notifier needs rules, a source, a ledger, a retirer and an owner")
	}
	metrics, rules := NewMetrics(c.Registerer), NewRules(c.Rules)
	gates := Gates{OptIn: c.OptIn, Loud: c.Loud, Caps: c.Caps, AwaitImport: c.AwaitImport}
	dispatcher, err := NewDispatcher(DispatcherConfig{
		Queue: c.Ledger, Frequency: c.Ledger, Quotas: c.Ledger, Rules: rules, Senders: c.Senders, Retirer: c.Retirer, Gates: gates, Spread: c.Spread,
		Owner: c.Owner, Metrics: metrics, Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	n := &Notifier{
		rules: rules, source: c.Source, optIn: c.OptIn, gates: gates, retention: c.Retention, dispatcher: dispatcher,
		released: make(chan struct{}, 1),
	}
	n.planner = NewPlanner(PlannerConfig{
		Source: c.Source, Ledger: c.Ledger, Owner: c.Owner, Metrics: metrics, Log: c.Log,
		Released: n.wakeFanout,
	})
	n.scheduler = NewScheduler(rules, n.planner, c.Log)
	n.fleet = NewFleet(c.Ledger, rules, c.Owner, c.Version, metrics, c.Log)
	n.fanout = NewFanout(c.Ledger, n.released, dispatcher.Wake, metrics, c.Log)
	n.janitor = NewJanitor(c.Ledger, rules, c.Retention, metrics, c.Log)
	return n, nil
}

// wakeFanout tells the fan-out that notifications have been released.
func (n *Notifier) wakeFanout() {
	select {
	case n.released <- struct{}{}:
	default: // it has been told already
	}
}

// Rules returns the rules in force.
func (n *Notifier) Rules() *RuleSet { return n.rules.Set() }

// Explainer returns an Explainer with the notifier's own rules and gates.
func (n *Notifier) Explainer(ledger ExplainLedger, directory Directory) (*Explainer, error) {
	return NewExplainer(ExplainerConfig{Ledger: ledger, Directory: directory, Rules: n.Rules, Gates: n.gates, Retention: n.retention})
}

// ReplaceRules puts other rules in force, all at once and without a restart; see
// Rules.Replace. It reports whether anything has changed.
func (n *Notifier) ReplaceRules(set *RuleSet) bool { return n.rules.Replace(set) }

// Blocked names the providers that refuse our credentials, with their reason.
func (n *Notifier) Blocked() map[devices.Provider]string { return n.dispatcher.Blocked() }

// Run works until ctx ends, and returns when everything in flight is finished
// and recorded.
func (n *Notifier) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.fleet.Run(ctx) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-n.fleet.Joined():
			return n.scheduler.Run(ctx)
		}
	})
	g.Go(func() error { return n.planner.Tidy(ctx) })
	g.Go(func() error { return n.fanout.Run(ctx) })
	g.Go(func() error { return n.dispatcher.Run(ctx) })
	g.Go(func() error { return n.janitor.Run(ctx) })
	return g.Wait()
}
