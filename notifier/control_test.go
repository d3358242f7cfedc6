package notifier_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

var operator = notifier.Actor{Name: "alice", RequestID: "req-1"}

// controlled makes a replica and its control; run starts it and waits for d.
func (w *world) controlled(yaml, owner string) (control *notifier.Control, run func(d time.Duration, meanwhile func())) {
	w.t.Helper()
	rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(yaml)})
	require.NoError(w.t, err)
	n, err := notifier.New(notifier.Config{
		Rules: rules, Source: w, Ledger: w.ledger, Retirer: w, Owner: owner, Log: zerolog.New(zerolog.NewTestWriter(w.t)).Level(zerolog.WarnLevel),
		OptIn:   map[string]bool{"tips": true},
		Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: {Sender: w, RatePerSecond: 1000, InFlight: 32}},
	})
	require.NoError(w.t, err)
	control, err = notifier.NewControl(notifier.ControlConfig{Notifier: n, Ledger: w.ledger, Log: zerolog.Nop()})
	require.NoError(w.t, err)
	return control, func(d time.Duration, meanwhile func()) {
		ctx, cancel := context.WithCancel(w.t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		meanwhile()
		time.Sleep(d)
		cancel()
		require.NoError(w.t, <-done)
	}
}

func TestPauseHoldsOnEveryReplicaAndOverARestartAndResumeCatchesUp(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		control, run := w.controlled(rulesYAML, "replica-1")
		run(5*time.Second, func() {
			time.Sleep(3 * time.Second)
			s, err := control.Pause(t.Context(), operator, "settled", "wrong text")
			require.NoError(t, err)
			require.True(t, s.Paused())
			require.True(t, s.NextTick.IsZero())
			require.Equal(t, "alice", s.Control.Actor)
			w.settle("bet1", "ann", "WON")
			w.race("r1", time.Minute)
		})
		require.Equal(t, []string{"soon r1→tok-a1"}, w.accepted(), "other rules go on")

		// Another replica, and a later life.
		other, run := w.controlled(rulesYAML, "replica-2")
		run(5*time.Second, func() {
			s, err := other.Rule(t.Context(), "settled")
			require.NoError(t, err)
			require.True(t, s.Paused())
			_, err = other.RunNow(t.Context(), operator, "settled")
			require.ErrorIs(t, err, notifier.ErrRulePaused)
		})
		require.Len(t, w.accepted(), 1)

		other, run = w.controlled(rulesYAML, "replica-2b")
		run(3*time.Second, func() {
			s, err := other.Resume(t.Context(), operator, "settled", "")
			require.NoError(t, err)
			require.False(t, s.NextTick.IsZero())
			require.Positive(t, s.Lag)
		})
		require.Equal(t, []string{"soon r1→tok-a1", "won bet1→tok-a1"}, w.accepted())
		_, err := other.Pause(t.Context(), operator, "nothing", "")
		require.ErrorIs(t, err, notifier.ErrUnknownRule)
	})
}

func TestRunNowIsATickOutOfTurn(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		hourly := strings.Replace(rulesYAML, `- id: settled
    schedule: "@every 1s"`, `- id: settled
    schedule: "@every 1h"`, 1)
		control, run := w.controlled(hourly, "replica-1")
		run(time.Second, func() {
			// The first run of all begins where it is.
			first, err := control.RunNow(t.Context(), operator, "settled")
			require.NoError(t, err)
			require.Equal(t, notifier.RunReleased, first.State)
			_, err = control.RunNow(t.Context(), operator, "settled")
			require.ErrorIs(t, err, notifier.ErrRuleBusy, "this second has its run")

			time.Sleep(2 * time.Second)
			w.settle("bet1", "ann", "WON")
			time.Sleep(2 * time.Second)
			r, err := control.RunNow(t.Context(), operator, "settled")
			require.NoError(t, err)
			require.Equal(t, notifier.RunReleased, r.State)
			require.EqualValues(t, 1, r.Staged)
			require.Equal(t, map[string]int64{"released": 1}, r.Notifications)

			time.Sleep(2 * time.Second)
			w.setFault(func(string) error { return errCut })
			r, err = control.RunNow(t.Context(), operator, "settled")
			require.NoError(t, err, "a run that failed is a result")
			require.Equal(t, notifier.RunFailed, r.State)
			require.Contains(t, r.Error, "the body was cut")
			s, err := control.Rule(t.Context(), "settled")
			require.NoError(t, err)
			require.Equal(t, r.ID, s.LastFailed.ID)
			require.Equal(t, r.ID, s.LastRun.ID)
		})
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"run": 3}, w.counts(`SELECT action, COUNT(*) FROM audit GROUP BY 1`))
	})
}

