package devices_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/devices"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	require.NoError(t, err)
	return loc
}

func quiet(t testing.TB, from, to string) devices.Quiet {
	t.Helper()
	f, err := devices.ParseTimeOfDay(from)
	require.NoError(t, err)
	u, err := devices.ParseTimeOfDay(to)
	require.NoError(t, err)
	return devices.Quiet{From: f, To: u}
}

// The clocks of London change at 01:00 UTC: forward on 2026-03-29, back on 2026-10-25. Those of New
// York at 02:00 by themselves: forward on 2026-03-08 (07:00 UTC), back on 2026-11-01 (06:00 UTC).
func TestQuietHoursEndByTheClockOnTheWall(t *testing.T) {
	t.Parallel()
	const london, newYork = "Europe/London", "America/New_York"
	for name, c := range map[string]struct{ zone, from, to, at, end string }{
		"in the evening":          {london, "22:00", "08:00", "2026-01-15T22:00:00Z", "2026-01-16T08:00:00Z"},
		"in the morning":          {london, "22:00", "08:00", "2026-01-16T07:59:59.5Z", "2026-01-16T08:00:00Z"},
		"before":                  {london, "22:00", "08:00", "2026-01-15T21:59:59Z", ""},
		"after":                   {london, "22:00", "08:00", "2026-01-16T08:00:00Z", ""},
		"in summer":               {london, "22:00", "08:00", "2026-07-15T21:30:00Z", "2026-07-16T07:00:00Z"},
		"within a day":            {london, "12:00", "14:00", "2026-01-15T13:00:00Z", "2026-01-15T14:00:00Z"},
		"within a day, not yet":   {london, "12:00", "14:00", "2026-01-15T11:59:00Z", ""},
		"to midnight":             {london, "22:00", "00:00", "2026-01-15T23:00:00Z", "2026-01-16T00:00:00Z"},
		"from midnight":           {london, "00:00", "06:00", "2026-01-15T00:00:00Z", "2026-01-15T06:00:00Z"},
		"another zone":            {newYork, "22:00", "08:00", "2026-01-15T03:00:00Z", "2026-01-15T13:00:00Z"},
		"a zone of half an hour":  {"Asia/Kolkata", "22:00", "08:00", "2026-01-15T17:00:00Z", "2026-01-16T02:30:00Z"},
		"another zone, by day":    {newYork, "22:00", "08:00", "2026-01-15T22:30:00Z", ""},
		"London forward":          {london, "22:00", "08:00", "2026-03-28T23:00:00Z", "2026-03-29T07:00:00Z"},
		"London back":             {london, "22:00", "08:00", "2026-10-24T22:00:00Z", "2026-10-25T08:00:00Z"},
		"London, end left out":    {london, "22:00", "01:30", "2026-03-28T23:00:00Z", "2026-03-29T01:00:00Z"},
		"London, begin left out":  {london, "01:30", "06:00", "2026-03-29T01:00:00Z", "2026-03-29T05:00:00Z"},
		"London, before it":       {london, "01:30", "06:00", "2026-03-29T00:59:59Z", ""},
		"London, all left out":    {london, "01:10", "01:50", "2026-03-29T01:00:00Z", ""},
		"London, end shown twice": {london, "22:00", "01:30", "2026-10-24T23:50:00Z", "2026-10-25T00:30:00Z"},
		"London, between the two": {london, "22:00", "01:30", "2026-10-25T00:45:00Z", ""},
		"London, second showing":  {london, "22:00", "01:30", "2026-10-25T01:10:00Z", "2026-10-25T01:30:00Z"},
		"London, end at change":   {london, "22:00", "01:00", "2026-03-28T23:00:00Z", "2026-03-29T01:00:00Z"},
		"London, jumps back into": {london, "01:30", "01:59", "2026-10-25T00:40:00Z", "2026-10-25T00:59:00Z"},
		"New York forward":        {newYork, "22:00", "08:00", "2026-03-08T03:00:00Z", "2026-03-08T12:00:00Z"},
		"New York back":           {newYork, "22:00", "08:00", "2026-11-01T02:00:00Z", "2026-11-01T13:00:00Z"},
		"New York, end left out":  {newYork, "22:00", "02:30", "2026-03-08T06:30:00Z", "2026-03-08T07:00:00Z"},
		"New York, end twice":     {newYork, "22:00", "01:30", "2026-11-01T05:00:00Z", "2026-11-01T05:30:00Z"},
		"New York, second":        {newYork, "22:00", "01:30", "2026-11-01T06:10:00Z", "2026-11-01T06:30:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, err := time.Parse(time.RFC3339, c.at)
			require.NoError(t, err)
			end, ok := quiet(t, c.from, c.to).EndAfter(at, zone(t, c.zone))
			got := ""
			if ok {
				got = end.UTC().Format(time.RFC3339Nano)
			}
			require.Equal(t, c.end, got)
		})
	}
}

// Whatever the zone and its changes, the end is the first moment that is not quiet.
func TestQuietHoursEndAtTheirFirstLoudMoment(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/London", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu", "Africa/Casablanca"}
	rapid.Check(t, func(r *rapid.T) {
		loc := zone(t, rapid.SampledFrom(zones).Draw(r, "zone"))
		q := devices.Quiet{From: devices.TimeOfDay(rapid.IntRange(0, 1439).Draw(r, "from")), To: devices.TimeOfDay(rapid.IntRange(0, 1439).Draw(r, "to"))}
		at := time.Unix(rapid.Int64Range(1.7e9, 1.9e9).Draw(r, "at"), 0)
		end, ok := q.EndAfter(at, loc)
		shows := func(t time.Time) bool { // said in another way than EndAfter says it
			m := t.In(loc).Hour()*60 + t.In(loc).Minute()
			length := (int(q.To) - int(q.From) + 1440) % 1440
			return (m-int(q.From)+1440)%1440 < length
		}
		require.Equal(t, shows(at), ok)
		if !ok {
			return
		}
		require.True(t, end.After(at))
		require.False(t, shows(end))
		for m := at; m.Before(end); m = m.Add(time.Minute) {
			require.True(t, shows(m), m.In(loc))
		}
		require.True(t, shows(end.Add(-1)))
	})
}

func TestTimesOfDayAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for m := range devices.TimeOfDay(1440) {
		text, err := json.Marshal(m)
		require.NoError(t, err)
		var again devices.TimeOfDay
		require.NoError(t, json.Unmarshal(text, &again))
		require.Equal(t, m, again)
	}
	for _, wrong := range []string{"", "24:00", "8:00", "08:60", "08:00:00", "-1:00", "aa:bb"} {
		_, err := devices.ParseTimeOfDay(wrong)
		require.Error(t, err, wrong)
	}
}

func TestPreferencesWithQuietHours(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		quiet devices.Quiet
		want  []string
	}{
		"none":        {devices.Quiet{}, nil},
		"night":       {devices.Quiet{From: 1320, To: 480, TimeZone: "Europe/London"}, nil},
		"all day":     {devices.Quiet{From: 480, To: 480}, []string{"quiet.to"}},
		"another day": {devices.Quiet{From: -1, To: 1440}, []string{"quiet.from", "quiet.to"}},
		"nowhere":     {devices.Quiet{From: 1320, To: 480, TimeZone: "Local"}, []string{"quiet.time_zone"}},
	} {
		got, err := devices.Preferences{Quiet: &c.quiet}.Normalize()
		if c.want == nil {
			require.NoError(t, err, name)
			require.Equal(t, &c.quiet, got.Quiet)
			continue
		}
		require.Equal(t, c.want, fieldsOf(t, err), name)
	}
}
