package notifier

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule gives the nominal ticks of a rule. Next returns the first tick
// strictly after t, in UTC; the same one on every replica, whenever it was
// started and wherever it runs.
type Schedule interface {
	Next(t time.Time) time.Time
}

// everySchedule ticks at whole multiples of its interval since the Unix epoch.
// robfig's own @every counts from the start of the process, so that two
// replicas would never agree on a tick.
type everySchedule struct{ seconds int64 }

func (s everySchedule) Next(t time.Time) time.Time {
	unix := t.Unix() // rounds down, also before 1970
	n := unix / s.seconds
	if unix%s.seconds < 0 {
		n--
	}
	return time.Unix((n+1)*s.seconds, 0).UTC()
}

// cronSchedule is a cron spec read in its own zone, UTC when it names none.
// (robfig's default is the zone of the machine, which replicas need not share.)
type cronSchedule struct{ spec cron.Schedule }

func (s cronSchedule) Next(t time.Time) time.Time { return s.spec.Next(t.UTC()).UTC() }

const (
	minEvery = time.Second
	maxEvery = 366 * 24 * time.Hour
)

// parseSchedule reads "@every 30s", "0 12 * * *", "CRON_TZ=Europe/London 0 12 * * *" or "@hourly".
// The duration is the shortest time between two ticks.
func parseSchedule(text string) (Schedule, time.Duration, error) {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "@every"); ok {
		d, err := ParseDuration(strings.TrimSpace(rest))
		switch {
		case err != nil:
			return nil, 0, err
		case d < minEvery || d > maxEvery:
			return nil, 0, fmt.Errorf("@every must be between %s and 366d", minEvery)
		case d%time.Second != 0:
			return nil, 0, errors.New("@every must be whole seconds")
		}
		return everySchedule{int64(d / time.Second)}, d, nil
	}
	if strings.Contains(text, "@every") {
		return nil, 0, errors.New("@every takes no time zone: it ticks at multiples of its interval")
	}
	if zone, rest, ok := cutCronZone(text); ok {
		// ParseStandard slices out of range when nothing follows the zone.
		if strings.TrimSpace(rest) == "" {
			return nil, 0, errors.New("a cron spec must follow the time zone")
		}
		if zone == "" || zone == "Local" {
			return nil, 0, errors.New(`the time zone must be an IANA name such as "Europe/London"`)
		}
	}
	spec, err := cron.ParseStandard(text)
	if err != nil {
		return nil, 0, fmt.Errorf("not a cron spec of five fields: %w", err)
	}
	s := cronSchedule{spec}
	gap, err := shortestGap(s)
	if err != nil {
		return nil, 0, err
	}
	return s, gap, nil
}

// cutCronZone splits a leading TZ= or CRON_TZ= from a spec.
func cutCronZone(text string) (zone, rest string, ok bool) {
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		if after, found := strings.CutPrefix(text, prefix); found {
			zone, rest, _ = strings.Cut(after, " ")
			return zone, rest, true
		}
	}
	return "", text, false
}

// shortestGap looks at the first ticks after a fixed day. They cover a day of
// any spec that fires at most every ten minutes; for others the shortest gap
// shows within the first hour.
func shortestGap(s Schedule) (time.Duration, error) {
	const ticks = 144
	t := s.Next(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC))
	if t.IsZero() {
		return 0, errors.New("never fires")
	}
	shortest := time.Duration(1<<63 - 1)
	for range ticks {
		next := s.Next(t)
		if next.IsZero() {
			break
		}
		shortest = min(shortest, next.Sub(t))
		t = next
	}
	return shortest, nil
}
