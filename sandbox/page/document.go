package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Document tells the page where everything is. The page reads it at its start,
// as /config.json.
type Document struct {
	// API is the base of Bugle's API for apps, "http://127.0.0.1:17080". Required.
	API string `json:"api"`
	// Ably is the base of Ably's REST API and of its server-sent events,
	// "https://main.realtime.ably.net". Required.
	Ably string `json:"ably"`
	// Odds is what the channels of odds begin with; the event's id follows. Empty
	// means "outbound:odds:".
	Odds string `json:"odds,omitempty"`
	// Bets is what the betting channels begin with; the user's id follows. Empty
	// means "inbound:betting:cars:".
	Bets string `json:"bets,omitempty"`
	// Currency is an ISO 4217 code for stakes. Empty means "EUR".
	Currency string `json:"currency,omitempty"`

	// The rest is for a page without a Host.

	// Token is a user's token for the API.
	Token string `json:"token,omitempty"`
	// Device is what is activated. Without one the page has no phone.
	Device *Device `json:"device,omitempty"`
	// Events are what can be bet on.
	Events []Race `json:"events,omitempty"`
}

// Device is a phone as Bugle's API has it.
type Device struct {
	ID       string `json:"id"`
	Platform string `json:"platform"` // android, ios or web
	Target   Target `json:"target"`
}

// Target is where a phone is reached.
type Target struct {
	Kind  string `json:"kind"` // fcm_token, for instance
	Value string `json:"value"`
}

// ReadDocument reads a document from JSON, for a page without a Host. Keys that
// it does not know are errors.
func ReadDocument(text []byte) (Document, error) {
	var d Document
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return d, fmt.Errorf("read the page's document: %w", err)
	}
	if d.Token == "" {
		return d, errors.New("read the page's document: token is missing, a user's token for the API")
	}
	return d, d.check()
}

// check returns what is wrong with the addresses: they become part of the policy
// by which a browser decides whom the page may speak with.
func (d Document) check() error {
	var all []error
	for name, base := range map[string]string{"api": d.API, "ably": d.Ably} {
		if _, err := originOf(base); err != nil {
			all = append(all, fmt.Errorf("the page's document: %s: %w", name, err))
		}
	}
	return errors.Join(all...)
}

// originOf returns the origin of a base URL that may stand in a policy.
func originOf(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		strings.ContainsAny(base, "; ,'\"") {
		return "", fmt.Errorf("%q is not an address such as https://bugle.example.com", base)
	}
	return u.Scheme + "://" + u.Host, nil
}
