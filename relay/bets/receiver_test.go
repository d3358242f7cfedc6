package bets_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/ugorji/go/codec"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/relay/ablytoken"
	"github.com/bugle-push/bugle/relay/bets"
)

// The vector of docs/bets.md's signature: secret and body are known.
func TestTheSignatureIsThatOfAbly(t *testing.T) {
	t.Parallel()
	r := newReplica(t, sqldbtest.SQLite(t), settings{})
	const vector = "VfmrgijOZYFRvh29QRDNAD3KiEe/AQuFyiaHDpIoW04="
	good := bets.Delivery{Key: "k1", Signature: vector, Body: []byte(`{"items":[]}`)}
	require.NoError(t, r.receiver.Receive(t.Context(), good))
	for name, change := range map[string]func(*bets.Delivery){
		"newline":  func(d *bets.Delivery) { d.Body = append(bytes.Clone(d.Body), '\n') },
		"forged":   func(d *bets.Delivery) { d.Signature = "W" + d.Signature[1:] },
		"empty":    func(d *bets.Delivery) { d.Signature = "" },
		"key":      func(d *bets.Delivery) { d.Key = "k2" },
		"otherapp": func(d *bets.Delivery) { d.Key = "other.k1" },
	} {
		d := good
		change(&d)
		require.Equal(t, fault.Unauthorized, fault.KindOf(r.receiver.Receive(t.Context(), d)), name)
	}
	require.InDelta(t, 3, r.value(t, "bugle_bets_webhooks_total", "bad_signature"), 0)
	require.InDelta(t, 2, r.value(t, "bugle_bets_webhooks_total", "unknown_key"), 0)
	require.InDelta(t, 1, r.value(t, "bugle_bets_webhooks_total", "taken"), 0)
	require.InDelta(t, 0, r.value(t, "bugle_bets_refused_total", ""), 0, "nothing is parsed before")
}

// A token for Ably is signed with a key of the same kind, in the same way, and given
// to every user: its parts are no webhook.
func TestATokenIsNoWebhook(t *testing.T) {
	t.Parallel()
	r := newReplica(t, sqldbtest.SQLite(t), settings{})
	issuer, err := ablytoken.New(ablytoken.Config{Key: "app.k1:s3cret-part"})
	require.NoError(t, err)
	token, err := issuer.Token("ann")
	require.NoError(t, err)
	at := strings.LastIndexByte(token.JWT, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token.JWT[at+1:])
	require.NoError(t, err)
	for name, d := range map[string]bets.Delivery{
		"JWT":          {Body: []byte(token.JWT[:at]), Signature: base64.StdEncoding.EncodeToString(signature)},
		"TokenRequest": signed([]byte("app.k1\n3600000\n{}\nann\n1786000000000\nnonce\n")),
	} {
		d.Key = "app.k1"
		require.Equal(t, fault.Unauthorized, fault.KindOf(r.receiver.Receive(t.Context(), d)), name)
	}
	require.Empty(t, r.waiting(t, bets.KindDead))
}

func TestKeysAreReplacedWithoutAGapAndNeverShown(t *testing.T) {
	t.Parallel()
	keys, err := bets.ParseKeys("app.k1:one\n\n  k1:two \napp.k2:three\n")
	require.NoError(t, err)
	for _, name := range []string{"k1", "app.k1", "k2", "app.k2", " k2 "} {
		require.True(t, keys.Knows(name), name)
	}
	for _, name := range []string{"", "k3", "app", "app.k3", "x.k1"} {
		require.False(t, keys.Knows(name), name)
	}
	text := fmt.Sprintf("%v %+v %#v %s", keys, keys, keys, keys)
	for _, bad := range []string{"", "k1", "k1:", ":s", "a.b.c:s", "k1:s:t", "k1:a b"} {
		_, err := bets.ParseKeys("app.k1:one\n" + bad)
		if bad == "" {
			_, err = bets.ParseKeys(bad)
		}
		require.Error(t, err, bad)
		text += err.Error()
	}
	for _, secret := range []string{"one", "two", "three"} {
		require.NotContains(t, strings.ReplaceAll(text, "wants", ""), secret)
	}
}

