package notifier

import (
	"cmp"
	"slices"
	"time"

	"github.com/bugle-push/bugle/devices"
)

// Reason says why a delivery was not sent. The set is closed.
type Reason string

// The reasons of the gates.
const (
	// ReasonTTL: it was worth nothing any more when its turn came.
	ReasonTTL Reason = "ttl"
	// ReasonBackoff: the next attempt would have come too late.
	ReasonBackoff Reason = "backoff"
	// ReasonRuleRemoved: its rule is not in the rules any more.
	ReasonRuleRemoved Reason = "rule_removed"
	// ReasonStopped: an operator has stopped the rule, or all sending; what is queued waits. With
	// Expired, until it was worth nothing any more.
	ReasonStopped Reason = "stopped"
	// ReasonDeviceInactive: the device was deactivated or its target retired.
	ReasonDeviceInactive Reason = "device_inactive"
	// ReasonDeviceReassigned: the device belongs to another user now.
	ReasonDeviceReassigned Reason = "device_reassigned"
	// ReasonNewer: a newer notification of the thread has taken its place.
	ReasonNewer Reason = "newer"
	// ReasonUnchanged: what this device was told last in the thread is this very version.
	ReasonUnchanged Reason = "unchanged"
	// ReasonNotTold: it follows a notification that this device never got.
	ReasonNotTold Reason = "not_told"
	// ReasonMuted: the user does not want the category.
	ReasonMuted Reason = "muted"
	// ReasonNotOptedIn: the category must be chosen, and the user has not.
	ReasonNotOptedIn Reason = "not_opted_in"
	// ReasonQuietHours: the user wants to hear nothing at this hour. With Expired, until it was worth
	// nothing any more; a delivery that is queued for it waits.
	ReasonQuietHours Reason = "quiet_hours"
	// ReasonFrequencyCap: the user has been told enough of the kind lately. With Expired, there
	// would have been no room in time; a delivery that is queued for it waits for room.
	ReasonFrequencyCap Reason = "frequency_cap"
	// ReasonSelfExclusion: the user has excluded themselves.
	ReasonSelfExclusion Reason = "self_exclusion"
	// ReasonCoolOff: the user takes a break.
	ReasonCoolOff Reason = "cool_off"
	// ReasonAccountClosed: the user's account is closed.
	ReasonAccountClosed Reason = "account_closed"
	// ReasonJurisdiction: the law of where the user is forbids it.
	ReasonJurisdiction Reason = "jurisdiction"
	// ReasonSuppressed: a suppression stops it whose reason this binary does not know.
	ReasonSuppressed Reason = "suppressed"
	// ReasonNotImported: nobody knows yet who must not be sent to, because no import of suppressions
	// has ever succeeded; what is queued waits. With Expired, until it was worth nothing any more.
	ReasonNotImported Reason = "not_imported"
	// ReasonShadow: the rule does everything but the send.
	ReasonShadow Reason = "shadow"
	// ReasonErased: its user is being erased, and it will be gone soon.
	ReasonErased Reason = "erased"
	// ReasonUnreadable: what is on record about it makes no sense.
	ReasonUnreadable Reason = "unreadable"
	// ReasonUnrenderable: the text could not be made from the row.
	ReasonUnrenderable Reason = "unrenderable"
)

// ofRule tells whether the reason lies in the rule, which another replica may have
// in a newer form.
func (r Reason) ofRule() bool { return r == ReasonRuleRemoved || r == ReasonShadow }

// ofSuppression is the reason that a delivery gets: the set is closed, whatever
// a newer binary has written into the list.
func (r Reason) ofSuppression() Reason {
	if slices.Contains(SuppressionReasons(), r) {
		return r
	}
	return ReasonSuppressed
}

// Decision is what the gates say of a delivery: send it, end it with a state, or
// let it wait; all but the first for a reason.
type Decision struct {
	// State is empty when the delivery may be sent or waits.
	State  DeliveryState
	Reason Reason
	// Until is when the gates are to be asked again, by the database's clock; zero unless it waits.
	Until time.Time
	// Correction says that the text is that of a correction.
	Correction bool
	// Capped says that it may be sent only with room in the caps of frequency: View.Frequency.
	Capped bool
	// Suppression is the one that stopped the delivery; nil when none did.
	Suppression *Suppression
}

// Pass tells whether the delivery may be sent.
func (d Decision) Pass() bool { return d.State == "" && d.Until.IsZero() }

