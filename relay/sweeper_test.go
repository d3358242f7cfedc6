package relay_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/relay"
)

// remover has so many full steps to take, after a failure.
type remover struct {
	left  int
	fails int
	calls []time.Time
}

func (r *remover) RemoveGone(_ context.Context, keep time.Duration, limit int) (int, bool, error) {
	if keep != 30*24*time.Hour {
		return 0, false, errors.New("not a month")
	}
	if r.fails > 0 {
		r.fails--
		return 0, false, errors.New("away")
	}
	r.calls = append(r.calls, time.Now())
	if r.left == 0 {
		return 0, false, nil
	}
	r.left--
	return limit, true, nil
}

// The sweeper goes on until nothing is left, rests between its steps, and comes
// again.
func TestTheSweeperRemovesStepByStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &remover{left: 4, fails: 1}
		log := &logtest.Buffer{}
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Minute)
		defer cancel()
		require.NoError(t, relay.NewSweeper(r, zerolog.New(log)).Run(ctx))
		require.Len(t, r.calls, 6, "four steps and a look in one pass, a look in the next")
		require.GreaterOrEqual(t, r.calls[1].Sub(r.calls[0]), 20*time.Millisecond)
		require.Greater(t, r.calls[5].Sub(r.calls[4]), 30*time.Minute)
		require.Contains(t, log.String(), `"count":2000`)
		require.Contains(t, log.String(), "cannot be removed")
	})
}
