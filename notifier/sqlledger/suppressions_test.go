package sqlledger_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

func (b *books) suppressions(q notifier.SuppressionQuery) []notifier.Suppression {
	b.tb.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	out, err := b.ledger.Suppressions(b.tb.Context(), q)
	require.NoError(b.tb, err)
	return out
}

func (b *books) suppress(by notifier.Actor, set ...notifier.Suppression) int {
	b.tb.Helper()
	done, err := b.ledger.Suppress(b.tb.Context(), by, set, notifier.AllowShorter)
	require.NoError(b.tb, err)
	return done.Changed
}

func TestSuppressionsAreSetReplacedAndTakenBack(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		from, until := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 3, 1, 0, 0, 0, 123456000, time.UTC)
		first := notifier.Suppression{User: "ann", Reason: notifier.ReasonSelfExclusion, From: from, Until: until, Note: "by phone, Straße 7"}
		bob := notifier.Actor{Name: "bob", RequestID: "r2"}
		require.Equal(t, 2, b.suppress(alice, first, notifier.Suppression{User: "eve/é", Reason: notifier.ReasonCoolOff, Class: notifier.SuppressAll}))
		require.Equal(t, 0, b.suppress(bob, first), "who said it first stays on record")
		all := b.suppressions(notifier.SuppressionQuery{})
		require.Len(t, all, 2)
		require.Equal(t, alice.Name, all[0].SetBy)
		require.WithinDuration(t, time.Now(), all[0].SetAt, time.Minute)
		require.True(t, all[0].Same(notifier.Suppression{
			User: "ann", Reason: notifier.ReasonSelfExclusion, Class: notifier.SuppressService, From: from, Until: until, Note: first.Note,
		}), "%+v", all[0])
		require.Equal(t, all[1:], b.suppressions(notifier.SuppressionQuery{Limit: 1, After: &notifier.SuppressionKey{User: "ann", Reason: notifier.ReasonSelfExclusion}}))
		require.Equal(t, all[1:], b.suppressions(notifier.SuppressionQuery{Reason: notifier.ReasonCoolOff}))
		require.Equal(t, all[:1], b.suppressions(notifier.SuppressionQuery{User: "ann"}))

		first.Class = notifier.SuppressAll
		require.Equal(t, 1, b.suppress(bob, first))
		require.Equal(t, notifier.SuppressAll, b.suppressions(notifier.SuppressionQuery{User: "ann"})[0].Class)
		key := notifier.SuppressionKey{User: "ann", Reason: notifier.ReasonSelfExclusion}
		require.NoError(t, b.ledger.Unsuppress(t.Context(), bob, key))
		require.ErrorIs(t, b.ledger.Unsuppress(t.Context(), bob, key), notifier.ErrUnknownSuppression)
		require.Empty(t, b.suppressions(notifier.SuppressionQuery{User: "ann"}))

		entries, err := b.ledger.Audit(t.Context(), notifier.AuditQuery{Forward: true, Limit: 10})
		require.NoError(t, err)
		var told []string
		for _, e := range entries {
			var before, after struct {
				Class string `json:"class"`
				SetBy string `json:"set_by"`
			}
			require.NoError(t, json.Unmarshal(e.Before, &before))
			require.NoError(t, json.Unmarshal(e.After, &after))
			told = append(told, fmt.Sprintf("%s %s %s %s>%s by %s", e.Actor.Name, e.Action, e.Subject, before.Class, after.Class, before.SetBy))
		}
		require.Equal(t, []string{
			"alice suppress suppression/self_exclusion/ann >service by ",
			"alice suppress suppression/cool_off/eve/é >all by ",
			"bob suppress suppression/self_exclusion/ann service>all by alice",
			"bob unsuppress suppression/self_exclusion/ann all> by bob",
		}, told)
	})
}

