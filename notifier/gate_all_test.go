package notifier_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// gateCase makes one gate close. The cases stand in the order in which the gates
// decide: of several that are closed, the first one names the reason.
type gateCase struct {
	name   string
	close  func(v *notifier.View, r **notifier.Rule)
	state  notifier.DeliveryState
	reason notifier.Reason
}

var gateNow = time.Date(2026, 9, 1, 14, 0, 0, 0, time.UTC)

func suppressedFor(reason notifier.Reason, class notifier.SuppressionClass) func(*notifier.View, **notifier.Rule) {
	return func(v *notifier.View, _ **notifier.Rule) {
		v.Suppressions = append(v.Suppressions, notifier.Suppression{User: v.User, Reason: reason, Class: class})
	}
}

func gateCases() []gateCase {
	rule := func(change func(r *notifier.Rule)) func(*notifier.View, **notifier.Rule) {
		return func(_ *notifier.View, r **notifier.Rule) {
			if *r != nil {
				change(*r)
			}
		}
	}
	return []gateCase{
		{"unreadable", func(v *notifier.View, _ **notifier.Rule) { v.Unreadable = errCut }, notifier.Rejected, notifier.ReasonUnreadable},
		{"rule removed", func(_ *notifier.View, r **notifier.Rule) { *r = nil }, notifier.Cancelled, notifier.ReasonRuleRemoved},
		{"expired", func(v *notifier.View, _ **notifier.Rule) { v.ExpiresAt = gateNow }, notifier.Expired, notifier.ReasonTTL},
		{"stopped", func(v *notifier.View, _ **notifier.Rule) { v.Stopped = true }, "", notifier.ReasonStopped},
		{"device inactive", func(v *notifier.View, _ **notifier.Rule) { v.Device.State = devices.Inactive }, notifier.Cancelled, notifier.ReasonDeviceInactive},
		{"device reassigned", func(v *notifier.View, _ **notifier.Rule) { v.Device.User = "eve" }, notifier.Cancelled, notifier.ReasonDeviceReassigned},
		{"newer", func(v *notifier.View, _ **notifier.Rule) { v.Newer = true }, notifier.Superseded, notifier.ReasonNewer},
		{"not imported", func(v *notifier.View, _ **notifier.Rule) { v.Imported = false }, "", notifier.ReasonNotImported},
		{"self-exclusion", suppressedFor(notifier.ReasonSelfExclusion, notifier.SuppressService), notifier.Suppressed, notifier.ReasonSelfExclusion},
		{"cool-off", suppressedFor(notifier.ReasonCoolOff, notifier.SuppressService), notifier.Suppressed, notifier.ReasonCoolOff},
		{"account closed", suppressedFor(notifier.ReasonAccountClosed, notifier.SuppressAll), notifier.Suppressed, notifier.ReasonAccountClosed},
		{"jurisdiction", suppressedFor(notifier.ReasonJurisdiction, notifier.SuppressMarketing), notifier.Suppressed, notifier.ReasonJurisdiction},
		{"unknown suppression", suppressedFor("affordability", "everything"), notifier.Suppressed, notifier.ReasonSuppressed},
		{"unchanged", func(v *notifier.View, _ **notifier.Rule) { v.Unchanged = true }, notifier.Suppressed, notifier.ReasonUnchanged},
		{"not told", rule(func(r *notifier.Rule) { r.Audience.Kind = notifier.AudienceFollows }), notifier.Suppressed, notifier.ReasonNotTold},
		{"muted", func(v *notifier.View, _ **notifier.Rule) { v.Preferences.Muted = []string{"tips"} }, notifier.Suppressed, notifier.ReasonMuted},
		{"not opted in", func(v *notifier.View, _ **notifier.Rule) { v.Preferences.OptedIn = nil }, notifier.Suppressed, notifier.ReasonNotOptedIn},
		{"quiet until it expires", func(v *notifier.View, _ **notifier.Rule) {
			v.Preferences.Quiet = &devices.Quiet{From: 14 * 60, To: 15 * 60} // it expires at 15:00
		}, notifier.Expired, notifier.ReasonQuietHours},
		{"shadow", rule(func(r *notifier.Rule) { r.Mode = notifier.ModeShadow }), notifier.Suppressed, notifier.ReasonShadow},
		{"no room", func(v *notifier.View, _ **notifier.Rule) {
			v.Frequency = &notifier.FrequencyVerdict{State: notifier.Suppressed}
		}, notifier.Suppressed, notifier.ReasonFrequencyCap},
	}
}

func testGates() notifier.Gates {
	return notifier.Gates{
		OptIn:       map[string]bool{"tips": true},
		AwaitImport: true,
		Caps:        notifier.FrequencyCaps{{Category: "tips", Limit: 1, Window: time.Hour, Over: notifier.OverDrop}},
	}
}

