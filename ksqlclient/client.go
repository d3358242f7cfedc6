package ksqlclient

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Media types of the REST interface.
const (
	mediaDelimited = "application/vnd.ksqlapi.delimited.v1"
	mediaV1        = "application/vnd.ksql.v1+json"
)

// maxErrorBytes bounds what is read of a refusal.
const maxErrorBytes = 64 << 10

// Client talks to one ksqlDB server, or to a load balancer in front of several.
// It is safe for concurrent use. New makes it; the zero value is not usable.
type Client struct {
	base      string
	auth      Secret // value of the Authorization header
	mask      mask   // credentials
	http      *http.Client
	agent     string
	timeout   time.Duration
	poll      time.Duration
	maxRow    int
	maxResult int64
	maxReply  int64
}

// New returns a client, or all faults of the configuration at once. It does not
// connect.
func New(config Config) (*Client, error) {
	base, err := config.validate()
	if err != nil {
		return nil, err
	}
	config = config.withDefaults()
	c := &Client{
		base: strings.TrimRight(base.String(), "/"),
		http: &http.Client{
			Transport: config.transport(),
			// The interface redirects nothing but GET /, and a redirect could carry the
			// credentials to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		agent:     config.UserAgent,
		timeout:   config.Timeout,
		poll:      config.PollInterval,
		maxRow:    config.MaxRowBytes,
		maxResult: config.MaxResultBytes,
		maxReply:  config.MaxReplyBytes,
	}
	if config.Username != "" {
		pair := base64.StdEncoding.EncodeToString([]byte(config.Username + ":" + string(config.Password)))
		c.auth = Secret("Basic " + pair)
		c.mask.add(pair, string(config.Password))
	}
	return c, nil
}

// Close closes idle connections. Calls in progress go on, and the client stays
// usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// String names the server and nothing else.
func (c *Client) String() string { return "ksqlclient.Client{" + printableURL(c.base) + "}" }

// GoString returns what String returns.
func (c *Client) GoString() string { return c.String() }

// Format implements fmt.Formatter, so that no verb reaches the credentials.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// Option changes one call.
type Option func(*call)

type call struct {
	properties map[string]any
	after      *int64
	timeout    time.Duration
}

// WithTimeout replaces Config.Timeout for one call, to lengthen it for a query
// that reads much or to shorten it. A duration that is not positive changes
// nothing; the context's own deadline holds in any case.
func WithTimeout(d time.Duration) Option {
	return func(c *call) {
		if d > 0 {
			c.timeout = d
		}
	}
}

// WithProperties sends properties with the statement, for example
// "ksql.query.pull.table.scan.enabled": false. Values go out as the JSON types
// that they are: the server takes the text "true" for no boolean.
func WithProperties(properties map[string]any) Option {
	return func(c *call) { c.properties = properties }
}

// AfterCommand makes Exec wait on the server until it has run the command with
// this sequence number (see Command), so that a statement sees what another node
// was told before. It does not apply to Pull.
func AfterCommand(sequence int64) Option {
	return func(c *call) { c.after = &sequence }
}

func (c *Client) newCall(options []Option) call {
	opts := call{properties: map[string]any{}, timeout: c.timeout}
	for _, option := range options {
		option(&opts)
	}
	if opts.properties == nil {
		opts.properties = map[string]any{}
	}
	return opts
}

// request is one HTTP exchange.
type request struct {
	kind   Kind
	path   string
	accept string
	body   any // POST when not nil
	mask   mask
}

// send performs the request and returns the response if its status is 200; the
// caller closes the body. The context must carry the deadline.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	method := http.MethodGet
	var body io.Reader
	if r.body != nil {
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		method, body = http.MethodPost, bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+r.path, body)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("Accept", r.accept)
	req.Header.Set("User-Agent", c.agent)
	// A clean end of a compressed body would be one of the wrong layer.
	req.Header.Set("Accept-Encoding", "identity")
	if r.kind == KindPull {
		// Tells net/http that the request may be repeated when an idle connection
		// turns out to be dead; an empty list is not sent.
		req.Header["Idempotency-Key"] = []string{}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if c.auth != "" {
		req.Header.Set("Authorization", string(c.auth))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	// What could be read of a cut refusal still is one.
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	return nil, c.refusal(r, resp.StatusCode, text)
}

// refusal builds the error for a body that is not a result. ksqlDB sets no
// Content-Type on many errors, so the body alone tells what it is.
func (c *Client) refusal(r request, status int, body []byte) *Error {
	e := &Error{Kind: r.kind, Status: status}
	var reply struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}
	body = bytes.TrimSpace(body)
	text := string(body)
	if bytes.HasPrefix(body, []byte("{")) || bytes.HasPrefix(body, []byte("[")) {
		// Only the message of JSON is shown: escapes in the rest would hide values
		// from the mask.
		_ = json.Unmarshal(body, &reply)
		e.Code, text = reply.Code, reply.Message
	}
	e.Message = c.clean(r.mask, text)
	return e
}

// clean masks a text of the server.
func (c *Client) clean(m mask, text string) string {
	m.texts = append(slices.Clip(m.texts), c.mask.texts...)
	return m.clean(text)
}

// reply performs the request and decodes its JSON answer into dst, bounded by
// MaxReplyBytes.
func (c *Client) reply(ctx context.Context, r request, dst any) error {
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.maxReply+1))
	if err != nil {
		return truncated(ctx, err)
	}
	if int64(len(body)) > c.maxReply {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, c.maxReply)
	}
	if err := json.Unmarshal(body, dst); err != nil {
		// The decoder's error can quote the text, which is data.
		return fmt.Errorf("%w: not the JSON expected (%d bytes)", ErrMalformed, len(body))
	}
	return nil
}

// truncated wraps a failed read. When the context has ended, that is the cause,
// whatever the transport makes of it.
func truncated(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = ended
	}
	return fmt.Errorf("%w: %w", ErrTruncated, err)
}
