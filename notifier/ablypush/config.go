package ablypush

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// The defaults of Config.
const (
	// DefaultURL is Ably's primary host (Ably: "REST API reference"). The older
	// name rest.ably.io works as well.
	DefaultURL = "https://main.realtime.ably.net"
	// DefaultTimeout is the time that Ably's own SDKs give an HTTP request (ten
	// seconds) and half of it again: an answer that is not waited for makes a
	// duplicate.
	DefaultTimeout = 15 * time.Second
	// DefaultMaxInFlight is enough for 1,000 pushes a second at 100 ms, about
	// twice what Ably's Standard plan takes as API requests.
	DefaultMaxInFlight = 100
	// DefaultDialTimeout bounds a dial, and a TLS handshake after it.
	DefaultDialTimeout = 5 * time.Second
)

// Config says how to reach Ably's push admin API. Key is required; everything
// else has a default.
type Config struct {
	// Key is an API key, "appId.keyId:secret", with the capability push-admin.
	// Blanks around it, as a file may have them, are cut off.
	Key devices.Secret
	// URL is where Ably is, for a stand-in or a dedicated cluster:
	// "https://host[:port]". Empty means DefaultURL. Ably refuses a key over
	// plain http (40103).
	URL string
	// Timeout bounds one Send, from its call to its answer, a wait for a place
	// included. 0 means DefaultTimeout.
	Timeout time.Duration
	// MaxInFlight is how many requests may be under way at once; further sends
	// wait. 0 means DefaultMaxInFlight.
	MaxInFlight int
	// DialTimeout bounds opening a connection. 0 means DefaultDialTimeout.
	DialTimeout time.Duration
	// TLS is used for https; nil means the system's roots.
	TLS *tls.Config
	// Channels maps a category to an Android notification channel. It is laid
	// over notifier.AndroidChannels; a category in neither is its own channel.
	Channels map[string]string
	// Registerer takes the metrics; nil means none.
	Registerer prometheus.Registerer
	// Log takes debug lines about requests besides the publishes. No delivery is
	// logged here.
	Log zerolog.Logger
}

// withDefaults fills in and checks the config; it reports every fault at once.
// No message quotes a value that may be a secret.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	errs = append(errs, checkKey(&c.Key))
	base, err := baseURL(c.URL)
	errs = append(errs, err)
	c.URL = base
	c.Timeout, err = positive("timeout", c.Timeout, DefaultTimeout)
	errs = append(errs, err)
	c.DialTimeout, err = positive("dial timeout", c.DialTimeout, DefaultDialTimeout)
	errs = append(errs, err)
	c.MaxInFlight, err = positive("max in flight", c.MaxInFlight, DefaultMaxInFlight)
	errs = append(errs, err)
	channels := notifier.AndroidChannels()
	maps.Copy(channels, c.Channels)
	c.Channels = channels
	return c, errors.Join(errs...)
}

// positive returns v, or def for zero.
func positive[T int | time.Duration](name string, v, def T) (T, error) {
	switch {
	case v < 0:
		return v, fmt.Errorf("%s %v is negative", name, v)
	case v == 0:
		return def, nil
	}
	return v, nil
}

// checkKey cuts blanks off a key and checks its form, without quoting it.
func checkKey(key *devices.Secret) error {
	*key = devices.Secret(strings.TrimSpace(key.Reveal()))
	if *key == "" {
		return errors.New("key is missing")
	}
	name, secret, ok := strings.Cut(key.Reveal(), ":")
	app, id, dotted := strings.Cut(name, ".")
	if !ok || !dotted || app == "" || id == "" || secret == "" || strings.ContainsAny(key.Reveal(), " \t\r\n") {
		return errors.New(`key is not of the form "appId.keyId:secret"`)
	}
	return nil
}

// baseURL brings an address into the form that paths are appended to.
func baseURL(s string) (string, error) {
	if s == "" {
		return DefaultURL, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", errors.New("url is not of the form http[s]://host[:port]")
	}
	u.Path = ""
	return u.String(), nil
}
