package ksqlclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Defaults of the fields of [Config] that are left zero.
const (
	// DefaultTimeout bounds a call that has no earlier deadline. The server
	// itself gives up on a forwarded pull query after 20 s
	// (ksql.query.pull.forwarding.timeout.ms), so the default is above that.
	DefaultTimeout = 30 * time.Second
	// DefaultPollInterval is the pause between two looks at the status of a
	// queued statement.
	DefaultPollInterval = 250 * time.Millisecond
	// DefaultMaxRowBytes bounds one line of a query's answer.
	DefaultMaxRowBytes = 4 << 20
	// DefaultMaxResultBytes bounds the whole answer of a query.
	DefaultMaxResultBytes = 256 << 20
	// DefaultMaxReplyBytes bounds the answer of every other call.
	DefaultMaxReplyBytes = 16 << 20
)

// Config says where the server is and how to reach it. Only URL is required;
// zero values mean the documented default. It prints without credentials.
type Config struct {
	// URL of the server, http or https, for example
	// "https://pksqlc-xxxxx.europe-west1.gcp.confluent.cloud:443". A path is kept
	// as a prefix. User information, a query or a fragment are refused.
	URL string
	// Username and Password are sent with Basic authentication when Username is
	// not empty: the API key and secret of the ksqlDB cluster on Confluent Cloud.
	Username string
	Password Secret
	// CA holds PEM certificates that replace the system's roots. It is empty for
	// servers with a publicly trusted certificate.
	CA []byte
	// TLS is the base of the TLS settings, for instance for a client
	// certificate; it is cloned. Together with CA, RootCAs must be nil.
	TLS *tls.Config
	// CleartextHTTP2 speaks HTTP/2 without TLS (prior knowledge) to an http URL.
	// The default for http URLs is HTTP/1.1.
	CleartextHTTP2 bool
	// Transport replaces the client's own transport; CA, TLS and CleartextHTTP2
	// must then be unset.
	Transport http.RoundTripper
	// Timeout bounds each call, the reading of all rows and what the caller does
	// between two rows included. 0 means DefaultTimeout.
	Timeout time.Duration
	// PollInterval is the pause between two looks at a queued statement. 0 means
	// DefaultPollInterval.
	PollInterval time.Duration
	// MaxRowBytes bounds one line of a query's answer, and so the memory that a
	// streamed query needs. 0 means DefaultMaxRowBytes.
	MaxRowBytes int
	// MaxResultBytes bounds the whole answer of one query; more is ErrTooLarge.
	// 0 means DefaultMaxResultBytes.
	MaxResultBytes int64
	// MaxReplyBytes bounds the answers of Exec, Info, Health and Describe. 0
	// means DefaultMaxReplyBytes.
	MaxReplyBytes int64
	// UserAgent is sent with every request. Empty means "bugle-ksqlclient".
	UserAgent string
}

// Secret is text that no formatting verb, text or JSON encoder shows. Use
// string(s) to read it.
type Secret string

const masked = "[secret]"

// Format implements fmt.Formatter and hides the text under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// String returns a constant, or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// MarshalText returns what String returns, so that encoders hide the text too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String names the server and nothing else.
func (c Config) String() string { return "ksqlclient.Config{" + printableURL(c.URL) + "}" }

// GoString returns what String returns.
func (c Config) GoString() string { return c.String() }

// Format implements fmt.Formatter, so that no verb reaches the credentials.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// printableURL drops everything but scheme and host: a password may have been
// put into the other parts by mistake.
func printableURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "invalid url"
	}
	return u.Scheme + "://" + u.Host
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.PollInterval == 0 {
		c.PollInterval = DefaultPollInterval
	}
	if c.MaxRowBytes == 0 {
		c.MaxRowBytes = DefaultMaxRowBytes
	}
	if c.MaxResultBytes == 0 {
		c.MaxResultBytes = DefaultMaxResultBytes
	}
	if c.MaxReplyBytes == 0 {
		c.MaxReplyBytes = DefaultMaxReplyBytes
	}
	if c.UserAgent == "" {
		c.UserAgent = "bugle-ksqlclient"
	}
	return c
}

// validate returns the parsed URL, or every fault of the configuration joined.
func (c Config) validate() (*url.URL, error) {
	var errs []error
	fault := func(field, text string) { errs = append(errs, fmt.Errorf("%s: %s", field, text)) }

	u := c.validateURL(fault)
	if strings.Contains(c.Username, ":") {
		// RFC 7617: everything after the first colon is the password.
		fault("username", "must not contain a colon")
	}
	if c.Username == "" && c.Password != "" {
		fault("username", "is empty but a password is set")
	}
	if strings.ContainsAny(c.UserAgent, "\r\n\x00") {
		fault("user agent", "must not contain line breaks")
	}
	for _, bound := range []struct {
		field string
		value int64
	}{
		{"timeout", int64(c.Timeout)},
		{"poll interval", int64(c.PollInterval)},
		{"max row bytes", int64(c.MaxRowBytes)},
		{"max result bytes", c.MaxResultBytes},
		{"max reply bytes", c.MaxReplyBytes},
	} {
		if bound.value < 0 {
			fault(bound.field, "must not be negative")
		}
	}
	if c.Transport != nil && (c.CA != nil || c.TLS != nil || c.CleartextHTTP2) {
		fault("transport", "excludes ca, tls and cleartext http/2, which are its own matter")
	}
	if c.CA != nil {
		if !x509.NewCertPool().AppendCertsFromPEM(c.CA) {
			fault("ca", "contains no PEM certificate")
		}
		if c.TLS != nil && c.TLS.RootCAs != nil {
			fault("ca", "is set and tls has root CAs too")
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("validate ksqldb configuration: %w", err)
	}
	return u, nil
}

func (c Config) validateURL(fault func(field, text string)) *url.URL {
	if c.URL == "" {
		fault("url", "is missing")
		return nil
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		// The parser's error quotes the whole text, a password in it included.
		fault("url", "cannot be parsed")
		return nil
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		fault("url", "must begin with http:// or https://")
	}
	if u.Hostname() == "" {
		fault("url", "has no host")
	}
	if u.User != nil {
		fault("url", "must not contain credentials, use username and password")
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		fault("url", "must have no query and no fragment")
	}
	if c.CleartextHTTP2 && u.Scheme == "https" {
		fault("cleartext http/2", "contradicts the https url")
	}
	if u.Scheme == "http" && (c.CA != nil || c.TLS != nil) {
		fault("url", "is http but ca or tls is set")
	}
	return u
}

// transport builds the client's own transport, or returns the given one.
func (c Config) transport() http.RoundTripper {
	if c.Transport != nil {
		return c.Transport
	}
	settings := c.TLS.Clone()
	if settings == nil {
		settings = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.CA != nil {
		settings.RootCAs = x509.NewCertPool()
		settings.RootCAs.AppendCertsFromPEM(c.CA)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!c.CleartextHTTP2)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(c.CleartextHTTP2)
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     settings,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		Protocols:           protocols,
		// The server sends no heartbeat; a ping finds a connection that a load
		// balancer has dropped before a query waits on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}
