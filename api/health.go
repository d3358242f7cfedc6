package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"
)

// Check is one thing that must work before requests should come here.
type Check struct {
	// Name stands in the answer of /readyz and in the log.
	Name string
	// Do returns nil when the thing works. It gets two seconds.
	Do func(ctx context.Context) error
}

const (
	// checkTimeout bounds one check.
	checkTimeout = 2 * time.Second
	// checkFresh is how long an answer holds, so that probing cannot load what
	// is probed.
	checkFresh = time.Second
)

// CheckState is how a check ended.
type CheckState struct {
	// Name is the check's.
	Name string
	// Err is nil when the thing works. Its text is for operators only.
	Err error
	// Since is when it was found not to work, by whoever asked first; zero while it works.
	Since time.Time
}

// readiness runs the checks and remembers the last answer.
type readiness struct {
	checks []Check
	log    zerolog.Logger

	mu     sync.Mutex
	at     time.Time
	failed []string
	last   []CheckState
}

func newReadiness(checks []Check, log zerolog.Logger) *readiness {
	return &readiness{checks: checks, log: log}
}

// failing returns the names of the checks that fail, in their order.
func (r *readiness) failing(ctx context.Context) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.look(ctx)
}

// states returns how every check ended, in their order.
func (r *readiness) states(ctx context.Context) []CheckState {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look(ctx)
	return slices.Clone(r.last)
}

// look runs the checks unless their last answer is fresh, and returns the names
// of those that fail. The caller holds the lock.
func (r *readiness) look(ctx context.Context) []string {
	if !r.at.IsZero() && time.Since(r.at) < checkFresh {
		return r.failed
	}
	// Others wait for this answer: it must not fail because one prober left.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	errs := make([]error, len(r.checks))
	var wg sync.WaitGroup
	for i, c := range r.checks {
		wg.Go(func() { errs[i] = c.Do(ctx) })
	}
	wg.Wait()

	now := time.Now()
	before := make(map[string]time.Time, len(r.failed))
	for _, was := range r.last {
		if was.Err != nil {
			before[was.Name] = was.Since
		}
	}
	var failed []string
	last := make([]CheckState, len(r.checks))
	for i, c := range r.checks {
		last[i] = CheckState{Name: c.Name, Err: errs[i]}
		since, failedBefore := before[c.Name]
		switch {
		case errs[i] != nil:
			failed = append(failed, c.Name)
			if !failedBefore {
				since = now
				r.log.Warn().Err(errs[i]).Str("check", c.Name).Msg("readiness check failed")
			}
			last[i].Since = since
		case failedBefore:
			r.log.Info().Str("check", c.Name).Msg("readiness check recovered")
		}
	}
	r.at, r.failed, r.last = now, failed, last
	return failed
}

// mountHealth adds /healthz (the process answers) and /readyz (so does all
// that it needs).
func mountHealth(router chi.Router, ready *readiness) {
	healthz := func(w http.ResponseWriter, _ *http.Request) { writeOK(w) }
	readyz := func(w http.ResponseWriter, r *http.Request) {
		failed := ready.failing(r.Context())
		if len(failed) == 0 {
			writeOK(w)
			return
		}
		fields := make([]ProblemField, 0, len(failed))
		for _, name := range failed {
			fields = append(fields, ProblemField{Path: name, Message: "not ready"})
		}
		writeProblem(w, newProblem(r.Context(), http.StatusServiceUnavailable, "not ready", fields...))
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		router.MethodFunc(method, "/healthz", healthz)
		router.MethodFunc(method, "/readyz", readyz)
	}
}

func writeOK(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"status": "ok"})
}
