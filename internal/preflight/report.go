package preflight

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// checkTimeout bounds one check, all its requests included.
const checkTimeout = 30 * time.Second

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	// Error keeps the service, or a part of it, from working.
	Error Severity = "error"
	// Warning does not, but somebody should know.
	Warning Severity = "warning"
)

// Finding is one thing that is wrong.
type Finding struct {
	Severity Severity `json:"severity"`
	// Path is the key of the configuration, or of the rules, that it is about.
	Path string `json:"path"`
	// What is wrong.
	What string `json:"what"`
	// Mend is how to put it right.
	Mend string `json:"mend"`
}

func errorf(path, mend, format string, args ...any) Finding {
	return Finding{Severity: Error, Path: path, What: fmt.Sprintf(format, args...), Mend: mend}
}

func warningf(path, mend, format string, args ...any) Finding {
	return Finding{Severity: Warning, Path: path, What: fmt.Sprintf(format, args...), Mend: mend}
}

// Check looks after one thing.
type Check struct {
	// Name of what is looked at: "ksqldb".
	Name string
	// Do returns what is wrong. It ends with ctx.
	Do func(ctx context.Context) []Finding
}

// Result is what one check has found.
type Result struct {
	Name     string    `json:"name"`
	OK       bool      `json:"ok"`
	TookMS   int64     `json:"took_ms"`
	Findings []Finding `json:"findings"`
}

// Report is what all checks have found, in the order in which they were given.
type Report struct {
	// OK is false when any finding is an error.
	OK     bool     `json:"ok"`
	Checks []Result `json:"checks"`
}

// Run makes all checks at once and returns when the last one has ended.
func Run(ctx context.Context, checks []Check) Report {
	r := Report{OK: true, Checks: make([]Result, len(checks))}
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, checkTimeout)
			defer cancel()
			began := time.Now()
			found := c.Do(ctx)
			if found == nil {
				found = []Finding{} // a list in JSON, not null
			}
			r.Checks[i] = Result{Name: c.Name, OK: count(found, Error) == 0, TookMS: time.Since(began).Milliseconds(), Findings: found}
		})
	}
	all.Wait()
	for _, c := range r.Checks {
		r.OK = r.OK && c.OK
	}
	return r
}

// Count returns how many findings are of a severity.
func (r Report) Count(s Severity) int {
	n := 0
	for _, c := range r.Checks {
		n += count(c.Findings, s)
	}
	return n
}

func count(found []Finding, s Severity) int {
	n := 0
	for _, f := range found {
		if f.Severity == s {
			n++
		}
	}
	return n
}
