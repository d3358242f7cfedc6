package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

const (
	// DefaultJWKSRefresh is how often the keys are read again. A key that an
	// issuer withdraws is refused after at most that long; a new one is asked for
	// when a token names it.
	DefaultJWKSRefresh = 15 * time.Minute
	// jwksTimeout bounds one request for the keys, its body included.
	jwksTimeout = 5 * time.Second
	// jwksMaxBytes bounds the answer: a key of RSA 4096 has less than 1 KiB, with
	// its certificates a few more.
	jwksMaxBytes = 256 << 10
	// jwksPause is kept between two requests for the keys, whatever key ids the
	// tokens invent.
	jwksPause = time.Minute
	// jwksFirstPause takes its place as long as there are no keys at all.
	jwksFirstPause = 5 * time.Second
	// maxKidLen bounds the key id of a token, in bytes.
	maxKidLen = 256
)

// JWKSConfig says where the keys are and which tokens are accepted.
type JWKSConfig struct {
	// URL is where the issuer publishes its JSON Web Key Set (RFC 7517, section 5).
	URL string
	// Issuer must be the token's iss; empty accepts any.
	Issuer string
	// Audience must be in the token's aud; empty accepts any.
	Audience string
	// Refresh is how often the keys are read again; 0 means DefaultJWKSRefresh.
	Refresh time.Duration
	// AllowInsecure accepts an http URL; for development only.
	AllowInsecure bool
	// Transport makes the requests; nil means one that trusts the system's authorities.
	Transport http.RoundTripper
	// Log is told when keys change, cannot be read, or are refused.
	Log zerolog.Logger
}

// JWKS accepts JSON Web Tokens signed with one of the keys that an issuer
// publishes: RS256, PS256, ES256 (RFC 7518) and EdDSA with Ed25519 (RFC 8037).
// What a token must say is what HS256 demands.
//
// A token's key is found by its kid alone, compared as a text; a token without
// one passes only when there is a single key. Nothing else in a token's header
// (jku, jwk, x5u, x5c) is looked at. Keys that are too weak, not for signatures,
// symmetric, or published with their private half are never used.
//
// Run keeps the keys fresh. A kid that is not known asks for them in between, at
// most once a minute. When the issuer does not answer, the keys that are known
// go on without an end: its outage must not be ours, and tokens still expire. An
// answer without a usable key is no outage: it withdraws those that are known.
type JWKS struct {
	url     string
	client  *http.Client
	parser  *jwt.Parser
	refresh time.Duration
	log     zerolog.Logger

	keys atomic.Pointer[keySet] // nil until they have been read once
	turn chan struct{}          // whoever reads the keys has the one place in it

	mu    sync.Mutex
	tried time.Time // when they were last asked for
	err   error     // what came of it
}

// NewJWKS returns an Invalid fault for a URL that is none or not https. It makes
// no request: an issuer that is down now is a matter of readiness.
func NewJWKS(cfg JWKSConfig) (*JWKS, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !cfg.AllowInsecure) {
		return nil, fault.InvalidFields("the address of the tokens' keys is not valid", fault.Field{
			Path: "auth.jwks_url", Message: "wants an https URL without user and fragment",
		})
	}
	if cfg.Refresh < 0 {
		return nil, fault.New(fault.Invalid, "api: Refresh must not be negative")
	}
	transport := cfg.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: jwksTimeout,
			// A request every quarter of an hour needs no connection in between.
			DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &JWKS{
		url: u.String(),
		client: &http.Client{
			Transport: transport, Timeout: jwksTimeout,
			// The keys come from where the operator said, and from nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		parser:  newJWTParser(cfg.Issuer, cfg.Audience, jwksMethods()...),
		refresh: cmp.Or(cfg.Refresh, DefaultJWKSRefresh),
		log:     cfg.Log.With().Str("component", "jwks").Logger(),
		turn:    make(chan struct{}, 1),
	}, nil
}

