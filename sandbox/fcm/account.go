package fcm

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Scopes that permit to send. Source: discovery document of FCM v1.
const (
	scopeMessaging = "https://www.googleapis.com/auth/firebase.messaging"
	scopePlatform  = "https://www.googleapis.com/auth/cloud-platform"
)

const grantJWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// clockSkew is how far a client's clock may be ahead; Google allows some
// minutes.
const clockSkew = 5 * time.Minute

// account is the fake service account and its access tokens. An access token
// carries its own expiry under a MAC, so that none is stored.
type account struct {
	key      *rsa.PrivateKey
	keyID    string
	email    string
	tokenURI string
	project  string
	secret   []byte
	epoch    atomic.Uint32 // raised to revoke all
}

func newAccount(cfg Config, tokenURI string) *account {
	der := x509.MarshalPKCS1PrivateKey(cfg.PrivateKey)
	sum := sha256.Sum256(der)
	return &account{
		key:      cfg.PrivateKey,
		keyID:    hexOf(sum[:20]),
		email:    "firebase-adminsdk@" + cfg.ProjectID + ".iam.gserviceaccount.com",
		tokenURI: tokenURI,
		project:  cfg.ProjectID,
		secret:   sum[:],
	}
}

// CredentialsJSON returns a service account file in Google's format whose key
// signs for this server only and whose token_uri is this server's. It is for
// option.WithAuthCredentialsJSON or a file named by
// GOOGLE_APPLICATION_CREDENTIALS.
func (s *Server) CredentialsJSON() []byte {
	a := s.account
	// An RSA key that signs can be marshalled.
	der, _ := x509.MarshalPKCS8PrivateKey(a.key)
	return encode(map[string]string{
		"type":            "service_account",
		"project_id":      a.project,
		"private_key_id":  a.keyID,
		"private_key":     string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email":    a.email,
		"client_id":       "100000000000000000001",
		"auth_uri":        strings.TrimSuffix(a.tokenURI, "/token") + "/auth",
		"token_uri":       a.tokenURI,
		"universe_domain": "googleapis.com",
	}, true)
}

// MintBearer returns a valid access token, for clients that speak raw HTTP.
func (s *Server) MintBearer() string {
	return s.account.bearer(s.cfg.Now().Add(s.cfg.TokenLifetime), true)
}

// RevokeBearers makes every access token given out so far invalid: sends with
// one are answered 401, and /token gives new ones.
func (s *Server) RevokeBearers() { s.account.epoch.Add(1) }

// bearer mints an access token; sends says whether its scope covers sending.
func (a *account) bearer(expires time.Time, sends bool) string {
	b := make([]byte, 17, 17+sha256.Size)
	binary.BigEndian.PutUint64(b, uint64(expires.Unix()))
	binary.BigEndian.PutUint32(b[8:], a.epoch.Load())
	binary.BigEndian.PutUint32(b[12:], rand.Uint32()) // so that no two are equal
	if sends {
		b[16] = 1
	}
	return "ya29.c." + base64.RawURLEncoding.EncodeToString(a.sign(b))
}

func (a *account) sign(b []byte) []byte {
	h := hmac.New(sha256.New, a.secret)
	h.Write(b)
	return h.Sum(b)
}

// check reports whether a bearer is good now and covers sending.
func (a *account) check(bearer string, now time.Time) (valid, sends bool) {
	raw, ok := strings.CutPrefix(bearer, "ya29.c.")
	if !ok {
		return false, false
	}
	b, err := base64.RawURLEncoding.DecodeString(raw)
	if err != nil || len(b) != 17+sha256.Size || !hmac.Equal(a.sign(slices.Clone(b[:17])), b) {
		return false, false
	}
	expires := time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	return now.Before(expires) && binary.BigEndian.Uint32(b[8:]) == a.epoch.Load(), b[16] == 1
}

