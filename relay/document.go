package relay

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// document is a record whose value is readable.
type document struct {
	record *kgo.Record
	data   []byte // the value, decoded
	key    jsonText
	value  jsonText
}

// The encodings of a message's data, as Ably names them (specification, RSL4).
const (
	// EncodingText is data that is text.
	EncodingText = ""
	// EncodingJSON is data that is the text of a JSON object or array.
	EncodingJSON = "json"
	// EncodingBytes is data that is neither; it travels as base64.
	EncodingBytes = "base64"
)

// encodingOf tells how data is to be published. Only objects and arrays have the
// encoding json at Ably; a number or a word is text to it.
func encodingOf(data []byte) string {
	if !utf8.Valid(data) { // json.Valid lets it pass inside of texts
		return EncodingBytes
	}
	for _, c := range data {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{', '[':
			if json.Valid(data) {
				return EncodingJSON
			}
		}
		break
	}
	return EncodingText
}

// The headers of a message that say which record it is.
const (
	headerTopic     = "kafka-topic"
	headerPartition = "kafka-partition"
	headerOffset    = "kafka-offset"
	headerKey       = "kafka-key"
)

// headersOf returns a message's extras.headers: where the record stands, its key,
// and those of its headers that were asked for. What is not UTF-8 is base64.
func headersOf(r *kgo.Record, names []string) map[string]any {
	out := make(map[string]any, 4+len(names))
	for _, name := range names {
		for _, h := range r.Headers { // the last one of a name remains
			if h.Key == name {
				out[name] = printable(h.Value)
			}
		}
	}
	out[headerTopic], out[headerPartition], out[headerOffset] = r.Topic, r.Partition, r.Offset
	if r.Key != nil {
		out[headerKey] = printable(r.Key)
	}
	return out
}

func printable(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// Message is one message for a channel.
type Message struct {
	// Channel is the channel's name.
	Channel string
	// ID is the same for every attempt at one record.
	ID string
	// Name is the message's name; may be empty.
	Name string
	// Data is the payload, and Encoding how it is to be read.
	Data     []byte
	Encoding string
	// Headers become extras.headers: texts and whole numbers.
	Headers map[string]any
}

// size is what Ably counts for its limit: name, data, and extras as JSON
// (specification, TO3l8).
func (m *Message) size() (int, error) {
	extras, err := json.Marshal(map[string]any{"headers": m.Headers})
	if err != nil {
		return 0, fmt.Errorf("encode headers: %w", err)
	}
	return len(m.Name) + len(m.Data) + len(extras), nil
}

// messageID is the id of a record's message: its place in Kafka, and what tells
// that place from the same one in another log. All of it is stored with the record
// or with its topic, so every replica and every start makes the same id of it.
//
// A topic that was deleted and made anew counts from 0 again; its id is another
// one. A log that has lost its end gives the lost offsets out again; the leader who
// does so has a higher epoch, and a record keeps the epoch in which it was written.
// Brokers that have no topic ids (before 2.8) leave the record's time to tell the
// two topics apart.
//
// It ends with topic, partition and offset, and has no colon: of an id that ends in ":0" Ably leaves that out when it looks
// for a repeat (Ably, "Idempotent publishing").
func messageID(cluster string, topic kadm.TopicID, r *kgo.Record) string {
	made := base64.RawURLEncoding.EncodeToString(topic[:])
	if topic == (kadm.TopicID{}) {
		made = "t" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10)
	}
	return fmt.Sprintf("%s/%s.%d/%s/%d/%d", cluster, made, r.LeaderEpoch, r.Topic, r.Partition, r.Offset)
}
