package bets

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// maxPage is the most bytes of a page's name that are kept.
const maxPage = 200

// The sources of items that mean something here (Ably: "Webhooks, batched").
const (
	sourceMessage  = "channel.message"
	sourcePresence = "channel.presence"
)

// The actions of a presence message (Ably's features specification, TP2).
const (
	presenceAbsent = iota
	presencePresent
	presenceEnter
	presenceLeave
	presenceUpdate
)

// webhook is a batched request of Ably.
type webhook struct {
	Items []json.RawMessage `json:"items"`
}

type item struct {
	Source    string `json:"source"`
	Timestamp int64  `json:"timestamp"` // milliseconds since 1970
	Data      struct {
		ChannelID string            `json:"channelId"`
		Messages  []json.RawMessage `json:"messages"`
		Presence  []json.RawMessage `json:"presence"`
	} `json:"data"`
}

type presenceMessage struct {
	ID           string          `json:"id"`
	ClientID     string          `json:"clientId"`
	ConnectionID string          `json:"connectionId"`
	Timestamp    int64           `json:"timestamp"`
	Action       *int            `json:"action"`
	Data         json.RawMessage `json:"data"`
	Encoding     string          `json:"encoding"`
}

// parsed is what a webhook holds.
type parsed struct {
	rows      []Row
	sightings []Sighting
	// ignored counts what is neither a bet nor a presence message of anybody, by why.
	ignored map[string]int
}

// Why something is ignored.
const (
	ignoredSource   = "other_source"
	ignoredChannel  = "other_channel"
	ignoredPresence = "bad_presence"
	ignoredOld      = "old_presence"
)

func ignoredReasons() []string {
	return []string{ignoredSource, ignoredChannel, ignoredPresence, ignoredOld}
}

// parse reads a webhook whose signature was good. Nothing makes it fail: what
// cannot be read becomes a dead letter, or Ably would send it again and again and
// hold back what comes after it.
func (p policy) parse(body []byte, now time.Time) parsed {
	out := parsed{ignored: map[string]int{}}
	var w webhook
	if err := json.Unmarshal(body, &w); err != nil || w.Items == nil {
		var ok bool
		if w.Items, ok = splitItems(body); !ok {
			out.bury("", ReasonWebhook, body, "", len(body))
			return out
		}
	}
	for _, raw := range w.Items {
		p.item(raw, now, &out)
	}
	return out
}

func (p policy) item(raw json.RawMessage, now time.Time, out *parsed) {
	var it item
	if err := json.Unmarshal(raw, &it); err != nil {
		out.bury("", ReasonItem, raw, "", len(raw))
		return
	}
	channel := it.Data.ChannelID
	switch it.Source {
	case sourceMessage:
		if !strings.HasPrefix(channel, ChannelPrefix) {
			out.ignored[ignoredChannel] += len(it.Data.Messages)
			return
		}
		for _, m := range it.Data.Messages {
			p.message(m, it, now, out)
		}
	case sourcePresence:
		for _, m := range it.Data.Presence {
			out.presence(m, it, now)
		}
	default:
		out.ignored[ignoredSource]++
	}
}

func (p policy) message(raw json.RawMessage, it item, now time.Time, out *parsed) {
	var m message
	channel := it.Data.ChannelID
	if err := json.Unmarshal(raw, &m); err != nil {
		out.bury(channel, ReasonMessage, raw, "", len(raw))
		return
	}
	at, ok := moment(m.Timestamp, it.Timestamp)
	if !ok || !cleanUpTo(m.ID, maxID) {
		out.bury(channel, ReasonMessage, raw, "", len(raw))
		return
	}
	data := m.raw()
	if tooOld(m.Timestamp, it.Timestamp, now) {
		out.bury(channel, ReasonOld, data, m.ID, len(data))
		return
	}
	b, reason := p.bet(m, channel, at)
	if reason != "" {
		out.bury(channel, reason, data, m.ID, len(data))
		return
	}
	out.rows = append(out.rows, Row{
		MessageID: m.ID, Channel: channel, Kind: KindBet, Value: b.encode(), Size: len(data), Authenticated: b.Authenticated,
	})
}

