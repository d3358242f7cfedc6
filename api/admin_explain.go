package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// Explainer tells what became of notifications, and why.
type Explainer interface {
	Explain(ctx context.Context, req notifier.ExplainRequest) (notifier.Explanation, error)
	Timeline(ctx context.Context, q notifier.TimelineQuery) (notifier.Timeline, error)
}

// AdminExplanation is a notification and its whole story.
type AdminExplanation struct {
	AdminNotification
	Identity     string             `json:"identity" doc:"A hash of the key, version and order columns that the rule had then."`
	Shadow       bool               `json:"shadow" doc:"The rule was in shadow mode then."`
	RuleVersion  AdminRuleVersion   `json:"rule_version"`
	RunDetails   *AdminRun          `json:"run_details" doc:"The run that made it; null when it is not kept any more."`
	Texts        []AdminShownText   `json:"texts" nullable:"false" doc:"One for each locale, time zone and kind that the explained devices have; the default text when there is no delivery. Rendered by the rule in force, as of the release."`
	ThreadList   []AdminThreadEntry `json:"thread_notifications" nullable:"false" doc:"All of the thread, newest first, at most 50."`
	SupersededBy *int64             `json:"superseded_by" doc:"The newest notification that took its place; null for none."`
	Summary      string             `json:"summary" doc:"What became of it as a whole, in plain words."`
	Explained    []AdminExplained   `json:"explained" nullable:"false" doc:"Deliveries by device, each with its explanation."`
	Next         *string            `json:"next" doc:"Ask again with after= this for more deliveries; null at the end."`
}

// AdminRuleVersion says by which rules a notification was made, and which are in force.
type AdminRuleVersion struct {
	MadeBy          string `json:"made_by" doc:"The generation of the rules of its run; empty when the run is not kept any more."`
	Mode            string `json:"mode" doc:"Of the rule in force: live, shadow or paused; removed when there is none."`
	Changed         bool   `json:"changed" doc:"The rules in force are others: texts are made by those."`
	IdentityChanged bool   `json:"identity_changed" doc:"The rule's key, version or order columns are others now."`
}

// AdminShownText is a text as devices show it.
type AdminShownText struct {
	Locale     string            `json:"locale" doc:"The devices'; empty for the default."`
	TimeZone   string            `json:"time_zone" doc:"The devices'; empty for UTC."`
	Correction bool              `json:"correction" doc:"The text for devices that were told an older version."`
	Title      string            `json:"title"`
	Body       string            `json:"body"`
	Link       string            `json:"link"`
	Data       map[string]string `json:"data"`
	Devices    []string          `json:"devices" nullable:"false"`
}

// AdminThreadEntry is one notification of a thread.
type AdminThreadEntry struct {
	ID         int64      `json:"id"`
	Rule       string     `json:"rule"`
	Version    int        `json:"version"`
	Variant    string     `json:"variant"`
	State      string     `json:"state"`
	CreatedAt  time.Time  `json:"created_at"`
	ReleasedAt *time.Time `json:"released_at"`
}

// AdminGate is a gate and what it said.
type AdminGate struct {
	Name    string `json:"name" doc:"In the order in which they are asked."`
	Verdict string `json:"verdict" enum:"passed,stopped,waits,not_asked"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail"`
}

// AdminExplained is a delivery, and why it ended so.
type AdminExplained struct {
	AdminDelivery
	DeviceNow    *AdminDeviceNow `json:"device_now" doc:"The device as it is now; null when it is not known any more."`
	Correction   bool            `json:"correction" doc:"The device had been told an older version, or may have been."`
	Gates        []AdminGate     `json:"gates" nullable:"false" doc:"What each gate said."`
	GatesAsOfNow bool            `json:"gates_as_of_now" doc:"It waits for its turn: the gates' verdicts are what they would say now."`
	SupersededBy *int64          `json:"superseded_by"`
	WaitsUntil   *time.Time      `json:"waits_until" doc:"When its turn comes, or the gates are asked again; null unless it is queued."`
	Explanation  string          `json:"explanation" example:"Not told: the category is muted: ann has muted win."`
}

// AdminDeviceNow is what matters of a device for what it is told.
type AdminDeviceNow struct {
	State         string `json:"state" enum:"active,inactive,retired"`
	User          string `json:"user"`
	Platform      string `json:"platform"`
	Generation    int64  `json:"generation"`
	Locale        string `json:"locale"`
	TimeZone      string `json:"time_zone"`
	RetiredReason string `json:"retired_reason"`
}

// AdminTimeline is a page of what was, or was not, told to a user.
type AdminTimeline struct {
	User         string              `json:"user"`
	Summary      []string            `json:"summary" nullable:"false" doc:"What decides whether the user is told anything now, in plain words."`
	Devices      []AdminDevice       `json:"devices" nullable:"false"`
	Preferences  Preferences         `json:"preferences"`
	Suppressions []AdminSuppression  `json:"suppressions" nullable:"false"`
	Rules        []AdminRuleReach    `json:"rules" nullable:"false" doc:"How far each rule for single users has read: what arrived before is in the timeline, or was not in its result."`
	Items        []AdminTimelineItem `json:"items" nullable:"false" doc:"Newest first."`
	Next         *string             `json:"next" doc:"Ask again with after= this for the next page; null at the end."`
}

