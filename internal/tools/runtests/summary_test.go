package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSummarizeCountsAndNamesWhatWasSkipped(t *testing.T) {
	t.Parallel()
	const events = `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: no PostgreSQL: initdb not found\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
{"Action":"output","Package":"q","Test":"TestC","Output":"    c_test.go:9: want 1\n"}
{"Action":"fail","Package":"q","Test":"TestC"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.2s\n"}
{"Action":"fail","Package":"q"}
`
	var out bytes.Buffer
	r, err := summarize(strings.NewReader(strings.TrimSpace(events)), &out)
	require.NoError(t, err)
	require.Equal(t, 1, r.passed)
	require.Equal(t, 1, r.failed)
	require.True(t, r.broken)
	require.Equal(t, []skip{{"p", "TestB", "no PostgreSQL: initdb not found"}}, r.skipped)
	require.Equal(t, "ok  \tp\t0.1s\n    c_test.go:9: want 1\nFAIL\tq\t0.2s\n", out.String())
}

// The report of a race lands with whatever test the package was just in.
func TestSummarizeShowsARaceOfATestThatPassed(t *testing.T) {
	t.Parallel()
	const events = `{"Action":"output","Package":"p","Test":"TestA","Output":"WARNING: DATA RACE\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"Write at 0x01 by goroutine 7\n"}
{"Action":"pass","Package":"p","Test":"TestA"}`
	var out bytes.Buffer
	_, err := summarize(strings.NewReader(events), &out)
	require.NoError(t, err)
	require.Equal(t, "WARNING: DATA RACE\nWrite at 0x01 by goroutine 7\n", out.String())
}

func TestSummarizeShowsABuildThatBroke(t *testing.T) {
	t.Parallel()
	const events = `{"ImportPath":"p","Action":"build-output","Output":"p/x.go:1: syntax error\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p"}`
	var out bytes.Buffer
	r, err := summarize(strings.NewReader(events), &out)
	require.NoError(t, err)
	require.True(t, r.broken)
	require.Equal(t, "p/x.go:1: syntax error\nFAIL\tp [build failed]\n", out.String())
}

func TestReportEndsInALineLikeGoTests(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	report(&out, result{passed: 3}, []string{"the race detector: no C compiler"}, false, 1500*time.Millisecond)
	require.Equal(t, "\nnot run:\n  - the race detector: no C compiler\n\nok  \tall packages\t1.5s\t3 passed, 0 failed, 1 not run\n", out.String())
}

// A panic outside of a test's own goroutine ends the process, and no test fails.
func TestSummarizeShowsWhatAProcessSaidThatDied(t *testing.T) {
	t.Parallel()
	const events = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: assignment to entry in nil map\n"}
{"Action":"output","Package":"pq","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.2s\n"}
{"Action":"fail","Package":"p"}`
	var out bytes.Buffer
	r, err := summarize(strings.NewReader(events), &out)
	require.NoError(t, err)
	require.True(t, r.broken)
	require.Equal(t, "=== RUN   TestA\npanic: assignment to entry in nil map\nFAIL\tp\t0.2s\n", out.String())
}
