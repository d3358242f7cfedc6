package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// requeueShown is how much of what would be tried again the preview lists.
const requeueShown = 10

// deliveryFilter is what the page of deliveries and the requeue look for.
type deliveryFilter struct {
	Rule, Provider, State, Reason string
	// Since and Until are as they were typed.
	Since, Until string
	from, to     time.Time
}

// Any tells whether anything is looked for.
func (f deliveryFilter) Any() bool { return f.values() != nil }

func (f deliveryFilter) values() url.Values {
	var out url.Values
	for name, text := range map[string]string{
		"rule": f.Rule, "provider": f.Provider, "state": f.State, "reason": f.Reason, "since": f.Since, "until": f.Until,
	} {
		if text != "" {
			if out == nil {
				out = url.Values{}
			}
			out.Set(name, text)
		}
	}
	return out
}

// Path is the address of a page with the filter.
func (f deliveryFilter) Path(page string) string {
	if q := f.values(); q != nil {
		return page + "?" + q.Encode()
	}
	return page
}

func (f deliveryFilter) query() notifier.DeliveryQuery {
	return notifier.DeliveryQuery{
		Rule: f.Rule, Provider: devices.Provider(f.Provider), State: notifier.DeliveryState(f.State), Reason: f.Reason, Since: f.from, Until: f.to,
	}
}

func (f deliveryFilter) requeue() notifier.RequeueFilter {
	return notifier.RequeueFilter{
		Rule: f.Rule, Provider: devices.Provider(f.Provider), State: notifier.DeliveryState(f.State), Reason: f.Reason, Since: f.from, Until: f.to,
	}
}

// filterOf reads a filter of a query or a form.
func filterOf(from url.Values) (deliveryFilter, error) {
	f := deliveryFilter{
		Rule: from.Get("rule"), Provider: from.Get("provider"), State: from.Get("state"), Reason: from.Get("reason"),
		Since: from.Get("since"), Until: from.Get("until"),
	}
	var err error
	if f.from, err = formTime(from, "since"); err != nil {
		return f, err
	}
	if f.to, err = formTime(from, "until"); err != nil {
		return f, err
	}
	if f.State != "" && !slices.Contains(deliveryStates(), notifier.DeliveryState(f.State)) {
		return f, wrongForm("state", "is not a state of deliveries")
	}
	return f, nil
}

func deliveryStates() []notifier.DeliveryState {
	return []notifier.DeliveryState{
		notifier.Queued, notifier.Leased, notifier.Sent, notifier.Gone, notifier.Rejected, notifier.Expired, notifier.Suppressed,
		notifier.Superseded, notifier.Cancelled, notifier.Unconfirmed,
	}
}

// deliveriesView is a page of deliveries.
type deliveriesView struct {
	Filter     deliveryFilter
	States     []notifier.DeliveryState
	Providers  []devices.Provider
	Deliveries []notifier.DeliveryRecord
	// Requeue is where to try again what the filter names; empty where that cannot be.
	Requeue string
	Next    string
}

func (c *Console) deliveries(v *visit) error {
	query := v.r.URL.Query()
	view := deliveriesView{States: deliveryStates(), Providers: []devices.Provider{devices.FCM, devices.Ably}}
	var err error
	if view.Filter, err = filterOf(query); err != nil {
		c.refused(v, "filter", query, err)
		return c.page(v, http.StatusOK, "deliveries", "Deliveries", "/deliveries", view)
	}
	q := view.Filter.query()
	q.Limit = pageSize + 1
	if q.After, err = deliveryCursor(v); err != nil {
		return err
	}
	if view.Deliveries, err = c.Deliveries.Deliveries(v.ctx(), q); err != nil {
		return err
	}
	if len(view.Deliveries) > pageSize {
		view.Deliveries = view.Deliveries[:pageSize]
		last, more := view.Deliveries[pageSize-1], view.Filter.values()
		if more == nil {
			more = url.Values{}
		}
		setDeliveryCursor(more, &notifier.DeliveryCursor{CreatedAt: last.CreatedAt, ID: last.ID})
		view.Next = "/deliveries?" + more.Encode()
	}
	if view.Filter.Any() && (q.State == "" || slices.Contains(notifier.RequeueableStates(), q.State)) {
		view.Requeue = view.Filter.Path("/deliveries/requeue")
	}
	return c.page(v, http.StatusOK, "deliveries", "Deliveries", "/deliveries", view)
}