func TestAWrongSuppressionSetsNothing(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		good := notifier.Suppression{User: "ann", Reason: notifier.ReasonJurisdiction, Class: notifier.SuppressMarketing}
		at := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
		for name, wrong := range map[string]notifier.Suppression{
			"user":   {Reason: notifier.ReasonCoolOff},
			"reason": {User: "ann", Reason: "because"},
			"class":  {User: "ann", Reason: notifier.ReasonCoolOff, Class: notifier.SuppressMarketing},
			"until":  {User: "ann", Reason: notifier.ReasonCoolOff, From: at, Until: at},
			"from":   {User: "ann", Reason: notifier.ReasonCoolOff, From: time.Unix(1, 0)},
			"note":   {User: "ann", Reason: notifier.ReasonCoolOff, Note: "two\nlines"},
		} {
			_, err := b.ledger.Suppress(t.Context(), alice, []notifier.Suppression{good, wrong}, notifier.AllowShorter)
			require.ErrorContains(t, err, name)
		}
		require.Empty(t, b.suppressions(notifier.SuppressionQuery{}))
	})
}

// Of many who change one suppression at once each sees what was before.
func TestTheAuditOfASuppressionIsAChain(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		var g errgroup.Group
		for i := range 20 {
			g.Go(func() error {
				_, err := b.ledger.Suppress(t.Context(), alice, []notifier.Suppression{
					{User: "ann", Reason: notifier.ReasonCoolOff, Note: fmt.Sprint(i)}, {User: devices.UserID(fmt.Sprint("u", i)), Reason: notifier.ReasonCoolOff},
				}, notifier.RefuseShorter)
				return err
			})
		}
		require.NoError(t, g.Wait())
		entries, err := b.ledger.Audit(t.Context(), notifier.AuditQuery{Forward: true, Limit: 100})
		require.NoError(t, err)
		require.Len(t, entries, 40)
		last := ""
		for _, e := range entries {
			if e.Subject != "suppression/cool_off/ann" {
				continue
			}
			var before, after struct{ Note string }
			require.NoError(t, json.Unmarshal(e.Before, &before))
			require.NoError(t, json.Unmarshal(e.After, &after))
			require.Equal(t, last, before.Note)
			last = after.Note
		}
		require.Equal(t, last, b.suppressions(notifier.SuppressionQuery{User: "ann"})[0].Note)
	})
}

func TestAViewHasTheSuppressionsOfItsUser(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		b.devices("eve", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1), b.bet("b2", "eve", "WON", 1))
		b.fanOut()
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
		b.suppress(alice, notifier.Suppression{User: "ann", Reason: notifier.ReasonCoolOff, Until: until},
			notifier.Suppression{User: "ann", Reason: notifier.ReasonJurisdiction, Class: notifier.SuppressAll})
		claims := b.claim("settled", "r1", 10, time.Minute)
		require.Len(t, claims, 2)
		views, err := b.ledger.View(t.Context(), claims)
		require.NoError(t, err)
		for _, v := range views {
			if v.User == "eve" {
				require.Empty(t, v.Suppressions)
				continue
			}
			require.Len(t, v.Suppressions, 2)
			for _, s := range v.Suppressions {
				require.Equal(t, devices.UserID("ann"), s.User)
				require.Equal(t, "alice", s.SetBy)
				require.WithinDuration(t, time.Now(), s.SetAt, time.Minute)
				require.Equal(t, s.Reason == notifier.ReasonCoolOff, s.Until.Equal(until))
			}
		}
	})
}

