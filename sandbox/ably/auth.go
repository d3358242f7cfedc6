package ably

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// principal is who makes a request.
type principal struct {
	key      *appKey
	caps     capability // of the token; nil for a key
	clientID string     // "*" may act as any client, "" as none
	token    bool
	expires  time.Time // zero for a key
}

// may reports whether the principal may do op on a channel. A token's rights
// are those its key has as well.
func (p *principal) may(op, channel string) bool {
	return p.key.caps.allows(op, channel) && (!p.token || p.caps.allows(op, channel))
}

// mayAnywhere reports whether the principal may do op on any resource.
func (p *principal) mayAnywhere(op string) bool {
	if !p.token {
		return p.key.caps.anywhere(op)
	}
	return p.key.caps.and(p.caps).anywhere(op)
}

// actsAs reports whether the principal may act as a client.
func (p *principal) actsAs(clientID string) bool {
	return clientID == "" || p.clientID == "*" || p.clientID == clientID
}

// identity is the client id that messages get which name none.
func (p *principal) identity() string {
	if p.clientID == "*" {
		return ""
	}
	return p.clientID
}

// authorize finds out who makes a REST request.
func (s *Server) authorize(r *http.Request) (*principal, *errorInfo) {
	q := r.URL.Query()
	scheme, cred, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	var p *principal
	var e *errorInfo
	switch {
	case strings.EqualFold(scheme, "Basic"):
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(cred))
		if err != nil {
			return nil, fail(codeBadCredential, "invalid credential: basic authorization is not base64")
		}
		p, e = s.byKey(string(raw))
	case strings.EqualFold(scheme, "Bearer"):
		p, e = s.byToken(strings.TrimSpace(cred))
	default:
		p, e = s.byQuery(q)
	}
	if e != nil {
		return nil, e
	}
	if h := r.Header.Get("X-Ably-ClientId"); h != "" && !p.token {
		id, err := base64.StdEncoding.DecodeString(h)
		if err != nil {
			return nil, fail(codeClientID, "invalid client id: header is not base64")
		}
		p.clientID = string(id)
	}
	return p, nil
}

// byQuery finds out who a request is from by its parameters, as WebSocket
// clients give them.
func (s *Server) byQuery(q url.Values) (*principal, *errorInfo) {
	token := q.Get("access_token")
	if token == "" {
		token = q.Get("accessToken")
	}
	var p *principal
	var e *errorInfo
	switch {
	case q.Get("key") != "":
		p, e = s.byKey(q.Get("key"))
	case token != "":
		p, e = s.byToken(token)
	default:
		return nil, fail(codeInvalidCreds, "no authentication information provided")
	}
	if e != nil {
		return nil, e
	}
	if id := q.Get("clientId"); id != "" {
		if !p.actsAs(id) {
			return nil, fail(codeIncompatible, "mismatched clientId in token and connection parameters")
		}
		p.clientID = id
	}
	return p, nil
}

func (s *Server) byKey(cred string) (*principal, *errorInfo) {
	name, secret, found := strings.Cut(cred, ":")
	if !found || !strings.Contains(name, ".") {
		return nil, fail(codeBadCredential, "invalid credential: not a key")
	}
	k, e := s.keyNamed(name)
	if e != nil {
		return nil, e
	}
	if !hmac.Equal([]byte(secret), []byte(k.secret)) {
		return nil, fail(codeInvalidCreds, "invalid credentials")
	}
	return &principal{key: k, clientID: "*"}, nil
}

// keyNamed looks a key up by appId.keyId.
func (s *Server) keyNamed(name string) (*appKey, *errorInfo) {
	app, _, _ := strings.Cut(name, ".")
	if app != s.cfg.AppID {
		return nil, notFound("application")
	}
	k, ok := s.keys[name]
	if !ok {
		return nil, notFound("key")
	}
	return k, nil
}

// byToken takes an Ably token or a JWT, both plain and in base 64 as the
// Authorization header has them.
func (s *Server) byToken(token string) (*principal, *errorInfo) {
	if raw, err := base64.StdEncoding.DecodeString(token); err == nil {
		token = string(raw)
	}
	var p *principal
	var e *errorInfo
	switch strings.Count(token, ".") {
	case 2:
		p, e = s.byJWT(token)
	case 1:
		p, e = s.byAblyToken(token)
	default:
		e = fail(codeTokenUnknown, "token unrecognised")
	}
	if e == nil && s.tokens.see(sha256.Sum256([]byte(token)), p.expires) {
		e = fail(codeTokenExpired, "token expired")
	}
	if e != nil {
		return nil, e
	}
	return p, nil
}

