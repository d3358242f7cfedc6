package ablypush

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ably/ably-go/ably"
	"github.com/rs/zerolog"
)

const (
	// sdkRetry is how often ably-go dials again after its first try. Its
	// default, 15 seconds, is a long time to hear of nothing.
	sdkRetry = 5 * time.Second
	// stalledAfter is how long a session may be without the channel before it is
	// made anew.
	stalledAfter = time.Minute
	// closeTimeout bounds closing a connection.
	closeTimeout = 5 * time.Second
	// maxFrame is the most bytes of one frame that is read: ably-go's default is
	// the size of one message.
	maxFrame = 4 << 20
	// backoffMax is the longest wait between tries.
	backoffMax = time.Minute
)

var errStalled = errors.New("the channel was not attached in time")

// connectionError is why a session ended, in Ably's numbers: ably-go's texts
// hold the key.
type connectionError struct {
	what         string
	status, code int
}

func (e *connectionError) Error() string {
	return fmt.Sprintf("%s failed, status %d, code %d", e.what, e.status, e.code)
}

func newConnectionError(what string, err error) error {
	var info *ably.ErrorInfo
	if errors.As(err, &info) && info != nil {
		return &connectionError{what: what, status: info.StatusCode, code: int(info.Code)}
	}
	return &connectionError{what: what}
}

// backoff is how long to wait after n failures in a row: from one second,
// doubled, with jitter.
func backoff(n int) time.Duration {
	d := min(time.Second<<min(n-1, 10), backoffMax)
	return d/2 + rand.N(d)
}