// openView passes every gate.
func openView() (notifier.View, *notifier.Rule) {
	v := notifier.View{
		User: "ann", ExpiresAt: gateNow.Add(time.Hour), Device: devices.Device{ID: "a1", User: "ann", State: devices.Active},
		Preferences: devices.Preferences{OptedIn: []string{"tips"}}, Frequency: &notifier.FrequencyVerdict{}, Imported: true,
	}
	v.Category, v.Class = "tips", notifier.Marketing
	return v, &notifier.Rule{ID: "r", Class: notifier.Marketing, Audience: notifier.Audience{Kind: notifier.AudienceUser}}
}

// Every set of closed gates, whatever their number, is decided by the first of them.
func TestOfAllClosedGatesTheFirstNamesTheReason(t *testing.T) {
	t.Parallel()
	gates, cases := testGates(), gateCases()
	v, rule := openView()
	require.True(t, gates.Decide(v, rule, gateNow).Pass(), "the open view must pass")
	for set := 1; set < 1<<len(cases); set++ {
		v, rule := openView()
		var names []string
		first := -1
		// Backwards, so that what one sets is not undone by an earlier one.
		for i, c := range slices.Backward(cases) {
			if set&(1<<i) != 0 {
				c.close(&v, &rule)
				names = append(names, c.name)
				first = i
			}
		}
		d := gates.Decide(v, rule, gateNow)
		want := cases[first].reason
		if want == notifier.ReasonTTL { // what held it up until it expired
			for _, held := range []string{"not imported", "stopped"} {
				if i := slices.IndexFunc(cases, func(c gateCase) bool { return c.name == held }); set&(1<<i) != 0 {
					want = cases[i].reason
				}
			}
		}
		if d.State != cases[first].state || d.Reason != want {
			require.Equal(t, fmt.Sprint(cases[first].state, "/", want), fmt.Sprint(d.State, "/", d.Reason), strings.Join(names, ", "))
		}
	}
}

func TestASuppressionStopsItsClassesWhileItLasts(t *testing.T) {
	t.Parallel()
	classes := []notifier.Class{notifier.Marketing, notifier.Service, notifier.Transactional, "of-tomorrow"}
	for class, want := range map[notifier.SuppressionClass][]bool{
		notifier.SuppressMarketing: {true, false, false, true},
		notifier.SuppressService:   {true, true, false, true},
		notifier.SuppressAll:       {true, true, true, true},
		"of-tomorrow":              {true, true, true, true},
	} {
		for i, c := range classes {
			for name, span := range map[string]struct {
				from, until time.Time
				active      bool
			}{
				"for good":         {time.Time{}, time.Time{}, true},
				"from now":         {gateNow, time.Time{}, true},
				"not yet":          {gateNow.Add(1), time.Time{}, false},
				"until now":        {time.Time{}, gateNow, false},
				"until right then": {time.Time{}, gateNow.Add(1), true},
				"in between":       {gateNow.Add(-1), gateNow.Add(1), true},
			} {
				v, rule := openView()
				v.Class = c
				v.Suppressions = []notifier.Suppression{{User: "ann", Reason: notifier.ReasonJurisdiction, Class: class, From: span.from, Until: span.until}}
				d := testGates().Decide(v, rule, gateNow)
				require.Equal(t, want[i] && span.active, !d.Pass(), "%s of %s, %s", class, c, name)
				if !d.Pass() {
					require.Equal(t, notifier.ReasonJurisdiction, d.Reason)
					require.Equal(t, v.Suppressions[0], *d.Suppression)
				}
			}
		}
	}
}

// A correction passes by every wish, and by no suppression.
func TestNoCorrectionPassesASuppression(t *testing.T) {
	t.Parallel()
	v, rule := openView()
	rule.HasCorrection, v.Told, v.Class = true, true, notifier.Transactional
	v.Preferences.Muted = []string{"tips"}
	require.True(t, testGates().Decide(v, rule, gateNow).Correction)
	v.Suppressions = []notifier.Suppression{{User: "ann", Reason: notifier.ReasonSelfExclusion, Class: notifier.SuppressAll}}
	require.Equal(t, notifier.ReasonSelfExclusion, testGates().Decide(v, rule, gateNow).Reason)
}