func TestWhatASuppressionStopsIsAudited(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		claims := b.claim("settled", "r1", 10, time.Minute)
		require.Len(t, claims, 2)
		stop := func(c notifier.Claim) notifier.Result {
			return notifier.Result{
				Claim: c, State: notifier.Suppressed, Reason: string(notifier.ReasonCoolOff),
				Stopped: &notifier.Stopped{Rule: "settled", User: "ann", Reason: notifier.ReasonCoolOff, Suppressed: notifier.SuppressAll, SetBy: "alice"},
			}
		}
		late := claims[1]
		late.No++ // somebody else's by now
		lost, err := b.ledger.Record(t.Context(), "r1", []notifier.Result{stop(claims[0]), stop(late)})
		require.NoError(t, err)
		require.Equal(t, 1, lost)
		entries, err := b.ledger.Audit(t.Context(), notifier.AuditQuery{Limit: 10})
		require.NoError(t, err)
		require.Len(t, entries, 1, "only what was recorded")
		require.Equal(t, notifier.ActionStopped, entries[0].Action)
		require.Equal(t, notifier.SubjectDelivery(claims[0].ID), entries[0].Subject)
		require.Empty(t, entries[0].Actor.Name)
		var after map[string]any
		require.NoError(t, json.Unmarshal(entries[0].After, &after))
		require.Equal(t, "suppressed", after["state"])
		require.Equal(t, "ann", after["user"])
		require.Equal(t, "alice", after["set_by"])
		require.Error(t, b.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM audit`)
			return err
		}))
	})
}

// Whoever has lost the turn to import changes nothing more, though it be late in coming.
func TestAnImportThatWasTakenOverLiftsNobody(t *testing.T) {
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			l, ctx := sqlledger.New(d.Open(t)), t.Context()
			due := func(notifier.ImportState) bool { return true }
			first, ok, err := l.BeginImport(ctx, "a", time.Hour, due)
			require.NoError(t, err)
			require.True(t, ok)
			_, ok, err = l.BeginImport(ctx, "b", time.Hour, due)
			require.NoError(t, err)
			require.False(t, ok, "one at a time")
			one := []notifier.Suppression{{User: "ann", Reason: notifier.ReasonSelfExclusion}}
			n, err := l.SetImported(ctx, first, time.Microsecond, one)
			require.NoError(t, err)
			require.Equal(t, 1, n)
			var second notifier.ImportTurn
			require.Eventually(t, func() bool {
				second, ok, err = l.BeginImport(ctx, "b", time.Hour, due)
				return err == nil && ok
			}, time.Minute, time.Millisecond)
			keys := []notifier.SuppressionKey{{User: "ann", Reason: notifier.ReasonSelfExclusion}}
			_, err = l.LiftImported(ctx, first, time.Hour, keys)
			require.ErrorIs(t, err, notifier.ErrImportLost)
			_, err = l.SetImported(ctx, first, time.Hour, one)
			require.ErrorIs(t, err, notifier.ErrImportLost)
			require.NoError(t, l.EndImport(ctx, first, true, 0))
			state, err := l.ImportState(ctx)
			require.NoError(t, err)
			require.Zero(t, state.SucceededAt, "it was not whole")

			lifted, err := l.LiftImported(ctx, second, time.Hour, keys)
			require.NoError(t, err)
			require.Equal(t, 1, lifted)
			require.NoError(t, l.EndImport(ctx, second, true, 0))
			state, err = l.ImportState(ctx)
			require.NoError(t, err)
			require.Equal(t, second.BegunAt, state.SucceededAt)
		})
	}
}

// A page ends where it may, between an operator's and an imported one of the same user and reason too.
func TestPagesHoldBothListsOnce(t *testing.T) {
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			l, ctx := sqlledger.New(d.Open(t)), t.Context()
			var both []notifier.Suppression
			for _, user := range []devices.UserID{"B", "a", "b", "é"} {
				both = append(both, notifier.Suppression{User: user, Reason: notifier.ReasonCoolOff})
			}
			_, err := l.Suppress(ctx, notifier.Actor{Name: "alice"}, both[:3], notifier.AllowShorter)
			require.NoError(t, err)
			turn, _, err := l.BeginImport(ctx, "a", time.Hour, func(notifier.ImportState) bool { return true })
			require.NoError(t, err)
			_, err = l.SetImported(ctx, turn, time.Hour, both[1:])
			require.NoError(t, err)
			for limit := 1; limit <= 7; limit++ {
				var got []string
				for q := (notifier.SuppressionQuery{Limit: limit}); ; {
					page, err := l.Suppressions(ctx, q)
					require.NoError(t, err)
					for _, s := range page {
						got = append(got, fmt.Sprint(s.User, " ", s.Imported))
						key := s.Key()
						q.After = &key
					}
					if len(page) < limit {
						break
					}
				}
				require.Equal(t, []string{"B false", "a false", "a true", "b false", "b true", "é true"}, got, limit)
			}
		})
	}
}

// Whatever is said otherwise, if only by a microsecond, is a change.
func TestASuppressionThatDiffersInAnythingReplacesTheOther(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		first := notifier.Suppression{
			User: "ann", Reason: notifier.ReasonSelfExclusion, Class: notifier.SuppressAll, Note: "by phone",
			From: time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC),
		}
		require.Equal(t, 1, b.suppress(alice, first))
		for name, change := range map[string]func(*notifier.Suppression){
			"later":    func(s *notifier.Suppression) { s.From = s.From.Add(time.Microsecond) },
			"always":   func(s *notifier.Suppression) { s.From = time.Time{} },
			"longer":   func(s *notifier.Suppression) { s.Until = s.Until.Add(time.Microsecond) },
			"for good": func(s *notifier.Suppression) { s.Until = time.Time{} },
			"class":    func(s *notifier.Suppression) { s.Class = notifier.SuppressService },
			"note":     func(s *notifier.Suppression) { s.Note = "" },
		} {
			other := first
			change(&other)
			require.Equal(t, 1, b.suppress(alice, other), name)
			require.True(t, b.suppressions(notifier.SuppressionQuery{User: "ann"})[0].Same(other), name)
			require.Equal(t, 1, b.suppress(alice, first), name)
			require.Equal(t, 0, b.suppress(alice, first), name)
		}
	})
}

// An import is fenced by the number of its turn: a replica that comes back to an import of its own that
// it has begun anew since, or whose lease has lapsed, writes nothing.
func TestAnImportWritesOnlyInItsOwnTurn(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		begin := func() notifier.ImportTurn {
			turn, ok, err := b.ledger.BeginImport(t.Context(), "r1", time.Minute, func(notifier.ImportState) bool { return true })
			require.NoError(t, err)
			require.True(t, ok)
			return turn
		}
		ann := []notifier.Suppression{{User: "ann", Reason: notifier.ReasonCoolOff}}
		key := []notifier.SuppressionKey{{User: "ann", Reason: notifier.ReasonCoolOff}}
		first := begin()
		_, err := b.ledger.SetImported(t.Context(), first, time.Minute, ann)
		require.NoError(t, err)
		require.NoError(t, b.ledger.EndImport(t.Context(), first, true, 0))
		second := begin()
		_, err = b.ledger.LiftImported(t.Context(), first, time.Minute, key)
		require.ErrorIs(t, err, notifier.ErrImportLost)
		require.NoError(t, b.ledger.EndImport(t.Context(), first, false, 0), "it ends nobody's turn")
		_, ok, err := b.ledger.BeginImport(t.Context(), "r2", time.Minute, func(notifier.ImportState) bool { return true })
		require.NoError(t, err)
		require.False(t, ok)
		b.set(`UPDATE suppression_imports SET lease_until = 1`)
		_, err = b.ledger.LiftImported(t.Context(), second, time.Minute, key)
		require.ErrorIs(t, err, notifier.ErrImportLost)
		_, err = b.ledger.SetImported(t.Context(), second, time.Minute, ann)
		require.ErrorIs(t, err, notifier.ErrImportLost)
		require.Len(t, b.suppressions(notifier.SuppressionQuery{}), 1)
	})
}

// What is in force ends earlier, begins later or stops less only when that is said.
func TestASuppressionIsShortenedOnlyByWord(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		now := time.Now().UTC().Truncate(time.Second)
		in := func(days int) time.Time { return now.AddDate(0, 0, days) }
		of := func(class notifier.SuppressionClass, from, until time.Time) notifier.Suppression {
			return notifier.Suppression{User: "ann", Reason: notifier.ReasonSelfExclusion, Class: class, From: from, Until: until}
		}
		var never time.Time
		const service, all = notifier.SuppressService, notifier.SuppressAll
		for name, c := range map[string]struct {
			before, set notifier.Suppression
			shorter     bool
			// kept is what an import makes of both.
			kept notifier.Suppression
		}{
			"ends earlier":              {of(service, never, in(30)), of(service, never, in(10)), true, of(service, never, in(30))},
			"ends at all":               {of(service, never, never), of(service, never, in(10)), true, of(service, never, never)},
			"ends now":                  {of(service, never, in(30)), of(service, never, in(-1)), true, of(service, never, in(30))},
			"begins later":              {of(service, never, in(30)), of(service, in(1), in(30)), true, of(service, never, in(30))},
			"begins later than planned": {of(service, in(2), in(30)), of(service, in(5), in(40)), true, of(service, in(2), in(40))},
			"stops less":                {of(all, never, in(30)), of(service, never, in(40)), true, of(all, never, in(40))},
			"stops more, but ends":      {of(service, never, in(30)), of(all, never, in(10)), true, of(all, never, in(30))},
			"ends later":                {of(service, never, in(30)), of(service, never, in(40)), false, of(service, never, in(40))},
			"for good":                  {of(service, never, in(30)), of(service, never, never), false, of(service, never, never)},
			"stops more":                {of(service, never, in(30)), of(all, never, in(30)), false, of(all, never, in(30))},
			"begins later in the past":  {of(service, never, in(30)), of(service, in(-1), in(30)), false, of(service, in(-1), in(30))},
			"was over":                  {of(all, in(-9), in(-1)), of(service, in(5), in(6)), false, of(service, in(5), in(6))},
			"says the same":             {of(service, never, in(30)), of(service, never, in(30)), false, of(service, never, in(30))},
		} {
			list := func() notifier.Suppression { return b.suppressions(notifier.SuppressionQuery{User: "ann"})[0] }
			b.suppress(alice, c.before)
			_, err := b.ledger.Suppress(t.Context(), alice, []notifier.Suppression{
				{User: "bob", Reason: notifier.ReasonCoolOff, Note: name}, c.set,
			}, notifier.RefuseShorter)
			require.Equal(t, c.shorter, errors.Is(err, notifier.ErrShortens), name)
			if c.shorter {
				require.Equal(t, fault.Conflict, fault.KindOf(err))
				require.True(t, c.before.Same(list()), name)
				for _, s := range b.suppressions(notifier.SuppressionQuery{User: "bob"}) {
					require.NotEqual(t, name, s.Note, "all of them or none")
				}
			}
			b.suppress(alice, c.before)
			done, err := b.ledger.Suppress(t.Context(), alice, []notifier.Suppression{c.set}, notifier.KeepLonger)
			require.NoError(t, err)
			require.Equal(t, c.shorter, len(done.Kept) == 1, name)
			require.True(t, c.kept.Same(list()), "%s: %+v", name, list())

			b.suppress(alice, c.before)
			before := len(b.audit())
			b.suppress(alice, c.set)
			require.True(t, c.set.Same(list()), name)
			entries := b.audit()
			if len(entries) > before {
				require.Equal(t, c.shorter, strings.Contains(string(entries[len(entries)-1].After), `"shortened":true`), name)
			}
		}
	})
}

func TestAnExportOfSuppressionsIsAudited(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.suppress(alice, notifier.Suppression{User: "ann", Reason: notifier.ReasonCoolOff}, notifier.Suppression{User: "eve", Reason: notifier.ReasonJurisdiction})
		require.NoError(t, b.exec(`INSERT INTO imported_suppressions (user_id, reason, class, set_by, set_at) VALUES ('ann', 'cool_off', 'all', 'import', 1)`))
		for q, want := range map[notifier.SuppressionQuery]string{
			{}: `{"rows":{"suppressions":2,"imported_suppressions":1}}`,
			{User: "eve", Reason: notifier.ReasonJurisdiction, Limit: 1}: `{"user":"eve","reason":"jurisdiction","rows":{"suppressions":1,"imported_suppressions":0}}`,
		} {
			require.NoError(t, b.ledger.NoteExport(t.Context(), alice, q))
			entries := b.audit()
			last := entries[len(entries)-1]
			require.Equal(t, alice, last.Actor)
			require.Equal(t, []string{"export", "suppressions"}, []string{string(last.Action), last.Subject})
			require.JSONEq(t, want, string(last.Before))
		}
	})
}
