package ksqldb

import (
	"strings"
	"time"
)

// timePattern completes a partial time of day: what is missing is zero.
const timePattern = "00:00:00.000"

// parseTimestamp reads a datetime as the server does where it compares a string
// with a TIMESTAMP or with ROWTIME: yyyy-MM-dd'T'HH:mm:ss.SSS, which may end
// early (2026, 2026-09, 2026-09-01T14), with an optional zone Z or +0200
// (ksqlDB: PartialStringToTimestampParser). Without a zone it is UTC.
func parseTimestamp(text string) (time.Time, bool) {
	date, clock, hasTime := strings.Cut(text, "T")
	zone := time.UTC
	if hasTime {
		var ok bool
		if clock, zone, ok = cutZone(clock); !ok {
			return time.Time{}, false
		}
	} else {
		switch strings.Count(date, "-") {
		case 0:
			date += "-01-01"
		case 1:
			date += "-01"
		}
	}
	if len(clock) < len(timePattern) {
		clock += timePattern[len(clock):]
	}
	const layout = "2006-01-02T15:04:05.000"
	full := date + "T" + clock
	if strings.Contains(full, ",") { // time.Parse takes a comma for the point
		return time.Time{}, false
	}
	t, err := time.ParseInLocation(layout, full, zone)
	return t, err == nil
}

// cutZone takes the zone off the end of a time of day.
func cutZone(clock string) (string, *time.Location, bool) {
	if before, ok := strings.CutSuffix(clock, "Z"); ok {
		return before, time.UTC, true
	}
	at := strings.IndexAny(clock, "+-")
	if at < 0 {
		return clock, time.UTC, true
	}
	for _, layout := range []string{"-0700", "-07:00"} {
		if t, err := time.Parse(layout, clock[at:]); err == nil {
			_, offset := t.Zone()
			return clock[:at], time.FixedZone("", offset), true
		}
	}
	return "", nil, false
}

// parseClock reads a TIME literal: HH:mm, HH:mm:ss or with a fraction.
func parseClock(text string) (time.Duration, bool) {
	if len(text) < len("15:04") || text[2] != ':' || strings.Contains(text, ",") {
		return 0, false // time.Parse takes one digit for the hour, and commas
	}
	for _, layout := range []string{"15:04", "15:04:05"} { // the second takes fractions too
		if t, err := time.Parse(layout, text); err == nil {
			return t.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)), true
		}
	}
	return 0, false
}
