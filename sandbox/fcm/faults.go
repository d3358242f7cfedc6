package fcm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind names a fault. The values double as keys of [Stats.Faults].
type Kind string

// Faults that leave the message unaccepted.
const (
	// QuotaFCM is a 429 with an FcmError QUOTA_EXCEEDED and a QuotaFailure,
	// as documented for device and topic limits.
	QuotaFCM Kind = "quota_fcm"
	// QuotaProject is the 429 the live service gives over the minute quota:
	// an ErrorInfo RATE_LIMIT_EXCEEDED and a Help, and no FcmError, so that
	// messaging.IsQuotaExceeded does not recognise it.
	QuotaProject Kind = "quota_project"
	// QuotaBare is a 429 without details.
	QuotaBare Kind = "quota_bare"
	// Unavailable is a 503 with an FcmError.
	Unavailable Kind = "unavailable"
	// UnavailableBare is a 503 without details.
	UnavailableBare Kind = "unavailable_bare"
	// Internal is a 500 with an FcmError.
	Internal Kind = "internal"
	// InternalHTML is a 500 with Google's HTML page.
	InternalHTML Kind = "internal_html"
	// BadGatewayHTML is a 502 with Google's HTML page.
	BadGatewayHTML Kind = "bad_gateway_html"
	// GatewayTimeoutHTML is a 504 with Google's HTML page.
	GatewayTimeoutHTML Kind = "gateway_timeout_html"
	// ThirdPartyAuth is a 401 THIRD_PARTY_AUTH_ERROR: the project's APNs or
	// Web Push credential is refused.
	ThirdPartyAuth Kind = "third_party_auth"
	// ThirdPartyAuthMisleading is the same under the text of a missing OAuth
	// token, as seen from the live service: only the FcmError tells them apart.
	ThirdPartyAuthMisleading Kind = "third_party_auth_misleading"
	// PermissionDenied is a 403 of IAM: the service account may not send.
	PermissionDenied Kind = "permission_denied"
	// ServiceDisabled is a 403: the API is switched off in the project.
	ServiceDisabled Kind = "service_disabled"
	// Reset breaks the connection (HTTP/1.1) or the stream (HTTP/2).
	Reset Kind = "reset"
	// Hang answers nothing until the client gives up or
	// [Config.HangLimit] has passed.
	Hang Kind = "hang"
)

// Faults after the message was accepted: the client cannot know.
const (
	// ResetAfterAccept accepts the message and breaks the connection.
	ResetAfterAccept Kind = "reset_after_accept"
	// UnavailableAfterAccept accepts the message and answers 503.
	UnavailableAfterAccept Kind = "unavailable_after_accept"
	// HangAfterAccept accepts the message and then answers nothing.
	HangAfterAccept Kind = "hang_after_accept"
)

// GoAway answers as usual and then closes the connection: by a GOAWAY frame on
// HTTP/2, by "Connection: close" on HTTP/1.1. It is no failure of the message.
const GoAway Kind = "go_away"

// AfterAccept reports whether k strikes a message that was accepted already.
func (k Kind) AfterAccept() bool {
	return k == ResetAfterAccept || k == UnavailableAfterAccept || k == HangAfterAccept
}

// Valid reports whether k is one of the kinds of this package.
func (k Kind) Valid() bool {
	switch k {
	case QuotaFCM, QuotaProject, QuotaBare, Unavailable, UnavailableBare, Internal, InternalHTML,
		BadGatewayHTML, GatewayTimeoutHTML, ThirdPartyAuth, ThirdPartyAuthMisleading, PermissionDenied, ServiceDisabled,
		Reset, Hang, ResetAfterAccept, UnavailableAfterAccept, HangAfterAccept, GoAway:
		return true
	}
	return false
}

// FaultRule makes one kind of fault happen to a share of the sends.
type FaultRule struct {
	Kind Kind
	// Probability is the share of sends struck, from 0 to 1.
	Probability float64
	// RetryAfterMin and RetryAfterMax bound the Retry-After header in whole
	// seconds. Both zero means no header. Faults without an answer ignore
	// them.
	RetryAfterMin, RetryAfterMax time.Duration
}

