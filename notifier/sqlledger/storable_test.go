package sqlledger_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// One answer of an endpoint that misbehaves must not keep a batch from being recorded.
func TestWhatADatabaseCannotHoldOfAnAnswerIsLeftOut(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		b.devices("ann", 2)
		b.release("settled", b.bet("b1", "ann", "WON", 1))
		b.fanOut()
		var results []notifier.Result
		for _, c := range b.claim("settled", "r1", 2, time.Minute) {
			results = append(results, notifier.Result{Claim: c, State: notifier.Rejected, Reason: "no\x00t", Attempt: &notifier.Attempt{
				Verdict: notifier.VerdictRejected, Code: "\x00inva\xfflid", ProviderID: "a\x00b",
			}})
		}
		require.Len(t, results, 2)
		require.Zero(t, b.record("r1", results...))
		d, err := b.ledger.Delivery(t.Context(), results[0].Claim.ID)
		require.NoError(t, err)
		require.Equal(t, "not", d.Reason)
		require.Equal(t, "inva\uFFFDlid", d.Attempts[0].Code)
		require.Equal(t, "ab", d.Attempts[0].ProviderID)
	})
}

func TestARunFailsWhateverTheTextOfItsError(t *testing.T) {
	each(t, func(t *testing.T, b *books) {
		run, ok := b.begin("settled", "r1")
		require.True(t, ok)
		require.NoError(t, b.ledger.Fail(t.Context(), run, "bad \x00answer \xff"))
		got, err := b.ledger.Run(t.Context(), run.ID)
		require.NoError(t, err)
		require.Equal(t, notifier.RunFailed, got.State)
		require.Equal(t, "bad answer \uFFFD", got.Error)
	})
}
