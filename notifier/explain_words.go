package notifier

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bugle-push/bugle/devices"
)

func isUnknownRun(err error) bool { return errors.Is(err, ErrUnknownRun) }

// utc writes a time for people: always UTC, so that two pages can be compared.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// detail says what a gate knows beyond its reason.
func (x *Explainer) detail(s scene, e *ExplainedDelivery, v View, known bool, reason Reason, stopped Stopped) string {
	n := s.notifications[e.Notification]
	switch gateOf(reason) {
	case gateStop:
		for _, stop := range s.stops {
			later := !e.FinishedAt.IsZero() && stop.At.After(e.FinishedAt) // it is another one
			if (stop.Rule == "" || stop.Rule == e.Rule) && !later {
				what := "all sending"
				if stop.Rule != "" {
					what = "the rule " + stop.Rule
				}
				return fmt.Sprintf("%s stopped %s at %s%s", stop.Actor, what, utc(stop.At), because(stop.Reason))
			}
		}
		return "it has been started again since"
	case gateDevice:
		return deviceDetail(e)
	case gateOwner:
		if reason == ReasonErased {
			return "its user is being erased"
		}
		return "the device belongs to another user now"
	case gateNewest:
		return "" // the sentence names it
	case gateSuppressions:
		if reason == ReasonNotImported && !e.FinishedAt.IsZero() {
			return "no import of suppressions had succeeded by then"
		}
		return suppressionDetail(v, reason, stopped)
	case gateMuted:
		if known && !slices.Contains(v.Preferences.Muted, n.Category) {
			return fmt.Sprintf("%s had muted %s, and has not now", e.User, n.Category)
		}
		return fmt.Sprintf("%s has muted %s", e.User, n.Category)
	case gateOptIn:
		return fmt.Sprintf("%s must be chosen, and %s has not", n.Category, e.User)
	case gateUnchanged:
		return "what this device was told last is this very version"
	case gateTold:
		return "this device was never told what it follows"
	case gateQuietHours:
		q := v.Preferences.Quiet
		if !known || q == nil {
			return fmt.Sprintf("%s had quiet hours, and has none now", e.User)
		}
		return fmt.Sprintf("%s wants quiet from %s to %s, %s time", e.User, q.From, q.To, cmp.Or(q.TimeZone, v.Device.TimeZone, "UTC"))
	case gateFrequency:
		return x.capsDetail(n)
	case gateMode:
		return "the rule is in shadow mode: it does everything but send"
	}
	return ""
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", reason)
}

func deviceDetail(e *ExplainedDelivery) string {
	switch {
	case Reason(e.Reason) == Reason(devices.CancelTargetMoved):
		return "its target is active on another device"
	case e.Device.ID == "":
		return "the device is not known any more"
	case e.Device.State == devices.Retired:
		return fmt.Sprintf("its target was dead (%s)", inWords(e.Device.RetiredReason))
	case e.Device.State == devices.Inactive:
		return "its user or an operator has deactivated it, or its target has moved to another device"
	}
	return "it was not active then, and is now"
}

func suppressionDetail(v View, reason Reason, stopped Stopped) string {
	if reason == ReasonNotImported {
		return "no import of suppressions has succeeded yet"
	}
	if stopped.Reason != "" {
		return fmt.Sprintf("%s (class %s), set by %s at %s", stopped.Reason, stopped.Suppressed, setter(stopped.SetBy, stopped.Imported), utc(stopped.SetAt))
	}
	for _, s := range v.Suppressions {
		if s.Reason == reason {
			return fmt.Sprintf("%s (class %s), set by %s at %s", s.Reason, s.Class, setter(s.SetBy, s.Imported), utc(s.SetAt))
		}
	}
	return string(reason)
}

// setter names who has set a suppression: an operator, who can take it back, or the
// configured import, which alone can.
func setter(by string, imported bool) string {
	if imported {
		return "the import (suppressions.import)"
	}
	return by
}

func (x *Explainer) capsDetail(n NotificationRecord) string {
	var caps []string
	for _, c := range x.gates.Caps {
		if c.covers(n.Category, n.Class) {
			caps = append(caps, fmt.Sprintf("%d of %s in %s (%s)", c.Limit, cmp.Or(c.Category, "all categories"), duration(c.Window), cmp.Or(c.Over, OverDrop)))
		}
	}
	if len(caps) == 0 {
		return "no cap counts it any more"
	}
	return "at most " + strings.Join(caps, ", ")
}

