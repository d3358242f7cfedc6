package notifier

import (
	"context"
	"iter"
)

// Source reads the rows of a query.
type Source interface {
	// Read runs the query with its parameters bound (time.Time or int64 values) and yields the
	// rows as they arrive. An error ends the sequence and means that the result is not complete,
	// whatever was yielded before; a sequence that ends without one is complete.
	Read(ctx context.Context, query string, params map[string]any) iter.Seq2[Row, error]
}
