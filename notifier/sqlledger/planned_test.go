package sqlledger_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

func TestWhatHasExpiredOrFindsNobodyHoldsNoRun(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("ttl: {for: 1h}", "ttl: {from: settled, for: 1h}\n    max_deliveries: 2").Replace(rules)
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(text)})
	require.NoError(t, err)
	db := sqldbtest.SQLite(t)
	b := &books{tb: t, db: db, ledger: sqlledger.New(db), rules: set}
	b.devices("ann", 1)
	run, ok := b.begin("settled", "r1")
	require.True(t, ok)
	// A catch-up after a long outage reads mostly what nobody wants to know any more.
	for i, age := range []time.Duration{5 * time.Hour, 4 * time.Hour, 3 * time.Hour, 2 * time.Hour, time.Minute} {
		d, err := b.rule("settled").Draft(notifier.Row{
			"bet": string(rune('a' + i)), "user": "ann", "outcome": "WON", "rowtime": json.Number("1700000000000"),
			"settled": time.Now().Add(-age).UTC().Format(time.RFC3339Nano),
		})
		require.NoError(t, err)
		b.stage(run, d)
	}
	rel, err := b.ledger.Finish(t.Context(), run, b.rule("settled"))
	require.NoError(t, err)
	require.Equal(t, notifier.RunReleased, rel.State)
	require.Equal(t, 1, rel.Planned)
}

// limited are the books whose rules may each make two deliveries in a run.
func limited(t *testing.T, d sqldbtest.Database) *books {
	t.Helper()
	text := strings.ReplaceAll(followRules, "    notification: {", "    max_deliveries: 2\n    notification: {")
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(text)})
	require.NoError(t, err)
	db := d.Open(t)
	return &books{tb: t, db: db, ledger: sqlledger.New(db), rules: set}
}

func (b *books) change(status string, order int) notifier.Draft {
	b.tb.Helper()
	d, err := b.rule("changed").Draft(notifier.Row{
		"event": "e1", "status": status, "rowtime": json.Number(strconv.Itoa(1_700_000_000_000 + order)),
	})
	require.NoError(b.tb, err)
	return d
}

// finish runs a whole run over the drafts and returns how it ended.
func (b *books) finish(rule string, drafts ...notifier.Draft) notifier.Release {
	b.tb.Helper()
	run, ok := b.begin(rule, "r1")
	require.True(b.tb, ok)
	b.stage(run, drafts...)
	rel, err := b.ledger.Finish(b.tb.Context(), run, b.rule(rule))
	require.NoError(b.tb, err)
	return rel
}

// told releases a race that every device has been told of, so often.
func (b *books) told(times int) {
	b.tb.Helper()
	for range times {
		b.ticks++
		d := b.race("e1")
		d.VersionHash, d.Order = strconv.Itoa(b.ticks), int64(b.ticks)
		b.finish("soon", d)
	}
	require.NoError(b.tb, b.exec(`UPDATE notifications SET state = 'released', fanned_at = 1`))
	require.NoError(b.tb, b.exec(`INSERT INTO deliveries
		(notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at)
		SELECT n.id, d.id, d.user_id, n.rule_id, d.provider, n.urgency, n.follow_up, 'sent', 0, n.expires_at, 0 FROM notifications n CROSS JOIN devices d`))
}

func TestTheCountOfAHeldRunStopsAtOneMoreThanItsLimit(t *testing.T) {
	t.Parallel()
	for name, finish := range map[string]func(b *books) notifier.Release{
		"single users": func(b *books) notifier.Release {
			return b.finish("settled", b.bet("b1", "ann", "WON", 1), b.bet("b2", "ann", "WON", 1))
		},
		"all": func(b *books) notifier.Release { return b.finish("soon", b.race("e1"), b.race("e2"), b.race("e3")) },
		"those who were told": func(b *books) notifier.Release {
			b.told(1)
			return b.finish("changed", b.change("POSTPONED", 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, d := range sqldbtest.Databases(t) {
				t.Run(d.Name, func(t *testing.T) {
					t.Parallel()
					b := limited(t, d)
					b.devices("ann", 5)
					rel := finish(b)
					require.Equal(t, notifier.RunHeld, rel.State)
					require.Equal(t, 3, rel.Planned, "more than two, however many")
				})
			}
		})
	}
}

func TestADeviceThatWasToldTwiceIsPlannedOnce(t *testing.T) {
	t.Parallel()
	for _, d := range sqldbtest.Databases(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			b := limited(t, d)
			b.devices("ann", 2)
			b.told(3)
			rel := b.finish("changed", b.change("POSTPONED", 1))
			require.Equal(t, notifier.RunReleased, rel.State)
			require.Equal(t, 2, rel.Planned)
		})
	}
}