// record is what goes to Kafka.
func record(t testing.TB, c bets.Claimed) map[string]any {
	t.Helper()
	var v map[string]any
	dec := json.NewDecoder(bytes.NewReader(c.Value))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&v))
	return v
}

func TestTheRecordIsThatOfTheContract(t *testing.T) {
	t.Parallel()
	r := newReplica(t, sqldbtest.SQLite(t), settings{})
	plain := message("c1:4:0", "ann", tile)
	r.receive(t, item(anns, plain))
	whole := message("c1:5:0", "ann", `{"name":"Ça <va>","imageURL":"https://x/y.png","odds":0.10000000000000000001,"event":"ascot-1505","stake":2.50,"Stake":9}`)
	whole["data"] = json.RawMessage(whole["data"].(string)) // as an object, not its text
	r.receive(t, item(anns, whole))
	found := r.waiting(t, bets.KindBet)
	require.Len(t, found, 2)
	require.JSONEq(t, fmt.Sprintf(
		`{"bet_id":"c1:4:0","event_id":"horses","runner":"Car 1","user_id":"ann","authenticated":true,"stake":5,"odds":0.125,"placed_at":%d}`, plain["timestamp"]),
		string(found[0].Value))
	require.Equal(t, fmt.Appendf(nil,
		`{"bet_id":"c1:5:0","event_id":"ascot-1505","runner":"Ça <va>","user_id":"ann","authenticated":true,"stake":2.50,"odds":0.10000000000000000001,"placed_at":%d}`, whole["timestamp"]),
		found[1].Value, "the digits are those that were sent")
	require.InDelta(t, 2, r.value(t, "bugle_bets_accepted_total", "true"), 0)
}

func TestEncodingsAreUndoneFromTheRight(t *testing.T) {
	t.Parallel()
	r := newReplica(t, sqldbtest.SQLite(t), settings{})
	b64 := base64.StdEncoding.EncodeToString([]byte(tile))
	for i, tt := range []struct {
		data, encoding string
		reason         bets.Reason
	}{
		{tile, "", ""},
		{tile, "json", ""},
		{tile, "utf-8", ""},
		{b64, "base64", ""},
		{b64, "json/utf-8/base64", ""},
		{base64.StdEncoding.EncodeToString([]byte(b64)), "json/base64/base64", ""},
		{b64, "json/utf-8/cipher+aes-256-cbc/base64", bets.ReasonEncrypted},
		{"%%%", "base64", bets.ReasonEncoding},
		{tile, "vcdiff", bets.ReasonEncoding},
		{tile, strings.Repeat("utf-8/", 20) + "utf-8", bets.ReasonEncoding},
		{base64.StdEncoding.EncodeToString([]byte("\xff")), "utf-8/base64", bets.ReasonEncoding},
		{base64.StdEncoding.EncodeToString([]byte("\xff\xfe")), "base64", bets.ReasonData},
	} {
		m := message(fmt.Sprint(i), "ann", tt.data)
		m["encoding"] = tt.encoding
		r.receive(t, item(anns, m))
		kind := bets.KindBet
		if tt.reason != "" {
			kind = bets.KindDead
		}
		found := r.waiting(t, kind)
		last := found[len(found)-1]
		require.Equal(t, fmt.Sprint(i), last.MessageID, "%+v", tt)
		require.Equal(t, tt.reason, last.Reason, "%+v", tt)
		if kind == bets.KindDead {
			require.Equal(t, tt.data, string(last.Value), "as it came")
		}
	}
}