// ablyToken is what an Ably token of this server says.
type ablyToken struct {
	Key     string `json:"k"`
	Caps    string `json:"c"`
	Client  string `json:"i,omitempty"`
	Expires int64  `json:"e"` // in milliseconds
	Nonce   string `json:"n"`
}

// seal makes the token's text: everything is in the token, under a MAC that
// follows from app and seed.
func (s *Server) seal(t ablyToken) string {
	b, err := json.Marshal(t)
	if err != nil { // strings and numbers always encode
		return ""
	}
	mac := hmac.New(sha256.New, s.signing)
	mac.Write(b)
	return s.cfg.AppID + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(b))
}

func (s *Server) byAblyToken(token string) (*principal, *errorInfo) {
	unknown := fail(codeTokenUnknown, "token unrecognised")
	app, text, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || app != s.cfg.AppID || len(raw) < sha256.Size {
		return nil, unknown
	}
	b, sum := raw[:len(raw)-sha256.Size], raw[len(raw)-sha256.Size:]
	mac := hmac.New(sha256.New, s.signing)
	mac.Write(b)
	var t ablyToken
	if !hmac.Equal(mac.Sum(nil), sum) || json.Unmarshal(b, &t) != nil {
		return nil, unknown
	}
	k, e := s.keyNamed(t.Key)
	if e != nil {
		return nil, e
	}
	caps, err := parseCapability(t.Caps)
	if err != nil {
		return nil, unknown
	}
	p := &principal{key: k, caps: caps, clientID: t.Client, token: true, expires: time.UnixMilli(t.Expires)}
	if !s.cfg.Now().Before(p.expires) {
		return nil, fail(codeTokenExpired, "token expired")
	}
	return p, nil
}

// jwtClaims are the claims of an Ably JWT. Source: Ably, "JWTs".
type jwtClaims struct {
	jwt.RegisteredClaims
	Capability *string `json:"x-ably-capability,omitempty"`
	ClientID   string  `json:"x-ably-clientId,omitempty"`
}

func (s *Server) byJWT(token string) (*principal, *errorInfo) {
	var claims jwtClaims
	var k *appKey
	var unknown *errorInfo
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(s.cfg.Now),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(time.Second))
	_, err := parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if k, unknown = s.keyNamed(kid); unknown != nil {
			return nil, jwt.ErrTokenUnverifiable
		}
		return []byte(k.secret), nil
	})
	switch {
	case unknown != nil:
		return nil, unknown
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return nil, fail(codeTokenExpired, "token expired")
	case err != nil:
		return nil, fail(codeBadJWT, "invalid JWT")
	case claims.IssuedAt == nil:
		return nil, fail(codeBadJWT, "invalid JWT: claim iat is missing")
	case claims.ExpiresAt.Sub(claims.IssuedAt.Time) > MaxTokenLifetime:
		return nil, fail(codeBadJWT, "invalid JWT: it lives longer than 24 hours")
	}
	p := &principal{key: k, caps: k.caps, clientID: claims.ClientID, token: true, expires: claims.ExpiresAt.Time}
	if claims.Capability != nil {
		if p.caps, err = parseCapability(*claims.Capability); err != nil {
			return nil, fail(codeBadJWT, "invalid JWT: x-ably-capability is not the text of a capability")
		}
	}
	return p, nil
}

// MintJWT returns an Ably JWT of the first key, as an application's server
// would sign it. A nil capability means that of the key, an empty clientID
// none. The lifetime counts from now.
func (s *Server) MintJWT(clientID string, caps map[string][]string, lifetime time.Duration) string {
	now := s.cfg.Now()
	claims := jwtClaims{ClientID: clientID, RegisteredClaims: jwt.RegisteredClaims{
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(lifetime)),
	}}
	if caps != nil {
		text := capability(caps).text()
		claims.Capability = &text
	}
	k := s.keys[s.cfg.AppID+"."+s.cfg.Keys[0].ID]
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	t.Header["kid"] = k.name
	signed, err := t.SignedString([]byte(k.secret))
	if err != nil { // HMAC over encodable claims always signs
		panic(err)
	}
	return signed
}
