package sqlledger_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

const inboxRules = `
rules:
  - id: settled
    schedule: "@every 1s"
    class: transactional
    query: SELECT * FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 10s}
    key: [bet]
    version: [outcome]
    order: rowtime
    audience: {user: user}
    ttl: {for: 1h}
    notification:
      category: win
      title: "Bet {{.bet}}"
      body: "{{.outcome}}"
      link: "app://bet/{{.bet}}"
      data: {bet: "{{.bet}}"}
      locales: {de: {title: "Wette {{.bet}}", body: "{{.outcome}}"}}
    correction: {title: "Changed: {{.bet}}", body: "{{.outcome}}"}
  - id: soon
    schedule: "@every 1s"
    class: marketing
    query: SELECT * FROM upcoming WHERE starts_at > :now;
    key: [event]
    version: [starts_at]
    order: rowtime
    audience: all
    expires: starts_at
    notification: {category: race, title: "{{.event}} in {{minutes .starts_at}}", body: "{{localtime .starts_at}}"}
  - id: quiet
    mode: shadow
    schedule: "@every 1s"
    class: transactional
    query: SELECT * FROM settled_bets WHERE ROWTIME >= :since AND ROWTIME < :until;
    watermark: {column: rowtime, lookback: 10s}
    key: [bet]
    version: [outcome]
    order: rowtime
    audience: {user: user}
    ttl: {for: 1h}
    notification: {category: win, title: "{{.bet}}", body: "{{.outcome}}"}
`

// inboxBooks are books with rules that have locales, a correction and a shadow.
type inboxBooks struct {
	*books
	inbox *notifier.Inbox
}

func eachInbox(t *testing.T, test func(t *testing.T, b *inboxBooks)) {
	t.Helper()
	each(t, func(t *testing.T, b *books) {
		set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(inboxRules)})
		require.NoError(t, err)
		b.rules = set
		test(t, &inboxBooks{books: b, inbox: notifier.NewInbox(b.ledger, func() *notifier.RuleSet { return b.rules })})
	})
}

func (b *inboxBooks) list(user devices.UserID, q notifier.InboxQuery) notifier.InboxPage {
	b.tb.Helper()
	if q.Limit == 0 {
		q.Limit = 50
	}
	page, err := b.inbox.List(b.tb.Context(), user, q)
	require.NoError(b.tb, err)
	return page
}

func (b *inboxBooks) titles(user devices.UserID, q notifier.InboxQuery) []string {
	b.tb.Helper()
	out := []string{}
	for _, i := range b.list(user, q).Items {
		out = append(out, i.Title)
	}
	return out
}

// send fans out and ends every queued delivery of a rule as told.
func (b *inboxBooks) send(rule string, end func(notifier.View) notifier.Result) {
	b.tb.Helper()
	b.fanOut()
	claims := b.claim(rule, "r1", 1000, time.Minute)
	if len(claims) == 0 {
		return
	}
	views, err := b.ledger.View(b.tb.Context(), claims)
	require.NoError(b.tb, err)
	for _, v := range views {
		r := end(v)
		r.Claim = v.Claim
		require.Zero(b.tb, b.record("r1", r))
	}
}

func sent(notifier.View) notifier.Result { return notifier.Result{State: notifier.Sent} }

func ended(state notifier.DeliveryState, reason notifier.Reason) func(notifier.View) notifier.Result {
	return func(notifier.View) notifier.Result { return notifier.Result{State: state, Reason: string(reason)} }
}

func (b *inboxBooks) exec(query string, args ...any) {
	b.tb.Helper()
	require.NoError(b.tb, b.db.Tx(b.tb.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}))
}

func (b *inboxBooks) betOf(rule, id, user, outcome string, order int) notifier.Draft {
	b.tb.Helper()
	d, err := b.rule(rule).Draft(notifier.Row{
		"bet": id, "user": user, "outcome": outcome, "rowtime": json.Number(strconv.Itoa(1_700_000_000_000 + order)),
	})
	require.NoError(b.tb, err)
	return d
}

