package ably

// recipient is whom a push is for, checked for its shape.
type recipient struct {
	Recipient
	fields object
}

// recipientOf checks one recipient. Source: Ably, REST API, "Publish a push
// notification to device(s)".
func recipientOf(v any) (recipient, *errorInfo) {
	o, isObject := asObject(v)
	if !isObject || len(o) == 0 {
		return recipient{}, fail(codeBadRequest, "push recipient is missing or empty")
	}
	r := recipient{fields: o}
	kinds := 0
	for name, to := range map[string]*string{"deviceId": &r.DeviceID, "clientId": &r.ClientID, "transportType": &r.Transport} {
		v, has := o[name]
		if !has {
			continue
		}
		kinds++
		if *to, _ = v.(string); *to == "" {
			return recipient{}, fail(codeBadRequest, "push recipient: %s is not a name", name)
		}
	}
	if kinds != 1 {
		return recipient{}, fail(codeBadRequest, "push recipient: want exactly one of deviceId, clientId and transportType")
	}
	if r.Transport == "" {
		if len(o) > 1 {
			return recipient{}, fail(codeBadRequest, "push recipient: unknown field")
		}
		return r, nil
	}
	token, e := addressOf(o)
	r.Token = token
	return r, e
}

// addressOf checks the fields of a transport and returns the address in them.
func addressOf(o object) (string, *errorInfo) {
	var address string
	var more []string
	switch o.str("transportType") {
	case transportFCM, transportGCM:
		address = "registrationToken"
	case transportAPNs:
		address = "deviceToken"
	case transportWeb:
		address, more = "targetUrl", []string{"publicVapidKey"}
		keys := o.sub("encryptionKey")
		if keys.str("p256dh") == "" || keys.str("auth") == "" {
			return "", fail(codeBadRequest, "push recipient: encryptionKey with p256dh and auth is missing")
		}
	case transportChannel:
		address, more = "channel", []string{"ablyKey", "ablyUrl"}
	default:
		return "", fail(codeBadRequest, "push recipient: unknown transportType")
	}
	for _, name := range append(more, address) {
		if o.str(name) == "" {
			return "", fail(codeBadRequest, "push recipient: %s is missing", name)
		}
	}
	return o.str(address), nil
}

// name identifies the recipient among messages.
func (r recipient) name() string {
	return r.DeviceID + "\x00" + r.ClientID + "\x00" + r.Token
}

// item is one payload for some recipients.
type item struct {
	to      []recipient
	payload payload
	nid     string
	channel string // for a push by a channel
	err     *errorInfo
}

// keys identifies the messages in the item.
func (it *item) keys() []messageKey {
	out := make([]messageKey, 0, len(it.to))
	for _, r := range it.to {
		out = append(out, keyOf(it.nid, r.name()))
	}
	return out
}

// publishPush is POST /push/publish. The recipient and the payload's fields
// stand beside each other.
func (x *request) publishPush() *answer {
	s := x.s
	s.mu.Lock()
	s.stats.Publishes++
	s.mu.Unlock()
	if !x.who.mayAnywhere(opPushAdmin) {
		return x.refused(denied(opPushAdmin, "push"))
	}
	body, e := x.object(s.cfg.MaxMessageSize)
	if e != nil {
		return x.refused(e)
	}
	to, e := recipientOf(body["recipient"])
	if e != nil {
		return x.refused(e)
	}
	delete(body, "recipient")
	p, e := payloadOf(body)
	if e != nil {
		return x.refused(e)
	}
	it := &item{to: []recipient{to}, payload: p, nid: p.nid()}
	return x.publishItems([]*item{it}, false, func() *answer {
		if it.err != nil {
			return refuse(it.err)
		}
		return noContent()
	})
}

func (x *request) refused(e *errorInfo) *answer {
	x.s.count("refused", "")
	return refuse(e)
}