// lateLedger cancels a context as soon as a run has ended well.
type lateLedger struct {
	*sqlledger.Ledger
	cancel context.CancelFunc
}

func (l lateLedger) Finish(ctx context.Context, run notifier.Run, rule *notifier.Rule) (notifier.Release, error) {
	rel, err := l.Ledger.Finish(ctx, run, rule)
	l.cancel()
	return rel, err
}

func TestARunWhoseEndNobodyWaitedForIsNoEmptyResult(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesYAML)})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n, err := notifier.New(notifier.Config{
			Rules: rules, Source: w, Ledger: lateLedger{w.ledger, cancel}, Retirer: w, Owner: "replica-1", Log: zerolog.Nop(),
			Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: {Sender: w, RatePerSecond: 1000, InFlight: 32}},
		})
		require.NoError(t, err)
		control, err := notifier.NewControl(notifier.ControlConfig{Notifier: n, Ledger: w.ledger, Log: zerolog.Nop()})
		require.NoError(t, err)
		_, err = control.RunNow(ctx, operator, "settled")
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestAReleasedRunGoesOutAtOnceAndADiscardedOneNever(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		limited := strings.Replace(rulesYAML, "audience: {user: user_id}", "audience: {user: user_id}\n    max_deliveries: 1", 1)
		control, run := w.controlled(limited, "replica-1")
		held := func() []notifier.RunRecord {
			runs, err := w.ledger.Runs(t.Context(), notifier.RunQuery{State: notifier.RunHeld, Limit: 10})
			require.NoError(t, err)
			return runs
		}
		run(time.Second, func() {
			for _, bets := range [][]string{{"a", "b"}, {"c", "d"}} {
				time.Sleep(2500 * time.Millisecond)
				for _, bet := range bets {
					w.settle(bet, "ann", "WON")
				}
			}
			time.Sleep(2500 * time.Millisecond)
			require.Len(t, held(), 2)
			require.Empty(t, w.accepted())
			second, first := held()[0], held()[1]
			r, err := control.Discard(t.Context(), operator, second.ID)
			require.NoError(t, err)
			require.Equal(t, notifier.RunDiscarded, r.State)
			r, err = control.Release(t.Context(), operator, first.ID)
			require.NoError(t, err)
			require.Equal(t, notifier.RunReleased, r.State)
			time.Sleep(time.Second) // less than the fan-out's own look
			require.Equal(t, []string{"won a→tok-a1", "won b→tok-a1"}, w.accepted())
			_, err = control.Release(t.Context(), operator, second.ID)
			require.ErrorIs(t, err, notifier.ErrRunNotHeld)
		})
		require.Len(t, w.accepted(), 2)
	})
}

// blindLedger cannot read a run.
type blindLedger struct{ *sqlledger.Ledger }

var errBlind = errors.New("the database does not answer")

func (blindLedger) Run(context.Context, notifier.RunID) (notifier.RunRecord, error) {
	return notifier.RunRecord{}, errBlind
}

// What is committed is done, whether it can be looked at afterwards or not.
func TestARunThatWasEndedIsNoErrorWhenItCannotBeRead(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		limited := strings.Replace(rulesYAML, "audience: {user: user_id}", "audience: {user: user_id}\n    max_deliveries: 1", 1)
		rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(limited)})
		require.NoError(t, err)
		n, err := notifier.New(notifier.Config{
			Rules: rules, Source: w, Ledger: w.ledger, Retirer: w, Owner: "replica-1", Log: zerolog.Nop(),
			Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: {Sender: w, RatePerSecond: 1000, InFlight: 32}},
		})
		require.NoError(t, err)
		control, err := notifier.NewControl(notifier.ControlConfig{Notifier: n, Ledger: blindLedger{w.ledger}, Log: zerolog.Nop()})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		for _, bets := range [][]string{{"a", "b"}, {"c", "d"}} {
			time.Sleep(2500 * time.Millisecond)
			for _, bet := range bets {
				w.settle(bet, "ann", "WON")
			}
		}
		time.Sleep(2500 * time.Millisecond)
		held, err := w.ledger.Runs(t.Context(), notifier.RunQuery{State: notifier.RunHeld, Limit: 10})
		require.NoError(t, err)
		require.Len(t, held, 2)
		want := held[1]
		want.State = notifier.RunReleased
		got, err := control.Release(t.Context(), operator, want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
		time.Sleep(time.Second) // less than the fan-out's own look
		require.Equal(t, []string{"won a→tok-a1", "won b→tok-a1"}, w.accepted(), "and it goes out at once")
		want = held[0]
		want.State = notifier.RunDiscarded
		got, err = control.Discard(t.Context(), operator, want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
		_, err = control.Release(t.Context(), operator, want.ID)
		require.ErrorIs(t, err, notifier.ErrRunNotHeld, "what was not done is an error")
		cancel()
		require.NoError(t, <-done)
	})
}

