package notifier_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

// exclusions is a source with the rows of one list; an error cuts it after them.
type exclusions struct {
	mu   sync.Mutex
	rows []notifier.Row
	err  error
}

// say makes rows, and then an error, what the next read finds.
func (e *exclusions) say(rows []notifier.Row, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rows, e.err = rows, err
}

func (e *exclusions) Read(context.Context, string, map[string]any) iter.Seq2[notifier.Row, error] {
	e.mu.Lock()
	defer e.mu.Unlock()
	rows, err := e.rows, e.err
	return func(yield func(notifier.Row, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func excluded(user string) notifier.Row {
	return notifier.Row{"user_id": user, "reason": "self_exclusion", "class": nil}
}

// importing runs an import every minute over a list, on a ledger of its own, and gives the test what it
// needs: next waits for the next import.
func importing(t *testing.T, maxLifted int, test func(t *testing.T, l *sqlledger.Ledger, e *exclusions, i *notifier.Importer, next func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := sqlledger.New(sqldbtest.SQLite(t))
		e := &exclusions{}
		q, err := notifier.CompileImport("@every 1m", "SELECT user_id, reason, class FROM exclusions;", maxLifted)
		require.NoError(t, err)
		i := notifier.NewImporter(q, e, l, "replica-1", nil, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- i.Run(ctx) }()
		test(t, l, e, i, func() { time.Sleep(70 * time.Second) })
		cancel()
		require.NoError(t, <-done)
	})
}

func listed(t *testing.T, l *sqlledger.Ledger) (out []string) {
	t.Helper()
	list, err := l.Suppressions(t.Context(), notifier.SuppressionQuery{Limit: 1000})
	require.NoError(t, err)
	for _, s := range list {
		out = append(out, fmt.Sprintf("%s %s %s %t", s.User, s.Reason, s.Class, s.Imported))
	}
	return out
}

func TestAnImportSetsWhatTheQuerySaysAndLiftsWhatHasDisappeared(t *testing.T) {
	t.Parallel()
	importing(t, 5, func(t *testing.T, l *sqlledger.Ledger, e *exclusions, i *notifier.Importer, next func()) {
		_, err := l.Suppress(t.Context(), operator, []notifier.Suppression{{User: "ann", Reason: notifier.ReasonSelfExclusion, Class: notifier.SuppressAll}}, notifier.AllowShorter)
		require.NoError(t, err)
		e.say([]notifier.Row{excluded("ann"), excluded("bob")}, nil)
		next()
		require.Equal(t, []string{"ann self_exclusion all false", "ann self_exclusion service true", "bob self_exclusion service true"}, listed(t, l))
		require.NoError(t, i.Check(t.Context()))

		e.say([]notifier.Row{excluded("bob")}, nil)
		next()
		require.Equal(t, []string{"ann self_exclusion all false", "bob self_exclusion service true"}, listed(t, l), "an operator's stays")
		key := notifier.SuppressionKey{User: "bob", Reason: notifier.ReasonSelfExclusion, Imported: true}
		require.ErrorIs(t, l.Unsuppress(t.Context(), operator, key), notifier.ErrUnknownSuppression, "an import's is not an operator's to lift")

		audit, err := l.Audit(t.Context(), notifier.AuditQuery{Forward: true, Limit: 100})
		require.NoError(t, err)
		var by []string
		for _, a := range audit {
			by = append(by, a.Actor.Name+" "+string(a.Action)+" "+a.Subject)
		}
		require.Equal(t, operator.Name+" suppress suppression/self_exclusion/ann", by[0])
		require.ElementsMatch(t, []string{
			"import suppress suppression/self_exclusion/ann", "import suppress suppression/self_exclusion/bob",
			"import unsuppress suppression/self_exclusion/ann",
		}, by[1:], "what says the same again is no change")
	})
}

// Whatever is wrong with the result, nobody is taken off the list, and whoever it names is put on it.
func TestAnImportThatIsNotWholeLiftsNobody(t *testing.T) {
	t.Parallel()
	var many []notifier.Row
	for n := range 20 {
		many = append(many, excluded(fmt.Sprintf("u%02d", n)))
	}
	for name, c := range map[string]struct {
		rows      []notifier.Row
		err       error
		maxLifted int
		want      int
	}{
		"cut":                      {rows: []notifier.Row{excluded("new")}, err: errors.New("connection reset"), maxLifted: 100, want: 21},
		"a row without a user":     {rows: []notifier.Row{excluded("new"), {"user_id": nil, "reason": "cool_off"}}, maxLifted: 100, want: 21},
		"a reason that nobody has": {rows: []notifier.Row{excluded("new"), {"user_id": "x", "reason": "dislike"}}, maxLifted: 100, want: 22},
		"a time that is none":      {rows: []notifier.Row{excluded("new"), {"user_id": "x", "reason": "cool_off", "until": "soon"}}, maxLifted: 100, want: 22},
		"nothing at all":           {maxLifted: 100, want: 20},
		"too few":                  {rows: append([]notifier.Row{excluded("new")}, many[6:]...), maxLifted: 5, want: 21},
		"never any":                {rows: append([]notifier.Row{excluded("new")}, many[1:]...), maxLifted: 0, want: 21},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			importing(t, c.maxLifted, func(t *testing.T, l *sqlledger.Ledger, e *exclusions, i *notifier.Importer, next func()) {
				e.say(many, nil)
				next()
				require.Len(t, listed(t, l), len(many))
				e.say(c.rows, c.err)
				next()
				require.Len(t, listed(t, l), c.want)
				require.NoError(t, i.Check(t.Context()), "that is no alarm yet")
				time.Sleep(20 * time.Minute)
				require.Len(t, listed(t, l), c.want)
				if c.maxLifted == 0 { // it is no failure
					require.NoError(t, i.Check(t.Context()))
					return
				}
				require.ErrorContains(t, i.Check(t.Context()), "no import of suppressions has succeeded for")

				e.say(many, nil)
				next()
				require.NoError(t, i.Check(t.Context()))
			})
		})
	}
}

