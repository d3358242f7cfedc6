package fcm

import (
	"crypto/rsa"
	"fmt"
	"log"
	"net"
	"net/url"
	"strings"
	"time"
)

// Documented limits of the service. Source: Google, "Throttling and quotas"
// and the reference of the resource projects.messages.
const (
	// DefaultProjectQuota is the number of sends a project may make in a
	// minute.
	DefaultProjectQuota = 600_000
	// DefaultDeviceQuota is the number of messages one Android device may be
	// sent in a minute.
	DefaultDeviceQuota = 240
	// DefaultTokenLifetime is how long an OAuth access token lives.
	DefaultTokenLifetime = time.Hour
	// MaxTTL is the longest time the service stores a message, and the
	// lifetime of a message that asks for none.
	MaxTTL = 28 * 24 * time.Hour
	// MaxPayload is the largest payload in bytes.
	MaxPayload = 4096
	// MaxConcurrentStreams is the number of streams advertised on an HTTP/2
	// connection. Google does not document it; 100 is what users of several
	// SDKs report.
	MaxConcurrentStreams = 100
)

// Platforms of a registration.
const (
	Android = "android"
	IOS     = "ios"
	Web     = "web"
)

// Config configures [Start]. Its zero value is a working server on a free
// loopback port.
type Config struct {
	// Addr is the TCP address of the clear-text listener, which speaks
	// HTTP/1.1 and HTTP/2 with prior knowledge (h2c). Empty means
	// "127.0.0.1:0". A host that is not loopback is refused unless
	// AllowNonLoopback is set.
	Addr string
	// TLSAddr, when not empty, adds a listener that speaks TLS with a
	// certificate made at Start, HTTP/2 by ALPN and HTTP/1.1.
	TLSAddr string
	// AllowNonLoopback permits addresses reachable from other machines, as
	// containers need. The stand-in is not made to face a hostile network.
	AllowNonLoopback bool
	// PublicURL is the base URL by which clients reach the clear-text
	// listener, such as "http://fcm:17083". Empty means the listener's own
	// address.
	PublicURL string

	// ProjectID names the project served. Empty means "bugle-sandbox".
	ProjectID string
	// ProjectNumber is the number under which the project is reachable as
	// well. Empty means "123456789012".
	ProjectNumber string
	// Seed determines minted targets, message ids and every fault. Two
	// servers with the same ProjectID and the same Seed know each other's
	// targets, so that devices survive a restart. Zero means a random seed.
	Seed uint64
	// PrivateKey signs the fake service account. Nil means a new 2048-bit key
	// at every Start; give one to keep credentials valid over a restart.
	PrivateKey *rsa.PrivateKey
	// TokenLifetime is the lifetime of the access tokens given out by
	// /token. Zero means [DefaultTokenLifetime].
	TokenLifetime time.Duration
	// NoAuth lets sends through without a bearer token, for clients built
	// with option.WithoutAuthentication.
	NoAuth bool

	// ProjectQuota is the number of sends in a fixed window of one minute
	// that begins with the first send after the last window ended, and is not
	// aligned to the clock. Zero means [DefaultProjectQuota], negative no
	// limit.
	ProjectQuota int
	// QuotaRetryAfter adds a Retry-After header with the seconds left in the
	// window to over-quota answers. Off by default: the answers captured from
	// the live service carry none.
	QuotaRetryAfter bool
	// DeviceQuota is the number of messages per Android device and minute.
	// Zero means [DefaultDeviceQuota], negative no limit.
	DeviceQuota int

	// MaxBodyBytes limits the body of a request. Zero means 1 MiB.
	MaxBodyBytes int64
	// MaxRecords is how many accepted messages are kept in memory at least;
	// older ones are forgotten. Zero means 1,048,576 (about 1 KB each).
	MaxRecords int
	// KeepMessages keeps the JSON of each accepted message in
	// [Accepted.Message].
	KeepMessages bool
	// HangLimit ends a request that hangs by [Hang] or [HangAfterAccept],
	// with a reset. Zero means one minute.
	HangLimit time.Duration

	// Faults are the faults at the start; see [Server.SetFaults].
	Faults Faults
	// OnAccept is called for each accepted message, after the message was
	// accepted and before its answer is written, on the request's goroutine
	// and without a lock held. Calls may overlap; [Accepted.Seq] is the order.
	// It may call any method but Close and Shutdown, which wait for it.
	OnAccept func(Accepted)
	// OnAnswerLost is called when a message that had been reported to
	// OnAccept with AnswerLost false turns out to be answered to nobody,
	// because the client went away first.
	OnAnswerLost func(Accepted)
	// Now tells the time for quotas, lifetimes and ids. Nil means time.Now.
	// It must be safe for concurrent use.
	Now func() time.Time
	// ErrorLog receives the HTTP server's own complaints. Nil discards them.
	ErrorLog *log.Logger
}

// withDefaults returns c with its zero values replaced.
func (c Config) withDefaults() Config {
	c.Addr = orDefault(c.Addr, "127.0.0.1:0")
	c.ProjectID = orDefault(c.ProjectID, "bugle-sandbox")
	c.ProjectNumber = orDefault(c.ProjectNumber, "123456789012")
	c.TokenLifetime = orDefault(c.TokenLifetime, DefaultTokenLifetime)
	c.ProjectQuota = orDefault(c.ProjectQuota, DefaultProjectQuota)
	c.DeviceQuota = orDefault(c.DeviceQuota, DefaultDeviceQuota)
	c.MaxBodyBytes = orDefault(c.MaxBodyBytes, 1<<20)
	c.MaxRecords = orDefault(c.MaxRecords, 1<<20)
	c.HangLimit = orDefault(c.HangLimit, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// validate reports the first contradiction in c, which has its defaults.
func (c Config) validate() error {
	if strings.ContainsAny(c.ProjectID+c.ProjectNumber, "/?#% ") {
		return fmt.Errorf("project id %q or number %q: not a path segment", c.ProjectID, c.ProjectNumber)
	}
	if c.TokenLifetime < 0 || c.MaxBodyBytes < 0 || c.MaxRecords < 0 || c.HangLimit < 0 {
		return fmt.Errorf("token lifetime, body bytes, records and hang limit: must not be negative")
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil {
			return fmt.Errorf("parse public url: %w", err)
		}
		if u.Scheme == "" || u.Host == "" {
			return fmt.Errorf("public url %q: want scheme and host", c.PublicURL)
		}
	}
	for _, addr := range []string{c.Addr, c.TLSAddr} {
		if addr == "" || c.AllowNonLoopback {
			continue
		}
		if err := requireLoopback(addr); err != nil {
			return err
		}
	}
	return c.Faults.validate()
}

// requireLoopback refuses an address that other machines could reach.
func requireLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("split address: %w", err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen on %q: %w", addr, ErrNotLoopback)
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
