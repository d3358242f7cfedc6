package console

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/notifier"
)

// livePath is where the overview gets itself anew; it keeps no session alive.
const livePath = "/live"

// heldShown is how many held runs the overview lists; the others are on /runs.
const heldShown = 8

// overviewView is how everything stands. What cannot be found out says so in its
// place, so that an outage of the database does not hide what else is known.
type overviewView struct {
	Checks   []api.CheckState
	Failing  int
	Replicas part[[]notifier.ReplicaRecord]
	Alive    int
	Vitals   part[vitals]
	Rules    part[[]notifier.RuleStatus]
	Held     part[[]notifier.RunRecord]
	HeldMore bool
	Stops    part[[]notifier.Stop]
	// Stop is the operator's word that stops all sending; nil while things are sent.
	Stop *notifier.Stop
}

// part is one thing to show, or why it is not known.
type part[T any] struct {
	Value   T
	Unknown string
}

func (c *Console) lookAt(v *visit) overviewView {
	var (
		out overviewView
		wg  sync.WaitGroup
	)
	ctx := v.ctx()
	wg.Go(func() { out.Checks = c.ready(ctx) })
	wg.Go(func() {
		out.Replicas = ask(c, v, func() ([]notifier.ReplicaRecord, error) { return c.Replicas.Replicas(ctx) })
	})
	wg.Go(func() { out.Vitals = ask(c, v, c.vitals) })
	wg.Go(func() { out.Rules = ask(c, v, func() ([]notifier.RuleStatus, error) { return c.Rules.Rules(ctx) }) })
	wg.Go(func() {
		out.Held = ask(c, v, func() ([]notifier.RunRecord, error) {
			return c.Runs.Runs(ctx, notifier.RunQuery{State: notifier.RunHeld, Limit: heldShown + 1})
		})
	})
	wg.Go(func() { out.Stops = ask(c, v, func() ([]notifier.Stop, error) { return c.Sending.Stops(ctx) }) })
	wg.Wait()

	for _, check := range out.Checks {
		if check.Err != nil {
			out.Failing++
		}
	}
	for _, r := range out.Replicas.Value {
		if r.Alive {
			out.Alive++
		}
	}
	if len(out.Held.Value) > heldShown {
		out.Held.Value, out.HeldMore = out.Held.Value[:heldShown], true
	}
	if i := slices.IndexFunc(out.Stops.Value, func(s notifier.Stop) bool { return s.Rule == "" }); i >= 0 {
		out.Stop = &out.Stops.Value[i]
	}
	return out
}

func ask[T any](c *Console, v *visit, question func() (T, error)) part[T] {
	value, err := question()
	if err != nil {
		return part[T]{Unknown: why(api.ProblemOf(v.ctx(), c.log, err))}
	}
	return part[T]{Value: value}
}

// why is what the operator may see of a failure, in a line.
func why(p *api.Problem) string {
	if p.Status == http.StatusInternalServerError {
		return p.Title + "; request id " + p.Instance + " leads to the cause in the log"
	}
	parts := []string{p.Detail}
	for _, f := range p.Errors {
		parts = append(parts, f.Path+": "+f.Message+".")
	}
	return strings.Join(parts, " ")
}

func (c *Console) overview(v *visit) error {
	return c.page(v, http.StatusOK, "overview", "Overview", "/", c.lookAt(v))
}

// live answers with the part of the overview that changes.
func (c *Console) live(v *visit) error {
	c.execute(v.w, v.r, http.StatusOK, "overview", "live", frame{Body: c.lookAt(v)})
	return nil
}

func (c *Console) stopSending(v *visit) error {
	reason, err := reasonOf(v)
	if err == nil {
		err = c.Sending.StopSending(v.ctx(), v.by, reason)
	}
	return c.done(v, "/", "Nothing is sent any more, on any replica, until sending is started.", err)
}

func (c *Console) startSending(v *visit) error {
	reason, err := reasonOf(v)
	if err == nil {
		err = c.Sending.StartSending(v.ctx(), v.by, reason)
	}
	return c.done(v, "/", "Sending has started again.", err)
}
