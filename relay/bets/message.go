package bets

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxEncodings bounds the steps of an encoding: Ably's own have at most four.
const maxEncodings = 8

// message is one of Ably's, as webhooks carry it (Ably: "Messages", "Webhooks").
type message struct {
	ID           string          `json:"id"`
	ClientID     string          `json:"clientId"`
	ConnectionID string          `json:"connectionId"`
	Timestamp    int64           `json:"timestamp"` // milliseconds since 1970
	Data         json.RawMessage `json:"data"`
	Encoding     string          `json:"encoding"`
	Action       json.RawMessage `json:"action"`
}

// isNew tells that the message was published, and does not change or remove one.
// Webhooks of version 1.2 do not say; newer forms number the actions from 0, or
// name them.
func (m message) isNew() bool {
	switch string(m.Action) {
	case "", "null", "0", `"message.create"`:
		return true
	}
	return false
}

// raw is the data as it came: the text of a JSON string, or else the JSON itself.
func (m message) raw() []byte {
	var s string
	if json.Unmarshal(m.Data, &s) == nil {
		return []byte(s)
	}
	return m.Data
}

// decode undoes the encodings of the data from the right (Ably's features
// specification, RSL6).
func (m message) decode() ([]byte, Reason) {
	data := m.raw()
	if len(data) > MaxData {
		return nil, ReasonSize
	}
	if m.Encoding == "" {
		return data, ""
	}
	text := bytes.HasPrefix(m.Data, []byte(`"`))
	steps := strings.Split(m.Encoding, "/")
	if len(steps) > maxEncodings {
		return nil, ReasonEncoding
	}
	for _, step := range slices.Backward(steps) {
		switch {
		case strings.HasPrefix(step, "cipher+"):
			return nil, ReasonEncrypted
		case !text && step != "json":
			return nil, ReasonEncoding // a value that is not a text has nothing to undo
		case step == "json":
			return data, "" // what it holds is JSON; whatever stands to the left was applied to a value of it
		case step == "utf-8":
			if !utf8.Valid(data) {
				return nil, ReasonEncoding
			}
		case step == "base64":
			out, err := base64.StdEncoding.DecodeString(string(data))
			if err != nil {
				return nil, ReasonEncoding
			}
			data = out
		default:
			return nil, ReasonEncoding
		}
	}
	return data, ""
}