// A row that names somebody and cannot be read otherwise keeps that user from being sent to, as
// strictly as it may be meant, until the row is mended.
func TestAWrongRowHoldsAsStrictlyAsItMayBeMeant(t *testing.T) {
	t.Parallel()
	const from, until = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
	for name, c := range map[string]struct {
		row  notifier.Row
		want string
	}{
		"an unknown reason":        {notifier.Row{"reason": "dislike", "from": from, "until": until}, "self_exclusion service 2026-01-01 2026-02-01"},
		"no reason":                {notifier.Row{"class": "all"}, "self_exclusion all - -"},
		"a reason that is no text": {notifier.Row{"reason": []any{"cool_off"}, "class": "marketing"}, "self_exclusion service - -"},
		"an unknown class":         {notifier.Row{"reason": "jurisdiction", "class": "most"}, "jurisdiction all - -"},
		"a class that is no text":  {notifier.Row{"reason": "jurisdiction", "class": []any{}}, "jurisdiction all - -"},
		"too small a class":        {notifier.Row{"reason": "cool_off", "class": "marketing"}, "cool_off service - -"},
		"a time that is none":      {notifier.Row{"reason": "jurisdiction", "class": "marketing", "from": from, "until": "soon"}, "jurisdiction marketing - -"},
		"an end before the begin":  {notifier.Row{"reason": "cool_off", "from": until, "until": from}, "cool_off service - -"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			importing(t, 5, func(t *testing.T, l *sqlledger.Ledger, e *exclusions, _ *notifier.Importer, next func()) {
				c.row["user_id"] = "ann"
				e.say([]notifier.Row{c.row}, nil)
				next()
				list, err := l.Suppressions(t.Context(), notifier.SuppressionQuery{Limit: 10})
				require.NoError(t, err)
				require.Len(t, list, 1)
				day := func(at time.Time) string {
					if at.IsZero() {
						return "-"
					}
					return at.Format(time.DateOnly)
				}
				s := list[0]
				require.Equal(t, c.want, fmt.Sprintf("%s %s %s %s", s.Reason, s.Class, day(s.From), day(s.Until)))

				e.say([]notifier.Row{{"user_id": "ann", "reason": "cool_off", "class": "service"}}, nil)
				next()
				require.Equal(t, []string{"ann cool_off service true"}, listed(t, l), "mended")
			})
		})
	}
}