func TestARequeuedDeliveryGoesThroughTheGatesAgain(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		control, run := w.controlled(rulesYAML, "replica-1")
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictRejected, Code: "invalid", Status: 400, Err: errors.New("no")}
		})
		run(2*time.Second, func() {
			time.Sleep(2500 * time.Millisecond)
			w.settle("bet1", "ann", "WON")
			w.settle("bet2", "ann", "LOST")
			time.Sleep(2 * time.Second)
			require.Equal(t, map[string]int{"rejected/invalid": 2}, w.states())
			w.setAnswer(nil)
			w.mute("ann", "loss")
			found, err := w.ledger.Deliveries(t.Context(), notifier.DeliveryQuery{User: "ann", Limit: 10})
			require.NoError(t, err)
			for _, d := range found {
				_, err := control.Requeue(t.Context(), operator, d.ID)
				require.NoError(t, err)
			}
		})
		require.Equal(t, []string{"won bet1→tok-a1"}, w.accepted())
		require.Equal(t, map[string]int{"sent": 1, "suppressed/muted": 1}, w.states())
	})
}

func TestAPreviewShowsWhatWouldBeAnnouncedAndWritesNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("a2", "ann")
		german := strings.Replace(rulesYAML, `WON:  {category: win, title: "won {{.bet_id}}", body: "won"}`,
			`WON:  {category: win, title: "won {{.bet_id}}", body: "won", locales: {de: {title: "gewonnen {{.bet_id}}", body: "gewonnen"}}}`, 1)
		control, run := w.controlled(german, "replica-1")
		run(time.Second, func() {
			time.Sleep(2500 * time.Millisecond)
			w.settle("known", "ann", "WON")
			w.settle("changed", "ann", "WON")
			time.Sleep(2 * time.Second)
		})
		before := w.counts(`SELECT 'runs', COUNT(*) FROM runs UNION ALL SELECT 'notifications', COUNT(*) FROM notifications UNION ALL
			SELECT 'deliveries', COUNT(*) FROM deliveries UNION ALL SELECT 'bad', COUNT(*) FROM bad_rows UNION ALL SELECT 'audit', COUNT(*) FROM audit`)
		w.settle("changed", "ann", "LOST")
		w.settle("new", "bob", "WON")
		w.settle("odd", "ann", "EXPLODED")
		time.Sleep(1100 * time.Millisecond)
		p, err := control.Preview(t.Context(), "settled", notifier.PreviewRequest{})
		require.NoError(t, err)
		require.Equal(t, 5, p.Rows)
		require.Equal(t, map[notifier.News]int{notifier.NewsNew: 1, notifier.NewsChanged: 1, notifier.NewsKnown: 1}, p.News)
		require.Equal(t, 1, p.BadRows)
		require.Equal(t, notifier.BadUnknownVariant, p.Bad[0].Reason)
		require.Len(t, p.Notifications, 3)
		require.Equal(t, notifier.NewsKnown, p.Notifications[2].News, "what would be announced comes first")
		byNews := map[notifier.News]notifier.PreviewNotification{}
		for _, n := range p.Notifications {
			byNews[n.News] = n
		}
		require.Equal(t, "corrected changed", byNews[notifier.NewsChanged].Texts[""].Title)
		require.Equal(t, 2, byNews[notifier.NewsChanged].Devices)
		require.Equal(t, "won new", byNews[notifier.NewsNew].Texts[""].Title)
		require.Equal(t, "gewonnen new", byNews[notifier.NewsNew].Texts["de"].Title)
		require.Zero(t, byNews[notifier.NewsNew].Devices, "bob has none")

		p, err = control.Preview(t.Context(), "settled", notifier.PreviewRequest{Limit: 1, Since: time.Now().Add(-time.Hour)})
		require.NoError(t, err)
		require.Len(t, p.Notifications, 1)
		require.Equal(t, 1, p.News[notifier.NewsKnown], "what is not shown is counted")
		p, err = control.Preview(t.Context(), "settled", notifier.PreviewRequest{Since: time.Now().Add(time.Hour)})
		require.NoError(t, err)
		require.Zero(t, p.Rows)

		w.setFault(func(string) error { return errCut })
		_, err = control.Preview(t.Context(), "settled", notifier.PreviewRequest{})
		require.ErrorIs(t, err, errCut, "half a result is none")
		_, err = control.Preview(t.Context(), "nothing", notifier.PreviewRequest{})
		require.ErrorIs(t, err, notifier.ErrUnknownRule)
		require.Equal(t, before, w.counts(`SELECT 'runs', COUNT(*) FROM runs UNION ALL SELECT 'notifications', COUNT(*) FROM notifications UNION ALL
			SELECT 'deliveries', COUNT(*) FROM deliveries UNION ALL SELECT 'bad', COUNT(*) FROM bad_rows UNION ALL SELECT 'audit', COUNT(*) FROM audit`))
	})
}

