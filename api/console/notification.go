package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// explainedSize is how many deliveries of a notification its page explains at once.
const explainedSize = 25

// notificationView is the page of a notification.
type notificationView struct {
	notifier.Explanation
	// User and Device narrow the deliveries; empty for all.
	User   string
	Device string
	// Answers says what became of it in the first place, in plain words.
	Answers []verdictLine
	// Row is the row that it was made of.
	Row json.RawMessage
	// Explained are the deliveries, each with what can be done about it.
	Explained []explainedView
	// Self is the address of the page; Next that of the page with more deliveries, empty at the end.
	Self, Next string
}

// verdictLine is a sentence, and for which device.
type verdictLine struct {
	Device devices.ID
	State  notifier.DeliveryState
	Text   string
}

// explainedView is a delivery on the page of its notification.
type explainedView struct {
	notifier.ExplainedDelivery
	Gates []gateView
	// Requeue says that it can be tried again.
	Requeue bool
	// Open says that its details are shown at once.
	Open bool
}

// gateView is a gate in words.
type gateView struct {
	notifier.Gate
	Question string
}

// gateQuestions say what each gate asks; a delivery passes when it is so.
func gateQuestions() map[string]string {
	return map[string]string{
		"record":        "What is on record can be read",
		"rule":          "The rule is still in force",
		"expiry":        "It has not expired",
		"stop":          "Sending is not stopped",
		"device":        "The device is active",
		"owner":         "The device is still the user's",
		"newest":        "Nothing newer has taken its place",
		"suppressions":  "The user may be sent to",
		"unchanged":     "It tells the device something new",
		"told":          "The device was told what this follows",
		"muted":         "The category is not muted",
		"opt_in":        "The category is chosen, where it must be",
		"quiet_hours":   "It is not within quiet hours",
		"mode":          "The rule is live, not in shadow mode",
		"frequency_cap": "The user has not been told enough",
		"text":          "The rule can make a text of the row",
	}
}

func notificationPath(id notifier.NotificationID, narrow url.Values) string {
	path := "/notifications/" + strconv.FormatInt(int64(id), 10)
	if len(narrow) > 0 {
		path += "?" + narrow.Encode()
	}
	return path
}

func (c *Console) notification(v *visit) error {
	id, err := parseID(chi.URLParam(v.r, "id"))
	if err != nil {
		return notifier.ErrUnknownNotification
	}
	query := v.r.URL.Query()
	view := notificationView{User: query.Get("user"), Device: query.Get("device")}
	req := notifier.ExplainRequest{
		ID: notifier.NotificationID(id), User: devices.UserID(view.User), Device: devices.ID(view.Device), Limit: explainedSize,
	}
	narrow := url.Values{}
	if view.User != "" {
		narrow.Set("user", view.User)
	}
	if view.Device != "" {
		narrow.Set("device", view.Device)
	}
	if len(narrow) == 0 {
		req.After = devices.ID(query.Get("after"))
	}
	if view.Explanation, err = c.Explain.Explain(v.ctx(), req); err != nil {
		return err
	}
	view.Self = notificationPath(req.ID, narrow)
	if view.Explanation.Next != "" && len(narrow) == 0 {
		view.Next = notificationPath(req.ID, url.Values{"after": {string(view.Explanation.Next)}})
	}
	if view.Row, err = rowText(view.Notification.Row); err != nil {
		return err
	}
	now := time.Now()
	for _, d := range view.Deliveries {
		e := explainedView{
			ExplainedDelivery: d, Open: len(view.Deliveries) == 1,
			Requeue: slices.Contains(notifier.RequeueableStates(), d.State) && d.ExpiresAt.After(now),
		}
		for _, g := range d.Gates {
			e.Gates = append(e.Gates, gateView{Gate: g, Question: gateQuestions()[g.Name]})
		}
		view.Explained = append(view.Explained, e)
	}
	view.Answers = answers(view)
	return c.page(v, http.StatusOK, "notification", "Notification "+strconv.FormatInt(id, 10), "/runs", view)
}

// rowText is a row for reading: markup in it is for the template to escape.
func rowText(row notifier.Row) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(row); err != nil {
		return nil, fmt.Errorf("encode row: %w", err)
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}

// answers are the sentences at the top: of each delivery of one user, or of the
// only one there is, and else what became of the notification as a whole.
func answers(view notificationView) []verdictLine {
	narrow := view.User != "" || view.Device != ""
	var out []verdictLine
	if narrow || len(view.Deliveries) == 1 && view.Next == "" {
		for _, d := range view.Deliveries {
			out = append(out, verdictLine{Device: d.DeliveryRecord.Device, State: d.State, Text: d.Explanation})
		}
	}
	if narrow && len(out) == 0 {
		whom := "the device " + view.Device
		if view.User != "" {
			whom = view.User
		}
		out = append(out, verdictLine{Text: "No delivery of it to " + whom + " is on record."})
	}
	if len(out) == 0 || narrow && len(view.Deliveries) == 0 {
		out = append(out, verdictLine{Text: view.Summary})
	}
	return out
}

// delivery leads to the page of its notification, which explains it.
func (c *Console) delivery(v *visit) error {
	d, err := c.deliveryOf(v)
	if err != nil {
		return err
	}
	http.Redirect(v.w, v.r, deliveryPath(d), http.StatusSeeOther) //nolint:gosec // a path of ours, with what was sent escaped
	return nil
}

func (c *Console) deliveryOf(v *visit) (notifier.DeliveryRecord, error) {
	id, err := parseID(chi.URLParam(v.r, "id"))
	if err != nil {
		return notifier.DeliveryRecord{}, notifier.ErrUnknownDelivery
	}
	return c.Deliveries.Delivery(v.ctx(), notifier.DeliveryID(id))
}

func deliveryPath(d notifier.DeliveryRecord) string {
	return notificationPath(d.Notification, url.Values{"device": {string(d.Device)}})
}

func (c *Console) requeueDelivery(v *visit) error {
	d, err := c.deliveryOf(v)
	if err != nil {
		return err
	}
	_, err = c.Requeue.Requeue(v.ctx(), v.by, d.ID)
	return c.done(v, deliveryPath(d), "The delivery waits for its turn again. The gates decide once more.", err)
}
