package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/api/console"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ksqlsource"
	"github.com/bugle-push/bugle/notifier/sqlledger"
	"github.com/bugle-push/bugle/relay"
)

// stopTimeout bounds a stop: longer than one send (15 s) and its record (5 s),
// shorter than the 30 seconds that Kubernetes grants by default.
const stopTimeout = 25 * time.Second

// stopAPITimeout is the part of it that apps get: what is in flight when it is
// over still has the time of a send and its record.
const stopAPITimeout = 5 * time.Second

// errStopping is what operators are told whose request the stop has ended.
var errStopping error = fault.New(fault.Unavailable, "the service is stopping")

// App is the service.
type App struct {
	log      zerolog.Logger
	notifier *notifier.Notifier
	api      *server
	admin    *server
	reloader *reloader
	board    *relay.Board // nil without odds
	// beside is what runs beside the notifier, by name, until the work is done.
	beside   map[string]func(context.Context) error
	stopping atomic.Bool

	closeOnce sync.Once
	closeErr  error
	cleanups  []cleanup // in the order of opening
}

// cleanup closes one thing that New opened.
type cleanup struct {
	name string
	do   func(context.Context) error
}

// New opens everything that the service needs. The configuration must have
// been checked (config.Load). It makes no request to ksqlDB or FCM: a backend
// that is down now is a matter of readiness, not of starting.
func New(ctx context.Context, cfg config.Config, log zerolog.Logger) (_ *App, err error) {
	a := &App{log: log.With().Str("component", "app").Logger(), beside: map[string]func(context.Context) error{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close(ctx))
		}
	}()

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// Before the rules are read, so that no change of them is missed.
	if a.reloader, err = newReloader(cfg, metrics, log); err != nil {
		return nil, err
	}
	rules, err := Rules(cfg)
	if err != nil {
		return nil, err
	}
	db, err := awaitDatabase(ctx, cfg, a.log)
	if err != nil {
		return nil, err
	}
	a.onStop("database", func(context.Context) error { return db.Close() })
	applied, err := sqldb.Migrate(ctx, db)
	if err != nil {
		return nil, err
	}
	if len(applied) > 0 {
		a.log.Info().Ints64("versions", applied).Msg("database migrated")
	}
	metrics.MustRegister(newDatabaseMetrics(db))
	ledger := sqlledger.New(db)
	registry := sqldevices.New(db, sqldevices.Config{Canceller: ledger, Auditor: ledger})

	ksql, err := NewKSQLClient(cfg)
	if err != nil {
		return nil, err
	}
	a.onStop("ksqldb", func(context.Context) error { ksql.Close(); return nil })
	source := ksqlsource.New(ksql)

	senders, err := a.senders(ctx, cfg, registry, metrics, log)
	if err != nil {
		return nil, err
	}
	owner, err := ownerName()
	if err != nil {
		return nil, err
	}
	a.notifier, err = notifier.New(notifier.Config{
		Rules: rules, Source: source, Ledger: ledger, Retirer: registry, OptIn: optIn(cfg),
		Loud: loud(cfg), Spread: spread(cfg), Caps: frequencyCaps(cfg), AwaitImport: cfg.Suppressions.Import.Enabled(),
		Retention: notifier.Retention{Deliveries: time.Duration(cfg.Retention.Deliveries), Runs: time.Duration(cfg.Retention.Runs)},
		Senders:   senders, Owner: owner, Version: Version(), Log: log, Registerer: metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("make notifier: %w", err)
	}

	imports, err := a.importer(cfg, source, ledger, owner, metrics, log)
	if err != nil {
		return nil, err
	}
	a.reloader.replace = a.notifier.ReplaceRules
	a.beside["rule watcher"] = a.reloader.run

	decoder, err := a.decoder(cfg, metrics)
	if err != nil {
		return nil, err
	}
	relayed, err := a.feed(cfg, db, decoder, metrics, log)
	if err != nil {
		return nil, err
	}
	odds, watched, err := a.odds(cfg, decoder, metrics, log)
	if err != nil {
		return nil, err
	}

	auth, keys, err := a.authenticator(cfg, log)
	if err != nil {
		return nil, err
	}
	// Apps need the database only: when ksqlDB or FCM is down, devices can still
	// be activated. Operators see all of it on their own listener.
	database := api.Check{Name: "database", Do: db.Ping}
	tokens, err := ablyTokens(cfg, metrics)
	if err != nil {
		return nil, err
	}
	hook, presence, betting, err := a.bets(cfg, db, owner, metrics, log)
	if err != nil {
		return nil, err
	}
	apiHandler, err := api.New(api.Config{
		Registry: registry, Preferences: registry, Auth: auth, Log: log, Registerer: metrics, Version: Version(),
		Inbox: notifier.NewInbox(ledger, a.notifier.Rules), Odds: odds,
		Tokens: tokens, Hook: hook, Origins: cfg.CORS.AllowedOrigins,
		UserLimit: limit(cfg.Limits.PerUser), IPLimit: limit(cfg.Limits.PerIP), TrustedProxies: cfg.Limits.Proxies,
		Checks: []api.Check{a.runningCheck(), database},
	})
	if err != nil {
		return nil, fmt.Errorf("make api: %w", err)
	}
	operations, err := a.operations(cfg, db, ledger, registry, senders, log)
	if err != nil {
		return nil, fmt.Errorf("make operations: %w", err)
	}
	operations.Presence = presence
	pages, err := console.New(console.Config{Operations: operations, Gatherer: metrics, Log: log, Version: Version()})
	if err != nil {
		return nil, fmt.Errorf("make console: %w", err)
	}
	a.beside["console"] = pages.Run
	adminHandler, err := api.NewAdmin(api.AdminConfig{
		Gatherer: metrics, Registerer: metrics, Log: log, Operations: operations, Console: pages, Version: Version(),
		Checks: append([]api.Check{a.runningCheck(), database, cached("ksqldb", 5*time.Second, source.Check), a.lanesCheck()}, slices.Concat(keys, relayed, watched, betting, imports)...),
	})
	if err != nil {
		return nil, fmt.Errorf("make admin api: %w", err)
	}
	if a.api, err = a.listen(ctx, "api", cfg.Listen, apiHandler); err != nil {
		return nil, err
	}
	if a.board != nil {
		a.api.RegisterOnShutdown(a.board.Close) // streams would last beyond any stop
	}
	if a.admin, err = a.listen(ctx, "admin", cfg.Admin.Listen, adminHandler); err != nil {
		return nil, err
	}
	a.admin.WriteTimeout = 10 * time.Minute // a CPU profile, an export or a run takes as long as asked
	a.log.Info().Str("version", Version()).Str("owner", owner).Str("api", a.Addr()).Str("admin", a.AdminAddr()).
		Int("rules", len(rules.All())).Str("generation", rules.Generation()).Msg("service opened")
	return a, nil
}

