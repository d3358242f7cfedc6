package notifier

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bugle-push/bugle/devices"
)

// TimelineCursor is where a page of a timeline ended: its two lists are read side
// by side, each from its own place.
type TimelineCursor struct {
	// Delivery is the last delivery that was listed; nil for none yet.
	Delivery *DeliveryCursor
	// Notification is the last notification without a delivery that was listed; 0 for none yet.
	Notification NotificationID
}

// TimelineQuery asks for a page of what was, or was not, told to a user.
type TimelineQuery struct {
	User  devices.UserID
	After TimelineCursor
	// Limit is the most items; 0 means DefaultExplained.
	Limit int
}

// TimelineItem is one delivery to the user, or a notification for the user alone
// that has none.
type TimelineItem struct {
	At           time.Time
	Notification NotificationRecord
	// Delivery is nil where there is none.
	Delivery *ExplainedDelivery
	// Text is as the device shows it; the zero value when the rule can make none any more.
	Text        Text
	Explanation string
}

// UserStanding is what is known of a user now.
type UserStanding struct {
	User         devices.UserID
	Devices      []devices.Device
	Preferences  devices.Preferences
	Suppressions []Suppression
	Stops        []Stop
	// NotImported says that everything waits for the first import of suppressions.
	NotImported bool
	// Rules is how far each rule in force has read that is for single users.
	Rules []RuleReach
	// BadRows are rows that name the user and made no notification, the newest ones.
	BadRows []BadRowRecord
	// Summary says in plain words what decides whether the user is told anything now.
	Summary []string
}

// RuleReach is how far a rule has read.
type RuleReach struct {
	Rule string
	// Until is up to which arrival its rows have been read; the time of its last run without a
	// watermark, and zero when it has never run.
	Until time.Time
	// From is the arrival before which the rule reads nothing; zero without a watermark.
	From   time.Time
	Paused bool
}

// Timeline is a page of what was, or was not, told to a user, newest first.
type Timeline struct {
	UserStanding
	Items []TimelineItem
	// Next is nil at the end.
	Next *TimelineCursor
}

// Timeline lists what was, or was not, told to a user, and says why. A user of
// whom nothing is known has an empty one.
func (x *Explainer) Timeline(ctx context.Context, q TimelineQuery) (Timeline, error) {
	if q.Limit <= 0 {
		q.Limit = DefaultExplained
	}
	q.Limit = min(q.Limit, MaxExplained)
	out := Timeline{}
	var err error
	if out.UserStanding, err = x.standing(ctx, q.User); err != nil {
		return out, err
	}
	sent, err := x.ledger.Deliveries(ctx, DeliveryQuery{User: q.User, After: q.After.Delivery, Limit: q.Limit + 1})
	if err != nil {
		return out, err
	}
	// What is older than a full page of deliveries is for the next page, and is not looked for: a
	// user may have been told thousands of things, and every one of them.
	var from NotificationID
	if len(sent) > q.Limit {
		from = sent[0].Notification
		for _, d := range sent {
			from = min(from, d.Notification)
		}
	}
	bare, err := x.ledger.Undelivered(ctx, q.User, q.After.Notification, from, q.Limit+1)
	if err != nil {
		return out, err
	}
	cursor := q.After
	var listed []DeliveryRecord
	for len(out.Items) < q.Limit && len(sent)+len(bare) > 0 {
		if len(bare) == 0 || len(sent) > 0 && !sent[0].CreatedAt.Before(bare[0].CreatedAt) {
			d := sent[0]
			sent, listed = sent[1:], append(listed, d)
			cursor.Delivery = &DeliveryCursor{CreatedAt: d.CreatedAt, ID: d.ID, Device: d.Device}
			out.Items = append(out.Items, TimelineItem{At: d.CreatedAt, Delivery: &ExplainedDelivery{DeliveryRecord: d}})
			continue
		}
		n := bare[0]
		bare = bare[1:]
		cursor.Notification = n.ID
		out.Items = append(out.Items, TimelineItem{At: n.CreatedAt, Notification: n})
	}
	if len(sent)+len(bare) > 0 {
		out.Next = &cursor
	}
	return out, x.tell(ctx, out.Items, listed)
}

