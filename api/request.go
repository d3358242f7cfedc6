package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/rs/zerolog"
)

// requestIDHeader carries the request id, in both directions.
const requestIDHeader = "X-Request-Id"

// maxRequestIDLen bounds a request id that a caller brings along.
const maxRequestIDLen = 64

type requestIDKey struct{}

// requestID returns the id of the request that ctx belongs to, "" outside of one.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// RequestID returns the id of the request that ctx belongs to, which leads to its
// lines in the log and the audit; "" outside of one.
func RequestID(ctx context.Context) string { return requestID(ctx) }

// withRequestID gives each request an id, its own if the caller brought a
// short and clean one: it goes into every log line about the request.
func withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(requestIDHeader)
		if !cleanRequestID(id) {
			id = rand.Text()
		}
		w.Header().Set(requestIDHeader, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}

func cleanRequestID(id string) bool {
	unclean := func(c rune) bool {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		return !letter && c != '-' && c != '_' && c != '.'
	}
	return id != "" && len(id) <= maxRequestIDLen && !strings.ContainsFunc(id, unclean)
}

// observe writes one log line and one sample per request. It stands outside of
// the recovery, so that it sees the status of a panic too.
func observe(log zerolog.Logger, m *metrics) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
			defer observed(r.Context(), log, m, r.Method, ww, time.Now())
			next.ServeHTTP(ww, r)
		})
	}
}

func observed(ctx context.Context, log zerolog.Logger, m *metrics, method string, ww middleware.WrapResponseWriter, start time.Time) {
	took := time.Since(start)
	route, method, status := routeOf(ctx), knownMethod(method), statusWritten(ctx, ww)
	m.observe(route, method, status, took, ww.Header().Get("Content-Type") == EventStream)
	level := zerolog.InfoLevel
	if isProbe(route) && status < http.StatusInternalServerError {
		level = zerolog.DebugLevel
	}
	log.WithLevel(level).Str("route", route).Str("method", method).Int("status", status).
		Int64("took_ms", took.Milliseconds()).Str("request_id", requestID(ctx)).Msg("request served")
}

// routeOf is the router's pattern: a path would tell device ids and make as
// many series as there are devices.
func routeOf(ctx context.Context) string {
	if rc := chi.RouteContext(ctx); rc != nil {
		if p := rc.RoutePattern(); p != "" {
			return p
		}
	}
	return "unmatched"
}

// knownMethods are the methods that may stand in a log line or a label; the
// method of a request is any token that the caller likes.
func knownMethods() []string {
	return []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions,
	}
}

func knownMethod(method string) string {
	if slices.Contains(knownMethods(), method) {
		return method
	}
	return "other"
}

func statusWritten(ctx context.Context, ww middleware.WrapResponseWriter) int {
	switch {
	case ww.Status() != 0:
		return ww.Status()
	case ctx.Err() != nil:
		return statusClientClosed
	}
	return http.StatusOK
}

func isProbe(route string) bool {
	return route == "/healthz" || route == "/readyz" || route == "/metrics"
}

// recoverPanics turns a panic into a problem, or cuts the connection when the
// answer has begun: half an answer must not look like a whole one.
func recoverPanics(log zerolog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer recovered(r.Context(), log, w)
			next.ServeHTTP(w, r)
		})
	}
}

// recovered must be deferred itself: recover works nowhere else.
func recovered(ctx context.Context, log zerolog.Logger, w http.ResponseWriter) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // the documented sentinel, panicked as it is
		panic(v)
	}
	log.Error().Str("request_id", requestID(ctx)).Str("reason", fmt.Sprint(v)).
		Str("stack", string(debug.Stack())).Msg("request panicked")
	if ww, ok := w.(middleware.WrapResponseWriter); ok && ww.Status() != 0 {
		panic(http.ErrAbortHandler)
	}
	writeProblem(w, newProblem(ctx, http.StatusInternalServerError, "the request id leads to the cause in the log"))
}

// newRouter returns a router whose every answer passes the middlewares above
// and whose own refusals are problems.
func newRouter(log zerolog.Logger, m *metrics) *chi.Mux {
	router := chi.NewRouter()
	router.Use(withRequestID, observe(log, m), recoverPanics(log), secureHeaders)
	router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, newProblem(r.Context(), http.StatusNotFound, "no route has this path"))
	})
	router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		allow(router, w, r)
		writeProblem(w, newProblem(r.Context(), http.StatusMethodNotAllowed, "see the Allow header"))
	})
	return router
}

// allow says which methods a path has: a 405 must (RFC 9110, section 15.5.6).
func allow(router *chi.Mux, w http.ResponseWriter, r *http.Request) {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	for _, method := range knownMethods() {
		if router.Match(chi.NewRouteContext(), method, path) {
			w.Header().Add("Allow", method)
		}
	}
}

// secureHeaders keeps answers out of caches and browsers from guessing types.
func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
