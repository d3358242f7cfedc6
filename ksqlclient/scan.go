package ksqlclient

import (
	"encoding"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"time"
)

// Collect reads all rows into values of type T, and returns either all of them
// or the first error and nothing. It goes with Pull:
//
//	bets, err := ksqlclient.Collect[Bet](client.Pull(ctx, sql, params))
//
// T is Row, map[string]any, a struct, or, for results of one column, the type of
// that column. The fields of a struct take the columns that their tags name:
//
//	type Bet struct {
//		ID      string             `ksql:"bet_id"`
//		Payout  ksqlclient.Decimal `ksql:"payout"`
//		Settled *time.Time         `ksql:"settled_at,optional"`
//		Arrived time.Time          `ksql:"rowtime,unixmilli"`
//	}
//
// "optional" permits that the result has no such column; "unixmilli" turns a
// BIGINT of epoch milliseconds into a time.Time. Columns without a field and
// fields without a tag are left alone; embedded structs count as their fields.
//
// A value goes where it fits exactly: integers into every integer type that holds
// them, DOUBLE into float64 and into float32 if it is in range, DECIMAL into
// Decimal or string, DATE into Date or time.Time (midnight UTC), TIME into
// TimeOfDay or time.Duration, STRING also into an encoding.TextUnmarshaler, ARRAY
// into slices, MAP into maps with string keys, STRUCT into structs with tags or
// map[string]any. NULL goes into pointers, interfaces, slices and maps as nil, and
// is an error elsewhere. Errors match ErrScan and name the column.
func Collect[T any](rows iter.Seq2[Row, error]) ([]T, error) {
	var (
		all  []T
		plan scanPlan
	)
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		var item T
		if err := scanRow(row, &item, &plan); err != nil {
			return nil, err
		}
		all = append(all, item)
	}
	return all, nil
}

// scanPlan maps the columns of a result to the fields of a struct type.
type scanPlan struct {
	columns *columns
	fields  []plannedField
}

type plannedField struct {
	column int
	index  []int
	milli  bool
}

// scanRow stores the row in dst. The plan is made anew when it is nil or belongs
// to other columns.
func scanRow(row Row, dst any, plan *scanPlan) error {
	switch d := dst.(type) {
	case *Row:
		*d = row
		return nil
	case *map[string]any:
		*d = row.Map()
		return nil
	}
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("scan row: %w: the destination is no pointer", ErrScan)
	}
	v = v.Elem()
	if v.Kind() != reflect.Struct || isValueStruct(v.Type()) {
		if row.Len() != 1 {
			return fmt.Errorf("scan row: %w: %d columns for one value of type %s", ErrScan, row.Len(), v.Type())
		}
		return scanned(assign(v, row.values[0], row.columns.list[0].Name))
	}
	if plan == nil {
		plan = new(scanPlan)
	}
	if plan.columns != row.columns {
		fields, err := planFields(v.Type(), row.columns)
		if err != nil {
			return scanned(err)
		}
		*plan = scanPlan{columns: row.columns, fields: fields}
	}
	for _, f := range plan.fields {
		if err := assignField(v, f, row); err != nil {
			return scanned(err)
		}
	}
	return nil
}

func scanned(err error) error {
	if err != nil {
		return fmt.Errorf("scan row: %w", err)
	}
	return nil
}

func assignField(v reflect.Value, f plannedField, row Row) error {
	path, value := row.columns.list[f.column].Name, row.values[f.column]
	if f.milli && value != nil {
		n, ok := value.(int64)
		if !ok {
			return fmt.Errorf("%w: column %s: unixmilli needs a BIGINT", ErrScan, path)
		}
		value = time.UnixMilli(n).UTC()
	}
	return assign(v.FieldByIndex(f.index), value, path)
}

// isValueStruct reports whether values of the struct type stand for one column.
func isValueStruct(t reflect.Type) bool {
	return t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[Decimal]() || t == reflect.TypeFor[Date]() ||
		reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// structTag is a parsed ksql tag.
type structTag struct {
	name            string
	optional, milli bool
}

func parseTag(f reflect.StructField) (structTag, bool, error) {
	tag, ok := f.Tag.Lookup("ksql")
	if !ok || tag == "-" {
		return structTag{}, false, nil
	}
	if !f.IsExported() {
		return structTag{}, false, fmt.Errorf("%w: field %s has a tag but is not exported", ErrScan, f.Name)
	}
	name, rest, _ := strings.Cut(tag, ",")
	t := structTag{name: strings.ToLower(name)}
	for rest != "" {
		var option string
		option, rest, _ = strings.Cut(rest, ",")
		switch option {
		case "optional":
			t.optional = true
		case "unixmilli":
			t.milli = true
		default:
			return structTag{}, false, fmt.Errorf("%w: field %s has the unknown option %q", ErrScan, f.Name, option)
		}
	}
	return t, true, nil
}

func planFields(t reflect.Type, cols *columns) ([]plannedField, error) {
	var fields []plannedField
	taken := map[int]string{}
	for _, f := range reflect.VisibleFields(t) {
		tag, ok, err := parseTag(f)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if len(f.Index) > 1 && throughPointer(t, f.Index) {
			return nil, fmt.Errorf("%w: field %s is embedded by pointer", ErrScan, f.Name)
		}
		i, ok := cols.index[tag.name]
		if !ok {
			if tag.optional {
				continue
			}
			return nil, fmt.Errorf("%w: the result has no column %q for field %s", ErrScan, tag.name, f.Name)
		}
		if other, ok := taken[i]; ok {
			return nil, fmt.Errorf("%w: fields %s and %s take the same column", ErrScan, other, f.Name)
		}
		taken[i] = f.Name
		fields = append(fields, plannedField{column: i, index: f.Index, milli: tag.milli})
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("%w: no field of %s takes a column", ErrScan, t)
	}
	return fields, nil
}

func throughPointer(t reflect.Type, index []int) bool {
	for _, i := range index[:len(index)-1] {
		t = t.Field(i).Type
		if t.Kind() == reflect.Pointer {
			return true
		}
	}
	return false
}
