package console

import (
	"fmt"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// The bounds of a test push, in characters, as in the admin API.
const (
	maxPushTitle = 200
	maxPushBody  = 1000
)

// pushView is the form of a test push.
type pushView struct {
	Asked  string
	Device *devices.Device
	// Unknown says that there is no such device.
	Unknown bool
}

func (c *Console) pushPage(v *visit) error {
	view := pushView{Asked: v.r.URL.Query().Get("device")}
	if view.Asked != "" {
		id := devices.ID(view.Asked)
		d, err := devices.Device{}, id.Validate()
		if err == nil {
			d, err = c.Devices.Find(v.ctx(), id)
		}
		switch kind := fault.KindOf(err); {
		case err == nil:
			view.Device = &d
		case kind == fault.NotFound || kind == fault.Invalid:
			view.Unknown = true
		default:
			return err
		}
	}
	return c.page(v, http.StatusOK, "push", "Test push", "/push", view)
}

func (c *Console) push(v *visit) error {
	form := v.r.PostForm
	id, title, body := devices.ID(form.Get("device")), form.Get("title"), form.Get("body")
	back := "/push?" + url.Values{"device": {string(id)}}.Encode()
	err := id.Validate()
	if err == nil {
		err = within("title", title, maxPushTitle)
	}
	if err == nil {
		err = within("body", body, maxPushBody)
	}
	if err != nil {
		return c.again(v, "push", back, c.pushPage, err)
	}
	r, err := c.TestSend.TestSend(v.ctx(), v.by, id, title, body)
	if err != nil {
		return c.again(v, "push", back, c.pushPage, err)
	}
	told := fmt.Sprintf("%s answered %q after %s", r.Provider, r.Verdict, r.Took.Round(time.Millisecond))
	if r.Verdict == notifier.VerdictSent {
		return c.done(v, back, told+". Whether the phone shows it, only the phone knows.", nil)
	}
	if r.Verdict == notifier.VerdictUnknown {
		c.sessions.tell(v.secret, notice{Bad: true, Unsure: true, Text: told + ": the phone may show it all the same."})
		http.Redirect(v.w, v.r, back, http.StatusSeeOther)
		return nil
	}
	return c.again(v, "push", back, c.pushPage, fault.Newf(fault.Conflict, "%s: %s (HTTP %d).", told, r.Code, r.Status))
}

func within(name, text string, most int) error {
	if n := utf8.RuneCountInString(text); n == 0 || n > most || !utf8.ValidString(text) {
		return fault.InvalidFields("the form is not valid", fault.Field{Path: name, Message: fmt.Sprintf("wants 1 to %d characters", most)})
	}
	return nil
}
