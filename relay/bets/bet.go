package bets

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ChannelPrefix begins the channels that bets are placed on:
// inbound:betting:<category>:<user>.
const ChannelPrefix = "inbound:betting:"

// The bounds of what a bet may hold.
const (
	// MaxData is the most bytes of a message's data that are looked at. A tile has less than
	// 500; the rest is room for a long address of its picture.
	MaxData = 16 << 10
	// maxText is the most bytes of a name, an event and a segment of a channel.
	maxText = 128
	// maxID is the most bytes of a message's id. Ably's own have less than 50.
	maxID = 255
	// maxNumber is the most characters of odds: the longest text of a float64 has 24.
	maxNumber = 32
	// eventSeparator divides event and runner in the keys of the order book
	// (migrations/ksqldb): with one in an event, a bet could count for another one.
	eventSeparator = "|"
	// maxOdds keeps out what no book pays.
	maxOdds = 1e9
)

// stakeText is an amount: digits with at most two decimals, as the settlement's
// DECIMAL(18, 2) holds it.
var stakeText = regexp.MustCompile(`^(0|[1-9][0-9]{0,11})(\.[0-9]{1,2})?$`)

// ValidStake tells whether a text is a stake: more than nothing, less than 10^12,
// with at most two decimals and no exponent.
func ValidStake(text string) bool {
	return stakeText.MatchString(text) && strings.ContainsAny(text, "123456789")
}

// Bet is the record that goes to Kafka. Amounts are the text that was sent, so
// that nothing is rounded on the way.
type Bet struct {
	// ID is the id of Ably's message.
	ID string `json:"bet_id"`
	// Event is what is bet on: the data's event, or else the channel's category.
	Event string `json:"event_id"`
	// Runner is who is bet on: the tile's name.
	Runner string `json:"runner"`
	// User is the channel's last segment.
	User string `json:"user_id"`
	// Authenticated says that Ably knew the publisher (by a token) as this user.
	Authenticated bool `json:"authenticated"`
	// Stake is what is put on it.
	Stake json.Number `json:"stake"`
	// Odds are those that the user saw: the profit for a stake of 1.
	Odds json.Number `json:"odds"`
	// PlacedAt is when Ably took the message, in milliseconds since 1970.
	PlacedAt int64 `json:"placed_at"`
}

// Reason names why a message is no bet. The set is closed: it is a metric's label
// and a dead letter's header.
type Reason string

// The reasons.
const (
	// ReasonWebhook is a request with a good signature that is no webhook.
	ReasonWebhook Reason = "malformed_webhook"
	// ReasonItem is an item of a webhook that cannot be read.
	ReasonItem Reason = "malformed_item"
	// ReasonMessage is a message that cannot be read, or has no id or no time.
	ReasonMessage Reason = "malformed_message"
	// ReasonOld is older than MaxAge, or from the future.
	ReasonOld Reason = "too_old"
	// ReasonChannel is a betting channel without a category or a user, or with more segments.
	ReasonChannel Reason = "bad_channel"
	// ReasonAction is the change of a message or its removal: a bet stays as it was placed.
	ReasonAction Reason = "not_a_new_message"
	// ReasonUnauthenticated is a message whose publisher is not known as the channel's user.
	ReasonUnauthenticated Reason = "unauthenticated"
	// ReasonEncrypted is data that only its publisher can read.
	ReasonEncrypted Reason = "encrypted"
	// ReasonEncoding is data whose encoding cannot be undone.
	ReasonEncoding Reason = "bad_encoding"
	// ReasonSize is data of more than MaxData bytes.
	ReasonSize Reason = "too_large"
	// ReasonData is data that is no JSON object.
	ReasonData Reason = "malformed_bet"
	// ReasonRunner is a bet on nobody.
	ReasonRunner Reason = "bad_runner"
	// ReasonEvent is an event that is no text, is too long, or has a "|" in it.
	ReasonEvent Reason = "bad_event"
	// ReasonStake is a stake that is none: see ValidStake.
	ReasonStake Reason = "bad_stake"
	// ReasonOdds is odds that are missing, negative or no finite number.
	ReasonOdds Reason = "bad_odds"
	// ReasonID is a message with the id of one on another channel: its publisher has chosen it.
	ReasonID Reason = "id_taken"
	// ReasonKafka is a bet that Kafka takes never, such as a record above the topic's limit.
	ReasonKafka Reason = "refused_by_kafka"
)

