package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/bugle-push/bugle/sandbox/betting"
)

// passage is the verdict about the way between Ably and Kafka.
type passage struct {
	odds betting.OddsTally
	bets betting.BetsTally
	// counted are the bets that the processor has counted; each in the topic must
	// be, once.
	counted int
	// inFlight are the bets that faults found on their way to Kafka.
	inFlight int
}

// judgePassage compares what Ably accepted with what stands in Kafka.
func judgePassage(l *loop, incidents []incident) passage {
	x := newExcuses(incidents)
	p := passage{odds: l.odds.Judge(x.odds), bets: l.bets.Judge(x.bet), counted: int(l.counted.Load())}
	for _, i := range incidents {
		p.inFlight += i.betsInFlight()
	}
	return p
}

// problems returns what went wrong, odds first.
func (p passage) problems() []betting.Problem {
	return append(append([]betting.Problem{}, p.odds.Problems...), p.bets.Problems...)
}

// tellPassage writes a problem, and the faults around it.
func tellPassage(w io.Writer, p betting.Problem, incidents []incident) {
	fmt.Fprintf(w, "\n%s\n", p)
	for _, i := range incidents {
		if i.began.After(p.At.Add(around)) || i.ended.Before(p.At.Add(-around)) {
			continue
		}
		held := ""
		if strings.HasPrefix(p.Name, "bet_") && i.claimed(p.Subject) {
			held = ", this one among them"
		}
		fmt.Fprintf(w, "  fault %s%s\n", i, held)
	}
}