func TestWhatIsNoBetIsADeadLetterWithTheReason(t *testing.T) {
	t.Parallel()
	r := newReplica(t, sqldbtest.SQLite(t), settings{})
	now := time.Now()
	with := func(m msg, kv ...any) msg {
		for i := 0; i < len(kv); i += 2 {
			if kv[i+1] == nil {
				delete(m, kv[i].(string))
			} else {
				m[kv[i].(string)] = kv[i+1]
			}
		}
		return m
	}
	data := func(text string) msg { return message("", "ann", text) }
	n := 0
	for _, tt := range []struct {
		name    string
		reason  bets.Reason
		channel string
		m       msg
	}{
		{"no data", bets.ReasonData, anns, with(data(""), "data", nil)},
		{"text", bets.ReasonData, anns, data("Car 1")},
		{"array", bets.ReasonData, anns, data("[" + tile + "]")},
		{"null", bets.ReasonData, anns, data("null")},
		{"number", bets.ReasonData, anns, with(data(""), "data", 12)},
		{"cut", bets.ReasonData, anns, data(tile[:10])},
		{"two", bets.ReasonData, anns, data(tile + tile)},
		{"deep", bets.ReasonData, anns, data(strings.Repeat("[", 15000))},
		{"no runner", bets.ReasonRunner, anns, data(`{"odds":1}`)},
		{"null runner", bets.ReasonRunner, anns, data(`{"name":null,"odds":1}`)},
		{"empty runner", bets.ReasonRunner, anns, data(`{"name":"","odds":1}`)},
		{"other case", bets.ReasonRunner, anns, data(`{"Name":"Car 1","odds":1}`)},
		{"long runner", bets.ReasonRunner, anns, data(`{"name":"` + strings.Repeat("a", 129) + `","odds":1}`)},
		{"control runner", bets.ReasonRunner, anns, data(`{"name":"a\u0000b","odds":1}`)},
		{"runner is number", bets.ReasonRunner, anns, data(`{"name":7,"odds":1}`)},
		{"event is number", bets.ReasonEvent, anns, data(`{"name":"a","odds":1,"event":7}`)},
		{"event of two parts", bets.ReasonEvent, anns, data(`{"name":"a","odds":1,"event":"ascot|x"}`)},
		{"category of two parts", bets.ReasonEvent, "inbound:betting:a|b:ann", data(tile)},
		{"empty event", bets.ReasonEvent, anns, data(`{"name":"a","odds":1,"event":""}`)},
		{"no odds", bets.ReasonOdds, anns, data(`{"name":"a"}`)},
		{"negative odds", bets.ReasonOdds, anns, data(`{"name":"a","odds":-1}`)},
		{"text odds", bets.ReasonOdds, anns, data(`{"name":"a","odds":"1"}`)},
		{"endless odds", bets.ReasonOdds, anns, data(`{"name":"a","odds":1e999}`)},
		{"long odds", bets.ReasonOdds, anns, data(`{"name":"a","odds":0.` + strings.Repeat("1", 40) + `}`)},
		{"true odds", bets.ReasonOdds, anns, data(`{"name":"a","odds":true}`)},
		{"no stake at all", bets.ReasonStake, anns, data(`{"name":"a","odds":1,"stake":0}`)},
		{"zero stake", bets.ReasonStake, anns, data(`{"name":"a","odds":1,"stake":0.00}`)},
		{"negative stake", bets.ReasonStake, anns, data(`{"name":"a","odds":1,"stake":-5}`)},
		{"fine stake", bets.ReasonStake, anns, data(`{"name":"a","odds":1,"stake":0.001}`)},
		{"exponent", bets.ReasonStake, anns, data(`{"name":"a","odds":1,"stake":1e3}`)},
		{"huge stake", bets.ReasonStake, anns, data(`{"name":"a","odds":1,"stake":1000000000000}`)},
		{"text stake", bets.ReasonStake, anns, data(`{"name":"a","odds":1,"stake":"5"}`)},
		{"100 KB", bets.ReasonSize, anns, data(`{"name":"` + strings.Repeat("a", 100<<10) + `","odds":1}`)},
		{"somebody else", bets.ReasonUnauthenticated, bobs, data(tile)},
		{"nobody", bets.ReasonUnauthenticated, anns, with(data(tile), "clientId", nil)},
		{"no user", bets.ReasonChannel, "inbound:betting:horses", data(tile)},
		{"empty user", bets.ReasonChannel, "inbound:betting:horses:", data(tile)},
		{"empty category", bets.ReasonChannel, "inbound:betting::ann", data(tile)},
		{"more segments", bets.ReasonChannel, "inbound:betting:horses:ann:x", data(tile)},
		{"update", bets.ReasonAction, anns, with(data(tile), "action", 1)},
		{"delete", bets.ReasonAction, anns, with(data(tile), "action", "message.delete")},
		{"old", bets.ReasonOld, anns, with(data(tile), "timestamp", now.Add(-61*time.Minute).UnixMilli())},
		{"future", bets.ReasonOld, anns, with(data(tile), "timestamp", now.Add(time.Hour).UnixMilli())},
		{"time is text", bets.ReasonMessage, anns, with(data(tile), "timestamp", "now")},
		{"negative time", bets.ReasonMessage, anns, with(data(tile), "timestamp", -1)},
		{"control id", bets.ReasonMessage, anns, with(data(tile), "id", "a\x00b")},
		{"long id", bets.ReasonMessage, anns, with(data(tile), "id", strings.Repeat("a", 300))},
		{"id is number", bets.ReasonMessage, anns, with(data(tile), "id", 7)},
	} {
		n++
		if tt.m["id"] == "" {
			tt.m["id"] = fmt.Sprint("m", n)
		}
		r.receive(t, item(tt.channel, tt.m))
		letters := r.waiting(t, bets.KindDead)
		require.Len(t, letters, n, tt.name)
		last := letters[n-1]
		require.Equal(t, tt.reason, last.Reason, tt.name)
		require.Equal(t, tt.channel, last.Channel, tt.name)
		require.NotEmpty(t, last.MessageID)
		require.LessOrEqual(t, len(last.Value), bets.MaxData)
		if tt.reason == bets.ReasonSize {
			require.Greater(t, last.Size, 100<<10)
		}
	}
	require.Empty(t, r.waiting(t, bets.KindBet))
	require.InDelta(t, n, r.value(t, "bugle_bets_refused_total", ""), 0)
	noID := message("", "ann", tile)
	delete(noID, "id")
	r.receive(t, item(anns, noID))
	r.receive(t, item(anns, noID))
	require.Len(t, r.waiting(t, bets.KindDead), n+1, "what has no id is kept once too")
}

