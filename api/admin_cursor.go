package api

import (
	"encoding/base64"
	"encoding/json"

	"github.com/bugle-push/bugle/internal/fault"
)

// deliveryCursor is where a page of deliveries ended.
type deliveryCursor struct {
	CreatedAt int64  `json:"t"`
	ID        int64  `json:"i"`
	Device    string `json:"d"`
}

func (c deliveryCursor) encode() string            { return encodeCursor(c) }
func (c *deliveryCursor) decode(text string) error { return decodeCursor(text, c) }

// badRowCursor is where a page of bad rows ended.
type badRowCursor struct {
	FirstSeen int64  `json:"t"`
	Rule      string `json:"r"`
	Hash      string `json:"h"`
}

func (c badRowCursor) encode() string            { return encodeCursor(c) }
func (c *badRowCursor) decode(text string) error { return decodeCursor(text, c) }

// encodeCursor makes a cursor a word that callers hand back as it is: what is in
// it may change.
func encodeCursor(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of numbers and strings only
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(text string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fault.InvalidFields("the request is not valid", fault.Field{Path: "query.after", Message: "wants the next of the page before"})
	}
	return nil
}

// suppressionCursor is where a page of suppressions ended.
type suppressionCursor struct {
	User     string `json:"u"`
	Reason   string `json:"r"`
	Imported bool   `json:"i,omitempty"`
}