// AdminRuleReach is how far a rule has read.
type AdminRuleReach struct {
	Rule   string     `json:"rule"`
	Until  *time.Time `json:"read_until" doc:"Null when it has never run."`
	Paused bool       `json:"paused"`
}

// AdminTimelineItem is one delivery to the user, or a notification for them that has none.
type AdminTimelineItem struct {
	At           time.Time       `json:"at"`
	Notification int64           `json:"notification"`
	Rule         string          `json:"rule"`
	Key          string          `json:"key"`
	Version      int             `json:"version"`
	Category     string          `json:"category"`
	Class        string          `json:"class"`
	Variant      string          `json:"variant"`
	State        string          `json:"notification_state"`
	Title        string          `json:"title" doc:"As the device shows it; empty when the rule can make no text of the row any more."`
	Body         string          `json:"body"`
	Delivery     *AdminExplained `json:"delivery" doc:"Null where there is none: no device, or not released."`
	Explanation  string          `json:"explanation"`
}

type (
	explainInput struct {
		ID     int64  `path:"id" minimum:"1" doc:"The notification's id." example:"41"`
		User   string `query:"user" maxLength:"128" doc:"Explain only this user's deliveries."`
		Device string `query:"device" maxLength:"128" doc:"Explain only this device's."`
		Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"The most deliveries to explain."`
		After  string `query:"after" maxLength:"256" doc:"The next of the page before; not with user or device."`
	}
	timelineInput struct {
		ID    string `path:"id" maxLength:"128" doc:"The user's id." example:"ann"`
		Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"The most items to answer."`
		After string `query:"after" maxLength:"1024" doc:"The next of the page before."`
	}
	explainOutput  struct{ Body AdminExplanation }
	timelineOutput struct{ Body AdminTimeline }
)

// timelineCursor is where a page of a timeline ended.
type timelineCursor struct {
	Delivery     *deliveryCursor `json:"d,omitempty"`
	Notification int64           `json:"n"`
}

// deviceCursor is where a page of a notification's deliveries ended.
type deviceCursor struct {
	Device string `json:"d"`
}

func (a *adminServer) registerExplain(api huma.API) {
	handle(a.server, api, huma.Operation{
		OperationID: "get-notification", Method: http.MethodGet, Path: "/admin/v1/notifications/{id}", Tags: []string{"notifications"},
		Summary: "Explain a notification",
		Description: "Its row, rule and run, its texts, what replaced it, and its deliveries with the verdict of every gate, every attempt, and a plain answer to " +
			"\"why did I not get it?\". It asks no provider and changes nothing.",
	}, a.explainNotification)
	handle(a.server, api, huma.Operation{
		OperationID: "get-timeline", Method: http.MethodGet, Path: "/admin/v1/users/{id}/timeline", Tags: []string{"users"},
		Summary: "Explain what a user was told, and was not",
		Description: "Newest first: each delivery to the user's devices, and each notification for the user that has none, with its explanation. Of a user of whom " +
			"nothing is on record the summary says why that may be.",
	}, a.timeline)
}

func (a *adminServer) explainNotification(ctx context.Context, in *explainInput) (*explainOutput, error) {
	req := notifier.ExplainRequest{ID: notifier.NotificationID(in.ID), User: devices.UserID(in.User), Device: devices.ID(in.Device), Limit: in.Limit}
	if in.After != "" {
		var c deviceCursor
		if err := decodeCursor(in.After, &c); err != nil {
			return nil, err
		}
		req.After = devices.ID(c.Device)
	}
	e, err := a.Explain.Explain(ctx, req)
	if err != nil {
		return nil, err
	}
	out := AdminExplanation{
		AdminNotification: adminNotificationOf(e.Notification), Identity: e.Notification.Identity, Shadow: e.Notification.Shadow,
		RuleVersion: AdminRuleVersion{Mode: "removed", Changed: e.RuleChanged, IdentityChanged: e.IdentityChanged},
		Texts:       make([]AdminShownText, 0, len(e.Texts)), ThreadList: make([]AdminThreadEntry, 0, len(e.Thread)),
		SupersededBy: optionalID(e.SupersededBy), Summary: e.Summary, Explained: make([]AdminExplained, 0, len(e.Deliveries)),
	}
	if e.Rule != nil {
		out.RuleVersion.Mode = string(e.Rule.Mode)
	}
	if e.Run != nil {
		out.RuleVersion.MadeBy = e.Run.Generation
		out.RunDetails = new(adminRunOf(*e.Run))
	}
	for _, t := range e.Texts {
		text := AdminShownText{
			Locale: t.Locale, TimeZone: t.TimeZone, Correction: t.Correction, Title: t.Title, Body: t.Body, Link: t.Link, Data: t.Data,
			Devices: make([]string, 0, len(t.Devices)),
		}
		for _, d := range t.Devices {
			text.Devices = append(text.Devices, string(d))
		}
		out.Texts = append(out.Texts, text)
	}
	for _, t := range e.Thread {
		out.ThreadList = append(out.ThreadList, AdminThreadEntry{
			ID: int64(t.ID), Rule: t.Rule, Version: t.Version, Variant: t.Variant, State: t.State, CreatedAt: t.CreatedAt, ReleasedAt: optionalTime(t.ReleasedAt),
		})
	}
	for _, d := range e.Deliveries {
		out.Explained = append(out.Explained, adminExplainedOf(d))
	}
	if e.Next != "" {
		out.Next = new(encodeCursor(deviceCursor{Device: string(e.Next)}))
	}
	return &explainOutput{Body: out}, nil
}