func TestQuietHoursLetADeliveryWait(t *testing.T) {
	t.Parallel()
	wait := func(until time.Time) notifier.Decision {
		return notifier.Decision{Until: until, Reason: notifier.ReasonQuietHours}
	}
	end := gateNow.Add(30 * time.Minute)
	for name, c := range map[string]struct {
		change func(v *notifier.View, r *notifier.Rule)
		want   notifier.Decision
	}{
		"it waits": {func(*notifier.View, *notifier.Rule) {}, wait(end)},
		"in the device's zone": {func(v *notifier.View, _ *notifier.Rule) {
			v.Device.TimeZone = "Europe/London" // where it is 15:00 now
		}, notifier.Decision{}},
		"in the user's zone, whatever the device's": {func(v *notifier.View, _ *notifier.Rule) {
			v.Device.TimeZone, v.Preferences.Quiet.TimeZone = "Europe/London", "Africa/Accra"
		}, wait(end)},
		"in UTC where the zone makes no sense": {func(v *notifier.View, _ *notifier.Rule) { v.Device.TimeZone = "Mars/Olympus" }, wait(end)},
		"of a loud class":                      {func(v *notifier.View, _ *notifier.Rule) { v.Class = notifier.Transactional }, notifier.Decision{}},
		"expires then": {func(v *notifier.View, _ *notifier.Rule) { v.ExpiresAt = end }, notifier.Decision{
			State: notifier.Expired, Reason: notifier.ReasonQuietHours,
		}},
		"expires then, after an unknown outcome": {func(v *notifier.View, _ *notifier.Rule) { v.ExpiresAt, v.Unknowns = end, 1 }, notifier.Decision{
			State: notifier.Unconfirmed, Reason: notifier.ReasonQuietHours,
		}},
		"expires just after": {func(v *notifier.View, _ *notifier.Rule) { v.ExpiresAt = end.Add(1) }, wait(end)},
		"a correction waits": {func(v *notifier.View, r *notifier.Rule) { r.HasCorrection, v.Told = true, true }, wait(end)},
		"none":               {func(v *notifier.View, _ *notifier.Rule) { v.Preferences.Quiet = nil }, notifier.Decision{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gates := testGates()
			gates.Caps = nil
			gates.Loud = map[notifier.Class]bool{notifier.Transactional: true}
			v, rule := openView()
			v.Preferences.Quiet = &devices.Quiet{From: 13 * 60, To: 14*60 + 30}
			c.change(&v, rule)
			d := gates.Decide(v, rule, gateNow)
			require.True(t, c.want.Until.Equal(d.Until), "%s", d.Until)
			d.Until = c.want.Until
			require.Equal(t, c.want, d)
		})
	}
}

func TestACapLetsADeliveryWaitForRoom(t *testing.T) {
	t.Parallel()
	later := gateNow.Add(30 * time.Minute)
	for name, c := range map[string]struct {
		change func(v *notifier.View, r *notifier.Rule)
		want   notifier.Decision
	}{
		"admitted":  {func(*notifier.View, *notifier.Rule) {}, notifier.Decision{Capped: true}},
		"not asked": {func(v *notifier.View, _ *notifier.Rule) { v.Frequency = nil }, notifier.Decision{Capped: true}},
		"another category": {func(v *notifier.View, _ *notifier.Rule) {
			v.Category = "race"
		}, notifier.Decision{}},
		"another class": {func(v *notifier.View, _ *notifier.Rule) { v.Class = notifier.Transactional }, notifier.Decision{}},
		"it waits": {func(v *notifier.View, _ *notifier.Rule) {
			v.Frequency.Until = later
		}, notifier.Decision{Until: later, Reason: notifier.ReasonFrequencyCap}},
		"it has waited, and must ask again": {func(v *notifier.View, _ *notifier.Rule) {
			v.Frequency.Until = gateNow.Add(-1)
		}, notifier.Decision{Until: gateNow.Add(-1), Reason: notifier.ReasonFrequencyCap}},
		"it expires before": {func(v *notifier.View, _ *notifier.Rule) {
			v.Frequency.State = notifier.Expired
		}, notifier.Decision{State: notifier.Expired, Reason: notifier.ReasonFrequencyCap}},
		"it expires right then": {func(v *notifier.View, _ *notifier.Rule) {
			v.Frequency.Until, v.ExpiresAt = later, later
		}, notifier.Decision{State: notifier.Expired, Reason: notifier.ReasonFrequencyCap}},
		"a correction needs no room": {func(v *notifier.View, r *notifier.Rule) {
			v.Frequency, v.Told, r.HasCorrection = nil, true, true
		}, notifier.Decision{Correction: true}},
		"a shadow takes none": {func(v *notifier.View, r *notifier.Rule) {
			v.Frequency, r.Mode = nil, notifier.ModeShadow
		}, notifier.Decision{State: notifier.Suppressed, Reason: notifier.ReasonShadow}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, rule := openView()
			c.change(&v, rule)
			require.Equal(t, c.want, testGates().Decide(v, rule, gateNow))
		})
	}
}
