package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// timelineSize is how much of a user's timeline their page lists.
const timelineSize = 20

// userView is the page of a user, or the search for one.
type userView struct {
	// Asked is what was searched for; empty before that.
	Asked string
	// ID is whose page it is; empty when nobody was found.
	ID           devices.UserID
	Devices      []devices.Device
	Suppressions []suppressionView
	// Timeline is what the user was told, or not, newest first.
	Timeline notifier.Timeline
	// Older is the address of the next page of the timeline, empty at the end; Later says that this is not the first.
	Older   string
	Later   bool
	Reasons []notifier.Reason
	Classes []notifier.SuppressionClass
}

// suppressionView is a suppression and whether it counts now.
type suppressionView struct {
	notifier.Suppression
	Active bool
}

// userPath is the page of a user. The id stands in the query, where it may have
// any character: in a path, "../" would be a way up.
func userPath(id string) string { return "/users?" + url.Values{"id": {id}}.Encode() }

func (c *Console) users(v *visit) error {
	view := userView{Asked: v.r.URL.Query().Get("id"), Reasons: notifier.SuppressionReasons(), Classes: notifier.SuppressionClasses()}
	if view.Asked == "" {
		return c.page(v, http.StatusOK, "users", "Users", "/users", view)
	}
	user := devices.UserID(view.Asked)
	if err := user.Validate(); err != nil {
		return err
	}
	after, err := timelineCursor(v)
	if err != nil {
		return err
	}
	view.Later = after != notifier.TimelineCursor{}
	if view.Timeline, err = c.Explain.Timeline(v.ctx(), notifier.TimelineQuery{User: user, After: after, Limit: timelineSize}); err != nil {
		return err
	}
	view.Devices, view.Older = view.Timeline.Devices, olderPath(view.Asked, view.Timeline.Next)
	view.Suppressions = suppressionsOf(view.Timeline.UserStanding.Suppressions)
	// Somebody of whom nothing is known may be a device's id: its page is its user's.
	if !view.Later && len(view.Devices)+len(view.Suppressions)+len(view.Timeline.Items) == 0 && devices.ID(view.Asked).Validate() == nil {
		d, err := c.Devices.Find(v.ctx(), devices.ID(view.Asked))
		if err == nil {
			http.Redirect(v.w, v.r, userPath(string(d.User)), http.StatusSeeOther)
			return nil
		}
		if !errors.Is(err, devices.ErrUnknownDevice) {
			return err
		}
	}
	view.ID = user
	return c.page(v, http.StatusOK, "users", view.Asked, "/users", view)
}

// timelineCursor reads where the page before ended; zero begins.
func timelineCursor(v *visit) (out notifier.TimelineCursor, err error) {
	if out.Delivery, err = deliveryCursor(v); err != nil {
		return out, err
	}
	n, err := number(v, "notification")
	out.Notification = notifier.NotificationID(n)
	return out, err
}

// olderPath is the next page of a timeline; empty at the end.
func olderPath(user string, next *notifier.TimelineCursor) string {
	if next == nil {
		return ""
	}
	q := url.Values{"id": {user}}
	if next.Delivery != nil {
		setDeliveryCursor(q, next.Delivery)
	}
	if next.Notification != 0 {
		q.Set("notification", strconv.FormatInt(int64(next.Notification), 10))
	}
	return "/users?" + q.Encode() + "#timeline"
}

// exportUser hands out all that is stored about a user. It is audited, so that it
// takes a form.
func (c *Console) exportUser(v *visit) error {
	user := devices.UserID(v.r.PostForm.Get("user"))
	if err := user.Validate(); err != nil {
		return err
	}
	begun := false
	lines := json.NewEncoder(v.w)
	begin := func() {
		if !begun {
			begun = true
			attach(v, "application/x-ndjson", "bugle-user.ndjson")
		}
	}
	err := c.Users.Export(v.ctx(), v.by, user, func(kind string, record any) error {
		begin()
		return lines.Encode(map[string]any{"kind": kind, "record": record})
	})
	if err != nil {
		if begun {
			c.abort(v, err)
		}
		return err
	}
	begin() // nothing is stored: an empty file says so
	return nil
}

