package api_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/logtest"
)

var _ api.Authenticator = (*api.JWKS)(nil)

// signer is a private key of the issuer.
type signer struct {
	kid    string
	method jwt.SigningMethod
	key    crypto.Signer
}

// keys are expensive to make; tests only read them.
var keys = sync.OnceValue(func() map[string]crypto.Signer {
	must := func(k crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{
		"rsa":    must(rsa.GenerateKey(rand.Reader, 2048)),
		"rsa2":   must(rsa.GenerateKey(rand.Reader, 2048)),
		"weak":   must(rsa.GenerateKey(rand.Reader, 1024)),
		"ec":     must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"ec384":  must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"ed":     must(ed, err),
		"nobody": must(rsa.GenerateKey(rand.Reader, 2048)),
	}
})

func (s signer) token(t testing.TB, c jwt.MapClaims, header map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(s.method, c)
	if s.kid != "" {
		token.Header["kid"] = s.kid
	}
	maps.Copy(token.Header, header)
	text, err := token.SignedString(s.key)
	require.NoError(t, err)
	return text
}

func jwk(t testing.TB, kid string, key any, change func(*jwkset.JWKMarshal)) jwkset.JWKMarshal {
	t.Helper()
	k, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{
		Marshal: jwkset.JWKMarshalOptions{Private: true}, Metadata: jwkset.JWKMetadataOptions{KID: kid, USE: jwkset.UseSig},
	})
	require.NoError(t, err)
	m := k.Marshal()
	if change != nil {
		change(&m)
	}
	return m
}

// issuerOf is an issuer whose answer a test chooses, without a socket.
type issuerOf struct {
	mu     sync.Mutex
	status int
	body   string
	err    error
	asked  atomic.Int32
}

func (i *issuerOf) publish(t testing.TB, keys ...jwkset.JWKMarshal) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"keys": keys})
	require.NoError(t, err)
	i.answer(200, string(body), nil)
}

func (i *issuerOf) answer(status int, body string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status, i.body, i.err = status, body, err
}

func (i *issuerOf) RoundTrip(r *http.Request) (*http.Response, error) {
	i.asked.Add(1)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return nil, i.err
	}
	rec := httptest.NewRecorder()
	rec.Header().Set("Location", "https://elsewhere.example/keys")
	rec.WriteHeader(i.status)
	_, _ = rec.WriteString(i.body)
	return rec.Result(), r.Context().Err()
}

func newJWKS(t testing.TB, transport http.RoundTripper, log *logtest.Buffer) *api.JWKS {
	t.Helper()
	j, err := api.NewJWKS(api.JWKSConfig{
		URL: "https://accounts.example/keys", Issuer: issuer, Audience: audience, Transport: transport, Log: zerolog.New(log),
	})
	require.NoError(t, err)
	return j
}

// publicKeys publishes one key of each usable kind.
func publicKeys(t testing.TB, i *issuerOf) {
	t.Helper()
	k := keys()
	i.publish(t, jwk(t, "rsa", k["rsa"].Public(), nil), jwk(t, "ec", k["ec"].Public(), nil), jwk(t, "ed", k["ed"].Public(), nil),
		jwk(t, "ps", k["rsa2"].Public(), func(m *jwkset.JWKMarshal) { m.ALG = jwkset.AlgPS256 }))
}

func requireKind(t testing.TB, kind fault.Kind, j *api.JWKS, token string) {
	t.Helper()
	user, err := j.Authenticate(t.Context(), token)
	require.Error(t, err)
	require.Equal(t, kind, fault.KindOf(err), err)
	require.Empty(t, user)
}

func TestPublishedKeysVerify(t *testing.T) {
	t.Parallel()
	i := &issuerOf{}
	publicKeys(t, i)
	j := newJWKS(t, i, &logtest.Buffer{})
	k := keys()
	for _, s := range []signer{
		{"rsa", jwt.SigningMethodRS256, k["rsa"]},
		{"rsa", jwt.SigningMethodPS256, k["rsa"]},
		{"ps", jwt.SigningMethodPS256, k["rsa2"]},
		{"ec", jwt.SigningMethodES256, k["ec"]},
		{"ed", jwt.SigningMethodEdDSA, k["ed"]},
	} {
		user, err := j.Authenticate(t.Context(), s.token(t, claims("ada"), nil))
		require.NoError(t, err, s)
		require.EqualValues(t, "ada", user)
	}
	require.EqualValues(t, 1, i.asked.Load(), "read once, used often")
}

