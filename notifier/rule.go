package notifier

import (
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// Mode says what a rule's runs lead to.
type Mode string

// The modes.
const (
	// ModeLive rules send.
	ModeLive Mode = "live"
	// ModeShadow rules do everything but send: what they would have sent can be looked at.
	ModeShadow Mode = "shadow"
	// ModePaused rules take no ticks.
	ModePaused Mode = "paused"
)

// Defaults and bounds of a rule.
const (
	// DefaultTTL is how long a notification is worth something when its rule says nothing about it.
	DefaultTTL = 24 * time.Hour
	// MaxTTL is the longest lifetime that FCM accepts for a message (2,419,200 seconds).
	MaxTTL = 28 * 24 * time.Hour
	// DefaultLookback is how far a run reads back behind its watermark when the rule does not say.
	DefaultLookback = 2 * time.Minute
	// DefaultMaxWindow is the largest slice that one run reads after an outage when the rule does not say.
	DefaultMaxWindow = time.Hour
)

// Rule is one compiled rule: when to ask, what to ask, and what each row of the
// answer says to whom. CompileRules makes it; the fields are read-only after
// that, and all methods may be called concurrently.
type Rule struct {
	// ID names the rule: 1 to 64 characters of a-z, 0-9 and the hyphen.
	ID string
	// Schedule gives the nominal ticks. Every replica gets the same ones.
	Schedule Schedule
	// ScheduleText is the schedule as the rule's file has it.
	ScheduleText string
	// Jitter bounds the random delay of a tick's work; less than the time between two ticks, 0 for none.
	Jitter  time.Duration
	Class   Class
	Urgency Urgency
	Mode    Mode
	// Query is one pull query with :name placeholders; Params has the values.
	Query string
	// Watermark is nil when the rule reads its whole window again at each tick.
	Watermark *Watermark
	// Sweep is nil when there is none. It needs a Watermark.
	Sweep *Sweep
	// Start is the time at which a rule with a watermark begins to read; zero means its first tick.
	Start    time.Time
	Audience Audience
	// MaxDeliveries is how many deliveries one run may release by itself; 0 means no limit.
	MaxDeliveries int
	// MaxGrowth bounds a run by those before it; nil does not.
	MaxGrowth *Growth
	// Provisional says which notifications wait to be confirmed; nil holds none.
	Provisional *Provisional
	// ForgetAfter is how long a key must be remembered after it was last seen; 0 where the
	// watermark or the expiry bounds it already.
	ForgetAfter time.Duration
	// TTL is the lifetime, counted from the notification's creation, of a draft without ExpiresAt;
	// 0 when every draft of the rule has one. See Expiry.
	TTL time.Duration
	// Perishable says that the rule has `expires`: its notifications are worthless after a moment.
	Perishable bool
	// Identity is a hash over the key, version and order columns. When it changes, keys and versions
	// on record say nothing about those that come: the rule starts from a new baseline.
	Identity string
	// HasCorrection says that a changed version has a text of its own for those who saw an older one.
	HasCorrection bool

	// peers are the other rules of the rule's threads whose order is the same column: which of two
	// rows of theirs is newer can be told.
	peers             []string
	key, version      []string
	order             string
	expires, ttlFrom  string
	ttlFor            time.Duration
	variantColumn     string
	variants          map[string]*ruleText // one entry under "" when there is no variant column
	correction        *ruleText
	texts             *textSet
	params            []boundParam
	thread            string // the rule id that names the thread
	canonicalRuleText []byte
	generation        string // of the set that the rule belongs to
}

// DefaultGrowthOver is below how many deliveries a run is never held for having
// grown, when the rule does not say.
const DefaultGrowthOver = 1000

// Growth bounds how many more deliveries a run may release by itself than the
// largest of the rule's last runs.
type Growth struct {
	// Times is how many times as many as that.
	Times int
	// Over is how many are fine in any case, more than 0.
	Over int
}

// Limit is how many deliveries one run may release by itself, when the largest of
// the runs before released so many: the smaller one of what both bounds allow,
// and 0 for no limit. Without any run before (0) nothing has grown.
func (r *Rule) Limit(largest int) int {
	g := r.MaxGrowth
	if g == nil || largest == 0 {
		return r.MaxDeliveries
	}
	limit := max(g.Over, largest*g.Times)
	if r.MaxDeliveries > 0 {
		limit = min(limit, r.MaxDeliveries)
	}
	return limit
}

// Watermark bounds what a run reads by arrival time.
type Watermark struct {
	// Column is the column with the row's arrival time.
	Column string
	// Lookback is how far each run reads back behind the watermark, for rows that become visible late.
	Lookback time.Duration
	// MaxWindow is the most that one run reads; a longer outage is caught up with in slices.
	MaxWindow time.Duration
}

// Sweep re-reads a longer window now and then, for rows that became visible
// later than Lookback.
type Sweep struct {
	Every    time.Duration
	Lookback time.Duration
}

// Expiry returns the moment from which a notification of d, created at created,
// is worth nothing any more: the draft's own ExpiresAt, or else created + TTL.
// (DefaultTTL, for a draft that was made before the rule got an expiry of its own.)
func (r *Rule) Expiry(d Draft, created time.Time) time.Time {
	if !d.ExpiresAt.IsZero() {
		return d.ExpiresAt
	}
	if r.TTL == 0 {
		return created.Add(DefaultTTL)
	}
	return created.Add(r.TTL)
}

// Thread returns the name under which the notifications of a key replace one
// another on screen: 24 characters of base64url. A rule that follows another
// one shares its threads, so that "postponed" replaces "starts in 5 min".
func (r *Rule) Thread(key string) string {
	return shortHash(18, r.thread, key)
}

// Peers returns the ids of the rules that share this rule's threads and name the
// same order column, sorted. What they have said later, of an older row, is what
// a version that is known may have to put right.
func (r *Rule) Peers() []string { return r.peers }

// Categories returns the categories of the rule's notifications, sorted.
func (r *Rule) Categories() []string {
	return sortedUnique(func(yield func(string) bool) {
		for _, t := range r.variants {
			if !yield(t.category) {
				return
			}
		}
	})
}

// shortHash returns the first n bytes of a SHA-256 over the parts, as base64url
// without padding. The parts are separated, so that ("ab","c") differs from ("a","bc").
func shortHash(n int, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		var size [8]byte
		for i := range size {
			size[i] = byte(len(p) >> (8 * i))
		}
		h.Write(size[:])
		h.Write([]byte(p))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:n])
}
