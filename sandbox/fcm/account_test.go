package fcm_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"firebase.google.com/go/v4/errorutils"
	"firebase.google.com/go/v4/messaging"
	"github.com/stretchr/testify/require"
	"google.golang.org/api/option"

	"github.com/bugle-push/bugle/sandbox/fcm"
)

// serviceAccount is the file a client would be given.
type serviceAccount struct {
	ClientEmail string `json:"client_email"`
	KeyID       string `json:"private_key_id"`
	PrivateKey  string `json:"private_key"`
	TokenURI    string `json:"token_uri"`
}

func readAccount(t *testing.T, srv *fcm.Server) (serviceAccount, *rsa.PrivateKey) {
	t.Helper()
	var a serviceAccount
	require.NoError(t, json.Unmarshal(srv.CredentialsJSON(), &a))
	block, _ := pem.Decode([]byte(a.PrivateKey))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return a, key.(*rsa.PrivateKey)
}

func sign(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	require.NoError(t, err)
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

type grant struct {
	Status      int    `json:"-"`
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
	TokenType   string `json:"token_type"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func ask(t *testing.T, uri string, form url.Values) grant {
	t.Helper()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, uri, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := (&http.Client{Transport: tr}).Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	g := grant{Status: res.StatusCode}
	require.NoError(t, json.Unmarshal(b, &g), string(b))
	return g
}

func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, fcm.Config{Now: clock.now})
	account, key := readAccount(t, srv)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	const grantType = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	now := clock.now().Unix()
	header := map[string]any{"alg": "RS256", "typ": "JWT", "kid": account.KeyID}
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{
			"iss": account.ClientEmail, "aud": account.TokenURI, "iat": now, "exp": now + 3600,
			"scope": "https://www.googleapis.com/auth/firebase.messaging",
		}
		maps.Copy(c, change)
		return c
	}
	good := ask(t, account.TokenURI, url.Values{"grant_type": {grantType}, "assertion": {sign(t, key, header, claims(nil))}})
	require.Equal(t, 200, good.Status)
	require.Equal(t, "Bearer", good.TokenType)
	require.Equal(t, 3599, good.ExpiresIn)
	c := raw(t, srv)
	c.bearer = good.AccessToken
	require.Equal(t, 200, c.send(message(srv.MintToken(fcm.Web), "")).Status)

	narrow := ask(t, account.TokenURI, url.Values{"grant_type": {grantType}, "assertion": {sign(t, key, header,
		claims(map[string]any{"scope": "https://www.googleapis.com/auth/datastore"}))}})
	require.Equal(t, 200, narrow.Status)
	c.bearer = narrow.AccessToken
	r := c.send(message(srv.MintToken(fcm.Web), ""))
	require.Equal(t, 403, r.Status)
	require.Equal(t, "Request had insufficient authentication scopes.", r.Error.Message)

	for name, tc := range map[string]struct {
		grantType, assertion, code string
	}{
		"grant type":   {"password", sign(t, key, header, claims(nil)), "unsupported_grant_type"},
		"no assertion": {grantType, "", "invalid_grant"},
		"garbage":      {grantType, "a.b.c", "invalid_grant"},
		"other key":    {grantType, sign(t, stranger, header, claims(nil)), "invalid_grant"},
		"algorithm":    {grantType, sign(t, key, map[string]any{"alg": "none"}, claims(nil)), "invalid_grant"},
		"key id":       {grantType, sign(t, key, map[string]any{"alg": "RS256", "kid": "x"}, claims(nil)), "invalid_grant"},
		"issuer":       {grantType, sign(t, key, header, claims(map[string]any{"iss": "x@y"})), "invalid_grant"},
		"audience":     {grantType, sign(t, key, header, claims(map[string]any{"aud": "https://oauth2.googleapis.com/token"})), "invalid_grant"},
		"expired":      {grantType, sign(t, key, header, claims(map[string]any{"iat": now - 3600, "exp": now})), "invalid_grant"},
		"future":       {grantType, sign(t, key, header, claims(map[string]any{"iat": now + 600, "exp": now + 1200})), "invalid_grant"},
		"too long":     {grantType, sign(t, key, header, claims(map[string]any{"exp": now + 3601})), "invalid_grant"},
		"no scope":     {grantType, sign(t, key, header, claims(map[string]any{"scope": ""})), "invalid_scope"},
	} {
		g := ask(t, account.TokenURI, url.Values{"grant_type": {tc.grantType}, "assertion": {tc.assertion}})
		require.Equal(t, 400, g.Status, name)
		require.Equal(t, tc.code, g.Error, name)
		require.NotEmpty(t, g.Description, name)
		require.Empty(t, g.AccessToken, name)
	}
	require.Equal(t, uint64(2), srv.Stats().Tokens)
	require.Equal(t, uint64(12), srv.Stats().TokensRefused)
}

func TestBearer(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, fcm.Config{Now: clock.now, TokenLifetime: 10 * time.Minute})
	c := raw(t, srv)
	body := message(srv.MintToken(fcm.Web), "")
	good := c.bearer
	refused := func(bearer, text string) {
		t.Helper()
		c.bearer = bearer
		r := c.send(body)
		require.Equal(t, 401, r.Status)
		require.Equal(t, "UNAUTHENTICATED", r.Error.Status)
		require.Contains(t, r.Error.Message, text)
		require.NotContains(t, r.types(), fcmDetail)
		require.Contains(t, r.Header.Get("WWW-Authenticate"), "Bearer realm=")
	}
	require.Equal(t, 200, c.send(body).Status)
	refused("", "Request is missing required authentication credential. Expected OAuth 2 access token")
	refused("nonsense", "Request had invalid authentication credentials.")
	refused(good[:len(good)-4]+"AAAA", "invalid authentication credentials")
	refused(start(t, fcm.Config{Now: clock.now}).MintBearer(), "invalid authentication credentials")
	c.bearer = good
	clock.pass(10*time.Minute - time.Second)
	require.Equal(t, 200, c.send(body).Status)
	clock.pass(time.Second)
	refused(good, "invalid authentication credentials")

	fresh := srv.MintBearer()
	c.bearer = fresh
	require.Equal(t, 200, c.send(body).Status)
	srv.RevokeBearers()
	refused(fresh, "invalid authentication credentials")
	c.bearer = srv.MintBearer()
	require.Equal(t, 200, c.send(body).Status)
}

func TestSDKMeetsRevokedToken(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	client := sdk(t, srv)
	m := &messaging.Message{Token: srv.MintToken(fcm.Android)}
	_, err := client.Send(t.Context(), m)
	require.NoError(t, err)
	srv.RevokeBearers()
	_, err = client.Send(t.Context(), m)
	require.True(t, errorutils.IsUnauthenticated(err), "the SDK keeps its token until it expires: %v", err)
	require.False(t, messaging.IsThirdPartyAuthError(err))
}

func TestSDKWithOtherCredentials(t *testing.T) {
	t.Parallel()
	srv, other := start(t, fcm.Config{}), start(t, fcm.Config{ProjectID: "other"})
	client := sdk(t, srv, option.WithAuthCredentialsJSON(option.ServiceAccount, other.CredentialsJSON()))
	_, err := client.Send(t.Context(), &messaging.Message{Token: srv.MintToken(fcm.Android)})
	require.True(t, errorutils.IsUnauthenticated(err), "%v", err)
}

func TestKeyOfTheCallersOwn(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	one := start(t, fcm.Config{PrivateKey: key})
	two := start(t, fcm.Config{PrivateKey: key})
	_, got := readAccount(t, one)
	require.True(t, key.Equal(got))
	c := raw(t, two)
	c.bearer = one.MintBearer()
	require.Equal(t, 200, c.send(message(two.MintToken(fcm.Web), "")).Status, "access tokens survive a restart")
}

func TestTokenEndpointDown(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{Faults: fcm.Faults{TokenUnavailable: 1}})
	account, _ := readAccount(t, srv)
	require.Equal(t, 503, func() int {
		c := raw(t, srv)
		r, err := c.do(strings.TrimPrefix(account.TokenURI, strings.TrimSuffix(srv.URL(), "/v1")), "")
		require.NoError(t, err)
		return r.Status
	}())
}