// Addr is the address of the API, host:port.
func (a *App) Addr() string { return a.api.listener.Addr().String() }

// AdminAddr is the address of the admin listener, host:port.
func (a *App) AdminAddr() string { return a.admin.listener.Addr().String() }

// Run serves until ctx ends, or until a part fails, and then stops everything
// and closes the App. A stop that ctx asked for returns nil.
func (a *App) Run(ctx context.Context) error {
	// The work outlives ctx until the API has stopped.
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	// What operators have asked for may take minutes, and ends with the work:
	// a run that is cut is written down as failed while there is a database.
	a.admin.BaseContext = func(net.Listener) context.Context { return work }
	worked := make(chan struct{})

	g, ended := errgroup.WithContext(ctx)
	g.Go(a.api.serve)
	g.Go(a.admin.serve)
	g.Go(func() error {
		defer close(worked)
		if err := a.notifier.Run(work); err != nil {
			return fmt.Errorf("run notifier: %w", err)
		}
		if work.Err() == nil {
			return errors.New("run notifier: it ended by itself")
		}
		return nil
	})
	for name, run := range a.beside {
		g.Go(func() error {
			if err := run(work); err != nil {
				return fmt.Errorf("run %s: %w", name, err)
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ended.Done()
		a.stopping.Store(true)
		a.log.Info().Msg("stopping")
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		apps, cancelApps := context.WithTimeout(stop, stopAPITimeout)
		defer cancelApps()
		err := a.stopServer(apps, a.api)
		stopWork(errStopping)
		select {
		case <-worked:
		case <-stop.Done():
			a.log.Warn().Msg("work did not end in time: still waiting for it")
			<-worked // a send and its record have deadlines of their own
		}
		return errors.Join(err, a.stopServer(stop, a.admin))
	})
	err := errors.Join(g.Wait(), a.Close(ctx))
	a.log.Info().Err(err).Msg("stopped")
	return err
}

// Close closes what New opened, last first, within one deadline. Run does it
// itself; only an App that never runs needs it. Closing again changes nothing.
func (a *App) Close(ctx context.Context) error {
	a.closeOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		var errs []error
		for _, c := range slices.Backward(a.cleanups) {
			if err := c.do(ctx); err != nil {
				errs = append(errs, fmt.Errorf("close %s: %w", c.name, err))
			}
		}
		a.closeErr = errors.Join(errs...)
	})
	return a.closeErr
}

func (a *App) onStop(name string, do func(context.Context) error) {
	a.cleanups = append(a.cleanups, cleanup{name, do})
}

// ownerName names this replica in leases. The random part tells two lives of
// one host apart: the second must not take the first one's leases for its own.
func ownerName() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("read host name: %w", err)
	}
	return host + "-" + rand.Text()[:8], nil
}

// server is one listener with its handler.
type server struct {
	*http.Server
	name     string
	listener net.Listener
}

// listen binds an address. The listener is closed with the App, whether it has
// served or not.
func (a *App) listen(ctx context.Context, name, addr string, handler http.Handler) (*server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", name, err)
	}
	a.onStop(name+" listener", func(context.Context) error {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return &server{Server: api.NewServer(addr, handler), name: name, listener: listener}, nil
}

func (s *server) serve() error {
	if err := s.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.name, err)
	}
	return nil
}

// stopServer lets requests finish until ctx ends, and cuts what is left: a
// client that does not read its answer is no failure of the service.
func (a *App) stopServer(ctx context.Context, s *server) error {
	err := s.Shutdown(ctx)
	if err == nil {
		return nil
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(fmt.Errorf("stop %s: %w", s.name, err), s.Close())
	}
	a.log.Warn().Str("listener", s.name).Msg("requests were cut that did not end in time")
	if err := s.Close(); err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	return nil
}
