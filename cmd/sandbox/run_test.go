package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
)

// The whole world over real sockets, with the faults that lose answers, until it
// has shown everything: half a minute, or more where the machine is slow.
func TestSandboxEndToEnd(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 40 seconds of real time")
	}
	var stdout bytes.Buffer
	stderr := &output{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"-for", "10m", "-faults", "harsh", "-ports", "auto", "-report", "-", "-seed", "5", "-users", "24"}, &stdout, stderr)
	}()
	code := sync.OnceValue(func() int { cancel(); return <-ended })
	t.Cleanup(func() {
		code()
		if t.Failed() {
			t.Logf("report: %s\nstory: %s", stdout.String(), stderr.String())
		}
	})
	began := time.Now()
	awaitEverything(t, stderr)
	lived := time.Since(began)
	require.Zero(t, code())

	var r struct {
		DurationS     float64 `json:"duration_s"`
		Users         int
		Devices       map[string]int
		Races, Bets   int
		Notifications map[string]int
		Corrections   *int
		Excluded      map[string]int
		Deliveries    map[string]int
		Received      map[string]int
		AblyDead      int  `json:"ably_targets_dead"`
		AblyRetired   int  `json:"ably_targets_retired"`
		AblyMissed    *int `json:"ably_targets_missed"`
		ForDead       int  `json:"accepted_for_dead_targets"`
		Duplicates    *int
		Repeats       *int `json:"repeats_after_unknown"`
		Lost, Late    *int
		Expired       *int
		LatencyMS     map[string]int `json:"latency_ms"`
		Odds          map[string]int
		BetsIn        map[string]int `json:"bets_in"`
		BetForms      map[string]int `json:"bet_forms"`
		BetsUnplaced  *int           `json:"bets_unplaced"`
		Book          struct {
			Accepted int
			Rejected map[string]int
		}
		RoundMS map[string]int `json:"round_ms"`
	}
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &r), stdout.String())
	require.Greater(t, r.DurationS, 10.0)
	require.Less(t, r.DurationS, lived.Seconds()+60, "it ends when it is told to")
	require.Positive(t, r.Users)
	require.Positive(t, r.Devices["fcm"])
	require.InDelta(t, r.Devices["fcm"], r.Devices["ably"], float64(r.Devices["fcm"])/2)
	require.Positive(t, r.Races)
	require.Positive(t, r.Bets)
	for _, name := range []string{"bet-settled/LOST", "race-soon/default"} {
		require.Positive(t, r.Notifications[name], name)
	}
	// With such faults the result may not be read before the stewards have made a
	// dead heat of it, and then nobody is told the first version.
	require.Positive(t, r.Notifications["bet-settled/WON"]+r.Notifications["bet-settled/DEAD_HEAT"])
	require.Positive(t, r.Notifications["race-changed/POSTPONED"]+r.Notifications["race-changed/ABANDONED"])
	// Nor is it a correction to them, but the first that they hear.
	require.NotNil(t, r.Corrections)
	require.Positive(t, *r.Corrections+r.Excluded["superseded"])
	require.Positive(t, r.Deliveries["sent"])
	require.Positive(t, r.Received["fcm"])
	require.Positive(t, r.Received["ably"])
	require.Positive(t, r.AblyRetired)
	require.GreaterOrEqual(t, r.AblyDead, r.AblyRetired)
	require.GreaterOrEqual(t, r.ForDead, r.AblyRetired)
	for _, n := range []*int{r.Duplicates, r.Lost, r.Late, r.AblyMissed} {
		require.NotNil(t, n)
		require.Zero(t, *n)
	}
	require.NotNil(t, r.Repeats)
	require.NotNil(t, r.Expired)
	require.Positive(t, r.LatencyMS["p50"])

	// Bets went in by Ably and Kafka, moved the odds, and those came back.
	for _, name := range []string{"out_of_order", "duplicates", "stale", "missing", "unexpected"} {
		require.Contains(t, r.Odds, name)
		require.Zero(t, r.Odds[name], name)
	}
	require.Positive(t, r.Odds["moved"])
	require.Greater(t, r.Odds["published"], 20)
	require.Equal(t, r.Odds["updates"], r.Odds["published"]+r.Odds["conflated"])
	for _, name := range []string{"lost", "duplicates", "unexpected", "repeats"} {
		require.Contains(t, r.BetsIn, name)
		require.Zero(t, r.BetsIn[name], name)
	}
	for _, form := range []string{"full", "tile", "drifted", "malformed", "foreign_client", "foreign_channel"} {
		require.Positive(t, r.BetForms[form], form)
	}
	refused := r.BetForms["foreign_client"] + r.BetForms["foreign_channel"]
	require.Equal(t, r.BetForms["malformed"]+refused, r.BetsIn["rejected"])
	require.Equal(t, r.BetsIn["placed"]-r.BetForms["malformed"], r.BetsIn["in_kafka"])
	require.NotNil(t, r.BetsUnplaced)
	require.Positive(t, r.Book.Rejected["ODDS_MOVED"])
	require.Greater(t, r.Book.Accepted, 20)
	require.Positive(t, r.RoundMS["p50"])
	require.Positive(t, r.Notifications["bet-rejected/ODDS_MOVED"])

	require.Regexp(t, `(?m)^lost 0 · duplicates 0 · late 0\n$`, stderr.String())
	require.Contains(t, stderr.String(), "curl -X POST http://127.0.0.1:")
	require.Contains(t, stderr.String(), "rules_file:")
	require.Regexp(t, `(?m)^    TOKEN=\S+\n    TARGET=\S+$`, stderr.String())
	for _, user := range []string{muted, asleep} { // the others' turn may come later, with such faults
		require.Regexp(t, `(?m)^\d\d:\d\d  `+user+` has .*\. Why\? go run \./cmd/bugle explain .* --user `+user+` \d+$`, stderr.String())
	}
	require.Regexp(t, `(?m)^    ADMIN_TOKEN=bga_\S+$`, stderr.String())
	require.Contains(t, stderr.String(), "its target is retired")
	require.Regexp(t, `(?m)^    kcat -b 127\.0\.0\.1:\d+ -L$`, stderr.String())
	require.Regexp(t, `bets on .* moved its odds, Car \d from \S+ to \S+: \d+ updates in Kafka`, stderr.String())
}

