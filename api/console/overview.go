package console

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/notifier"
)

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
	// Troubles are what wants a look, the worst first.
	Troubles []trouble
	// Charts are drawn from what this replica has measured; without samples they are empty.
	Charts []chart
	// News is how much news each rule has now, and Delay its 95th percentile from
	// event to acceptance, in seconds; both as this replica sees them.
	News  map[string]spark
	Delay map[string]float64
}

// part is one thing to show, or why it is not known.
type part[T any] struct {
	Value   T
	Unknown string
}

// lookAt finds out how everything stands. log says where a failure goes.
func (c *Console) lookAt(ctx context.Context, log func(error) zerolog.Logger) overviewView {
	var (
		out  overviewView
		wg   sync.WaitGroup
		past = c.history()
	)
	wg.Go(func() { out.Checks = c.ready(ctx) })
	wg.Go(func() {
		out.Replicas = answer(ctx, log, func() ([]notifier.ReplicaRecord, error) { return c.Replicas.Replicas(ctx) })
	})
	wg.Go(func() { out.Vitals = answer(ctx, log, c.vitals) })
	wg.Go(func() {
		out.Rules = answer(ctx, log, func() ([]notifier.RuleStatus, error) { return c.Rules.Rules(ctx) })
	})
	wg.Go(func() {
		out.Held = answer(ctx, log, func() ([]notifier.RunRecord, error) {
			return c.Runs.Runs(ctx, notifier.RunQuery{State: notifier.RunHeld, Limit: heldShown + 1})
		})
	})
	wg.Go(func() { out.Stops = answer(ctx, log, func() ([]notifier.Stop, error) { return c.Sending.Stops(ctx) }) })
	out.Charts, out.News, out.Delay = past.charts(), past.perRule(), past.latencyOfRules()
	wg.Wait()

	sending := past.sending()
	for i := range out.Vitals.Value.Providers {
		p := &out.Vitals.Value.Providers[i]
		p.Sending, p.Known = sending[p.Name]
	}
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
	out.Troubles = troubles(out, past, time.Now())
	return out
}

func ask[T any](c *Console, v *visit, question func() (T, error)) part[T] {
	return answer(v.ctx(), c.always, question)
}

func answer[T any](ctx context.Context, log func(error) zerolog.Logger, question func() (T, error)) part[T] {
	value, err := question()
	if err != nil {
		return part[T]{Unknown: why(api.ProblemOf(ctx, log(err), err))}
	}
	return part[T]{Value: value}
}

// always logs every failure.
func (c *Console) always(error) zerolog.Logger { return c.log }

// why is what the operator may see of a failure, in a line.
func why(p *api.Problem) string {
	if p.Status == http.StatusInternalServerError && p.Instance == "" {
		return p.Title + "; the log has the cause"
	}
	if p.Status == http.StatusInternalServerError {
		return p.Title + "; request id " + p.Instance + " leads to the cause in the log"
	}
	parts := []string{p.Detail}
	for _, f := range p.Errors {
		parts = append(parts, f.Path+": "+f.Message+".")
	}
	return strings.Join(parts, " ")
}

// overviewPage is the whole page: its parts, and what stands around them.
type overviewPage struct {
	Parts []livePart
	Stop  *notifier.Stop
	// StopsUnknown says that nobody can tell whether there is a Stop: then both can be pressed.
	StopsUnknown bool
}

func (c *Console) overview(v *visit) error {
	page, err := c.overviewNow(v)
	if err != nil {
		return err
	}
	return c.page(v, http.StatusOK, "overview", "Overview", "/", page)
}

// live answers with the parts of the overview that change.
func (c *Console) live(v *visit) error {
	page, err := c.overviewNow(v)
	if err != nil {
		return err
	}
	c.execute(v.w, v.r, http.StatusOK, "overview", "live", frame{Body: page})
	return nil
}

func (c *Console) overviewNow(v *visit) (overviewPage, error) {
	view := c.lookAt(v.ctx(), c.always)
	parts, err := c.parts(view)
	return overviewPage{Parts: parts, Stop: view.Stop, StopsUnknown: view.Stops.Unknown != ""}, err
}

func (c *Console) stopSending(v *visit) error {
	reason, err := reasonOf(v)
	if err == nil {
		err = c.Sending.StopSending(v.ctx(), v.by, reason)
	}
	if err != nil {
		return c.again(v, "stop", "/", c.overview, err)
	}
	return c.done(v, "/", "Nothing is sent any more, on any replica, until sending is started.", nil)
}

func (c *Console) startSending(v *visit) error {
	reason, err := reasonOf(v)
	if err == nil {
		err = c.Sending.StartSending(v.ctx(), v.by, reason)
	}
	if err != nil {
		return c.again(v, "start", "/", c.overview, err)
	}
	return c.done(v, "/", "Sending has started again.", nil)
}
