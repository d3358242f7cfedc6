package app_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/config"
)

// The whole way: a signed webhook, the database, Kafka; and what operators and
// apps see of it.
func TestBetsGoFromAWebhookToKafka(t *testing.T) {
	t.Parallel()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "bets", "bets-dead-letters"))
	require.NoError(t, err)
	t.Cleanup(kafka.Close)
	w := newWorld(t)
	w.cfg.Kafka = config.Kafka{Brokers: kafka.ListenAddrs()}
	w.cfg.Bets.Enabled = true
	w.cfg.Bets.SigningKeys = "app.k1:s3cret-part"
	w.cfg.Ably.TokenKey = "app.k2:another"
	w.cfg.Admin.TokensFile = filepath.Join(t.TempDir(), "tokens")
	operator := addToken(t, w.cfg.Admin.TokensFile)
	service, stop := w.start(t)

	now := time.Now().UnixMilli()
	body := fmt.Sprintf(`{"items":[{"source":"channel.message","timestamp":%d,"data":{"channelId":"inbound:betting:cars:ann","messages":[
		{"id":"c1:0:0","clientId":"ann","timestamp":%d,"data":"{\"name\":\"Car 1\",\"odds\":0.125}"}]}},
		{"source":"channel.presence","timestamp":%d,"data":{"channelId":"inbound:betting:cars:ann","presence":[
		{"id":"c1:1:0","clientId":"ann","connectionId":"c1","timestamp":%d,"action":2,"data":"Car Racing Page"}]}}]}`, now, now, now, now)
	for _, signed := range []string{body, body + "\n"} {
		mac := hmac.New(sha256.New, []byte("s3cret-part"))
		mac.Write([]byte(signed))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+service.Addr()+"/v1/hooks/ably", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("X-Ably-Key", "app.k1")
		req.Header.Set("X-Ably-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, signed == body, resp.StatusCode == http.StatusNoContent, resp.Status)
	}

	consumer, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.ConsumeTopics("bets"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer consumer.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	records := consumer.PollFetches(ctx).Records()
	require.Len(t, records, 1)
	require.JSONEq(t, fmt.Sprintf(`{"bet_id":"c1:0:0","event_id":"cars","runner":"Car 1","user_id":"ann","authenticated":true,"stake":1,"odds":0.125,"placed_at":%d}`, now),
		string(records[0].Value))

	status, text := call(t, "GET", "http://"+service.AdminAddr()+"/admin/v1/presence", operator, "")
	require.Equal(t, 200, status, text)
	require.Contains(t, text, "Car Racing Page")
	status, text = call(t, "POST", "http://"+service.Addr()+"/v1/ably/token", token(t, "ann"), "")
	require.Equal(t, 200, status, text)
	require.Contains(t, text, `"keyName":"app.k2"`)
	_, text = call(t, "GET", "http://"+service.AdminAddr()+"/metrics", "", "")
	require.Contains(t, text, `bugle_bets_accepted_total{authenticated="true"} 1`)
	require.Contains(t, text, `bugle_bets_webhooks_total{verdict="bad_signature"} 1`)
	require.NoError(t, stop())
}

// Without bets.enabled there is neither a webhook nor presence.
func TestBetsAreOffUnlessEnabled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Admin.TokensFile = filepath.Join(t.TempDir(), "tokens")
	operator := addToken(t, w.cfg.Admin.TokensFile)
	service, _ := w.start(t)
	for _, path := range []string{"/v1/hooks/ably", "/v1/ably/token"} {
		status, _ := call(t, "POST", "http://"+service.Addr()+path, token(t, "ann"), "{}")
		require.Equal(t, 404, status, path)
	}
	status, _ := call(t, "GET", "http://"+service.AdminAddr()+"/admin/v1/presence", operator, "")
	require.Equal(t, 404, status)
}

// addToken makes an operator's token.
func addToken(t *testing.T, file string) string {
	t.Helper()
	plain, token, err := api.NewAdminToken("alice", time.Now(), time.Hour)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(token.Line()), 0o600))
	return plain.Reveal()
}