// Gates decide just before a send. They hold no state: everything they know is
// in the view. The zero value has no category to opt in to, and quiet hours hold
// for every class.
type Gates struct {
	// OptIn lists the categories that are off until a user chooses them.
	OptIn map[string]bool
	// Loud lists the classes that do not care for quiet hours.
	Loud map[Class]bool
	// AwaitImport says that suppressions are imported: until that has succeeded once, nothing is sent.
	AwaitImport bool
	// Caps bound how often a user is told something.
	Caps FrequencyCaps
	// zones remembers the zones of quiet hours; nil remembers none.
	zones *zones
}

// importWait is when a delivery looks again that waits for the first import.
const importWait = 5 * time.Second

// Decide runs the gates in their order. rule is nil when it has been removed.
func (g Gates) Decide(v View, rule *Rule, now time.Time) Decision {
	switch {
	case v.Unreadable != nil:
		return Decision{State: Rejected, Reason: ReasonUnreadable}
	case rule == nil:
		return Decision{State: Cancelled, Reason: ReasonRuleRemoved}
	case !now.Before(v.ExpiresAt):
		return ended(v, g.late(v))
	case v.Stopped:
		return Decision{Until: now.Add(stopRetry), Reason: ReasonStopped}
	case v.Device.ID == "" || v.Device.State != devices.Active:
		return Decision{State: Cancelled, Reason: ReasonDeviceInactive}
	case v.Device.User != v.User:
		return Decision{State: Cancelled, Reason: ReasonDeviceReassigned}
	case v.Newer:
		return Decision{State: Superseded, Reason: ReasonNewer}
	}
	if g.AwaitImport && !v.Imported {
		return Decision{Until: now.Add(importWait), Reason: ReasonNotImported}
	}
	// Before everything that a user can wish for, and before what was told: nothing passes by it.
	if s := stopped(v, now); s != nil {
		return Decision{State: Suppressed, Reason: s.Reason.ofSuppression(), Suppression: s}
	}
	// Who was told the wrong thing is told the right one, whatever was muted since.
	correction := v.Told && rule.HasCorrection && rule.Audience.Kind != AudienceFollows
	switch {
	case v.Unchanged:
		return Decision{State: Suppressed, Reason: ReasonUnchanged}
	case rule.Audience.Kind == AudienceFollows && !v.Told:
		return Decision{State: Suppressed, Reason: ReasonNotTold}
	case correction:
	case slices.Contains(v.Preferences.Muted, v.Category):
		return Decision{State: Suppressed, Reason: ReasonMuted}
	case g.OptIn[v.Category] && !slices.Contains(v.Preferences.OptedIn, v.Category):
		return Decision{State: Suppressed, Reason: ReasonNotOptedIn}
	}
	if end, quiet := g.quiet(v, now); quiet {
		if !end.Before(v.ExpiresAt) {
			return ended(v, ReasonQuietHours)
		}
		return Decision{Until: end, Reason: ReasonQuietHours}
	}
	if rule.Mode == ModeShadow {
		return Decision{State: Suppressed, Reason: ReasonShadow} // it takes no room
	}
	d := Decision{Correction: correction, Capped: !correction && g.Caps.Cover(v.Category, v.Class)}
	f := v.Frequency
	switch {
	case !d.Capped || f == nil:
		return d
	case f.State == Suppressed:
		return Decision{State: Suppressed, Reason: ReasonFrequencyCap}
	case f.State == Expired, !f.Until.IsZero() && !f.Until.Before(v.ExpiresAt):
		return ended(v, ReasonFrequencyCap)
	case !f.Until.IsZero(): // though it be over: it has no room yet
		return Decision{Until: f.Until, Reason: ReasonFrequencyCap}
	}
	return d
}

// late is why a delivery was not sent before it expired: what still holds everything
// up, where that is known. Ledger.Expire says the same of what no lane came to.
func (g Gates) late(v View) Reason {
	switch {
	case v.Stopped:
		return ReasonStopped
	case g.AwaitImport && !v.Imported:
		return ReasonNotImported
	}
	return ReasonTTL
}

// quiet tells whether the user wants to hear nothing now, and until when.
func (g Gates) quiet(v View, now time.Time) (time.Time, bool) {
	q := v.Preferences.Quiet
	if q == nil || g.Loud[v.Class] {
		return time.Time{}, false
	}
	z := g.zones
	if z == nil {
		z = &zones{}
	}
	zone, _ := z.load(cmp.Or(q.TimeZone, v.Device.TimeZone)) // UTC where neither says a zone that exists
	return q.EndAfter(now, zone)
}

// ended is the end of a delivery that came too late: expired, or unconfirmed
// when an attempt may have been accepted after all.
func ended(v View, r Reason) Decision {
	if v.Unknowns > 0 {
		return Decision{State: Unconfirmed, Reason: r}
	}
	return Decision{State: Expired, Reason: r}
}
