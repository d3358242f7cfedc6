package betting

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bugle-push/bugle/sandbox/book"
)

// Tokens is where an app gets its user's token for Ably: the service under test.
type Tokens interface {
	// AblyToken returns a token for the user, as the service made it.
	AblyToken(ctx context.Context, user string) (string, error)
}

// Refusal is an answer of Ably that is not a success and that no repeat changes.
type Refusal struct {
	// Status is the HTTP status, Code Ably's.
	Status, Code int
}

// Error names both.
func (r *Refusal) Error() string { return fmt.Sprintf("Ably answered %d, code %d", r.Status, r.Code) }

// errTryAgain is an answer after which a repeat may succeed, or none.
var errTryAgain = errors.New("no answer that counts")

// apps are the apps of all users: each speaks to Ably with a token of its own,
// over plain HTTP, as a page without an SDK does.
type apps struct {
	url    string // of Ably
	source Tokens
	http   *http.Client

	mu     sync.Mutex
	tokens map[string]string // by user
}

func newApps(ablyURL string, source Tokens) *apps {
	return &apps{
		url: strings.TrimSuffix(ablyURL, "/"), source: source, tokens: map[string]string{},
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
}

func (a *apps) close() { a.http.CloseIdleConnections() }

// token returns the user's token, asking for one if there is none.
func (a *apps) token(ctx context.Context, user string) (string, error) {
	a.mu.Lock()
	known := a.tokens[user]
	a.mu.Unlock()
	if known != "" {
		return known, nil
	}
	fresh, err := a.source.AblyToken(ctx, user)
	if err != nil {
		return "", fmt.Errorf("ask for token of %s: %w", user, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[user] = fresh
	return fresh, nil
}

// drop forgets a token that Ably did not take.
func (a *apps) drop(user, token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens[user] == token {
		delete(a.tokens, user)
	}
}

// message is one message on the wire of Ably.
type message struct {
	ID       string          `json:"id,omitempty"`
	Name     string          `json:"name,omitempty"`
	ClientID string          `json:"clientId,omitempty"`
	Channel  string          `json:"channel,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
}

// text returns the message's data as the text that was published.
func (m message) text() string {
	var s string
	if json.Unmarshal(m.Data, &s) == nil {
		return s
	}
	return string(m.Data)
}

func channelPath(channel, rest string) string {
	return "/channels/" + url.PathEscape(channel) + rest
}

// publish publishes a message as the user, again with the same id until Ably has
// answered. A Refusal is what Ably will never take.
func (a *apps) publish(ctx context.Context, user, channel string, m message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("marshal message: %w", err)
	}
	return a.again(ctx, func() error {
		return a.ask(ctx, user, http.MethodPost, channelPath(channel, "/messages"), body, nil)
	})
}

// latest returns the newest message of a channel, nil if there is none.
func (a *apps) latest(ctx context.Context, user, channel string) (*message, error) {
	var page []message
	err := a.again(ctx, func() error {
		return a.ask(ctx, user, http.MethodGet, channelPath(channel, "/messages?limit=1"), nil, &page)
	})
	if err != nil || len(page) == 0 {
		return nil, err
	}
	return &page[0], nil
}

// again asks until there is an answer that counts, with pauses that grow.
func (a *apps) again(ctx context.Context, ask func() error) error {
	const tries = 8
	pause := 100 * time.Millisecond
	for n := 1; ; n++ {
		err := ask()
		var refusal *Refusal
		if err == nil || errors.As(err, &refusal) || n == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, 2*time.Second)
		}
	}
}

// askTimeout bounds one request, opening a stream included.
const askTimeout = 5 * time.Second

// ask sends one request as the user.
func (a *apps) ask(ctx context.Context, user, method, path string, body []byte, into any) error {
	token, err := a.token(ctx, user)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	res, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errTryAgain, err)
	}
	defer res.Body.Close()
	return a.read(user, token, res, into)
}

// read reads an answer.
func (a *apps) read(user, token string, res *http.Response, into any) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%w: %w", errTryAgain, err)
	}
	if res.StatusCode/100 == 2 {
		if into == nil {
			return nil
		}
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		return nil
	}
	var problem struct {
		Error struct {
			Code int `json:"code"`
		} `json:"error"`
	}
	_ = json.Unmarshal(text, &problem) // a page of the edge has no code
	code := problem.Error.Code
	switch {
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode >= 500:
		return fmt.Errorf("%w: %d, code %d", errTryAgain, res.StatusCode, code)
	case code >= 40140 && code < 40150:
		a.drop(user, token)
		return fmt.Errorf("%w: token refused, code %d", errTryAgain, code)
	}
	return &Refusal{Status: res.StatusCode, Code: code}
}

// watch streams a channel to the user by server-sent events, until ctx ends; it
// opens the stream again when it breaks, from where it was.
func (a *apps) watch(ctx context.Context, user, channel string, each func(message)) {
	last := ""
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		from := last
		err := a.stream(ctx, user, channel, &last, each)
		if from != last {
			pause = 100 * time.Millisecond
		}
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, 3*time.Second)
		}
	}
}

// stream reads one stream to its end. last is the id to go on from.
func (a *apps) stream(ctx context.Context, user, channel string, last *string, each func(message)) error {
	token, err := a.token(ctx, user)
	if err != nil {
		return err
	}
	q := url.Values{"channels": {channel}, "v": {"1.2"}, "accessToken": {token}, "enveloped": {"true"}}
	if *last != "" {
		q.Set("lastEvent", *last)
	} else {
		q.Set("rewind", "1")
	}
	// The stream lasts, its opening must not.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opening := time.AfterFunc(askTimeout, cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/sse?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := a.http.Do(req)
	if err != nil {
		return errTryAgain // the error would hold the token
	}
	defer res.Body.Close()
	opening.Stop()
	if res.StatusCode != http.StatusOK {
		return cmp.Or(a.read(user, token, res, nil), errTryAgain)
	}
	return a.events(user, token, res.Body, last, each)
}

// events reads events until the stream ends.
func (a *apps) events(user, token string, body io.Reader, last *string, each func(message)) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	var id, event, data string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data += value
		}
		if lines.Text() != "" {
			continue
		}
		var m message
		switch {
		case event == "error":
			a.drop(user, token)
			return errTryAgain
		case event == "message" && json.Unmarshal([]byte(data), &m) == nil:
			*last = cmp.Or(id, *last)
			each(m)
		}
		id, event, data = "", "", ""
	}
	return errTryAgain
}

// tilesOf reads the odds out of a message.
func tilesOf(m message) ([]book.Tile, error) { return book.Decode([]byte(m.text())) }