// Two rows for one user and reason say two times: both hold, and what lies between them.
func TestRowsForTheSameUserAndReasonAllHold(t *testing.T) {
	t.Parallel()
	importing(t, 5, func(t *testing.T, l *sqlledger.Ledger, e *exclusions, _ *notifier.Importer, next func()) {
		e.say([]notifier.Row{
			{"user_id": "ann", "reason": "cool_off", "class": "all", "from": "2027-01-02T00:00:00Z", "until": "2027-01-03T00:00:00Z"},
			{"user_id": "ann", "reason": "cool_off", "class": "service", "from": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"},
		}, nil)
		next()
		list, err := l.Suppressions(t.Context(), notifier.SuppressionQuery{Limit: 10})
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, notifier.SuppressAll, list[0].Class)
		require.Equal(t, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), list[0].From)
		require.Equal(t, time.Date(2027, 1, 3, 0, 0, 0, 0, time.UTC), list[0].Until)
	})
}

// What a result says of somebody who is on the list may be less than before: an earlier end, a later
// begin, a smaller class. That is taken back like a row that has gone: by a result that was whole, and not
// of more than may be.
func TestAnImportThatIsNotWholeLessensNobody(t *testing.T) {
	t.Parallel()
	at := func(days int) string { return time.Now().AddDate(0, 0, days).UTC().Format(time.RFC3339) }
	row := func(user, class string, from, until any) notifier.Row {
		return notifier.Row{"user_id": user, "reason": "self_exclusion", "class": class, "from": from, "until": until}
	}
	all := func(of func(user string) notifier.Row) (out []notifier.Row) {
		for n := range 6 {
			out = append(out, of(fmt.Sprintf("u%d", n)))
		}
		return out
	}
	lessened := map[string]func(user string) notifier.Row{
		"ended":        func(u string) notifier.Row { return row(u, "all", at(-20), at(-1)) },
		"ends earlier": func(u string) notifier.Row { return row(u, "all", at(-20), at(3)) },
		"begins later": func(u string) notifier.Row { return row(u, "all", at(2), at(30)) },
		"less of it":   func(u string) notifier.Row { return row(u, "service", at(-20), at(30)) },
	}
	for name, less := range lessened {
		for how, c := range map[string]struct {
			maxLifted int
			err       error
			more      []notifier.Row
			lessens   bool
		}{
			"whole":       {maxLifted: 6, lessens: true},
			"too many":    {maxLifted: 5},
			"never any":   {maxLifted: 0},
			"cut":         {maxLifted: 6, err: errors.New("connection reset")},
			"a wrong row": {maxLifted: 6, more: []notifier.Row{{"user_id": nil, "reason": "cool_off"}}},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				importing(t, c.maxLifted, func(t *testing.T, l *sqlledger.Ledger, e *exclusions, i *notifier.Importer, next func()) {
					strict := func(u string) notifier.Row { return row(u, "all", at(-10), at(20)) }
					stops := func(in time.Duration) (n int) {
						list, err := l.Suppressions(t.Context(), notifier.SuppressionQuery{Limit: 100})
						require.NoError(t, err)
						for _, s := range list {
							if s.Stops(notifier.Transactional, time.Now().Add(in)) {
								n++
							}
						}
						return n
					}
					e.say(all(strict), nil)
					next()
					require.Equal(t, 6, stops(0))
					require.Equal(t, 6, stops(15*24*time.Hour))
					e.say(append(all(less), c.more...), c.err)
					next()
					if c.lessens {
						require.NotEqual(t, 12, stops(0)+stops(15*24*time.Hour))
						require.NoError(t, i.Check(t.Context()))
						return
					}
					require.Equal(t, 6, stops(0), "as strict as before")
					require.Equal(t, 6, stops(15*24*time.Hour))
					time.Sleep(20 * time.Minute)
					require.Equal(t, 6, stops(0))
					if c.maxLifted == 0 { // it is no failure
						require.NoError(t, i.Check(t.Context()))
						return
					}
					require.ErrorContains(t, i.Check(t.Context()), "nobody is taken off the list")
				})
			})
		}
	}
}