func (a *adminServer) timeline(ctx context.Context, in *timelineInput) (*timelineOutput, error) {
	user, err := userID(in.ID)
	if err != nil {
		return nil, err
	}
	q := notifier.TimelineQuery{User: user, Limit: in.Limit}
	if in.After != "" {
		var c timelineCursor
		if err := decodeCursor(in.After, &c); err != nil {
			return nil, err
		}
		q.After.Notification = notifier.NotificationID(c.Notification)
		if d := c.Delivery; d != nil {
			q.After.Delivery = &notifier.DeliveryCursor{CreatedAt: time.UnixMicro(d.CreatedAt).UTC(), ID: notifier.DeliveryID(d.ID), Device: devices.ID(d.Device)}
		}
	}
	t, err := a.Explain.Timeline(ctx, q)
	if err != nil {
		return nil, err
	}
	out := AdminTimeline{
		User: string(t.User), Summary: t.Summary, Devices: make([]AdminDevice, 0, len(t.Devices)), Preferences: preferencesOf(t.Preferences),
		Suppressions: make([]AdminSuppression, 0, len(t.Suppressions)), Rules: make([]AdminRuleReach, 0, len(t.Rules)), Items: make([]AdminTimelineItem, 0, len(t.Items)),
	}
	for _, d := range t.Devices {
		out.Devices = append(out.Devices, adminDeviceOf(d))
	}
	for _, s := range t.Suppressions {
		out.Suppressions = append(out.Suppressions, adminSuppressionOf(s))
	}
	for _, r := range t.Rules {
		out.Rules = append(out.Rules, AdminRuleReach{Rule: r.Rule, Until: optionalTime(r.Until), Paused: r.Paused})
	}
	for _, i := range t.Items {
		n := i.Notification
		item := AdminTimelineItem{
			At: i.At, Notification: int64(n.ID), Rule: n.Rule, Key: n.Key, Version: n.Version, Category: n.Category, Class: string(n.Class),
			Variant: n.Variant, State: n.State, Title: i.Text.Title, Body: i.Text.Body, Explanation: i.Explanation,
		}
		if i.Delivery != nil {
			item.Delivery = new(adminExplainedOf(*i.Delivery))
		}
		out.Items = append(out.Items, item)
	}
	if c := t.Next; c != nil {
		next := timelineCursor{Notification: int64(c.Notification)}
		if d := c.Delivery; d != nil {
			next.Delivery = &deliveryCursor{CreatedAt: d.CreatedAt.UnixMicro(), ID: int64(d.ID), Device: string(d.Device)}
		}
		out.Next = new(encodeCursor(next))
	}
	return &timelineOutput{Body: out}, nil
}

func adminExplainedOf(d notifier.ExplainedDelivery) AdminExplained {
	out := AdminExplained{
		AdminDelivery: adminDeliveryOf(d.DeliveryRecord), Correction: d.Correction, Gates: make([]AdminGate, 0, len(d.Gates)), GatesAsOfNow: d.Asked,
		SupersededBy: optionalID(d.SupersededBy), WaitsUntil: optionalTime(d.WaitsUntil), Explanation: d.Explanation,
	}
	if v := d.Device; v.ID != "" {
		out.DeviceNow = &AdminDeviceNow{
			State: string(v.State), User: string(v.User), Platform: string(v.Platform), Generation: v.Generation, Locale: v.Locale, TimeZone: v.TimeZone,
			RetiredReason: v.RetiredReason,
		}
	}
	for _, g := range d.Gates {
		out.Gates = append(out.Gates, AdminGate{Name: g.Name, Verdict: string(g.Verdict), Reason: string(g.Reason), Detail: g.Detail})
	}
	return out
}

// userID is the user that a path names.
func userID(text string) (devices.UserID, error) {
	id := devices.UserID(text)
	return id, within("path", id.Validate())
}

// optionalID makes no id null.
func optionalID(id notifier.NotificationID) *int64 {
	if id == 0 {
		return nil
	}
	return new(int64(id))
}
