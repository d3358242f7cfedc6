package ablypush_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier/ablypush"
)

func secrets() []string {
	return []string{
		testSecret, url.QueryEscape(testSecret), "s3cret", base64.StdEncoding.EncodeToString([]byte(testKey)),
		testDevice, testTitle, testBody, "app://bet/b-1",
	}
}

// TestNoSecrets: a server that quotes everything it was sent, wherever it can,
// gets none of it into an error or the log.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	quote := strings.Join(secrets(), " | ")
	quoting := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			b, err := json.Marshal(quote)
			if err != nil {
				panic(err)
			}
			w.Header().Set("X-Ably-ErrorMessage", quote)
			w.Header().Set("X-Ably-ErrorCode", quote)
			w.Header().Set("Location", "/"+testDevice)
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"error":{"code":%d,"message":%s,"href":%s,"cause":%s}}`, status*100, b, b, b)
		}
	}
	publishes := map[string]http.HandlerFunc{"reset": reset, "hang": hang}
	for _, status := range []int{302, 400, 401, 403, 404, 413, 429, 500, 503} {
		publishes[fmt.Sprint(status)] = quoting(status)
	}
	for name, publish := range publishes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newService(t, publish)
			out := &log{}
			s := newSender(t, g.URL, func(c *ablypush.Config) {
				c.Log = zerolog.New(out).Level(zerolog.TraceLevel)
				if name == "hang" {
					c.Timeout = 100 * time.Millisecond
				}
			})
			got := s.Send(t.Context(), push())
			require.Error(t, got.Err)
			said := got.Err.Error() + fmt.Sprintf("%+v %#v", got.Err, got.Err) + got.Code + out.String()
			for _, secret := range secrets() {
				require.NotContains(t, said, secret)
			}
		})
	}
}

// TestWatcherKeepsSecrets: ably-go puts the key into what it logs and returns
// when it cannot connect.
func TestWatcherKeepsSecrets(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]http.HandlerFunc{
		"upgrade refused": http.NotFound,
		"unauthorized":    answerWith(401, nil, failure(40101)),
		"reset":           reset,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newService(t, accept)
			g.other = other
			out := &log{}
			w, err := ablypush.NewWatcher(ablypush.WatcherConfig{
				Key: testKey, URL: g.URL, Retirer: nobody{}, Log: zerolog.New(out).Level(zerolog.TraceLevel),
			})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- w.Run(ctx) }()
			require.Eventually(t, func() bool {
				return strings.Contains(out.String(), "could not be read") && strings.Contains(out.String(), "ably client reported trouble")
			}, time.Minute, 5*time.Millisecond)
			cancel()
			require.NoError(t, <-done)
			require.ErrorContains(t, w.Run(t.Context()), "already run")
			for _, secret := range append(secrets(), testKeyName) {
				require.NotContains(t, out.String(), secret)
			}
		})
	}
}
