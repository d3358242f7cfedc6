package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/book"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
	"github.com/bugle-push/bugle/sandbox/racing"
)

// byProvider counts by provider of pushes.
type byProvider struct {
	FCM  int `json:"fcm"`
	Ably int `json:"ably"`
}

// quantiles are of the time from settled or due to accepted, in milliseconds.
type quantiles struct {
	P50 int64 `json:"p50"`
	P95 int64 `json:"p95"`
	P99 int64 `json:"p99"`
}

// report is what -report writes. Notifications and Deliveries come from the
// service's tables, everything else from the stand-ins, the world and the oracle.
type report struct {
	DurationSeconds     float64        `json:"duration_s"`
	Users               int            `json:"users"`
	Devices             byProvider     `json:"devices"`
	Races               int            `json:"races"`
	Bets                int            `json:"bets"`
	Notifications       map[string]int `json:"notifications"`
	Corrections         int            `json:"corrections"`
	Deliveries          map[string]int `json:"deliveries"`
	Received            byProvider     `json:"received"`
	Duplicates          int            `json:"duplicates"`
	RepeatsAfterUnknown int            `json:"repeats_after_unknown"`
	Lost                int            `json:"lost"`
	Late                int            `json:"late"`
	Unexpected          int            `json:"unexpected"`
	Expired             int            `json:"expired"`
	// AblyDead are the targets that died at Ably; AblyRetired those of them that
	// the service's API calls retired, AblyMissed those that it does not although
	// Ably has reported them. A target to which nothing was sent since is neither.
	AblyDead    int `json:"ably_targets_dead"`
	AblyRetired int `json:"ably_targets_retired"`
	AblyMissed  int `json:"ably_targets_missed"`
	// AcceptedForDead counts pushes that Ably accepted for a dead target. They
	// are not among Received: nobody saw them.
	AcceptedForDead int       `json:"accepted_for_dead_targets"`
	Latency         quantiles `json:"latency_ms"`

	// Expected = Accepted + the sum of Excluded + Lost.
	Expected int            `json:"expected"`
	Accepted int            `json:"accepted"`
	Excluded map[string]int `json:"excluded"`
	// Announced counts accepted announcements by rule and variant.
	Announced map[string]int `json:"announced"`
	// Problems counts what went wrong by kind and name.
	Problems map[string]int `json:"problems"`
	LateRows int            `json:"late_rows"`
	Faults   faultCounts    `json:"faults"`
	Level    string         `json:"fault_level"`
	Seed     uint64         `json:"seed"`
	// Odds and BetsIn are counted at the Ably stand-in and in Kafka.
	Odds   betting.OddsTally `json:"odds"`
	BetsIn betting.BetsTally `json:"bets_in"`
	// BetForms counts the bets that Ably answered by how they were written.
	BetForms map[betting.Form]int `json:"bet_forms"`
	// BetsUnplaced counts those that users could not place.
	BetsUnplaced int `json:"bets_unplaced"`
	// Book is what the order book decided.
	Book bookCounts `json:"book"`
	// Round is the time from a bet's acceptance at Ably until the odds that it
	// made were accepted there.
	Round quantiles `json:"round_ms"`
	// DrainedSeconds is how long the end took, of at most 60.
	DrainedSeconds float64 `json:"drained_s"`
}

// bookCounts are the decisions of the order book.
type bookCounts struct {
	Accepted int                 `json:"accepted"`
	Rejected map[book.Reason]int `json:"rejected"`
}

// faultCounts are the faults that the stand-ins injected.
type faultCounts struct {
	FCM    map[string]uint64 `json:"fcm"`
	Ably   map[string]uint64 `json:"ably"`
	KSQLDB map[string]uint64 `json:"ksqldb"`
	Kafka  map[string]uint64 `json:"kafka"`
}

