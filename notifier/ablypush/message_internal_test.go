package ablypush

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// These tests look inside, because building a message needs a clock that
// stands still.

// noon is when the messages of these tests are built.
var noon = time.Date(2026, 9, 1, 12, 0, 0, 500_000_000, time.UTC)

func testBuilder() builder { return builder{channels: notifier.AndroidChannels()} }

func betWon() notifier.Message {
	return notifier.Message{
		NotificationID: 4711, Thread: "b1ByRx3kQ0a", Category: "win",
		Urgency: notifier.High, Class: notifier.Transactional,
		Title: "You won £12.50", Body: "Blue Heron came first in Kempton 15:05.",
		Link:      "https://bets.example/bet/b-1",
		Data:      map[string]string{"bet": "b-1"},
		ExpiresAt: noon.Truncate(time.Second).Add(24 * time.Hour),
	}
}

func raceSoon() notifier.Message {
	return notifier.Message{
		NotificationID: 4712, Thread: "rKmp1505", Category: "race",
		Urgency: notifier.High, Class: notifier.Marketing,
		Title: "Kempton 15:05 in 5 min", Body: "Kempton, 15:05",
		Link:      "app://race/kmp-1505",
		ExpiresAt: noon.Truncate(time.Second).Add(5 * time.Minute), Perishable: true,
	}
}

func correction() notifier.Message {
	m := betWon()
	m.NotificationID = 4790
	m.Category = "loss"
	m.Title, m.Body = "Result changed", "Blue Heron in Kempton 15:05: lost."
	return m
}

func pushTo(kind devices.TargetKind, msg notifier.Message) notifier.Push {
	value := devices.Secret("01J8ZZDEVICE")
	if kind == devices.AblyClient {
		value = "punter-77"
	}
	return notifier.Push{Platform: devices.Android, Target: devices.Target{Kind: kind, Value: value}, Message: msg}
}

func mustBuild(t require.TestingT, msg notifier.Message) *payload {
	m, _, refused := testBuilder().payload(pushTo(devices.AblyDevice, msg), noon)
	require.Nil(t, refused)
	return m
}

// TestMessages compares messages with testdata/message_*.json. Write them anew
// with UPDATE_GOLDEN=1 and read the difference.
func TestMessages(t *testing.T) {
	t.Parallel()
	for name, msg := range map[string]notifier.Message{
		"bet_won": betWon(), "race_soon": raceSoon(), "correction": correction(),
	} {
		for _, kind := range []devices.TargetKind{devices.AblyDevice, devices.AblyClient} {
			t.Run(name+"/"+string(kind), func(t *testing.T) {
				t.Parallel()
				b, cut, refused := testBuilder().build(pushTo(kind, msg), noon)
				require.Nil(t, refused)
				require.False(t, cut)
				var got bytes.Buffer
				require.NoError(t, json.Indent(&got, b, "", "  "))
				got.WriteByte('\n')

				file := filepath.Join("testdata", "message_"+string(kind)+"_"+name+".json")
				if os.Getenv("UPDATE_GOLDEN") != "" {
					require.NoError(t, os.WriteFile(file, got.Bytes(), 0o600))
				}
				want, err := os.ReadFile(file)
				require.NoError(t, err)
				require.Equal(t, string(want), got.String())
			})
		}
	}
}

// TestPlatformDoesNotMatter: Ably knows where a device is, we may not.
func TestPlatformDoesNotMatter(t *testing.T) {
	t.Parallel()
	want, _, refused := testBuilder().build(pushTo(devices.AblyDevice, betWon()), noon)
	require.Nil(t, refused)
	for _, platform := range []devices.Platform{devices.IOS, devices.Web, ""} {
		p := pushTo(devices.AblyDevice, betWon())
		p.Platform = platform
		got, _, refused := testBuilder().build(p, noon)
		require.Nil(t, refused)
		require.Equal(t, string(want), string(got))
	}
}

// TestTimeToLive: whole seconds of what is left, for each transport, and never
// more than FCM keeps.
func TestTimeToLive(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		left  time.Duration
		ttl   int64
		until int64
	}{
		{"five minutes", 5 * time.Minute, 300, noon.Unix() + 300},
		{"cut down", 4*time.Minute + 59*time.Second + 999*time.Millisecond, 299, noon.Unix() + 300},
		{"now or never", 300 * time.Millisecond, 0, noon.Unix()},
		{"28 days at most", 90 * 24 * time.Hour, 2419200, noon.Unix() + 2419200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			msg := raceSoon()
			msg.ExpiresAt = noon.Add(tc.left)
			m := mustBuild(t, msg)
			require.Equal(t, tc.ttl, m.Notification.TTL)
			require.Equal(t, strconv.FormatInt(tc.ttl, 10)+"s", m.FCM.Android.TTL)
			require.Equal(t, strconv.FormatInt(tc.until, 10), m.APNs.Headers["apns-expiration"])
		})
	}
}

// TestUrgencyAndChannel covers what the golden files do not.
func TestUrgencyAndChannel(t *testing.T) {
	t.Parallel()
	msg := raceSoon()
	msg.Urgency, msg.Category = notifier.Normal, "promo"
	m := mustBuild(t, msg)
	require.Equal(t, "normal", m.FCM.Android.Priority)
	require.Equal(t, "promo", m.FCM.Android.Notification.ChannelID)
	require.Equal(t, "5", m.APNs.Headers["apns-priority"])
}