// tell explains the items of a timeline.
func (x *Explainer) tell(ctx context.Context, items []TimelineItem, listed []DeliveryRecord) error {
	s := scene{rules: x.rules(), notifications: map[NotificationID]NotificationRecord{}, newer: map[NotificationID]NotificationID{}}
	var ids []NotificationID
	for _, d := range listed {
		if !slices.Contains(ids, d.Notification) {
			ids = append(ids, d.Notification)
		}
	}
	found, err := x.ledger.NotificationsOf(ctx, ids)
	if err != nil {
		return err
	}
	for _, n := range found {
		s.notifications[n.ID] = n
	}
	if s.newer, err = x.ledger.Replaced(ctx, ids); err != nil {
		return err
	}
	runs, err := x.runsOf(ctx, items)
	if err != nil {
		return err
	}
	explained, _, err := x.deliveries(ctx, s, listed)
	if err != nil {
		return err
	}
	byID := make(map[DeliveryID]*ExplainedDelivery, len(explained))
	for i := range explained {
		byID[explained[i].ID] = &explained[i]
	}
	for i := range items {
		t := &items[i]
		c := RenderContext{}
		if t.Delivery != nil {
			t.Delivery = byID[t.Delivery.ID]
			t.Notification, t.Explanation = s.notifications[t.Delivery.Notification], t.Delivery.Explanation
			c.Locale, c.TimeZone, c.Correction = t.Delivery.Device.Locale, t.Delivery.Device.TimeZone, t.Delivery.Correction
		} else {
			t.Explanation = x.bare(t.Notification, runs[t.Notification.Run])
		}
		c.Now = shownAt(t.Notification)
		if rule, ok := s.rules.Get(t.Notification.Rule); ok {
			if text, err := rule.Render(t.Notification.Draft, c); err == nil {
				t.Text = text // else the rule has changed since
			}
		}
	}
	return nil
}

// runsOf reads the runs of those that have not been released, all at once.
func (x *Explainer) runsOf(ctx context.Context, items []TimelineItem) (map[RunID]*RunRecord, error) {
	var ids []RunID
	for _, t := range items {
		if n := t.Notification; t.Delivery == nil && n.State != "released" && !slices.Contains(ids, n.Run) {
			ids = append(ids, n.Run)
		}
	}
	found, err := x.ledger.RunsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[RunID]*RunRecord, len(found))
	for i := range found {
		out[found[i].ID] = &found[i]
	}
	return out, nil
}

// bare explains a notification without a delivery. Its run may be nil: not kept any more.
func (x *Explainer) bare(n NotificationRecord, run *RunRecord) string {
	if n.State == "released" {
		return x.undelivered(n, time.Now())
	}
	return unreleased(n, run)
}

// standing says what is known of a user now.
func (x *Explainer) standing(ctx context.Context, user devices.UserID) (s UserStanding, err error) {
	s.User = user
	if s.Devices, err = x.directory.Devices(ctx, user); err != nil {
		return s, err
	}
	for i := range s.Devices {
		s.Devices[i].Target.Value = devices.Secret("") // no secret leaves here
	}
	if s.Preferences, err = x.directory.Preferences(ctx, user); err != nil {
		return s, err
	}
	if s.Suppressions, err = x.ledger.Suppressions(ctx, SuppressionQuery{User: user, Limit: suppressionsOfUser}); err != nil {
		return s, err
	}
	if s.Stops, err = x.ledger.Stops(ctx); err != nil {
		return s, err
	}
	if x.gates.AwaitImport {
		state, err := x.ledger.ImportState(ctx)
		if err != nil {
			return s, err
		}
		s.NotImported = state.SucceededAt.IsZero()
	}
	if s.BadRows, err = x.ledger.BadRowsNaming(ctx, user, badRowsTold); err != nil {
		return s, err
	}
	rules := slices.DeleteFunc(x.rules().All(), func(r *Rule) bool { return r.Audience.Kind != AudienceUser })
	ids := make([]string, len(rules))
	for i, r := range rules {
		ids[i] = r.ID
	}
	standings, err := x.ledger.Standings(ctx, ids)
	if err != nil {
		return s, err
	}
	for _, r := range rules {
		known := standings[r.ID]
		reach := RuleReach{Rule: r.ID, Paused: known.Control.Paused || r.Mode == ModePaused}
		switch {
		case r.Watermark != nil && known.Progress != nil:
			reach.Until, reach.From = known.Progress.Position, known.Progress.StartAt
		case r.Watermark == nil && known.LastRun != nil:
			reach.Until = known.LastRun.TickAt
		}
		s.Rules = append(s.Rules, reach)
	}
	s.Summary = x.standingWords(s, time.Now())
	return s, nil
}

