package ablypush

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// apiVersion is the version of Ably's API that is asked for (X-Ably-Version),
// the one that ably-go 1.4 speaks. Version 1 was switched off in 2025.
const apiVersion = "5"

// client makes single requests to Ably's REST API with a key.
type client struct {
	base          string
	authorization string
	transport     *http.Transport
}

func newClient(cfg Config) *client {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   cfg.DialTimeout,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConns:          cfg.MaxInFlight,
		MaxIdleConnsPerHost:   cfg.MaxInFlight,
		MaxConnsPerHost:       cfg.MaxInFlight,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	if cfg.TLS != nil {
		t.TLSClientConfig = cfg.TLS.Clone()
	}
	return &client{
		base:          cfg.URL,
		authorization: "Basic " + base64.StdEncoding.EncodeToString([]byte(cfg.Key.Reveal())),
		transport:     t,
	}
}

// answer is what came back for one request, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do makes one request and reads the answer to its end, up to limit bytes. It
// goes to the transport itself: an http.Client would follow redirects. Errors
// are *Error with CodeNotSent, CodeTimeout or CodeConnectionLost.
func (c *client) do(ctx context.Context, method, url string, body []byte, limit int64) (answer, error) {
	// wrote says that the header was handed to a connection: from here on the
	// request may be acted on. net/http sets it from its own goroutines.
	var wrote atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	req, err := http.NewRequestWithContext(traced, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, &Error{Code: CodeNotSent, Detail: "the request cannot be made"}
	}
	req.Header.Set("Authorization", c.authorization)
	req.Header.Set("X-Ably-Version", apiVersion)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "bugle")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	a, err := c.roundTrip(req, limit)
	switch {
	case err == nil:
		return a, nil
	case !wrote.Load():
		return answer{}, &Error{Code: CodeNotSent, Err: err}
	case ctx.Err() != nil:
		return answer{}, &Error{Code: CodeTimeout, Err: ctx.Err()}
	}
	return answer{}, &Error{Code: CodeConnectionLost, Err: err}
}

func (c *client) roundTrip(req *http.Request, limit int64) (answer, error) {
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: b}, nil
}

// code returns Ably's error code, 0 when there is none. Rejections by the edge
// (42922) carry it in a header only.
func (a answer) code() int {
	var body struct {
		Error struct {
			Code number `json:"code"`
		} `json:"error"`
	}
	if err := json.Unmarshal(a.body, &body); err == nil && body.Error.Code != 0 {
		return int(body.Error.Code)
	}
	n, err := strconv.Atoi(strings.TrimSpace(a.header.Get("X-Ably-ErrorCode")))
	if err != nil || n < 0 || n > 999_999 {
		return 0
	}
	return n
}

// number is an error code that may be written as a number or a text; anything
// else is 0, so that one odd field does not hide the others.
type number int

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(b []byte) error {
	v, err := strconv.Atoi(strings.Trim(string(b), `"`))
	if err != nil || v < 0 || v > 999_999 {
		v = 0
	}
	*n = number(v)
	return nil
}