// Faults says how the stand-in misbehaves. The zero value: not at all.
//
// Which fault strikes a send is a pure function of [Config.Seed], the
// message's nid and target, and the number of the attempt, whatever the order
// in which requests arrive. So a run can be repeated.
type Faults struct {
	// LatencyMin and LatencyMax bound the added time of every send. Half of
	// it passes before the message is accepted and half after.
	LatencyMin, LatencyMax time.Duration
	// Rules are drawn from, at most one per send. Their probabilities sum to
	// at most 1.
	Rules []FaultRule
	// MaxPerMessage bounds how often one message, that is one pair of nid and
	// target, is struck. Zero means 2, negative unlimited. Messages without a
	// nid to one target count as one message.
	MaxPerMessage int
	// MaxBare bounds how often one message is struck without a Retry-After,
	// within MaxPerMessage. Zero means 1, or unlimited if MaxPerMessage is;
	// negative means unlimited.
	MaxBare int
	// TokenUnavailable is the share of requests to /token answered with 503.
	TokenUnavailable float64
}

// Mild returns the faults of an ordinary bad day: 5 to 40 ms of latency, some
// 429 and 503 with a Retry-After of one or two seconds, some 500 without. No
// message is accepted and then failed, and none is failed more than twice, so a
// client that retries always gets through, exactly once.
func Mild() Faults {
	return Faults{
		LatencyMin: 5 * time.Millisecond,
		LatencyMax: 40 * time.Millisecond,
		Rules: []FaultRule{
			{Kind: QuotaFCM, Probability: 0.01, RetryAfterMin: time.Second, RetryAfterMax: 2 * time.Second},
			{Kind: QuotaProject, Probability: 0.01, RetryAfterMin: time.Second, RetryAfterMax: 2 * time.Second},
			{Kind: Unavailable, Probability: 0.02, RetryAfterMin: time.Second, RetryAfterMax: 2 * time.Second},
			{Kind: Internal, Probability: 0.02},
		},
	}
}

// Harsh returns [Mild] plus resets and 503 after the message was accepted,
// under the same bounds per message. A client that retries repeats some
// messages, each marked by [Accepted.AnswerLost] on its earlier acceptance.
func Harsh() Faults {
	f := Mild()
	f.Rules = append(f.Rules,
		FaultRule{Kind: ResetAfterAccept, Probability: 0.02},
		FaultRule{Kind: UnavailableAfterAccept, Probability: 0.02, RetryAfterMin: time.Second, RetryAfterMax: 2 * time.Second},
	)
	return f
}

// validate reports the first rule that makes no sense.
func (f Faults) validate() error {
	if f.LatencyMin < 0 || f.LatencyMax < f.LatencyMin && f.LatencyMax != 0 {
		return fmt.Errorf("faults: latency %v to %v: %w", f.LatencyMin, f.LatencyMax, ErrFaults)
	}
	if f.TokenUnavailable < 0 || f.TokenUnavailable > 1 {
		return fmt.Errorf("faults: token unavailable %v: %w", f.TokenUnavailable, ErrFaults)
	}
	sum := 0.0
	for i, r := range f.Rules {
		sum += r.Probability
		// The slack forgives decimal fractions that do not sum exactly.
		if !r.Kind.Valid() || !(r.Probability >= 0) || sum > 1+1e-9 ||
			r.RetryAfterMin < 0 || r.RetryAfterMax < 0 || r.RetryAfterMax != 0 && r.RetryAfterMax < r.RetryAfterMin {
			return fmt.Errorf("faults: rule %d (%s): %w", i, r.Kind, ErrFaults)
		}
	}
	return nil
}

// bounds returns MaxPerMessage and MaxBare with their defaults; negative means
// unlimited.
func (f Faults) bounds() (all, bare int) {
	all, bare = orDefault(f.MaxPerMessage, 2), f.MaxBare
	if bare == 0 {
		bare = 1
		if all < 0 {
			bare = -1
		}
	}
	return all, bare
}

// fault is one fault drawn for one send. The zero value is none.
type fault struct {
	kind       Kind
	retryAfter time.Duration
	counted    bool // it took from the message's bounds
}

// bare reports whether the client is left without a Retry-After.
func (f fault) bare() bool { return f.retryAfter == 0 }

// plan is everything the faults decide about one send.
type plan struct {
	fault         fault
	before, after time.Duration // latency
}

