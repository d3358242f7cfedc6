package notifier

import "fmt"

// BadRowReason says why a row makes no notification. The set is closed: it is a
// metric label.
type BadRowReason string

// The reasons.
const (
	// BadMissingColumn: the rule names a column that the row does not have.
	BadMissingColumn BadRowReason = "missing_column"
	// BadNullKey: a key column is null.
	BadNullKey BadRowReason = "null_key"
	// BadLongKey: the key's canonical text is longer than MaxKeyBytes.
	BadLongKey BadRowReason = "long_key"
	// BadUnknownVariant: the variant column is null or names no variant of the rule.
	BadUnknownVariant BadRowReason = "unknown_variant"
	// BadTime: a time column is null, not a time or out of range.
	BadTime BadRowReason = "bad_time"
	// BadOrder: the order column is null or neither a whole number nor a time.
	BadOrder BadRowReason = "bad_order"
	// BadNoUser: the user column is null, empty or no name of a user.
	BadNoUser BadRowReason = "no_user"
	// BadValue: a key or version column holds what no row of a Source may hold.
	BadValue BadRowReason = "bad_value"
	// BadTemplate: a text of the rule cannot be rendered from the row.
	BadTemplate BadRowReason = "template"
)

// BadRowReasons returns the closed set, for metrics and documents.
func BadRowReasons() []BadRowReason {
	return []BadRowReason{
		BadMissingColumn, BadNullKey, BadLongKey, BadUnknownVariant, BadTime,
		BadOrder, BadNoUser, BadValue, BadTemplate,
	}
}

// BadRow says that a rule can make nothing of a row. The run goes on without it.
type BadRow struct {
	Rule   string
	Reason BadRowReason
	// Detail is for the operator: the column or the place in the text. It holds no rendered text.
	Detail string
}

// Error returns the rule, the reason and the detail.
func (e *BadRow) Error() string {
	return fmt.Sprintf("rule %s: %s: %s", e.Rule, e.Reason, e.Detail)
}

func (r *Rule) badRow(reason BadRowReason, format string, args ...any) *BadRow {
	return &BadRow{Rule: r.ID, Reason: reason, Detail: cutRunes(fmt.Sprintf(format, args...), maxDetailRunes)}
}

// maxDetailRunes bounds what one bad row costs in the table of bad rows.
const maxDetailRunes = 500
