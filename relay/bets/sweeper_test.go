package bets_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/relay/bets"
)

// remover has so many full steps to take, after a failure.
type remover struct {
	left  int
	fails int
	calls []time.Time
}

func (r *remover) Remove(_ context.Context, keep time.Duration, limit int) (bets.Removed, error) {
	if keep != 24*time.Hour {
		return bets.Removed{}, errors.New("not a day")
	}
	if r.fails > 0 {
		r.fails--
		return bets.Removed{}, errors.New("away")
	}
	r.calls = append(r.calls, time.Now())
	r.left--
	return bets.Removed{Bets: limit, More: r.left > 0}, nil
}

// The sweeper goes on until nothing is left, rests between its steps, and comes
// again.
func TestTheSweeperRemovesStepByStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		metrics, err := bets.NewMetrics(nil)
		require.NoError(t, err)
		r := &remover{left: 4, fails: 1}
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
		defer cancel()
		require.NoError(t, bets.NewSweeper(r, metrics, zerolog.Nop()).Run(ctx))
		require.Len(t, r.calls, 5, "four steps in one pass, one in the next")
		require.GreaterOrEqual(t, r.calls[1].Sub(r.calls[0]), 20*time.Millisecond)
		require.Greater(t, r.calls[4].Sub(r.calls[3]), time.Minute)
	})
}
