package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/bugle-push/bugle/sandbox/betting"
)

// report is the line that a run ends with.
type report struct {
	Rounds          int    `json:"rounds"`
	Replicas        int    `json:"replicas"`
	DB              string `json:"db"`
	Expected        int    `json:"expected"`
	Received        int    `json:"received"`
	Lost            int    `json:"lost"`
	SentTwice       int    `json:"sent_twice"`
	UnknownOutcomes int    `json:"unknown_outcomes"`
	InFlightAtKill  int    `json:"in_flight_at_kill"`
	Late            int    `json:"late"`
	Seed            uint64 `json:"seed"`

	// Superseded, Expired and AblyDropped are why the rest of Expected was not received.
	Superseded    int `json:"superseded"`
	Expired       int `json:"expired"`
	AblyDropped   int `json:"ably_dropped"`
	LateAfterStop int `json:"late_after_stop"`
	// Unexplained counts repeats without an excuse, or beyond what their excuse
	// bears; Wrong counts what nobody should have sent, or not with these ids or in
	// this order; Crashes ends of replicas that nobody had asked for; Unfinished
	// deliveries that were still queued or leased at the end.
	Unexplained int               `json:"unexplained"`
	Wrong       int               `json:"wrong"`
	Crashes     int               `json:"crashes"`
	Unfinished  int               `json:"unfinished"`
	Bets        int               `json:"bets"`
	Races       int               `json:"races"`
	Devices     int               `json:"devices"`
	Faults      map[faultKind]int `json:"faults"`
	Struck      map[string]uint64 `json:"struck"` // requests that the stand-ins failed, by provider and kind
	LatencyP50  int64             `json:"latency_ms_p50"`
	LatencyMax  int64             `json:"latency_ms_max"`
	Seconds     float64           `json:"seconds"`

	// Odds and BetsIn are what went between Ably and Kafka, BetsUnique the bets that
	// the processor has counted, BetsAtKill those that were on their way to Kafka
	// when a fault struck their replica or the database.
	Odds       betting.OddsTally `json:"odds"`
	BetsIn     betting.BetsTally `json:"bets_in"`
	BetsUnique int               `json:"bets_unique"`
	BetsAtKill int               `json:"bets_in_flight_at_kill"`
}

func newReport(o options, v verdict, f *feed, s *standIns, faults map[faultKind]int, took time.Duration) report {
	r := report{
		Rounds: o.rounds, Replicas: o.replicas, DB: o.db, Seed: o.seed,
		Expected: v.expected, Received: v.received, Lost: v.lost, SentTwice: v.repeats,
		UnknownOutcomes: v.lostAnswers + v.inFlight, InFlightAtKill: v.inFlight, Late: v.late,
		Superseded: v.superseded, Expired: v.expired, AblyDropped: v.dropped, LateAfterStop: v.lateAfterStop,
		Unexplained: v.count(problemRepeat, problemOverLimit), Wrong: v.count(problemIDs, problemOrder, problemStray),
		Bets: f.bets, Races: f.far + f.short, Devices: len(f.devices), Faults: faults, Struck: map[string]uint64{},
		LatencyP50: v.latency(50).Milliseconds(), LatencyMax: v.latency(100).Milliseconds(),
		Seconds: took.Round(100 * time.Millisecond).Seconds(),
	}
	for kind, n := range s.fcm.Stats().Faults {
		r.Struck["fcm_"+string(kind)] = n
	}
	for kind, n := range s.ably.Stats().Faults {
		r.Struck["ably_"+string(kind)] = n
	}
	k := s.ksqldb.Stats()
	for kind, n := range map[string]uint64{"initialising": k.Initialising, "in_stream": k.InStream, "cut": k.Cut, "partial": k.Partial, "duplicated": k.Duplicated} {
		if n > 0 {
			r.Struck["ksqldb_"+kind] = n
		}
	}
	return r
}

// clean tells whether nothing went wrong. What was sent twice must be fewer than
// what could not be known, whatever else is said of each repeat.
func (r report) clean() bool {
	return r.Lost == 0 && r.Late == 0 && r.Unexplained == 0 && r.Wrong == 0 && r.Crashes == 0 && r.Unfinished == 0 &&
		r.SentTwice <= r.UnknownOutcomes &&
		r.Odds.Clean() && r.BetsIn.Clean() && r.BetsUnique == r.BetsIn.InKafka
}

// addPassage adds what went between Ably and Kafka.
func (r *report) addPassage(p passage, l *loop) {
	r.Odds, r.BetsIn, r.BetsUnique, r.BetsAtKill = p.odds, p.bets, p.counted, p.inFlight
	for kind, n := range l.kafka.Faults() {
		r.Struck["kafka_"+kind] = n
	}
}

func (r report) write(w io.Writer) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("marshal report: %w", err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
