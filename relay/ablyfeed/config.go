package ablyfeed

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ably/ably-go/ably"
)

// DefaultURL is Ably's primary host (Ably: "REST API reference").
const DefaultURL = "https://main.realtime.ably.net"

// Config configures a Publisher.
type Config struct {
	// Key is the API key, "appId.keyId:secret", with the capability publish on
	// the channels.
	Key string
	// URL is where Ably is, for a stand-in or a dedicated cluster:
	// "https://host[:port]". Empty means DefaultURL, with its fallback hosts.
	URL string
	// MaxInFlight is the most connections. Zero means 64.
	MaxInFlight int
	// DialTimeout bounds connecting. Zero means 4 seconds, ably-go's own default.
	DialTimeout time.Duration
}

func (c Config) withDefaults() Config {
	c.Key = strings.TrimSpace(c.Key)
	if c.URL == "" {
		c.URL = DefaultURL
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 64
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = 4 * time.Second
	}
	return c
}

// options are those of the SDK's client. The errors do not repeat the key.
func (c Config) options(transport http.RoundTripper) ([]ably.ClientOption, error) {
	name, secret, _ := strings.Cut(c.Key, ":")
	if name == "" || secret == "" {
		return nil, errors.New(`ably: key is not of the form "appId.keyId:secret"`)
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("ably: url is not of the form http[s]://host[:port]")
	}
	options := []ably.ClientOption{
		ably.WithKey(c.Key),
		ably.WithUseBinaryProtocol(false), // bytes are base64 either way
		ably.WithLogHandler(silence{}),    // what it logs is in the answers, without the key
		ably.WithHTTPClient(&http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
	}
	if strings.TrimSuffix(c.URL, "/") == DefaultURL {
		return options, nil
	}
	host := u.Hostname()
	if strings.Contains(host, ".") || strings.Contains(host, "::") || host == "localhost" {
		options = append(options, ably.WithEndpoint(host))
	} else {
		//nolint:staticcheck // as an endpoint, a name without a dot is a routing policy and leads to Ably's public hosts
		options = append(options, ably.WithRESTHost(host))
	}
	port, err := strconv.Atoi(u.Port())
	switch {
	case u.Scheme == "http":
		options = append(options, ably.WithTLS(false), ably.WithInsecureAllowBasicAuthWithoutTLS())
		if err == nil {
			options = append(options, ably.WithPort(port))
		}
	case err == nil:
		options = append(options, ably.WithTLSPort(port))
	}
	return options, nil
}

// newTransport makes one that keeps as many connections as are used at once: the
// default of two for each host would dial for nearly every message.
func (c Config) newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: c.DialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   c.DialTimeout,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConns:          c.MaxInFlight,
		MaxIdleConnsPerHost:   c.MaxInFlight,
		MaxConnsPerHost:       c.MaxInFlight,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// silence drops ably-go's log.
type silence struct{}

// Printf implements ably.Logger.
func (silence) Printf(ably.LogLevel, string, ...any) {}
