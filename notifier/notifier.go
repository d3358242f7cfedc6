package notifier

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/bugle-push/bugle/devices"
)

// Config is what a Notifier needs.
type Config struct {
	Rules   *RuleSet
	Source  Source
	Ledger  Ledger
	Senders map[devices.Provider]SenderConfig
	Retirer Retirer
	// OptIn lists the categories that are off until a user chooses them.
	OptIn map[string]bool
	// Owner names this replica; no two running replicas may share one.
	Owner string
	Log   zerolog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Notifier takes rows to phones: it runs the rules on their schedules and sends
// what they find.
type Notifier struct {
	scheduler  *Scheduler
	fanout     *Fanout
	dispatcher *Dispatcher
}

// New wires a Notifier. It starts nothing.
func New(c Config) (*Notifier, error) {
	if c.Rules == nil || c.Source == nil || c.Ledger == nil || c.Retirer == nil || c.Owner == "" {
		return nil, errors.New("notifier needs rules, a source, a ledger, a retirer and an owner")
	}
	metrics := NewMetrics(c.Registerer)
	dispatcher, err := NewDispatcher(DispatcherConfig{
		Queue: c.Ledger, Rules: c.Rules, Senders: c.Senders, Retirer: c.Retirer, Gates: Gates{OptIn: c.OptIn},
		Owner: c.Owner, Metrics: metrics, Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	released := make(chan struct{}, 1)
	planner := NewPlanner(PlannerConfig{
		Source: c.Source, Ledger: c.Ledger, Generation: c.Rules.Generation(), Owner: c.Owner, Metrics: metrics, Log: c.Log,
		Released: func() {
			select {
			case released <- struct{}{}:
			default: // the fan-out has been told already
			}
		},
	})
	return &Notifier{
		scheduler:  NewScheduler(c.Rules, planner.Tick, c.Log),
		fanout:     NewFanout(c.Ledger, released, dispatcher.Wake, c.Log),
		dispatcher: dispatcher,
	}, nil
}

// Blocked names the providers that refuse our credentials, with their reason.
func (n *Notifier) Blocked() map[devices.Provider]string { return n.dispatcher.Blocked() }

// Run works until ctx ends, and returns when everything in flight is finished
// and recorded.
func (n *Notifier) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.scheduler.Run(ctx) })
	g.Go(func() error { return n.fanout.Run(ctx) })
	g.Go(func() error { return n.dispatcher.Run(ctx) })
	return g.Wait()
}
