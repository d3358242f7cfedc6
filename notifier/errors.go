package notifier

import (
	"errors"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/internal/fault"
)

var (
	// ErrRunLost means that a run belongs to somebody else by now, or has ended.
	ErrRunLost = errors.New("run lost")
	// ErrWatermarkMoved means that the watermark was not where the run had found it.
	ErrWatermarkMoved = errors.New("watermark moved")
	// ErrOtherRules means that another replica has newer rules, so that this one begins no runs.
	ErrOtherRules error = fault.New(fault.Conflict, "another replica has newer rules than this one: ask there, or bring this one up to date")
)

// EarlyTickError means that a tick has not come yet by the ledger's clock: this
// process's is ahead.
type EarlyTickError struct {
	// By is how far away the tick is.
	By time.Duration
}

// Error says by how much the clock is ahead.
func (e *EarlyTickError) Error() string {
	return fmt.Sprintf("the tick comes in %s by the database's clock: this machine's clock is ahead", e.By.Round(time.Millisecond))
}