// duration writes a whole number of units where it can.
func duration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day && d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

// sentence says what became of a delivery, and why. Whatever ended it, an attempt
// whose outcome is not known may have reached the device before.
func sentence(e *ExplainedDelivery, reason Reason, detail string, now Decision) string {
	text := outcome(e, reason, detail, now)
	if why, not := strings.CutPrefix(text, "Not told: "); not && e.Unknowns > 0 {
		return "Perhaps told: an attempt was made whose answer was lost. It was not tried again: " + why
	}
	return text
}

func outcome(e *ExplainedDelivery, reason Reason, detail string, now Decision) string {
	tail := ""
	if detail != "" {
		tail = ": " + detail
	}
	last := lastAttempt(e.Attempts)
	switch e.State {
	case Sent:
		text := fmt.Sprintf("Told: %s took it at %s%s.", e.Provider, utc(lastTime(e)), tries(e.Attempts))
		if e.Correction {
			text = "Told as a correction, because this device had been told, or may have been, what was wrong" + strings.TrimPrefix(text, "Told")
		}
		return text + " What the phone did with it only the phone knows."
	case Gone:
		text := fmt.Sprintf("Not told: %s said at %s that the device's target is dead (%s).", e.Provider, utc(lastTime(e)), inWords(e.Reason))
		if e.Device.State == devices.Active {
			return text + " The app has activated the device again since."
		}
		return text + " Nothing reaches it until the app activates it again."
	case Rejected:
		switch reason {
		case ReasonUnrenderable:
			return "Not told: the rule can make no text of the row."
		case ReasonUnreadable:
			return "Not told: what is on record about it cannot be read."
		default: // the provider's own words
		}
		return fmt.Sprintf("Not told: %s refused the message for good at %s (%s).", e.Provider, utc(lastTime(e)), inWords(e.Reason))
	case Unconfirmed:
		return fmt.Sprintf("Perhaps told: an attempt was made whose answer was lost, and it expired at %s before another could confirm it.", utc(e.ExpiresAt))
	case Expired:
		return "Not told: " + expiry(e, reason, tail, last)
	case Suppressed:
		return "Not told: " + suppressed(reason, e) + tail + "."
	case Superseded:
		if e.SupersededBy != 0 {
			return fmt.Sprintf("Not told: notification %d, which is newer, took its place before its turn came.", e.SupersededBy)
		}
		return "Not told: something newer took its place before its turn came."
	case Cancelled:
		switch reason {
		case ReasonErased:
			return fmt.Sprintf("Not told: %s is being erased.", e.User)
		case ReasonRuleRemoved:
			return fmt.Sprintf("Not told: the rule %s has been removed.", e.Rule)
		default: // the detail says it
		}
		return fmt.Sprintf("Not told: cancelled at %s (%s)%s.", utc(e.FinishedAt), e.Reason, tail)
	case Leased:
		return "It is being sent now."
	case Queued:
		return waits(e, reason, tail, now, last)
	}
	return fmt.Sprintf("It is %s (%s).", e.State, e.Reason)
}

func suppressed(reason Reason, e *ExplainedDelivery) string {
	switch gateOf(reason) {
	case gateSuppressions:
		return string(e.User) + " must not be sent to"
	case gateMuted:
		return "the category is muted"
	case gateOptIn:
		return "the category is off"
	case gateUnchanged:
		return "it says nothing new"
	case gateTold:
		return "it follows something else"
	case gateFrequency:
		return string(e.User) + " had been told enough"
	case gateMode:
		return "it was only written down"
	}
	return string(reason)
}

