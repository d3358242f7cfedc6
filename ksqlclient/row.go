package ksqlclient

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Column is a column of a result.
type Column struct {
	// Name is in lower case.
	Name string
	// Original is the name as the server spells it, upper case unless the
	// statement quoted it.
	Original string
	// Type of the values.
	Type Type
}

type columns struct {
	list  []Column
	index map[string]int
}

func newColumns(names, types []string) (*columns, error) {
	if len(names) == 0 || len(names) != len(types) {
		return nil, fmt.Errorf("header with %d names and %d types", len(names), len(types))
	}
	c := &columns{list: make([]Column, len(names)), index: make(map[string]int, len(names))}
	for i, name := range names {
		t, err := ParseType(types[i])
		if err != nil {
			return nil, fmt.Errorf("header column %d: %w", i, err)
		}
		lower := strings.ToLower(name)
		if _, ok := c.index[lower]; ok {
			return nil, fmt.Errorf("header column %d: %q appears twice when case is ignored; give one an alias", i, lower)
		}
		c.index[lower] = i
		c.list[i] = Column{Name: lower, Original: name, Type: t}
	}
	return c, nil
}

// Row is one row of a result. It stays valid after the iteration. The zero value
// has no columns.
type Row struct {
	columns *columns
	values  []any
}

// Columns returns the columns in order. All rows of a result share them: they
// must not be changed.
func (r Row) Columns() []Column {
	if r.columns == nil {
		return nil
	}
	return r.columns.list
}

// Len returns the number of columns.
func (r Row) Len() int { return len(r.values) }

// At returns the value of the column with index i, nil for NULL. Its Go type
// follows from the column's type, see the package comment. It panics if i is out
// of range.
func (r Row) At(i int) any { return r.values[i] }

// Get returns the value of the column with the lower-case name, and whether
// there is such a column.
func (r Row) Get(name string) (any, bool) {
	if r.columns == nil {
		return nil, false
	}
	i, ok := r.columns.index[name]
	if !ok {
		return nil, false
	}
	return r.values[i], true
}

// Map returns the values by lower-case column name in a new map.
func (r Row) Map() map[string]any {
	if r.columns == nil {
		return map[string]any{}
	}
	m := make(map[string]any, len(r.values))
	for name, i := range maps.All(r.columns.index) {
		m[name] = r.values[i]
	}
	return m
}

// Scan stores the row in dst, a pointer to what Collect documents. It returns an
// ErrScan error that names the column when a value does not fit.
func (r Row) Scan(dst any) error {
	if r.columns == nil {
		return fmt.Errorf("scan row: %w", errors.Join(ErrScan, errors.New("the row is empty")))
	}
	return scanRow(r, dst, nil)
}

// String tells the number of columns; the values are data and stay out of logs.
func (r Row) String() string { return fmt.Sprintf("ksqlclient.Row(%d columns)", r.Len()) }
