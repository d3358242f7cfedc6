package app_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/fcm"
)

// activate activates a device and returns the API's answer.
func activate(t *testing.T, base, id, bearer, kind, target string) (int, string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"platform": "android", "target": map[string]string{"kind": kind, "value": target}, "locale": "en-GB", "time_zone": "Europe/London",
	})
	require.NoError(t, err)
	return call(t, http.MethodPost, base+"/v1/devices/"+id+"/activate", bearer, string(body))
}

func TestADeviceIsReachedThroughAblyUntilItsPushLogSaysThatItIsDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server, err := ably.Start(t.Context(), ably.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	w.cfg.Ably.Key, w.cfg.Ably.URL = config.Secret(server.Key()), server.URL()
	service, stop := w.start(t)
	base := "http://" + service.Addr()

	phone := server.MintDevice("ann", ably.Android)
	status, body := activate(t, base, "phone-1", token(t, "ann"), "ably_device", phone)
	require.Equal(t, http.StatusOK, status, body)
	status, body = activate(t, base, "phone-2", token(t, "ann"), "fcm_token", w.fcm.MintToken(fcm.Android))
	require.Equal(t, http.StatusOK, status, body)

	require.NoError(t, w.bets.Put(time.Now(), "b-1", "ann", "WON"))
	require.Eventually(t, func() bool { return len(server.Accepted()) == 1 && len(w.fcm.Accepted()) == 1 }, time.Minute, 20*time.Millisecond)
	require.Equal(t, phone, server.Accepted()[0].DeviceID)
	require.Equal(t, "Bet b-1", server.Accepted()[0].Title)

	// Long after the activation, its token dies. What Ably says of older times
	// would not count.
	db, err := sqldb.Open(t.Context(), w.cfg.Database.URL, sqldb.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE devices SET updated_at = updated_at - 60000000`)
		return err
	}))
	require.NoError(t, server.KillDevice(phone))
	require.NoError(t, w.bets.Put(time.Now(), "b-2", "ann", "LOST"))
	require.Eventually(t, func() bool {
		_, body := call(t, http.MethodGet, base+"/v1/devices/phone-1", token(t, "ann"), "")
		return strings.Contains(body, `"retired"`)
	}, time.Minute, 50*time.Millisecond)
	_, body = call(t, http.MethodGet, base+"/v1/devices/phone-2", token(t, "ann"), "")
	require.Contains(t, body, `"active"`)
	require.NoError(t, stop())
}

func TestTokensOfAnIssuerAreVerifiedWithItsPublishedKeys(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	b64 := base64.RawURLEncoding.EncodeToString
	issuer := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(map[string]any{"keys": []map[string]string{{
			"kty": "RSA", "kid": "k1", "use": "sig", "alg": "RS256",
			"n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes()),
		}}})
	}))
	t.Cleanup(issuer.Close)
	w := newWorld(t)
	w.cfg.Auth = config.Auth{JWKSURL: issuer.URL}
	service, _ := w.start(t)
	base := "http://" + service.Addr()

	claims := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()})
	claims.Header["kid"] = "k1"
	signed, err := claims.SignedString(key)
	require.NoError(t, err)
	status, body := activate(t, base, "phone-1", signed, "fcm_token", w.fcm.MintToken(fcm.Android))
	require.Equal(t, http.StatusOK, status, body)
	status, _ = activate(t, base, "phone-1", token(t, "ann"), "fcm_token", w.fcm.MintToken(fcm.Android))
	require.Equal(t, http.StatusUnauthorized, status, "the secret of yesterday is no key")
	status, body = call(t, http.MethodGet, "http://"+service.AdminAddr()+"/readyz", "", "")
	require.Equal(t, http.StatusOK, status, body)
}

func TestLimitsOfTheConfigurationHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Limits.PerUser, w.cfg.Limits.PerIP = 3, 0
	service, _ := w.start(t)
	last := 0
	for range 6 {
		last, _ = call(t, http.MethodGet, "http://"+service.Addr()+"/v1/devices", token(t, "ann"), "")
	}
	require.Equal(t, http.StatusTooManyRequests, last)
	status, _ := call(t, http.MethodGet, "http://"+service.Addr()+"/v1/devices", token(t, "bob"), "")
	require.Equal(t, http.StatusOK, status)
}
