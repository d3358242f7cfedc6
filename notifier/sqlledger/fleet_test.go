package sqlledger_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// A claim whose commit could not be confirmed is leased to somebody who does not know of it.
func TestWhatAnOwnerDoesNotKnowOfIsGivenBack(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 3)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		known := b.claim("settled", "r1", 1, time.Minute)
		require.Len(t, known, 1)
		require.Len(t, b.claim("settled", "r1", 1, time.Minute), 1) // whose answer was lost
		require.Len(t, b.claim("settled", "r2", 1, time.Minute), 1)
		n, err := b.ledger.Disown(t.Context(), "r1", lane, []notifier.DeliveryID{known[0].ID})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, 2, b.count(`SELECT COUNT(*) FROM deliveries WHERE state = 'leased'`), "what it knows of, and what others hold, stays")
		require.Zero(t, b.count(`SELECT SUM(attempts + unknowns) FROM deliveries`), "nothing of it was sent")
		again := b.claim("settled", "r3", 5, time.Minute)
		require.Len(t, again, 1)
		require.EqualValues(t, 2, again[0].No, "the lost claim holds nothing any more")
	})
}

// Its owner may have been paused in the middle of a send.
func TestALapsedLeaseIsNotDisownedButCountsAsUnknown(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 1)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		require.Len(t, b.claim("settled", "r1", 1, time.Minute), 1)
		require.NoError(t, b.exec(`UPDATE deliveries SET lease_until = lease_until - $1`, (2*time.Minute).Microseconds()))
		n, err := b.ledger.Disown(t.Context(), "r1", lane, nil)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = b.ledger.Reclaim(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, 1, b.count(`SELECT SUM(unknowns) FROM deliveries`))
	})
}

func TestTheNewestLivingReplicasRulesAreInForce(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		join := func(owner, generation string) notifier.Replica {
			r := notifier.Replica{Owner: owner, Generation: generation, Version: "v"}
			var err error
			r.Since, err = b.ledger.Join(t.Context(), r)
			require.NoError(t, err)
			return r
		}
		inForce := func(r notifier.Replica) string {
			generation, now, err := b.ledger.Beat(t.Context(), r)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), now, 10*time.Second)
			return generation
		}
		old := join("r1", "g1")
		require.Equal(t, "g1", inForce(old))
		next := join("r2", "g2")
		require.Equal(t, "g2", inForce(old), "who is alive longest does not count")
		// A paused replica that was forgotten meanwhile comes back with the rules that it had.
		require.NoError(t, b.exec(`DELETE FROM replicas WHERE owner = 'r1'`))
		require.Equal(t, "g2", inForce(old))
		require.NoError(t, b.exec(`UPDATE replicas SET seen_at = seen_at - $1 WHERE owner = 'r2'`, (notifier.ReplicaLife+time.Second).Microseconds()))
		require.Equal(t, "g1", inForce(old), "the newest is silent")
		require.Equal(t, "g2", inForce(next), "and speaks again")
		require.NoError(t, b.ledger.Leave(t.Context(), next))
		require.Equal(t, "g1", inForce(old))
		old = join("r1", "g3")
		require.Equal(t, "g3", inForce(old), "rules that were read anew")
		require.NoError(t, b.ledger.Leave(t.Context(), old))
		join("r4", "g0")
		all, err := b.ledger.Replicas(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, "r4", all[0].Owner)
		require.True(t, all[0].Alive)
		require.True(t, all[0].InForce)
		require.NoError(t, b.exec(`UPDATE replicas SET seen_at = seen_at - $1`, notifier.ReplicaLife.Microseconds()))
		all, err = b.ledger.Replicas(t.Context())
		require.NoError(t, err)
		require.False(t, all[0].Alive)
	})
}

