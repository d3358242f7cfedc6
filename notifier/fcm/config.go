package fcm

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

	"github.com/bugle-push/bugle/notifier"
)

// The defaults of Config.
const (
	// DefaultTimeout is fifteen seconds: FCM's own calls take up to ten, and the
	// Node SDK raised its timeout to fifteen because ten made duplicates
	// (firebase-admin-node issue 1947).
	DefaultTimeout = 15 * time.Second
	// MinTimeout is the shortest timeout towards Google ("Best practices when
	// sending FCM messages at scale").
	MinTimeout = 10 * time.Second
	// DefaultMaxInFlight is enough for 9,000 messages a second at 100 ms.
	DefaultMaxInFlight = 900
	// DefaultDialTimeout bounds a dial, and a TLS handshake after it.
	DefaultDialTimeout = 5 * time.Second
)

// defaultURL is FCM's HTTP v1 API, as the SDK has it.
const defaultURL = "https://fcm.googleapis.com/v1"

// Config says how to reach FCM. ProjectID or credentials that name a project
// are required; everything else has a default.
type Config struct {
	// ProjectID is the Firebase project. Empty means the project of the credentials.
	ProjectID string
	// CredentialsFile is the path of a service account's JSON key. It is read
	// again whenever an access token is fetched. With neither this nor
	// CredentialsJSON, Google's application default credentials are used.
	CredentialsFile string
	// CredentialsJSON is a service account's JSON key itself. Its token_uri is
	// used as it is.
	CredentialsJSON []byte
	// URL is where the API is, for a stand-in: "http://127.0.0.1:9099" or with a
	// path, which then ends before "/projects". Empty means Google.
	URL string
	// Timeout bounds one Send, from its call to its answer, a wait for a
	// connection or an access token included. 0 means DefaultTimeout; less than
	// MinTimeout is an error unless URL is set.
	Timeout time.Duration
	// MaxInFlight is how many requests may be under way at once; further sends
	// wait. 0 means DefaultMaxInFlight.
	MaxInFlight int
	// DialTimeout bounds opening a connection. 0 means DefaultDialTimeout.
	DialTimeout time.Duration
	// TLS is used for the API and the token server; nil means the system's roots.
	TLS *tls.Config
	// Channels maps a category to an Android notification channel. It is laid
	// over notifier.AndroidChannels; a category in neither is its own channel.
	Channels map[string]string
	// Registerer takes the metrics; nil means none.
	Registerer prometheus.Registerer
	// Log takes the rare news about access tokens. No delivery is logged here.
	Log zerolog.Logger
}

// withDefaults fills in and checks the config; it reports every fault at once.
// No message quotes a value that may be a secret.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.CredentialsFile != "" && len(c.CredentialsJSON) > 0 {
		errs = append(errs, errors.New("credentials file and credentials JSON are both set: choose one"))
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	switch {
	case c.Timeout < 0:
		errs = append(errs, fmt.Errorf("timeout %s is negative", c.Timeout))
	case c.URL == "" && c.Timeout < MinTimeout:
		errs = append(errs, fmt.Errorf("timeout %s is less than %s, the least that Google asks for", c.Timeout, MinTimeout))
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.MaxInFlight < 0 {
		errs = append(errs, fmt.Errorf("max in flight %d is negative", c.MaxInFlight))
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.DialTimeout < 0 {
		errs = append(errs, fmt.Errorf("dial timeout %s is negative", c.DialTimeout))
	}
	base, err := baseURL(c.URL)
	if err != nil {
		errs = append(errs, err)
	}
	c.URL = base
	channels := notifier.AndroidChannels()
	maps.Copy(channels, c.Channels)
	c.Channels = channels
	return c, errors.Join(errs...)
}

// baseURL brings an address into the form that the SDK appends to.
func baseURL(s string) (string, error) {
	if s == "" {
		return defaultURL, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("url is not of the form http[s]://host[:port][/path]")
	}
	if u.Path = strings.TrimRight(u.Path, "/"); u.Path == "" {
		u.Path = "/v1"
	}
	return u.String(), nil
}