func TestTheInboxHoldsTheUsersOwnWhateverBecameOfIt(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		b.release("settled", b.bet("no-device", "ann", "WON", 1))
		b.devices("ann", 2)
		b.release("settled", b.bet("muted", "ann", "WON", 1))
		b.send("settled", ended(notifier.Suppressed, notifier.ReasonMuted))
		b.release("settled", b.bet("sent", "ann", "WON", 1))
		b.send("settled", sent)
		b.release("settled", b.bet("bobs", "bob", "WON", 1))

		run, _ := b.begin("settled", "r1")
		b.stage(run, b.bet("staged", "ann", "WON", 1))
		require.Equal(t, []string{"Bet sent", "Bet muted", "Bet no-device"}, b.titles("ann", notifier.InboxQuery{}),
			"once each, newest first, nothing that is not released")
		for _, state := range []string{"baseline", "held", "discarded", "superseded"} {
			b.exec(`UPDATE notifications SET state = $1 WHERE state NOT IN ('released')`, state)
			require.Len(t, b.list("ann", notifier.InboxQuery{}).Items, 3, state)
		}
		require.Equal(t, []string{"Bet bobs"}, b.titles("bob", notifier.InboxQuery{}))
		require.Empty(t, b.titles("eve", notifier.InboxQuery{}))
	})
}

func TestTheInboxHoldsBroadOnesOnlyWhenDelivered(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		b.devices("ann", 2)
		b.devices("bob", 1)
		b.release("soon", b.race("e1"))
		b.fanOut()
		require.Empty(t, b.titles("ann", notifier.InboxQuery{}), "queued is not told")
		b.send("soon", func(v notifier.View) notifier.Result {
			if v.User == "ann" {
				return notifier.Result{State: notifier.Sent}
			}
			return notifier.Result{State: notifier.Suppressed, Reason: string(notifier.ReasonMuted)}
		})
		require.Equal(t, []string{"e1 in 60 min"}, b.titles("ann", notifier.InboxQuery{}), "once, though two devices got it")
		require.Empty(t, b.titles("bob", notifier.InboxQuery{}))

		b.release("soon", b.race("e2"))
		b.send("soon", func(notifier.View) notifier.Result {
			return notifier.Result{State: notifier.Queued, DueAt: time.Now().Add(time.Hour), Unknown: true}
		})
		require.Equal(t, []string{"e2 in 60 min"}, b.titles("bob", notifier.InboxQuery{}), "it may have been told")

		// The device changes hands: what it was told stays with who was told.
		b.exec(`UPDATE devices SET user_id = 'eve'`)
		require.Empty(t, b.titles("eve", notifier.InboxQuery{}))
		require.Len(t, b.titles("ann", notifier.InboxQuery{}), 2)
	})
}

