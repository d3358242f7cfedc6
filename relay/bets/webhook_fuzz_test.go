package bets_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/relay/bets"
)

// notebook is a Book that keeps what the last webhook brought.
type notebook struct {
	rows      []bets.Row
	sightings []bets.Sighting
}

func (n *notebook) Take(_ context.Context, rows []bets.Row, sightings []bets.Sighting) (bets.Taken, error) {
	n.rows, n.sightings = rows, sightings
	return bets.Taken{New: rows}, nil
}

// FuzzWebhook: whatever is signed is taken, what is taken as a bet is one, and all
// of it can be stored by any database.
func FuzzWebhook(f *testing.F) {
	now, err := json.Marshal(time.Now().UnixMilli())
	require.NoError(f, err)
	f.Add([]byte(`{"items":[{"source":"channel.message","timestamp":`+string(now)+`,"data":{"channelId":"inbound:betting:a:b","messages":[`+
		`{"id":"c:1:0","clientId":"b","timestamp":`+string(now)+`,"encoding":"json","data":"{\"name\":\"Car\",\"odds\":0.5,\"stake\":2.5,\"event\":\"e\"}"}]}}]}`), false)
	f.Add([]byte(`{"items":[{"source":"channel.presence","timestamp":`+string(now)+`,"data":{"channelId":"x","presence":[`+
		`{"id":"c:1:0","clientId":"b","connectionId":"c","action":2,"data":{"page":"home"}}]}}]}`), false)
	f.Add([]byte(`{"items":[{"source":"channel.message","timestamp":1,"data":{"channelId":"inbound:betting:a:b\u0000","messages":[{"id":"\u0000","data":{"name":1}},7]}}]}`), false)
	f.Add([]byte("\x81\xa5items\x90"), true)
	f.Add([]byte("\x81\xa5items\xdd\xff\xff\xff\xff"), true)
	keys, err := bets.ParseKeys("app.k1:s")
	require.NoError(f, err)
	metrics, err := bets.NewMetrics(nil)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte, msgpack bool) {
		book := &notebook{}
		r, err := bets.NewReceiver(bets.ReceiverConfig{
			Book: book, Keys: keys, DefaultStake: "1", AllowAnonymous: true, Metrics: metrics, Log: zerolog.Nop(),
		})
		require.NoError(t, err)
		mac := hmac.New(sha256.New, []byte("s"))
		mac.Write(body)
		d := bets.Delivery{Key: "k1", Signature: base64.StdEncoding.EncodeToString(mac.Sum(nil)), Body: body}
		if msgpack {
			d.ContentType = "application/x-msgpack"
		}
		require.NoError(t, r.Receive(t.Context(), d))
		for _, row := range book.rows {
			requireStorable(t, row.MessageID, row.Channel)
			require.NotEmpty(t, row.MessageID)
			require.LessOrEqual(t, len(row.Value), bets.MaxData)
			if row.Kind == bets.KindBet {
				requireBet(t, row)
			} else {
				require.Contains(t, bets.Reasons(), row.Reason)
			}
		}
		for _, s := range book.sightings {
			requireStorable(t, s.ClientID, s.Channel, s.ConnectionID, s.Page)
			require.Positive(t, s.At.UnixMicro())
		}
	})
}

// requireStorable: PostgreSQL takes no zero byte and no broken UTF-8, and no index
// entry of many KiB.
func requireStorable(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		require.True(t, utf8.ValidString(text))
		require.NotContains(t, text, "\x00")
		require.Less(t, len(text), 600)
	}
}

func requireBet(t *testing.T, row bets.Row) {
	t.Helper()
	var b bets.Bet
	require.NoError(t, json.Unmarshal(row.Value, &b))
	require.Equal(t, row.MessageID, b.ID)
	require.NotEmpty(t, b.Runner)
	require.NotEmpty(t, b.Event)
	require.NotEmpty(t, b.User)
	require.True(t, bets.ValidStake(b.Stake.String()))
	odds, err := b.Odds.Float64()
	require.NoError(t, err)
	require.GreaterOrEqual(t, odds, 0.0)
}