// The age of an item counts as well as that of the message in it, and its time is
// the message's where that has none.
func TestTheTimeOfAnItemCounts(t *testing.T) {
	t.Parallel()
	r := newReplica(t, sqldbtest.SQLite(t), settings{})
	timeless := message("2", "ann", tile)
	delete(timeless, "timestamp")
	for _, m := range []msg{message("1", "ann", tile), timeless} {
		old := item(anns, m)
		old["timestamp"] = time.Now().Add(-61 * time.Minute).UnixMilli()
		r.receive(t, old)
	}
	fresh := message("3", "ann", tile)
	delete(fresh, "timestamp")
	r.receive(t, item(anns, fresh))
	dead := r.waiting(t, bets.KindDead)
	require.Len(t, dead, 2)
	for _, l := range dead {
		require.Equal(t, bets.ReasonOld, l.Reason)
	}
	require.Len(t, r.waiting(t, bets.KindBet), 1)
}

// A signed body that is nonsense is taken: an error would hold up what is behind it.
func TestNonsenseIsKeptAndAnswered(t *testing.T) {
	t.Parallel()
	r := newReplica(t, sqldbtest.SQLite(t), settings{})
	good := item(anns, message("good", "ann", tile))
	whole, err := json.Marshal(good)
	require.NoError(t, err)
	for i, body := range []string{
		"", "null", "[]", "{}", `{"items":null}`, `{"items":7}`, "\xff\xfe", `{"items":[]} x`,
		`{"items":[7,` + string(whole) + `]}`, `{"items":[{"source":"channel.message","data":{"channelId":"inbound:betting:h:u","messages":[null,7]}}]}`,
	} {
		require.NoError(t, r.receiver.Receive(t.Context(), signed([]byte(body))), "%d %q", i, body)
	}
	require.Len(t, r.waiting(t, bets.KindBet), 1, "what is good in it is taken")
	for _, l := range r.waiting(t, bets.KindDead) {
		require.Contains(t, []bets.Reason{bets.ReasonWebhook, bets.ReasonItem, bets.ReasonMessage}, l.Reason)
	}
	r.receive(t, item("chat:lobby", message("x", "ann", "hi")), map[string]any{"source": "channel.lifecycle", "data": map[string]any{"channelId": anns}})
	require.InDelta(t, 1, r.value(t, "bugle_bets_ignored_total", "other_channel"), 0)
	require.InDelta(t, 1, r.value(t, "bugle_bets_ignored_total", "other_source"), 0)
}

