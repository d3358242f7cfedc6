package racing

import (
	"slices"
	"time"
)

// truth is an answer that may be open while a request is under way.
type truth int

const (
	no truth = iota
	maybe
	yes
)

// span is a time in which a device belonged to a user. A change happens at some
// moment between asking for it and its acknowledgement; zero ends are open.
type span struct {
	user                 UserID
	fromAsked, fromAcked time.Time
	toAsked, toAcked     time.Time
}

// at says whether the span covers t.
func (s span) at(t time.Time) truth {
	switch {
	case t.Before(s.fromAsked), !s.toAcked.IsZero() && t.After(s.toAcked):
		return no
	case t.Before(s.fromAcked), !s.toAsked.IsZero() && !t.Before(s.toAsked):
		return maybe
	}
	return yes
}

// tokenUse is a target of a device and when it died.
type tokenUse struct {
	token  string
	asked  time.Time
	deadAt time.Time
	// reportedAt is when a provider first accepted a message for the dead
	// target and reported that it failed.
	reportedAt time.Time
}

// holder is what the oracle knows about one device.
type holder struct {
	id     DeviceID
	spans  []span
	tokens []tokenUse
}

// use returns what is known about one of the device's targets, nil for others.
func (h *holder) use(token string) *tokenUse {
	for i := range h.tokens {
		if h.tokens[i].token == token {
			return &h.tokens[i]
		}
	}
	return nil
}

// owner returns who held the device at t and how surely. It prefers the surest span.
func (h *holder) owner(t time.Time) (UserID, truth) {
	var user UserID
	best := no
	for _, s := range h.spans {
		if c := s.at(t); c > best {
			user, best = s.user, c
		}
	}
	return user, best
}

// covers says whether the device was active for the user at t.
func (h *holder) covers(user UserID, t time.Time) truth {
	best := no
	for _, s := range h.spans {
		if s.user == user {
			best = max(best, s.at(t))
		}
	}
	return best
}

// leftBetween reports whether the user's hold on the device began to end within [from, to].
func (h *holder) leftBetween(user UserID, from, to time.Time) bool {
	return slices.ContainsFunc(h.spans, func(s span) bool {
		return s.user == user && !s.toAsked.IsZero() && !s.toAsked.Before(from) && !s.toAsked.After(to)
	})
}

// joinedBetween reports whether the user's hold on the device began within (from, to].
func (h *holder) joinedBetween(user UserID, from, to time.Time) bool {
	return slices.ContainsFunc(h.spans, func(s span) bool {
		return s.user == user && s.fromAcked.After(from) && !s.fromAsked.After(to)
	})
}

// heldAt reports whether the user may still be sent to on the device at t: grace
// is how long after the acknowledgement of an end a request may still arrive.
func (h *holder) heldAt(user UserID, t time.Time, grace time.Duration) bool {
	return slices.ContainsFunc(h.spans, func(s span) bool {
		return s.user == user && !t.Before(s.fromAsked) && (s.toAcked.IsZero() || !t.After(s.toAcked.Add(grace)))
	})
}

// dead reports whether the target that the device had at from died before to,
// without another one having taken its place before it died.
func (h *holder) dead(from, to time.Time) bool {
	for i, u := range slices.Backward(h.tokens) {
		if u.asked.After(from) && i > 0 {
			continue
		}
		replaced := i+1 < len(h.tokens) && h.tokens[i+1].asked.Before(u.deadAt)
		return !u.deadAt.IsZero() && !u.deadAt.After(to) && !replaced
	}
	return false
}

// wish is what a user has muted from some moment on.
type wish struct {
	muted        []string
	asked, acked time.Time
}

// wishes is the history of a user's wishes, oldest first.
type wishes []wish

// muted says whether the user has muted the category at t. grace is how long
// after an acknowledgement the old wish may still be acted on.
func (w wishes) muted(category string, t time.Time, grace time.Duration) truth {
	now := no
	for _, x := range w {
		if t.Before(x.asked) {
			break
		}
		is := no
		if slices.Contains(x.muted, category) {
			is = yes
		}
		if is != now && !t.After(x.acked.Add(grace)) {
			return maybe
		}
		now = is
	}
	return now
}

// mutedWithin says whether the category was muted at any moment of [from, to].
func (w wishes) mutedWithin(category string, from, to time.Time) bool {
	if w.muted(category, from, 0) != no {
		return true
	}
	return slices.ContainsFunc(w, func(x wish) bool {
		return x.asked.After(from) && !x.asked.After(to) && slices.Contains(x.muted, category)
	})
}
