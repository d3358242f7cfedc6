package relay

import (
	"context"
	"errors"
	"fmt"
)

// Decoder turns the value of a record into JSON.
//
// Decode returns one of two kinds of errors, and who calls must tell them apart:
//
//   - An *UndecodableError (errors.AsType finds it, errors.Is finds it by
//     ErrUndecodable) is final. The value will not decode tomorrow either: the
//     record belongs into a dead-letter topic, with the Reason.
//   - Any other error is temporary: the registry does not answer, refuses our
//     credentials, or ctx ended. The same record must be tried again, after a
//     pause and for as long as it takes. It must never be dead-lettered, or an
//     outage of the registry would throw away every record that passes by.
//
// A value without the magic byte of Confluent's wire format is returned as it
// is, an empty one and a tombstone (nil) included; nobody has looked whether
// it is JSON.
//
// The result may share memory with value. A Decoder is safe for concurrent use.
type Decoder interface {
	Decode(ctx context.Context, topic string, value []byte) ([]byte, error)
}

// Reason says why a value cannot be decoded. The set is closed: metrics use it
// as a label, dead letters as a code.
type Reason string

// The reasons.
const (
	// BadHeader is a magic byte that no schema id follows.
	BadHeader Reason = "bad_header"
	// UnknownSchema is a schema id that the registry does not know (Schema
	// Registry API: 404 with error code 40403).
	UnknownSchema Reason = "unknown_schema"
	// UnsupportedSchema is a schema of a kind that is not decoded: Protobuf.
	UnsupportedSchema Reason = "unsupported_schema"
	// BadSchema is a schema that the registry has and that cannot be used.
	BadSchema Reason = "bad_schema"
	// BadValue is a value that does not fit its schema.
	BadValue Reason = "bad_value"
)

// Reasons lists all of them.
func Reasons() []Reason {
	return []Reason{BadHeader, UnknownSchema, UnsupportedSchema, BadSchema, BadValue}
}

// ErrUndecodable is what every *UndecodableError is, for errors.Is.
var ErrUndecodable = errors.New("the value cannot be decoded")

// UndecodableError is the final error of a Decoder. Its text names the schema
// and the fault and repeats nothing of the value.
type UndecodableError struct {
	// Topic is the topic that the record came from.
	Topic string
	// SchemaID is the id in the value; 0 with BadHeader.
	SchemaID int
	Reason   Reason
	// Err is the cause; nil when the reason says everything.
	Err error
}

// Error says what is wrong, for the dead letter and the log.
func (e *UndecodableError) Error() string {
	text := fmt.Sprintf("decode value of topic %s: %s", e.Topic, e.Reason)
	if e.SchemaID != 0 {
		text += fmt.Sprintf(" (schema %d)", e.SchemaID)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *UndecodableError) Unwrap() error { return e.Err }

// Is tells that it is ErrUndecodable.
func (e *UndecodableError) Is(target error) bool { return target == ErrUndecodable }
