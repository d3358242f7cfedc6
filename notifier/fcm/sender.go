package fcm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	firebase "firebase.google.com/go/v4"
	"firebase.google.com/go/v4/messaging"
	"google.golang.org/api/option"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// Sender sends pushes through FCM. It is safe for concurrent use.
type Sender struct {
	client  *messaging.Client
	builder builder
	tokens  *tokens
	pool    *pool
	// fetch is the transport to the token server.
	fetch   *http.Transport
	metrics metrics
	timeout time.Duration
}

var _ notifier.Sender = (*Sender)(nil)

// New makes a Sender. It reads the credentials and reports every fault of the
// config, but makes no request to FCM or the token server; only the search for
// application default credentials may ask Google Cloud's metadata server.
func New(ctx context.Context, cfg Config) (*Sender, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configure fcm: %w", err)
	}
	fetch := newTransport(cfg)
	acc := account{
		file: cfg.CredentialsFile,
		json: cfg.CredentialsJSON,
		// A redirect would carry the assertion to another server.
		client: &http.Client{Transport: fetch, CheckRedirect: noRedirect},
	}
	creds, err := acc.load()
	if err != nil {
		return nil, fmt.Errorf("configure fcm: %w", err)
	}
	if cfg.ProjectID == "" {
		if cfg.ProjectID, err = creds.ProjectID(ctx); err != nil || cfg.ProjectID == "" {
			return nil, errors.New("configure fcm: project id is missing: neither the configuration nor the credentials name one")
		}
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("configure fcm: %w", err)
	}

	// WithHTTPClient leaves authentication, telemetry and connections to us; the
	// telemetry option is for the reader, and for the day that changes.
	app, err := firebase.NewApp(ctx, &firebase.Config{ProjectID: cfg.ProjectID},
		option.WithEndpoint(cfg.URL),
		option.WithHTTPClient(&http.Client{Transport: oneShot{}, CheckRedirect: noRedirect}),
		option.WithScopes(scope),
		option.WithTelemetryDisabled(),
	)
	if err != nil {
		return nil, fmt.Errorf("configure fcm: %w", err)
	}
	client, err := app.Messaging(ctx)
	if err != nil {
		return nil, fmt.Errorf("configure fcm: %w", err)
	}
	log := cfg.Log.With().Str("component", "fcm").Logger()
	return &Sender{
		client:  client,
		builder: builder{channels: cfg.Channels},
		tokens:  &tokens{mint: acc.mint, log: log, count: m.tokenFetches},
		pool:    newPool(cfg, strings.HasPrefix(cfg.URL, "https:")),
		fetch:   fetch,
		metrics: m,
		timeout: cfg.Timeout,
	}, nil
}

// noRedirect keeps an http.Client from following: a redirected send would be a
// second request.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Send implements notifier.Sender: one request, one verdict, within the
// configured timeout and the deadline of ctx. Outcome.Code is one of Codes, and
// Outcome.Err, unless sent, is an *Error.
func (s *Sender) Send(ctx context.Context, p notifier.Push) notifier.Outcome {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	// Built first, so that a message that must not go waits for nothing.
	now := time.Now()
	message, cut, refused := s.builder.build(p, now)
	if refused != nil {
		return refusal(notifier.VerdictRejected, refused)
	}

	// A place, a token and a connection are waited for until the request would begin too late.
	connected := func() {}
	if !p.BeginBy.IsZero() {
		late := time.AfterFunc(time.Until(p.BeginBy), cancel)
		defer late.Stop()
		connected = func() { late.Stop() }
	}
	transport, err := s.pool.acquire(ctx)
	if err != nil {
		return refusal(notifier.VerdictRetry, &Error{Code: CodeNotSent, Err: fmt.Errorf("wait for connection: %w", err)})
	}
	defer s.pool.release(transport)
	bearer, err := s.tokens.get(ctx)
	if err != nil {
		return tokenOutcome(err)
	}

	// The wait may have been long: the time to live is what is left now.
	if later := time.Now(); later.Sub(now) >= time.Second || !p.Message.ExpiresAt.After(later) {
		if message, cut, refused = s.builder.build(p, later); refused != nil {
			return refusal(notifier.VerdictRejected, refused)
		}
	}
	if cut {
		s.metrics.bodiesCut.Inc()
	}

	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected() }})
	a := &attempt{transport: transport, bearer: bearer, fid: p.Target.Kind == devices.FCMFID}
	// What the SDK returns is not looked at: the attempt knows more, and the
	// SDK's error quotes Google's message, or the link that it refuses.
	_, _ = s.client.Send(context.WithValue(ctx, attemptKey{}, a), message)
	return s.outcome(ctx, a)
}

// outcome turns a finished attempt into an outcome.
func (s *Sender) outcome(ctx context.Context, a *attempt) notifier.Outcome {
	switch {
	case !a.begun && ctx.Err() != nil:
		return refusal(notifier.VerdictRetry, &Error{Code: CodeNotSent, Err: ctx.Err()})
	case !a.begun:
		return refusal(notifier.VerdictRejected, &Error{Code: CodeInvalidMessage, Detail: "the SDK refuses the message"})
	case a.err != nil:
		e := a.lost(ctx)
		if e.Code == CodeNotSent {
			return refusal(notifier.VerdictRetry, e)
		}
		return refusal(notifier.VerdictUnknown, e)
	}
	out := classify(a.answer, time.Now())
	if out.Code == CodeUnauthenticated && s.tokens.refused(a.bearer) {
		if e, ok := errors.AsType[*Error](out.Err); ok {
			e.Code = CodeTokenStale
		}
		out.Verdict, out.Code = notifier.VerdictRetry, CodeTokenStale
	}
	return out
}

// Close waits for a token request that is under way, until ctx ends, and closes
// idle connections. It must not be called before the last Send has returned.
func (s *Sender) Close(ctx context.Context) error {
	err := s.tokens.close(ctx)
	s.pool.close()
	s.fetch.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("close fcm: %w", err)
	}
	return nil
}