func TestAPreviewComparesAsTheNextRunWill(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		control, run := w.controlled(rulesYAML, "replica-1")
		run(time.Second, func() {
			time.Sleep(2500 * time.Millisecond)
			w.settle("bet1", "ann", "WON")
			time.Sleep(2 * time.Second)
		})
		news := func() map[notifier.News]int {
			p, err := control.Preview(t.Context(), "settled", notifier.PreviewRequest{})
			require.NoError(t, err)
			return p.News
		}
		set := func(column, value string) {
			require.NoError(t, w.db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, `UPDATE notifications SET `+column+` = $1`, value)
				return err
			}))
		}
		require.Equal(t, map[notifier.News]int{notifier.NewsKnown: 1}, news())
		set("state", "passed") // by the watermark of a run that failed later
		require.Equal(t, map[notifier.News]int{notifier.NewsNew: 1}, news())
		set("state", "released")
		set("identity", "of other columns")
		require.Equal(t, map[notifier.News]int{notifier.NewsChanged: 1}, news())
	})
}

// reachLedger counts how often devices are counted.
type reachLedger struct {
	*sqlledger.Ledger
	asked *int
}

func (l reachLedger) Reach(ctx context.Context, q notifier.ReachQuery) (int, error) {
	*l.asked++
	return l.Ledger.Reach(ctx, q)
}

func TestAPreviewCountsAllDevicesOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(rulesYAML)})
		require.NoError(t, err)
		n, err := notifier.New(notifier.Config{
			Rules: rules, Source: w, Ledger: w.ledger, Retirer: w, Owner: "replica-1", Log: zerolog.Nop(),
			Senders: map[devices.Provider]notifier.SenderConfig{devices.FCM: {Sender: w, RatePerSecond: 1000, InFlight: 32}},
		})
		require.NoError(t, err)
		asked := 0
		control, err := notifier.NewControl(notifier.ControlConfig{Notifier: n, Ledger: reachLedger{w.ledger, &asked}, Log: zerolog.Nop()})
		require.NoError(t, err)
		for _, race := range []string{"r1", "r2", "r3"} {
			w.race(race, time.Minute)
		}
		p, err := control.Preview(t.Context(), "soon", notifier.PreviewRequest{})
		require.NoError(t, err)
		require.Len(t, p.Notifications, 3)
		for _, shown := range p.Notifications {
			require.Equal(t, 1, shown.Devices)
		}
		require.Equal(t, 1, asked, "each count looks at every device")
	})
}

// Of a user with a suppression for each reason on both lists, the last one counts as the first.
func TestATestPushAsksAllSuppressions(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		tester, err := notifier.NewTester(notifier.TesterConfig{
			Devices: sqldevices.New(w.db, sqldevices.Config{}), Senders: map[devices.Provider]notifier.Sender{devices.FCM: w}, Audit: w.ledger,
			Suppressions: w.ledger, Stops: w.ledger, Log: zerolog.Nop(),
		})
		require.NoError(t, err)
		var over []notifier.Suppression
		for _, reason := range notifier.SuppressionReasons() {
			over = append(over, notifier.Suppression{User: "ann", Reason: reason, Class: notifier.SuppressAll, Until: time.Now().Add(-time.Hour)})
		}
		_, err = w.ledger.Suppress(t.Context(), notifier.Actor{}, over, notifier.AllowShorter)
		require.NoError(t, err)
		turn, ok, err := w.ledger.BeginImport(t.Context(), "replica-1", time.Hour, func(notifier.ImportState) bool { return true })
		require.NoError(t, err)
		require.True(t, ok)
		_, err = w.ledger.SetImported(t.Context(), turn, time.Hour, over)
		require.NoError(t, err)
		_, err = tester.TestSend(t.Context(), operator, "a1", "Hello", "World")
		require.NoError(t, err, "all of them are over")
		_, err = w.ledger.SetImported(t.Context(), turn, time.Hour, []notifier.Suppression{{User: "ann", Reason: notifier.ReasonSelfExclusion}})
		require.NoError(t, err)
		_, err = tester.TestSend(t.Context(), operator, "a1", "Hello", "World")
		require.ErrorIs(t, err, notifier.ErrSuppressed)
	})
}

