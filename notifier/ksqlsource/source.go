package ksqlsource

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/notifier"
)

// Source reads rows from ksqlDB.
type Source struct {
	client *ksqlclient.Client
}

var _ notifier.Source = (*Source)(nil)

// New returns a Source over a client, which stays the caller's to close.
func New(client *ksqlclient.Client) *Source { return &Source{client: client} }

// Read implements notifier.Source. The whole iteration, the work of the loop's
// body included, is bounded by the client's timeout and the deadline of ctx. An
// error is of kind Unavailable when the same query may succeed later.
func (s *Source) Read(ctx context.Context, query string, params map[string]any) iter.Seq2[notifier.Row, error] {
	return func(yield func(notifier.Row, error) bool) {
		for row, err := range s.client.Pull(ctx, query, ksqlclient.Params(params)) {
			if err != nil {
				yield(nil, classify("read rows", err))
				return
			}
			converted, err := convertRow(row)
			if err != nil {
				yield(nil, fmt.Errorf("read rows: %w", err))
				return
			}
			if !yield(converted, nil) {
				return
			}
		}
	}
}

// Check tells whether the server answers and takes our credentials.
func (s *Source) Check(ctx context.Context) error {
	if _, err := s.client.Info(ctx); err != nil {
		return classify("reach ksqldb", err)
	}
	return nil
}

// classify gives an error of the client its kind; the client knows what passes.
func classify(doing string, err error) error {
	switch {
	case ksqlclient.Retryable(err):
		return fault.Wrap(fault.Unavailable, fmt.Errorf("%s: %w", doing, err), "ksqlDB does not answer")
	case errors.Is(err, ksqlclient.ErrParam), errors.Is(err, ksqlclient.ErrStatement):
		return fault.Wrap(fault.Invalid, fmt.Errorf("%s: %w", doing, err), "the query cannot be sent")
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func convertRow(row ksqlclient.Row) (notifier.Row, error) {
	out := make(notifier.Row, row.Len())
	for i, column := range row.Columns() {
		v, err := convert(row.At(i))
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", column.Name, err)
		}
		out[column.Name] = v
	}
	return out, nil
}

// convert returns a value as notifier.Row documents it.
func convert(value any) (any, error) {
	switch v := value.(type) {
	case nil, bool, string:
		return v, nil
	case int64:
		return json.Number(strconv.FormatInt(v, 10)), nil
	case float64:
		return convertFloat(v), nil
	case ksqlclient.Decimal:
		return json.Number(v.String()), nil
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), nil
	case ksqlclient.Date:
		return v.String(), nil
	case ksqlclient.TimeOfDay:
		return v.String(), nil
	case []byte:
		return base64.StdEncoding.EncodeToString(v), nil
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			converted, err := convert(item)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			out[i] = converted
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			converted, err := convert(item)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			out[name] = converted
		}
		return out, nil
	}
	return nil, fmt.Errorf("value of type %T, which no column has", value)
}

// convertFloat writes a number as JSON does, which every reader takes. JSON has
// no word for what is not finite: it stays the text that ksqlDB sends, so that
// a rule that calculates with it has one bad row instead of a failed run.
func convertFloat(f float64) any {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	text, err := json.Marshal(f)
	if err != nil {
		return strconv.FormatFloat(f, 'g', -1, 64) // not reached: f is finite
	}
	return json.Number(text)
}
