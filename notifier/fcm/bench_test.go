package fcm_test

import (
	"testing"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/fcm"
)

// BenchmarkSend is a whole send over HTTP/1.1 on the loopback, the server's
// share included.
func BenchmarkSend(b *testing.B) {
	g := newGoogle(b, accept)
	s := newSender(b, g, func(c *fcm.Config) { c.MaxInFlight = 64 })
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		p := push()
		for pb.Next() {
			if out := s.Send(b.Context(), p); out.Verdict != notifier.VerdictSent {
				b.Error(out.Err)
				return
			}
		}
	})
}