func expiry(e *ExplainedDelivery, reason Reason, tail string, last *AttemptRecord) string {
	at := utc(e.ExpiresAt)
	switch {
	case reason == ReasonQuietHours:
		return fmt.Sprintf("it expired at %s, before the quiet hours end%s.", at, tail)
	case reason == ReasonFrequencyCap:
		return fmt.Sprintf("it expired at %s, before there is room again%s.", at, tail)
	case reason == ReasonStopped:
		return fmt.Sprintf("it expired at %s, while sending was stopped%s.", at, tail)
	case reason == ReasonNotImported:
		return fmt.Sprintf("it expired at %s, before it was known who must not be sent to%s.", at, tail)
	case last != nil && reason == ReasonBackoff:
		return fmt.Sprintf("%s did not take it (%s)%s, and the next attempt would have come after it expired at %s.", e.Provider, answer(last), tries(e.Attempts), at)
	case last != nil:
		return fmt.Sprintf("it expired at %s. The last attempt, at %s, came to %s.", at, utc(last.EndedAt), answer(last))
	}
	return fmt.Sprintf("it expired at %s, before its turn came.", at)
}

func waits(e *ExplainedDelivery, reason Reason, tail string, now Decision, last *AttemptRecord) string {
	until := utc(e.WaitsUntil)
	switch {
	case reason == ReasonQuietHours && !e.Asked:
		return fmt.Sprintf("It waits for the end of the quiet hours, until %s%s.", until, tail)
	case reason == ReasonFrequencyCap && !e.Asked:
		return fmt.Sprintf("It waits for room, until %s%s.", until, tail)
	case reason == ReasonStopped:
		return fmt.Sprintf("It waits for sending to be started again%s. It expires at %s.", tail, utc(e.ExpiresAt))
	case reason == ReasonNotImported:
		return fmt.Sprintf("It waits until it is known who must not be sent to%s. It expires at %s.", tail, utc(e.ExpiresAt))
	case e.Asked && now.State != "":
		return fmt.Sprintf("It waits for its turn, and as things are now it will end as %s (%s)%s.", now.State, reason, tail)
	case e.Asked && !now.Until.IsZero():
		return fmt.Sprintf("It waits for its turn, and then until %s (%s)%s.", utc(now.Until), reason, tail)
	case last != nil:
		return fmt.Sprintf("It is tried again at %s: the last attempt came to %s. It expires at %s.", until, answer(last), utc(e.ExpiresAt))
	}
	return fmt.Sprintf("It waits for its turn since %s. It expires at %s.", until, utc(e.ExpiresAt))
}

func lastAttempt(list []AttemptRecord) *AttemptRecord {
	if len(list) == 0 {
		return nil
	}
	return &list[len(list)-1]
}

func lastTime(e *ExplainedDelivery) time.Time {
	if a := lastAttempt(e.Attempts); a != nil {
		return a.EndedAt
	}
	return e.FinishedAt
}

func answer(a *AttemptRecord) string {
	if a.Code == "" {
		return string(a.Verdict)
	}
	return string(a.Verdict) + " " + inWords(a.Code)
}

func tries(list []AttemptRecord) string {
	if len(list) < 2 {
		return ""
	}
	return fmt.Sprintf(", at the attempt number %d", len(list))
}

// summary says what became of a notification as a whole.
func (x *Explainer) summary(e Explanation) string {
	n := e.Notification
	if n.State != "released" {
		return unreleased(n, e.Run)
	}
	if len(n.Deliveries) == 0 {
		return x.undelivered(n, time.Now())
	}
	var parts []string
	for _, state := range sortedStates(n.Deliveries) {
		parts = append(parts, fmt.Sprintf("%d %s", n.Deliveries[state], state))
	}
	text := fmt.Sprintf("Released at %s%s; deliveries: %s.", utc(n.ReleasedAt), sureBy(n), strings.Join(parts, ", "))
	if n.FannedOut.IsZero() {
		text += " More are being made."
	}
	if e.SupersededBy != 0 {
		text += fmt.Sprintf(" Notification %d has taken its place since.", e.SupersededBy)
	}
	return text
}