func TestLapsedRunsFailOnceAndSayWhichRulesWait(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		rules, err := b.ledger.FailLapsed(t.Context())
		require.NoError(t, err)
		require.Empty(t, rules, "it is alive")
		require.NoError(t, b.exec(`UPDATE runs SET lease_until = 1`))
		rules, err = b.ledger.FailLapsed(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"settled"}, rules)
		rules, err = b.ledger.FailLapsed(t.Context())
		require.NoError(t, err)
		require.Empty(t, rules)
		require.ErrorIs(t, b.ledger.Renew(t.Context(), run), notifier.ErrRunLost)

		last, err := b.ledger.LastRun(t.Context(), "settled")
		require.NoError(t, err)
		require.Equal(t, run.TickAt.UTC(), last.TickAt)
		require.Equal(t, 1, last.Failures)
		require.Equal(t, last.EndedAt.Add(30*time.Second).Truncate(time.Second), last.Again())
		b.release("settled")
		last, err = b.ledger.LastRun(t.Context(), "settled")
		require.NoError(t, err)
		require.Zero(t, last.Failures)
		require.Zero(t, last.Again())
		none, err := b.ledger.LastRun(t.Context(), "soon")
		require.NoError(t, err)
		require.Zero(t, none)
	})
}

func TestBacklogCountsALaneAndFindsTheLongestDue(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		backlog := func() notifier.Backlog {
			out, err := b.ledger.Backlog(t.Context(), lane)
			require.NoError(t, err)
			return out
		}
		require.Zero(t, backlog())
		b.devices("ann", 3)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		require.NoError(t, b.exec(`UPDATE deliveries SET due_at = due_at + 3600000000`))
		require.Equal(t, notifier.Backlog{Queued: 3}, backlog(), "none is due")
		b.release("soon", b.race("e1"))
		b.fanOut()
		require.NoError(t, b.exec(`UPDATE deliveries SET due_at = due_at - 60000000, urgency = 'high' WHERE rule_id = 'soon'`))
		got := backlog()
		require.Equal(t, 6, got.Queued)
		require.InDelta(t, 60, got.Oldest.Seconds(), 30)
	})
}

func TestAfterAnOutageNobodysSilenceCounts(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		join := func(owner, generation string) notifier.Replica {
			r := notifier.Replica{Owner: owner, Generation: generation}
			var err error
			r.Since, err = b.ledger.Join(t.Context(), r)
			require.NoError(t, err)
			return r
		}
		old := join("r1", "g1")
		join("r2", "g2")
		require.NoError(t, b.exec(`UPDATE replicas SET seen_at = seen_at - $1`, (notifier.ReplicaLife+10*time.Second).Microseconds()))
		inForce, _, err := b.ledger.Beat(t.Context(), old)
		require.NoError(t, err)
		require.Equal(t, "g2", inForce, "the old one is only the first to speak again")
	})
}

func TestAChangedIdentityReleasesWhatAFailedRunHadRead(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		now := time.Now().Truncate(time.Second)
		first, ok := b.beginAt("settled", "r1", now.Add(-time.Minute))
		require.True(t, ok)
		_, err := b.ledger.Finish(t.Context(), first, b.rule("settled"))
		require.NoError(t, err)
		d := b.bet("b1", "ann", "WON", 1)
		d.Arrival = now.Add(-33 * time.Second)
		run, ok := b.beginAt("settled", "r1", now.Add(-30*time.Second))
		require.True(t, ok)
		b.stage(run, d)
		require.NoError(t, b.ledger.Advance(t.Context(), run, run.Position, run.Until))
		require.NoError(t, b.ledger.Fail(t.Context(), run, "stopped during the sweep"))

		changed := *b.rule("settled")
		changed.Identity = "other"
		tick := now.Add(-29 * time.Second)
		next, ok, err := b.ledger.Begin(t.Context(), notifier.BeginRun{
			Rule: "settled", Identity: changed.Identity, TickAt: tick, Owner: "r2", Generation: "g", Lease: time.Minute,
			Plan: func(p *notifier.Progress, _ time.Time) notifier.RunWindow { return notifier.PlanRun(&changed, p, tick) },
		})
		require.NoError(t, err)
		require.True(t, ok)
		require.True(t, next.Baseline)
		_, err = b.ledger.Stage(t.Context(), next, &changed, notifier.Chunk{Rows: 1, Drafts: []notifier.Draft{d}})
		require.NoError(t, err)
		require.NoError(t, b.ledger.Advance(t.Context(), next, next.Position, next.Until))
		_, err = b.ledger.Finish(t.Context(), next, &changed)
		require.NoError(t, err)
		require.Equal(t, 1, b.count(`SELECT COUNT(*) FROM notifications WHERE state = 'released'`))
		require.Zero(t, b.count(`SELECT COUNT(*) FROM notifications WHERE state = 'baseline'`))
	})
}
