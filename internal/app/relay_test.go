package app_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/sandbox/ably"
)

// The service relays a topic, says so, and has committed all of it when it stops.
func TestOddsReachTheirChannel(t *testing.T) {
	t.Parallel()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "odds", "odds-dead-letters"))
	require.NoError(t, err)
	t.Cleanup(kafka.Close)
	service, err := ably.Start(t.Context(), ably.Config{Seed: 3})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, service.Close()) })
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...))
	require.NoError(t, err)
	t.Cleanup(client.Close)

	w := newWorld(t)
	w.cfg.Ably.Key, w.cfg.Ably.URL = config.Secret(service.Key()), service.URL()
	w.cfg.Kafka.Brokers, w.cfg.Kafka.TLS = kafka.ListenAddrs(), false
	each := false
	w.cfg.Relay = []config.Relay{{Topic: "odds", Channel: "outbound:odds:#{key}", DeadLetter: "odds-dead-letters", Conflate: &each}}
	bugle, stop := w.start(t)
	for _, value := range []string{`[{"odds":1}]`, `[{"odds":2}]`} {
		require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "odds", Key: []byte("event1"), Value: []byte(value)}).FirstErr())
	}
	history := func() string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, service.URL()+"/channels/outbound:odds:event1/messages", http.NoBody)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(service.Key())))
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(text)
	}
	require.Eventually(t, func() bool { return strings.Count(history(), `/odds/0/`) == 2 }, time.Minute, 20*time.Millisecond)
	admin := "http://" + bugle.AdminAddr()
	status, body := call(t, http.MethodGet, admin+"/readyz", "", "")
	require.Equal(t, http.StatusOK, status, body)
	require.Eventually(t, func() bool { // it counts what it has heard of, a little after Ably has taken it
		_, body = call(t, http.MethodGet, admin+"/metrics", "", "")
		return strings.Contains(body, `bugle_relay_records_total{fate="published",topic="odds"} 2`)
	}, time.Minute, 20*time.Millisecond)

	begun := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(begun), enough)
	offsets, err := kadm.NewClient(client).FetchOffsets(t.Context(), "bugle-relay")
	require.NoError(t, err)
	at, _ := offsets.Lookup("odds", 0)
	require.EqualValues(t, 2, at.At)
}
