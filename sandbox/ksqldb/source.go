package ksqldb

import (
	"fmt"
	"strings"
)

// Names of the pseudo columns.
const (
	rowtimeName     = "ROWTIME"
	windowStartName = "WINDOWSTART"
	windowEndName   = "WINDOWEND"
)

// source is a View that was checked when the server started.
type source struct {
	view     View
	name     string
	kind     Kind
	columns  []sourceColumn
	windowed bool

	// What a statement said of it; zero for a view.
	created                bool
	readOnly               bool // CREATE SOURCE
	topic                  string
	keyFormat, valueFormat string
	partitions             int      // 0 when not known
	reads                  []string // the sources that its query reads
	log                    *changelog
}

// isTable reports whether rows are the latest of their key.
func (s *source) isTable() bool { return s.kind != KindStream }

// values returns the names of the columns that are not part of the key.
func (s *source) values() []string {
	var names []string
	for _, c := range s.columns {
		if !c.key {
			names = append(names, c.name)
		}
	}
	return names
}

type sourceColumn struct {
	name string
	typ  sqlType
	key  bool
}

func buildSources(views []View) (map[string]*source, error) {
	sources := make(map[string]*source, len(views))
	for _, v := range views {
		src, err := buildSource(v)
		if err != nil {
			return nil, err
		}
		if sources[src.name] != nil {
			return nil, fmt.Errorf("register view %s: there are two of this name", src.name)
		}
		sources[src.name] = src
	}
	return sources, nil
}

func buildSource(v View) (*source, error) {
	src := &source{view: v, name: v.Name(), topic: v.Name(), keyFormat: "KAFKA", valueFormat: "JSON"}
	if src.name == "" || strings.Trim(src.name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return nil, fmt.Errorf("register view %q: not a legal source name", src.name)
	}
	if k, ok := v.(Kinded); ok {
		src.kind = k.Kind()
	}
	seen := make(map[string]bool)
	windows := 0
	for _, c := range v.Columns() {
		t, err := parseType(c.Type)
		if err != nil {
			return nil, fmt.Errorf("register view %s: parse type of column %s: %w", src.name, c.Name, err)
		}
		switch c.Name {
		case "", rowtimeName, "ROWPARTITION", "ROWOFFSET":
			return nil, fmt.Errorf("register view %s: %q cannot be the name of a column", src.name, c.Name)
		case windowStartName, windowEndName:
			if !c.Key || t.base != typeBigint {
				return nil, fmt.Errorf("register view %s: %s must be a BIGINT and part of the key", src.name, c.Name)
			}
			windows++
		}
		if seen[c.Name] {
			return nil, fmt.Errorf("register view %s: there are two columns %s", src.name, c.Name)
		}
		seen[c.Name] = true
		src.columns = append(src.columns, sourceColumn{c.Name, t, c.Key})
	}
	if len(src.columns) == 0 {
		return nil, fmt.Errorf("register view %s: no columns", src.name)
	}
	if windows == 1 {
		return nil, fmt.Errorf("register view %s: WINDOWSTART and WINDOWEND come together", src.name)
	}
	src.windowed = windows == 2
	return src, nil
}

// column returns the index of a column, or -1.
func (s *source) column(name string) int {
	for i, c := range s.columns {
		if c.name == name {
			return i
		}
	}
	return -1
}

// keys returns the names of the key columns without the window bounds.
func (s *source) keys() []string {
	var names []string
	for _, c := range s.columns {
		if c.key && c.name != windowStartName && c.name != windowEndName {
			names = append(names, c.name)
		}
	}
	return names
}

// isPseudoTime reports whether a column holds epoch milliseconds that may be
// compared with a datetime string.
func isPseudoTime(name string) bool {
	return name == rowtimeName || name == windowStartName || name == windowEndName
}
