package ably

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// Kind names a fault. The values double as keys of [Stats.Faults].
type Kind string

// Faults that leave what was sent unaccepted.
const (
	// RateRequests is a 429 with 42918: the account's API requests a second.
	RateRequests Kind = "rate_requests"
	// RateGeneric is a 429 with 42910.
	RateGeneric Kind = "rate_generic"
	// RateChannel is a 429 with 42913: the messages a second of a channel.
	// Nothing but publishing to one channel meets it.
	RateChannel Kind = "rate_channel"
	// RateMessages is a 429 with 42917: the account's messages a second.
	// Nothing but publishing to channels meets it.
	RateMessages Kind = "rate_messages"
	// RateEdge is a 429 with 42922 in the headers alone and no body, as the
	// edge rejects a flood.
	RateEdge Kind = "rate_edge"
	// AccountBlocked is a 403 with 40112: the account's monthly limit.
	AccountBlocked Kind = "account_blocked"
	// TokenExpired is a 401 with 40142, also for a key.
	TokenExpired Kind = "token_expired"
	// Internal is a 500 with 50000.
	Internal Kind = "internal"
	// Unavailable is a 503 with 50003 in the body.
	Unavailable Kind = "unavailable"
	// BadGatewayHTML is a 502 page of the content delivery network.
	BadGatewayHTML Kind = "bad_gateway_html"
	// GatewayTimeoutHTML is a 504 page of the content delivery network.
	GatewayTimeoutHTML Kind = "gateway_timeout_html"
	// ItemInternal fails one item of a batch, of pushes or of messages, with
	// 50000 while the request succeeds. Nothing but batches meets it.
	ItemInternal Kind = "item_internal"
	// Reset breaks the connection.
	Reset Kind = "reset"
	// Hang answers nothing until the client gives up or [Config.HangLimit] has
	// passed.
	Hang Kind = "hang"
)

// Faults after acceptance: the client cannot know.
const (
	// ResetAfterAccept accepts and breaks the connection.
	ResetAfterAccept Kind = "reset_after_accept"
	// UnavailableAfterAccept accepts and answers 503.
	UnavailableAfterAccept Kind = "unavailable_after_accept"
	// HangAfterAccept accepts and then answers nothing.
	HangAfterAccept Kind = "hang_after_accept"
)

// GoAway answers as usual and then closes the connection. It is no failure.
const GoAway Kind = "go_away"

// Faults of frames; see [Faults.FrameRules].
const (
	// AckWithheld accepts a frame and sends neither its ACK nor any after it
	// until the client reconnects, or [Config.HangLimit] cuts it off.
	AckWithheld Kind = "ack_withheld"
	// AckDelayed accepts a frame and sends its ACK, and those after it, only
	// after [Faults.AckDelay].
	AckDelayed Kind = "ack_delayed"
)

// onFrames reports whether k can strike a frame.
func (k Kind) onFrames() bool {
	switch k {
	case AckWithheld, AckDelayed, Reset, ResetAfterAccept, TokenExpired, RateGeneric, RateChannel, RateMessages, AccountBlocked,
		Internal, Unavailable:
		return true
	}
	return false
}

// Faults of webhooks; see [WebhookFaults].
const (
	// WebhookTwice sends a request again although it succeeded.
	WebhookTwice Kind = "webhook_twice"
	// WebhookRepeat sends an event again with a later request.
	WebhookRepeat Kind = "webhook_repeat"
)

// WebhookFaults says how webhooks misbehave. Which request and event is struck
// follows from [Config.Seed] and the event's number.
type WebhookFaults struct {
	// DelayMin and DelayMax bound the time for which each request is held back.
	DelayMin, DelayMax time.Duration
	// Twice is the share of requests, from 0 to 1, that are made again although
	// they succeeded, with the same events and newer ones.
	Twice float64
	// Repeat is the share of events that come a second time in a later request.
	Repeat float64
}

// AfterAccept reports whether k strikes what was accepted already.
func (k Kind) AfterAccept() bool {
	return k == ResetAfterAccept || k == UnavailableAfterAccept || k == HangAfterAccept
}

// Valid reports whether k is one of the kinds of this package.
func (k Kind) Valid() bool {
	switch k {
	case RateRequests, RateGeneric, RateChannel, RateMessages, RateEdge, AccountBlocked, TokenExpired, Internal, Unavailable, BadGatewayHTML,
		GatewayTimeoutHTML, ItemInternal, Reset, Hang, ResetAfterAccept, UnavailableAfterAccept, HangAfterAccept, GoAway:
		return true
	}
	return false
}

