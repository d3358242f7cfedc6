package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

type skip struct{ pkg, test, reason string }

func (s skip) String() string { return s.pkg + " " + s.test + ": " + s.reason }

type result struct {
	passed, failed int
	skipped        []skip
	broken         bool
}

// summarize reads the events of a run, prints the line of each package and all
// output of what failed, and counts the tests. Only leaves of the tree of
// subtests that were told apart by name count; a parent counts as one more.
func summarize(events io.Reader, out io.Writer) (result, error) {
	var (
		r      result
		output = map[string][]string{} // by package and test
	)
	key := func(e event) string { return e.Package + "\x00" + e.Test }
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprint(out, string(line)) // not an event: the go command itself speaks
				continue
			}
			switch e.Action {
			case "output", "build-output":
				if e.Action == "build-output" {
					fmt.Fprint(out, e.Output)
					break
				}
				output[key(e)] = append(output[key(e)], e.Output)
			case "pass", "fail", "skip":
				if e.Action == "fail" && e.Test == "" {
					// A process that dies ends no test: what it last said is with those that it was in.
					for _, k := range slices.Sorted(maps.Keys(output)) {
						if k != key(e) && strings.HasPrefix(k, key(e)) {
							fmt.Fprint(out, strings.Join(output[k], ""))
							delete(output, k)
						}
					}
				}
				r.end(e, output[key(e)], out)
				delete(output, key(e))
			}
		}
		if err == io.EOF {
			return r, nil
		}
		if err != nil {
			return r, fmt.Errorf("read events: %w", err)
		}
	}
}

// end books the end of a test, or of a package when the event names no test.
func (r *result) end(e event, output []string, out io.Writer) {
	if e.Test == "" {
		if e.Action == "fail" {
			r.broken = true
			fmt.Fprint(out, strings.Join(output, ""))
			return
		}
		for _, line := range output {
			if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "? ") {
				fmt.Fprint(out, line)
			}
		}
		return
	}
	switch e.Action {
	case "pass":
		r.passed++
		if slices.ContainsFunc(output, isRace) {
			fmt.Fprint(out, strings.Join(output, "")) // the test that runs just then gets the report, guilty or not
		}
	case "fail":
		r.failed++
		fmt.Fprint(out, strings.Join(output, ""))
	case "skip":
		r.skipped = append(r.skipped, skip{e.Package, e.Test, skipReason(output)})
	}
}

// isRace tells a line of a report of the race detector.
func isRace(line string) bool { return strings.Contains(line, "WARNING: DATA RACE") }

// skipReason finds what the test said: "    file_test.go:12: the reason".
func skipReason(output []string) string {
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if file, reason, ok := strings.Cut(line, ": "); ok && strings.Contains(file, ".go:") {
			return reason
		}
		return line
	}
	return "no reason given"
}