// Attacks on the table of all routes are in access_test.go; these need keys.
func TestAttacksOnPublishedKeys(t *testing.T) {
	t.Parallel()
	i := &issuerOf{}
	publicKeys(t, i)
	k := keys()
	der, err := x509.MarshalPKIXPublicKey(k["rsa"].Public())
	require.NoError(t, err)
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	hmacToken := func(secret []byte, kid string) string {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims("eve"))
		token.Header["kid"] = kid
		text, err := token.SignedString(secret)
		require.NoError(t, err)
		return text
	}
	good := signer{"rsa", jwt.SigningMethodRS256, k["rsa"]}
	evil := signer{"rsa", jwt.SigningMethodRS256, k["nobody"]}
	spoilt := func(change func(jwt.MapClaims)) string {
		c := claims("ada")
		change(c)
		return good.token(t, c, nil)
	}
	evilJWK := jwk(t, "evil", k["nobody"].Public(), nil)
	none := jwt.NewWithClaims(jwt.SigningMethodNone, claims("eve"))
	none.Header["kid"] = "rsa"
	noneToken, err := none.SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	payload := strings.Split(good.token(t, claims("ada"), nil), ".")

	for name, token := range map[string]string{
		"alg none":              noneToken,
		"alg None":              strings.Replace(noneToken, "eyJhbGciOiJub25l", "eyJhbGciOiJOb25l", 1),
		"HS256 with PEM":        hmacToken(pemKey, "rsa"),
		"HS256 with DER":        hmacToken(der, "rsa"),
		"HS256 with modulus":    hmacToken(k["rsa"].Public().(*rsa.PublicKey).N.Bytes(), "rsa"),
		"HS256 with empty":      hmacToken([]byte{0}, "rsa"),
		"another key":           evil.token(t, claims("eve"), nil),
		"kid is a path":         evil.token(t, claims("eve"), map[string]any{"kid": "../../../../dev/null"}),
		"kid is a URL":          evil.token(t, claims("eve"), map[string]any{"kid": "https://evil.example/keys.json"}),
		"kid is SQL":            evil.token(t, claims("eve"), map[string]any{"kid": "x' UNION SELECT 'k"}),
		"kid is a number":       good.token(t, claims("ada"), map[string]any{"kid": 1}),
		"kid is null":           good.token(t, claims("ada"), map[string]any{"kid": nil}),
		"kid is a list":         good.token(t, claims("ada"), map[string]any{"kid": []string{"rsa"}}),
		"kid is empty":          good.token(t, claims("ada"), map[string]any{"kid": ""}),
		"kid is long":           good.token(t, claims("ada"), map[string]any{"kid": strings.Repeat("k", 257)}),
		"no kid, several keys":  signer{"", jwt.SigningMethodRS256, k["rsa"]}.token(t, claims("ada"), nil),
		"jku":                   evil.token(t, claims("eve"), map[string]any{"kid": "evil", "jku": "https://evil.example/keys.json"}),
		"jwk in the header":     evil.token(t, claims("eve"), map[string]any{"kid": "evil", "jwk": evilJWK}),
		"x5u":                   evil.token(t, claims("eve"), map[string]any{"kid": "evil", "x5u": "https://evil.example/c.pem"}),
		"kid of another kind":   good.token(t, claims("ada"), map[string]any{"kid": "ec"}),
		"RS256 with a PS key":   signer{"ps", jwt.SigningMethodRS256, k["rsa2"]}.token(t, claims("ada"), nil),
		"RS512":                 signer{"rsa", jwt.SigningMethodRS512, k["rsa"]}.token(t, claims("ada"), nil),
		"expired":               spoilt(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"no exp":                spoilt(func(c jwt.MapClaims) { delete(c, "exp") }),
		"future nbf":            spoilt(func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }),
		"future iat":            spoilt(func(c jwt.MapClaims) { c["iat"] = time.Now().Add(time.Hour).Unix() }),
		"no subject":            spoilt(func(c jwt.MapClaims) { delete(c, "sub") }),
		"wrong audience":        spoilt(func(c jwt.MapClaims) { c["aud"] = "bets" }),
		"wrong issuer":          spoilt(func(c jwt.MapClaims) { c["iss"] = "https://accounts.example.evil" }),
		"critical extension":    good.token(t, claims("ada"), map[string]any{"crit": []string{"b64"}, "b64": false}),
		"signature of another":  payload[0] + "." + strings.Split(good.token(t, claims("eve"), nil), ".")[1] + "." + payload[2],
		"signature is cut":      strings.Join(payload[:2], ".") + "." + payload[2][:20],
		"signature is left out": strings.Join(payload[:2], ".") + ".",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJWKS(t, i, &logtest.Buffer{})
			_, err := j.Authenticate(t.Context(), good.token(t, claims("ada"), nil))
			require.NoError(t, err)
			requireKind(t, fault.Unauthorized, j, token)
		})
	}
}