// FaultRule makes one kind of fault happen to a share of the requests, or of
// the items of batches for [ItemInternal].
type FaultRule struct {
	Kind Kind
	// Probability is the share struck, from 0 to 1.
	Probability float64
}

// Faults says how the stand-in misbehaves when something is published: pushes
// and messages over REST, single and in batches. The zero value: not at all.
//
// Which fault strikes a request is a pure function of [Config.Seed], of the
// messages in it (each a pair of nid and recipient) and of the number of the
// attempt, whatever the order in which requests arrive. Ably documents no
// Retry-After, so no fault has one.
type Faults struct {
	// LatencyMin and LatencyMax bound the added time of every request. Half
	// of it passes before acceptance and half after.
	LatencyMin, LatencyMax time.Duration
	// Rules are drawn from, at most one per request. Their probabilities sum
	// to at most 1.
	Rules []FaultRule
	// MaxPerMessage bounds how often one message is struck; a batch is struck
	// only if each message in it may be. Zero means 2, negative unlimited.
	// Messages without a nid to one recipient count as one message.
	MaxPerMessage int
	// FrameRules strike messages and presence messages over realtime instead,
	// with the same bounds. [Reset] cuts the connection before the frame is
	// accepted, [ResetAfterAccept] after it and before its ACK; [AckWithheld]
	// and [AckDelayed] keep the ACK; [TokenExpired] disconnects with 40142; the
	// kinds of 429, [AccountBlocked], [Internal] and [Unavailable] refuse with
	// a NACK of their code. Others are impossible.
	FrameRules []FaultRule
	// AckDelay is the time of [AckDelayed]. Zero means one second.
	AckDelay time.Duration
	// Webhooks are the faults of webhooks.
	Webhooks WebhookFaults
}

// Mild returns the faults of an ordinary bad day: 5 to 40 ms of latency, some
// of the 429 family, some 500 and 503; over realtime late ACKs and broken
// connections. No push is accepted and then failed, and
// none is failed more than twice, so a client that retries always gets
// through, exactly once.
func Mild() Faults {
	return Faults{
		LatencyMin: 5 * time.Millisecond,
		LatencyMax: 40 * time.Millisecond,
		Rules: []FaultRule{
			{Kind: RateRequests, Probability: 0.01},
			{Kind: RateEdge, Probability: 0.01},
			{Kind: Internal, Probability: 0.01},
			{Kind: Unavailable, Probability: 0.02},
			{Kind: BadGatewayHTML, Probability: 0.01},
			{Kind: ItemInternal, Probability: 0.01},
		},
		FrameRules: []FaultRule{{Kind: AckDelayed, Probability: 0.01}, {Kind: Reset, Probability: 0.005}},
		AckDelay:   100 * time.Millisecond,
	}
}

// Harsh returns [Mild] plus resets and 503 after acceptance, and NACKs over
// realtime, under the same bounds per message. A client that retries repeats some pushes, each marked
// by [Accepted.AnswerLost] on its earlier acceptance.
func Harsh() Faults {
	f := Mild()
	f.Rules = append(f.Rules,
		FaultRule{Kind: ResetAfterAccept, Probability: 0.02},
		FaultRule{Kind: UnavailableAfterAccept, Probability: 0.02},
	)
	f.FrameRules = append(f.FrameRules, FaultRule{Kind: ResetAfterAccept, Probability: 0.01}, FaultRule{Kind: Internal, Probability: 0.01})
	return f
}

// validate reports the first rule that makes no sense.
func (f Faults) validate() error {
	if f.LatencyMin < 0 || f.LatencyMax < f.LatencyMin && f.LatencyMax != 0 {
		return fmt.Errorf("faults: latency %v to %v: %w", f.LatencyMin, f.LatencyMax, ErrFaults)
	}
	w := f.Webhooks
	if w.DelayMin < 0 || w.DelayMax < w.DelayMin && w.DelayMax != 0 || !(w.Twice >= 0 && w.Twice <= 1) || !(w.Repeat >= 0 && w.Repeat <= 1) {
		return fmt.Errorf("faults of webhooks: %w", ErrFaults)
	}
	if f.AckDelay < 0 {
		return fmt.Errorf("faults: delay of an ack: %w", ErrFaults)
	}
	if err := validateRules(f.Rules, Kind.Valid); err != nil {
		return err
	}
	return validateRules(f.FrameRules, Kind.onFrames)
}

func validateRules(rules []FaultRule, valid func(Kind) bool) error {
	sum := 0.0
	for i, r := range rules {
		sum += r.Probability
		// The slack forgives decimal fractions that do not sum exactly.
		if !valid(r.Kind) || !(r.Probability >= 0) || sum > 1+1e-9 {
			return fmt.Errorf("faults: rule %d (%s): %w", i, r.Kind, ErrFaults)
		}
	}
	return nil
}

