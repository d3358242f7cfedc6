package console

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
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
	// Timeline is what the user was told, or not, newest first; More says that there is older.
	Timeline notifier.Timeline
	More     bool
	Reasons  []notifier.Reason
	Classes  []notifier.SuppressionClass
}

// suppressionView is a suppression and whether it counts now.
type suppressionView struct {
	notifier.Suppression
	Active bool
}

// suppressionsView is a page of the list.
type suppressionsView struct {
	Suppressions []suppressionView
	Next         string
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
	var err error
	if view.Timeline, err = c.Explain.Timeline(v.ctx(), notifier.TimelineQuery{User: user, Limit: timelineSize}); err != nil {
		return err
	}
	view.Devices, view.More = view.Timeline.Devices, view.Timeline.Next != nil
	view.Suppressions = suppressionsOf(view.Timeline.UserStanding.Suppressions)
	// Somebody of whom nothing is known may be a device's id: its page is its user's.
	if len(view.Devices)+len(view.Suppressions)+len(view.Timeline.Items) == 0 && devices.ID(view.Asked).Validate() == nil {
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
		_, err = c.Suppressions.Suppress(v.ctx(), v.by, []notifier.Suppression{s})
	}
	return c.done(v, userPath(string(s.User)), "The user is suppressed.", err)
}

func (c *Console) unsuppress(v *visit) error {
	key := notifier.SuppressionKey{User: devices.UserID(v.r.PostForm.Get("user")), Reason: notifier.Reason(v.r.PostForm.Get("reason"))}
	err := c.Suppressions.Unsuppress(v.ctx(), v.by, key)
	return c.done(v, userPath(string(key.User)), "The suppression is taken back. What it has stopped stays stopped.", err)
}

func (c *Console) suppressions(v *visit) error {
	query := v.r.URL.Query()
	q := notifier.SuppressionQuery{Limit: pageSize + 1}
	if query.Get("user") != "" {
		q.After = &notifier.SuppressionKey{User: devices.UserID(query.Get("user")), Reason: notifier.Reason(query.Get("reason"))}
	}
	found, err := c.Suppressions.Suppressions(v.ctx(), q)
	if err != nil {
		return err
	}
	var view suppressionsView
	if len(found) > pageSize {
		found = found[:pageSize]
		last := found[pageSize-1]
		view.Next = "/suppressions?" + url.Values{"user": {string(last.User)}, "reason": {string(last.Reason)}}.Encode()
	}
	view.Suppressions = suppressionsOf(found)
	return c.page(v, http.StatusOK, "suppressions", "Suppressions", "/suppressions", view)
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
	return time.Time{}, fault.InvalidFields("the form is not valid", fault.Field{Path: name, Message: "wants a date and a time"})
}
