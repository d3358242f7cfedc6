package notifier

import "errors"

var (
	// ErrRunLost means that a run belongs to somebody else by now, or has ended.
	ErrRunLost = errors.New("run lost")
	// ErrWatermarkMoved means that the watermark was not where the run had found it.
	ErrWatermarkMoved = errors.New("watermark moved")
)
