package ksqlclient

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// assign stores a decoded value in dst, which is settable. Its errors name the
// path and the types, never the value.
func assign(dst reflect.Value, value any, path string) error {
	if value == nil {
		switch dst.Kind() {
		case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
			dst.SetZero()
			return nil
		default:
			return fmt.Errorf("%w: column %s: NULL into %s, which is no pointer", ErrScan, path, dst.Type())
		}
	}
	v := reflect.ValueOf(value)
	if v.Type().AssignableTo(dst.Type()) {
		dst.Set(v)
		return nil
	}
	if dst.Kind() == reflect.Pointer {
		target := reflect.New(dst.Type().Elem())
		if err := assign(target.Elem(), value, path); err != nil {
			return err
		}
		dst.Set(target)
		return nil
	}
	if ok, err := assignScalar(dst, value); ok {
		if err != nil {
			return fmt.Errorf("%w: column %s: %w", ErrScan, path, err)
		}
		return nil
	}
	switch x := value.(type) {
	case []any:
		if dst.Kind() == reflect.Slice {
			return assignSlice(dst, x, path)
		}
	case map[string]any:
		if dst.Kind() == reflect.Map && dst.Type().Key().Kind() == reflect.String {
			return assignMap(dst, x, path)
		}
		if dst.Kind() == reflect.Struct {
			return assignStruct(dst, x, path)
		}
	}
	return fmt.Errorf("%w: column %s: %s into %s", ErrScan, path, describe(value), dst.Type())
}

// assignScalar reports whether it knew what to do, and the error if that failed.
func assignScalar(dst reflect.Value, value any) (bool, error) {
	switch x := value.(type) {
	case int64:
		return assignInteger(dst, x)
	case float64:
		if dst.CanFloat() {
			if dst.OverflowFloat(x) {
				return true, fmt.Errorf("the number overflows %s", dst.Type())
			}
			dst.SetFloat(x)
			return true, nil
		}
	case bool:
		if dst.Kind() == reflect.Bool {
			dst.SetBool(x)
			return true, nil
		}
	case string:
		if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](dst.Addr()); ok {
			if err := u.UnmarshalText([]byte(x)); err != nil {
				// The type's own error may quote the text, which is data.
				return true, fmt.Errorf("the text is not accepted by %s", dst.Type())
			}
			return true, nil
		}
		if dst.Kind() == reflect.String {
			dst.SetString(x)
			return true, nil
		}
	case []byte:
		if dst.Kind() == reflect.Slice && dst.Type().Elem().Kind() == reflect.Uint8 {
			dst.SetBytes(x)
			return true, nil
		}
	case Decimal:
		if dst.Kind() == reflect.String {
			dst.SetString(x.String())
			return true, nil
		}
	case Date:
		if dst.Type() == reflect.TypeFor[time.Time]() {
			dst.Set(reflect.ValueOf(x.In(time.UTC)))
			return true, nil
		}
	case TimeOfDay:
		if dst.Type() == reflect.TypeFor[time.Duration]() {
			dst.SetInt(int64(x))
			return true, nil
		}
	}
	return false, nil
}

func assignInteger(dst reflect.Value, x int64) (bool, error) {
	if t := dst.Type(); t == reflect.TypeFor[TimeOfDay]() || t == reflect.TypeFor[time.Duration]() {
		return false, nil // the unit would be a guess
	}
	switch {
	case dst.CanInt():
		if dst.OverflowInt(x) {
			return true, fmt.Errorf("the integer overflows %s", dst.Type())
		}
		dst.SetInt(x)
	case dst.CanUint():
		if x < 0 || dst.OverflowUint(uint64(x)) {
			return true, fmt.Errorf("the integer overflows %s", dst.Type())
		}
		dst.SetUint(uint64(x))
	default:
		return false, nil
	}
	return true, nil
}

func assignSlice(dst reflect.Value, items []any, path string) error {
	s := reflect.MakeSlice(dst.Type(), len(items), len(items))
	for i, item := range items {
		if err := assign(s.Index(i), item, path+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
	}
	dst.Set(s)
	return nil
}

func assignMap(dst reflect.Value, items map[string]any, path string) error {
	m := reflect.MakeMapWithSize(dst.Type(), len(items))
	for key, item := range items {
		elem := reflect.New(dst.Type().Elem()).Elem()
		if err := assign(elem, item, path+"[key]"); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(key).Convert(dst.Type().Key()), elem)
	}
	dst.Set(m)
	return nil
}

// assignStruct fills a struct from a STRUCT (or a MAP), by the same tags as a
// row.
func assignStruct(dst reflect.Value, items map[string]any, path string) error {
	cols := &columns{index: make(map[string]int, len(items))}
	values := make([]any, 0, len(items))
	for name, item := range items {
		cols.index[name] = len(values)
		cols.list = append(cols.list, Column{Name: path + "." + name})
		values = append(values, item)
	}
	fields, err := planFields(dst.Type(), cols)
	if err != nil {
		return fmt.Errorf("column %s: %w", path, err)
	}
	row := Row{columns: cols, values: values}
	for _, f := range fields {
		if err := assignField(dst, f, row); err != nil {
			return err
		}
	}
	return nil
}

// describe names the SQL type that a decoded value came from.
func describe(value any) string {
	switch value.(type) {
	case int64:
		return "an integer"
	case float64:
		return "a DOUBLE"
	case Decimal:
		return "a DECIMAL"
	case string:
		return "a STRING"
	case bool:
		return "a BOOLEAN"
	case []byte:
		return "BYTES"
	case time.Time:
		return "a TIMESTAMP"
	case Date:
		return "a DATE"
	case TimeOfDay:
		return "a TIME"
	case []any:
		return "an ARRAY"
	}
	return "a MAP or STRUCT"
}
