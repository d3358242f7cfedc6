package sqlledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