// plan is everything the faults decide about one request.
type plan struct {
	kind          Kind
	counted       bool // it took from the messages' bounds
	before, after time.Duration
	states        []*messageState
}

// draw decides about one attempt at the given messages, which it counts. It
// consumes the queue of injected faults first; those ignore the bounds. s.mu
// must be held. Kinds that strange refuses do not strike.
func (s *Server) draw(keys []messageKey, strange func(Kind) bool) plan {
	return s.drawFrom(s.faults.Rules, &s.injected, keys, strange)
}

// drawFrom decides by the given rules and queue. s.mu must be held.
func (s *Server) drawFrom(rules []FaultRule, injected *[]Kind, keys []messageKey, strange func(Kind) bool) plan {
	f := s.faults
	var p plan
	var a, b uint64
	attempts := 0
	for _, key := range keys {
		st := s.ledger.state(key)
		st.attempts++
		attempts += st.attempts
		p.states = append(p.states, st)
		a ^= binary.LittleEndian.Uint64(key[:8])
		b ^= binary.LittleEndian.Uint64(key[8:])
	}
	rng := rand.New(rand.NewPCG(s.cfg.Seed^a, b+uint64(attempts)))
	latency := between(rng, f.LatencyMin, max(f.LatencyMin, f.LatencyMax))
	p.before, p.after = latency/2, latency-latency/2
	roll := rng.Float64()
	if q := *injected; len(q) > 0 && q[0] != ItemInternal && !strange(q[0]) {
		p.kind = q[0]
		*injected = q[1:]
		return p
	}
	for _, r := range rules {
		if roll < r.Probability {
			p.kind = r.Kind
			break
		}
		roll -= r.Probability
	}
	if p.kind == ItemInternal || strange(p.kind) {
		p.kind = "" // drawn per item, or for other requests
	}
	if p.kind == "" || p.kind == GoAway {
		return p
	}
	limit := orDefault(f.MaxPerMessage, 2)
	for _, st := range p.states {
		if limit >= 0 && st.faults >= limit {
			p.kind = ""
			return p
		}
	}
	for _, st := range p.states {
		st.faults++
	}
	p.counted = true
	return p
}

// drawItem decides whether one item of a batch fails. s.mu must be held.
func (s *Server) drawItem(key messageKey, st *messageState) bool {
	if len(s.injected) > 0 && s.injected[0] == ItemInternal {
		s.injected = s.injected[1:]
		return true
	}
	limit := orDefault(s.faults.MaxPerMessage, 2)
	for _, r := range s.faults.Rules {
		if r.Kind != ItemInternal || limit >= 0 && st.faults >= limit {
			continue
		}
		rng := rand.New(rand.NewPCG(^s.cfg.Seed^binary.LittleEndian.Uint64(key[:8]), uint64(st.attempts)))
		if rng.Float64() < r.Probability {
			st.faults++
			return true
		}
	}
	return false
}

// refund gives a fault that did not strike back to its messages' bounds. s.mu
// must be held.
func (p *plan) refund() {
	if p.counted {
		for _, st := range p.states {
			st.faults--
		}
		p.counted = false
	}
}

// between draws a duration from lo to hi, both included.
func between(rng *rand.Rand, lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(rng.Int64N(int64(hi-lo)+1))
}

// faultAnswer is the answer of a fault that has one, and nil for the rest.
func faultAnswer(k Kind) *answer {
	switch k {
	case RateRequests:
		return refuse(fail(codeRequestRate, "rate limit exceeded; metric = apiRequests.maxRate"))
	case RateGeneric:
		return refuse(fail(codeRate, "rate limit exceeded"))
	case RateChannel:
		return refuse(fail(codeChannelRate, "rate limit exceeded; metric = channel.maxRate"))
	case RateMessages:
		return refuse(fail(codeMessageRate, "rate limit exceeded; metric = messages.maxRate"))
	case RateEdge:
		a := refuse(fail(codeEdgeRate, "rate limit exceeded; request rejected"))
		a.headerOnly = true
		return a
	case AccountBlocked:
		e := fail(codeAccountBlocked, "account blocked (message limits exceeded)")
		e.StatusCode = http.StatusForbidden
		return refuse(e)
	case TokenExpired:
		return refuse(fail(codeTokenExpired, "token expired"))
	case Internal:
		return refuse(fail(codeInternal, "internal error"))
	case Unavailable, UnavailableAfterAccept:
		e := fail(codeTimeout, "service temporarily unavailable")
		e.StatusCode = http.StatusServiceUnavailable
		return refuse(e)
	case BadGatewayHTML:
		return &answer{status: http.StatusBadGateway, html: true}
	case GatewayTimeoutHTML:
		return &answer{status: http.StatusGatewayTimeout, html: true}
	default:
		return nil
	}
}

