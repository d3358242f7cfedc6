package ksqldb

import (
	"fmt"
	"strings"
)

// writeExpr writes the expressions that can be grouped or partitioned by; the
// rest is told apart by its kind and its parts.
func writeExpr(b *strings.Builder, e expr) {
	switch e := e.(type) {
	case nil:
	case columnRef:
		b.WriteString("`" + e.name + "`")
	case literal:
		fmt.Fprintf(b, "%s:%v", e.typ, e.value)
	case arithmetic:
		b.WriteString("(")
		writeExpr(b, e.left)
		b.WriteString(e.op)
		writeExpr(b, e.right)
		b.WriteString(")")
	default:
		name := fmt.Sprintf("%T", e)
		switch e := e.(type) {
		case call:
			name = e.name
		case comparison:
			name = e.op
		case cast:
			name += e.typ.String()
		case dereference:
			name += e.field
		}
		b.WriteString(name + "(")
		for _, part := range parts(e) {
			writeExpr(b, part)
			b.WriteString(",")
		}
		b.WriteString(")")
	}
}