// What lasts longer, begins earlier or stops more is set whatever is wrong with the result, and so is a new
// time for what is over: that takes nothing back.
func TestWhatIsNotLessIsSetByEveryImport(t *testing.T) {
	t.Parallel()
	importing(t, 1, func(t *testing.T, l *sqlledger.Ledger, e *exclusions, _ *notifier.Importer, next func()) {
		began := time.Now()
		at := func(days int) string {
			return began.AddDate(0, 0, days).UTC().Truncate(time.Second).Format(time.RFC3339)
		}
		row := func(user, class string, from, until any) notifier.Row {
			return notifier.Row{"user_id": user, "reason": "cool_off", "class": class, "from": from, "until": until}
		}
		e.say([]notifier.Row{
			row("longer", "service", at(-3), at(3)), row("earlier", "service", at(2), nil), row("more", "service", nil, nil), row("again", "all", at(-9), at(-1)),
		}, nil)
		next()
		want := []notifier.Row{
			row("longer", "service", at(-3), at(9)), row("earlier", "service", at(-1), nil), row("more", "all", nil, nil), row("again", "service", at(5), at(9)),
		}
		e.say(want, errors.New("connection reset"))
		next()
		list, err := l.Suppressions(t.Context(), notifier.SuppressionQuery{Limit: 10})
		require.NoError(t, err)
		got := map[string]string{}
		for _, s := range list {
			got[string(s.User)] = fmt.Sprintf("%s %s %s", s.Class, s.From.Format(time.RFC3339), s.Until.Format(time.RFC3339))
		}
		zero := time.Time{}.Format(time.RFC3339)
		require.Equal(t, map[string]string{
			"longer": "service " + at(-3) + " " + at(9), "earlier": "service " + at(-1) + " " + zero, "more": "all " + zero + " " + zero,
			"again": "service " + at(5) + " " + at(9),
		}, got)
	})
}

func TestAnImportIsCompiled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ schedule, query, want string }{
		"schedule":  {"every day", "SELECT user_id, reason FROM x;", "schedule"},
		"no select": {"@every 5m", "DROP TABLE x;", "query"},
		"push":      {"@every 5m", "SELECT user_id, reason FROM x EMIT CHANGES;", "query"},
		"parameter": {"@every 5m", "SELECT user_id, reason FROM x WHERE ROWTIME > :since;", "query"},
	} {
		_, err := notifier.CompileImport(c.schedule, c.query, 1)
		f, ok := errors.AsType[*fault.Error](err)
		require.True(t, ok, name)
		require.Len(t, f.Fields, 1, name)
		require.Equal(t, c.want, f.Fields[0].Path, name)
	}
}

// A device of a user whom only an import has suppressed is not sent to.
func TestAnImportedSuppressionStopsWhatItsClassSays(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("b1", "bob")
		turn, ok, err := w.ledger.BeginImport(t.Context(), "r", time.Hour, func(notifier.ImportState) bool { return true })
		require.NoError(t, err)
		require.True(t, ok)
		_, err = w.ledger.SetImported(t.Context(), turn, time.Hour, []notifier.Suppression{
			{User: devices.UserID("ann"), Reason: notifier.ReasonJurisdiction, Class: notifier.SuppressAll},
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := w.start(ctx, rulesYAML, "replica-1", w.ledger)
		time.Sleep(2500 * time.Millisecond)
		w.settle("x", "ann", "WON")
		w.settle("y", "bob", "WON")
		time.Sleep(20 * time.Second)
		cancel()
		<-done
		require.Len(t, w.accepted(), 1)
		require.Contains(t, w.accepted()[0], "won y")
	})
}

