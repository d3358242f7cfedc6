package notifier

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

func TestAKeyIsRememberedAsLongAsItsRuleReachesBack(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	r := Retention{Deliveries: 2 * day}
	w := func(lookback time.Duration) *Watermark { return &Watermark{Lookback: lookback} }
	for name, tc := range map[string]struct {
		rule *Rule
		want KeyMemory
	}{
		"removed":              {nil, KeyMemory{Clock: ClockNow, Keep: 2 * day}},
		"expires":              {&Rule{}, KeyMemory{Clock: ClockTick, Keep: 2 * day}},
		"forget_after":         {&Rule{ForgetAfter: 5 * day}, KeyMemory{Clock: ClockTick, Keep: 5 * day}},
		"a short forget_after": {&Rule{ForgetAfter: day}, KeyMemory{Clock: ClockTick, Keep: 2 * day}},
		"watermark":            {&Rule{Watermark: w(time.Minute)}, KeyMemory{Clock: ClockWatermark, Keep: 2 * day}},
		"a long lookback":      {&Rule{Watermark: w(3 * day)}, KeyMemory{Clock: ClockWatermark, Keep: 3 * day}},
		"sweep":                {&Rule{Watermark: w(day), Sweep: &Sweep{Lookback: 4 * day}}, KeyMemory{Clock: ClockWatermark, Keep: 4 * day}},
		"all of them":          {&Rule{Watermark: w(day), Sweep: &Sweep{Lookback: 4 * day}, ForgetAfter: 6 * day}, KeyMemory{Clock: ClockWatermark, Keep: 6 * day}},
	} {
		tc.want.Rule, tc.want.Generation = "r", "g"
		set := &RuleSet{generation: "g"}
		if tc.rule != nil {
			set.byID = map[string]*Rule{"r": tc.rule}
		}
		require.Equal(t, tc.want, r.memory("r", set), name)
	}
	require.Equal(t, Retention{Deliveries: 30 * day, Runs: 30 * day}, Retention{}.withDefaults())
}

// attic is a RetentionLedger whose steps take a second each.
type attic struct {
	deliveries int // that are left to remove
	fails      atomic.Pointer[error]
	worked     time.Duration
	passes     int
}

func (a *attic) RulesOnRecord(context.Context) ([]string, error) { return []string{"r"}, nil }

func (a *attic) RemoveDeliveries(_ context.Context, _ time.Duration, limit int) (Removed, error) {
	time.Sleep(time.Second)
	a.worked += time.Second
	n := min(limit, a.deliveries)
	a.deliveries -= n
	return Removed{Deliveries: n, More: n == limit}, nil
}

func (a *attic) RemoveReplaced(context.Context, time.Duration, int) (Removed, error) {
	if err := a.fails.Load(); err != nil {
		return Removed{}, *err
	}
	return Removed{}, nil
}

func (a *attic) ForgetKeys(context.Context, KeyMemory, int) (Removed, error) { return Removed{}, nil }

func (a *attic) RemoveRuns(context.Context, string, time.Duration, int) (Removed, error) {
	a.passes++
	return Removed{Runs: 1}, nil
}

func (a *attic) RemoveFrequency(context.Context, time.Duration, int) (Removed, error) {
	return Removed{}, nil
}

func (a *attic) RemoveBadRows(context.Context, time.Duration, int) (Removed, error) {
	return Removed{}, nil
}

func TestTheJanitorLeavesMostOfTheWriterToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &attic{deliveries: 50 * janitorRows}
		metrics := NewMetrics(nil)
		var log logged
		j := NewJanitor(a, NewRules(&RuleSet{}), Retention{}, metrics, zerolog.New(&log))
		ctx, cancel := context.WithTimeout(t.Context(), janitorFirst+255*time.Second)
		defer cancel()
		require.NoError(t, j.Run(ctx))
		require.Zero(t, a.deliveries)
		require.Equal(t, 51*time.Second, a.worked)
		require.Equal(t, 1, a.passes, "five seconds for each full step, so that nothing is left of the time")
		require.InDelta(t, 50*janitorRows, testutil.ToFloat64(metrics.removed.WithLabelValues("deliveries")), 0)
		require.InDelta(t, 1, testutil.ToFloat64(metrics.removed.WithLabelValues("runs")), 0)
		require.Equal(t, 7, testutil.CollectAndCount(metrics.removed), "every table has its series")
		require.Len(t, log, 1)
		require.Contains(t, log[0], `"deliveries":25000,"runs":1,"count":25001`)
	})
}

func TestAFailingJanitorSaysSoOnceAndGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &attic{}
		full, gone := errors.New("the disk is full"), errors.New("the disk is gone")
		a.fails.Store(&full)
		var log logged
		j := NewJanitor(a, NewRules(&RuleSet{}), Retention{}, NewMetrics(nil), zerolog.New(&log).Level(zerolog.WarnLevel))
		go func() {
			time.Sleep(12 * time.Minute)
			a.fails.Store(&gone)
			time.Sleep(5 * time.Minute)
			a.fails.Store(nil)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Minute)
		defer cancel()
		require.NoError(t, j.Run(ctx))
		require.Equal(t, 5, a.passes, "runs are removed all the same")
		require.Len(t, log, 2)
		require.Contains(t, log[0], "full")
		require.Contains(t, log[1], "gone")
	})
}

// logged collects lines of a log.
type logged []string

func (l *logged) Write(p []byte) (int, error) {
	*l = append(*l, string(p))
	return len(p), nil
}
