// Package ablytoken mints the tokens with which the app of a user connects to
// Ably: JSON Web Tokens that Ably's servers verify with the key that signed them.
package ablytoken

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/relay/bets"
)

const (
	// DefaultTTL is how long a token is good: what Ably allows for a key whose tokens can be
	// revoked.
	DefaultTTL = time.Hour
	// MaxTTL is the longest that Ably takes (Ably: "JWTs").
	MaxTTL = 24 * time.Hour
	// DefaultOdds are the channels that live odds are published on.
	DefaultOdds = "outbound:odds:*"
	// backdated is how much earlier than now a token was issued, so that Ably takes it at once
	// when its clock is behind ours.
	backdated = 5 * time.Second
)

// maxUser is the most bytes of a user's id: it is a segment of a channel's name.
const maxUser = 128

// Config is what an Issuer needs.
type Config struct {
	// Key signs: appId.keyId:secret. Its own capability bounds that of each token. Required.
	Key string
	// TTL is how long a token is good; 0 means DefaultTTL. At most MaxTTL.
	TTL time.Duration
	// Odds is the resource of a capability that covers the channels with odds; empty means
	// DefaultOdds.
	Odds string
	// Registerer takes the metrics; nil keeps them unregistered.
	Registerer prometheus.Registerer
}

// Issuer mints tokens.
type Issuer struct {
	name   string
	secret []byte
	ttl    time.Duration
	odds   string
	tokens *prometheus.CounterVec
}

// New returns an Issuer, or an Invalid fault that says what is wrong and never
// repeats the key.
func New(cfg Config) (*Issuer, error) {
	name, secret, ok := strings.Cut(cfg.Key, ":")
	if !ok || secret == "" || !strings.Contains(name, ".") {
		return nil, fault.New(fault.Invalid, "ably tokens: the key is not of the form appId.keyId:secret")
	}
	i := &Issuer{name: name, secret: []byte(secret), ttl: cmp.Or(cfg.TTL, DefaultTTL), odds: cmp.Or(cfg.Odds, DefaultOdds)}
	if i.ttl < time.Minute || i.ttl > MaxTTL {
		return nil, fault.Newf(fault.Invalid, "ably tokens: a token may be good for 1m to %s", MaxTTL)
	}
	i.tokens = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bugle_ably_tokens_total", Help: "Requests of app users for an Ably token by outcome: issued, refused (a user id that no channel may carry).",
	}, []string{"outcome"})
	for _, outcome := range []string{"issued", "refused"} {
		i.tokens.WithLabelValues(outcome)
	}
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(i.tokens); err != nil {
			return nil, fmt.Errorf("register metrics of ably tokens: %w", err)
		}
	}
	return i, nil
}

// Token is a token with what it says.
type Token struct {
	// JWT is the token itself. Whoever has it is the user, until Expires.
	JWT string
	// KeyName is the key that signed it: appId.keyId.
	KeyName         string
	ClientID        string
	Capability      string
	Issued, Expires time.Time
}

// String keeps the token out of logs.
func (t Token) String() string { return "ably token for key " + t.KeyName }

// GoString does the same for %#v.
func (t Token) GoString() string { return t.String() }

// claims of a JWT for Ably (Ably: "JWTs").
type claims struct {
	Capability string `json:"x-ably-capability"`
	ClientID   string `json:"x-ably-clientId"`
	jwt.RegisteredClaims
}

// ErrUser is a user whose id has a meaning to Ably where it would stand in a
// channel's name or a capability: a Forbidden fault.
var ErrUser = fault.New(fault.Forbidden, "this user id cannot be part of an Ably channel: it must have 1 to 128 bytes that can be printed, and none of : * [ ] , or spaces")

// Token mints a token for a user: it binds the client id to the user, and lets
// them read the odds, publish and be present on their own betting channels, and
// register for pushes. It returns ErrUser for an id that would reach further.
func (i *Issuer) Token(user string) (Token, error) {
	if !safe(user) {
		i.tokens.WithLabelValues("refused").Inc()
		return Token{}, ErrUser
	}
	capability, err := json.Marshal(map[string][]string{ // keys are sorted, as Ably's canonical form wants
		i.odds:                           {"history", "subscribe"},
		bets.ChannelPrefix + "*:" + user: {"presence", "publish"},
		"push:user:" + user:              {"push-subscribe"},
	})
	if err != nil {
		return Token{}, fmt.Errorf("encode capability: %w", err)
	}
	issued := time.Now().Add(-backdated).Truncate(time.Second)
	t := Token{
		KeyName: i.name, ClientID: user, Capability: string(capability), Issued: issued, Expires: issued.Add(i.ttl),
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		Capability: t.Capability, ClientID: user,
		RegisteredClaims: jwt.RegisteredClaims{IssuedAt: jwt.NewNumericDate(issued), ExpiresAt: jwt.NewNumericDate(t.Expires)},
	})
	unsigned.Header["kid"] = i.name
	if t.JWT, err = unsigned.SignedString(i.secret); err != nil {
		return Token{}, fmt.Errorf("sign ably token: %w", err)
	}
	i.tokens.WithLabelValues("issued").Inc()
	return t, nil
}

// safe tells whether a user's id is one segment of a channel's name and nothing
// else: segments end at ":", "*" stands for any, "[" begins a qualifier (Ably:
// "Channels", "Capabilities"), and "," separates channels in a request.
func safe(user string) bool {
	return user != "" && len(user) <= maxUser && !strings.ContainsAny(user, ":*[],") &&
		!strings.ContainsFunc(user, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar })
}
