package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

// jwtLeeway is how far the clock of who made a token may be off.
const jwtLeeway = 30 * time.Second

// minSecretLen is what RFC 7518, section 3.2, demands of a key for HS256: as
// many bits as the hash has.
const minSecretLen = 32

// HS256Config says which tokens an HS256 accepts.
type HS256Config struct {
	// Secret signs the tokens; at least 32 bytes.
	Secret []byte
	// Issuer must be the token's iss; empty accepts any.
	Issuer string
	// Audience must be in the token's aud; empty accepts any.
	Audience string
}

// HS256 accepts JSON Web Tokens signed with a shared secret (RFC 7519, HMAC
// with SHA-256). No other algorithm passes, "none" least of all. A token needs
// exp and sub; nbf and iat count when they are there.
type HS256 struct {
	secret []byte
	parser *jwt.Parser
}

// NewHS256 returns an Invalid fault when the secret is too short.
func NewHS256(cfg HS256Config) (*HS256, error) {
	if len(cfg.Secret) < minSecretLen {
		return nil, fault.InvalidFields("the tokens' secret is too short", fault.Field{
			Path: "auth.secret_file", Message: fmt.Sprintf("wants at least %d bytes, has %d", minSecretLen, len(cfg.Secret)),
		})
	}
	return &HS256{
		secret: append([]byte(nil), cfg.Secret...),
		parser: newJWTParser(cfg.Issuer, cfg.Audience, jwt.SigningMethodHS256.Alg()),
	}, nil
}

// Authenticate returns the token's subject. Every error is an Unauthorized
// fault; its message says only whether the token was too old, because that is
// what an app can mend by itself.
func (h *HS256) Authenticate(_ context.Context, token string) (devices.UserID, error) {
	return subjectOf(h.parser, token, func(*jwt.Token) (any, error) { return h.secret, nil })
}

// newJWTParser checks what every token must say, however it is signed. Only the
// methods given pass.
func newJWTParser(issuer, audience string, methods ...string) *jwt.Parser {
	opts := []jwt.ParserOption{
		jwt.WithValidMethods(methods),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(jwtLeeway),
		jwt.WithStrictDecoding(),
	}
	if issuer != "" {
		opts = append(opts, jwt.WithIssuer(issuer))
	}
	if audience != "" {
		opts = append(opts, jwt.WithAudience(audience))
	}
	return jwt.NewParser(opts...)
}

// subjectOf verifies a token with the key that is found for it and returns its
// subject. What key finds out about the issuer being away is passed on as it is.
func subjectOf(parser *jwt.Parser, token string, key jwt.Keyfunc) (devices.UserID, error) {
	var claims jwt.RegisteredClaims
	_, err := parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		// RFC 7515, section 4.1.11: a critical extension that is not understood
		// makes the token invalid, and none is understood here.
		if _, ok := t.Header["crit"]; ok {
			return nil, errors.New("critical header extension")
		}
		return key(t)
	})
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind == fault.Unavailable {
		return "", f
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "", err
	case errors.Is(err, jwt.ErrTokenExpired):
		return "", fault.Wrap(fault.Unauthorized, err, "the token has expired")
	case err != nil:
		return "", fault.Wrap(fault.Unauthorized, err, "the token is not valid")
	}
	user := devices.UserID(claims.Subject)
	if err := user.Validate(); err != nil {
		return "", fault.Wrap(fault.Unauthorized, err, "the token is not valid")
	}
	return user, nil
}