// nothingFor says why a user or a device that was asked about has no delivery of a
// notification of which there are others; empty when nobody in particular was asked about.
func (x *Explainer) nothingFor(n NotificationRecord, req ExplainRequest, now time.Time) string {
	whom, none := string(req.User), fmt.Sprintf("no device of %s was, unless %s has been erased since", req.User, req.User)
	if req.Device != "" {
		whom, none = "the device "+string(req.Device), "this one was not"
	}
	made := n.CreatedAt
	if !n.HeldUntil.IsZero() {
		made = n.ReleasedAt // it was provisional, and is for those who are there when it is sure
	}
	switch {
	case whom == "" || len(n.Deliveries) == 0:
		return ""
	case n.Audience == AudienceUser && req.User != "" && n.User != req.User:
		return fmt.Sprintf(" It is not for %s.", whom)
	case n.ReleasedAt.Before(now.Add(-x.retention.Deliveries)):
		return fmt.Sprintf(" What became of it for %s is not kept any more.", whom)
	case n.FannedOut.IsZero():
		return fmt.Sprintf(" None of them is to %s so far.", whom)
	}
	who := "It went to devices"
	if n.Audience == AudienceFollows {
		who = "It went to devices that had been told what it follows and"
	}
	return fmt.Sprintf(" None of them is to %s. %s that were active from %s, when it was made, until its deliveries were made, and %s.", whom, who, utc(made), none)
}

// sureBy says what ended the hold of a notification that was provisional.
func sureBy(n NotificationRecord) string {
	switch {
	case n.HeldUntil.IsZero():
		return ""
	case n.ConfirmedAt.IsZero():
		return ", when its hold was over: its row was provisional, and none has confirmed it"
	}
	return ", because a row confirmed it: it had been provisional"
}

// unreleased says why a notification has not been released.
func unreleased(n NotificationRecord, run *RunRecord) string {
	switch n.State {
	case "staged":
		return fmt.Sprintf("Nobody is told yet: run %d has read the row and not ended well. The next run that ends well and reads the row releases it.", n.Run)
	case "passed":
		return "Nobody is told yet: the next run of the rule that ends well releases it."
	case "baseline":
		return "Nobody is told: the rule began with this run, which takes what it reads as known."
	case NotificationProvisional:
		if !n.ConfirmedAt.IsZero() {
			return fmt.Sprintf("Nobody is told yet: a row confirmed it at %s, and it is about to be released.", utc(n.ConfirmedAt))
		}
		if !n.HeldUntil.After(time.Now()) {
			return fmt.Sprintf("Nobody is told yet: its row was provisional and its hold was over at %s. It is released as soon as its rule is not paused.", utc(n.HeldUntil))
		}
		return fmt.Sprintf("Nobody is told yet: its row is provisional. It is held until a row confirms it, or else until %s. If it changes meanwhile, nobody is told of this version.", utc(n.HeldUntil))
	case "held":
		limit := ""
		if run != nil && run.Limit > 0 {
			limit = fmt.Sprintf(" because it would make more than %d deliveries", run.Limit)
		}
		return fmt.Sprintf("Nobody is told yet: run %d is held%s, until an operator releases or discards it.", n.Run, limit)
	case "discarded":
		return fmt.Sprintf("Nobody is told: an operator has discarded run %d.", n.Run)
	case "superseded":
		if !n.HeldUntil.IsZero() && n.ConfirmedAt.IsZero() {
			return "Nobody is told: it was provisional, and a newer version took its place while it was held."
		}
		return "Nobody is told: a newer version took its place before its release."
	}
	return fmt.Sprintf("It is %s.", n.State)
}

// undelivered says why a released notification has no delivery.
func (x *Explainer) undelivered(n NotificationRecord, now time.Time) string {
	switch {
	case n.ReleasedAt.Before(now.Add(-x.retention.Deliveries)):
		return fmt.Sprintf("Released at %s; what became of it is not kept any more.", utc(n.ReleasedAt))
	case n.FannedOut.IsZero() && n.ExpiresAt.After(now):
		return fmt.Sprintf("Released at %s%s; its deliveries are being made.", utc(n.ReleasedAt), sureBy(n))
	case !n.ExpiresAt.After(n.ReleasedAt), n.FannedOut.IsZero():
		return fmt.Sprintf("Nobody is told: it expired at %s, before its deliveries were made.", utc(n.ExpiresAt))
	case n.Audience == AudienceFollows:
		return "Nobody is told: no device has been told what it follows."
	case n.Audience == AudienceUser && n.User == "":
		return "It was for one user, who has been erased since: what became of it is not kept."
	case n.Audience == AudienceUser:
		return fmt.Sprintf("Nobody is told: %s had no active device at %s, when it was made.", n.User, utc(n.CreatedAt))
	}
	return fmt.Sprintf("Nobody is told: no device was active at %s, when it was made.", utc(n.CreatedAt))
}
