package ksqlclient

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Date is a calendar day without a zone, the value of a DATE column.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// DateOf returns the day of t in t's own location.
func DateOf(t time.Time) Date {
	year, month, day := t.Date()
	return Date{year, month, day}
}

// ParseDate reads "2006-01-02".
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		// time.Parse quotes the text, which is data.
		return Date{}, errors.New("parse date: not of the form 2006-01-02")
	}
	return DateOf(t), nil
}

// String returns the form "2006-01-02".
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// In returns the first instant of the day in the location; UTC if loc is nil.
func (d Date) In(loc *time.Location) time.Time {
	if loc == nil {
		loc = time.UTC
	}
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, loc)
}

// MarshalText returns what String returns.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDate reads.
func (d *Date) UnmarshalText(text []byte) error {
	parsed, err := ParseDate(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

func (d Date) valid() bool {
	return d.Year >= 1 && d.Year <= 9999 && DateOf(d.In(nil)) == d
}

// TimeOfDay is the time since midnight, the value of a TIME column. ksqlDB keeps
// milliseconds and prints seconds.
type TimeOfDay time.Duration

const day = TimeOfDay(24 * time.Hour)

// ParseTimeOfDay reads "15:04", "15:04:05" and "15:04:05.000": ksqlDB leaves
// seconds out when they are zero.
func ParseTimeOfDay(s string) (TimeOfDay, error) {
	layout := time.TimeOnly // accepts a fraction too
	if strings.Count(s, ":") == 1 {
		layout = "15:04"
	}
	t, err := time.Parse(layout, s)
	if err != nil || len(s) < len("15:04") || s[2] != ':' {
		return 0, errors.New("parse time of day: not of the form 15:04:05")
	}
	hour, minute, second := t.Clock()
	return TimeOfDay(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute +
		time.Duration(second)*time.Second + time.Duration(t.Nanosecond())), nil
}

// String returns the form "15:04:05", with milliseconds if there are any.
func (t TimeOfDay) String() string {
	if time.Duration(t)%time.Second < time.Millisecond {
		return t.literal()[:len(time.TimeOnly)]
	}
	return t.literal()
}

// Duration returns the time since midnight.
func (t TimeOfDay) Duration() time.Duration { return time.Duration(t) }

// MarshalText returns what String returns.
func (t TimeOfDay) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what ParseTimeOfDay reads.
func (t *TimeOfDay) UnmarshalText(text []byte) error {
	parsed, err := ParseTimeOfDay(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

func (t TimeOfDay) valid() bool { return t >= 0 && t < day }

func (t TimeOfDay) literal() string {
	d := time.Duration(t)
	return fmt.Sprintf("%02d:%02d:%02d.%03d", d/time.Hour, d/time.Minute%60, d/time.Second%60, d/time.Millisecond%1000)
}