// Run reads the keys at once and then again and again until ctx ends. Without
// it they are read when a token needs them, and never again as long as they do.
func (j *JWKS) Run(ctx context.Context) error {
	for {
		wait := j.refresh
		if err := j.read(ctx, 0); err != nil {
			wait = min(wait, j.pause())
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Check returns nil when there are keys to verify tokens with.
func (j *JWKS) Check(ctx context.Context) error {
	if j.keys.Load() != nil {
		return nil
	}
	return j.read(ctx, jwksFirstPause)
}

// Authenticate returns the token's subject. It returns an Unauthorized fault for
// a token that is not good, and an Unavailable one when its key is not known
// and the issuer cannot be asked.
func (j *JWKS) Authenticate(ctx context.Context, token string) (devices.UserID, error) {
	return subjectOf(j.parser, token, func(t *jwt.Token) (any, error) { return j.keyOf(ctx, t) })
}

func (j *JWKS) keyOf(ctx context.Context, t *jwt.Token) (any, error) {
	kid, named := t.Header["kid"]
	name, ok := kid.(string)
	if named && (!ok || len(name) > maxKidLen) {
		return nil, errors.New("the key id is not a short text")
	}
	find := func() (any, error) {
		set := j.keys.Load()
		if set == nil {
			return nil, errUnknownKey
		}
		return set.find(name, named, t.Method.Alg())
	}
	key, err := find()
	if !errors.Is(err, errUnknownKey) {
		return key, err
	}
	readErr := j.read(ctx, j.pause())
	if key, err = find(); !errors.Is(err, errUnknownKey) {
		return key, err
	}
	if readErr != nil {
		// The key may be a new one: who holds such a token must not be sent to log in again.
		return nil, fault.Wrap(fault.Unavailable, readErr, "the keys of the tokens' issuer cannot be read now")
	}
	return nil, err
}

// pause is how long to wait between two requests for the keys.
func (j *JWKS) pause() time.Duration {
	if j.keys.Load() == nil {
		return jwksFirstPause
	}
	return jwksPause
}

// read asks for the keys, unless somebody did within the pause; then it returns
// what came of that. One request is made at a time, and others wait for it.
func (j *JWKS) read(ctx context.Context, pause time.Duration) error {
	select {
	case j.turn <- struct{}{}:
		defer func() { <-j.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	tried, before := j.state()
	if !tried.IsZero() && time.Since(tried) < pause {
		return before
	}
	// Others wait for this answer: it must not fail because one caller left.
	fetchCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), jwksTimeout)
	defer cancel()
	set, err := j.fetch(fetchCtx)
	if err != nil {
		err = fmt.Errorf("read the issuer's keys: %w", err)
	}
	j.mu.Lock()
	j.tried, j.err = time.Now(), err
	j.mu.Unlock()
	if errors.Is(err, errNoUsableKey) && j.keys.Swap(nil) != nil {
		// An answer, and no outage: the issuer has withdrawn what it published.
		j.log.Error().Err(err).Msg("keys withdrawn; no token is accepted")
	}
	switch {
	case err != nil:
		if before == nil {
			j.log.Warn().Err(err).Bool("known", j.keys.Load() != nil).Msg("keys could not be read")
		}
		return err
	case before != nil:
		j.log.Info().Msg("keys are read again")
	}
	if old := j.keys.Swap(set); old == nil || old.digest != set.digest {
		j.log.Info().Strs("key_ids", set.names()).Msg("keys taken")
		for _, r := range set.refused {
			j.log.Warn().Str("key_id", r.kid).Str("reason", r.reason).Msg("key refused")
		}
	}
	return nil
}

func (j *JWKS) state() (tried time.Time, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.tried, j.err
}

func (j *JWKS) fetch(ctx context.Context) (*keySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("User-Agent", "bugle")
	resp, err := j.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, jwksMaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > jwksMaxBytes {
		return nil, fmt.Errorf("more than %d bytes", jwksMaxBytes)
	}
	return parseKeys(body)
}
