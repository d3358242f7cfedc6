package app_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/freeport"
	"github.com/bugle-push/bugle/sandbox/ably"
)

// promptly is within what a good bet, and good odds, arrive that were sent right
// behind something that is refused, on a busy machine too. What is held up waits
// until that is taken, which it never is.
const promptly = 30 * time.Second

// What is forged, replayed, foreign, too large or poisoned is refused, or
// dead-lettered, with a reason that says why; and what comes behind it arrives as if
// it had not been there.
func TestNothingWaitsBehindWhatIsRefused(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	for _, c := range []struct {
		name   string
		refuse func(t *testing.T) string // sends it, and returns what is said about it
		reason string
	}{
		{"a forged signature", x.forged, `^401 .*X-Ably-Signature does not fit the body and the key`},
		{"a signature by an unknown key", x.unknownKey, `^401 .*X-Ably-Key names no key that webhooks are signed with here`},
		{"a replayed webhook", x.replayed, `^204 bugle_bets_duplicates_total [1-9]`},
		{"a webhook replayed after its ids are forgotten", x.old, `^204 too_old \d+ bytes$`},
		{"a signed webhook that is none", x.garbled, `^204 malformed_webhook 9 bytes$`},
		{"a token for another user's channel", x.foreignToken, `^401 .*"code":40160`},
		{"a bet in another user's name", x.foreignName, `^201 unauthenticated \d+ bytes$`},
		{"a bet of 100 KB", x.large, `^201 too_large 102400 bytes$`},
		{"a bet larger than Ably takes", x.tooLargeForAbly, `^413 .*"code":40009`},
		{"a record without the key that its channel is named by", x.noKey, `^template: channel: .*key`},
		{"a record that is larger than Ably takes", x.largeRecord, `^40009: .+`},
		{"a record whose channel Ably refuses", x.badChannel, `^40010: .+`},
	} {
		t.Run(c.name, func(t *testing.T) {
			// What is sent behind it does not wait for the refusal either.
			answered := make(chan string, 1)
			go func() { answered <- c.refuse(t) }()
			x.goodOnesArrive(t)
			select {
			case got := <-answered:
				require.Regexp(t, c.reason, got)
				t.Log(got)
			case <-time.After(2 * promptly):
				require.Fail(t, "nothing was said about it")
			}
			x.goodOnesArrive(t)
		})
	}
	require.Empty(t, x.unexpected(), "refused, and in the topic of bets all the same")
	for _, d := range x.ably.Deliveries() {
		require.True(t, d.Succeeded(), "Ably had to post a webhook again, and what was behind it waited: %d", d.Status)
	}
}

// exchange is a service between Ably and a Kafka, whose webhooks really come from
// Ably.
type exchange struct {
	ably   *ably.Server
	kafka  *kgo.Client
	hook   string // URL of the webhooks
	admin  string
	tokens map[string]string // for Ably, by user
	http   *http.Client

	mu      sync.Mutex
	sent    int
	good    map[string]bool // texts of the runners of good bets
	bets    []*kgo.Record
	letters []*kgo.Record
}

func newExchange(t *testing.T) *exchange {
	t.Helper()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "odds", "odds-dead-letters", "bets", "bets-dead-letters"))
	require.NoError(t, err)
	t.Cleanup(kafka.Close)
	// Ably has to know beforehand where to post.
	port, err := freeport.Find(1)
	require.NoError(t, err)
	listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	x := &exchange{
		hook: "http://" + listen + "/v1/hooks/ably", tokens: map[string]string{}, good: map[string]bool{},
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute},
	}
	// The Pro plan takes messages of 256 KiB, which are more than a bet may have.
	x.ably, err = ably.Start(t.Context(), ably.Config{
		Seed: 5, MaxMessageSize: 256 << 10,
		Webhooks: []ably.Webhook{{URL: x.hook, Channels: "^inbound:betting:", SigningKey: "root", Interval: 100 * time.Millisecond}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, x.ably.Close()) })

	w := newWorld(t)
	w.cfg.Listen = listen
	w.cfg.Ably.Key, w.cfg.Ably.URL = config.Secret(x.ably.Key()), x.ably.URL()
	w.cfg.Kafka.Brokers, w.cfg.Kafka.TLS = kafka.ListenAddrs(), false
	each := false
	w.cfg.Relay = []config.Relay{{Topic: "odds", Channel: "outbound:odds:#{key}", DeadLetter: "odds-dead-letters", Conflate: &each}}
	w.cfg.Bets.Enabled = true
	service, _ := w.start(t)
	x.admin = "http://" + service.AdminAddr()
	for _, user := range []string{"ann", "bob"} {
		status, body := call(t, http.MethodPost, "http://"+listen+"/v1/ably/token", token(t, user), "")
		require.Equal(t, http.StatusOK, status, body)
		var details struct{ Token string }
		require.NoError(t, json.Unmarshal([]byte(body), &details))
		x.tokens[user] = details.Token
	}

	x.kafka, err = kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.ConsumeTopics("odds-dead-letters", "bets", "bets-dead-letters"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() { x.read(ctx) })
	t.Cleanup(func() {
		stop()
		reading.Wait()
		x.kafka.Close()
	})
	return x
}