// awaitEverything waits until the sandbox has shown what it has to: what the story
// tells, what the service has written into its tables, and what it counts.
func awaitEverything(t *testing.T, told *output) {
	t.Helper()
	const patience = 6 * time.Minute
	admin := "http://" + told.await(t, 0, `Metrics: http://(\S+)/metrics`, time.Minute)[1]
	for _, line := range []string{
		`its target is retired`,
		`bets on .* moved its odds, Car \d from \S+ to \S+: \d+ updates in Kafka`,
		// The others' turn may come later, with such faults.
		`(?m)^\d\d:\d\d  ` + muted + ` has .*\. Why\? `, `(?m)^\d\d:\d\d  ` + asleep + ` has .*\. Why\? `,
	} {
		told.await(t, 0, line, patience)
	}
	db := told.database(t)
	var have map[string]int
	missing := func() (names []string) {
		var err error
		have, err = counts(t.Context(), db, `SELECT rule_id || '/' || CASE WHEN variant = '' THEN 'default' ELSE variant END, COUNT(*)
			FROM notifications WHERE state = 'released' GROUP BY 1 UNION ALL
			SELECT 'corrected results', COUNT(*) FROM deliveries WHERE follow_up AND rule_id = 'bet-settled' AND state = 'sent' AND user_id <> '`+corrected+`'`)
		if err != nil {
			return []string{err.Error()}
		}
		maps.Copy(have, map[string]int{
			"results":           have["bet-settled/WON"] + have["bet-settled/DEAD_HEAT"],
			"changes":           have["race-changed/POSTPONED"] + have["race-changed/ABANDONED"],
			"odds published":    metric(t, admin, `bugle_relay_records_total{fate="published",topic="odds"}`),
			"odds in all fates": metric(t, admin, `bugle_relay_records_total{`),
		})
		for name, n := range map[string]int{
			"bet-settled/LOST": 1, "race-soon/default": 1, "results": 1, "changes": 1, "bet-rejected/ODDS_MOVED": 1,
			"corrected results": 1, "odds published": 21, "odds in all fates": 45,
		} {
			if have[name] < n {
				names = append(names, name)
			}
		}
		return names
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(250 * time.Millisecond) {
		names := missing()
		if len(names) == 0 {
			return
		}
		require.True(t, time.Now().Before(deadline), "never enough of %v: %v", slices.Sorted(slices.Values(names)), have)
	}
}

// database opens the service's database, which the sandbox tells of.
func (o *output) database(t *testing.T) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), o.await(t, 0, `(?m)^        url: (sqlite:\S+)$`, time.Minute)[1], sqldb.Options{MaxConnections: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// metric sums the series of a metric that begin so.
func metric(t *testing.T, admin, series string) (sum int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, admin+"/metrics", http.NoBody)
	require.NoError(t, err)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, series) {
			n, err := strconv.Atoi(strings.TrimSpace(line[strings.LastIndexByte(strings.TrimSpace(line), ' '):]))
			require.NoError(t, err, line)
			sum += n
		}
	}
	return sum
}

// A world that is given a time lives that long from its beginning, and everything
// ends then.
func TestTheWorldLivesAsLongAsItIsTold(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some seconds of real time")
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-for", "4s", "-faults", "none", "-ports", "auto", "-report", "-", "-seed", "5", "-users", aFew}, &stdout, &stderr)
	require.Zero(t, code, stderr.String())
	var r struct {
		DurationS float64 `json:"duration_s"`
	}
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &r), stdout.String())
	require.GreaterOrEqual(t, r.DurationS, 4.0)
}