func newReport(o options, tally *racing.Tally, w racing.Stats, died racing.Deaths, f fcm.Stats, a ably.Stats, k ksqldb.Stats) *report {
	r := &report{
		Users: w.Users, Races: w.Races, Bets: w.Bets, LateRows: w.LateRows,
		Devices:     byProvider{FCM: w.Devices - w.AblyDevices, Ably: w.AblyDevices},
		Corrections: tally.CorrectionPushes,
		Received:    byProvider{FCM: tally.Received[fcmProvider], Ably: tally.Received[ablyProvider]},
		Duplicates:  tally.Duplicates, RepeatsAfterUnknown: tally.RepeatsAfterUnknown,
		Lost: tally.Lost, Late: tally.Late, Unexpected: tally.Unexpected, Expired: tally.Expired,
		AblyDead: died.Dead, AblyRetired: died.Retired, AblyMissed: len(died.Missed), AcceptedForDead: tally.AcceptedForDead,
		Expected: tally.Expected, Accepted: tally.Accepted,
		Excluded: tally.Excluded, Announced: tally.Announced, Problems: tally.Reasons,
		Latency: quantiles{tally.P50.Milliseconds(), tally.P95.Milliseconds(), tally.P99.Milliseconds()},
		Seed:    o.seed, Level: o.faults,
		Faults: faultCounts{FCM: map[string]uint64{}, Ably: map[string]uint64{}, KSQLDB: map[string]uint64{}},
	}
	for kind, n := range f.Faults {
		r.Faults.FCM[string(kind)] = n
	}
	for kind, n := range a.Faults {
		r.Faults.Ably[string(kind)] = n
	}
	for kind, n := range map[string]uint64{
		"forbidden": k.Forbidden, "initialising": k.Initialising, "rate_limited": k.RateLimited, "hung": k.Hung,
		"not_available": k.NotAvailable, "internal": k.Internal, "in_stream": k.InStream, "cut": k.Cut,
		"partial": k.Partial, "duplicated": k.Duplicated,
	} {
		if n > 0 {
			r.Faults.KSQLDB[kind] = n
		}
	}
	return r
}

// addLoop adds what became of bets and odds.
func (r *report) addLoop(v *verdict, g betting.Going, faults map[string]uint64) {
	r.Odds, r.BetsIn = v.odds, v.bets
	r.BetForms, r.BetsUnplaced = g.Forms, g.Unable
	r.Book = bookCounts{g.Accepted, g.Rejected}
	r.Faults.Kafka = faults
	for _, reasons := range []map[string]int{v.odds.Reasons, v.bets.Reasons} {
		maps.Copy(r.Problems, reasons)
	}
	at := func(p int) int64 {
		if len(g.Rounds) == 0 {
			return 0
		}
		return g.Rounds[max(0, (len(g.Rounds)*p+99)/100-1)].Milliseconds()
	}
	r.Round = quantiles{at(50), at(95), at(99)}
}

// tables are counts of what the service itself wrote down.
type tables struct {
	notifications map[string]int // by "rule/variant", released ones
	deliveries    map[string]int // by state
}

func readTables(ctx context.Context, databaseURL string) (t tables, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	db, err := sqldb.Open(ctx, databaseURL, sqldb.Options{})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	t.deliveries, err = counts(ctx, db, `SELECT state, COUNT(*) FROM deliveries GROUP BY state`)
	if err != nil {
		return t, err
	}
	t.notifications, err = counts(ctx, db, `SELECT rule_id || '/' || CASE WHEN variant = '' THEN 'default' ELSE variant END, COUNT(*)
		FROM notifications WHERE state = 'released' GROUP BY 1`)
	return t, err
}

func counts(ctx context.Context, db *sqldb.DB, query string) (_ map[string]int, err error) {
	rows, err := db.SQL().QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("count: %w", err)
	}
	defer func() {
		if closeErr := rows.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close rows: %w", closeErr)
		}
	}()
	out := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return nil, fmt.Errorf("scan count: %w", err)
		}
		out[name] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read counts: %w", err)
	}
	return out, nil
}

// write writes the report to a file, or to stdout for "-".
func (r *report) write(name string, stdout io.Writer) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("marshal report: %w", err)
	}
	text = append(text, '\n')
	if name == "-" {
		_, err = stdout.Write(text)
	} else {
		err = os.WriteFile(name, text, 0o644) //nolint:gosec // a report is for everybody
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