// Reasons lists all of them.
func Reasons() []Reason {
	return []Reason{
		ReasonWebhook, ReasonItem, ReasonMessage, ReasonOld, ReasonChannel, ReasonAction, ReasonUnauthenticated, ReasonEncrypted,
		ReasonEncoding, ReasonSize, ReasonData, ReasonRunner, ReasonEvent, ReasonStake, ReasonOdds, ReasonID, ReasonKafka,
	}
}

// policy is what an operator decides about bets.
type policy struct {
	defaultStake   json.Number
	allowAnonymous bool
}

// bet makes a bet of a message, or names why it is none.
func (p policy) bet(m message, channel string, at time.Time) (Bet, Reason) {
	category, user, ok := splitChannel(channel)
	if !ok {
		return Bet{}, ReasonChannel
	}
	if !m.isNew() {
		return Bet{}, ReasonAction
	}
	authenticated := m.ClientID != "" && m.ClientID == user
	if !authenticated && !p.allowAnonymous {
		return Bet{}, ReasonUnauthenticated
	}
	data, reason := m.decode()
	if reason != "" {
		return Bet{}, reason
	}
	b := Bet{ID: m.ID, Event: category, User: user, Authenticated: authenticated, Stake: p.defaultStake, PlacedAt: at.UnixMilli()}
	return b, b.fill(data)
}

// ChannelUser returns the user of a betting channel; false is none that has one.
func ChannelUser(channel string) (user string, ok bool) {
	_, user, ok = splitChannel(channel)
	return user, ok
}

// splitChannel returns category and user of a betting channel.
func splitChannel(channel string) (category, user string, ok bool) {
	rest, ok := strings.CutPrefix(channel, ChannelPrefix)
	if !ok {
		return "", "", false
	}
	category, user, ok = strings.Cut(rest, ":")
	return category, user, ok && cleanText(category) && cleanText(user) && !strings.Contains(user, ":")
}

// fill reads what the data of a message says.
func (b *Bet) fill(data []byte) Reason {
	// By exact names: encoding/json takes "Stake" for a field that is named "stake".
	var fields map[string]json.RawMessage
	if !utf8.Valid(data) || json.Unmarshal(data, &fields) != nil || fields == nil {
		return ReasonData
	}
	given := func(name string) (json.RawMessage, bool) {
		v, ok := fields[name]
		return v, ok && !bytes.Equal(v, []byte("null"))
	}
	if v, ok := given("name"); !ok || !readText(v, &b.Runner) {
		return ReasonRunner
	}
	if v, ok := given("event"); ok && !readText(v, &b.Event) || strings.Contains(b.Event, eventSeparator) {
		return ReasonEvent
	}
	if v, ok := given("stake"); ok {
		if b.Stake = json.Number(v); !ValidStake(string(v)) {
			return ReasonStake
		}
	}
	v, ok := given("odds")
	if b.Odds = json.Number(v); !ok || !validOdds(string(v)) {
		return ReasonOdds
	}
	return ""
}

func readText(raw json.RawMessage, into *string) bool {
	var s string
	if json.Unmarshal(raw, &s) != nil || !cleanText(s) {
		return false
	}
	*into = s
	return true
}

func validOdds(text string) bool {
	if len(text) > maxNumber || text == "" || text[0] == '"' {
		return false
	}
	f, err := strconv.ParseFloat(text, 64)
	return err == nil && !math.Signbit(f) && f <= maxOdds
}

// cleanText tells whether a text may stand in a record: some of it is there, it
// is not too long, and all of it can be printed.
func cleanText(s string) bool { return cleanUpTo(s, maxText) }

func cleanUpTo(s string, most int) bool {
	return s != "" && len(s) <= most && utf8.ValidString(s) && strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// encode writes a record as it goes to Kafka.
func (b Bet) encode() []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(b); err != nil {
		panic(err) // texts and numbers that have been read from JSON
	}
	return bytes.TrimRight(out.Bytes(), "\n")
}
