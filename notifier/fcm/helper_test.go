package fcm_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/fcm"
)

const (
	testProject = "demo-bets"
	testToken   = "c2VjcmV0LXRva2VuLXZhbH:APA91bThisIsTheSecretRegistrationTokenOfOneDevice"
	testBearer  = "ya29.the-secret-access-token"
	testTitle   = "You won £12.50"
	testBody    = "Blue Heron came first in Kempton 15:05."
)

// privateKey is one key for all tests, because making one is slow.
var privateKey = sync.OnceValues(func() (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
})

// serviceAccount returns a key file whose token server is tokenURL.
func serviceAccount(tb testing.TB, tokenURL string) []byte {
	tb.Helper()
	key, err := privateKey()
	require.NoError(tb, err)
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": testProject, "private_key_id": "k1", "private_key": key,
		"client_email": "bugle@demo-bets.iam.gserviceaccount.com", "token_uri": tokenURL,
	})
	require.NoError(tb, err)
	return b
}

// google is a small server for one test: an OAuth endpoint, and a send method
// that the test writes.
type google struct {
	*httptest.Server
	// sends counts the requests to messages:send, whatever became of them.
	sends atomic.Int64
	// tokens counts the requests for an access token.
	tokens atomic.Int64
	mu     sync.Mutex
	// bodies are the bodies of the sends.
	bodies [][]byte
	// token answers a token request; nil gives one for an hour.
	token http.HandlerFunc
}

func newGoogle(tb testing.TB, send http.HandlerFunc) *google {
	tb.Helper()
	g := &google{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		g.tokens.Add(1)
		if g.token != nil {
			g.token(w, r)
			return
		}
		giveToken(w)
	})
	mux.HandleFunc("POST /v1/projects/"+testProject+"/messages:send", func(w http.ResponseWriter, r *http.Request) {
		g.sends.Add(1)
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		g.mu.Lock()
		g.bodies = append(g.bodies, b)
		g.mu.Unlock()
		send(w, r)
	})
	g.Server = httptest.NewServer(mux)
	tb.Cleanup(g.Close)
	return g
}

func giveToken(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"access_token":"`+testBearer+`","expires_in":3599,"token_type":"Bearer"}`)
}

// accept answers like FCM to a message that it takes.
func accept(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, `{"name":"projects/demo-bets/messages/0:1"}`)
}

// answerWith answers with a status, headers and a body.
func answerWith(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// newSender makes a sender for a server, closed at the end of the test.
func newSender(tb testing.TB, g *google, change func(*fcm.Config)) *fcm.Sender {
	tb.Helper()
	cfg := fcm.Config{
		ProjectID:       testProject,
		CredentialsJSON: serviceAccount(tb, g.URL+"/token"),
		URL:             g.URL,
		Timeout:         5 * time.Second,
		MaxInFlight:     8,
		Log:             zerolog.Nop(),
	}
	if change != nil {
		change(&cfg)
	}
	return startSender(tb, cfg)
}

func startSender(tb testing.TB, cfg fcm.Config) *fcm.Sender {
	tb.Helper()
	s, err := fcm.New(tb.Context(), cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		// The test's context has ended when cleanups run.
		ctx, cancel := timeoutContext(10 * time.Second)
		defer cancel()
		require.NoError(tb, s.Close(ctx))
	})
	return s
}

// push is a bet won, for an Android device.
func push() notifier.Push {
	return notifier.Push{
		Delivery: 7,
		Platform: devices.Android,
		Target:   devices.Target{Kind: devices.FCMToken, Value: testToken},
		Message: notifier.Message{
			NotificationID: 4711, Thread: "b1ByRx3kQ0a", Category: "win",
			Urgency: notifier.High, Class: notifier.Transactional,
			Title: testTitle, Body: testBody, Link: "app://bet/b-1",
			Data:      map[string]string{"bet": "b-1"},
			ExpiresAt: time.Now().Add(time.Hour),
		},
	}
}
