package notifier_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/notifier"
)

func schedule(t testing.TB, spec string) notifier.Schedule {
	t.Helper()
	return compile(t, strings.Replace(minimal, `"@every 30s"`, "'"+spec+"'", 1)).Schedule
}

func TestEveryIsAligned(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ spec, after, want string }{
		{"@every 30s", "2026-09-01T12:00:00Z", "2026-09-01T12:00:30Z"},
		{"@every 30s", "2026-09-01T11:59:59.999999999Z", "2026-09-01T12:00:00Z"},
		{"@every 1d", "2026-09-01T12:00:00+02:00", "2026-09-02T00:00:00Z"},
		{"@every 7s", "1969-12-31T23:59:58Z", "1970-01-01T00:00:00Z"},
		{"@every 7s", "1969-12-31T23:59:50Z", "1969-12-31T23:59:53Z"},
		{" @every  90s ", "1970-01-01T00:00:00Z", "1970-01-01T00:01:30Z"},
	} {
		after, err := time.Parse(time.RFC3339Nano, tc.after)
		require.NoError(t, err)
		require.Equal(t, tc.want, schedule(t, tc.spec).Next(after).Format(time.RFC3339), "%s after %s", tc.spec, tc.after)
	}
}

func TestEveryProperties(t *testing.T) {
	t.Parallel()
	zones := []*time.Location{time.UTC, time.Local, time.FixedZone("", 5*3600+1800), time.FixedZone("", -7*3600)}
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.Int64Range(1, 86400*40).Draw(t, "seconds")) * time.Second
		set, err := notifier.CompileRules(notifier.RuleSource{
			YAML: []byte(strings.Replace(minimal, "@every 30s", "@every "+interval.String(), 1)),
		})
		require.NoError(t, err)
		s := set.All()[0].Schedule
		at := time.Unix(rapid.Int64Range(-1<<33, 1<<35).Draw(t, "unix"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos"))
		next := s.Next(at.In(rapid.SampledFrom(zones).Draw(t, "zone")))

		require.True(t, next.After(at), "strictly later")
		require.LessOrEqual(t, next.Sub(at), interval, "and the first one")
		require.Zero(t, next.Unix()%int64(interval/time.Second), "aligned to the epoch")
		require.Zero(t, next.Nanosecond())
		require.Equal(t, time.UTC, next.Location())
		require.Equal(t, next, s.Next(at), "the same in any zone")

		// A replica that starts later, anywhere before the tick, agrees.
		late := at.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(at))-1).Draw(t, "late")))
		require.Equal(t, next, s.Next(late))
	})
}

func TestCronZones(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 1, 0, 0, 0, 0, time.FixedZone("", 9*3600))
	for spec, want := range map[string]string{
		"0 12 * * *":                         "2026-07-01T12:00:00Z",
		"TZ=Europe/London 0 12 * * *":        "2026-07-01T11:00:00Z",
		"CRON_TZ=America/New_York 0 0 * * *": "2026-07-01T04:00:00Z",
		"@hourly":                            "2026-06-30T16:00:00Z",
		"@daily":                             "2026-07-01T00:00:00Z",
	} {
		require.Equal(t, want, schedule(t, spec).Next(at).Format(time.RFC3339), spec)
	}
}

// A cron spec must not skip or double a tick that replicas in different zones see.
func TestCronProperties(t *testing.T) {
	t.Parallel()
	s := schedule(t, "CRON_TZ=Europe/London */20 * * * *")
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "unix"), 0)
		next := s.Next(at)
		require.True(t, next.After(at))
		require.Equal(t, next, s.Next(at.UTC()))
		require.Equal(t, next, s.Next(next.Add(-time.Nanosecond)))
	})
}