func (x *Explainer) standingWords(s UserStanding, now time.Time) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, stop := range s.Stops {
		what := "All sending is"
		if stop.Rule != "" {
			what = "Sending of " + stop.Rule + " is"
		}
		say("%s stopped since %s, by %s%s.", what, utc(stop.At), stop.Actor, because(stop.Reason))
	}
	if s.NotImported {
		say("Nothing is sent to anybody yet: it is not known who must not be sent to, because no import of suppressions has succeeded.")
	}
	active := 0
	for _, d := range s.Devices {
		if d.State == devices.Active {
			active++
			continue
		}
		if d.State == devices.Retired {
			say("Device %s is retired: its target is dead (%s), since %s.", d.ID, inWords(d.RetiredReason), utc(d.UpdatedAt))
		} else {
			say("Device %s is inactive since %s.", d.ID, utc(d.UpdatedAt))
		}
	}
	if active == 0 {
		say("%s has no active device: nothing can be sent until the app activates one.", s.User)
	}
	for _, v := range s.Suppressions {
		when := "for good"
		if !v.Until.IsZero() {
			when = "until " + utc(v.Until)
		}
		counts := "is"
		switch {
		case !v.Until.IsZero() && !v.Until.After(now):
			counts = "was"
		case v.From.After(now):
			counts, when = "will be", "from "+utc(v.From)+" "+when
		}
		say("%s %s suppressed for %s (class %s) %s, by %s.", s.User, counts, v.Reason, v.Class, when, setter(v.SetBy, v.Imported))
	}
	if len(s.Preferences.Muted) > 0 {
		say("%s has muted %s.", s.User, strings.Join(s.Preferences.Muted, ", "))
	}
	var off []string
	for category, opt := range x.gates.OptIn {
		if opt && !slices.Contains(s.Preferences.OptedIn, category) {
			off = append(off, category)
		}
	}
	if len(off) > 0 {
		slices.Sort(off)
		say("%s has not chosen %s: off until somebody chooses it.", s.User, strings.Join(off, ", "))
	}
	if q := s.Preferences.Quiet; q != nil {
		zone := "the device's"
		if q.TimeZone != "" {
			zone = q.TimeZone
		}
		say("%s wants quiet from %s to %s, %s time.", s.User, q.From, q.To, zone)
	}
	for _, b := range s.BadRows {
		say("A row of %s that names %s made no notification: %s (%s), last read at %s. It is among the bad rows.", b.Rule, s.User, b.Reason, b.Detail, utc(b.LastSeen))
	}
	for _, r := range s.Rules {
		paused := ""
		if r.Paused {
			paused = " It is paused."
		}
		if r.Until.IsZero() {
			say("%s has not read anything yet.%s", r.Rule, paused)
			continue
		}
		from := ""
		if !r.From.IsZero() {
			from = " What arrived before " + utc(r.From) + " is not read at all."
		}
		say("%s has read what arrived until %s: a row from before that is below, or its query does not return it, or it is among the bad rows.%s%s",
			r.Rule, utc(r.Until), from, paused)
	}
	return out
}
