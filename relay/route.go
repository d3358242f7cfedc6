package relay

import (
	"errors"
	"fmt"
	"time"
)

// Route says how the records of one topic reach their channels.
type Route struct {
	// Topic is the topic to read.
	Topic string
	// Channel names the channel of a record; all records of a channel must be in
	// one partition, as those with one key are.
	Channel Template
	// Name is the name of the messages. The zero value leaves it out.
	Name Template
	// Conflate lets a newer record of a channel replace one that waits. Without
	// it every record is published, in order, whatever that takes.
	Conflate bool
	// MaxAge drops records that are older when their turn comes. Zero drops none.
	// Records that suspend a market are never too old.
	MaxAge time.Duration
	// Headers are the record headers that are copied into extras.headers.
	Headers []string
	// Suspended tells which records suspend a market. The zero value: none.
	Suspended Suspension
	// DeadLetter is the topic for records that cannot be published.
	DeadLetter string
}

func (r *Route) check() error {
	switch {
	case r.Topic == "":
		return errors.New("relay: a route without a topic")
	case len(r.Channel.parts) == 0:
		return fmt.Errorf("relay: topic %s without a channel", r.Topic)
	case r.DeadLetter == "":
		return fmt.Errorf("relay: topic %s without a dead-letter topic", r.Topic)
	case r.DeadLetter == r.Topic:
		return fmt.Errorf("relay: topic %s is its own dead-letter topic", r.Topic)
	}
	return nil
}

// keeps tells whether it is written down that a record of this route was
// published. Of a conflating route only suspensions are: the newest of a channel
// may be published again after a crash, but nothing before it.
func (r *Route) keeps(suspended bool) bool { return !r.Conflate || suspended }

// mayKeep tells whether there can be anything written down for this route.
func (r *Route) mayKeep() bool { return !r.Conflate || r.Suspended.at != nil }
