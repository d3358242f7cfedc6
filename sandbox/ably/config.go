package ably

import (
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Documented limits of the service. Source: Ably, "Platform limits", and the
// pages about push publishing and batch requests.
const (
	// MaxBatchNotifications is the number of notifications in one batch push
	// request; every recipient of every item counts.
	MaxBatchNotifications = 10_000
	// MaxBatchBytes is the largest body of a batch request.
	MaxBatchBytes = 2 << 20
	// DefaultMaxMessageSize is the size of a message, or of all messages
	// published at once, on the Free and Standard plans.
	DefaultMaxMessageSize = 64 << 10
	// DefaultChannelRate is the number of messages a second on one channel.
	DefaultChannelRate = 50
	// FreeRequestRate, StandardRequestRate and ProRequestRate are the API
	// requests a second of an account by plan; see [Config.RequestRate].
	FreeRequestRate     = 50
	StandardRequestRate = 362
	ProRequestRate      = 1447
	// DefaultChannelByteRate is the bytes of messages a second on one channel.
	DefaultChannelByteRate = 1 << 20
	// MaxBatchChannels is the number of distinct channels in a batch of
	// messages, and MaxArray that of messages published at once.
	MaxBatchChannels = 100
	MaxArray         = 1000
	// MaxMembers is the number of presence members of a channel.
	MaxMembers = 200
	// DefaultHistory is how long messages are kept without persistence, and
	// how long an id identifies a repeated publish.
	DefaultHistory = 2 * time.Minute
	// MaxTokenLifetime is the longest life of a token or JWT.
	MaxTokenLifetime = 24 * time.Hour
	// DefaultTokenLifetime is the life of a token that asks for none.
	DefaultTokenLifetime = time.Hour
	// MaxPushPayload is what FCM, APNs and Web Push carry, in bytes. Ably
	// learns of a larger payload from the provider only: 103004 on the log.
	MaxPushPayload = 4096
)

// Platforms of a device.
const (
	Android = "android"
	IOS     = "ios"
	Browser = "browser"
)

// PushLog is the metachannel on which failures of push deliveries are
// published.
const PushLog = "[meta]log:push"

// Errors that callers may branch on.
var (
	// ErrNotLoopback refuses a listen address other machines could reach.
	ErrNotLoopback = errors.New("not a loopback address")
	// ErrFaults refuses [Faults] that contradict themselves.
	ErrFaults = errors.New("impossible fault")
	// ErrUnknownDevice is returned for a device that is not registered.
	ErrUnknownDevice = errors.New("unknown device")
)

// BatchReply is a shape of the answer to a batch push. Ably documents none;
// clients have to cope with each.
type BatchReply int

const (
	// BatchArray answers an array aligned with the request, an empty object
	// for an item that was accepted and {"error":…} for one that was not. Ably's own
	// command line tool reads this.
	BatchArray BatchReply = iota
	// BatchSummary answers {"successCount":…,"failureCount":…,"results":[…]}
	// with the same items, as batch publishing to channels does.
	BatchSummary
	// BatchEmpty answers 204 without a body, so that failures of single items
	// show in the push log only.
	BatchEmpty
)

// Key is an API key of the app.
type Key struct {
	// ID is the part of the key's name after the dot. It must not be empty.
	ID string
	// Secret is the part after the colon. Empty means one made from the seed.
	Secret string
	// Capability maps resources to operations. Nil means everything:
	// {"*":["*"],"[*]*":["*"]}.
	Capability map[string][]string
}

// Config configures [Start]. Its zero value is a working server on a free
// loopback port.
type Config struct {
	// Addr is the TCP address of the listener, which speaks HTTP/1.1 and
	// WebSocket in clear text. Empty means "127.0.0.1:0". A host that is not
	// loopback is refused unless AllowNonLoopback is set.
	Addr string
	// AllowNonLoopback permits addresses reachable from other machines, as
	// containers need. The stand-in is not made to face a hostile network.
	AllowNonLoopback bool
	// PublicURL is the base URL by which clients reach the listener, such as
	// "http://ably.local:17084". Empty means the listener's own address.
	PublicURL string

	// AppID names the app served. Empty means "bugle0".
	AppID string
	// Keys are the app's keys. Empty means one named "root" that may do
	// everything.
	Keys []Key
	// Seed determines secrets, minted device ids, and every fault. Two servers
	// with the same AppID and Seed accept each other's tokens. Zero means a
	// random seed.
	Seed uint64

	// PushRate is the number of push deliveries a second of the account.
	// Beyond it they are dropped at random, after a successful answer, with
	// 42926 on the push log. Ably publishes no number. Zero means no limit.
	PushRate int
	// RequestRate is the number of API requests a second of the account,
	// answered 42918 beyond it. Zero means no limit.
	RequestRate int
	// ChannelRate is the number of messages a second on one channel, answered
	// 42913 beyond it. Zero means [DefaultChannelRate], negative no limit.
	ChannelRate int
	// ChannelByteRate is the bytes of messages a second on one channel,
	// answered 42914 beyond it. Zero means [DefaultChannelByteRate], negative
	// no limit.
	ChannelByteRate int
	// MessageRate is the number of messages published a second by the account,
	// answered 42917 beyond it. Zero means no limit.
	MessageRate int
	// InboundRate is the number of messages and presence messages a second on
	// one realtime connection, each frame as one, refused with 42911 beyond
	// it. Zero means no limit; the service has one of 50.
	InboundRate int
	// MaxMessageSize is the size of a publish in bytes. Zero means
	// [DefaultMaxMessageSize].
	MaxMessageSize int
	// History is how long messages are kept. Zero means [DefaultHistory]; the
	// time in which an id identifies a repeat is [DefaultHistory] always.
	History time.Duration
	// MaxHistory is how many messages a channel keeps at most. Zero means
	// 65,536.
	MaxHistory int
	// BatchReply is the shape of the answer to a batch push.
	BatchReply BatchReply
	// FeedbackDelay is the time between a push that fails at its provider and
	// the event on the push log. Zero means the event comes before the answer.
	// It passes by the real clock, whatever Now says.
	FeedbackDelay time.Duration
	// PushNamespaces are the channel namespaces with push enabled: "push" is
	// the channel of this name and all that begin with "push:". Nil means
	// "push" and "pushenabled".
	PushNamespaces []string
	// FailAfter is the number of failed pushes in a row after which a device
	// is FAILED; with fewer it is FAILING. Ably documents no number. Zero
	// means 3.
	FailAfter int

	// MaxIdle is the interval within which a realtime connection gets at
	// least a heartbeat. Zero means 15 seconds.
	MaxIdle time.Duration
	// ConnectionTTL is how long the state of a lost connection is kept for
	// resuming it. Zero means two minutes.
	ConnectionTTL time.Duration
	// PresenceGrace is the time after which a member whose connection was lost
	// leaves. Zero means 15 seconds.
	PresenceGrace time.Duration

	// Webhooks are the integration rules of the app.
	Webhooks []Webhook

	// MaxRecords is how many accepted pushes are kept in memory at least;
	// older ones are forgotten. Zero means 1,048,576 (about 1 KB each).
	MaxRecords int
	// MaxMessages is how many accepted messages of channels are kept in memory
	// at least; see [Server.Messages]. Zero means 65,536.
	MaxMessages int
	// HangLimit ends a request that hangs by [Hang] or [HangAfterAccept], with
	// a reset. Zero means one minute.
	HangLimit time.Duration

	// Faults are the faults at the start; see [Server.SetFaults].
	Faults Faults
	// OnAccept is called for each accepted push, after it was accepted and
	// before its answer is written, on the request's goroutine and without a
	// lock held. Calls may overlap; [Accepted.Seq] is the order. It may call
	// any method but Close and Shutdown, which wait for it.
	OnAccept func(Accepted)
	// OnAnswerLost is called when a push that had been reported to OnAccept
	// with AnswerLost false turns out to be answered to nobody, because the
	// client went away first.
	OnAnswerLost func(Accepted)
	// OnMessage is called for each message that a channel accepted, in the
	// order of [Message.Seq], one call at a time, without a lock held
	// that the server's methods need; over REST before the publisher is
	// answered. It must not wait for another publish to this server.
	OnMessage func(Message)
	// Now tells the time for limits, lifetimes and timestamps. Nil means
	// time.Now. It must be safe for concurrent use.
	Now func() time.Time
	// After waits for the intervals of webhooks, and for nothing else. Nil
	// means time.After. It must be safe for concurrent use.
	After func(time.Duration) <-chan time.Time
	// ErrorLog receives the HTTP server's own complaints. Nil discards them.
	ErrorLog *log.Logger
}

// withDefaults returns c with its zero values replaced.
func (c Config) withDefaults() Config {
	c.Addr = orDefault(c.Addr, "127.0.0.1:0")
	c.AppID = orDefault(c.AppID, "bugle0")
	c.ChannelRate = orDefault(c.ChannelRate, DefaultChannelRate)
	c.ChannelByteRate = orDefault(c.ChannelByteRate, DefaultChannelByteRate)
	c.MaxMessages = orDefault(c.MaxMessages, 1<<16)
	c.MaxMessageSize = orDefault(c.MaxMessageSize, DefaultMaxMessageSize)
	c.History = orDefault(c.History, DefaultHistory)
	c.MaxHistory = orDefault(c.MaxHistory, 1<<16)
	c.FailAfter = orDefault(c.FailAfter, 3)
	c.MaxIdle = orDefault(c.MaxIdle, 15*time.Second)
	c.ConnectionTTL = orDefault(c.ConnectionTTL, 2*time.Minute)
	c.PresenceGrace = orDefault(c.PresenceGrace, 15*time.Second)
	c.MaxRecords = orDefault(c.MaxRecords, 1<<20)
	c.HangLimit = orDefault(c.HangLimit, time.Minute)
	if len(c.Keys) == 0 {
		c.Keys = []Key{{ID: "root"}}
	}
	c.Keys = slices.Clone(c.Keys)
	for i, k := range c.Keys {
		if k.Capability == nil {
			k.Capability = map[string][]string{"*": {"*"}, "[*]*": {"*"}}
		}
		k.Capability = maps.Clone(k.Capability)
		c.Keys[i] = k
	}
	if c.PushNamespaces == nil {
		c.PushNamespaces = []string{"push", "pushenabled"}
	}
	c.PushNamespaces = slices.Clone(c.PushNamespaces)
	c.Faults.Rules, c.Faults.FrameRules = slices.Clone(c.Faults.Rules), slices.Clone(c.Faults.FrameRules)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.After == nil {
		c.After = time.After
	}
	c.Webhooks = slices.Clone(c.Webhooks)
	for i, w := range c.Webhooks {
		c.Webhooks[i] = w.withDefaults(i + 1)
	}
	return c
}

// validate reports the first contradiction in c, which has its defaults.
func (c Config) validate() error {
	if strings.ContainsAny(c.AppID, "/?#%. :") {
		return fmt.Errorf("app id %q: not a name", c.AppID)
	}
	seen := map[string]bool{}
	for _, k := range c.Keys {
		if k.ID == "" || strings.ContainsAny(k.ID, "/?#%. :") || seen[k.ID] {
			return fmt.Errorf("key id %q: not a name, or given twice", k.ID)
		}
		seen[k.ID] = true
	}
	for _, n := range []int{c.PushRate, c.RequestRate, c.MaxMessageSize, c.MaxHistory, c.FailAfter, c.MaxRecords, c.MessageRate, c.MaxMessages, c.InboundRate} {
		if n < 0 {
			return errors.New("rates, sizes and counts: must not be negative")
		}
	}
	for _, d := range []time.Duration{c.History, c.FeedbackDelay, c.MaxIdle, c.ConnectionTTL, c.PresenceGrace, c.HangLimit} {
		if d < 0 {
			return errors.New("durations: must not be negative")
		}
	}
	for _, w := range c.Webhooks {
		if err := w.validate(c.Keys); err != nil {
			return err
		}
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
	if !c.AllowNonLoopback {
		if err := requireLoopback(c.Addr); err != nil {
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
