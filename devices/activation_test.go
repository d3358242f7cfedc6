package devices_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

func fcm(seed string) devices.Target {
	return devices.Target{Kind: devices.FCMToken, Value: devices.Secret(seed + ":" + strings.Repeat("APA91b", 20))}
}

func activation(target devices.Target) devices.Activation {
	return devices.Activation{
		Platform: devices.Android, Target: target, Locale: "en-GB", TimeZone: "Europe/London", AppVersion: "4.2.0",
	}
}

func fieldsOf(t *testing.T, err error) []string {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, fault.Invalid, f.Kind)
	paths := make([]string, 0, len(f.Fields))
	for _, field := range f.Fields {
		require.NotEmpty(t, field.Message)
		paths = append(paths, field.Path)
	}
	return paths
}

func TestActivationValidate(t *testing.T) {
	t.Parallel()
	const value = "target.value"
	target := func(kind devices.TargetKind, v string) func(*devices.Activation) {
		return func(a *devices.Activation) { a.Target = devices.Target{Kind: kind, Value: devices.Secret(v)} }
	}
	locale := func(s string) func(*devices.Activation) { return func(a *devices.Activation) { a.Locale = s } }
	zone := func(s string) func(*devices.Activation) { return func(a *devices.Activation) { a.TimeZone = s } }
	version := func(s string) func(*devices.Activation) { return func(a *devices.Activation) { a.AppVersion = s } }
	for name, tc := range map[string]struct {
		change func(*devices.Activation)
		want   []string
	}{
		"as it should be":        {func(*devices.Activation) {}, nil},
		"platform missing":       {func(a *devices.Activation) { a.Platform = "" }, []string{"platform"}},
		"platform unknown":       {func(a *devices.Activation) { a.Platform = "windows" }, []string{"platform"}},
		"kind missing":           {target("", strings.Repeat("a", 40)), []string{"target.kind"}},
		"kind unknown":           {target("apns", strings.Repeat("a", 40)), []string{"target.kind"}},
		"token of 31":            {target(devices.FCMToken, strings.Repeat("a", 31)), []string{value}},
		"token of 32":            {target(devices.FCMToken, strings.Repeat("a", 32)), nil},
		"token of 4096":          {target(devices.FCMToken, strings.Repeat("a", 4096)), nil},
		"token of 4097":          {target(devices.FCMToken, strings.Repeat("a", 4097)), []string{value}},
		"token with every sign":  {target(devices.FCMToken, strings.Repeat("aZ09_:-", 5)), nil},
		"token with space":       {target(devices.FCMToken, strings.Repeat("a", 40)+" "), []string{value}},
		"token with line feed":   {target(devices.FCMToken, strings.Repeat("a", 40)+"\n"), []string{value}},
		"token with dot":         {target(devices.FCMToken, strings.Repeat("a", 40)+"."), []string{value}},
		"token with umlaut":      {target(devices.FCMToken, strings.Repeat("ä", 40)), []string{value}},
		"fid":                    {target(devices.FCMFID, "cAbcdefghij_klmnopq-12"), nil},
		"fid too short":          {target(devices.FCMFID, "cAbcdefghij_klmnopq-1"), []string{value}},
		"fid with colon":         {target(devices.FCMFID, "cAbcdefghij_klmnopq:12"), []string{value}},
		"ably device ulid":       {target(devices.AblyDevice, "01J8XGJ3M2N4P5Q6R7S8T9V0WX"), nil},
		"ably device base64":     {target(devices.AblyDevice, "q83vEjRWeJA+/w=="), nil},
		"ably device empty":      {target(devices.AblyDevice, ""), []string{value}},
		"ably device with space": {target(devices.AblyDevice, "a b"), []string{value}},
		"ably device too long":   {target(devices.AblyDevice, strings.Repeat("a", 257)), []string{value}},
		"ably client":            {target(devices.AblyClient, "Zoë 1"), nil},
		"ably client empty":      {target(devices.AblyClient, ""), []string{value}},
		"ably client wildcard":   {target(devices.AblyClient, "*"), []string{value}},
		"ably client control":    {target(devices.AblyClient, "a\x7fb"), []string{value}},
		"ably client not UTF-8":  {target(devices.AblyClient, "a\xff"), []string{value}},
		"locale empty":           {locale(""), nil},
		"locale from iOS":        {locale("en_GB"), nil},
		"locale with script":     {locale("zh-Hant-TW"), nil},
		"locale unknown":         {locale("english please"), []string{"locale"}},
		"locale POSIX":           {locale("en_GB.UTF-8"), []string{"locale"}},
		"locale too long":        {locale("en-x-" + strings.Repeat("abcdefgh-", 4) + "a"), []string{"locale"}},
		"zone empty":             {zone(""), nil},
		"zone UTC":               {zone("UTC"), nil},
		"zone three parts":       {zone("America/Argentina/Buenos_Aires"), nil},
		"zone Local":             {zone("Local"), []string{"time_zone"}},
		"zone unknown":           {zone("Europe/Atlantis"), []string{"time_zone"}},
		"zone climbs":            {zone("../../etc/passwd"), []string{"time_zone"}},
		"zone absolute":          {zone("/etc/localtime"), []string{"time_zone"}},
		"zone with zero byte":    {zone("UTC\x00"), []string{"time_zone"}},
		"zone too long":          {zone(strings.Repeat("a", 65)), []string{"time_zone"}},
		"version empty":          {version(""), nil},
		"version of 64":          {version(strings.Repeat("1", 64)), nil},
		"version of 65":          {version(strings.Repeat("1", 65)), []string{"app_version"}},
		"version with escape":    {version("1\x1b[31m"), []string{"app_version"}},
		"everything at once": {
			func(a *devices.Activation) {
				*a = devices.Activation{Target: devices.Target{Kind: devices.FCMToken}, Locale: "?", TimeZone: "?", AppVersion: "\n"}
			},
			[]string{"platform", value, "locale", "time_zone", "app_version"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := activation(fcm("t1"))
			tc.change(&a)
			err := a.Validate()
			if tc.want == nil {
				require.NoError(t, err)
				return
			}
			require.Equal(t, tc.want, fieldsOf(t, err))
			if v := a.Target.Value.Reveal(); len(v) > 3 {
				require.NotContains(t, err.Error(), v)
			}
		})
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for id, ok := range map[string]bool{
		"a": true, "8f14e45f-ceea-467f-a1d6-2b0f5a0c1e11": true, "A.b_c:d-9": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, ".": false, "..": false, "a..b": false, "a/b": false,
		`a\b`: false, "a b": false, "a%2fb": false, "ä": false, "a\x00": false, "a\n": false,
	} {
		if ok {
			require.NoError(t, devices.ID(id).Validate(), "%q", id)
		} else {
			require.Equal(t, []string{"id"}, fieldsOf(t, devices.ID(id).Validate()), "%q", id)
		}
	}
	for user, ok := range map[string]bool{
		"a": true, "Zoë O'Neil": true, "auth0|5f7c8ec7c33c6c004bbafe82": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, "a\x00": false, "a\nb": false, "\x7f": false, "\u0085": false, "a\xff": false,
	} {
		if ok {
			require.NoError(t, devices.UserID(user).Validate(), "%q", user)
		} else {
			require.Equal(t, []string{"user"}, fieldsOf(t, devices.UserID(user).Validate()), "%q", user)
		}
	}
}

func TestActivate(t *testing.T) {
	t.Parallel()
	then := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	now := then.Add(time.Hour)
	stored := devices.Device{
		ID: "d1", User: "ada", Platform: devices.Android, Target: fcm("t1"), Generation: 3, State: devices.Active,
		Locale: "en-GB", TimeZone: "Europe/London", AppVersion: "4.2.0", ActivatedAt: then, UpdatedAt: then,
	}
	with := func(change func(*devices.Device)) *devices.Device {
		d := stored
		change(&d)
		return &d
	}
	inactive := func(d *devices.Device) { d.State = devices.Inactive }
	retired := func(d *devices.Device) { d.State, d.RetiredReason = devices.Retired, "unregistered" }
	other := func(d *devices.Device) { d.ID, d.User, d.Generation = "d2", "bob", 7 }

	for name, tc := range map[string]struct {
		user            devices.UserID
		target          devices.Target
		current, holder *devices.Device
		// want is what becomes of stored; nil with err set.
		want      func(*devices.Device)
		write     bool
		cancel    devices.CancelReason
		displaced bool
		err       error
	}{
		"new": {
			target: fcm("t1"), write: true,
			want: func(d *devices.Device) { d.Generation, d.ActivatedAt, d.UpdatedAt = 1, now, now },
		},
		"the same again": {
			target: fcm("t1"), current: &stored,
			want: func(*devices.Device) {},
		},
		"the same again a day later": {
			target: fcm("t1"), current: with(func(d *devices.Device) { d.UpdatedAt = now.Add(-24 * time.Hour) }), write: true,
			want: func(d *devices.Device) { d.UpdatedAt = now },
		},
		"another locale": {
			target: fcm("t1"), current: with(func(d *devices.Device) { d.Locale = "de" }), write: true,
			want: func(d *devices.Device) { d.UpdatedAt = now },
		},
		"another target": {
			target: fcm("t2"), current: &stored, write: true,
			want: func(d *devices.Device) { d.Target, d.Generation, d.UpdatedAt = fcm("t2"), 4, now },
		},
		"another kind of the same value": {
			target: devices.Target{Kind: devices.FCMFID, Value: fcm("t1").Value}, current: &stored, write: true,
			want: func(d *devices.Device) { d.Target.Kind, d.Generation, d.UpdatedAt = devices.FCMFID, 4, now },
		},
		"back from inactive": {
			target: fcm("t1"), current: with(inactive), write: true,
			want: func(d *devices.Device) { d.Generation, d.ActivatedAt, d.UpdatedAt = 4, now, now },
		},
		"back from retired": {
			target: fcm("t2"), current: with(retired), write: true,
			want: func(d *devices.Device) { d.Target, d.Generation, d.ActivatedAt, d.UpdatedAt = fcm("t2"), 4, now, now },
		},
		"taken over by the target": {
			user: "bob", target: fcm("t1"), current: &stored, write: true, cancel: devices.CancelUserChanged,
			want: func(d *devices.Device) { d.User, d.Generation, d.ActivatedAt, d.UpdatedAt = "bob", 4, now, now },
		},
		"taken over by the target while inactive": {
			user: "bob", target: fcm("t1"), current: with(inactive), write: true, cancel: devices.CancelUserChanged,
			want: func(d *devices.Device) { d.User, d.Generation, d.ActivatedAt, d.UpdatedAt = "bob", 4, now, now },
		},
		"not taken over without it": {
			user: "bob", target: fcm("t2"), current: &stored, err: devices.ErrDeviceTaken,
		},
		"not taken over without it, even inactive": {
			user: "bob", target: fcm("t2"), current: with(inactive), err: devices.ErrDeviceTaken,
		},
		"not taken over by another kind of the same value": {
			user: "bob", target: devices.Target{Kind: devices.FCMFID, Value: fcm("t1").Value}, current: &stored, err: devices.ErrDeviceTaken,
		},
		"target moves from another device": {
			target: fcm("t1"), holder: with(other), write: true, displaced: true,
			want: func(d *devices.Device) { d.Generation, d.ActivatedAt, d.UpdatedAt = 1, now, now },
		},
		"a holder that is not active keeps quiet": {
			target: fcm("t1"), holder: with(func(d *devices.Device) { other(d); inactive(d) }), write: true,
			want: func(d *devices.Device) { d.Generation, d.ActivatedAt, d.UpdatedAt = 1, now, now },
		},
		"a holder of another target keeps quiet": {
			target: fcm("t1"), holder: with(func(d *devices.Device) { other(d); d.Target = fcm("t9") }), write: true,
			want: func(d *devices.Device) { d.Generation, d.ActivatedAt, d.UpdatedAt = 1, now, now },
		},
		"own client id": {
			target: devices.Target{Kind: devices.AblyClient, Value: "ada"}, write: true,
			want: func(d *devices.Device) {
				d.Target = devices.Target{Kind: devices.AblyClient, Value: "ada"}
				d.Generation, d.ActivatedAt, d.UpdatedAt = 1, now, now
			},
		},
		"somebody else's client id": {
			user: "bob", target: devices.Target{Kind: devices.AblyClient, Value: "ada"}, err: devices.ErrForeignClient,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := tc.user
			if user == "" {
				user = "ada"
			}
			got, err := devices.Activate(now, user, "d1", activation(tc.target), tc.current, tc.holder)
			if tc.err != nil {
				require.ErrorIs(t, err, tc.err)
				require.Zero(t, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, *with(tc.want), got.Device)
			require.Equal(t, tc.write, got.Write)
			require.Equal(t, tc.cancel, got.Cancel)
			if !tc.displaced {
				require.Nil(t, got.Displaced)
				return
			}
			want := *tc.holder
			want.State, want.UpdatedAt = devices.Inactive, now
			require.Equal(t, &want, got.Displaced)
			require.Equal(t, devices.Active, tc.holder.State, "the rules must not change what they were given")
		})
	}
}

func TestActivateStoresTheCanonicalLocale(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{"": "", "en_gb": "en-GB", "DE": "de", "zh-hant-tw": "zh-Hant-TW", "iw": "he"} {
		a := activation(fcm("t1"))
		a.Locale = said
		got, err := devices.Activate(time.Unix(1, 0), "ada", "d1", a, nil, nil)
		require.NoError(t, err)
		require.Equal(t, want, got.Device.Locale)
	}
}

func TestDeactivate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	d := devices.Device{ID: "d1", User: "ada", State: devices.Active, Generation: 2}
	_, err := devices.Deactivate(now, "bob", d)
	require.ErrorIs(t, err, devices.ErrUnknownDevice)

	got, err := devices.Deactivate(now, "ada", d)
	require.NoError(t, err)
	want := d
	want.State, want.UpdatedAt = devices.Inactive, now
	require.Equal(t, devices.Change{Device: want, Write: true, Cancel: devices.CancelDeactivated}, got)

	for _, state := range []devices.State{devices.Inactive, devices.Retired} {
		d.State = state
		got, err = devices.Deactivate(now, "ada", d)
		require.NoError(t, err)
		require.Equal(t, devices.Change{Device: d}, got)
	}
}

func TestATargetIsNeverPrinted(t *testing.T) {
	t.Parallel()
	target := fcm("very-secret")
	value := target.Value.Reveal()
	var log strings.Builder
	logger := zerolog.New(&log)
	logger.Info().Object("target", target).Stringer("value", target.Value).Msg("")
	encoded, err := json.Marshal(map[string]any{"target": target})
	require.NoError(t, err)
	for _, text := range []string{
		log.String(), string(encoded), fmt.Sprint(target), fmt.Sprintf("%v %+v %#v %s %q", target, target, target, target.Value, target.Value),
	} {
		require.NotContains(t, text, "very-secret")
		require.NotContains(t, text, value[20:40])
		require.Contains(t, text, "sha256:")
	}
	var back devices.Target
	require.NoError(t, json.Unmarshal([]byte(`{"Kind":"fcm_token","Value":"`+value+`"}`), &back))
	require.True(t, back.Equal(target))
}
