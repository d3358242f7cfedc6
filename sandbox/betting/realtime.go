package betting

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	sdk "github.com/ably/ably-go/ably"
)

// page is where in the app the users are, as the demo's app says it.
const page = "Car Racing Page"

// seat is the app of a user who is connected to Ably all the time, by Ably's own
// SDK, as the demo's app is.
type seat struct {
	user   string
	client *sdk.Realtime
}

// silence keeps the SDK from logging: its errors hold the token.
type silence struct{}

// Printf implements the SDK's Logger.
func (silence) Printf(sdk.LogLevel, string, ...any) {}

// sit connects a user's app to Ably, who then is present on the betting channel
// until stand.
func (a *apps) sit(ctx context.Context, user string) (*seat, error) {
	u, err := url.Parse(a.url)
	if err != nil {
		return nil, fmt.Errorf("parse URL of Ably: %w", err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return nil, fmt.Errorf("port of Ably: %w", err)
	}
	client, err := sdk.NewRealtime(
		sdk.WithEndpoint(u.Hostname()), sdk.WithPort(port), sdk.WithTLS(u.Scheme == "https"), sdk.WithHTTPClient(a.http),
		sdk.WithLogHandler(silence{}), sdk.WithLogLevel(sdk.LogNone), sdk.WithDisconnectedRetryTimeout(500*time.Millisecond),
		sdk.WithAuthCallback(func(_ context.Context, _ sdk.TokenParams) (sdk.Tokener, error) {
			token, err := a.source.AblyToken(ctx, user)
			return sdk.TokenString(token), err
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("make Ably client of %s: %w", user, err)
	}
	s := &seat{user: user, client: client}
	// It is no matter of betting if that fails.
	entering, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_ = client.Channels.Get(BetsChannel("cars", user)).Presence.Enter(entering, page)
	return s, nil
}

// stand leaves, and waits until the connection is closed or a second has passed.
func (s *seat) stand() {
	closed := make(chan struct{}, 8)
	off := s.client.Connection.OnAll(func(c sdk.ConnectionStateChange) {
		if c.Current == sdk.ConnectionStateClosed || c.Current == sdk.ConnectionStateFailed {
			select {
			case closed <- struct{}{}:
			default:
			}
		}
	})
	defer off()
	s.client.Close()
	switch s.client.Connection.State() {
	case sdk.ConnectionStateClosed, sdk.ConnectionStateFailed, sdk.ConnectionStateInitialized:
		return
	default:
	}
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}

// publish publishes a message, again with the same id until Ably has answered.
func (s *seat) publish(ctx context.Context, a *apps, channel string, m message) error {
	return a.again(ctx, func() error {
		trying, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		err := s.client.Channels.Get(channel).PublishMultiple(trying, []*sdk.Message{{ID: m.ID, Name: m.Name, Data: m.text()}})
		var info *sdk.ErrorInfo
		switch {
		case err == nil:
			return nil
		case errors.As(err, &info) && info.StatusCode/100 == 4 && info.StatusCode != http.StatusTooManyRequests && (info.Code < 40140 || info.Code >= 40150) && info.Code < 80000:
			return &Refusal{Status: info.StatusCode, Code: int(info.Code)}
		}
		return errTryAgain // the error may hold the token
	})
}
