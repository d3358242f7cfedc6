package ably

import (
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// publishReply is the answer to a publish. Source: Ably, REST API version 5.
type publishReply struct {
	Channel   string   `json:"channel"`
	MessageID string   `json:"messageId"`
	Serials   []string `json:"serials"`
}

// publishMessages is POST /channels/{channel}/messages: one message, an array
// that is published as one, or with enveloped=false the data alone.
func (x *request) publishMessages(name string) *answer {
	s := x.s
	x.publishes = ViaREST
	if !x.who.may(opPublish, name) || isMeta(name) {
		return x.refused(denied(opPublish, "the channel"))
	}
	read := x.envelope
	if x.q.Get("enveloped") == "false" {
		read = x.bare
	}
	body, e := read()
	if e != nil {
		return x.refused(e)
	}
	msgs, e := s.messagesOf(body, x.who)
	if e == nil {
		e = mayAttach(x.who, name, msgs)
	}
	if e != nil {
		return x.refused(e)
	}
	key, e := dedupeKey(msgs)
	if e != nil {
		return x.refused(e)
	}
	if x.q.Get("_forceNack") == "true" {
		return x.refused(fail(codeForcedNack, "forced nack"))
	}
	p, done := x.strike([]messageKey{keyOf(key, name)})
	if done {
		return nil
	}
	s.mu.Lock()
	from, e := s.originOf(body)
	from.via = ViaREST
	var out *receipt
	if e == nil {
		out, e = s.publish(name, msgs, from)
	}
	var a *answer
	var pushes []*item
	if e != nil {
		p.refund()
		if p.kind.AfterAccept() {
			p.kind = ""
		}
		a = refuse(e)
	} else {
		x.owes(out)
		pushes = out.takePushes()
		a = &answer{status: http.StatusCreated, body: publishReply{name, out.id, out.serials}}
	}
	s.mu.Unlock()
	s.announce(s.accept(pushes, false, ""))
	return x.conclude(p, a, nil)
}

// owes notes that somebody is to be told of a publish. s.mu must be held.
func (x *request) owes(r *receipt) {
	if !r.answered {
		x.receipts = append(x.receipts, r)
	}
}

// originOf finds the realtime connection on whose behalf a message is
// published by its connectionKey. s.mu must be held.
func (s *Server) originOf(body any) (origin, *errorInfo) {
	o, _ := asObject(body)
	key := o.str("connectionKey")
	if key == "" {
		return origin{}, nil
	}
	id, _, _ := strings.Cut(key, "!")
	c, known := s.conns[id]
	if !known || c.key != key {
		return origin{}, fail(codeForeignConn, "invalid connectionKey")
	}
	return origin{conn: c}, nil
}

// envelope reads messages as they are usually published.
func (x *request) envelope() (any, *errorInfo) {
	// Twice the size, for what surrounds the messages; messagesOf is exact.
	return x.body(2*x.s.cfg.MaxMessageSize + 4096)
}

// bare reads a body that is a message's data alone; headers have the rest.
// Source: Ably, REST API, "Publish messages".
func (x *request) bare() (any, *errorInfo) {
	h := x.r.Header
	msg := map[string]any{}
	for field, name := range map[string]string{
		"id": "X-Ably-MessageId", "name": "X-Ably-MessageName", "encoding": "X-Ably-MessageEncoding", "connectionKey": "X-Ably-ConnectionKey",
	} {
		// The page writes X-Ably-MessageId and then, shorter, -Name and -Encoding.
		if v := orDefault(h.Get(name), h.Get(strings.Replace(name, "Message", "", 1))); v != "" {
			msg[field] = v
		}
	}
	if text := h.Get("X-Ably-ClientId"); text != "" {
		id, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fail(codeClientID, "invalid client id: header is not base64")
		}
		msg["clientId"] = string(id)
	}
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type")) // what cannot be read is bytes
	if kind == "application/json" || kind == "application/x-msgpack" {
		data, e := x.envelope()
		msg["data"] = data
		return msg, e
	}
	b, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, int64(x.s.cfg.MaxMessageSize)))
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		return nil, fail(codeTooBig, "maximum message length exceeded; max = %d", x.s.cfg.MaxMessageSize)
	} else if err != nil {
		return nil, fail(codeBadBody, "body could not be read")
	}
	msg["data"] = b
	if strings.HasPrefix(kind, "text/") {
		msg["data"] = string(b)
	}
	return msg, nil
}