// authorize returns nil if the request may send.
func (s *Server) authorize(r *http.Request) *answer {
	if s.cfg.NoAuth {
		return nil
	}
	scheme, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme == "" {
		return missingCredential()
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return badCredential()
	}
	valid, sends := s.account.check(strings.TrimSpace(bearer), s.cfg.Now())
	switch {
	case !valid:
		return badCredential()
	case !sends:
		return insufficientScope()
	}
	return nil
}

// oauthError is an error of the token endpoint (RFC 6749, section 5.2).
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// serveToken is the OAuth endpoint for service accounts (RFC 7523).
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	a := s.grant(w, r)
	s.mu.Lock()
	if a.status == http.StatusOK {
		s.stats.Tokens++
	} else {
		s.stats.TokensRefused++
	}
	s.mu.Unlock()
	_ = a.write(w, r) // a client that is gone needs no token
}

func (s *Server) grant(w http.ResponseWriter, r *http.Request) *answer {
	s.mu.Lock()
	down := s.faults.TokenUnavailable
	s.mu.Unlock()
	if down > 0 && rand.Float64() < down {
		return errorAnswer("", http.StatusServiceUnavailable, "The service is currently unavailable.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if err := r.ParseForm(); err != nil {
		return refuseGrant("invalid_request", "Bad Request")
	}
	if g := r.PostForm.Get("grant_type"); g != grantJWT {
		return refuseGrant("unsupported_grant_type", "Invalid grant_type: "+g)
	}
	now := s.cfg.Now()
	sends, refused := s.account.verify(r.PostForm.Get("assertion"), now)
	if refused != nil {
		return refused
	}
	return &answer{status: http.StatusOK, body: map[string]any{
		"access_token": s.account.bearer(now.Add(s.cfg.TokenLifetime), sends),
		// Google's own answers say one second less than the lifetime.
		"expires_in": max(1, int64(s.cfg.TokenLifetime/time.Second)-1),
		"token_type": "Bearer",
	}}
}

func refuseGrant(code, description string) *answer {
	return &answer{status: http.StatusBadRequest, body: oauthError{code, description}}
}

// verify checks a JWT assertion as Google's endpoint does.
func (a *account) verify(jwt string, now time.Time) (sends bool, refused *answer) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return false, refuseGrant("invalid_grant", "Invalid JWT: malformed.")
	}
	var header struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}
	var claims struct {
		Iss   string `json:"iss"`
		Scope string `json:"scope"`
		Aud   string `json:"aud"`
		Iat   int64  `json:"iat"`
		Exp   int64  `json:"exp"`
	}
	if !decodePart(parts[0], &header) || !decodePart(parts[1], &claims) {
		return false, refuseGrant("invalid_grant", "Invalid JWT: malformed.")
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err != nil || header.Alg != "RS256" || header.Kid != "" && header.Kid != a.keyID ||
		rsa.VerifyPKCS1v15(&a.key.PublicKey, crypto.SHA256, sum[:], sig) != nil {
		return false, refuseGrant("invalid_grant", "Invalid JWT Signature.")
	}
	iat, exp := time.Unix(claims.Iat, 0), time.Unix(claims.Exp, 0)
	switch {
	case claims.Iss != a.email:
		return false, refuseGrant("invalid_grant", "Invalid grant: account not found")
	case claims.Aud != a.tokenURI:
		return false, refuseGrant("invalid_grant", "Invalid JWT: Failed audience check.")
	case !exp.After(now) || iat.After(now.Add(clockSkew)) || exp.Sub(iat) > time.Hour:
		return false, refuseGrant("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.")
	case strings.TrimSpace(claims.Scope) == "":
		return false, refuseGrant("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
	}
	scopes := strings.Fields(claims.Scope)
	return slices.Contains(scopes, scopeMessaging) || slices.Contains(scopes, scopePlatform), nil
}

func decodePart(part string, v any) bool {
	b, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(b, v) == nil
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}
