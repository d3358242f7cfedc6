package console

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/fault"
)

// How long the work for a page may take. What asks ksqlDB or a provider has as
// long as in the admin API.
const (
	pageTimeout    = 10 * time.Second
	previewTimeout = time.Minute
	pushTimeout    = 30 * time.Second
	runTimeout     = 5 * time.Minute
	requeueTimeout = time.Minute
	exportTimeout  = 5 * time.Minute
	importTimeout  = 9 * time.Minute // an answer must follow before the listener's own end of writing
)

// Config is what a Console needs.
type Config struct {
	// Operations are those of the admin API; required, and complete.
	Operations *api.Operations
	// Gatherer yields the metrics that the overview shows; required.
	Gatherer prometheus.Gatherer
	Log      zerolog.Logger
	// Version is that of the binary; it stands at the foot of each page.
	Version string
	// Every is how often a sample is taken for the charts, and the overview renewed of
	// those who follow it; 0 means DefaultEvery.
	Every time.Duration
}

// Console serves the pages. It implements api.Console.
type Console struct {
	api.Operations

	gatherer prometheus.Gatherer
	log      zerolog.Logger
	version  string
	sessions *sessions
	pages    map[string]pageTemplate
	assets   map[string]asset
	origins  *http.CrossOriginProtection
	ready    func(context.Context) []api.CheckState
	every    time.Duration
	samples  *samples
	watch    *watch
	seats    *seats
}

// New returns a Console. It returns an Invalid fault when something required is
// missing.
func New(cfg Config) (*Console, error) {
	if cfg.Operations == nil || cfg.Operations.Tokens == nil || cfg.Gatherer == nil {
		return nil, fault.New(fault.Invalid, "console: Operations and Gatherer are required")
	}
	if cfg.Every < 0 {
		return nil, fault.New(fault.Invalid, "console: Every must not be negative")
	}
	assets, err := readAssets()
	if err != nil {
		return nil, err
	}
	pages, err := parsePages(assets, navigation(cfg.Operations.Presence != nil))
	if err != nil {
		return nil, err
	}
	return &Console{
		Operations: *cfg.Operations, gatherer: cfg.Gatherer, log: cfg.Log.With().Str("component", "console").Logger(), version: cfg.Version,
		sessions: newSessions(), pages: pages, assets: assets, origins: http.NewCrossOriginProtection(),
		ready: func(context.Context) []api.CheckState { return nil },
		every: cmp.Or(cfg.Every, DefaultEvery), samples: &samples{}, watch: newWatch(), seats: newSeats(),
	}, nil
}

// Mount adds the console's routes. All but the sign-in and the assets want a session.
func (c *Console) Mount(router chi.Router, ready func(ctx context.Context) []api.CheckState) {
	c.ready = ready
	router.Group(func(r chi.Router) {
		r.Use(c.headers)
		r.Get("/assets/{name}", c.asset)
		r.Get("/sign-in", c.signInPage)
		r.Post("/sign-in", c.signIn)

		c.get(r, "/", pageTimeout, c.overview)
		c.get(r, livePath, pageTimeout, c.live)
		r.Get(streamPath, c.stream)
		c.post(r, "/sign-out", pageTimeout, c.signOut)
		c.post(r, "/sending/stop", pageTimeout, c.stopSending)
		c.post(r, "/sending/start", pageTimeout, c.startSending)

		c.get(r, "/rules", pageTimeout, c.rules)
		c.get(r, "/rules/{id}", pageTimeout, c.rule)
		c.get(r, "/rules/{id}/preview", previewTimeout, c.preview)
		c.post(r, "/rules/{id}/pause", pageTimeout, c.ruleAction(c.RuleControl.Pause, "%s is paused: it takes no ticks."))
		c.post(r, "/rules/{id}/resume", pageTimeout, c.ruleAction(c.RuleControl.Resume, "%s takes ticks again."))
		c.post(r, "/rules/{id}/stop", pageTimeout, c.ruleAction(c.RuleControl.StopRule, "Nothing of %s is sent until it is started."))
		c.post(r, "/rules/{id}/start", pageTimeout, c.ruleAction(c.RuleControl.StartRule, "%s sends again what has not expired."))
		c.post(r, "/rules/{id}/run", runTimeout, c.runRule)

		c.get(r, "/runs", pageTimeout, c.runs)
		c.get(r, "/runs/{id}", pageTimeout, c.run)
		c.post(r, "/runs/{id}/release", pageTimeout, c.releaseRun)
		c.post(r, "/runs/{id}/discard", pageTimeout, c.discardRun)

		c.get(r, "/bad-rows", pageTimeout, c.badRows)
		c.get(r, "/notifications/{id}", pageTimeout, c.notification)
		c.get(r, "/deliveries", pageTimeout, c.deliveries)
		c.get(r, "/deliveries/requeue", requeueTimeout, c.requeuePage)
		c.post(r, "/deliveries/requeue", requeueTimeout, c.requeue)
		c.get(r, "/deliveries/{id}", pageTimeout, c.delivery)
		c.post(r, "/deliveries/{id}/requeue", pageTimeout, c.requeueDelivery)

		c.get(r, "/users", pageTimeout, c.users)
		c.post(r, "/users/export", exportTimeout, c.exportUser)
		c.post(r, "/users/erase", exportTimeout, c.eraseUser)
		c.post(r, "/users/deactivate", pageTimeout, c.deactivate)
		c.post(r, "/users/suppress", pageTimeout, c.suppress)
		c.post(r, "/users/unsuppress", pageTimeout, c.unsuppress)
		c.get(r, "/suppressions", pageTimeout, c.suppressions)
		c.post(r, "/suppressions/export", exportTimeout, c.exportSuppressions)
		r.Post("/suppressions/import", c.guard(importTimeout, c.provenUpload(c.importSuppressions)))

		c.get(r, "/push", pageTimeout, c.pushPage)
		c.post(r, "/push", pushTimeout, c.push)
		c.get(r, "/audit", pageTimeout, c.audit)
		c.get(r, "/audit/export", exportTimeout, c.exportAudit)
		c.get(r, "/presence", pageTimeout, c.presence)
	})
}

// Refuse answers a browser with a page where no route has the path, or none the
// method. Whoever is not signed in sees it without the rest of the console.
func (c *Console) Refuse(w http.ResponseWriter, r *http.Request, p *api.Problem) {
	c.headers(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v, err := c.admit(w, r); err == nil {
			c.problem(v, p) //nolint:contextcheck // a visit carries its request, and the request its context
			return
		}
		c.render(w, r, p.Status, "problem", frame{Title: p.Title, Body: problemView{
			Status: p.Status, Title: p.Title, Detail: p.Detail, RequestID: p.Instance,
		}})
	})).ServeHTTP(w, r)
}

// handler answers one request of an operator.
type handler func(v *visit) error

func (c *Console) get(r chi.Router, pattern string, timeout time.Duration, h handler) {
	r.Get(pattern, c.guard(timeout, h))
}

func (c *Console) post(r chi.Router, pattern string, timeout time.Duration, h handler) {
	r.Post(pattern, c.guard(timeout, c.proven(h)))
}
