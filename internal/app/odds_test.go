package app_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/api"
)

// Odds of a topic reach a stream, and a stop ends it at once.
func TestOddsReachAStreamThatAStopEnds(t *testing.T) {
	t.Parallel()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "odds"))
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	producer, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.DefaultProduceTopic("odds"))
	require.NoError(t, err)
	t.Cleanup(producer.Close)
	put := func(value string) {
		require.NoError(t, producer.ProduceSync(t.Context(), kgo.KeyStringRecord("e1", value)).FirstErr())
	}
	put(`[1]`)

	w := newWorld(t)
	w.cfg.Kafka.Brokers, w.cfg.Kafka.TLS, w.cfg.Odds.Topic = broker.ListenAddrs(), false, "odds"
	service, stop := w.start(t)
	base := "http://" + service.Addr()
	var latest api.OddsSnapshot
	require.Eventually(t, func() bool {
		status, body := call(t, http.MethodGet, base+"/v1/odds/e1", token(t, "ann"), "")
		return status == http.StatusOK && json.Unmarshal([]byte(body), &latest) == nil
	}, time.Minute, 20*time.Millisecond)
	require.Equal(t, []any{1.0}, latest.Odds)
	status, body := call(t, http.MethodGet, "http://"+service.AdminAddr()+"/readyz", "", "")
	require.Equal(t, http.StatusOK, status, body)

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/odds/e1/stream", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token(t, "ann"))
	req.Header.Set("Last-Event-ID", latest.ID)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	lines := bufio.NewScanner(resp.Body)
	put(`[2]`)
	var data string
	for data == "" && lines.Scan() {
		data, _ = strings.CutPrefix(lines.Text(), "data: ")
		if !strings.HasPrefix(lines.Text(), "data: ") {
			data = ""
		}
	}
	require.Contains(t, data, `"odds":[2]`, "it had the first")

	began := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(began), enough)
	retry := false
	for lines.Scan() {
		retry = retry || strings.HasPrefix(lines.Text(), "retry: ")
	}
	require.NoError(t, lines.Err(), "it ended in good order")
	require.True(t, retry)
}

func TestAReplicaWithoutKafkaStillActivatesDevices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Kafka.Brokers, w.cfg.Kafka.TLS, w.cfg.Odds.Topic = []string{"127.0.0.1:1"}, false, "odds"
	service, _ := w.start(t)
	status, body := call(t, http.MethodGet, "http://"+service.AdminAddr()+"/readyz", "", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, `"odds"`)
	status, body = call(t, http.MethodGet, "http://"+service.Addr()+"/readyz", "", "")
	require.Equal(t, http.StatusOK, status, body)
	status, _ = call(t, http.MethodGet, "http://"+service.Addr()+"/v1/odds/e1", token(t, "ann"), "")
	require.Equal(t, http.StatusServiceUnavailable, status)
}
