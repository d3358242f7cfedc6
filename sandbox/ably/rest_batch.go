package ably

import (
	"net/http"
	"strings"
)

// batchSpec is one part of a batch: messages for some channels, atomic on each.
type batchSpec struct {
	channels []string
	messages []*message
	body     any
	results  []batchResult
}

// batchResult is the answer for one channel of a spec.
type batchResult struct {
	Channel   string     `json:"channel"`
	MessageID string     `json:"messageId,omitempty"`
	Serials   []string   `json:"serials,omitempty"`
	Error     *errorInfo `json:"error,omitempty"`
}

// specReply is the answer to one spec. Source: Ably, "Batch publish", protocol
// version 3 and newer.
type specReply struct {
	SuccessCount int           `json:"successCount"`
	FailureCount int           `json:"failureCount"`
	Results      []batchResult `json:"results"`
}

// partialReply is the answer of protocol version 2 to a batch that failed in
// part.
type partialReply struct {
	Error         *errorInfo    `json:"error"`
	BatchResponse []batchResult `json:"batchResponse"`
}

// publishBatch is POST /messages.
func (x *request) publishBatch() *answer {
	s := x.s
	x.publishes = ViaBatch
	body, e := x.body(MaxBatchBytes)
	if e != nil {
		return x.refused(e)
	}
	list, isList := body.([]any)
	if !isList {
		list = []any{body}
	}
	specs, e := s.specsOf(list, x.who)
	if e != nil {
		return x.refused(e)
	}
	var keys []messageKey
	for _, spec := range specs {
		key, e := dedupeKey(spec.messages)
		if e != nil {
			return x.refused(e)
		}
		for _, name := range spec.channels {
			keys = append(keys, keyOf(key, name))
		}
	}
	p, done := x.strike(keys)
	if done {
		return nil
	}
	pushes, accepted := x.publishSpecs(specs, keys)
	if !accepted {
		s.mu.Lock()
		p.refund()
		s.mu.Unlock()
		if p.kind.AfterAccept() {
			p.kind = "" // nothing was accepted: the fault finds nobody to deceive
		}
	}
	s.announce(s.accept(pushes, false, ""))
	return x.conclude(p, x.batchReply(specs, isList), nil)
}

// specsOf reads a batch. What is wrong about a channel fails that channel only;
// what is wrong with the batch itself or its messages fails the request.
func (s *Server) specsOf(list []any, who *principal) ([]*batchSpec, *errorInfo) {
	if len(list) == 0 {
		return nil, fail(codeBadRequest, "batch is empty")
	}
	var out []*batchSpec
	distinct := map[string]bool{}
	for _, v := range list {
		o, isObject := asObject(v)
		if !isObject {
			return nil, fail(codeBadBody, "batch spec is not an object")
		}
		spec := &batchSpec{body: o["messages"]}
		names, isList := o["channels"].([]any)
		if !isList {
			names = []any{o["channels"]}
		}
		for _, n := range names {
			name, isText := n.(string)
			if !isText {
				return nil, fail(codeBadRequest, "batch spec: channels are missing or no names")
			}
			name, _ = splitChannel(name)
			distinct[name] = true
			spec.channels = append(spec.channels, name)
		}
		if len(spec.channels) == 0 {
			return nil, fail(codeBadRequest, "batch spec: no channels")
		}
		if spec.body == nil {
			return nil, fail(codeBadRequest, "batch spec: messages are missing")
		}
		var e *errorInfo
		if spec.messages, e = s.messagesOf(spec.body, who); e != nil {
			return nil, e
		}
		out = append(out, spec)
	}
	if len(distinct) > MaxBatchChannels {
		return nil, fail(codeBadRequest, "batch has %d channels; max = %d", len(distinct), MaxBatchChannels)
	}
	return out, nil
}