// follow keeps a subscription until ctx ends.
func (w *Watcher) follow(ctx context.Context) {
	failures, told := 0, ""
	for {
		attached, err := w.session(ctx)
		w.metrics.attached.Set(0)
		if ctx.Err() != nil {
			return
		}
		if attached {
			failures, told = 0, ""
		}
		failures++
		if why := err.Error(); why != told { // the same again is no news
			told = why
			w.log.Error().Err(err).Msg("push log could not be followed; does the key have the capability subscribe on [meta]log:push?")
		}
		timer := time.NewTimer(backoff(failures))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// states are what a session knows of its connection, as ably-go reports it.
// ably-go's own getters can wait for a lock that a stalled write holds.
type states struct {
	mu      sync.Mutex
	conn    ably.ConnectionState
	channel ably.ChannelState
	err     error
	changed chan struct{}
}

func (s *states) set(change func()) {
	s.mu.Lock()
	change()
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// look returns whether the channel is attached, and why the session is over if
// it is.
func (s *states) look() (attached bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == ably.ConnectionStateConnected && s.channel == ably.ChannelStateAttached, s.err
}

// session is the life of one ably-go client. It ends with ctx or when ably-go
// has given up, and tells whether it ever was attached.
func (w *Watcher) session(ctx context.Context) (attachedOnce bool, err error) {
	options, err := w.options()
	if err != nil {
		return false, err
	}
	rt, err := ably.NewRealtime(options...)
	if err != nil {
		return false, newConnectionError("client", err)
	}
	rt.Connection.SetReadLimit(maxFrame)
	s := &states{changed: make(chan struct{}, 1)}
	offConn := rt.Connection.OnAll(func(c ably.ConnectionStateChange) { w.connectionChanged(s, c) })
	defer offConn()
	channel := rt.Channels.Get(pushLog, ably.ChannelWithModes(ably.ChannelModeSubscribe))
	offChannel := channel.OnAll(func(c ably.ChannelStateChange) { w.channelChanged(s, c) })
	defer offChannel()

	rt.Connect()
	subscribeCtx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := channel.SubscribeAll(subscribeCtx, func(m *ably.Message) {
			w.offer(parseFailure(m.ID, time.UnixMilli(m.Timestamp), m.Data, m.Encoding))
		})
		if err != nil {
			s.set(func() {
				if s.err == nil {
					s.err = newConnectionError("attach", err)
				}
			})
		}
	})
	defer wg.Wait()
	defer w.close(ctx, rt)
	defer cancel()
	return w.attend(ctx, s)
}

// attend waits for the end of a session.
func (w *Watcher) attend(ctx context.Context, s *states) (attachedOnce bool, err error) {
	stalled := time.NewTimer(stalledAfter)
	defer stalled.Stop()
	was := false
	for {
		select {
		case <-ctx.Done():
			return attachedOnce, ctx.Err()
		case <-stalled.C:
			return attachedOnce, errStalled
		case <-s.changed:
		}
		is, err := s.look()
		if err != nil {
			return attachedOnce, err
		}
		switch {
		case is && !was:
			attachedOnce = true
			stalled.Stop()
			w.metrics.attached.Set(1)
			w.log.Info().Msg("push log followed")
		case !is && was:
			stalled.Reset(stalledAfter)
			w.metrics.attached.Set(0)
			w.log.Warn().Msg("push log lost; connecting again")
		}
		was = is
	}
}

func (w *Watcher) connectionChanged(s *states, c ably.ConnectionStateChange) {
	s.set(func() {
		s.conn = c.Current
		if c.Current == ably.ConnectionStateFailed && s.err == nil {
			s.err = newConnectionError("connection", reason(c.Reason))
		}
	})
}

func (w *Watcher) channelChanged(s *states, c ably.ChannelStateChange) {
	s.set(func() {
		s.channel = c.Current
		if c.Current == ably.ChannelStateFailed && s.err == nil {
			s.err = newConnectionError("channel", reason(c.Reason))
		}
	})
	if c.Event == ably.ChannelEventAttached || c.Event == ably.ChannelEventUpdate {
		// Also when ably-go says that nothing was missed: it costs one request.
		w.askHistory()
	}
}

// reason keeps a nil pointer from becoming an error that is not nil.
func reason(e *ably.ErrorInfo) error {
	if e == nil {
		return nil
	}
	return e
}

// close closes a client. While ably-go is dialing, its Close does not stay
// closed when the dial fails, so it is repeated.
func (w *Watcher) close(ctx context.Context, rt *ably.Realtime) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	done := make(chan struct{})
	// Its own goroutine, because ably-go holds a lock while it writes to a
	// connection that may be stalled.
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			rt.Close()
			switch rt.Connection.State() {
			case ably.ConnectionStateClosed, ably.ConnectionStateFailed:
				return
			default:
				time.Sleep(10 * time.Millisecond)
			}
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// options configures ably-go.
func (w *Watcher) options() ([]ably.ClientOption, error) {
	options := []ably.ClientOption{
		ably.WithKey(w.cfg.Key.Reveal()),
		ably.WithAutoConnect(false),
		ably.WithEchoMessages(false),
		ably.WithUseBinaryProtocol(false),
		ably.WithDisconnectedRetryTimeout(sdkRetry),
		ably.WithSuspendedRetryTimeout(2 * sdkRetry),
		ably.WithLogLevel(ably.LogWarning),
		ably.WithLogHandler(&sdkLog{log: w.log, redact: w.redact}),
		ably.WithHTTPClient(&http.Client{Timeout: requestTimeout, Transport: w.client.transport}),
	}
	if w.cfg.URL == DefaultURL {
		return options, nil // with ably-go's fallback hosts
	}
	u, err := url.Parse(w.cfg.URL)
	if err != nil {
		return nil, errors.New("url cannot be parsed")
	}
	host := u.Hostname()
	if strings.Contains(host, ".") || strings.Contains(host, "::") || host == "localhost" {
		options = append(options, ably.WithEndpoint(host))
	} else {
		//nolint:staticcheck // as an endpoint, a name without a dot is a routing policy and leads to Ably's public hosts
		options = append(options, ably.WithRealtimeHost(host), ably.WithRESTHost(host))
	}
	if u.Scheme == "http" {
		options = append(options, ably.WithTLS(false), ably.WithInsecureAllowBasicAuthWithoutTLS())
	}
	if port, err := strconv.Atoi(u.Port()); err == nil {
		if u.Scheme == "http" {
			options = append(options, ably.WithPort(port))
		} else {
			options = append(options, ably.WithTLSPort(port))
		}
	}
	return options, nil
}

// sdkLog takes ably-go's log. A line that repeats the last one is dropped, and
// one a minute is a warning: during an outage ably-go has more to say, and the
// state of the subscription is logged without it.
type sdkLog struct {
	log    zerolog.Logger
	redact redactor

	mu     sync.Mutex
	last   string
	warned time.Time
}

// Printf implements ably.Logger.
func (l *sdkLog) Printf(level ably.LogLevel, format string, v ...any) {
	line := l.redact.text(fmt.Sprintf(format, v...))
	l.mu.Lock()
	repeated := line == l.last
	l.last = line
	to := zerolog.DebugLevel
	if !repeated && (level == ably.LogError || level == ably.LogWarning) && time.Since(l.warned) > time.Minute {
		l.warned, to = time.Now(), zerolog.WarnLevel
	}
	l.mu.Unlock()
	if repeated {
		return
	}
	l.log.WithLevel(to).Str("detail", line).Msg("ably client reported trouble")
}
