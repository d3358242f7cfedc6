package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// The whole world for half a minute, over real sockets, with the faults that
// lose answers.
func TestSandboxEndToEnd(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 40 seconds of real time")
	}
	var stdout, stderr bytes.Buffer
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("report: %s\nstory: %s", stdout.String(), stderr.String())
		}
	})
	code := run(t.Context(), []string{"-for", "36s", "-faults", "harsh", "-ports", "auto", "-report", "-", "-seed", "5"}, &stdout, &stderr)
	require.Zero(t, code, stderr.String())

	var r struct {
		DurationS     float64 `json:"duration_s"`
		Users         int
		Devices       map[string]int
		Races, Bets   int
		Notifications map[string]int
		Corrections   int
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
	require.InDelta(t, 36, r.DurationS, 2)
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
	require.Positive(t, r.Corrections)
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