func (x *exchange) read(ctx context.Context) {
	for ctx.Err() == nil {
		for _, r := range x.kafka.PollFetches(ctx).Records() {
			x.mu.Lock()
			if r.Topic == "bets" {
				x.bets = append(x.bets, r)
			} else {
				x.letters = append(x.letters, r)
			}
			x.mu.Unlock()
		}
	}
}

// goodOnesArrive sends a bet and odds, and requires that they arrive promptly: the
// bet in Kafka, the odds on Ably.
func (x *exchange) goodOnesArrive(t *testing.T) {
	t.Helper()
	x.mu.Lock()
	x.sent++
	runner := "Car " + strconv.Itoa(x.sent)
	x.good[runner] = true
	x.mu.Unlock()
	status, body := x.publish(t, "Bearer "+x.tokens["ann"], "inbound:betting:cars:ann", bet(runner, ""))
	require.Equal(t, http.StatusCreated, status, body)
	odds := fmt.Sprintf(`[{"name":%q,"odds":1.5}]`, runner)
	require.NoError(t, x.kafka.ProduceSync(t.Context(), &kgo.Record{Topic: "odds", Key: []byte("cars"), Value: []byte(odds)}).FirstErr())
	require.Eventually(t, func() bool { return x.inKafka(runner) }, promptly, 10*time.Millisecond, "the bet waits")
	require.Eventually(t, func() bool {
		for _, m := range x.ably.Messages("outbound:odds:cars") {
			if string(m.Data) == odds {
				return true
			}
		}
		return false
	}, promptly, 10*time.Millisecond, "the odds wait")
}

func bet(runner, clientID string) string {
	data, _ := json.Marshal(map[string]any{"name": runner, "odds": json.Number("0.125")})
	m := map[string]string{"name": "bet", "data": string(data)}
	if clientID != "" {
		m["clientId"] = clientID
	}
	text, _ := json.Marshal(m)
	return string(text)
}

func (x *exchange) inKafka(runner string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.bets {
		if strings.Contains(string(r.Value), `"runner":"`+runner+`"`) {
			return true
		}
	}
	return false
}

// unexpected returns the bets in Kafka that are none of the good ones, or are there
// twice.
func (x *exchange) unexpected() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []string
	for _, r := range x.bets {
		var b struct{ Runner string }
		if json.Unmarshal(r.Value, &b) != nil || !x.good[b.Runner] {
			out = append(out, string(r.Value))
		}
		delete(x.good, b.Runner)
	}
	return out
}

// publish publishes a message, as a page without an SDK does.
func (x *exchange) publish(t *testing.T, authorization, channel, message string) (int, string) {
	t.Helper()
	return x.ask(t, http.MethodPost, x.ably.URL()+"/channels/"+channel+"/messages", message, map[string]string{"Authorization": authorization})
}

func (x *exchange) asKey() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(x.ably.Key()))
}

// webhook posts a webhook that somebody has made up, or has kept.
func (x *exchange) webhook(t *testing.T, body, key, signature string) string {
	t.Helper()
	status, text := x.ask(t, http.MethodPost, x.hook, body, map[string]string{"X-Ably-Key": key, "X-Ably-Signature": signature})
	return fmt.Sprintf("%d %s", status, text)
}

// ask asks, also beside the test's goroutine: an error is an answer like any other.
func (x *exchange) ask(t *testing.T, method, url, body string, headers map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := x.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// letter waits for a dead letter; nil when none comes.
func (x *exchange) letter(is func(r *kgo.Record) bool) *kgo.Record {
	for end := time.Now().Add(promptly); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		x.mu.Lock()
		for _, r := range x.letters {
			if is(r) {
				x.mu.Unlock()
				return r
			}
		}
		x.mu.Unlock()
	}
	return nil
}

func holds(text string) func(r *kgo.Record) bool {
	return func(r *kgo.Record) bool { return strings.Contains(string(r.Value), text) }
}