// eraseUser wants the id typed once more: nothing brings back what it erases.
func (c *Console) eraseUser(v *visit) error {
	form := v.r.PostForm
	user := devices.UserID(form.Get("user"))
	if err := user.Validate(); err != nil {
		return err
	}
	back := userPath(string(user))
	if strings.TrimSpace(form.Get("confirm")) != string(user) {
		return c.again(v, "erase", back, c.users, wrongForm("confirm", "is not the id of this user: nothing was erased"))
	}
	reason, err := reasonOf(v)
	if err != nil {
		return c.again(v, "erase", back, c.users, err)
	}
	e, err := c.Users.Erase(v.ctx(), v.by, user, reason)
	if err != nil {
		return c.again(v, "erase", back, c.users, err)
	}
	told := fmt.Sprintf("%s of this user are erased. Suppressions and the audit remain.", plural(sum(e.Erased), "row", "rows"))
	if e.Waiting > 0 {
		told += fmt.Sprintf(" %s being sent, or bets that wait for Kafka: erase again in a minute.", plural(e.Waiting, "row is", "rows are"))
	}
	return c.done(v, back, told, nil)
}

// deactivate takes a device out of use. Its page is its user's.
func (c *Console) deactivate(v *visit) error {
	id := devices.ID(v.r.PostForm.Get("device"))
	back := "/users"
	if user := devices.UserID(v.r.PostForm.Get("user")); user.Validate() == nil {
		back = userPath(string(user))
	}
	reason, err := reasonOf(v)
	if err == nil {
		_, err = c.DeviceControl.DeactivateBy(v.ctx(), devices.Operator(v.by), id, reason)
	}
	return c.done(v, back, fmt.Sprintf("%s is deactivated until its app activates it again.", id), err)
}

func (c *Console) suppress(v *visit) error {
	form := v.r.PostForm
	s := notifier.Suppression{
		User: devices.UserID(form.Get("user")), Reason: notifier.Reason(form.Get("reason")),
		Class: notifier.SuppressionClass(form.Get("class")), Note: form.Get("note"),
	}
	var err error
	if s.From, err = formTime(form, "from"); err == nil {
		s.Until, err = formTime(form, "until")
	}
	if err == nil {
		how := notifier.RefuseShorter
		if form.Get("shorten") == "yes" {
			how = notifier.AllowShorter
		}
		_, err = c.Suppressions.Suppress(v.ctx(), v.by, []notifier.Suppression{s}, how)
	}
	back, show := userPath(string(s.User)), c.users
	if form.Get("from_page") == "suppressions" {
		back, show = "/suppressions", c.suppressions
	}
	if err != nil {
		if s.User.Validate() != nil {
			back, show = "/suppressions", c.suppressions
		}
		return c.again(v, "suppress", back, show, err)
	}
	return c.done(v, back, fmt.Sprintf("%s is suppressed.", s.User), nil)
}

func (c *Console) unsuppress(v *visit) error {
	key := notifier.SuppressionKey{User: devices.UserID(v.r.PostForm.Get("user")), Reason: notifier.Reason(v.r.PostForm.Get("reason"))}
	err := c.Suppressions.Unsuppress(v.ctx(), v.by, key)
	back := userPath(string(key.User))
	if key.User.Validate() != nil {
		back = "/suppressions"
	}
	return c.done(v, back, "The suppression is taken back. What it has stopped stays stopped.", err)
}

func suppressionsOf(found []notifier.Suppression) []suppressionView {
	out, now := make([]suppressionView, 0, len(found)), time.Now()
	for _, s := range found {
		out = append(out, suppressionView{Suppression: s, Active: s.ActiveAt(now)})
	}
	return out
}

// formTime reads a time of a form, in UTC as the browser sends it; empty is zero.
func formTime(form url.Values, name string) (time.Time, error) {
	text := form.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, wrongForm(name, "wants a date and a time")
}
