package notifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

// ErrUnknownSuppression says that the user is not suppressed for that reason.
var ErrUnknownSuppression error = fault.New(fault.NotFound, "there is no such suppression")

// ErrShortens says that a suppression would stop less than the one in force for
// the same user and reason, and that nobody has said that this is meant.
var ErrShortens error = fault.New(fault.Conflict, "the suppression in force stops more")

// MaxSuppressionNote bounds the note of a suppression, in characters.
const MaxSuppressionNote = 500

// suppressionsOfUser is more than one user can have: one for each reason on each of
// the two lists, and those for reasons that only a newer binary knows.
const suppressionsOfUser = 100

// SuppressionClass says what a suppression stops. Each class stops what the one
// before it stops, and more.
type SuppressionClass string

// The classes of suppressions.
const (
	// SuppressMarketing stops marketing.
	SuppressMarketing SuppressionClass = "marketing"
	// SuppressService stops service and marketing.
	SuppressService SuppressionClass = "service"
	// SuppressAll stops everything, transactional too.
	SuppressAll SuppressionClass = "all"
)

// stops tells whether a notification of class c is stopped. A class that this
// binary does not know, on either side, is stopped: a newer one wrote it.
func (s SuppressionClass) stops(c Class) bool {
	switch s {
	case SuppressMarketing:
		return c != Service && c != Transactional
	case SuppressService:
		return c != Transactional
	case SuppressAll:
	}
	return true
}

// Suppression says that a user must not be sent to. A user has at most one for
// each reason, and at most one that was imported.
type Suppression struct {
	User devices.UserID
	// Reason is one of SuppressionReasons.
	Reason Reason
	Class  SuppressionClass
	// From is when it begins, by the database's clock; zero: it has always been so.
	From time.Time
	// Until is when it ends, itself not included; zero: never.
	Until time.Time
	// Note is an operator's remark; it may be empty.
	Note string
	// Imported says that an import has set it (ImportQuery): it stands on a list of its own, which
	// only imports change. The ledger says so.
	Imported bool
	// SetBy is who said so last, and SetAt when. The ledger writes both.
	SetBy string
	SetAt time.Time
}

// SuppressionReasons lists the reasons of suppressions.
func SuppressionReasons() []Reason {
	return []Reason{ReasonSelfExclusion, ReasonCoolOff, ReasonAccountClosed, ReasonJurisdiction}
}

// SuppressionClasses lists the classes of suppressions, each stopping more than
// the one before it.
func SuppressionClasses() []SuppressionClass {
	return []SuppressionClass{SuppressMarketing, SuppressService, SuppressAll}
}

// stopsService tells whether suppressions for the reason must stop service as
// well as marketing: whoever has excluded themselves, cools off or has closed
// the account hears about their own money at the most.
func (r Reason) stopsService() bool {
	return r == ReasonSelfExclusion || r == ReasonCoolOff || r == ReasonAccountClosed
}

