package preflight

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteJSON writes the report for programs.
func (r Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// WriteText writes the report for people: one line for each check, and below it
// each finding with how to mend it.
func (r Report) WriteText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		state := "ok"
		switch {
		case !c.OK:
			state = "FAILED"
		case len(c.Findings) > 0:
			state = "warning"
		}
		fmt.Fprintf(table, "%s\t%s\t%d ms\n", c.Name, state, c.TookMS)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	var b strings.Builder
	for _, c := range r.Checks {
		for _, f := range c.Findings {
			fmt.Fprintf(&b, "\n%s: %s: %s\n", strings.ToUpper(string(f.Severity)), f.Path, f.What)
			if f.Mend != "" {
				fmt.Fprintf(&b, "  to mend: %s\n", f.Mend)
			}
		}
	}
	fmt.Fprintf(&b, "\n%s, %s\n", plural(r.Count(Error), "error"), plural(r.Count(Warning), "warning"))
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
