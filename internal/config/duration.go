package config

import (
	"time"

	"github.com/bugle-push/bugle/notifier"
)

// Duration is a length of time as rules write it: 90s, 2m, 1h30m, 28d, 1d12h.
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := notifier.ParseDuration(string(text))
	if err != nil {
		return &wrongValue{err.Error()}
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes it as UnmarshalText reads it.
func (d Duration) String() string { return notifier.FormatDuration(time.Duration(d)) }