// publishSpecs publishes each spec on each of its channels and notes the
// results. keys are those of all of them in order.
func (x *request) publishSpecs(specs []*batchSpec, keys []messageKey) (pushes []*item, accepted bool) {
	s := x.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, spec := range specs {
		for _, name := range spec.channels {
			key := keys[0]
			keys = keys[1:]
			e := checkChannelName(name)
			switch {
			case e != nil:
			case !x.who.may(opPublish, name) || isMeta(name):
				e = denied(opPublish, "the channel")
			case s.drawItem(key, s.ledger.state(key)):
				s.stats.Faults[ItemInternal]++
				e = fail(codeInternal, "internal error")
			default:
				e = mayAttach(x.who, name, spec.messages)
			}
			var out *receipt
			if e == nil {
				out, e = s.publish(name, copies(spec.messages), origin{via: ViaBatch, once: true})
			}
			if e != nil {
				spec.results = append(spec.results, batchResult{Channel: name, Error: e})
				continue
			}
			accepted = true
			x.owes(out)
			pushes = append(pushes, out.takePushes()...)
			spec.results = append(spec.results, batchResult{Channel: name, MessageID: out.id, Serials: out.serials})
		}
	}
	return pushes, accepted
}

// copies returns the messages anew: each channel gives them a place of its own.
func copies(msgs []*message) []*message {
	out := make([]*message, len(msgs))
	for i, m := range msgs {
		c := *m
		out[i] = &c
	}
	return out
}

// batchReply makes the answer of the protocol version that the client speaks.
func (x *request) batchReply(specs []*batchSpec, isList bool) *answer {
	var flat []batchResult
	replies := make([]specReply, 0, len(specs))
	failures := 0
	for _, spec := range specs {
		r := specReply{Results: spec.results}
		for _, res := range spec.results {
			if res.Error != nil {
				r.FailureCount++
			} else {
				r.SuccessCount++
			}
		}
		failures += r.FailureCount
		flat = append(flat, spec.results...)
		replies = append(replies, r)
	}
	switch {
	case x.v >= 3 || x.q.Get("newBatchResponse") == "true":
		if !isList {
			return &answer{status: http.StatusCreated, body: replies[0]}
		}
		return &answer{status: http.StatusCreated, body: replies}
	case failures > 0:
		e := fail(codeBatchPartial, "batched response includes errors")
		return &answer{status: e.StatusCode, err: e, body: partialReply{e, flat}}
	}
	return &answer{status: http.StatusCreated, body: flat}
}

// presenceReply is the answer to a request for the members of some channels.
type presenceReply struct {
	SuccessCount int              `json:"successCount"`
	FailureCount int              `json:"failureCount"`
	Results      []presenceResult `json:"results"`
}

type presenceResult struct {
	Channel  string     `json:"channel"`
	Presence any        `json:"presence,omitempty"` // []presence, nil with an error
	Error    *errorInfo `json:"error,omitempty"`
}

// presentInChannels is GET /presence?channels=a,b. Source: Ably, "Batch
// presence".
func (x *request) presentInChannels() *answer {
	s := x.s
	names := strings.Split(x.q.Get("channels"), ",")
	if x.q.Get("channels") == "" || len(names) > MaxBatchChannels {
		return refuse(fail(codeBadParam, "invalid channels: 1 to %d names", MaxBatchChannels))
	}
	f := answerFormat(x.r)
	var out presenceReply
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		e := checkChannelName(name)
		if e == nil && !x.who.may(opSubscribe, name) && !x.who.may(opPresence, name) {
			e = denied(opPresence, "the channel")
		}
		if e != nil {
			out.FailureCount++
			out.Results = append(out.Results, presenceResult{Channel: name, Error: e})
			continue
		}
		out.SuccessCount++
		members := []presence{}
		if ch, known := s.channels[name]; known {
			for _, m := range ch.present() {
				members = append(members, m.in(f))
			}
		}
		out.Results = append(out.Results, presenceResult{Channel: name, Presence: members})
	}
	return ok(out)
}
