package ably

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// routeChannel picks among the calls about channels.
func (x *request) routeChannel(path []string) *answer {
	if len(path) == 0 || len(path) > 3 {
		return refuse(notFound("path"))
	}
	name, _ := splitChannel(path[0])
	if e := checkChannelName(name); e != nil {
		return refuse(e)
	}
	what := ""
	if len(path) > 1 {
		what = path[1]
	}
	get := x.r.Method == http.MethodGet
	switch {
	case len(path) == 1 && get:
		return x.channelStatus(name)
	case len(path) == 2 && what == "messages" && x.r.Method == http.MethodPost:
		return x.publishMessages(name)
	case len(path) == 2 && (what == "messages" || what == "history") && get:
		return x.history(name, what)
	case len(path) == 2 && what == "presence" && get:
		return x.presentMembers(name)
	case len(path) == 3 && what == "presence" && path[2] == "history" && get:
		// Presence history is not kept.
		if !x.who.may(opHistory, name) {
			return refuse(denied(opHistory, "the channel"))
		}
		return ok([]presence{})
	}
	return refuse(notFound("path"))
}

// history answers messages of a channel, newest first unless asked otherwise.
func (x *request) history(name, self string) *answer {
	s := x.s
	if !x.who.may(opHistory, name) {
		return refuse(denied(opHistory, "the channel"))
	}
	sel, e := x.selection()
	if e != nil {
		return refuse(e)
	}
	s.mu.Lock()
	ch := s.channel(name)
	ch.prune(s.cfg.Now(), s.cfg)
	all := slices.Clone(ch.msgs)
	s.mu.Unlock()
	if !sel.forwards {
		slices.Reverse(all)
	}
	f := answerFormat(x.r)
	out := []message{}
	more := false
	var last uint64
	for _, m := range all {
		if !sel.takes(m) {
			continue
		}
		if len(out) == sel.limit {
			more = true
			break
		}
		out = append(out, m.in(f))
		last = m.pos
	}
	a := &answer{status: http.StatusOK, body: out}
	link := func(rel, cursor string) {
		q := url.Values{}
		for k, v := range x.q {
			if !secretParam(k) && k != "cursor" { // no secrets in links
				q[k] = v
			}
		}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		a.links = append(a.links, fmt.Sprintf(`<./%s?%s>; rel="%s"`, self, q.Encode(), rel))
	}
	link("first", "")
	link("current", x.q.Get("cursor"))
	if more {
		link("next", s.serialText(last))
	}
	return a
}

// selection is what of a history is asked for.
type selection struct {
	start, end int64 // in milliseconds, 0 for none
	forwards   bool
	limit      int
	upTo       uint64 // from fromSerial, 0 for none
	cursor     uint64 // the last message of the page before
}

func (x *request) selection() (selection, *errorInfo) {
	sel := selection{limit: 100}
	number := func(name string, to *int64) *errorInfo {
		if text := x.q.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				return fail(codeBadParam, "invalid %s", name)
			}
			*to = n
		}
		return nil
	}
	var limit int64
	for name, to := range map[string]*int64{"start": &sel.start, "end": &sel.end, "limit": &limit} {
		if e := number(name, to); e != nil {
			return sel, e
		}
	}
	if x.q.Has("limit") {
		if limit < 1 || limit > 1000 {
			return sel, fail(codeBadParam, "invalid limit: 1 to 1000")
		}
		sel.limit = int(limit)
	}
	if sel.start > 0 && sel.end > 0 && sel.start > sel.end {
		return sel, fail(codeBadParam, "start is after end")
	}
	switch x.q.Get("direction") {
	case "", "backwards":
	case "forwards":
		sel.forwards = true
	default:
		return sel, fail(codeBadParam, "invalid direction")
	}
	for name, to := range map[string]*uint64{"fromSerial": &sel.upTo, "from_serial": &sel.upTo, "cursor": &sel.cursor} {
		if text := x.q.Get(name); text != "" {
			n, isSerial := x.s.parseSerial(text)
			if !isSerial {
				return sel, fail(codeBadParam, "invalid %s", name)
			}
			*to = n
		}
	}
	return sel, nil
}

func (sel selection) takes(m *message) bool {
	switch {
	case m.Timestamp < sel.start, sel.end > 0 && m.Timestamp > sel.end:
		return false
	case sel.upTo > 0 && m.pos > sel.upTo:
		return false
	case sel.cursor == 0:
		return true
	case sel.forwards:
		return m.pos > sel.cursor
	}
	return m.pos < sel.cursor
}

func (x *request) presentMembers(name string) *answer {
	s := x.s
	if !x.who.may(opSubscribe, name) && !x.who.may(opPresence, name) {
		return refuse(denied(opPresence, "the channel"))
	}
	f := answerFormat(x.r)
	clientID, connID := x.q.Get("clientId"), x.q.Get("connectionId")
	s.mu.Lock()
	out := []presence{}
	for _, m := range s.channel(name).present() {
		if (clientID == "" || m.ClientID == clientID) && (connID == "" || m.ConnectionID == connID) {
			out = append(out, m.in(f))
		}
	}
	s.mu.Unlock()
	items, links, e := page(x, out, "presence")
	if e != nil {
		return refuse(e)
	}
	return &answer{status: http.StatusOK, body: items, links: links}
}

// channelDetails is the answer about a channel's status.
type channelDetails struct {
	ChannelID string        `json:"channelId"`
	Status    channelStatus `json:"status"`
}

type channelStatus struct {
	IsActive  bool             `json:"isActive"`
	Occupancy channelOccupancy `json:"occupancy"`
}

type channelOccupancy struct {
	Metrics map[string]int `json:"metrics"`
}

func (x *request) channelStatus(name string) *answer {
	s := x.s
	if !x.who.may(opMetadata, name) {
		return refuse(denied(opMetadata, "the channel"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channel(name)
	m := map[string]int{
		"connections": len(ch.attached), "presenceMembers": len(ch.members),
		"publishers": 0, "subscribers": 0, "presenceConnections": 0, "presenceSubscribers": 0,
	}
	for a := range ch.attached {
		for metric, mode := range map[string]int64{
			"publishers": modePublish, "subscribers": modeSubscribe,
			"presenceConnections": modePresence, "presenceSubscribers": modePresenceSubscribe,
		} {
			if a.modes&mode != 0 {
				m[metric]++
			}
		}
	}
	active := len(ch.attached) > 0 || len(ch.msgs) > 0 && s.cfg.Now().Sub(time.UnixMilli(ch.msgs[len(ch.msgs)-1].Timestamp)) < time.Minute
	return ok(channelDetails{name, channelStatus{active, channelOccupancy{m}}})
}
