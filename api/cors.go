package api

import (
	"net/http"
	"slices"
	"strings"
)

// What pages of other origins may send and see, beside what the Fetch standard
// always allows.
const (
	corsMethods = "GET, POST, PUT"
	corsHeaders = "Authorization, Content-Type, Last-Event-ID, X-Request-Id"
	corsExposed = "Retry-After, WWW-Authenticate, X-Request-Id"
	// corsMaxAge is how long a browser need not ask again, in seconds: the least that all keep.
	corsMaxAge = "600"
)

// allowOrigins lets the pages of some origins use the API (the Fetch standard's
// CORS protocol). Others get no word of it, so that their browsers keep the answers
// from them. No cookie is ever looked at, so credentials are not allowed.
func allowOrigins(origins []string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if len(origins) == 0 {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Add("Vary", "Origin")
			origin := r.Header.Get("Origin")
			if origin == "" || strings.HasPrefix(r.URL.Path, "/v1/hooks/") || !slices.Contains(origins, origin) {
				next.ServeHTTP(w, r)
				return
			}
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", corsExposed)
			if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
				next.ServeHTTP(w, r)
				return
			}
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsHeaders)
			h.Set("Access-Control-Max-Age", corsMaxAge)
			w.WriteHeader(http.StatusNoContent)
		})
	}
}
