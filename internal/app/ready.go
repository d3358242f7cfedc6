package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bugle-push/bugle/api"
)

// runningCheck fails from the beginning of a stop, so that no new requests are
// sent here.
func (a *App) runningCheck() api.Check {
	return api.Check{Name: "running", Do: func(context.Context) error {
		if a.stopping.Load() {
			return errors.New("the service is stopping")
		}
		return nil
	}}
}

// lanesCheck fails while a provider refuses our credentials.
func (a *App) lanesCheck() api.Check {
	return api.Check{Name: "providers", Do: func(context.Context) error {
		blocked := a.notifier.Blocked()
		reasons := make([]string, 0, len(blocked))
		for _, name := range slices.Sorted(maps.Keys(blocked)) {
			reasons = append(reasons, fmt.Sprintf("%s refuses our credentials: %s", name, blocked[name]))
		}
		if len(reasons) > 0 {
			return errors.New(strings.Join(reasons, "; "))
		}
		return nil
	}}
}

// cached asks at most once in a while, so that probes of many replicas cannot
// load the backend that they ask about.
func cached(name string, while time.Duration, do func(context.Context) error) api.Check {
	var (
		mu   sync.Mutex
		at   time.Time
		last error
	)
	return api.Check{Name: name, Do: func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if at.IsZero() || time.Since(at) >= while {
			last = do(ctx)
			at = time.Now()
		}
		return last
	}}
}