// An app shows the inbox: it is a way to speak to somebody, as a push is.
func TestTheInboxLeavesOutWhatASuppressionStops(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		b.devices("ann", 1)
		b.devices("bob", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1), b.bet("b2", "bob", "WON", 1))
		b.release("soon", b.race("e1"))
		b.send("settled", sent)
		b.send("soon", sent)
		everything := []string{"e1 in 60 min", "Bet b1"}
		require.Equal(t, everything, b.titles("ann", notifier.InboxQuery{}))
		race := b.list("ann", notifier.InboxQuery{}).Items[0].ID

		now := time.Now()
		alice := notifier.Actor{Name: "alice"}
		suppress := func(s notifier.Suppression) {
			t.Helper()
			s.User = "ann"
			_, err := b.ledger.Suppress(t.Context(), alice, []notifier.Suppression{s}, notifier.AllowShorter)
			require.NoError(t, err)
		}
		lift := func(reason notifier.Reason) {
			t.Helper()
			require.NoError(t, b.ledger.Unsuppress(t.Context(), alice, notifier.SuppressionKey{User: "ann", Reason: reason}))
		}
		// Those that do not count now.
		suppress(notifier.Suppression{Reason: notifier.ReasonCoolOff, Class: notifier.SuppressAll, From: now.Add(time.Hour)})
		suppress(notifier.Suppression{Reason: notifier.ReasonJurisdiction, Class: notifier.SuppressAll, Until: now.Add(-time.Hour)})
		require.Equal(t, everything, b.titles("ann", notifier.InboxQuery{}))

		for _, class := range []notifier.SuppressionClass{notifier.SuppressMarketing, notifier.SuppressService} {
			suppress(notifier.Suppression{Reason: notifier.ReasonJurisdiction, Class: class})
			for _, unread := range []bool{false, true} {
				require.Equal(t, []string{"Bet b1"}, b.titles("ann", notifier.InboxQuery{Unread: unread}), class)
			}
			require.ErrorIs(t, b.inbox.MarkRead(t.Context(), "ann", race), notifier.ErrNoSuchItem)
		}
		require.NoError(t, b.inbox.MarkReadUpTo(t.Context(), "ann", race))
		require.Equal(t, []string{"e1 in 60 min", "Bet b2"}, b.titles("bob", notifier.InboxQuery{}), "another user's own affair")

		suppress(notifier.Suppression{Reason: notifier.ReasonSelfExclusion, Class: notifier.SuppressAll})
		require.Empty(t, b.titles("ann", notifier.InboxQuery{}), "the widest one counts")
		lift(notifier.ReasonSelfExclusion)
		b.exec(`UPDATE suppressions SET class = 'of a newer binary' WHERE reason = 'jurisdiction'`)
		require.Empty(t, b.titles("ann", notifier.InboxQuery{}), "what is not known stops everything")
		lift(notifier.ReasonJurisdiction)
		require.Equal(t, everything, b.titles("ann", notifier.InboxQuery{}), "it is back")
		require.Equal(t, everything[:1], b.titles("ann", notifier.InboxQuery{Unread: true}), "and was not read while nobody could")

		turn, ok, err := b.ledger.BeginImport(t.Context(), "r1", time.Hour, func(notifier.ImportState) bool { return true })
		require.NoError(t, err)
		require.True(t, ok)
		_, err = b.ledger.SetImported(t.Context(), turn, time.Hour, []notifier.Suppression{{User: "ann", Reason: notifier.ReasonSelfExclusion}})
		require.NoError(t, err)
		require.Equal(t, []string{"Bet b1"}, b.titles("ann", notifier.InboxQuery{}), "imported ones count as well")
	})
}

func TestAShadowRuleLeavesNothingInTheInbox(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		b.release("quiet", b.betOf("quiet", "b1", "ann", "WON", 1))
		require.Empty(t, b.titles("ann", notifier.InboxQuery{}))
		b.devices("ann", 1)
		b.release("quiet", b.betOf("quiet", "b2", "ann", "WON", 1))
		b.send("quiet", ended(notifier.Suppressed, notifier.ReasonShadow))
		id := b.count(`SELECT MAX(id) FROM notifications`)
		require.ErrorIs(t, b.inbox.MarkRead(t.Context(), "ann", notifier.NotificationID(id)), notifier.ErrNoSuchItem)

		live, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(strings.Replace(inboxRules, "mode: shadow", "mode: live", 1))})
		require.NoError(t, err)
		b.rules = live
		require.NotContains(t, b.titles("ann", notifier.InboxQuery{}), "b2", "what the gates kept back in shadow stays so")
	})
}

func TestWhatAShadowRuleMadeStaysHiddenWhenTheRuleGoesLive(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		shadow := b.rules
		live, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(strings.Replace(inboxRules, "mode: shadow", "mode: live", 1))})
		require.NoError(t, err)

		// Neither had a device to be kept back on, and a muted one never reaches the last gate.
		b.release("quiet", b.betOf("quiet", "no-device", "ann", "WON", 1))
		b.devices("ann", 1)
		b.release("quiet", b.betOf("quiet", "muted", "ann", "WON", 1))
		b.send("quiet", ended(notifier.Suppressed, notifier.ReasonMuted))
		hidden := notifier.NotificationID(b.count(`SELECT MIN(id) FROM notifications`))
		b.rules = live
		require.Empty(t, b.titles("ann", notifier.InboxQuery{}))
		require.ErrorIs(t, b.inbox.MarkRead(t.Context(), "ann", hidden), notifier.ErrNoSuchItem)

		// Nor does it take the place of what the user was told.
		b.release("quiet", b.betOf("quiet", "told", "ann", "WON", 1))
		b.send("quiet", sent)
		b.rules = shadow
		b.release("quiet", b.betOf("quiet", "told", "ann", "LOST", 2))
		b.rules = live
		items := b.list("ann", notifier.InboxQuery{}).Items
		require.Len(t, items, 1)
		require.False(t, items[0].Superseded, "what replaced it was never shown to anybody")
	})
}

