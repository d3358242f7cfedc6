package notifier

import (
	"slices"
	"time"
)

// NotificationProvisional is the state of a notification that is held because its
// row says that the result is provisional: until a row confirms it, a newer
// version takes its place, or the hold ends.
const NotificationProvisional = "provisional"

// The bounds of a hold.
const (
	minHold = time.Second
	maxHold = 7 * 24 * time.Hour
)

// Provisional says which rows are not final yet, and for how long what they say
// is held. Nobody is told of a provisional result that was changed meanwhile.
type Provisional struct {
	// Column tells; a null in it is final.
	Column string
	// Values are those of a row that is provisional.
	Values []string
	// Hold is how long the notification of a row that nothing confirms is held, from the row's
	// arrival, or from its reading where the rule has no watermark.
	Hold time.Duration
}

// HeldUntil returns when the hold of a draft that was read at a time ends by
// itself; zero for one that is not held.
func (r *Rule) HeldUntil(d Draft, read time.Time) time.Time {
	if !d.Provisional {
		return time.Time{}
	}
	from := read
	if !d.Arrival.IsZero() {
		from = earlier(d.Arrival, read) // the source's clock may be ahead
	}
	return from.Add(r.Provisional.Hold)
}

// draftProvisional tells whether the row is provisional.
func (r *Rule) draftProvisional(row Row) (bool, error) {
	if r.Provisional == nil {
		return false, nil
	}
	v, err := r.column(row, r.Provisional.Column)
	if err != nil {
		return false, err
	}
	text, ok := plainText(v)
	return ok && slices.Contains(r.Provisional.Values, text), nil
}

// provisional compiles which rows are held.
func (c *compiler) provisional() {
	y := c.yaml.Provisional
	if y == nil {
		return
	}
	p := &Provisional{Column: y.Column, Values: y.Values, Hold: c.duration("provisional.hold", y.Hold, 0, minHold, maxHold)}
	if y.Column == "" {
		c.addf("provisional.column", "is missing: the column that tells provisional rows from final ones")
	} else {
		c.column("provisional.column", y.Column)
	}
	if len(y.Values) == 0 {
		c.addf("provisional.values", "is missing: the values of a row that is provisional")
	}
	if y.Hold == "" {
		c.addf("provisional.hold", "is missing: how long to wait for a row that confirms")
	}
	if len(c.yaml.Version) == 0 {
		c.addf("provisional", "needs version: without it nothing could change while it is held")
	}
	if slices.Contains(c.yaml.Version, y.Column) {
		c.addf("provisional.column", "must not be in version: the row that confirms would be another version, and nothing would ever be confirmed")
	}
	if life := c.rule.ttlFor; life > 0 && p.Hold >= life {
		c.addf("provisional.hold", "must be shorter than ttl.for, %s, or it expires while it is held", FormatDuration(life))
	}
	c.rule.Provisional = p
}
