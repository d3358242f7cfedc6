package betting

import (
	"fmt"
	"time"
)

// Problem is one thing that went wrong between Ably and Kafka.
type Problem struct {
	// Name says what, in a closed set of words: see [OddsTally] and [BetsTally].
	Name string
	At   time.Time
	// Subject is the channel, the event or the id of the bet.
	Subject string
	// Detail is for people.
	Detail string
}

// String returns one line for the operator of a sandbox.
func (p Problem) String() string {
	return fmt.Sprintf("%s %s: %s %s", p.At.Format("15:04:05.000"), p.Name, p.Subject, p.Detail)
}

// keptProblems is how many problems a tally holds.
const keptProblems = 100

// findings collects problems and counts them by name.
type findings struct {
	reasons  map[string]int
	problems []Problem
}

func (f *findings) add(p Problem) {
	if f.reasons == nil {
		f.reasons = map[string]int{}
	}
	f.reasons[p.Name]++
	if len(f.problems) < keptProblems {
		f.problems = append(f.problems, p)
	}
}
