package fcm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier/fcm"
)

// log is a log that may be written and read at once.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestNoSecrets: a server that quotes everything it was sent, wherever it can,
// gets none of it into an error or the log.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	var key struct {
		PrivateKey string `json:"private_key"`
	}
	require.NoError(t, json.Unmarshal(serviceAccount(t, ""), &key))
	secrets := []string{testToken, testBearer, testTitle, testBody, "app://bet/b-1", key.PrivateKey, strings.Split(key.PrivateKey, "\n")[1]}
	quote := strings.Join([]string{testToken, testTitle, testBody, testBearer, "app://bet/b-1"}, " | ")

	quoting := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, err := json.Marshal(quote)
			if err != nil {
				panic(err)
			}
			q := string(b)
			w.Header().Set("Location", "/"+testToken)
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":{"code":%d,"message":%s,"status":%s,"error_description":%s,"details":[
				{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":%s},
				{"@type":"type.googleapis.com/google.firebase.fcm.v1.ApnsError","reason":%s},
				{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":%s},
				{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":%s,"description":%s},{"field":"message.data[%s]"}]}]}}`,
				status, q, q, q, q, q, q, q, q, testToken)
		}
	}
	hanging := func(w http.ResponseWriter, r *http.Request) { hang(w, r) }
	cases := map[string]func(*google, *fcm.Config){
		"reset": func(*google, *fcm.Config) {},
		"hang":  func(_ *google, c *fcm.Config) { c.Timeout = 100 * time.Millisecond },
		"token server": func(g *google, _ *fcm.Config) {
			b, err := json.Marshal(map[string]string{"error": quote, "error_description": quote})
			if err != nil {
				panic(err)
			}
			g.token = answerWith(400, nil, string(b))
		},
		"token reset": func(g *google, _ *fcm.Config) { g.token = reset },
		"refused":     func(_ *google, c *fcm.Config) { c.URL = "http://127.0.0.1:1" },
	}
	sends := map[string]http.HandlerFunc{"reset": reset, "hang": hanging}
	for _, status := range []int{200, 302, 400, 401, 403, 404, 413, 429, 500, 503} {
		name := fmt.Sprint(status)
		cases[name] = func(*google, *fcm.Config) {}
		sends[name] = quoting(status)
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			send := sends[name]
			if send == nil {
				send = accept
			}
			g := newGoogle(t, send)
			out := &log{}
			s := newSender(t, g, func(c *fcm.Config) {
				c.Log = zerolog.New(out).Level(zerolog.TraceLevel)
				change(g, c)
			})
			got := s.Send(t.Context(), push())
			require.Error(t, got.Err)
			said := got.Err.Error() + fmt.Sprintf("%+v %#v", got.Err, got.Err) + got.Code + out.String()
			for _, secret := range secrets {
				require.NotContains(t, said, secret)
			}
		})
	}
}