// publishPushBatch is POST /push/batch/publish. The payload stands under its
// own name here.
func (x *request) publishPushBatch() *answer {
	s := x.s
	s.mu.Lock()
	s.stats.Batches++
	s.mu.Unlock()
	if !x.who.mayAnywhere(opPushAdmin) {
		return x.refused(denied(opPushAdmin, "push"))
	}
	body, e := x.body(MaxBatchBytes)
	if e != nil {
		return x.refused(e)
	}
	list, isList := body.([]any)
	if !isList {
		list = []any{body}
	}
	if len(list) == 0 {
		return x.refused(fail(codeBadRequest, "batch is empty"))
	}
	items := make([]*item, 0, len(list))
	total := 0
	for _, v := range list {
		it, e := itemOf(v)
		if e != nil {
			return x.refused(e)
		}
		total += max(1, len(it.to))
		items = append(items, it)
	}
	if total > MaxBatchNotifications {
		return x.refused(fail(codeTooMany, "batch of %d notifications; max = %d", total, MaxBatchNotifications))
	}
	return x.publishItems(items, true, func() *answer { return batchAnswer(s.cfg.BatchReply, items) })
}

// itemOf reads one item. What is no item at all fails the request; what is
// wrong within one fails the item.
func itemOf(v any) (*item, *errorInfo) {
	o, isObject := asObject(v)
	if !isObject {
		return nil, fail(codeBadBody, "batch item is not an object")
	}
	it := &item{}
	recipients, isList := o["recipient"].([]any)
	if !isList {
		recipients = []any{o["recipient"]}
	}
	if len(recipients) == 0 {
		it.err = fail(codeBadRequest, "push recipient is missing or empty")
	}
	for _, r := range recipients {
		to, e := recipientOf(r)
		if e != nil && it.err == nil {
			it.err = e
		}
		it.to = append(it.to, to)
	}
	for name := range o {
		if name != "recipient" && name != "payload" && it.err == nil {
			it.err = fail(codeBadRequest, "batch item: unknown field; the payload stands under payload")
		}
	}
	p, e := payloadOf(o.sub("payload"))
	if e != nil && it.err == nil {
		it.err = e
	}
	it.payload, it.nid = p, p.nid()
	return it, nil
}

// itemResult is the answer to one item. One with several recipients fails if
// any of them is unknown; the others have their push all the same.
type itemResult struct {
	Error *errorInfo `json:"error,omitempty"`
}

// batchSummary is the answer in the shape of batch publishing to channels.
type batchSummary struct {
	SuccessCount int          `json:"successCount"`
	FailureCount int          `json:"failureCount"`
	Results      []itemResult `json:"results"`
}

func batchAnswer(shape BatchReply, items []*item) *answer {
	sum := batchSummary{Results: make([]itemResult, 0, len(items))}
	for _, it := range items {
		sum.Results = append(sum.Results, itemResult{it.err})
		if it.err != nil {
			sum.FailureCount++
		} else {
			sum.SuccessCount++
		}
	}
	switch shape {
	case BatchSummary:
		return ok(sum)
	case BatchEmpty:
		return noContent()
	default:
		return ok(sum.Results)
	}
}

// publishItems draws the fault of the request, accepts the items and tells the
// client, or not. The answer is made after acceptance.
func (x *request) publishItems(items []*item, batch bool, reply func() *answer) *answer {
	s := x.s
	var keys []messageKey
	for _, it := range items {
		if it.err == nil {
			keys = append(keys, it.keys()...)
		}
	}
	p, done := x.strike(keys)
	if done {
		return nil
	}
	recs, events := s.accept(items, batch, p.kind)
	if len(recs) == 0 && p.kind.AfterAccept() {
		// Nothing was accepted: the fault finds nobody to deceive.
		s.mu.Lock()
		p.refund()
		s.mu.Unlock()
		p.kind = ""
	}
	s.announce(recs, events)
	return x.conclude(p, reply(), recs)
}