// deliveryCursor reads where the page before ended; nil begins.
func deliveryCursor(v *visit) (*notifier.DeliveryCursor, error) {
	at, err := number(v, "at")
	if err != nil {
		return nil, err
	}
	id, err := number(v, "delivery")
	if err != nil || id == 0 {
		return nil, err
	}
	return &notifier.DeliveryCursor{CreatedAt: time.UnixMicro(at).UTC(), ID: notifier.DeliveryID(id)}, nil
}

func setDeliveryCursor(q url.Values, c *notifier.DeliveryCursor) {
	q.Set("at", strconv.FormatInt(c.CreatedAt.UnixMicro(), 10))
	q.Set("delivery", strconv.FormatInt(int64(c.ID), 10))
}

// requeueView is the preview of trying deliveries again.
type requeueView struct {
	Filter deliveryFilter
	notifier.Requeued
	// Most is how many are tried again at once; More says that there are more than that.
	Most int
	More bool
	// Counted says that there are even more than were counted.
	Counted bool
	// LeftOut is where to look at the unconfirmed ones that the filter does not name; empty when there are none.
	LeftOut string
	// Shown are the newest of what the filter names, expired ones included.
	Shown []notifier.DeliveryRecord
}

// Going64 is how many would be tried again now.
func (r requeueView) Going64() int64 { return int64(min(r.Matching, r.Most)) }

// requeuePage counts what a requeue would do. It changes nothing.
func (c *Console) requeuePage(v *visit) error {
	f, err := filterOf(v.r.URL.Query())
	if err != nil {
		return err
	}
	view := requeueView{Filter: f, Most: notifier.MaxRequeued}
	dry := f.requeue()
	dry.DryRun, dry.Limit = true, view.Most
	if view.Requeued, err = c.Requeue.RequeueAll(v.ctx(), v.by, dry); err != nil {
		return err
	}
	view.More = view.Matching > view.Most
	view.Counted = view.Matching >= notifier.RequeueCounted
	if view.Unconfirmed > 0 {
		unconfirmed := f
		unconfirmed.State = string(notifier.Unconfirmed)
		view.LeftOut = unconfirmed.Path("/deliveries/requeue")
	}
	q := f.query()
	q.Limit = requeueShown
	if q.State != "" {
		if view.Shown, err = c.Deliveries.Deliveries(v.ctx(), q); err != nil {
			return err
		}
	}
	return c.page(v, http.StatusOK, "requeue", "Try deliveries again", "/deliveries", view)
}

func (c *Console) requeue(v *visit) error {
	f, err := filterOf(v.r.PostForm)
	if err != nil {
		return err
	}
	// No more than somebody has looked at and agreed to: since then there may be thousands.
	most, err := strconv.Atoi(v.r.PostForm.Get("most"))
	if err != nil || most < 1 {
		return wrongForm("most", "wants how many were counted before")
	}
	all := f.requeue()
	all.Limit = min(most, notifier.MaxRequeued)
	r, err := c.Requeue.RequeueAll(v.ctx(), v.by, all)
	if err != nil {
		return err
	}
	if r.Requeued == 0 {
		return c.done(v, f.Path("/deliveries"), "", fault.New(fault.Conflict, "nothing is left that the filter names and that has not expired."))
	}
	told := "1 delivery waits for its turn again. The gates decide once more."
	if r.Requeued > 1 {
		told = fmt.Sprintf("%s wait for their turn again. The gates decide once more.", plural(int64(r.Requeued), "delivery", "deliveries"))
	}
	if r.Matching > r.Requeued {
		told += " There are more that the filter names: look at them before."
	}
	return c.done(v, f.Path("/deliveries"), told, nil)
}

// plural counts something.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	text, _ := grouped(n) // of a number it never fails
	return text + " " + many
}
