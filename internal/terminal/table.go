package terminal

import (
	"io"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// gap is between two columns.
const gap = "  "

// Table is a table with aligned columns. text/tabwriter counts the letters of a colour as width
// and every character as one; this one measures what is seen.
type Table struct {
	screen *Screen
	head   []string
	rows   [][]cell
}

type cell struct {
	text  string
	style Style
}

// NewTable makes a table with the heads of its columns. Rows may be added from one goroutine.
func NewTable(s *Screen, head ...string) *Table {
	return &Table{screen: s, head: head}
}

// Row adds a row. Cells beyond the columns are left out; an empty one is shown as "-", so that
// what splits lines at spaces finds each column.
func (t *Table) Row(cells ...string) {
	row := make([]cell, len(t.head))
	for i := range row {
		row[i] = cell{text: "-"}
		if i < len(cells) && cells[i] != "" {
			row[i].text = oneLine(cells[i])
		}
	}
	t.rows = append(t.rows, row)
}

// Style gives a column of the last row a style.
func (t *Table) Style(column int, style Style) { t.rows[len(t.rows)-1][column].style = style }

// Write writes head and rows.
func (t *Table) Write() error {
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		head[i] = cell{text: h, style: Bold}
	}
	all := append([][]cell{head}, t.rows...)
	widths := make([]int, len(t.head))
	for _, row := range all {
		for i, c := range row {
			widths[i] = max(widths[i], uniseg.StringWidth(c.text))
		}
	}
	var b strings.Builder
	for _, row := range all {
		for i, c := range row {
			if i > 0 {
				b.WriteString(gap)
			}
			b.WriteString(t.screen.Paint(c.style, c.text))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-uniseg.StringWidth(c.text)))
			}
		}
		b.WriteByte('\n')
	}
	_, err := t.screen.Write([]byte(b.String()))
	return err
}

// Harmless returns a writer for texts from outside, which may hold commands for the terminal: it
// writes a space for each control character but line breaks and tabs. Styles do not pass it either.
func Harmless(w io.Writer) io.Writer { return harmless{w} }

type harmless struct{ w io.Writer }

// Write writes what is left of a text.
func (h harmless) Write(b []byte) (int, error) {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, string(b))
	if _, err := io.WriteString(h.w, text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// oneLine makes a text harmless in a table: what comes from outside may break lines, or hold
// commands for the terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
