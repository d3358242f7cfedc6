package fcm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firebase.google.com/go/v4/messaging"

	"github.com/bugle-push/bugle/notifier"
)

// probeToken has the form of a registration token and is nobody's.
const probeToken = "bugle-probe-000000000:APA91bEbugleProbeNobodyHasThisRegistrationToken" +
	"0000000000000000000000000000000000000000000000000000000000000000000000000000"

// Probe finds out whether Google would take messages from us: it asks for a
// message to a token that nobody has to be validated, not sent (FCM HTTP v1
// reference, projects.messages.send: validate_only). That the token is refused
// is what a good answer says: credentials, project and permission were looked
// at before. Any other error is an *Error.
func (s *Sender) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	transport, err := s.pool.acquire(ctx)
	if err != nil {
		return &Error{Code: CodeNotSent, Err: fmt.Errorf("wait for connection: %w", err)}
	}
	defer s.pool.release(transport)
	bearer, err := s.tokens.get(ctx)
	if err != nil {
		return tokenOutcome(err).Err
	}
	a := &attempt{transport: transport, bearer: bearer}
	// As in Send, the attempt knows more than what the SDK returns.
	_, _ = s.client.SendDryRun(context.WithValue(ctx, attemptKey{}, a), &messaging.Message{
		Token: probeToken, Notification: &messaging.Notification{Title: "Probe", Body: "Nobody is told."},
		Android: &messaging.AndroidConfig{TTL: new(time.Minute)},
	})
	return probed(s.outcome(ctx, a))
}

// probed is what an outcome says of our side.
func probed(o notifier.Outcome) error {
	switch o.Code {
	case CodeAccepted, CodeUnregistered, CodeInvalidToken, CodeInvalidArgument, CodeSenderIDMismatch,
		CodeThirdPartyAuth: // about Google's own credential towards APNs, which no Android token meets
		return nil
	}
	if o.Err == nil {
		return errors.New("fcm: an outcome without error")
	}
	return o.Err
}
