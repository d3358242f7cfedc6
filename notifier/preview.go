package notifier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bugle-push/bugle/devices"
)

// The bounds of a preview.
const (
	// DefaultPreviewLimit is how many notifications are rendered when nobody says.
	DefaultPreviewLimit = 10
	// MaxPreviewLimit is how many are rendered at most.
	MaxPreviewLimit = 100
	// maxPreviewRows bounds what is read: a preview is for looking, and holds what it has read.
	maxPreviewRows = 20_000
)

// PreviewLedger is what a preview asks the ledger.
type PreviewLedger interface {
	// Standing returns what is known of a rule; of an unknown one, nothing.
	Standing(ctx context.Context, rule string) (RuleStanding, error)
	// Known returns the latest version of each key that the rule has one of, and what the rule's
	// peers have said on its thread.
	Known(ctx context.Context, rule *Rule, keys []string) (map[string]KnownVersion, error)
	// Reach counts the devices that a notification would go to if it were released now.
	Reach(ctx context.Context, q ReachQuery) (int, error)
}

// KnownVersion is the latest version of a key on record.
type KnownVersion struct {
	ID      NotificationID
	Version int
	// Identity is that of the rule then: of another one, hash and order say nothing.
	Identity    string
	VersionHash string
	Order       int64
	State       string
	// Held says that it waits to be confirmed.
	Held bool
	// Spoken is what a peer of the rule has said last on the thread; zero for nothing.
	Spoken Spoken
}

// Spoken is the newest notification of a thread that a peer of a rule has
// released: a race that is on again as it was has been postponed meanwhile.
type Spoken struct {
	ID    NotificationID
	Order int64
}

// Renews tells whether the version that is known under an id, and that d has, is
// news again: the peer spoke after it, and of an older row than d. A row that is as
// old is none, for it may come from a standby that lags behind.
func (s Spoken) Renews(d Draft, known NotificationID) bool { return s.ID > known && d.Order > s.Order }

// ReachQuery asks how many devices would get a notification.
type ReachQuery struct {
	Audience AudienceKind
	// Thread and Follows name the notifications that are followed, for AudienceFollows.
	Thread, Follows string
	// User is the addressee, for AudienceUser.
	User     devices.UserID
	Category string
	// OptIn says that the category is off until a user chooses it.
	OptIn bool
}

// News says what a row would be, compared with what is on record.
type News string

// The kinds of news.
const (
	// NewsNew: the key is not known; it would be announced.
	NewsNew News = "new"
	// NewsChanged: the key is known in another version; it would be announced as a change.
	NewsChanged News = "changed"
	// NewsKnown: this version is on record; nothing would be announced.
	NewsKnown News = "known"
	// NewsConfirmed: this version is on record and was held as provisional; now it would be announced.
	NewsConfirmed News = "confirmed"
	// NewsRenewed: this version is on record, and another rule of the thread has said something else
	// since; it would be announced again, to those who heard that.
	NewsRenewed News = "renewed"
	// NewsStale: a newer version is on record; nothing would be announced.
	NewsStale News = "stale"
)

// announced tells whether a run would announce it.
func (n News) announced() bool { return n != NewsKnown && n != NewsStale }

// PreviewRequest says what to preview.
type PreviewRequest struct {
	// Since is the lower bound of the arrival times; zero means what a tick would read now.
	Since time.Time
	// Limit is how many notifications are rendered, the others are counted; 0 means DefaultPreviewLimit.
	Limit int
}

// Preview is what a rule would announce now. Nothing of it is sent or written down.
type Preview struct {
	Window Window
	// Baseline says that the rule's key, version or order has changed: the next run announces nothing.
	Baseline bool
	// Rows counts what was read; Truncated says that there is more than a preview reads.
	Rows      int
	Truncated bool
	// News counts the notifications by what they would be; of several rows with one key the newest counts.
	News map[News]int
	// Counted says that a ledger was at hand: without one everything is new and no device is counted.
	Counted bool
	// Expired counts those that are worth nothing any more.
	Expired       int
	Notifications []PreviewNotification
	// Bad are the first of the rows that no notification can be made of, BadRows counts them all.
	Bad     []*BadRow
	BadRows int
}

// PreviewNotification is one notification as it would be shown.
type PreviewNotification struct {
	Draft
	News      News
	ExpiresAt time.Time
	// HeldUntil is when it would be announced by itself, because its row is provisional; zero when
	// it would be at once, or not at all.
	HeldUntil time.Time
	// Texts are by locale; "" is the default text.
	Texts map[string]Text
	// Devices is how many active devices would get it, mutes and opt-ins considered.
	Devices int
}

// Previewer shows what a rule would announce now. It sends nothing and writes
// nothing down.
type Previewer struct {
	Source Source
	// Ledger tells what is known already and whom a notification would reach; nil when there is none.
	Ledger PreviewLedger
	// OptIn lists the categories that are off until a user chooses them.
	OptIn map[string]bool
}

// Preview runs the rule's query now and renders what it finds. It returns the
// source's error when the result is not complete.
func (v Previewer) Preview(ctx context.Context, rule *Rule, req PreviewRequest) (Preview, error) {
	var standing RuleStanding
	if v.Ledger != nil {
		var err error
		if standing, err = v.Ledger.Standing(ctx, rule.ID); err != nil {
			return Preview{}, fmt.Errorf("read standing of rule %s: %w", rule.ID, err)
		}
	}
	now := time.Now().UTC().Truncate(time.Second)
	plan := PlanRun(rule, standing.Progress, now)
	p := Preview{
		Window:   Window{Now: now, Since: plan.Since, Until: now},
		Baseline: plan.Baseline, News: map[News]int{}, Counted: v.Ledger != nil,
	}
	if !req.Since.IsZero() {
		p.Window.Since = earlier(req.Since.UTC(), now)
	}
	drafts, err := p.read(ctx, v.Source, rule)
	if err != nil {
		return Preview{}, fmt.Errorf("preview rule %s: %w", rule.ID, err)
	}
	if req.Limit <= 0 {
		req.Limit = DefaultPreviewLimit
	}
	return p, v.render(ctx, &p, rule, drafts, min(req.Limit, MaxPreviewLimit))
}

