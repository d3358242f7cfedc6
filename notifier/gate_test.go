package notifier_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

func TestGatesNameTheirReason(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 1, 14, 0, 0, 0, time.UTC)
	plain := &notifier.Rule{ID: "r", Audience: notifier.Audience{Kind: notifier.AudienceUser}}
	correcting := &notifier.Rule{ID: "r", Audience: notifier.Audience{Kind: notifier.AudienceUser}, HasCorrection: true}
	following := &notifier.Rule{ID: "r", Audience: notifier.Audience{Kind: notifier.AudienceFollows, Rule: "other"}}
	shadow := &notifier.Rule{ID: "r", Mode: notifier.ModeShadow}
	gates := notifier.Gates{OptIn: map[string]bool{"tips": true}}
	pass := notifier.Decision{}

	cases := map[string]struct {
		rule   *notifier.Rule
		change func(v *notifier.View)
		want   notifier.Decision
	}{
		"passes":       {plain, func(*notifier.View) {}, pass},
		"rule removed": {nil, func(*notifier.View) {}, notifier.Decision{State: notifier.Cancelled, Reason: notifier.ReasonRuleRemoved}},
		"expires now":  {plain, func(v *notifier.View) { v.ExpiresAt = now }, notifier.Decision{State: notifier.Expired, Reason: notifier.ReasonTTL}},
		"expired after an unknown outcome": {
			plain, func(v *notifier.View) { v.ExpiresAt = now; v.Unknowns = 1 },
			notifier.Decision{State: notifier.Unconfirmed, Reason: notifier.ReasonTTL},
		},
		"device gone":     {plain, func(v *notifier.View) { v.Device = devices.Device{} }, notifier.Decision{State: notifier.Cancelled, Reason: notifier.ReasonDeviceInactive}},
		"device inactive": {plain, func(v *notifier.View) { v.Device.State = devices.Inactive }, notifier.Decision{State: notifier.Cancelled, Reason: notifier.ReasonDeviceInactive}},
		"device retired":  {plain, func(v *notifier.View) { v.Device.State = devices.Retired }, notifier.Decision{State: notifier.Cancelled, Reason: notifier.ReasonDeviceInactive}},
		"another user's":  {plain, func(v *notifier.View) { v.Device.User = "eve" }, notifier.Decision{State: notifier.Cancelled, Reason: notifier.ReasonDeviceReassigned}},
		"unreadable": {
			plain, func(v *notifier.View) { v.Unreadable = errCut },
			notifier.Decision{State: notifier.Rejected, Reason: notifier.ReasonUnreadable},
		},
		"newer":        {plain, func(v *notifier.View) { v.Newer = true }, notifier.Decision{State: notifier.Superseded, Reason: notifier.ReasonNewer}},
		"muted":        {plain, func(v *notifier.View) { v.Preferences.Muted = []string{"win"} }, notifier.Decision{State: notifier.Suppressed, Reason: notifier.ReasonMuted}},
		"other muted":  {plain, func(v *notifier.View) { v.Preferences.Muted = []string{"race"} }, pass},
		"not opted in": {plain, func(v *notifier.View) { v.Category = "tips" }, notifier.Decision{State: notifier.Suppressed, Reason: notifier.ReasonNotOptedIn}},
		"opted in":     {plain, func(v *notifier.View) { v.Category = "tips"; v.Preferences.OptedIn = []string{"tips"} }, pass},
		"shadow":       {shadow, func(*notifier.View) {}, notifier.Decision{State: notifier.Suppressed, Reason: notifier.ReasonShadow}},

		"correction of what was told, though muted": {
			correcting, func(v *notifier.View) { v.Told = true; v.Preferences.Muted = []string{"win"} },
			notifier.Decision{Correction: true},
		},
		"correction of what was never told, muted": {
			correcting, func(v *notifier.View) { v.Preferences.Muted = []string{"win"} },
			notifier.Decision{State: notifier.Suppressed, Reason: notifier.ReasonMuted},
		},
		"follower told":           {following, func(v *notifier.View) { v.Told = true }, pass},
		"follower never told":     {following, func(*notifier.View) {}, notifier.Decision{State: notifier.Suppressed, Reason: notifier.ReasonNotTold}},
		"follower told and muted": {following, func(v *notifier.View) { v.Told = true; v.Preferences.Muted = []string{"win"} }, notifier.Decision{State: notifier.Suppressed, Reason: notifier.ReasonMuted}},

		"expiry comes before a device that left": {
			plain, func(v *notifier.View) { v.ExpiresAt = now; v.Device.State = devices.Inactive },
			notifier.Decision{State: notifier.Expired, Reason: notifier.ReasonTTL},
		},
		"a device that left comes before a newer one": {
			plain, func(v *notifier.View) { v.Newer = true; v.Device.State = devices.Inactive },
			notifier.Decision{State: notifier.Cancelled, Reason: notifier.ReasonDeviceInactive},
		},
		"newer comes before muted": {
			plain, func(v *notifier.View) { v.Newer = true; v.Preferences.Muted = []string{"win"} },
			notifier.Decision{State: notifier.Superseded, Reason: notifier.ReasonNewer},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := notifier.View{
				User: "ann", ExpiresAt: now.Add(time.Second),
				Device: devices.Device{ID: "a1", User: "ann", State: devices.Active},
			}
			v.Category = "win"
			c.change(&v)
			require.Equal(t, c.want, gates.Decide(v, c.rule, now))
		})
	}
}