// Before the first import nobody knows who must not be sent to.
func TestNothingIsSentBeforeTheFirstImport(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("phone-ann", "ann")
		w.device("phone-bob", "bob")
		w.configure = func(c *notifier.Config) { c.AwaitImport = true }
		tester, err := notifier.NewTester(notifier.TesterConfig{
			Devices: sqldevices.New(w.db, sqldevices.Config{}), Senders: map[devices.Provider]notifier.Sender{devices.FCM: w}, Audit: w.ledger,
			Suppressions: w.ledger, Stops: w.ledger, Imports: w.ledger, Log: zerolog.Nop(),
		})
		require.NoError(t, err)
		e := &exclusions{}
		q, err := notifier.CompileImport("@every 1m", "SELECT user_id, reason, class FROM exclusions;", 5)
		require.NoError(t, err)
		i := notifier.NewImporter(q, e, w.ledger, "replica-1", nil, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		imports := make(chan error, 1)
		ann := excluded("ann")
		ann["class"] = "all"
		e.say([]notifier.Row{ann}, errCut)
		w.runWhile(2*time.Minute, func() {
			go func() { imports <- i.Run(ctx) }()
			time.Sleep(3 * time.Second)
			w.settle("b1", "ann", "WON")
			w.settle("b2", "bob", "WON")
			time.Sleep(time.Minute)
			require.Empty(t, w.attempts())
			require.Equal(t, map[string]int{"queued/not_imported": 2}, w.states())
			_, err = tester.TestSend(t.Context(), operator, "phone-bob", "Hello", "World")
			require.ErrorIs(t, err, notifier.ErrNotImported)
			require.Empty(t, w.attempts())
			x := w.explain(1)
			require.Regexp(t, `^It waits until it is known who must not be sent to: no import of suppressions has succeeded yet`, x.Deliveries[0].Explanation)
			e.say([]notifier.Row{ann}, nil)
		})
		require.Equal(t, []string{"won b2→tok-phone-bob"}, w.accepted())
		require.Equal(t, map[string]int{"sent": 1, "suppressed/self_exclusion": 1}, w.states())
		_, err = tester.TestSend(t.Context(), operator, "phone-bob", "Hello", "World")
		require.NoError(t, err)

		// Afterwards the list stands, however old it is.
		e.say(nil, errCut)
		w.runWhile(time.Minute, func() {
			time.Sleep(3 * time.Second)
			w.settle("b3", "bob", "WON")
		})
		require.Equal(t, []string{"Hello→tok-phone-bob", "won b2→tok-phone-bob", "won b3→tok-phone-bob"}, w.accepted())
		cancel()
		require.NoError(t, <-imports)
	})
}

// Of several rows for a user and reason all hold, and the widest times.
func TestRowsForTheSameUserAndReasonCountTogether(t *testing.T) {
	t.Parallel()
	importing(t, 5, func(t *testing.T, l *sqlledger.Ledger, e *exclusions, _ *notifier.Importer, next func()) {
		at := func(day int) string { return time.Date(2026, 9, day, 0, 0, 0, 0, time.UTC).Format(time.RFC3339) }
		row := func(user string, from, until any, class string) notifier.Row {
			return notifier.Row{"user_id": user, "reason": "cool_off", "from": from, "until": until, "class": class}
		}
		rows := []notifier.Row{
			row("ann", at(3), at(4), "service"), row("ann", at(1), at(2), "all"), row("ann", at(6), at(7), "service"),
			row("bob", at(3), nil, "all"), row("bob", nil, at(4), "service"),
			row("cid", nil, at(4), "service"), row("cid", at(3), nil, "service"),
			row("dan", at(1), at(9), "service"), row("dan", at(2), at(3), "service"),
		}
		want := []string{
			"ann all 2026-09-01 2026-09-07", "bob all 0001-01-01 0001-01-01", "cid service 0001-01-01 0001-01-01", "dan service 2026-09-01 2026-09-09",
		}
		for range 2 { // in either order
			e.say(rows, nil)
			next()
			list, err := l.Suppressions(t.Context(), notifier.SuppressionQuery{Limit: 10})
			require.NoError(t, err)
			var got []string
			for _, s := range list {
				got = append(got, fmt.Sprintf("%s %s %s %s", s.User, s.Class, s.From.Format(time.DateOnly), s.Until.Format(time.DateOnly)))
			}
			require.Equal(t, want, got)
			slices.Reverse(rows)
		}
	})
}