// TestNoThread: nothing of a message without thread is marked for replacement.
func TestNoThread(t *testing.T) {
	t.Parallel()
	msg := raceSoon()
	msg.Thread = ""
	m := mustBuild(t, msg)
	require.Empty(t, m.FCM.Android.CollapseKey)
	require.Empty(t, m.FCM.Android.Notification.Tag)
	require.NotContains(t, m.APNs.Headers, "apns-collapse-id")
	require.Empty(t, m.Web.Notification.Tag)
	require.False(t, m.Web.Notification.Renotify)
}

func TestReservedDataKeys(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "nid", "seq", "thread", "category", "class", "link", "from", "message_type", "aps", "apns-headers", "google", "google.x", "gcm.notification.e"} {
		require.True(t, ReservedDataKey(key), key)
	}
	for _, key := range []string{"race", "fromage", "Google", "token", "nids"} {
		require.False(t, ReservedDataKey(key), key)
	}
}

// TestCutsBody: the body is cut, in whole characters, to what fits everywhere,
// and is the same for each transport.
func TestCutsBody(t *testing.T) {
	t.Parallel()
	for name, unit := range map[string]string{
		"ascii": "a", "two bytes": "é", "three bytes": "馬", "four bytes": "🏇",
		"escaped": `"`, "escaped for HTML": "<", "control": "\x01", "line separator": "\u2028",
		"not UTF-8": "\xff", "replacement character": "\ufffd",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			msg := betWon()
			msg.Body = strings.Repeat(unit, 5000)
			m, cut, refused := testBuilder().payload(pushTo(devices.AblyDevice, msg), noon)
			require.Nil(t, refused)
			require.True(t, cut)
			require.LessOrEqual(t, excess(m), 0)
			fcm, apns, web := sizes(m)
			require.Greater(t, max(fcm-maxFCM, apns-maxAPNs, web-maxWeb), -6, "more was cut than had to be")
			short, found := strings.CutSuffix(m.Notification.Body, "…")
			require.True(t, found)
			require.True(t, strings.HasPrefix(msg.Body, short))
			require.Zero(t, len(short)%len(unit), "cut inside a character")
			require.Equal(t, m.Notification.Body, m.APNs.Aps.Alert.Body)
			require.Equal(t, m.Notification.Body, m.Web.Notification.Body)
		})
	}
}

// TestPayloadNeverTooLarge: whatever the texts, a message that is built fits,
// its body is a beginning of the original, and one that fits is not touched.
func TestPayloadNeverTooLarge(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.StringN(0, 3000, 6000), rapid.StringN(0, 40, -1), rapid.Just(strings.Repeat("<🏇\"", 600)))
	rapid.Check(t, func(t *rapid.T) {
		msg := notifier.Message{
			NotificationID: notifier.NotificationID(rapid.Int64().Draw(t, "id")),
			Thread:         rapid.StringMatching(`[A-Za-z0-9_-]{0,32}`).Draw(t, "thread"),
			Category:       rapid.StringN(0, 60, -1).Draw(t, "category"),
			Class:          notifier.Transactional,
			Title:          rapid.StringN(0, 200, -1).Draw(t, "title"),
			Body:           text.Draw(t, "body"),
			Link:           rapid.SampledFrom([]string{"", "app://x", "https://bets.example/" + strings.Repeat("a", 900)}).Draw(t, "link"),
			Data:           map[string]string{"extra": rapid.StringN(0, 2000, 4000).Draw(t, "extra")},
			ExpiresAt:      noon.Add(time.Hour),
			Perishable:     rapid.Bool().Draw(t, "perishable"),
		}
		m, cut, refused := testBuilder().payload(pushTo(devices.AblyDevice, msg), noon)
		if refused != nil {
			require.Equal(t, CodePayloadTooLarge, refused.Code)
			return
		}
		require.LessOrEqual(t, excess(m), 0)
		fcm, apns, web := sizes(m)
		require.GreaterOrEqual(t, roughSize(m), max(fcm, apns, web), "the cheap bound is no bound")
		if !cut {
			require.Equal(t, msg.Body, m.Notification.Body)
			return
		}
		short, found := strings.CutSuffix(m.Notification.Body, "…")
		require.True(t, found)
		require.True(t, strings.HasPrefix(msg.Body, short))
		if utf8.ValidString(msg.Body) {
			require.True(t, utf8.ValidString(short))
		}
	})
}

// TestDataIsTextOnly: FCM refuses anything else.
func TestDataIsTextOnly(t *testing.T) {
	t.Parallel()
	b, _, refused := testBuilder().build(pushTo(devices.AblyDevice, betWon()), noon)
	require.Nil(t, refused)
	var got struct {
		Data map[string]string `json:"data"`
	}
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, []string{"bet", "category", "class", "link", "nid", "seq", "thread"}, slices.Sorted(maps.Keys(got.Data)))
	require.Equal(t, got.Data["nid"], got.Data["seq"])
}

func BenchmarkBuild(b *testing.B) {
	for name, body := range map[string]string{"fits": "Blue Heron came first.", "cut": strings.Repeat("🏇 ", 2000)} {
		b.Run(name, func(b *testing.B) {
			msg := betWon()
			msg.Body = body
			p := pushTo(devices.AblyDevice, msg)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, refused := testBuilder().build(p, noon); refused != nil {
					b.Fatal(refused)
				}
			}
		})
	}
}
