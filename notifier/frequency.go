package notifier

import (
	"context"
	"slices"
	"time"

	"github.com/bugle-push/bugle/devices"
)

// MaxFrequencyWindow is the longest window of a cap.
const MaxFrequencyWindow = MaxTTL

// FrequencyOver says what becomes of a notification that a cap has no room for.
type FrequencyOver string

// What becomes of it.
const (
	// OverDrop: it is not sent.
	OverDrop FrequencyOver = "drop"
	// OverDelay: it waits until there is room, unless it expires before.
	OverDelay FrequencyOver = "delay"
)

// FrequencyCap bounds how many notifications a user gets within a sliding window.
type FrequencyCap struct {
	// Category is the one that it counts; empty for all of them together.
	Category string
	// Classes are those that it counts; none means marketing and service.
	Classes []Class
	// Limit is how many there may be, at least 1.
	Limit int
	// Window is how long each of them counts, more than 0 and at most MaxFrequencyWindow.
	Window time.Duration
	// Over says what becomes of one too many.
	Over FrequencyOver
}

func (c FrequencyCap) covers(category string, class Class) bool {
	if c.Category != "" && c.Category != category {
		return false
	}
	if len(c.Classes) == 0 {
		return class != Transactional
	}
	return slices.Contains(c.Classes, class)
}

// FrequencyCaps are all caps in force. A notification must find room in each that
// covers it.
type FrequencyCaps []FrequencyCap

// Cover tells whether any cap counts notifications of the category and class.
func (f FrequencyCaps) Cover(category string, class Class) bool {
	return slices.ContainsFunc(f, func(c FrequencyCap) bool { return c.covers(category, class) })
}

// Window is the longest window: what is older counts nowhere.
func (f FrequencyCaps) Window() (longest time.Duration) {
	for _, c := range f {
		longest = max(longest, c.Window)
	}
	return longest
}

// FrequencyRequest asks for room for one notification to one user.
type FrequencyRequest struct {
	User         devices.UserID
	Notification NotificationID
	Category     string
	Class        Class
	ExpiresAt    time.Time
}

// FrequencyKey names what a cap counts.
type FrequencyKey struct {
	User         devices.UserID
	Notification NotificationID
}

// Admitted is a notification that a user was, or may have been, told.
type Admitted struct {
	Category string
	Class    Class
	At       time.Time
}

// FrequencyVerdict is what the caps say of a notification to a user.
type FrequencyVerdict struct {
	// State is empty when the notification is admitted or waits, else Suppressed or Expired: there
	// will be no room in time.
	State DeliveryState
	// Until is when there will be room; zero unless the notification waits. By the database's clock.
	Until time.Time
}

// Admit decides about a notification at a moment, by what the same user was
// told before. Of several caps without room, one that drops wins, and else the
// one whose room comes last.
func (f FrequencyCaps) Admit(now time.Time, req FrequencyRequest, before []Admitted) FrequencyVerdict {
	var v FrequencyVerdict
	for _, c := range f {
		if !c.covers(req.Category, req.Class) {
			continue
		}
		var counted []time.Time
		for _, a := range before {
			if c.covers(a.Category, a.Class) && a.At.After(now.Add(-c.Window)) {
				counted = append(counted, a.At)
			}
		}
		if len(counted) < c.Limit {
			continue
		}
		if c.Over != OverDelay {
			return FrequencyVerdict{State: Suppressed}
		}
		// There is room when all but Limit-1 of them have left the window.
		slices.SortFunc(counted, time.Time.Compare)
		if free := counted[len(counted)-c.Limit].Add(c.Window); free.After(v.Until) {
			v.Until = free
		}
	}
	if !v.Until.IsZero() && !v.Until.Before(req.ExpiresAt) {
		return FrequencyVerdict{State: Expired}
	}
	return v
}

// FrequencyLedger keeps what the caps have decided.
type FrequencyLedger interface {
	// Reserve decides about notifications and counts those that are admitted, atomically for each
	// user over all replicas. What was decided about a notification to a user stays so, for all
	// of the user's devices and attempts, unless it was to wait. The verdicts are in the order of
	// the requests.
	Reserve(ctx context.Context, caps FrequencyCaps, requests []FrequencyRequest) ([]FrequencyVerdict, error)
}