// bury makes a dead letter. What has no id of its own is known by its digest, so
// that it too is kept once.
func (out *parsed) bury(channel string, reason Reason, data []byte, id string, size int) {
	if id == "" {
		sum := sha256.Sum256(append([]byte(channel+"\x00"), data...))
		id = "sha256:" + hex.EncodeToString(sum[:])
	}
	out.rows = append(out.rows, Row{
		MessageID: id, Channel: storable(channel), Kind: KindDead, Reason: reason, Value: bytes.Clone(data[:min(len(data), MaxData)]), Size: size,
	})
}

// storable is a channel's name as any database takes it. No honest one is longer
// or has anything that cannot be printed.
func storable(channel string) string {
	const most = 2*maxText + len(ChannelPrefix) + 1
	channel = strings.ToValidUTF8(strings.ReplaceAll(channel, "\x00", ""), "\uFFFD")
	if len(channel) > most {
		channel = strings.ToValidUTF8(channel[:most], "")
	}
	return channel
}

func (out *parsed) presence(raw json.RawMessage, it item, now time.Time) {
	var m presenceMessage
	err := json.Unmarshal(raw, &m)
	at, ok := moment(m.Timestamp, it.Timestamp)
	channel := it.Data.ChannelID
	if err != nil || !ok || m.Action == nil || *m.Action < presenceAbsent || *m.Action > presenceUpdate ||
		!cleanUpTo(m.ClientID, maxID) || !cleanUpTo(channel, maxID) || m.ConnectionID != "" && !cleanUpTo(m.ConnectionID, maxID) {
		out.ignored[ignoredPresence]++
		return
	}
	if tooOld(m.Timestamp, it.Timestamp, now) {
		out.ignored[ignoredOld]++
		return
	}
	action := *m.Action
	out.sightings = append(out.sightings, Sighting{
		Channel: channel, ClientID: m.ClientID, ConnectionID: m.ConnectionID, Page: m.page(),
		Here: action != presenceLeave && action != presenceAbsent, At: at, Serial: presenceSerial(m.ID, m.ConnectionID),
	})
}

// page is where a member is: the data itself when it is a text, or its page.
func (m presenceMessage) page() string {
	data, reason := message{Data: m.Data, Encoding: m.Encoding}.decode()
	if reason != "" {
		return ""
	}
	text := string(data)
	var fields struct {
		Page string `json:"page"`
	}
	if json.Unmarshal(data, &fields) == nil {
		text = fields.Page
	} else if json.Unmarshal(data, &text) != nil {
		text = string(data)
	}
	if text = strings.TrimSpace(text); !cleanUpTo(text, maxPage) {
		return ""
	}
	return text
}

// presenceSerial orders the messages of one connection: an id of theirs is
// <connectionId>:<msgSerial>:<index> (Ably's features specification, RTP2b). One
// that the service has made up comes after all others of its moment.
func presenceSerial(id, connection string) int64 {
	const perMessage = 1 << 16
	last := int64(1)<<62 - 1
	rest, ok := strings.CutPrefix(id, connection+":")
	if !ok || connection == "" {
		return last
	}
	serial, index, ok := strings.Cut(rest, ":")
	s, err := strconv.ParseInt(serial, 10, 32)
	i, err2 := strconv.ParseInt(index, 10, 32)
	if !ok || err != nil || err2 != nil || s < 0 || i < 0 || i >= perMessage {
		return last
	}
	return s*perMessage + i
}

// moment is when a message was taken by Ably: its own time, or its item's.
func moment(own, of int64) (time.Time, bool) {
	const year9999 = 253_402_300_799_999
	if own == 0 {
		own = of
	}
	return time.UnixMilli(own).UTC(), own > 0 && own <= year9999
}

// tooOld tells whether either time is too far from now. A replayed webhook is known by
// its message ids for Retention, and by this afterwards.
func tooOld(own, of int64, now time.Time) bool {
	for _, ms := range []int64{own, of} {
		if ms == 0 {
			continue
		}
		age := now.Sub(time.UnixMilli(ms))
		if age > MaxAge || age < -maxAhead {
			return true
		}
	}
	return false
}
