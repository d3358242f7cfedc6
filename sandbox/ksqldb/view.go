package ksqldb

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// Column is one column of a View.
type Column struct {
	// Name is the column's name exactly as the server would print it: upper
	// case, unless the CREATE statement had it in back-quotes.
	Name string
	// Type is the SQL type as ksqlDB prints it: STRING, BIGINT, INTEGER, DOUBLE,
	// BOOLEAN, BYTES, DECIMAL(18, 2), TIMESTAMP, DATE, TIME, ARRAY<T>,
	// MAP<STRING, T> or STRUCT<`A` T, ...>. VARCHAR and INT are understood and
	// printed as STRING and INTEGER, as the server does.
	Type string
	// Key marks a column of the primary key. WINDOWSTART and WINDOWEND of a
	// windowed table are key columns of type BIGINT.
	Key bool
}

// Row is one row of a View at the moment of a pull query.
type Row struct {
	// Time is the row's ROWTIME, the timestamp of the Kafka record that last
	// changed it. The zero time makes ROWTIME null.
	Time time.Time
	// Values holds one value per column, in the order of View.Columns:
	//
	//	BOOLEAN              bool
	//	INTEGER, BIGINT      int, int32 or int64
	//	DOUBLE               float64
	//	DECIMAL              string ("12.50"), *big.Rat, int or int64; rounded half
	//	                     up to the scale of the column
	//	STRING               string
	//	BYTES                []byte
	//	TIMESTAMP, DATE      time.Time (any zone; the wire has UTC)
	//	TIME                 time.Duration since midnight
	//	ARRAY                []any
	//	MAP, STRUCT          map[string]any (a struct's keys are its field names)
	//
	// nil is NULL in every type. A value that does not fit its column ends the
	// answer with an in-stream error 50000, as a broken store would.
	Values []any
}

// View is one queryable source, usually a materialised table.
//
// All methods are called concurrently, one sequence of calls per query, so a
// View must be safe for concurrent use. Name and Columns must always return the
// same answer. Rows is a snapshot in any order; the values it yields must not
// be changed afterwards.
type View interface {
	Name() string
	Columns() []Column
	Rows() iter.Seq[Row]
}

// Kind says how a source answers pull queries.
type Kind int

const (
	// KindTable is a table made by CREATE TABLE AS SELECT or CREATE SOURCE TABLE.
	KindTable Kind = iota
	// KindStream is a stream. A pull query reads it from beginning to end and the
	// v1+json framing ends with a final message.
	KindStream
	// KindUnmaterialized is a plain CREATE TABLE. The server knows it, describes
	// it and refuses pull queries on it.
	KindUnmaterialized
)

// Kinded is implemented by a View that is not a KindTable.
type Kinded interface{ Kind() Kind }

// Func returns a View whose rows come from a function. The function has to be
// safe for concurrent use.
func Func(name string, columns []Column, rows func() iter.Seq[Row]) View {
	return funcView{name: name, columns: columns, rows: rows}
}

type funcView struct {
	name    string
	columns []Column
	rows    func() iter.Seq[Row]
}

func (v funcView) Name() string        { return v.name }
func (v funcView) Columns() []Column   { return v.columns }
func (v funcView) Rows() iter.Seq[Row] { return v.rows() }

// Table is a View held in memory. A row is known by its key columns: a second
// Put of the same key replaces the first, as a second record would.
//
// Table is safe for concurrent use.
type Table struct {
	name    string
	columns []Column

	mu    sync.RWMutex
	index map[string]int // key to its place in rows and keys
	keys  []string
	rows  []Row
}

// NewTable returns an empty table. It panics if no column is a key, because
// such a table cannot exist.
func NewTable(name string, columns ...Column) *Table {
	keyed := false
	for _, c := range columns {
		keyed = keyed || c.Key
	}
	if !keyed {
		panic("ksqldb: table " + name + " has no key column")
	}
	return &Table{name: name, columns: columns, index: make(map[string]int)}
}

// Name returns the table's name.
func (t *Table) Name() string { return t.name }

// Columns returns the table's columns.
func (t *Table) Columns() []Column { return t.columns }

// errArity says that a row or a key has the wrong number of values.
var errArity = errors.New("wrong number of values")

// Put writes one row with its ROWTIME. It returns an error if the number of
// values is not the number of columns or if a key value is nil (ksqlDB drops
// records whose key is null).
func (t *Table) Put(rowtime time.Time, values ...any) error {
	if len(values) != len(t.columns) {
		return fmt.Errorf("put row into %s: %w: %d for %d columns", t.name, errArity, len(values), len(t.columns))
	}
	var key strings.Builder
	for i, c := range t.columns {
		if !c.Key {
			continue
		}
		if values[i] == nil {
			return fmt.Errorf("put row into %s: key column %s is nil", t.name, c.Name)
		}
		writeKeyPart(&key, values[i])
	}
	row := Row{Time: rowtime, Values: append([]any(nil), values...)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := t.index[key.String()]; ok {
		t.rows[at] = row
		return nil
	}
	t.index[key.String()] = len(t.rows)
	t.keys = append(t.keys, key.String())
	t.rows = append(t.rows, row)
	return nil
}

// Delete removes the row with this key, as a tombstone would, and reports
// whether it was there. The values are those of the key columns in their order.
func (t *Table) Delete(key ...any) bool {
	var b strings.Builder
	for _, part := range key {
		writeKeyPart(&b, part)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.index[b.String()]
	if !ok {
		return false
	}
	last := len(t.rows) - 1
	t.rows[at], t.keys[at] = t.rows[last], t.keys[last]
	t.index[t.keys[at]] = at
	t.rows[last] = Row{}
	t.rows, t.keys = t.rows[:last], t.keys[:last]
	delete(t.index, b.String())
	return true
}

// Len returns the number of rows.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.rows)
}

// Rows returns a snapshot of the table.
func (t *Table) Rows() iter.Seq[Row] {
	t.mu.RLock()
	snapshot := slices.Clone(t.rows)
	t.mu.RUnlock()
	return slices.Values(snapshot)
}

// writeKeyPart appends one key value so that no two different keys look alike.
func writeKeyPart(b *strings.Builder, v any) {
	if at, ok := v.(time.Time); ok {
		v = at.UnixMilli()
	}
	s := fmt.Sprint(v)
	fmt.Fprintf(b, "%d:%s", len(s), s)
}
