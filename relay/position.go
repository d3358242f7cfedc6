package relay

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Position is where a record stands in Kafka. It means the same on every
// replica and after every restart. The zero value is no position.
type Position struct {
	// Topic tells a topic from one that was made anew under its name: the
	// beginning of its id in Kafka. Empty with brokers that have no ids (before 2.8).
	Topic     string
	Partition int32
	Offset    int64
	// known tells the first record of partition 0 from the zero value.
	known bool
}

// NewPosition returns the position of a record.
func NewPosition(topic string, partition int32, offset int64) Position {
	return Position{Topic: topic, Partition: partition, Offset: offset, known: true}
}

// IsZero tells whether it is no position.
func (p Position) IsZero() bool { return !p.known }

// String returns partition-offset, with the topic behind it: "3-1842-8Zk2Qw1b".
// Of no position it is empty.
func (p Position) String() string {
	switch {
	case !p.known:
		return ""
	case p.Topic == "":
		return fmt.Sprintf("%d-%d", p.Partition, p.Offset)
	}
	return fmt.Sprintf("%d-%d-%s", p.Partition, p.Offset, p.Topic)
}

// ParsePosition reads what String returns. Anything else is no position: who
// shows it gets the newest, as without.
func ParsePosition(text string) Position {
	parts := strings.SplitN(text, "-", 3)
	if len(parts) < 2 || len(text) > maxPositionLen {
		return Position{}
	}
	partition, err := strconv.ParseInt(parts[0], 10, 32)
	if err != nil || partition < 0 {
		return Position{}
	}
	offset, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || offset < 0 {
		return Position{}
	}
	topic := ""
	if len(parts) == 3 {
		topic = parts[2]
	}
	return NewPosition(topic, int32(partition), offset)
}

const maxPositionLen = 64

// covers tells whether who has seen p has seen all up to other: they stand in
// one partition of one topic, and p is not before other.
func (p Position) covers(other Position) bool {
	return p.known && other.known && p.Topic == other.Topic && p.Partition == other.Partition && p.Offset >= other.Offset
}

// replaces tells whether a record at p with time at is newer than one at other
// with time otherAt. Offsets decide within a partition. Records of one key
// stand in several partitions after partitions were added: then the records'
// times decide, and of the same time what is read later.
func (p Position) replaces(at time.Time, other Position, otherAt time.Time) bool {
	switch {
	case !other.known || p.Topic != other.Topic:
		return true
	case p.Partition == other.Partition:
		return p.Offset > other.Offset
	}
	return !at.Before(otherAt)
}