// read collects the drafts, the newest of each key.
func (p *Preview) read(ctx context.Context, source Source, rule *Rule) ([]Draft, error) {
	const badShown = 10
	at := map[string]int{}
	var drafts []Draft
	for row, err := range source.Read(ctx, rule.Query, rule.Params(p.Window)) {
		if err != nil {
			return nil, err
		}
		if p.Rows == maxPreviewRows {
			p.Truncated = true
			break
		}
		p.Rows++
		d, err := rule.Draft(row)
		if err == nil {
			err = rule.Check(d)
		}
		if err != nil {
			p.BadRows++
			if bad, ok := errors.AsType[*BadRow](err); ok && len(p.Bad) < badShown {
				p.Bad = append(p.Bad, bad)
			}
			continue
		}
		i, seen := at[d.Key]
		switch {
		case !seen:
			at[d.Key] = len(drafts)
			drafts = append(drafts, d)
		case !rule.Ordered() || d.Order > drafts[i].Order:
			drafts[i] = d
		}
	}
	return drafts, nil
}

func (v Previewer) render(ctx context.Context, p *Preview, rule *Rule, drafts []Draft, limit int) error {
	known, err := v.known(ctx, rule, drafts)
	if err != nil {
		return err
	}
	news := make([]News, len(drafts))
	for i, d := range drafts {
		k, ok := known[d.Key]
		news[i] = rule.newsOf(d, k, ok)
	}
	reached := map[ReachQuery]int{}
	// What would be announced is shown first.
	for _, wanted := range []bool{true, false} {
		for i, d := range drafts {
			announced := news[i].announced()
			if announced != wanted {
				continue
			}
			expires := rule.Expiry(d, p.Window.Now)
			if !expires.After(p.Window.Now) {
				p.Expired++
				continue
			}
			p.News[news[i]]++
			if len(p.Notifications) == limit {
				continue
			}
			n, err := v.renderOne(ctx, rule, d, news[i], p.Window.Now, reached)
			if err != nil {
				return err
			}
			n.ExpiresAt = expires
			if held := rule.HeldUntil(d, p.Window.Now); announced && held.After(p.Window.Now) {
				n.HeldUntil = held
			}
			p.Notifications = append(p.Notifications, n)
		}
	}
	return nil
}

func (v Previewer) known(ctx context.Context, rule *Rule, drafts []Draft) (map[string]KnownVersion, error) {
	if v.Ledger == nil {
		return nil, nil
	}
	keys := make([]string, len(drafts))
	for i, d := range drafts {
		keys[i] = d.Key
	}
	known, err := v.Ledger.Known(ctx, rule, keys)
	if err != nil {
		return nil, fmt.Errorf("read known versions of rule %s: %w", rule.ID, err)
	}
	return known, nil
}

func (r *Rule) newsOf(d Draft, k KnownVersion, known bool) News {
	switch {
	case !known:
		return NewsNew
	case k.Identity != r.Identity:
		return NewsChanged
	case k.VersionHash == d.VersionHash && k.Spoken.Renews(d, k.ID):
		return NewsRenewed
	case k.VersionHash == d.VersionHash && (k.State == "staged" || k.State == "passed"):
		return NewsNew // staged by a run that failed: the next one announces it
	case k.VersionHash == d.VersionHash && k.Held && !d.Provisional && (d.Order >= k.Order || !r.Ordered()):
		return NewsConfirmed
	case k.VersionHash == d.VersionHash:
		return NewsKnown
	case r.Ordered() && d.Order <= k.Order:
		return NewsStale
	}
	return NewsChanged
}

func (v Previewer) renderOne(ctx context.Context, rule *Rule, d Draft, news News, now time.Time, reached map[ReachQuery]int) (PreviewNotification, error) {
	n := PreviewNotification{Draft: d, News: news, Texts: map[string]Text{}}
	for _, locale := range append([]string{""}, rule.locales(d.Variant)...) {
		text, err := rule.Render(d, RenderContext{Locale: locale, Now: now, Correction: news == NewsChanged || news == NewsRenewed})
		if err != nil {
			return n, fmt.Errorf("render notification of rule %s: %w", rule.ID, err)
		}
		n.Texts[locale] = text
	}
	if v.Ledger == nil {
		return n, nil
	}
	q := ReachQuery{Audience: rule.Audience.Kind, Category: d.Category, OptIn: v.OptIn[d.Category]}
	switch q.Audience {
	case AudienceUser:
		q.User = d.User
	case AudienceFollows:
		q.Thread, q.Follows = rule.Thread(d.Key), rule.Audience.Rule
	case AudienceAll: // the same for all, and it looks at every device: once is enough
	}
	count, ok := reached[q]
	if !ok {
		var err error
		if count, err = v.Ledger.Reach(ctx, q); err != nil {
			return n, fmt.Errorf("count devices: %w", err)
		}
		reached[q] = count
	}
	n.Devices = count
	return n, nil
}

// locales lists the locales that a variant, or the correction, has texts for, sorted.
func (r *Rule) locales(variant string) []string {
	set := map[string]localText{}
	if t := r.variants[variant]; t != nil {
		maps.Copy(set, t.locales)
	}
	if r.correction != nil {
		maps.Copy(set, r.correction.locales)
	}
	return slices.Sorted(maps.Keys(set))
}
