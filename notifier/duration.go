package notifier

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

var errDuration = errors.New(`must be a duration such as "90s", "2m", "1h30m" or "28d"`)

// ParseDuration reads Go's syntax with days in front: "28d", "1d12h".
func ParseDuration(text string) (time.Duration, error) {
	var days time.Duration
	if n, rest, ok := strings.Cut(text, "d"); ok {
		v, err := strconv.ParseUint(n, 10, 16) // 65,535 days are far from overflow
		if err != nil {
			return 0, errDuration
		}
		days = time.Duration(v) * 24 * time.Hour
		if rest == "" {
			return days, nil
		}
		text = rest
		if strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
			return 0, errDuration
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d > 100*maxEvery || d < -100*maxEvery {
		return 0, errDuration
	}
	return days + d, nil
}

// FormatDuration writes whole days as ParseDuration reads them, and everything
// else as Go does.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d > day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return d.String()
}
