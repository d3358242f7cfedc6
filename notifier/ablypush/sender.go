package ablypush

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/notifier"
)

// maxAnswer is the most bytes read of an answer to a publish; Ably's have less
// than a thousand.
const maxAnswer = 64 << 10

// vouchedFor is how long an accepted request shows that application and key are
// fine.
const vouchedFor = time.Minute

// Sender sends pushes through Ably. It is safe for concurrent use.
type Sender struct {
	client  *client
	builder builder
	slots   chan struct{}
	timeout time.Duration
	metrics senderMetrics
	log     zerolog.Logger
	// vouched is when Ably last accepted our key for push-admin, in Unix
	// nanoseconds.
	vouched atomic.Int64
}

var _ notifier.Sender = (*Sender)(nil)

// New makes a Sender. It reports every fault of the config and makes no request.
func New(_ context.Context, cfg Config) (*Sender, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configure ably push: %w", err)
	}
	metrics, err := newSenderMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("configure ably push: %w", err)
	}
	return &Sender{
		client:  newClient(cfg),
		builder: builder{channels: cfg.Channels},
		slots:   make(chan struct{}, cfg.MaxInFlight),
		timeout: cfg.Timeout,
		metrics: metrics,
		log:     cfg.Log.With().Str("component", "ablypush").Logger(),
	}, nil
}

// Send implements notifier.Sender: one request to publish, one verdict, within
// the configured timeout and the deadline of ctx. Outcome.Code is one of Codes,
// and Outcome.Err, unless sent, is an *Error. Outcome.ProviderID is always
// empty: Ably gives a push no name.
func (s *Sender) Send(ctx context.Context, p notifier.Push) notifier.Outcome {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	// A place and a connection are waited for until the request would begin too late.
	if !p.BeginBy.IsZero() {
		late := time.AfterFunc(time.Until(p.BeginBy), cancel)
		defer late.Stop()
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { late.Stop() }})
	}

	// Built first, so that a message that must not go waits for nothing.
	now := time.Now()
	body, cut, refused := s.builder.build(p, now)
	if refused != nil {
		return refusal(notifier.VerdictRejected, refused)
	}
	if err := ctx.Err(); err != nil {
		return refusal(notifier.VerdictRetry, &Error{Code: CodeNotSent, Err: err})
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return refusal(notifier.VerdictRetry, &Error{Code: CodeNotSent, Err: fmt.Errorf("wait for place: %w", ctx.Err())})
	}
	defer func() { <-s.slots }()

	// The wait may have been long: the time to live is what is left now.
	if later := time.Now(); later.Sub(now) >= time.Second || !p.Message.ExpiresAt.After(later) {
		if body, cut, refused = s.builder.build(p, later); refused != nil {
			return refusal(notifier.VerdictRejected, refused)
		}
	}
	if cut {
		s.metrics.bodiesCut.Inc()
	}

	a, err := s.client.do(ctx, http.MethodPost, s.client.base+"/push/publish", body, maxAnswer)
	if err != nil {
		return lost(err)
	}
	out, doubtful := classify(a, p.Target.Kind)
	switch {
	case out.Verdict == notifier.VerdictSent:
		s.metrics.chargeable.WithLabelValues(string(p.Target.Kind)).Inc()
		s.vouched.Store(time.Now().UnixNano())
	case doubtful:
		return s.confirm(ctx, out)
	}
	return out
}

// lost turns the error of a request that got no answer into an outcome.
func lost(err error) notifier.Outcome {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: CodeConnectionLost, Err: err}
	}
	if e.Code == CodeNotSent {
		return refusal(notifier.VerdictRetry, e)
	}
	return refusal(notifier.VerdictUnknown, e)
}

// confirm finds out whether a 40400 was about the target: it was if application
// and key are fine.
func (s *Sender) confirm(ctx context.Context, out notifier.Outcome) notifier.Outcome {
	if time.Since(time.Unix(0, s.vouched.Load())) < vouchedFor {
		return out
	}
	a, err := s.client.do(ctx, http.MethodGet, s.client.base+"/push/deviceRegistrations?limit=1", nil, maxAnswer)
	s.log.Debug().Err(err).Int("status", a.status).Msg("devices listed, to tell an unknown device from an unknown application")
	var e *Error
	_ = errors.As(out.Err, &e)
	switch {
	case err == nil && a.status == http.StatusOK:
		s.vouched.Store(time.Now().UnixNano())
		return out
	case err == nil && a.status < 500 && a.status != http.StatusTooManyRequests:
		return refusal(notifier.VerdictBlocked, &Error{
			Code: CodeNotFound, Status: e.Status, Ably: e.Ably, Detail: "devices cannot be listed either: is the application still there?",
		})
	}
	// Nothing was accepted, so that a repeat does no harm.
	return refusal(notifier.VerdictRetry, &Error{Code: CodeUnconfirmedNotFound, Status: e.Status, Ably: e.Ably})
}

// Close closes idle connections. It must not be called before the last Send has
// returned.
func (s *Sender) Close(context.Context) error {
	s.client.transport.CloseIdleConnections()
	return nil
}
