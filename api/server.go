package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/fault"
)

// The defaults of Config.
const (
	// DefaultBodyLimit is 16 KiB: the largest request, an activation with the
	// longest token, has less than 5 KiB.
	DefaultBodyLimit = 16 << 10
	// DefaultBodyTimeout bounds how long a body of a few KiB may take to arrive.
	DefaultBodyTimeout = 5 * time.Second
	// DefaultRequestTimeout bounds what a request may make the database do.
	DefaultRequestTimeout = 10 * time.Second
)

// Config is what the handler for apps needs.
type Config struct {
	// Registry keeps the devices; required.
	Registry Registry
	// Preferences keeps what users want to hear about; required.
	Preferences PreferenceStore
	// Auth finds out who calls; required.
	Auth Authenticator
	// Log gets one line per request, and the causes of internal errors.
	Log zerolog.Logger
	// Registerer takes the metrics; nil keeps them unregistered.
	Registerer prometheus.Registerer
	// Inbox is what users were told; nil leaves its routes out.
	Inbox Inbox
	// Tokens mints tokens for Ably; nil leaves their route out.
	Tokens AblyTokens
	// Hook takes Ably's webhooks; nil leaves their route out.
	Hook Hook
	// Origins are those whose pages may use the API in a browser (https://bets.example.com);
	// without any, only pages of the API's own origin may.
	Origins []string
	// Odds are the newest odds of events; without a Board there are none.
	Odds OddsConfig
	// Checks decide GET /readyz.
	Checks []Check
	// UserLimit is how many requests a user may make in a minute; 0 means
	// DefaultUserLimit, and less than 0 that there is no limit.
	UserLimit int
	// IPLimit is how many requests an address may make in a minute, with or
	// without a token; an IPv6 address counts with its /64. 0 means
	// DefaultIPLimit, and less than 0 that there is no limit. Health is exempt.
	IPLimit int
	// TrustedProxies are whose X-Forwarded-For is believed. Without any, the
	// address of a request is that of its connection.
	TrustedProxies []netip.Prefix
	// BodyLimit is the largest accepted body in bytes; 0 means DefaultBodyLimit.
	BodyLimit int64
	// BodyTimeout is how long a body may take to arrive; 0 means DefaultBodyTimeout.
	BodyTimeout time.Duration
	// RequestTimeout bounds the work for one request; 0 means DefaultRequestTimeout.
	RequestTimeout time.Duration
	// Version stands in the OpenAPI document; empty means "dev".
	Version string
}

type server struct {
	registry    Registry
	preferences PreferenceStore
	auth        Authenticator
	inbox       Inbox
	tokens      AblyTokens
	odds        *odds
	log         zerolog.Logger
	userLimit   *limiter // nil for none
	bodyLimit   int64
	bodyTimeout time.Duration
	timeout     time.Duration
}

// New returns the handler for apps. It returns an Invalid fault when something
// required is missing, and an error when the metrics cannot be registered.
func New(cfg Config) (http.Handler, error) {
	if cfg.Registry == nil || cfg.Preferences == nil || cfg.Auth == nil {
		return nil, fault.New(fault.Invalid, "api: Registry, Preferences and Auth are required")
	}
	if cfg.BodyLimit < 0 || cfg.BodyTimeout < 0 || cfg.RequestTimeout < 0 {
		return nil, fault.New(fault.Invalid, "api: BodyLimit, BodyTimeout and RequestTimeout must not be negative")
	}
	s := &server{
		registry: cfg.Registry, preferences: cfg.Preferences, auth: cfg.Auth, inbox: cfg.Inbox, tokens: cfg.Tokens,
		userLimit:   newLimiter(cfg.UserLimit, DefaultUserLimit),
		log:         cfg.Log.With().Str("component", "api").Logger(),
		bodyLimit:   cmp.Or(cfg.BodyLimit, DefaultBodyLimit),
		bodyTimeout: cmp.Or(cfg.BodyTimeout, DefaultBodyTimeout),
		timeout:     cmp.Or(cfg.RequestTimeout, DefaultRequestTimeout),
	}
	var err error
	if s.odds, err = newOdds(cfg.Odds, cfg.TrustedProxies); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	router := newRouter(s.log, m)
	// Origins first, so that a page can read a refusal too.
	router.Use(allowOrigins(cfg.Origins), limitIP(newLimiter(cfg.IPLimit, DefaultIPLimit), cfg.TrustedProxies))
	mountHealth(router, newReadiness(cfg.Checks, s.log))
	if cfg.Hook != nil {
		router.Method(http.MethodPost, "/v1/hooks/ably", &hookServer{hook: cfg.Hook, log: s.log, limit: DefaultHookLimit, timeout: s.timeout})
	}
	if err := s.mountApp(router, cfg.Version); err != nil {
		return nil, err
	}
	return router, nil
}

// mountApp adds the routes of apps, each behind authenticate, and the document
// that describes them.
func (s *server) mountApp(router chi.Router, version string) error {
	api := humachi.New(router, huma.Config{
		OpenAPI: newOpenAPI(version),
		// huma looks for what stands after the "+" of application/problem+json.
		Formats:                      map[string]huma.Format{"application/json": jsonFormat(), "json": jsonFormat()},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{s.problems},
	})
	api.UseMiddleware(s.bound, s.authenticate, s.limitUser, s.readBody)
	s.registerDevices(api)
	s.registerPreferences(api)
	if s.inbox != nil {
		s.registerNotifications(api)
	}
	if s.tokens != nil {
		s.registerAblyToken(api)
	}
	if s.odds.Board != nil {
		s.registerOdds(api)
	}

	// huma describes its own error model beside ours; nothing refers to it.
	delete(api.OpenAPI().Components.Schemas.Map(), "ErrorModel")
	delete(api.OpenAPI().Components.Schemas.Map(), "ErrorDetail")
	doc, err := json.MarshalIndent(api.OpenAPI(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode openapi document: %w", err)
	}
	docs, err := docsPage(api.OpenAPI())
	if err != nil {
		return fmt.Errorf("render docs page: %w", err)
	}
	router.Get("/docs", docs)
	router.Get("/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc)
	})
	return nil
}

// bound gives the work for a request its deadline.
func (s *server) bound(hctx huma.Context, next func(huma.Context)) {
	ctx, cancel := context.WithTimeout(hctx.Context(), s.timeout)
	defer cancel()
	next(statusContext{huma.WithContext(hctx, ctx)})
}

// handle registers an operation whose errors become problems, with its examples.
func handle[I, O any](s *server, api huma.API, op huma.Operation, h func(context.Context, *I) (*O, error), examples ...example) {
	// readBody has bounded the body and its time already.
	op.MaxBodyBytes, op.BodyReadTimeout = -1, -1
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "A problem (RFC 9457)",
		Content: map[string]*huma.MediaType{
			problemMedia: {Schema: problemSchema(api)},
		},
	}
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, problemOf(ctx, s.log, err)
		}
		return out, nil
	})
	if len(examples) > 0 {
		document(api, operationOf(api, op), examples)
	}
}

// The timeouts of NewServer. A request of this API is small and answered from
// one database, so that seconds are generous.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
)

// NewServer returns a server for the handler whose every phase is bounded, so
// that slow or silent clients cannot hold connections. A handler that streams
// must move its own write deadline (http.ResponseController); for the admin
// handler set WriteTimeout to 0, since a CPU profile takes as long as asked.
func NewServer(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr: addr, Handler: handler,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
	}
}