func TestTheInboxTellsWhatWasTold(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		b.devices("ann", 1)
		b.exec(`UPDATE devices SET locale = 'de-CH', time_zone = 'Europe/Zurich'`)
		b.release("settled", b.bet("b1", "ann", "WON", 1), b.bet("b2", "ann", "WON", 1))
		b.send("settled", func(v notifier.View) notifier.Result {
			if strings.Contains(v.Key, "b1") {
				return notifier.Result{State: notifier.Sent}
			}
			return notifier.Result{State: notifier.Suppressed, Reason: string(notifier.ReasonMuted)}
		})
		b.release("settled", b.bet("b1", "ann", "LOST", 2), b.bet("b2", "ann", "LOST", 2))
		items := b.list("ann", notifier.InboxQuery{}).Items
		require.Len(t, items, 4)
		texts := map[string]bool{}
		for _, i := range items {
			texts[i.Title+"/"+i.Body] = i.Superseded
			require.Equal(t, "settled", i.Rule)
			require.Equal(t, "win", i.Category)
			require.Equal(t, notifier.Transactional, i.Class)
			require.Len(t, i.Thread, 24)
			require.True(t, strings.HasPrefix(i.Link, "app://bet/b"))
			require.Contains(t, i.Data["bet"], "b")
			require.WithinDuration(t, time.Now(), i.CreatedAt, time.Minute)
			require.WithinDuration(t, time.Now().Add(time.Hour), i.ExpiresAt, time.Minute)
			require.Zero(t, i.ReadAt)
		}
		require.Equal(t, map[string]bool{
			"Wette b1/WON": true, "Wette b2/WON": true,
			"Changed: b1/LOST": false, // was told the old one
			"Wette b2/LOST":    false, // was told nothing
		}, texts)
		require.Contains(t, b.titles("ann", notifier.InboxQuery{Locale: "en"}), "Bet b2", "the caller's locale goes first")

		// The newest active device decides.
		b.exec(`INSERT INTO devices SELECT 'ann-new', user_id, platform, provider, target_kind, 'other', 1, 'active', 'en-GB', 'Europe/London',
			'', activated_at + 1, updated_at, '' FROM devices WHERE id = 'ann-000000'`)
		require.Contains(t, b.titles("ann", notifier.InboxQuery{}), "Bet b2")
		b.exec(`UPDATE devices SET state = 'inactive' WHERE id = 'ann-new'`)
		require.Contains(t, b.titles("ann", notifier.InboxQuery{}), "Wette b2")
	})
}

func TestAnItemOfARemovedRuleHasNoText(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.rules = &notifier.RuleSet{}
		items := b.list("ann", notifier.InboxQuery{}).Items
		require.Len(t, items, 1)
		require.Equal(t, notifier.Text{}, items[0].Text)
		require.Equal(t, "win", items[0].Category)
	})
}

func TestTheInboxIsPagedByID(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		b.devices("ann", 1)
		for i := range 4 {
			b.release("settled", b.bet(fmt.Sprint("b", i), "ann", "WON", 1))
			b.release("soon", b.race(fmt.Sprint("e", i)))
			b.send("soon", sent)
		}
		all := b.titles("ann", notifier.InboxQuery{})
		require.Equal(t, "e3 in 60 min", all[0])
		require.Equal(t, "Bet b3", all[1])
		for limit := 1; limit <= 9; limit++ {
			var got []string
			pages := 0
			for before := notifier.NotificationID(0); ; pages++ {
				page := b.list("ann", notifier.InboxQuery{Before: before, Limit: limit})
				require.LessOrEqual(t, len(page.Items), limit)
				for _, i := range page.Items {
					got = append(got, i.Title)
				}
				if before = page.Next; before == 0 {
					break
				}
				// What comes between two pages does not shift them.
				if limit == 2 && pages == 0 {
					b.release("settled", b.bet("late", "ann", "WON", 1))
				}
			}
			require.Equal(t, all, got, "limit %d", limit)
			if limit == 2 {
				all = b.titles("ann", notifier.InboxQuery{})
				require.Len(t, all, 9)
			}
		}
	})
}

