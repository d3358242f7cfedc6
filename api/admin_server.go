package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// The longest that operations may take which ask ksqlDB or a provider; the
// others have DefaultRequestTimeout. A run may have an outage to catch up with.
const (
	runTimeout      = 5 * time.Minute
	previewTimeout  = time.Minute
	testSendTimeout = 30 * time.Second
	requeueTimeout  = time.Minute
	exportTimeout   = 5 * time.Minute
	importTimeout   = 9 * time.Minute // an answer must follow before the listener's own end of writing
)

// timeoutKey is where an operation's metadata has a timeout of its own.
const timeoutKey = "bugle.timeout"

type actorKey struct{}

// actorOf returns the operator whom the guard let in. It panics outside of a
// route behind it: that is a mistake in the wiring, and must not pass as
// nobody's request.
func actorOf(ctx context.Context) notifier.Actor {
	name, ok := ctx.Value(actorKey{}).(string)
	if !ok {
		panic("api: route without authentication asks for its operator")
	}
	return notifier.Actor{Name: name, RequestID: requestID(ctx)}
}

// adminServer serves /admin/v1. The embedded server lends its way with bodies
// and problems; of its fields only the log and the limits are set.
type adminServer struct {
	*server
	Operations
}

func newAdminServer(ops Operations, log zerolog.Logger) *adminServer {
	return &adminServer{Operations: ops, server: &server{
		log: log, bodyLimit: DefaultBodyLimit, bodyTimeout: DefaultBodyTimeout, timeout: DefaultRequestTimeout,
	}}
}

// guard lets a request pass that shows a good admin token.
func (a *adminServer) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, p := a.admit(w, r)
		if p != nil {
			writeProblem(w, p)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, name)))
	})
}

// authenticate is guard for huma's operations.
func (a *adminServer) authenticate(hctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(hctx)
	name, p := a.admit(w, r)
	if p != nil {
		writeProblem(w, p)
		return
	}
	next(huma.WithValue(hctx, actorKey{}, name))
}

func (a *adminServer) admit(w http.ResponseWriter, r *http.Request) (string, *Problem) {
	ctx := r.Context()
	token, err := bearerToken(r.Header)
	challenge := `Bearer realm="bugle-admin"`
	if err == nil {
		challenge += `, error="invalid_token"`
	}
	// Asked in any case: without tokens the answer is the same whatever is shown.
	name, tokenErr := a.Tokens.actor(token, time.Now())
	if err == nil || fault.KindOf(tokenErr) == fault.Forbidden {
		err = tokenErr
	}
	if err == nil {
		return name, nil
	}
	p := problemOf(ctx, a.log, err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", challenge)
		a.log.Warn().Str("request_id", requestID(ctx)).Str("reason", p.Detail).Msg("admin token refused")
	}
	return "", p
}

// bound gives the work for a request its deadline.
func (a *adminServer) bound(hctx huma.Context, next func(huma.Context)) {
	timeout := a.timeout
	if own, ok := hctx.Operation().Metadata[timeoutKey].(time.Duration); ok {
		timeout = own
	}
	ctx, cancel := context.WithTimeout(hctx.Context(), timeout)
	defer cancel()
	next(statusContext{huma.WithContext(hctx, ctx)})
}

// mount adds the routes of operators, each behind authenticate, and the
// document that describes them.
func (a *adminServer) mount(router chi.Router, version string) error {
	api := humachi.New(router, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Bugle admin", Version: cmp.Or(version, "dev"),
				Description: "Look at rules, runs, deliveries and devices, and change what they do. Every change is audited.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"operator": {Type: "http", Scheme: "bearer", Description: "A token that `bugle admin-token` has made."},
				},
			},
			Security: []map[string][]string{{"operator": {}}},
		},
		Formats:                      map[string]huma.Format{"application/json": jsonFormat(), "json": jsonFormat()},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{a.problems},
	})
	api.UseMiddleware(a.bound, a.authenticate, a.readBody)
	a.registerRules(api)
	a.registerRuns(api)
	a.registerReplicas(api)
	a.registerDeliveries(api)
	a.registerNotifications(api)
	a.registerExplain(api)
	a.registerUsers(api)
	a.registerAdminDevices(api)
	a.registerSending(api)
	a.registerSuppressions(api)
	a.registerAudit(api)
	if a.Presence != nil {
		a.registerPresence(api)
	}

	documentAdmin(api)
	documentNulls(api.OpenAPI().Components.Schemas)

	// huma describes its own error model beside ours; nothing refers to it.
	delete(api.OpenAPI().Components.Schemas.Map(), "ErrorModel")
	delete(api.OpenAPI().Components.Schemas.Map(), "ErrorDetail")
	doc, err := json.MarshalIndent(api.OpenAPI(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode openapi document: %w", err)
	}
	router.With(a.guard).Get("/admin/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc)
	})
	return nil
}

// lasting gives an operation a timeout of its own.
func lasting(op huma.Operation, timeout time.Duration) huma.Operation {
	op.Metadata = map[string]any{timeoutKey: timeout}
	return op
}

// noInput is that of an operation without one.
type noInput struct{}

// optionalTime makes a zero time null.
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
