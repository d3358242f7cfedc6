package main

import (
	"time"

	"github.com/bugle-push/bugle/sandbox/betting"
)

// What excuses a bet that is in the topic twice, or odds that go back.
const (
	// betHeard is how long after a kill a bet may be read that the replica had sent
	// before: what is on the wire arrives, and we read with every half second.
	betHeard = 5 * time.Second
	// betLapse is how long a replica must at least be stopped to lose the bets that
	// it has claimed: the claim lasts 30 s and is renewed every 10 s.
	betLapse = 19 * time.Second
	// partitionLapse is how long a replica must at least be stopped to lose its
	// partitions: the session lasts 10 s, and a heartbeat comes every 2.5 s.
	partitionLapse = 6 * time.Second
	// continued is how long after a stop a message may be accepted whose publish had
	// begun before it.
	continued = 2 * time.Second
)

// excuses knows what the faults excuse between Ably and Kafka. Each is good for
// one repeat of a bet, and for one message of a channel.
type excuses struct {
	incidents []incident
	used      map[use]bool
}

// use is an incident that has excused something: a bet, or a channel.
type use struct {
	incident int
	what     string
}

func newExcuses(incidents []incident) *excuses {
	return &excuses{incidents: incidents, used: map[use]bool{}}
}

// bet tells whether a bet may be in the topic again: a replica was killed, or
// stopped for longer than its claims last, and had claimed this very bet, and the
// record before is one that it may have written without writing that down.
func (x *excuses) bet(before, again betting.TopicBet) bool {
	for n, inc := range x.incidents {
		u := use{n, "bet " + again.ID}
		if !inc.claimed(again.ID) || x.used[u] || again.At.Before(inc.began) {
			continue
		}
		var until time.Time
		switch inc.kind {
		case faultKill:
			until = inc.began.Add(betHeard)
		case faultStop, faultLongStop:
			if inc.ended.Sub(inc.began) < betLapse {
				continue
			}
			until = inc.ended.Add(betHeard)
		default: // a database that was away is told of what was written when it is back
			continue
		}
		if before.At.After(until) {
			continue
		}
		x.used[u] = true
		return true
	}
	return false
}

// odds tells whether a message may be older than one before it: its publish had
// begun when its replica was stopped, for so long that another one got the
// partition and published something newer, and went on when it was continued. A
// channel has one such message, because it has one request at a time.
func (x *excuses) odds(r betting.Regress) bool {
	for n, inc := range x.incidents {
		u := use{n, "channel " + r.Message.Channel}
		switch {
		case inc.kind != faultStop && inc.kind != faultLongStop, inc.ended.Sub(inc.began) < partitionLapse, x.used[u]:
		case r.Record.At.After(inc.began), r.Overtaken.Before(inc.began):
		case r.Message.At.Before(inc.ended.Add(-slack)), r.Message.At.After(inc.ended.Add(continued)):
		default:
			x.used[u] = true
			return true
		}
	}
	return false
}

// claimed tells whether somebody whom the incident struck had claimed the bet.
func (i incident) claimed(id string) bool {
	for _, bets := range i.bets {
		if bets[id] {
			return true
		}
	}
	return false
}

// betsInFlight counts the bets that were claimed when it began.
func (i incident) betsInFlight() int {
	n := 0
	for _, bets := range i.bets {
		n += len(bets)
	}
	return n
}
