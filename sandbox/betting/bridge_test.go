package betting_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/book"
)

// bridge is a small service that does what Bugle does between Ably and Kafka,
// rightly unless a vice is set. It exists to show that the oracles find a run
// with it clean, and each of its vices not.
type bridge struct {
	t      *testing.T
	ably   *ably.Server
	kafka  *kgo.Client
	broker string

	mu   sync.Mutex
	seen map[string]bool
	bets int
	odds int
	// bet gets each record that goes to the topic of bets, counted from 1, and returns what
	// goes there instead.
	bet func(n int, r *kgo.Record) []*kgo.Record
	// snapshot gets each record of odds and returns what is published, by id.
	snapshot func(n int, id, value string) [][2]string
}

func (b *bridge) AblyToken(_ context.Context, user string) (string, error) {
	name, secret, _ := strings.Cut(b.ably.Key(), ":")
	capability := fmt.Sprintf(`{"outbound:odds:*":["subscribe","history"],"inbound:betting:*:%s":["publish","presence"]}`, user)
	now := time.Now().Add(-time.Second)
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "x-ably-clientId": user, "x-ably-capability": capability,
	})
	token.Header["kid"] = name
	return token.SignedString([]byte(secret))
}

// ServeHTTP takes a webhook.
func (b *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var hook struct {
		Items []struct {
			Data struct {
				ChannelID string `json:"channelId"`
				Messages  []struct {
					ID        string `json:"id"`
					ClientID  string `json:"clientId"`
					Timestamp int64  `json:"timestamp"`
					Data      string `json:"data"`
				} `json:"messages"`
			} `json:"data"`
		} `json:"items"`
	}
	if err := json.NewDecoder(r.Body).Decode(&hook); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, item := range hook.Items {
		for _, m := range item.Data.Messages {
			if b.seen[m.ID] {
				continue
			}
			b.seen[m.ID] = true
			segments := strings.Split(item.Data.ChannelID, ":")
			rec := betOf(m.ID, segments[2], segments[3], m.Data, m.Timestamp)
			out := []*kgo.Record{rec}
			if rec.Topic == betting.TopicBets {
				if b.bets++; b.bet != nil {
					out = b.bet(b.bets, rec)
				}
			}
			// Not by the request's context: on a slow machine Ably gives up waiting, and
			// what has been seen is not written again.
			if err := b.kafka.ProduceSync(b.t.Context(), out...).FirstErr(); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// betOf makes a record of a message: a bet or a dead letter.
func betOf(id, category, user, data string, at int64) *kgo.Record {
	var v struct {
		Name  string       `json:"name"`
		Event string       `json:"event"`
		Stake *json.Number `json:"stake"`
		Odds  float64      `json:"odds"`
	}
	err := json.Unmarshal([]byte(data), &v)
	stake := "2"
	if v.Stake != nil {
		stake = v.Stake.String()
	}
	if v.Event == "" {
		v.Event = category
	}
	if err != nil || v.Name == "" || strings.HasPrefix(stake, "-") {
		return &kgo.Record{Topic: betting.TopicDeadBets, Value: []byte(data), Headers: []kgo.RecordHeader{
			{Key: "bugle-message-id", Value: []byte(id)}, {Key: "bugle-reason", Value: []byte("malformed_bet")},
		}}
	}
	value, _ := json.Marshal(map[string]any{
		"bet_id": id, "event_id": v.Event, "runner": v.Name, "user_id": user, "authenticated": true, "stake": json.Number(stake), "odds": v.Odds, "placed_at": at,
	})
	return &kgo.Record{Topic: betting.TopicBets, Key: []byte(id), Value: value}
}

// relay publishes odds until ctx ends.
func (b *bridge) relay(ctx context.Context) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.ConsumeTopics(betting.TopicOdds), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			b.odds++
			id := fmt.Sprintf("c/odds/%d/%d", r.Partition, r.Offset)
			out := [][2]string{{id, string(r.Value)}}
			if b.snapshot != nil {
				out = b.snapshot(b.odds, id, string(r.Value))
			}
			for _, m := range out {
				b.publish(ctx, "outbound:odds:"+string(r.Key), m[0], m[1])
			}
		})
	}
}