func headerOf(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// deadBet returns the reason and the size of a dead bet.
func (x *exchange) deadBet(text string) string {
	r := x.letter(holds(text))
	if r == nil {
		return "no dead letter"
	}
	return headerOf(r, "bugle-reason") + " " + headerOf(r, "bugle-size") + " bytes"
}

// hookBody is a webhook with one bet of ann's, as it came at that time.
func hookBody(id, runner string, at time.Time) string {
	return fmt.Sprintf(`{"items":[{"source":"channel.message","timestamp":%d,"data":{"channelId":"inbound:betting:cars:ann","messages":[`+
		`{"id":%q,"clientId":"ann","timestamp":%d,"data":"{\"name\":\"%s\",\"odds\":9}"}]}}]}`, at.UnixMilli(), id, at.UnixMilli(), runner)
}

func (x *exchange) keyName() string {
	name, _, _ := strings.Cut(x.ably.Key(), ":")
	return name
}

func (x *exchange) forged(t *testing.T) string {
	t.Helper()
	body := hookBody("forged", "Forged", time.Now())
	return x.webhook(t, body, x.keyName(), x.ably.Sign("root", []byte(body+" ")))
}

func (x *exchange) unknownKey(t *testing.T) string {
	t.Helper()
	body := hookBody("unknown", "Unknown", time.Now())
	return x.webhook(t, body, "bugle0.other", x.ably.Sign("root", []byte(body)))
}

// replayed posts each webhook that has come so far once more, byte for byte.
func (x *exchange) replayed(t *testing.T) string {
	t.Helper()
	kept := x.ably.Deliveries()
	for _, d := range kept {
		if got := x.webhook(t, string(d.Body), d.Key, d.Signature); got != "204 " {
			return got
		}
	}
	_, metrics := x.ask(t, http.MethodGet, x.admin+"/metrics", "", nil)
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "bugle_bets_duplicates_total ") {
			return "204 " + strings.TrimSpace(line)
		}
	}
	return "no metric"
}

func (x *exchange) old(t *testing.T) string {
	t.Helper()
	body := hookBody("yesterday", "Old", time.Now().Add(-25*time.Hour))
	return x.webhook(t, body, x.keyName(), x.ably.Sign("root", []byte(body))) + x.deadBet("Old")
}

func (x *exchange) garbled(t *testing.T) string {
	t.Helper()
	const body = `{"items":`
	return x.webhook(t, body, x.keyName(), x.ably.Sign("root", []byte(body))) + x.deadBet(body)
}

func (x *exchange) foreignToken(t *testing.T) string {
	t.Helper()
	status, body := x.publish(t, "Bearer "+x.tokens["ann"], "inbound:betting:cars:bob", bet("Foreign", ""))
	return fmt.Sprintf("%d %s", status, body)
}

// foreignName is what somebody with a key of the app can do: Ably takes it.
func (x *exchange) foreignName(t *testing.T) string {
	t.Helper()
	status, _ := x.publish(t, x.asKey(), "inbound:betting:cars:bob", bet("Impostor", "ann"))
	return fmt.Sprintf("%d %s", status, x.deadBet("Impostor"))
}

func (x *exchange) large(t *testing.T) string {
	t.Helper()
	const head = `{\"name\":\"Large\",\"odds\":1,\"imageURL\":\"`
	size := len(strings.ReplaceAll(head, `\`, "")) + len(`"}`)
	status, _ := x.publish(t, "Bearer "+x.tokens["ann"], "inbound:betting:cars:ann",
		`{"name":"bet","data":"`+head+strings.Repeat("x", 100<<10-size)+`\"}"}`)
	return fmt.Sprintf("%d %s", status, x.deadBet(`"Large"`))
}

func (x *exchange) tooLargeForAbly(t *testing.T) string {
	t.Helper()
	status, body := x.publish(t, "Bearer "+x.tokens["ann"], "inbound:betting:cars:ann", `{"data":"`+strings.Repeat("x", 300<<10)+`"}`)
	return fmt.Sprintf("%d %s", status, body)
}

// poison produces a record of odds, and returns the code and the reason of its dead
// letter. Good odds behind it are in the same partition.
func (x *exchange) poison(t *testing.T, key []byte, value string) string {
	t.Helper()
	r := &kgo.Record{Topic: "odds", Key: key, Value: []byte(value)}
	if err := x.kafka.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		return err.Error()
	}
	dead := x.letter(func(l *kgo.Record) bool {
		return headerOf(l, "bugle-topic") == "odds" && headerOf(l, "bugle-offset") == strconv.FormatInt(r.Offset, 10)
	})
	if dead == nil {
		return "no dead letter"
	}
	return headerOf(dead, "bugle-code") + ": " + headerOf(dead, "bugle-reason")
}

func (x *exchange) noKey(t *testing.T) string {
	t.Helper()
	return x.poison(t, nil, `[]`)
}

// largeRecord is on the channel of the good odds.
func (x *exchange) largeRecord(t *testing.T) string {
	t.Helper()
	return x.poison(t, []byte("cars"), `["`+strings.Repeat("x", 100<<10)+`"]`)
}

func (x *exchange) badChannel(t *testing.T) string {
	t.Helper()
	return x.poison(t, []byte("line\nbreak"), `[]`)
}
