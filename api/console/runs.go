package console

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/bugle-push/bugle/notifier"
)

const (
	// pageSize is how many entries a list shows at once.
	pageSize = 50
	// listedSize is how many of its notifications the page of a run lists at once.
	listedSize = 25
	// sampleSize is how much of a held run is rendered.
	sampleSize = 5
)

// runsView is a page of runs.
type runsView struct {
	Rule   string
	State  string
	States []notifier.RunState
	Runs   []notifier.RunRecord
	// Next is the address of the next page; empty at the end.
	Next string
}

// runView is the page of a run.
type runView struct {
	notifier.RunRecord
	Funnel        []step
	Notifications []stateCount
	Deliveries    []stateCount
	// Counted is where the counts have ended; 0 when they are whole.
	Counted int
	// Listed are the run's notifications, a page of them by their ids; More is the address of the next page.
	Listed []notifier.NotificationRecord
	More   string
	// Sample is what a held run would send; SampleError says why it is not known.
	Sample      mockups
	SampleError string
}

// step is one width of the funnel, from what was read to what was sent.
type step struct {
	Name  string
	Count int64
	// Share is of the widest step, in percent; what is not nothing can be seen.
	Share int64
	Doc   string
}

type stateCount struct {
	State string
	Count int64
}

func (c *Console) runs(v *visit) error {
	query := v.r.URL.Query()
	view := runsView{
		Rule: query.Get("rule"), State: query.Get("state"),
		States: notifier.RunStates(),
	}
	if !slices.Contains(view.States, notifier.RunState(view.State)) {
		view.State = ""
	}
	before, err := number(v, "before")
	if err != nil {
		return err
	}
	view.Runs, err = c.Runs.Runs(v.ctx(), notifier.RunQuery{
		Rule: view.Rule, State: notifier.RunState(view.State), Before: notifier.RunID(before), Limit: pageSize + 1,
	})
	if err != nil {
		return err
	}
	if len(view.Runs) > pageSize {
		view.Runs = view.Runs[:pageSize]
		q := url.Values{"before": {strconv.FormatInt(int64(view.Runs[pageSize-1].ID), 10)}, "rule": {view.Rule}, "state": {view.State}}
		view.Next = "/runs?" + q.Encode()
	}
	return c.page(v, http.StatusOK, "runs", "Runs", "/runs", view)
}

func (c *Console) run(v *visit) error {
	id, err := parseID(chi.URLParam(v.r, "id"))
	if err != nil {
		return notifier.ErrUnknownRun
	}
	run, err := c.Runs.Run(v.ctx(), notifier.RunID(id))
	if err != nil {
		return err
	}
	view := runView{RunRecord: run, Funnel: funnelOf(run), Notifications: countsOf(run.Notifications), Deliveries: countsOf(run.Deliveries)}
	if max(sum(run.Notifications), sum(run.Deliveries)) >= notifier.MaxCounted {
		view.Counted = notifier.MaxCounted
	}
	after, err := number(v, "after")
	if err != nil {
		return err
	}
	view.Listed, err = c.Runs.RunNotifications(v.ctx(), notifier.RunNotificationQuery{
		Run: run.ID, After: notifier.NotificationID(after), Limit: listedSize + 1,
	})
	if err != nil {
		return err
	}
	if len(view.Listed) > listedSize {
		view.Listed = view.Listed[:listedSize]
		view.More = runPath(run.ID) + "?after=" + strconv.FormatInt(int64(view.Listed[listedSize-1].ID), 10) + "#notifications"
	}
	if run.State == notifier.RunHeld {
		s := ask(c, v, func() ([]notifier.PreviewNotification, error) {
			return c.RunControl.Sample(v.ctx(), run.ID, sampleSize)
		})
		view.Sample, view.SampleError = mockupsOf(s.Value, v), s.Unknown
	}
	return c.page(v, http.StatusOK, "run", "Run "+strconv.FormatInt(id, 10), "/runs", view)
}

func (c *Console) releaseRun(v *visit) error {
	return c.endRun(v, c.RunControl.Release, "Run %d is released: what it held goes out.")
}

func (c *Console) discardRun(v *visit) error {
	return c.endRun(v, c.RunControl.Discard, "Run %d is discarded: what it held is never announced.")
}

func (c *Console) endRun(v *visit, end func(context.Context, notifier.Actor, notifier.RunID) (notifier.RunRecord, error), told string) error {
	id, err := parseID(chi.URLParam(v.r, "id"))
	if err != nil {
		return notifier.ErrUnknownRun
	}
	_, err = end(v.ctx(), v.by, notifier.RunID(id))
	return c.done(v, runPath(notifier.RunID(id)), fmt.Sprintf(told, id), err)
}

// funnelOf follows a run from its rows to what a provider took.
func funnelOf(r notifier.RunRecord) []step {
	steps := []step{
		{Name: "Rows read", Count: r.Rows, Doc: "known ones included"},
		{Name: "Notifications", Count: sum(r.Notifications), Doc: "new versions, and those of failed runs"},
		{Name: "Deliveries", Count: sum(r.Deliveries), Doc: "to active devices; none before the release"},
		{Name: "Ended", Count: sum(r.Deliveries) - r.Deliveries[notifier.Queued] - r.Deliveries[notifier.Leased], Doc: "in a final state"},
		{Name: "Sent", Count: r.Deliveries[notifier.Sent], Doc: "the provider took them"},
	}
	widest := int64(1)
	for _, s := range steps {
		widest = max(widest, s.Count)
	}
	for i := range steps {
		if steps[i].Count > 0 {
			steps[i].Share = max(1, steps[i].Count*100/widest)
		}
	}
	return steps
}

func sum[K comparable](m map[K]int64) (n int64) {
	for _, c := range m {
		n += c
	}
	return n
}

func countsOf[K ~string](m map[K]int64) []stateCount {
	out := make([]stateCount, 0, len(m))
	for _, state := range slices.Sorted(maps.Keys(m)) {
		out = append(out, stateCount{string(state), m[state]})
	}
	return out
}