func TestATestPushIsAuditedAndGoesToActiveDevicesOnly(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.device("a2", "ann")
		w.exec(`UPDATE devices SET state = 'inactive' WHERE id = 'a2'`)
		tester, err := notifier.NewTester(notifier.TesterConfig{
			Devices: sqldevices.New(w.db, sqldevices.Config{}), Senders: map[devices.Provider]notifier.Sender{devices.FCM: w}, Audit: w.ledger,
			Suppressions: w.ledger, Stops: w.ledger, Log: zerolog.Nop(),
		})
		require.NoError(t, err)
		w.setAnswer(func(notifier.Push, int) notifier.Outcome {
			return notifier.Outcome{Verdict: notifier.VerdictGone, Code: "unregistered", Status: 404, Err: errors.New("dead")}
		})
		for range 2 {
			r, err := tester.TestSend(t.Context(), operator, "a1", "Hello", "World")
			require.NoError(t, err)
			require.Equal(t, notifier.TestResult{
				Device: "a1", Provider: devices.FCM, Generation: 1, Verdict: notifier.VerdictGone, Code: "unregistered", Status: 404,
				Took: 20 * time.Millisecond,
			}, r)
			time.Sleep(time.Second)
		}
		require.Equal(t, map[string]int{"active": 1, "inactive": 1}, w.counts(`SELECT state, COUNT(*) FROM devices GROUP BY 1`), "a test retires nobody")
		sent := w.attempts()
		require.Equal(t, "Hello", sent[0].Message.Title)
		require.Equal(t, "test", sent[0].Message.Category)
		require.Negative(t, sent[0].Message.NotificationID)
		require.NotEqual(t, sent[0].Message.NotificationID, sent[1].Message.NotificationID)
		require.NotEqual(t, sent[0].Message.Thread, sent[1].Message.Thread)
		require.WithinDuration(t, sent[0].at.Add(5*time.Minute), sent[0].Message.ExpiresAt, time.Second)
		require.Empty(t, w.states())

		_, err = tester.TestSend(t.Context(), operator, "a2", "Hello", "World")
		require.ErrorIs(t, err, notifier.ErrDeviceNotActive)
		_, err = tester.TestSend(t.Context(), operator, "a3", "Hello", "World")
		require.ErrorIs(t, err, devices.ErrUnknownDevice)
		w.exec(`UPDATE devices SET target_kind = 'ably_device', provider = 'ably' WHERE id = 'a1'`)
		_, err = tester.TestSend(t.Context(), operator, "a1", "Hello", "World")
		require.Equal(t, fault.Conflict, fault.KindOf(err))
		key := notifier.SuppressionKey{User: "ann", Reason: notifier.ReasonCoolOff}
		_, err = w.ledger.Suppress(t.Context(), notifier.Actor{}, []notifier.Suppression{{User: key.User, Reason: key.Reason}}, notifier.AllowShorter)
		require.NoError(t, err)
		_, err = tester.TestSend(t.Context(), operator, "a1", "Hello", "World")
		require.ErrorIs(t, err, notifier.ErrSuppressed)
		require.NoError(t, w.ledger.Unsuppress(t.Context(), notifier.Actor{}, key))

		entries, err := w.ledger.Audit(t.Context(), notifier.AuditQuery{Limit: 10})
		require.NoError(t, err)
		require.Len(t, entries, 4)
		entries = entries[2:]
		require.Equal(t, "device/a1", entries[0].Subject)
		require.NotContains(t, string(entries[0].After), "tok-a1")
		require.NotContains(t, string(entries[0].After), "Hello")

		w.exec(`CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`)
		w.exec(`UPDATE devices SET target_kind = 'fcm_token', provider = 'fcm' WHERE id = 'a1'`)
		_, err = tester.TestSend(t.Context(), operator, "a1", "Hello", "World")
		require.ErrorContains(t, err, "the disk is full")
		require.Len(t, w.attempts(), 2, "nothing goes out unaudited")
	})
}