func (b *bridge) publish(ctx context.Context, channel, id, value string) {
	body, _ := json.Marshal(map[string]any{"id": id, "data": value, "encoding": "json"})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.ably.URL()+"/channels/"+url.PathEscape(channel)+"/messages", bytes.NewReader(body))
	if err != nil {
		return
	}
	name, secret, _ := strings.Cut(b.ably.Key(), ":")
	req.SetBasicAuth(name, secret)
	req.Header.Set("Content-Type", "application/json")
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
	}
}

// round is one race with thirty bets through the bridge.
type round struct {
	odds    betting.OddsTally
	bets    betting.BetsTally
	going   betting.Going
	story   string
	decided []betting.Decided
	// realtime counts the messages that came by an SDK's connection.
	realtime int
}

// patience is how long the round waits for what is on its way.
const patience = time.Minute

// vices are what a bridge does wrong, and what of it never arrives.
type vices struct {
	change func(*bridge)
	lost   int // bets
	kept   int // events whose newest odds are not published
}

func playRound(t *testing.T, v vices) round {
	t.Helper()
	cluster := startCluster(t, betting.BrokerFaults{AnswerLost: 0.02})
	kafka, err := kgo.NewClient(kgo.SeedBrokers(cluster.Broker()))
	require.NoError(t, err)
	b := &bridge{t: t, kafka: kafka, broker: cluster.Broker(), seen: map[string]bool{}}
	if v.change != nil {
		v.change(b)
	}
	hooks := httptest.NewServer(b)
	oracleOfOdds := betting.NewOddsOracle(betting.OddsConfig{MaxAge: time.Minute})
	oracleOfBets := betting.NewBetsOracle(betting.BetsConfig{})
	faults := ably.Mild()
	faults.Webhooks = ably.WebhookFaults{Twice: 0.2, Repeat: 0.1}
	faults.Rules = nil // the bridge does not try again
	var r round
	var realtime atomic.Int64
	b.ably, err = ably.Start(t.Context(), ably.Config{
		Seed: 1, Faults: faults,
		Webhooks: []ably.Webhook{{URL: hooks.URL, Channels: "^inbound:betting:", Interval: 50 * time.Millisecond}},
		OnMessage: func(m ably.Message) {
			if m.Via == ably.ViaRealtime {
				realtime.Add(1)
			}
			got := betting.Message{Channel: m.Channel, ID: m.ID, Name: m.Name, ClientID: m.ClientID, Data: m.Data, At: m.At}
			oracleOfOdds.Accepted(got)
			oracleOfBets.Accepted(got)
		},
	})
	require.NoError(t, err)
	var mu sync.Mutex
	market, err := betting.NewMarket(betting.MarketConfig{
		Seed: 1, Broker: cluster.Broker(), AblyURL: b.ably.URL(), Watchers: []string{"user-1", "user-2"}, Seated: []string{"user-2", "user-3"}, DefaultStake: 2_00,
		Odds: oracleOfOdds, Bets: oracleOfBets, OnBet: func(d betting.Decided) {
			mu.Lock()
			defer mu.Unlock()
			r.decided = append(r.decided, d)
		},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { b.relay(ctx) })
	done := make(chan error, 1)
	go func() { done <- market.Run(ctx, b) }()

	market.Race(aRace(book.Scheduled))
	require.Eventually(t, func() bool {
		return market.Going().Seated == 2 && oracleOfOdds.Progress("race-1").Published > 0
	}, patience, 10*time.Millisecond)
	for i := range 40 {
		market.Bet(betting.Intent{User: fmt.Sprintf("user-%d", i%8), Event: "race-1", Stake: 4_00, Dice: uint64(i) * 0x9e3779b97f4a7c15})
		time.Sleep(10 * time.Millisecond)
	}
	// The processor waits for odds that are not published, and so does the oracle.
	settled := func() bool {
		return oracleOfBets.Outstanding() == v.lost && market.Outstanding() == v.lost+2*v.kept
	}
	require.Eventually(t, func() bool { return market.Going().Unable+sumForms(market.Going().Forms) == 40 }, patience, 10*time.Millisecond)
	for end := time.Now().Add(patience); !settled() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	r.story = market.Story("race-1", "Copper Cup")
	market.Race(aRace(book.Off))
	for end := time.Now().Add(patience); !settled() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	r.realtime = int(realtime.Load())
	r.odds, r.bets, r.going = oracleOfOdds.Tally(), oracleOfBets.Tally(), market.Going()
	stop()
	require.NoError(t, <-done)
	wg.Wait()
	require.NoError(t, b.ably.Close())
	hooks.Close()
	kafka.Close()
	market.Close()
	http.DefaultClient.CloseIdleConnections()
	return r
}

func sumForms(m map[betting.Form]int) int {
	n := 0
	for _, v := range m {
		n += v
	}
	return n
}

func TestLoopWithHonestServiceIsClean(t *testing.T) {
	t.Parallel()
	r := playRound(t, vices{})
	require.True(t, r.bets.Clean(), "%v", r.bets.Problems)
	require.True(t, r.odds.Clean(), "%v", r.odds.Problems)
	require.Zero(t, r.going.Unable)
	for _, form := range []betting.Form{
		betting.FormFull, betting.FormTile, betting.FormDrifted, betting.FormMalformed, betting.FormForeignClient, betting.FormForeignChannel,
	} {
		require.Positive(t, r.going.Forms[form], form)
	}
	require.Positive(t, r.realtime)
	require.Equal(t, 36, r.bets.Placed)
	require.Equal(t, 34, r.bets.InKafka)
	require.Equal(t, 6, r.bets.Rejected)
	require.Len(t, r.decided, 34, "%v", r.bets)
	require.Positive(t, r.going.Rejected[book.OddsMoved])
	require.Equal(t, 34, r.going.Accepted+r.going.Rejected[book.OddsMoved])
	require.Len(t, r.going.Rounds, r.going.Accepted)
	require.Positive(t, r.going.Rounds[0])
	require.Equal(t, 1, r.odds.Moved)
	require.Equal(t, r.going.Accepted+2, r.odds.Updates)
	require.Equal(t, r.odds.Updates, r.odds.Published)
	require.Contains(t, r.story, fmt.Sprintf("%d bets on Copper Cup moved its odds, Car ", r.going.Accepted))
	require.Contains(t, r.story, "published on outbound:odds:race-1")
}

// Each vice of a service is found under its name.
func TestVicesInTheLoopAreFound(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		vice func(b *bridge)
		bets string
		odds string
		lost int
		kept int
	}{
		"loses a bet": {bets: "bet_lost", lost: 1, vice: func(b *bridge) {
			b.bet = func(n int, r *kgo.Record) []*kgo.Record {
				if n == 2 {
					return nil
				}
				return []*kgo.Record{r}
			}
		}},
		"doubles a bet": {bets: "bet_duplicate", vice: func(b *bridge) {
			b.bet = func(n int, r *kgo.Record) []*kgo.Record {
				if n == 1 {
					return []*kgo.Record{r, {Topic: r.Topic, Key: r.Key, Value: r.Value}}
				}
				return []*kgo.Record{r}
			}
		}},
		"bets for somebody else": {bets: "bet_altered", vice: func(b *bridge) {
			b.bet = func(n int, r *kgo.Record) []*kgo.Record {
				if n == 1 {
					r.Value = []byte(strings.ReplaceAll(string(r.Value), `"user_id":"user-`, `"user_id":"user-9`))
				}
				return []*kgo.Record{r}
			}
		}},
		"keeps back the newest odds": {odds: "odds_missing", kept: 1, vice: func(b *bridge) {
			b.snapshot = func(n int, id, value string) [][2]string {
				if n > 5 {
					return nil
				}
				return [][2]string{{id, value}}
			}
		}},
		"publishes late": {odds: "odds_out_of_order", vice: func(b *bridge) {
			var kept [2]string
			b.snapshot = func(n int, id, value string) [][2]string {
				switch n {
				case 3:
					kept = [2]string{id, value}
					return nil
				case 4:
					return [][2]string{{id, value}, kept}
				}
				return [][2]string{{id, value}}
			}
		}},
		"publishes twice": {odds: "odds_duplicate", vice: func(b *bridge) {
			b.snapshot = func(n int, id, value string) [][2]string {
				if n == 3 {
					return [][2]string{{id, value}, {"again/" + id, value}}
				}
				return [][2]string{{id, value}}
			}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := playRound(t, vices{change: tt.vice, lost: tt.lost, kept: tt.kept})
			require.Equal(t, tt.bets != "", r.bets.Reasons[tt.bets] > 0, "%v", r.bets.Problems)
			require.Equal(t, tt.bets == "", r.bets.Clean(), "%v", r.bets.Problems)
			require.Equal(t, tt.odds != "", r.odds.Reasons[tt.odds] > 0, "%v", r.odds.Problems)
			require.Equal(t, tt.odds == "", r.odds.Clean(), "%v", r.odds.Problems)
		})
	}
}