// SetFaults replaces the faults; requests in flight keep the one they drew.
// How often each message was struck so far stays counted. The error is
// [ErrFaults] when f contradicts itself; then nothing changes.
func (s *Server) SetFaults(f Faults) error {
	if err := f.validate(); err != nil {
		return err
	}
	f.Rules, f.FrameRules = slices.Clone(f.Rules), slices.Clone(f.FrameRules)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	return nil
}

// Inject makes the next publishes that are well formed and permitted meet the
// given faults, one each and in this order, whatever [Faults] says.
// [ItemInternal] waits for the next item of a batch, [RateChannel] and
// [RateMessages] for the next publish to a channel; those behind wait too.
func (s *Server) Inject(kinds ...Kind) error {
	for i, k := range kinds {
		if !k.Valid() {
			return fmt.Errorf("inject fault %d (%s): %w", i, k, ErrFaults)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.injected = append(s.injected, kinds...)
	return nil
}

// InjectFrames makes the next messages and presence messages over realtime meet
// the given faults, one each and in this order, whatever [Faults] says. The
// error is [ErrFaults] for kinds that cannot strike a frame.
func (s *Server) InjectFrames(kinds ...Kind) error {
	for i, k := range kinds {
		if !k.onFrames() {
			return fmt.Errorf("inject fault %d (%s): %w", i, k, ErrFaults)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.injectedFrames = append(s.injectedFrames, kinds...)
	return nil
}

// SendTwice makes the next n successful requests of webhooks be made again, as
// if their answers had been lost.
func (s *Server) SendTwice(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hookTwice += n
}

// Stats counts what the server did since its start.
type Stats struct {
	// Requests is the number of REST requests.
	Requests uint64
	// Publishes and Batches are the requests to /push/publish and
	// /push/batch/publish.
	Publishes, Batches uint64
	// Outcomes counts those requests, and REST publishes to channels, by
	// outcome: "accepted", "refused", "client_gone" or a [Kind].
	Outcomes map[string]uint64
	// Faults counts the faults that struck, by kind, those after acceptance
	// included.
	Faults map[Kind]uint64
	// Accepted is the number of accepted pushes, one for each device, repeats
	// and those that failed later included.
	Accepted uint64
	// Delivered is the number of those that reached their device.
	Delivered uint64
	// Repeats is the number of acceptances of a push accepted before.
	Repeats uint64
	// Dropped is the number of pushes dropped for [Config.PushRate].
	Dropped uint64
	// Unaddressed is the number of pushes to clients without a device.
	Unaddressed uint64
	// LogEvents counts the events on the push log by code.
	LogEvents map[int]uint64
	// AfterAccept is the number of pushes accepted and then failed on purpose.
	AfterAccept uint64
	// ClientLost is the number of accepted pushes whose client went away
	// before the answer.
	ClientLost uint64
	// Forgotten is the number of records dropped for [Config.MaxRecords].
	Forgotten uint64
	// Tokens is the number of tokens issued.
	Tokens uint64
	// Messages is the number of messages published to channels, and Duplicates
	// the number of publishes recognised as repeats by their id.
	Messages, Duplicates uint64
	// DuplicatesAnswered is the number of those repeats whose publisher had
	// been told of an earlier acceptance, as far as the server can know: they
	// have no excuse.
	DuplicatesAnswered uint64
	// WebhookRequests is the number of requests of webhooks, WebhookFailures
	// that of those not answered with success.
	WebhookRequests, WebhookFailures uint64
	// WebhookEvents is the number of events delivered, of which WebhookRepeats
	// had been delivered before. WebhookDiscarded is the number of events that
	// grew too old, WebhookPending that of events waiting now.
	WebhookEvents, WebhookRepeats, WebhookDiscarded, WebhookPending uint64
	// Connections is the number of realtime connections opened, Resumed that
	// of resumed ones.
	Connections, Resumed uint64
}

// Stats returns a snapshot of the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Outcomes = maps.Clone(st.Outcomes)
	st.Faults = maps.Clone(st.Faults)
	st.LogEvents = maps.Clone(st.LogEvents)
	return st
}

// count notes an outcome and, unless empty, the fault behind it.
func (s *Server) count(outcome string, k Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if outcome != "" {
		s.stats.Outcomes[outcome]++
	}
	if k != "" {
		s.stats.Faults[k]++
	}
}