// What one user has published spoils no bet of another in the same webhook, be it
// nested deeper than parsers go, or without a word in JSON.
func TestOneUsersMessageSpoilsNoOthers(t *testing.T) {
	t.Parallel()
	const depth = 60_000 // 60 kB, which Ably takes
	h := &codec.MsgpackHandle{WriteExt: true}
	pack := func(v any) (out []byte) {
		require.NoError(t, codec.NewEncoderBytes(&out, h).Encode(v))
		return out
	}
	good := func(id string) map[string]any { return item(anns, message(id, "ann", tile)) }
	whole := func(id string) string {
		text, err := json.Marshal(good(id))
		require.NoError(t, err)
		return string(text)
	}
	bobs := `{"source":"channel.message","timestamp":1,"data":{"channelId":"inbound:betting:h:bob","messages":[{"id":"b","extras":%s}]}}`
	list := func(items ...[]byte) (out []byte) {
		out = append(out, 0x81)
		out = append(out, pack("items")...)
		out = append(out, 0xdc, 0, byte(len(items)))
		return append(out, bytes.Join(items, nil)...)
	}
	strange := msg{"id": "b", "clientId": "bob", "extras": map[string]any{"headers": map[any]any{
		"nan": math.NaN(), "inf": float32(math.Inf(1)), "late": codec.RawExt{Tag: 0xff, Data: bytes.Repeat([]byte{0x7f}, 12)},
	}}}
	deep := slices.Concat([]byte{0x81}, pack("x"), bytes.Repeat([]byte{0x91}, depth), []byte{0xc0})
	for name, test := range map[string]struct {
		body  []byte
		media string
	}{
		"JSON": {
			body: []byte(`{"n":[{"items":[1]}],"items":[` + whole("1") + `,` + fmt.Sprintf(bobs, strings.Repeat("[", depth)+strings.Repeat("]", depth)) + `, ` + whole("2") + ` ]}`),
		},
		"MessagePack, deep":    {body: list(pack(good("1")), deep, pack(good("2"))), media: "application/x-msgpack"},
		"MessagePack, strange": {body: list(pack(good("1")), pack(item("inbound:betting:h:bob", strange)), pack(good("2"))), media: "application/x-msgpack"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t, sqldbtest.SQLite(t), settings{})
			d := signed(test.body)
			d.ContentType = test.media
			require.NoError(t, r.receiver.Receive(t.Context(), d))
			var taken []string
			for _, b := range r.waiting(t, bets.KindBet) {
				taken = append(taken, b.MessageID)
			}
			require.Equal(t, []string{"1", "2"}, taken)
			require.Len(t, r.waiting(t, bets.KindDead), 1)
		})
	}
}

func TestAnonymousBetsAreMarkedWhereTheyAreAllowed(t *testing.T) {
	t.Parallel()
	r := newReplica(t, sqldbtest.SQLite(t), settings{anonymous: true})
	seed := message("c1:0:0", "", tile)
	delete(seed, "clientId") // as the demo's app sends it
	r.receive(t, item("inbound:betting:cars:username", seed), item(anns, message("c2:0:0", "bob", tile), message("c3:0:0", "ann", tile)))
	found := r.waiting(t, bets.KindBet)
	require.Len(t, found, 3)
	for i, want := range []struct {
		user          string
		authenticated bool
	}{{"username", false}, {"ann", false}, {"ann", true}} {
		got := record(t, found[i])
		require.Equal(t, want.user, got["user_id"])
		require.Equal(t, want.authenticated, got["authenticated"])
	}
}

