package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/fault"
)

// AdminConfig is what the handler of the admin listener needs.
type AdminConfig struct {
	// Gatherer yields what /metrics shows; required.
	Gatherer prometheus.Gatherer
	// Log gets one line per request.
	Log zerolog.Logger
	// Registerer takes the metrics, shared with New's; nil keeps them unregistered.
	Registerer prometheus.Registerer
	// Checks decide GET /readyz.
	Checks []Check
	// Operations are what operators work with; nil leaves /admin/v1 out.
	Operations *Operations
	// Console is what browsers get at /; nil leaves it out. It needs Operations.
	Console Console
	// Version stands in the OpenAPI document; empty means "dev".
	Version string
}

// Console is the part of the admin listener that people look at. It lets nobody
// in by itself but those whom AdminTokens know.
type Console interface {
	// Mount adds its routes. ready tells how each of the checks ended that decide
	// GET /readyz, in their order, at most a second old.
	Mount(router chi.Router, ready func(ctx context.Context) []CheckState)
	// Refuse answers a browser with a page where no route has the path, or none the method.
	Refuse(w http.ResponseWriter, r *http.Request, p *Problem)
}

// NewAdmin returns the handler of the admin listener: /healthz, /readyz and
// /metrics, which ask nobody who calls; /debug/pprof; and, with Operations,
// /admin/v1 and /admin/openapi.json, and with a Console its pages at /. With
// Operations everything but the first three and the console's sign-in wants an
// admin token, or a session that was begun with one, and answers 403 as long as
// there is none. Keep the listener where only operators and probes reach it all
// the same.
func NewAdmin(cfg AdminConfig) (http.Handler, error) {
	if cfg.Gatherer == nil {
		return nil, fault.New(fault.Invalid, "api: Gatherer is required")
	}
	log := cfg.Log.With().Str("component", "admin").Logger()
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	router := newRouter(log, m)
	ready := newReadiness(cfg.Checks, log)
	mountHealth(router, ready)
	router.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{
		ErrorLog: metricsLog{log},
	}))
	if cfg.Operations == nil {
		mountProfiles(router)
		return router, nil
	}
	if !cfg.Operations.complete() {
		return nil, fault.New(fault.Invalid, "api: Operations must be complete")
	}
	a := newAdminServer(*cfg.Operations, log)
	mountProfiles(router.With(a.guard))
	if err := a.mount(router, cfg.Version); err != nil {
		return nil, err
	}
	if cfg.Console != nil {
		cfg.Console.Mount(router, ready.states)
		forBrowsers(router, cfg.Console)
	}
	return router, nil
}

// forBrowsers answers people with pages where programs get problems: whoever asks
// for HTML, outside of what programs use.
func forBrowsers(router *chi.Mux, console Console) {
	pages := func(plain http.HandlerFunc, status int, detail string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !wantsPage(r) {
				plain(w, r)
				return
			}
			if status == http.StatusMethodNotAllowed {
				allow(router, w, r)
			}
			console.Refuse(w, r, newProblem(r.Context(), status, detail))
		}
	}
	router.NotFound(pages(router.NotFoundHandler(), http.StatusNotFound, "There is no page with this address."))
	router.MethodNotAllowed(pages(router.MethodNotAllowedHandler(), http.StatusMethodNotAllowed,
		"This address takes forms, and is no page of its own: go to the page that the form stands on."))
}

func wantsPage(r *http.Request) bool {
	for _, program := range []string{"/admin", "/debug", "/assets", "/healthz", "/readyz", "/metrics"} {
		if r.URL.Path == program || strings.HasPrefix(r.URL.Path, program+"/") {
			return false
		}
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// mountProfiles adds /debug/pprof.
func mountProfiles(router chi.Router) {
	router.Get("/debug/pprof/", pprof.Index)
	router.Get("/debug/pprof/cmdline", pprof.Cmdline)
	router.Get("/debug/pprof/profile", pprof.Profile)
	router.Get("/debug/pprof/symbol", pprof.Symbol)
	router.Post("/debug/pprof/symbol", pprof.Symbol)
	router.Get("/debug/pprof/trace", pprof.Trace)
	// The index serves each named profile (heap, goroutine, …) below itself.
	router.Get("/debug/pprof/{profile}", pprof.Index)
}

// metricsLog takes what promhttp has to say about a failed scrape.
type metricsLog struct{ log zerolog.Logger }

// Println logs what a collector reported.
func (l metricsLog) Println(v ...any) {
	l.log.Error().Str("reason", fmt.Sprint(v...)).Msg("metrics gathering failed")
}
