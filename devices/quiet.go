package devices

import (
	"fmt"
	"time"

	"github.com/bugle-push/bugle/internal/fault"
)

// TimeOfDay is a time on the clock of a wall, in minutes since midnight.
type TimeOfDay int

const minutesOfDay = 24 * 60

// ParseTimeOfDay reads "HH:MM", from 00:00 to 23:59.
func ParseTimeOfDay(s string) (TimeOfDay, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fault.New(fault.Invalid, "wants a time of day such as 22:00")
	}
	return TimeOfDay(t.Hour()*60 + t.Minute()), nil
}

// String returns "HH:MM".
func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", int(t)/60, int(t)%60) }

// MarshalText returns what String does.
func (t TimeOfDay) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *TimeOfDay) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTimeOfDay(string(text))
	return err
}

// Quiet are the hours of a day in which a user wants to hear nothing. When To is
// before From they go over midnight. The zero value has no such hours.
type Quiet struct {
	// From is the first quiet minute, and To the first one after them.
	From TimeOfDay `json:"from"`
	To   TimeOfDay `json:"to"`
	// TimeZone is the IANA zone of the user's day; empty means the device's own.
	TimeZone string `json:"time_zone"`
}

// None tells whether there are no quiet hours.
func (q Quiet) None() bool { return q.From == q.To }

// problems names what is wrong with quiet hours that are not the zero value.
func (q Quiet) problems(fields *[]fault.Field) {
	if q == (Quiet{}) {
		return
	}
	wrong := func(path, message string) {
		*fields = append(*fields, fault.Field{Path: path, Message: message})
	}
	for _, t := range []struct {
		path string
		at   TimeOfDay
	}{{"quiet.from", q.From}, {"quiet.to", q.To}} {
		if t.at < 0 || t.at >= minutesOfDay {
			wrong(t.path, "wants a time of day from 00:00 to 23:59")
		}
	}
	if q.None() {
		wrong("quiet.to", "wants another time than from; to hear nothing all day, mute the categories")
	}
	if problem := timeZoneProblem(q.TimeZone); problem != "" {
		wrong("quiet.time_zone", problem)
	}
}

// EndAfter returns when the quiet hours end that t lies in, by the clock on a
// wall in the zone, and false when t lies in none.
//
// The clock on the wall decides, also where it is changed: hours that it leaves
// out are not lived through, and those that it shows twice are quiet twice.
func (q Quiet) EndAfter(t time.Time, zone *time.Location) (time.Time, bool) {
	at := t.In(zone)
	if q.None() || !q.covers(at) {
		return time.Time{}, false
	}
	for {
		// As long as the zone's offset stays, the wall's clock runs like any other.
		sinceMidnight := time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute +
			time.Duration(at.Second())*time.Second + time.Duration(at.Nanosecond())
		wait := time.Duration(q.To)*time.Minute - sinceMidnight
		if wait <= 0 {
			wait += minutesOfDay * time.Minute
		}
		end := at.Add(wait)
		_, change := at.ZoneBounds()
		if change.IsZero() || end.Before(change) {
			return end, true
		}
		if at = change.In(zone); !q.covers(at) {
			return at, true // the clock jumps out of the quiet hours
		}
	}
}

// covers tells whether the clock shows a quiet minute.
func (q Quiet) covers(at time.Time) bool {
	m := TimeOfDay(at.Hour()*60 + at.Minute())
	if q.From < q.To {
		return q.From <= m && m < q.To
	}
	return q.From <= m || m < q.To
}
