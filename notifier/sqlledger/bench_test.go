package sqlledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/notifier"
)

// BenchmarkDelivery is what the ledger costs for one delivery, from the released
// notification to the recorded result, at different sizes of the audience: the
// figures must stay flat.
func BenchmarkDelivery(b *testing.B) {
	for _, d := range sqldbtest.Databases(b) {
		for _, n := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/devices=%d", d.Name, n), func(b *testing.B) {
				s := open(b, d)
				s.devices("ann", n)
				var fan, claim, view, record time.Duration
				races := 0
				for b.Loop() {
					races++
					s.release("soon", s.race(fmt.Sprint("e", races)))
					fan += took(func() { s.fanOut() })
					for {
						var claims []notifier.Claim
						claim += took(func() { claims = s.claim("soon", "r1", 250, time.Minute) })
						if len(claims) == 0 {
							break
						}
						results := make([]notifier.Result, len(claims))
						view += took(func() {
							views, err := s.ledger.View(b.Context(), claims)
							require.NoError(b, err)
							for i, v := range views {
								results[i] = notifier.Result{Claim: v.Claim, State: notifier.Sent, Counted: true, Attempt: &notifier.Attempt{
									Generation: v.Device.Generation, StartedAt: v.ReadAt, EndedAt: v.ReadAt, Verdict: notifier.VerdictSent, Status: 200,
								}}
							}
						})
						record += took(func() { s.record("r1", results...) })
					}
				}
				per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(n) / float64(races) }
				b.ReportMetric(per(fan), "fanout-ns/delivery")
				b.ReportMetric(per(claim), "claim-ns/delivery")
				b.ReportMetric(per(view), "view-ns/delivery")
				b.ReportMetric(per(record), "record-ns/delivery")
				b.ReportMetric(per(fan+claim+view+record), "total-ns/delivery")
			})
		}
	}
}

func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// BenchmarkRemoveDeliveries is what removing costs for one delivery with its
// attempt, among many more that stay: it grows with the pages over which the
// entries in the indexes are spread, and with nothing else.
func BenchmarkRemoveDeliveries(b *testing.B) {
	for _, d := range sqldbtest.Databases(b) {
		for _, n := range []int{10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/kept=%d", d.Name, n), func(b *testing.B) {
				s := open(b, d)
				const step = 500
				s.many(n, time.Now())
				removed := 0
				for b.Loop() {
					b.StopTimer()
					s.many(step, time.Now().Add(-31*day))
					b.StartTimer()
					r, err := s.ledger.RemoveDeliveries(b.Context(), 30*day, step)
					require.NoError(b, err)
					require.Equal(b, notifier.Removed{Deliveries: step, Attempts: step, More: true}, r)
					removed += step
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(removed), "ns/delivery")
			})
		}
	}
}

// many makes deliveries of one notification that finished at a time.
func (b *books) many(n int, finished time.Time) {
	b.tb.Helper()
	// The first of all is never removed: it has the largest id.
	b.set(`INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at, finished_at)
		VALUES (1000000000, 0, 'd', 'u', 'soon', 'fcm', 'high', FALSE, 'sent', 1, 1, $1, $1) ON CONFLICT DO NOTHING`, sqldb.Micros(time.Now()))
	b.set(`WITH RECURSIVE i (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < $1), m (id) AS (SELECT COALESCE(MAX(id), 0) FROM deliveries WHERE id < 1000000000)
		INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at, finished_at)
		SELECT m.id + i.n, m.id + i.n, 'device-' || i.n, 'user-' || i.n, 'soon', 'fcm', 'high', FALSE, 'sent', 1, 1, $2, $2 FROM i, m`, n, sqldb.Micros(finished))
	b.set(`INSERT INTO attempts (delivery_id, generation, owner, started_at, ended_at, verdict)
		SELECT d.id, 1, 'r1', 1, 1, 'sent' FROM deliveries d WHERE NOT EXISTS (SELECT 1 FROM attempts a WHERE a.delivery_id = d.id)`)
}