func TestMessagePackIsReadLikeJSON(t *testing.T) {
	t.Parallel()
	r := newReplica(t, sqldbtest.SQLite(t), settings{})
	h := &codec.MsgpackHandle{WriteExt: true}
	binary := message("m2", "ann", "")
	binary["data"] = []byte(tile)
	encoded := message("m3", "ann", "")
	encoded["data"], encoded["encoding"] = []byte(tile), "json/utf-8"
	entered := msg{"id": "c1:0:0", "clientId": "ann", "connectionId": "c1", "action": 2, "timestamp": time.Now().UnixMilli(), "data": "home"}
	var body []byte
	require.NoError(t, codec.NewEncoderBytes(&body, h).Encode(map[string]any{
		"items": []any{item(anns, message("m1", "ann", tile), binary, encoded), presence(anns, entered)},
	}))
	d := signed(body)
	d.ContentType = "application/x-msgpack"
	require.NoError(t, r.receiver.Receive(t.Context(), d))
	require.Empty(t, r.waiting(t, bets.KindDead))
	require.Len(t, r.waiting(t, bets.KindBet), 3)
	members, err := r.books.Members(t.Context(), bets.MemberQuery{Limit: 9})
	require.NoError(t, err)
	require.Len(t, members, 1)
	require.Equal(t, "home", members[0].Page)

	d = signed(body[:len(body)-3])
	d.ContentType = "application/x-msgpack"
	require.NoError(t, r.receiver.Receive(t.Context(), d))
	require.Equal(t, bets.ReasonWebhook, r.waiting(t, bets.KindDead)[0].Reason)
}

func TestPresenceSaysWhoIsWhere(t *testing.T) {
	t.Parallel()
	r := newReplica(t, sqldbtest.SQLite(t), settings{})
	now := time.Now().UnixMilli()
	at := func(id, client, page string, action any, ms int64) msg {
		return msg{"id": id, "clientId": client, "connectionId": "c1", "action": action, "timestamp": now + ms, "data": page}
	}
	r.receive(t,
		presence(anns, at("c1:1:0", "ann", `{"page":"Horses"}`, 4, 5), at("c1:0:0", "ann", "Car Racing Page", 2, 0)),
		presence(bobs, at("c1:0:0", "bob", "home", 2, 0), at("c1:1:0", "bob", "", 3, 0)),
		presence(anns, at("c1:2:0", "carl", "x", 9, 0), at("c1:2:0", "", "x", 2, 0), at("c1:2:0", "d", "x", nil, 0), at("c1:2:0", "old", "x", 2, -7200_000)),
		presence(anns, at("c1:3:0", "eve", strings.Repeat("p", 300), 1, 0)),
	)
	members, err := r.books.Members(t.Context(), bets.MemberQuery{Limit: 9})
	require.NoError(t, err)
	pages := map[string]string{}
	for _, m := range members {
		pages[m.ClientID] = m.Page
	}
	require.Equal(t, map[string]string{"ann": "Horses", "eve": ""}, pages)
	require.InDelta(t, 3, r.value(t, "bugle_bets_ignored_total", "bad_presence"), 0)
	require.InDelta(t, 1, r.value(t, "bugle_bets_ignored_total", "old_presence"), 0)
}

// failing is a database that fails, before or after it has committed.
type failing struct {
	bets.Book
	before, after atomic.Bool
}

func (f *failing) Take(ctx context.Context, rows []bets.Row, s []bets.Sighting) (bets.Taken, error) {
	if f.before.Load() {
		return bets.Taken{}, errors.New("the disk is full")
	}
	out, err := f.Book.Take(ctx, rows, s)
	if err == nil && f.after.Load() {
		return bets.Taken{}, errors.New("the connection is gone")
	}
	return out, err
}

// When the database fails Ably is told to try again, and what it brings then is
// taken once, whether the first try had been committed or not.
func TestADatabaseThatFailsLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	f := &failing{}
	r := newReplica(t, sqldbtest.SQLite(t), settings{book: func(b bets.Book) bets.Book { f.Book = b; return f }})
	d := signed(webhook(t, item(anns, many("c1", "ann", 5)...)))
	f.before.Store(true)
	require.Equal(t, fault.Unavailable, fault.KindOf(r.receiver.Receive(t.Context(), d)))
	require.Empty(t, r.waiting(t, bets.KindBet))
	f.before.Store(false)
	f.after.Store(true)
	require.Equal(t, fault.Unavailable, fault.KindOf(r.receiver.Receive(t.Context(), d)))
	f.after.Store(false)
	require.NoError(t, r.receiver.Receive(t.Context(), d))
	require.Len(t, r.waiting(t, bets.KindBet), 5)
	require.InDelta(t, 2, r.value(t, "bugle_bets_webhooks_total", "failed"), 0)
}