func TestReading(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		b.devices("ann", 1)
		for i := range 3 {
			b.release("settled", b.bet(fmt.Sprint("b", i), "ann", "WON", 1))
		}
		b.release("soon", b.race("e1"))
		b.send("soon", sent)
		items := b.list("ann", notifier.InboxQuery{}).Items
		require.Len(t, items, 4)

		for _, i := range []int{0, 2} {
			require.NoError(t, b.inbox.MarkRead(t.Context(), "ann", items[i].ID))
		}
		require.Equal(t, []string{"Bet b2", "Bet b0"}, b.titles("ann", notifier.InboxQuery{Unread: true}))
		first := b.list("ann", notifier.InboxQuery{}).Items[2].ReadAt
		require.WithinDuration(t, time.Now(), first, time.Minute)
		require.NoError(t, b.inbox.MarkRead(t.Context(), "ann", items[2].ID))
		require.NoError(t, b.inbox.MarkReadUpTo(t.Context(), "ann", items[1].ID))
		after := b.list("ann", notifier.InboxQuery{}).Items
		require.Equal(t, first, after[2].ReadAt, "the first time stays")
		for _, i := range after {
			require.NotZero(t, i.ReadAt)
		}
		require.Empty(t, b.titles("ann", notifier.InboxQuery{Unread: true}))

		b.release("settled", b.bet("b9", "ann", "WON", 1))
		require.NoError(t, b.inbox.MarkReadUpTo(t.Context(), "ann", items[0].ID))
		require.Equal(t, []string{"Bet b9"}, b.titles("ann", notifier.InboxQuery{Unread: true}))
		require.NoError(t, b.inbox.MarkReadUpTo(t.Context(), "ann", 1<<63-1))
		require.Empty(t, b.titles("ann", notifier.InboxQuery{Unread: true}))
		b.release("settled", b.bet("b10", "ann", "WON", 1))
		require.Equal(t, []string{"Bet b10"}, b.titles("ann", notifier.InboxQuery{Unread: true}), "the future is unread")
	})
}

func TestNobodyReadsAnothersInbox(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		b.devices("ann", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.release("soon", b.race("e1"))
		b.send("soon", sent)
		for _, i := range b.list("ann", notifier.InboxQuery{}).Items {
			err := b.inbox.MarkRead(t.Context(), "bob", i.ID)
			require.ErrorIs(t, err, notifier.ErrNoSuchItem)
			require.Equal(t, fault.NotFound, fault.KindOf(err))
		}
		require.ErrorIs(t, b.inbox.MarkRead(t.Context(), "ann", 999), notifier.ErrNoSuchItem)
		require.NoError(t, b.inbox.MarkReadUpTo(t.Context(), "bob", 1<<63-1))
		require.Zero(t, b.count(`SELECT COUNT(*) FROM inbox_reads`))
	})
}

func TestManyAreReadInSeveralTransactions(t *testing.T) {
	eachInbox(t, func(t *testing.T, b *inboxBooks) {
		var drafts []notifier.Draft
		for i := range 2500 {
			drafts = append(drafts, b.bet(fmt.Sprint("b", i), "ann", "WON", 1))
		}
		b.release("settled", drafts...)
		require.NoError(t, b.inbox.MarkReadUpTo(t.Context(), "ann", 2400))
		require.Equal(t, 2400, b.count(`SELECT COUNT(*) FROM inbox_reads`))
		require.Len(t, b.list("ann", notifier.InboxQuery{Unread: true, Limit: 200}).Items, 100)
	})
}
