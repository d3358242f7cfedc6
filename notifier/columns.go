package notifier

import (
	"cmp"
	"fmt"
	"slices"
	"text/template/parse"
)

// ColumnNeed is what a rule needs of a column.
type ColumnNeed uint8

// The needs, from the least to the most demanding.
const (
	// NeedAny takes whatever a row can hold.
	NeedAny ColumnNeed = iota
	// NeedScalar takes what has one plain text: text, a number, true or false.
	NeedScalar
	// NeedNumber takes numbers, and texts that are one.
	NeedNumber
	// NeedOrder takes whole numbers of 64 bits and times.
	NeedOrder
	// NeedTime takes times and epoch milliseconds.
	NeedTime
)

// ColumnUse is one use of a column of the query's result.
type ColumnUse struct {
	// Column is the name in lower case.
	Column string
	// Path is where the rule names it: "order", "key[0]", "variants.WON.title".
	Path string
	// Need is what must be in the column.
	Need ColumnNeed
}

// Columns returns every column that the rule reads, in the order of its parts.
// A text that reads a column in one branch of an if only needs it all the same.
func (r *Rule) Columns() []ColumnUse {
	var uses []ColumnUse
	add := func(path, column string, need ColumnNeed) {
		if column != "" {
			uses = append(uses, ColumnUse{Column: column, Path: path, Need: need})
		}
	}
	if r.Watermark != nil {
		add("watermark.column", r.Watermark.Column, NeedTime)
	}
	for i, c := range r.key {
		add(fmt.Sprintf("key[%d]", i), c, NeedAny)
	}
	for i, c := range r.version {
		add(fmt.Sprintf("version[%d]", i), c, NeedAny)
	}
	add("order", r.order, NeedOrder)
	if r.Audience.Kind == AudienceUser {
		add("audience.user", r.Audience.Column, NeedScalar)
	}
	add("variant", r.variantColumn, NeedScalar)
	if r.Provisional != nil {
		add("provisional.column", r.Provisional.Column, NeedScalar)
	}
	add("expires", r.expires, NeedTime)
	add("ttl.from", r.ttlFrom, NeedTime)
	return append(uses, r.texts.columns()...)
}

// columns lists what the texts read.
func (s *textSet) columns() []ColumnUse {
	var uses []ColumnUse
	for _, name := range s.names {
		t := s.root.Lookup(name)
		if t == nil || t.Tree == nil {
			continue
		}
		w := columnWalker{path: name}
		w.node(t.Root, true)
		uses = append(uses, w.uses...)
	}
	slices.SortStableFunc(uses, func(a, b ColumnUse) int { return cmp.Compare(a.Path, b.Path) })
	return uses
}

// columnWalker collects the columns of one text.
type columnWalker struct {
	path string
	uses []ColumnUse
}

func (w *columnWalker) add(column string, need ColumnNeed) {
	i := slices.IndexFunc(w.uses, func(u ColumnUse) bool { return u.Column == column })
	if i < 0 {
		w.uses = append(w.uses, ColumnUse{Column: column, Path: w.path, Need: need})
		return
	}
	w.uses[i].Need = max(w.uses[i].Need, need)
}

// node walks; row says that the dot is the row, which it is not inside of with.
func (w *columnWalker) node(n parse.Node, row bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, inner := range n.Nodes {
				w.node(inner, row)
			}
		}
	case *parse.ActionNode:
		w.node(n.Pipe, row)
	case *parse.IfNode:
		w.node(n.Pipe, row)
		w.node(n.List, row)
		w.node(n.ElseList, row)
	case *parse.WithNode:
		w.node(n.Pipe, row)
		w.node(n.List, false)
		w.node(n.ElseList, row)
	case *parse.PipeNode:
		if n != nil {
			for _, c := range n.Cmds {
				w.command(c, row)
			}
		}
	case *parse.ChainNode:
		w.node(n.Node, row)
	case *parse.FieldNode:
		if row {
			w.add(n.Ident[0], NeedAny)
		}
	case *parse.VariableNode:
		// $ is the row wherever the dot is.
		if n.Ident[0] == "$" && len(n.Ident) > 1 {
			w.add(n.Ident[1], NeedAny)
		}
	}
}

// command walks over a function and its arguments, of which some must be times
// or numbers.
func (w *columnWalker) command(c *parse.CommandNode, row bool) {
	for i, arg := range c.Args {
		if f, ok := arg.(*parse.FieldNode); ok && row && len(f.Ident) == 1 {
			w.add(f.Ident[0], argumentNeed(c.Args[0], i))
			continue
		}
		w.node(arg, row)
	}
}

// argumentNeed is what a function needs as its i-th argument.
func argumentNeed(function parse.Node, i int) ColumnNeed {
	f, ok := function.(*parse.IdentifierNode)
	switch {
	case !ok:
		return NeedAny
	case f.Ident == "localtime", f.Ident == "minutes":
		return NeedTime
	case i == 1 && (f.Ident == "money" || f.Ident == "odds"):
		return NeedNumber
	case f.Ident == "money", f.Ident == "lower", f.Ident == "upper":
		return NeedScalar
	}
	return NeedAny
}
