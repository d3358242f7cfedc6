package racing

import (
	"cmp"
	"strings"
	"time"
)

// Push is one message that a provider accepted, as its stand-in saw it.
type Push struct {
	// Seq is the order of acceptance at the stand-in; it names the acceptance.
	Seq uint64
	// Provider is "fcm" or "ably".
	Provider string
	// Token is the target as sent to: FCM's token, or Ably's device id.
	Token string
	// NID, Tag and CollapseID are what makes a repeat harmless on a device.
	NID, Tag, CollapseID string
	Title, Body          string
	// Data is what the app gets.
	Data map[string]string
	// Begun is when the request reached the provider, zero if unknown.
	Begun time.Time
	// At is when the provider accepted it.
	At time.Time
	// Attempt counts the requests that the provider saw for this message, from
	// 1; zero if unknown.
	Attempt int
	// AnswerLost says that the provider accepted the message and then kept the
	// answer from the sender.
	AnswerLost bool
	// Code is 0 if the message reached its device. Else the provider accepted
	// it and then reported that it failed with this code, as Ably does on its
	// push log; the sender was told of the acceptance only.
	Code int
}

// compare orders messages: those of one provider by acceptance, others by time.
func (p Push) compare(q Push) int {
	if p.Provider != q.Provider {
		return p.At.Compare(q.At)
	}
	return cmp.Compare(p.Seq, q.Seq)
}

// codeTargetDead is Ably's code for a push token that is not valid any more.
// Source: ably-common, protocol/errors.json.
const codeTargetDead = 103005

// subjectKind is what a message is about.
type subjectKind string

const (
	aboutRace subjectKind = "race"
	aboutBet  subjectKind = "bet"
)

// subjectKey names a bet or a race.
type subjectKey struct {
	kind subjectKind
	id   string
}

// content is what an app can tell about the announced revision. Empty fields
// are unknown.
type content struct {
	what     what
	outcome  Outcome
	payout   *Money
	status   RaceStatus
	startsAt time.Time
	reason   string
}

// read finds out what a message announces, from its link and data alone.
func (p Push) read() (subjectKey, content, bool) {
	path, ok := strings.CutPrefix(p.Data["link"], "app://")
	if !ok {
		return subjectKey{}, content{}, false
	}
	kind, id, ok := strings.Cut(path, "/")
	key := subjectKey{kind: subjectKind(kind), id: id}
	var c content
	if s := p.Data["starts_at"]; s != "" {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return key, c, false
		}
		c.startsAt = t
	}
	switch {
	case !ok || id == "":
		return key, c, false
	case key.kind == aboutBet && p.Data["reason"] != "":
		c.what, c.reason = whatReject, p.Data["reason"]
		return key, c, true
	case key.kind == aboutBet:
		c.what, c.outcome = whatSettled, Outcome(p.Data["outcome"])
		if s := p.Data["payout"]; s != "" {
			m, ok := ParseMoney(s)
			if !ok {
				return key, c, false
			}
			c.payout = &m
		}
		return key, c, c.outcome != ""
	case key.kind == aboutRace:
		// What an app would go by: the status where a rule adds it, else the
		// class, which says whether this wants something or informs.
		c.status = RaceStatus(p.Data["status"])
		switch {
		case c.status == Postponed, c.status == Abandoned, c.status == "" && p.Data["class"] == "service":
			c.what = whatChanged
		default:
			c.what, c.status = whatSoon, ""
		}
		return key, c, true
	}
	return key, c, false
}

// matches reports whether the content is that of the revision.
func (c content) matches(r *revision) bool {
	return c.what == r.what &&
		(c.outcome == "" || c.outcome == r.outcome) &&
		(c.payout == nil || *c.payout == r.payout) &&
		(c.reason == "" || c.reason == r.reason) &&
		(c.status == "" || c.status == r.status) &&
		(c.startsAt.IsZero() || c.startsAt.Equal(r.startsAt))
}
