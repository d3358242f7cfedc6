package notifier

import (
	"context"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

// InboxQuery asks for a page of a user's inbox, newest first.
type InboxQuery struct {
	// Before is the id below which the page begins; 0 begins with the newest.
	Before NotificationID
	// Limit is the most items that the page may have; at least 1.
	Limit int
	// Unread leaves out what the user has read.
	Unread bool
	// Locale is the BCP 47 tag to render for; empty means that of the user's newest active device.
	Locale string
}

// InboxItem is one notification as its user sees it.
type InboxItem struct {
	ID       NotificationID
	Rule     string
	Category string
	Class    Class
	// Thread is what the notification replaces on screen.
	Thread string
	// Text is as it was at sending. It is empty when the rule has been removed since, or can make
	// no text of the row any more.
	Text
	// Superseded says that the thread has something newer.
	Superseded bool
	// CreatedAt is when the notification was written down; ExpiresAt from when it is worth nothing.
	CreatedAt, ExpiresAt time.Time
	// ReadAt is when the user first said that they have read it; zero for unread.
	ReadAt time.Time
}

// InboxPage is a part of an inbox, newest first.
type InboxPage struct {
	Items []InboxItem
	// Next is the Before of the next page; 0 when this is the last one.
	Next NotificationID
}

// InboxSelection is what an InboxStore is asked for.
type InboxSelection struct {
	// Before, Limit and Unread are those of an InboxQuery.
	Before NotificationID
	Limit  int
	Unread bool
	// Hidden are rules whose notifications are not shown unless the user was told.
	Hidden []string
}

// InboxEntry is one notification of an inbox before it is rendered.
type InboxEntry struct {
	Notification
	ReleasedAt time.Time
	// Superseded says that the thread has something newer that is released.
	Superseded bool
	// Told says that the user was, or may have been, sent something older of the thread.
	Told   bool
	ReadAt time.Time
}

// InboxRecord is what an InboxStore has found.
type InboxRecord struct {
	// Entries are newest first.
	Entries []InboxEntry
	// Locale and TimeZone are those of the user's newest active device; empty without one.
	Locale, TimeZone string
}

// InboxStore keeps what users were told and what they have read.
//
// A user's inbox holds what was released for this user alone, whatever became of its deliveries
// (muted, undeliverable, no device at all), and what was released for many and was, or may have
// been, sent to a device of this user. Nothing that a shadow rule made is in it. While a
// suppression of the user is in force, nothing is in it of a class that the suppression stops,
// whenever it was told: an app shows the inbox, which is a way to speak to somebody like a push.
type InboxStore interface {
	// Inbox selects a part of the user's inbox.
	Inbox(ctx context.Context, user devices.UserID, sel InboxSelection) (InboxRecord, error)
	// MarkRead notes that the user has read an item; it reports false when the inbox has none of
	// that id. What has been read stays read at its first time.
	MarkRead(ctx context.Context, user devices.UserID, id NotificationID, hidden []string) (bool, error)
	// MarkReadUpTo notes that the user has read every item up to an id, included.
	MarkReadUpTo(ctx context.Context, user devices.UserID, id NotificationID, hidden []string) error
}

// ErrNoSuchItem is what reading an item returns that the user's inbox does not have.
var ErrNoSuchItem error = fault.New(fault.NotFound, "the inbox has no such notification")

// Inbox shows users what they were told: push is not reliable, so apps sync from it.
type Inbox struct {
	store InboxStore
	rules func() *RuleSet
}

// NewInbox returns an inbox over a store. rules returns the rules as they are now: their texts are
// used, and those in shadow mode are hidden.
func NewInbox(store InboxStore, rules func() *RuleSet) *Inbox {
	return &Inbox{store: store, rules: rules}
}

// List returns a page of the user's inbox, rendered.
//
// The text of an item is that of its moment: relative times count from its release, and it is the
// correction where the user had been told something older of the thread.
func (b *Inbox) List(ctx context.Context, user devices.UserID, q InboxQuery) (InboxPage, error) {
	rules := b.rules()
	// One more than asked for tells whether there is a next page.
	rec, err := b.store.Inbox(ctx, user, InboxSelection{
		Before: q.Before, Limit: q.Limit + 1, Unread: q.Unread, Hidden: hiddenRules(rules),
	})
	if err != nil {
		return InboxPage{}, fmt.Errorf("list inbox: %w", err)
	}
	locale := q.Locale
	if locale == "" {
		locale = rec.Locale
	}
	var page InboxPage
	if len(rec.Entries) > q.Limit {
		rec.Entries = rec.Entries[:q.Limit]
		page.Next = rec.Entries[q.Limit-1].ID
	}
	page.Items = make([]InboxItem, len(rec.Entries))
	for i, e := range rec.Entries {
		page.Items[i] = InboxItem{
			ID: e.ID, Rule: e.Rule, Category: e.Category, Class: e.Class, Thread: e.Thread,
			Text:       inboxText(rules, e, locale, rec.TimeZone),
			Superseded: e.Superseded, CreatedAt: e.CreatedAt, ExpiresAt: e.ExpiresAt, ReadAt: e.ReadAt,
		}
	}
	return page, nil
}

// MarkRead notes that the user has read an item. Doing it again changes nothing. It returns
// ErrNoSuchItem for an id that is not in this user's inbox.
func (b *Inbox) MarkRead(ctx context.Context, user devices.UserID, id NotificationID) error {
	found, err := b.store.MarkRead(ctx, user, id, hiddenRules(b.rules()))
	if err != nil {
		return fmt.Errorf("mark notification %d read: %w", id, err)
	}
	if !found {
		return ErrNoSuchItem
	}
	return nil
}

// MarkReadUpTo notes that the user has read every item up to an id, included. What is released
// later is unread, even when its id is smaller (a held run's).
func (b *Inbox) MarkReadUpTo(ctx context.Context, user devices.UserID, id NotificationID) error {
	if err := b.store.MarkReadUpTo(ctx, user, id, hiddenRules(b.rules())); err != nil {
		return fmt.Errorf("mark notifications up to %d read: %w", id, err)
	}
	return nil
}

// hiddenRules are the rules that do everything but tell.
func hiddenRules(rules *RuleSet) []string {
	var out []string
	for _, r := range rules.rules {
		if r.Mode == ModeShadow {
			out = append(out, r.ID)
		}
	}
	return out
}

func inboxText(rules *RuleSet, e InboxEntry, locale, zone string) Text {
	rule, ok := rules.Get(e.Rule)
	if !ok {
		return Text{}
	}
	// As the gates decide it: a follower has no correction of what it follows.
	correction := e.Told && rule.HasCorrection && rule.Audience.Kind != AudienceFollows
	text, err := rule.Render(e.Draft, RenderContext{Locale: locale, TimeZone: zone, Now: e.ReleasedAt, Correction: correction})
	if err != nil {
		return Text{} // the row passed the rule's check once: the rule has changed since
	}
	return text
}