// draw decides about one attempt at a message. It consumes the queue of
// injected faults first; those ignore the bounds.
func (s *Server) draw(key messageKey, st *messageState) plan {
	f := s.faults
	rng := rand.New(rand.NewPCG(
		s.cfg.Seed^binary.LittleEndian.Uint64(key[:8]),
		binary.LittleEndian.Uint64(key[8:])+uint64(st.attempts),
	))
	latency := between(rng, f.LatencyMin, max(f.LatencyMin, f.LatencyMax))
	p := plan{before: latency / 2, after: latency - latency/2}
	roll := rng.Float64()
	if len(s.injected) > 0 {
		r := s.injected[0]
		s.injected = s.injected[1:]
		p.fault = fault{kind: r.Kind, retryAfter: retryAfter(rng, r)}
		return p
	}
	for _, r := range f.Rules {
		if roll >= r.Probability {
			roll -= r.Probability
			continue
		}
		p.fault = fault{kind: r.Kind, retryAfter: retryAfter(rng, r)}
		break
	}
	if p.fault.kind == "" || p.fault.kind == GoAway {
		return p
	}
	all, bare := f.bounds()
	if all >= 0 && st.faults >= all || p.fault.bare() && bare >= 0 && st.bareFaults >= bare {
		p.fault = fault{}
		return p
	}
	st.faults++
	if p.fault.bare() {
		st.bareFaults++
	}
	p.fault.counted = true
	return p
}

// retryAfter draws the header of a rule in whole seconds.
func retryAfter(rng *rand.Rand, r FaultRule) time.Duration {
	switch r.Kind {
	case Reset, Hang, ResetAfterAccept, HangAfterAccept, GoAway:
		return 0
	default: // the rest has an answer to put it on
	}
	d := between(rng, r.RetryAfterMin, max(r.RetryAfterMin, r.RetryAfterMax)+time.Second-1)
	return d.Truncate(time.Second)
}

// between draws a duration from lo to hi, both included.
func between(rng *rand.Rand, lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(rng.Int64N(int64(hi-lo)+1))
}

// SetFaults replaces the faults; sends in flight keep the one they drew. How
// often each message was struck so far stays counted. The error is [ErrFaults]
// when f contradicts itself; then nothing changes.
func (s *Server) SetFaults(f Faults) error {
	if err := f.validate(); err != nil {
		return err
	}
	f.Rules = slices.Clone(f.Rules)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	return nil
}

// Inject makes the next sends that reach the service meet the given faults,
// one each and in this order, whatever [Faults] says. Probability is ignored.
// Sends refused before that, for want of authorization or well-formed JSON,
// take nothing from the queue.
func (s *Server) Inject(rules ...FaultRule) error {
	for i, r := range rules {
		if !r.Kind.Valid() {
			return fmt.Errorf("inject rule %d (%s): %w", i, r.Kind, ErrFaults)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.injected = append(s.injected, rules...)
	return nil
}

// Stats counts what the server did since its start.
type Stats struct {
	// Sends is the number of requests to messages:send.
	Sends uint64
	// Outcomes counts sends by outcome: "accepted", "validated", the names of
	// FCM error codes in lower case, "front_end" for refused JSON,
	// "unauthenticated", "permission_denied", "quota_project",
	// "quota_device", "client_gone", or a [Kind]. The sum is Sends, less what
	// is in flight.
	Outcomes map[string]uint64
	// Faults counts the faults that struck, by kind, those after acceptance
	// included.
	Faults map[Kind]uint64
	// Accepted is the number of accepted messages, repeats included.
	Accepted uint64
	// Repeats is the number of acceptances of a message accepted before.
	Repeats uint64
	// AfterAccept is the number of messages the stand-in accepted and then
	// failed on purpose.
	AfterAccept uint64
	// ClientLost is the number of accepted messages whose client went away
	// before the answer.
	ClientLost uint64
	// Forgotten is the number of records dropped for [Config.MaxRecords].
	Forgotten uint64
	// Tokens and TokensRefused count the answers of /token.
	Tokens, TokensRefused uint64
	// OtherRequests counts requests to any other path.
	OtherRequests uint64
}

// Stats returns a snapshot of the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Outcomes = maps.Clone(st.Outcomes)
	st.Faults = maps.Clone(st.Faults)
	return st
}