// Normalize returns the suppression with its class filled in (service) and its
// times cut to the microsecond in UTC, or an Invalid *fault.Error whose fields
// name every wrong part.
func (s Suppression) Normalize() (Suppression, error) {
	var fields []fault.Field
	wrong := func(path, format string, args ...any) {
		fields = append(fields, fault.Field{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	if err := s.User.Validate(); err != nil {
		f, ok := errors.AsType[*fault.Error](err)
		if !ok {
			return Suppression{}, err
		}
		fields = append(fields, f.Fields...)
	}
	if !slices.Contains(SuppressionReasons(), s.Reason) {
		wrong("reason", "wants one of %s", words(SuppressionReasons()))
	}
	if s.Class == "" {
		s.Class = SuppressService
	}
	switch {
	case !slices.Contains(SuppressionClasses(), s.Class):
		wrong("class", "wants one of %s", words(SuppressionClasses()))
	case s.Class == SuppressMarketing && s.Reason.stopsService():
		wrong("class", "%s stops service as well as marketing: it wants service or all", s.Reason)
	}
	s.From, s.Until = moment(s.From), moment(s.Until)
	for _, at := range []struct {
		path string
		t    time.Time
	}{{"from", s.From}, {"until", s.Until}} {
		if !at.t.IsZero() && (at.t.Year() < 1971 || at.t.Year() > 9999) {
			wrong(at.path, "wants a year from 1971 to 9999")
		}
	}
	if !s.From.IsZero() && !s.Until.IsZero() && !s.Until.After(s.From) {
		wrong("until", "wants a time after from")
	}
	if !utf8.ValidString(s.Note) || strings.ContainsFunc(s.Note, unicode.IsControl) || utf8.RuneCountInString(s.Note) > MaxSuppressionNote {
		wrong("note", "wants at most %d characters on one line", MaxSuppressionNote)
	}
	if len(fields) > 0 {
		return Suppression{}, fault.InvalidFields("the suppression is not valid", fields...)
	}
	return s, nil
}

// moment is a time as the database keeps it.
func moment(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

func words[T ~string](names []T) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return strings.Join(out, ", ")
}

// ActiveAt tells whether the suppression counts at a moment by the database's clock.
func (s Suppression) ActiveAt(now time.Time) bool {
	return !now.Before(s.From) && (s.Until.IsZero() || now.Before(s.Until))
}

// Stops tells whether the suppression stops a notification of the class at a
// moment by the database's clock.
func (s Suppression) Stops(c Class, now time.Time) bool { return s.ActiveAt(now) && s.Class.stops(c) }

// ClassesLeft returns the classes of which suppressions stop nothing at a moment by
// the database's clock; nil when none of them counts then: a class that this binary
// does not know is left only so.
func ClassesLeft(set []Suppression, now time.Time) []Class {
	if !slices.ContainsFunc(set, func(s Suppression) bool { return s.ActiveAt(now) }) {
		return nil
	}
	left := []Class{}
	for _, c := range []Class{Transactional, Service, Marketing} {
		if !slices.ContainsFunc(set, func(s Suppression) bool { return s.Stops(c, now) }) {
			left = append(left, c)
		}
	}
	return left
}

// Shortens tells whether the suppression would stop less, from now on, than the one
// before it for the same user and reason: it ends earlier, begins later or has a
// weaker class. Of one that has ended nothing is left to shorten. Now is a moment
// by the database's clock.
func (s Suppression) Shortens(before Suppression, now time.Time) bool {
	if !before.Until.IsZero() && !before.Until.After(now) {
		return false
	}
	begins := before.From
	if begins.Before(now) {
		begins = now
	}
	return s.From.After(begins) || !s.Until.IsZero() && (before.Until.IsZero() || s.Until.Before(before.Until)) || s.and(before).Class != s.Class
}

// Shortening says what becomes of a suppression that Shortens the one that it would
// replace.
type Shortening string

const (
	// RefuseShorter sets nothing at all and returns ErrShortens. It is the zero value.
	RefuseShorter Shortening = ""
	// KeepLonger sets what stops all that either stops.
	KeepLonger Shortening = "keep"
	// AllowShorter replaces it all the same.
	AllowShorter Shortening = "allow"
)

// SuppressReport is what setting suppressions came to.
type SuppressReport struct {
	// Changed is how many were written; the others said what the list says already.
	Changed int
	// Kept are those of which more was in force than they say, which KeepLonger has kept.
	Kept []SuppressionKey
}

// In returns what is set in the place of one before it, and whether that one was
// kept. It returns an ErrShortens that says what is in force. now is as in Shortens.
func (how Shortening) In(s, before Suppression, now time.Time) (set Suppression, kept bool, err error) {
	if how == AllowShorter || !s.Shortens(before, now) {
		return s, false, nil
	}
	if how != KeepLonger {
		until := "for good"
		if !before.Until.IsZero() {
			until = "until " + before.Until.Format(time.RFC3339)
		}
		return s, false, fault.Wrap(fault.Conflict, ErrShortens, fmt.Sprintf(
			"%s is set %s (class %s) for this user, and this would stop less: say that it is to be shortened (shorten), if that is meant", before.Reason, until, before.Class))
	}
	whole := s.and(before)
	if whole.Class == before.Class && whole.From.Equal(before.From) && whole.Until.Equal(before.Until) {
		return before, true, nil // with its note, and who had set it
	}
	return whole, true, nil
}

// Same tells whether two suppressions say the same, whoever said it and when.
func (s Suppression) Same(o Suppression) bool {
	return s.User == o.User && s.Reason == o.Reason && s.Class == o.Class && s.From.Equal(o.From) && s.Until.Equal(o.Until) && s.Note == o.Note
}

// stopped returns the suppression that stops the delivery, by the order of
// SuppressionReasons; nil when none does. One whose reason this binary does not
// know comes last.
func stopped(v View, now time.Time) *Suppression {
	rank := func(s Suppression) int {
		if i := slices.Index(SuppressionReasons(), s.Reason); i >= 0 {
			return i
		}
		return len(SuppressionReasons())
	}
	var out *Suppression
	for i, s := range v.Suppressions {
		if s.Stops(v.Class, now) && (out == nil || rank(s) < rank(*out)) {
			out = &v.Suppressions[i]
		}
	}
	return out
}

// SuppressionQuery asks for a page of suppressions, by user and reason. Zero
// values ask for any.
type SuppressionQuery struct {
	User   devices.UserID
	Reason Reason
	// After goes on behind one of the page before; nil begins.
	After *SuppressionKey
	Limit int
}

// SuppressionKey names a suppression. Imported ones stand beside an operator's
// for the same user and reason.
type SuppressionKey struct {
	User     devices.UserID
	Reason   Reason
	Imported bool
}

// Key returns the name of the suppression.
func (s Suppression) Key() SuppressionKey {
	return SuppressionKey{User: s.User, Reason: s.Reason, Imported: s.Imported}
}

// SuppressionReader shows who must not be sent to.
type SuppressionReader interface {
	// Suppressions returns a page of the list, those that have ended or not yet begun included, and
	// those that were imported.
	Suppressions(ctx context.Context, q SuppressionQuery) ([]Suppression, error)
}

// Suppressor puts users on the list.
type Suppressor interface {
	// Suppress sets suppressions, all of them or none, in the place of those of the same user and
	// reason. What says the same already stays as it is. What stops less than what is in force is
	// refused, unless how says otherwise. It returns Invalid faults and ErrShortens; of two for the
	// same user and reason the last one counts.
	Suppress(ctx context.Context, by Actor, set []Suppression, how Shortening) (SuppressReport, error)
}

// Suppressions are the list of who must not be sent to. Every change is in the
// audit, written in the same transaction; from its commit on, within a second,
// no replica begins a send that it forbids.
type Suppressions interface {
	SuppressionReader
	Suppressor
	// Unsuppress takes an operator's suppression back, or returns ErrUnknownSuppression. Imported
	// ones stay, whatever the key says.
	Unsuppress(ctx context.Context, by Actor, key SuppressionKey) error
	// NoteExport writes into the audit that whom a query names (its user and reason) is handed out, and
	// how many suppressions that is. It comes before anything is handed out.
	NoteExport(ctx context.Context, by Actor, q SuppressionQuery) error
}
