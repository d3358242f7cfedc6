package ably

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// message is a message of a channel in its canonical form: Data is a string,
// []byte or nil, and Encoding says what the subscriber has to undo.
type message struct {
	ID           string         `json:"id,omitempty"`
	ClientID     string         `json:"clientId,omitempty"`
	ConnectionID string         `json:"connectionId,omitempty"`
	Name         string         `json:"name,omitempty"`
	Data         any            `json:"data,omitempty"`
	Encoding     string         `json:"encoding,omitempty"`
	Timestamp    int64          `json:"timestamp,omitempty"`
	Extras       map[string]any `json:"extras,omitempty"`
	Serial       string         `json:"serial,omitempty"`

	pos   uint64 // its place in the channel
	given bool   // the publisher gave the id
}

// presence is a presence message.
type presence struct {
	Action       int    `json:"action"`
	ID           string `json:"id,omitempty"`
	ClientID     string `json:"clientId,omitempty"`
	ConnectionID string `json:"connectionId,omitempty"`
	Data         any    `json:"data,omitempty"`
	Encoding     string `json:"encoding,omitempty"`
	Timestamp    int64  `json:"timestamp,omitempty"`
}

// in returns the message as a client of the given format gets it: bytes are
// base64 in JSON.
func (m message) in(f format) message {
	m.Data, m.Encoding = dataIn(f, m.Data, m.Encoding)
	return m
}

func (p presence) in(f format) presence {
	p.Data, p.Encoding = dataIn(f, p.Data, p.Encoding)
	return p
}

func dataIn(f format, data any, encoding string) (any, string) {
	b, isBytes := data.([]byte)
	if !isBytes || f != inJSON {
		return data, encoding
	}
	if encoding != "" {
		encoding += "/"
	}
	return base64.StdEncoding.EncodeToString(b), encoding + "base64"
}

// canonical brings data into the form in which it is kept: objects and arrays
// become JSON text, numbers and booleans text, an outermost base64 is undone.
func canonical(data any, encoding string) (any, string, *errorInfo) {
	switch v := data.(type) {
	case nil, []byte:
		return v, encoding, nil
	case string:
		rest, found := strings.CutSuffix(encoding, "base64")
		if !found || rest != "" && !strings.HasSuffix(rest, "/") {
			return v, encoding, nil
		}
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			return nil, "", fail(codeDataType, "data is not base64 as its encoding says")
		}
		return b, strings.TrimSuffix(rest, "/"), nil
	case map[string]any, []any:
		b, err := json.Marshal(v)
		if err != nil { // decoded values always encode
			return nil, "", fail(codeDataType, "invalid data")
		}
		if encoding == "" {
			encoding = "json"
		}
		return string(b), encoding, nil
	case bool:
		return strconv.FormatBool(v), encoding, nil
	case int64:
		return strconv.FormatInt(v, 10), encoding, nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), encoding, nil
	}
	return nil, "", fail(codeDataType, "invalid data type")
}

// messageOf reads one message of a publisher.
func messageOf(v any, who *principal) (*message, *errorInfo) {
	o, isObject := asObject(v)
	if !isObject {
		return nil, fail(codeBadBody, "message is not an object")
	}
	m := &message{ID: o.str("id"), ClientID: o.str("clientId"), Name: o.str("name"), Extras: o.sub("extras")}
	m.given = m.ID != ""
	if !who.actsAs(m.ClientID) || m.ClientID == "*" {
		return nil, fail(codeClientID, "mismatched clientId")
	}
	if m.ClientID == "" {
		m.ClientID = who.identity()
	}
	for name := range m.Extras {
		if !slices.Contains([]string{"headers", "push", "ephemeral", "ref", "privileged", "delta"}, name) {
			return nil, fail(codeExtras, "unknown field of extras")
		}
	}
	if !flat(m.Extras["headers"]) {
		return nil, fail(codeExtras, "extras.headers is not a flat object of scalars")
	}
	if push, has := m.Extras["push"]; has {
		fields, _ := asObject(push)
		if _, e := payloadOf(fields); e != nil {
			return nil, e
		}
	}
	var e *errorInfo
	m.Data, m.Encoding, e = canonical(o["data"], o.str("encoding"))
	return m, e
}

// flat reports whether v is nothing, or an object of scalars.
func flat(v any) bool {
	if v == nil {
		return true
	}
	o, isObject := asObject(v)
	for _, e := range o {
		switch e.(type) {
		case map[string]any, []any:
			return false
		}
	}
	return isObject
}

// skips reports whether the publisher asked to keep the message from an
// integration rule. Source: Ably, "Skip integrations".
func (m *message) skips(rule string) bool {
	switch v := object(m.Extras).sub("privileged")["skipRule"].(type) {
	case string:
		return v == "*"
	case []any:
		return slices.Contains(v, any(rule))
	}
	return false
}

// mayAttach refuses what only some publishers may attach to messages.
func mayAttach(who *principal, channel string, msgs []*message) *errorInfo {
	for _, m := range msgs {
		if _, has := m.Extras["privileged"]; has && !who.may(opPrivileged, channel) {
			return denied(opPrivileged, "the channel")
		}
	}
	return nil
}

// size counts name, data, client id and extras. Source: Ably, "Message size
// limits".
func (m *message) size() int {
	n := len(m.Name) + len(m.ClientID)
	switch d := m.Data.(type) {
	case string:
		n += len(d)
	case []byte:
		n += len(d)
	}
	if len(m.Extras) > 0 {
		b, err := json.Marshal(m.Extras)
		if err == nil { // decoded values always encode
			n += len(b)
		}
	}
	return n
}

// messagesOf reads what is published at once: one message or an array.
func (s *Server) messagesOf(v any, who *principal) ([]*message, *errorInfo) {
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	if len(list) == 0 {
		return nil, fail(codeBadRequest, "no messages")
	}
	if len(list) > MaxArray {
		return nil, fail(codeTooMany, "too many messages in one publish")
	}
	out := make([]*message, 0, len(list))
	size := 0
	for _, e := range list {
		m, bad := messageOf(e, who)
		if bad != nil {
			return nil, bad
		}
		size += m.size()
		out = append(out, m)
	}
	if size > s.cfg.MaxMessageSize {
		return nil, fail(codeTooBig, "maximum message length exceeded; size was %d bytes, limit is %d", size, s.cfg.MaxMessageSize)
	}
	return out, nil
}

// dedupeKey is the key under which a publish is recognised as a repeat, empty
// if no ids were given. Source: Ably, "Idempotent publishing".
func dedupeKey(msgs []*message) (string, *errorInfo) {
	given := 0
	for _, m := range msgs {
		if m.given {
			given++
		}
	}
	switch {
	case given == 0:
		return "", nil
	case given != len(msgs):
		return "", fail(codeMessageIDs, "some messages have ids and some have none")
	case len(msgs) == 1:
		return strings.TrimSuffix(msgs[0].ID, ":0"), nil
	}
	base, found := strings.CutSuffix(msgs[0].ID, ":0")
	for i, m := range msgs {
		if !found || m.ID != base+":"+strconv.Itoa(i) {
			return "", fail(codeMessageIDs, "ids of an array must be <base>:<index>")
		}
	}
	return base, nil
}
