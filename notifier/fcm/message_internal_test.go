package fcm

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"firebase.google.com/go/v4/messaging"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// These tests look inside, because what build makes is of the SDK's types,
// which do not leave the package.

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

// TestMessages compares messages with testdata/message_*.json. Write them anew
// with UPDATE_GOLDEN=1 and read the difference.
func TestMessages(t *testing.T) {
	t.Parallel()
	for name, msg := range map[string]notifier.Message{
		"bet_won": betWon(), "race_soon": raceSoon(), "correction": correction(),
	} {
		for _, platform := range []devices.Platform{devices.Android, devices.IOS, devices.Web} {
			t.Run(name+"/"+string(platform), func(t *testing.T) {
				t.Parallel()
				m, cut, refused := testBuilder().build(pushOf(platform, msg), noon)
				require.Nil(t, refused)
				require.False(t, cut)
				var got bytes.Buffer
				enc := json.NewEncoder(&got)
				enc.SetIndent("", "  ")
				require.NoError(t, enc.Encode(map[string]any{"message": m}))

				file := filepath.Join("testdata", "message_"+string(platform)+"_"+name+".json")
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

func pushOf(platform devices.Platform, msg notifier.Message) notifier.Push {
	return notifier.Push{
		Platform: platform,
		Target:   devices.Target{Kind: devices.FCMToken, Value: "c2VjcmV0:APA91bToken"},
		Message:  msg,
	}
}

// TestTimeToLive: whole seconds of what is left, on each platform, and never
// more than FCM keeps.
func TestTimeToLive(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		left  time.Duration
		ttl   string
		until int64
	}{
		{"five minutes", 5 * time.Minute, "300", noon.Unix() + 300},
		{"cut down", 4*time.Minute + 59*time.Second + 999*time.Millisecond, "299", noon.Unix() + 300},
		{"now or never", 300 * time.Millisecond, "0", noon.Unix()},
		{"28 days at most", 90 * 24 * time.Hour, "2419200", noon.Unix() + 2419200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			msg := raceSoon()
			msg.ExpiresAt = noon.Add(tc.left)
			web := mustBuild(t, devices.Web, msg)
			require.Equal(t, tc.ttl, web.Webpush.Headers["TTL"])
			var android struct {
				Android struct {
					TTL string `json:"ttl"`
				} `json:"android"`
			}
			b, err := json.Marshal(mustBuild(t, devices.Android, msg))
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(b, &android))
			require.Equal(t, tc.ttl+"s", android.Android.TTL)
			ios := mustBuild(t, devices.IOS, msg)
			require.Equal(t, time.Unix(tc.until, 0).UTC().Unix(), mustInt(t, ios.APNS.Headers["apns-expiration"]))
		})
	}
}

func mustInt(t *testing.T, s string) int64 {
	t.Helper()
	var n int64
	require.NoError(t, json.Unmarshal([]byte(s), &n))
	return n
}

func mustBuild(t *testing.T, platform devices.Platform, msg notifier.Message) *messaging.Message {
	t.Helper()
	m, _, refused := testBuilder().build(pushOf(platform, msg), noon)
	require.Nil(t, refused)
	return m
}

// TestUrgencyAndChannel covers what the golden files do not.
func TestUrgencyAndChannel(t *testing.T) {
	t.Parallel()
	msg := raceSoon()
	msg.Urgency, msg.Category = notifier.Normal, "promo"
	require.Equal(t, "normal", mustBuild(t, devices.Android, msg).Android.Priority)
	require.Equal(t, "promo", mustBuild(t, devices.Android, msg).Android.Notification.ChannelID)
	require.Equal(t, "5", mustBuild(t, devices.IOS, msg).APNS.Headers["apns-priority"])
	require.Equal(t, "normal", mustBuild(t, devices.Web, msg).Webpush.Headers["Urgency"])
}

// TestWebLink: FCM takes https only, and the SDK fails on everything else.
func TestWebLink(t *testing.T) {
	t.Parallel()
	for link, want := range map[string]bool{
		"https://bets.example/bet/1": true, "http://bets.example": false, "app://race/1": false,
		"": false, "https:": false, "://": false, "https://bets example": false,
	} {
		msg := betWon()
		msg.Link = link
		m := mustBuild(t, devices.Web, msg)
		require.Equal(t, want, m.Webpush.FCMOptions != nil, link)
	}
}

// TestNoThread: nothing of a message without thread is marked for replacement.
func TestNoThread(t *testing.T) {
	t.Parallel()
	msg := raceSoon()
	msg.Thread = ""
	require.Empty(t, mustBuild(t, devices.Android, msg).Android.CollapseKey)
	require.NotContains(t, mustBuild(t, devices.IOS, msg).APNS.Headers, "apns-collapse-id")
	web := mustBuild(t, devices.Web, msg)
	require.NotContains(t, web.Webpush.Headers, "Topic")
	require.Nil(t, web.Webpush.Notification)
}

func TestReservedDataKeys(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "nid", "seq", "thread", "category", "class", "link", "from", "message_type", "aps", "google", "google.x", "googleish", "gcm", "gcm.notification.e"} {
		require.True(t, notifier.ReservedDataKey(key), key)
	}
	for _, key := range []string{"race", "fromage", "notification", "Google", "token", "nids"} {
		require.False(t, notifier.ReservedDataKey(key), key)
	}
}

// TestCutsBody: the body is cut, in whole characters, to exactly what fits.
func TestCutsBody(t *testing.T) {
	t.Parallel()
	for name, unit := range map[string]string{
		"ascii": "a", "two bytes": "é", "three bytes": "馬", "four bytes": "🏇",
		"escaped": `"`, "escaped for HTML": "<", "control": "\x01", "line separator": "\u2028",
		"not UTF-8": "\xff", "replacement character": "\ufffd",
	} {
		for _, platform := range []devices.Platform{devices.Android, devices.IOS, devices.Web} {
			t.Run(name+"/"+string(platform), func(t *testing.T) {
				t.Parallel()
				msg := betWon()
				msg.Body = strings.Repeat(unit, 5000)
				m, cut, refused := testBuilder().build(pushOf(platform, msg), noon)
				require.Nil(t, refused)
				require.True(t, cut)
				size, err := payloadSize(m)
				require.NoError(t, err)
				require.LessOrEqual(t, size, maxPayload)
				require.Greater(t, size, maxPayload-6, "more was cut than had to be")
				short, found := strings.CutSuffix(m.Notification.Body, "…")
				require.True(t, found)
				require.True(t, strings.HasPrefix(msg.Body, short))
				require.Zero(t, len(short)%len(unit), "cut inside a character")
			})
		}
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
		platform := rapid.SampledFrom([]devices.Platform{devices.Android, devices.IOS, devices.Web}).Draw(t, "platform")
		m, cut, refused := testBuilder().build(pushOf(platform, msg), noon)
		if refused != nil {
			require.Equal(t, CodePayloadTooLarge, refused.Code)
			return
		}
		size, err := payloadSize(m)
		require.NoError(t, err)
		require.LessOrEqual(t, size, maxPayload)
		require.GreaterOrEqual(t, roughSize(m), size, "the cheap bound is no bound")
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

// TestEncodedLen agrees with the encoder that the SDK uses.
func TestEncodedLen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "s")
		b, err := json.Marshal(s)
		require.NoError(t, err)
		require.Equal(t, len(b)-2, encodedLen(s))
	})
}

func BenchmarkBuild(b *testing.B) {
	for _, platform := range []devices.Platform{devices.Android, devices.IOS, devices.Web} {
		b.Run(string(platform), func(b *testing.B) {
			p := pushOf(platform, betWon())
			b.ReportAllocs()
			for b.Loop() {
				if _, _, refused := testBuilder().build(p, noon); refused != nil {
					b.Fatal(refused)
				}
			}
		})
	}
	b.Run("cut", func(b *testing.B) {
		msg := betWon()
		msg.Body = strings.Repeat("🏇 ", 2000)
		p := pushOf(devices.Android, msg)
		b.ReportAllocs()
		for b.Loop() {
			if _, cut, _ := testBuilder().build(p, noon); !cut {
				b.Fatal("not cut")
			}
		}
	})
}