func TestKeysThatAreNeverUsed(t *testing.T) {
	t.Parallel()
	k := keys()
	for name, tc := range map[string]struct {
		key    any
		signer signer
		change func(*jwkset.JWKMarshal)
	}{
		"private RSA":    {k["rsa2"], signer{"k", jwt.SigningMethodRS256, k["rsa2"]}, nil},
		"private EC":     {k["ec"], signer{"k", jwt.SigningMethodES256, k["ec"]}, nil},
		"weak RSA":       {k["weak"].Public(), signer{"k", jwt.SigningMethodRS256, k["weak"]}, nil},
		"for encryption": {k["rsa2"].Public(), signer{"k", jwt.SigningMethodRS256, k["rsa2"]}, func(m *jwkset.JWKMarshal) { m.USE = jwkset.UseEnc }},
		"for signing":    {k["rsa2"].Public(), signer{"k", jwt.SigningMethodRS256, k["rsa2"]}, func(m *jwkset.JWKMarshal) { m.KEYOPS = []jwkset.KEYOPS{jwkset.KeyOpsSign} }},
		"another alg":    {k["rsa2"].Public(), signer{"k", jwt.SigningMethodRS256, k["rsa2"]}, func(m *jwkset.JWKMarshal) { m.ALG = jwkset.AlgRS512 }},
		"P-384":          {k["ec384"].Public(), signer{"k", jwt.SigningMethodES384, k["ec384"]}, nil},
		"taken id":       {k["rsa2"].Public(), signer{"rsa", jwt.SigningMethodRS256, k["rsa2"]}, func(m *jwkset.JWKMarshal) { m.KID = "rsa" }},
		"malformed":      {k["rsa2"].Public(), signer{"k", jwt.SigningMethodRS256, k["rsa2"]}, func(m *jwkset.JWKMarshal) { m.N = "!" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, log := &issuerOf{}, &logtest.Buffer{}
			i.publish(t, jwk(t, "rsa", k["rsa"].Public(), nil), jwk(t, "k", tc.key, tc.change))
			j := newJWKS(t, i, log)
			requireKind(t, fault.Unauthorized, j, tc.signer.token(t, claims("eve"), nil))
			user, err := j.Authenticate(t.Context(), signer{"rsa", jwt.SigningMethodRS256, k["rsa"]}.token(t, claims("ada"), nil))
			require.NoError(t, err, "the other key goes on")
			require.EqualValues(t, "ada", user)
			require.Contains(t, log.String(), "key refused")
		})
	}
	t.Run("symmetric", func(t *testing.T) {
		t.Parallel()
		i := &issuerOf{}
		i.publish(t, jwk(t, "k", []byte(secret), nil))
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims("eve"))
		token.Header["kid"] = "k"
		text, err := token.SignedString([]byte(secret))
		require.NoError(t, err)
		requireKind(t, fault.Unauthorized, newJWKS(t, i, &logtest.Buffer{}), text)
	})
}

func TestASingleKeyNeedsNoKid(t *testing.T) {
	t.Parallel()
	i := &issuerOf{}
	i.publish(t, jwk(t, "", keys()["ec"].Public(), nil))
	user, err := newJWKS(t, i, &logtest.Buffer{}).Authenticate(t.Context(),
		signer{"", jwt.SigningMethodES256, keys()["ec"]}.token(t, claims("ada"), nil))
	require.NoError(t, err)
	require.EqualValues(t, "ada", user)
}

func TestSeveralKeysNeedAKid(t *testing.T) {
	t.Parallel()
	i := &issuerOf{}
	k := keys()
	i.publish(t, jwk(t, "", k["ec"].Public(), nil), jwk(t, "rsa", k["rsa"].Public(), nil))
	j := newJWKS(t, i, &logtest.Buffer{})
	for range 20 {
		requireKind(t, fault.Unauthorized, j, signer{"", jwt.SigningMethodES256, k["ec"]}.token(t, claims("ada"), nil))
		requireKind(t, fault.Unauthorized, j, signer{"", jwt.SigningMethodRS256, k["rsa"]}.token(t, claims("ada"), nil))
	}
}

func TestAnIssuerThatDoesNotAnswerRight(t *testing.T) {
	t.Parallel()
	token := signer{"rsa", jwt.SigningMethodRS256, keys()["rsa"]}.token(t, claims("ada"), nil)
	leaked, err := json.Marshal(map[string]any{"keys": []any{jwk(t, "rsa", keys()["rsa"], nil)}})
	require.NoError(t, err)
	good, err := json.Marshal(map[string]any{"keys": []any{jwk(t, "rsa", keys()["rsa"].Public(), nil)}})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		status int
		body   string
		err    error
	}{
		"down":                {err: context.DeadlineExceeded},
		"an error":            {status: 500, body: `{"keys":[]}`},
		"moved":               {status: 302},
		"no JSON":             {status: 200, body: "<html>"},
		"no keys":             {status: 200, body: `{"keys":[]}`},
		"another document":    {status: 200, body: `{"issuer":"x"}`},
		"only a private key":  {status: 200, body: string(leaked)},
		"too large":           {status: 200, body: string(good) + strings.Repeat(" ", 256<<10)},
		"too many keys":       {status: 200, body: `{"keys":[{}` + strings.Repeat(",{}", 100) + `]}`},
		"too large by itself": {status: 200, body: `{"keys":[{"kty":"RSA","kid":"rsa","e":"AQAB","n":"` + strings.Repeat("A", 200<<10) + `"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, log := &issuerOf{}, &logtest.Buffer{}
			i.answer(tc.status, tc.body, tc.err)
			j := newJWKS(t, i, log)
			requireKind(t, fault.Unavailable, j, token)
			require.Error(t, j.Check(t.Context()))
			requireKind(t, fault.Unavailable, j, token)
			require.EqualValues(t, 1, i.asked.Load(), "a moment's peace between two requests")
			require.Equal(t, 1, strings.Count(log.String(), "keys could not be read"))
			require.NotContains(t, log.String(), `"n"`)
		})
	}
}

// Virtual time: keys come, go, and the issuer is away in between.
func TestRotation(t *testing.T) {
	t.Parallel()
	k := keys()
	old := signer{"old", jwt.SigningMethodRS256, k["rsa"]}
	fresh := signer{"fresh", jwt.SigningMethodRS256, k["rsa2"]}
	synctest.Test(t, func(t *testing.T) {
		i, log := &issuerOf{}, &logtest.Buffer{}
		i.publish(t, jwk(t, "old", k["rsa"].Public(), nil))
		j := newJWKS(t, i, log)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- j.Run(ctx) }()
		synctest.Wait()
		require.NoError(t, j.Check(ctx))
		passes := func(s signer) error {
			_, err := j.Authenticate(ctx, s.token(t, claims("ada"), nil))
			return err
		}
		require.NoError(t, passes(old))
		require.EqualValues(t, 1, i.asked.Load())

		// A new key is published; its first token makes one request, but not within the minute.
		i.publish(t, jwk(t, "old", k["rsa"].Public(), nil), jwk(t, "fresh", k["rsa2"].Public(), nil))
		for range 100 {
			require.Equal(t, fault.Unauthorized, fault.KindOf(passes(fresh)))
		}
		require.EqualValues(t, 1, i.asked.Load(), "the keys were read just now")
		time.Sleep(time.Minute)
		require.NoError(t, passes(fresh))
		require.NoError(t, passes(old))
		require.EqualValues(t, 2, i.asked.Load())

		// Invented key ids make one request a minute, however many they are.
		time.Sleep(2 * time.Minute)
		before := i.asked.Load()
		invented := signer{"invented", jwt.SigningMethodRS256, k["nobody"]}.token(t, claims("eve"), nil)
		errs := make([]error, 200)
		var wg sync.WaitGroup
		for n := range errs {
			wg.Go(func() { _, errs[n] = j.Authenticate(ctx, invented) })
		}
		wg.Wait()
		for _, err := range errs {
			require.Equal(t, fault.Unauthorized, fault.KindOf(err))
		}
		require.Equal(t, before+1, i.asked.Load())

		// The issuer goes away: what is known goes on, what is not is not refused for good.
		i.answer(503, "", nil)
		time.Sleep(24 * time.Hour)
		require.NoError(t, passes(old))
		require.NoError(t, passes(fresh))
		require.Equal(t, fault.Unavailable, fault.KindOf(passes(signer{"newer", jwt.SigningMethodRS256, k["rsa"]})))
		require.Equal(t, 1, strings.Count(log.String(), "keys could not be read"), "once per change")

		// The old key is withdrawn, and that is known within a minute of the issuer's return.
		i.publish(t, jwk(t, "fresh", k["rsa2"].Public(), nil))
		time.Sleep(time.Minute + time.Second)
		require.Equal(t, fault.Unauthorized, fault.KindOf(passes(old)))
		require.NoError(t, passes(fresh))
		require.Contains(t, log.String(), "keys are read again")

		before = i.asked.Load()
		time.Sleep(time.Hour)
		require.Equal(t, before+4, i.asked.Load(), "every quarter of an hour")
		cancel()
		require.NoError(t, <-done)
	})
}

func TestOnlyHTTPSIsAsked(t *testing.T) {
	t.Parallel()
	for url, dev := range map[string]bool{
		"https://a.example/keys": true, "http://a.example/keys": false, "ftp://a.example/keys": false, "file:///etc/passwd": false,
		"": false, "a.example/keys": false, "https://": false, "https://user:pass@a.example/": false, "https://a.example/#k": false, "://": false,
	} {
		_, err := api.NewJWKS(api.JWKSConfig{URL: url})
		if dev {
			require.NoError(t, err, url)
			continue
		}
		require.Equal(t, fault.Invalid, fault.KindOf(err), url)
		require.NotContains(t, err.Error(), "pass@")
	}
	_, err := api.NewJWKS(api.JWKSConfig{URL: "http://127.0.0.1/keys", AllowInsecure: true})
	require.NoError(t, err)
	_, err = api.NewJWKS(api.JWKSConfig{URL: "ftp://127.0.0.1/keys", AllowInsecure: true})
	require.Error(t, err)
}

// Over a real socket, with the transport that production has.
func TestKeysComeOverASocket(t *testing.T) {
	t.Parallel()
	i := &issuerOf{}
	publicKeys(t, i)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/keys", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte(i.body))
	}))
	defer srv.Close()
	token := signer{"ec", jwt.SigningMethodES256, keys()["ec"]}.token(t, claims("ada"), nil)
	for path, kind := range map[string]string{"/keys": "", "/moved": "unavailable"} {
		j, err := api.NewJWKS(api.JWKSConfig{URL: srv.URL + path, AllowInsecure: true})
		require.NoError(t, err)
		user, err := j.Authenticate(t.Context(), token)
		if kind == "" {
			require.NoError(t, err)
			require.Equal(t, devices.UserID("ada"), user)
			continue
		}
		require.Equal(t, kind, fault.KindOf(err).String())
	}
}

func TestARequestDuringAnOutageIsNotSentToLogIn(t *testing.T) {
	t.Parallel()
	i := &issuerOf{}
	i.answer(500, "", nil)
	w := newWorld(t, func(c *api.Config) { c.Auth = newJWKS(t, i, &logtest.Buffer{}) })
	token := signer{"rsa", jwt.SigningMethodRS256, keys()["rsa"]}.token(t, claims("ada"), nil)
	rec := w.do(t, call{method: "GET", path: "/v1/devices", token: token})
	requireProblem(t, rec, 503)
	require.Empty(t, rec.Header().Get("WWW-Authenticate"))
	requireProblem(t, w.do(t, call{method: "GET", path: "/v1/devices", token: tokenFor(t, "ada")}), 401)
}

func TestASetWithoutAUsableKeyWithdrawsTheKnownOnes(t *testing.T) {
	t.Parallel()
	leaked := jwk(t, "a", keys()["rsa"], nil) // with its private half: anybody can sign
	leakedSet, err := json.Marshal(map[string]any{"keys": []jwkset.JWKMarshal{leaked}})
	require.NoError(t, err)
	for name, body := range map[string]string{"withdrawn": `{"keys":[]}`, "its private half leaked": string(leakedSet)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				i := &issuerOf{}
				i.publish(t, jwk(t, "a", keys()["rsa"].Public(), nil))
				j := newJWKS(t, i, &logtest.Buffer{})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- j.Run(ctx) }()
				synctest.Wait()
				token := func() string {
					return signer{"a", jwt.SigningMethodRS256, keys()["rsa"]}.token(t, claims("ann"), nil)
				}
				_, err := j.Authenticate(t.Context(), token())
				require.NoError(t, err)

				i.answer(503, "", nil)
				time.Sleep(api.DefaultJWKSRefresh + time.Second)
				_, err = j.Authenticate(t.Context(), token())
				require.NoError(t, err, "an outage withdraws nothing")
				i.answer(200, `{"error":"try again"}`, nil)
				time.Sleep(api.DefaultJWKSRefresh + time.Second)
				_, err = j.Authenticate(t.Context(), token())
				require.NoError(t, err, "nor does nonsense")

				i.answer(200, body, nil)
				time.Sleep(api.DefaultJWKSRefresh + time.Second)
				_, err = j.Authenticate(t.Context(), token())
				require.Error(t, err)
				require.Error(t, j.Check(t.Context()))
				cancel()
				require.NoError(t, <-done)
			})
		})
	}
}
