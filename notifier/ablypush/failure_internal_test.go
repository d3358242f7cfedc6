package ablypush

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestParseFailure: the form of an event is not documented, so several are read,
// and none is taken for more than it says.
func TestParseFailure(t *testing.T) {
	t.Parallel()
	const plain = `{"deviceId":"d1","error":{"code":103005,"statusCode":400,"message":"m"}}`
	for _, tc := range []struct {
		name, encoding string
		data           any
		code           int
		device         string
	}{
		{name: "a text", data: plain, code: 103005, device: "d1"},
		{name: "a text marked as JSON", encoding: "json", data: plain, code: 103005, device: "d1"},
		{name: "bytes", data: []byte(plain), code: 103005, device: "d1"},
		{name: "base64", encoding: "json/utf-8/base64", data: base64.StdEncoding.EncodeToString([]byte(plain)), code: 103005, device: "d1"},
		{name: "decoded", data: map[string]any{"deviceId": "d1", "error": map[string]any{"code": 103005.0}}, code: 103005, device: "d1"},
		{name: "flat", data: `{"code":103006,"deviceId":"d1"}`, code: 103006, device: "d1"},
		{name: "code as text", data: `{"errorCode":"103008"}`, code: 103008},
		{name: "recipient", data: `{"recipient":{"deviceId":"d1"},"errorInfo":{"code":103005}}`, code: 103005, device: "d1"},
		{name: "device object", data: `{"device":{"id":"d1","clientId":"u"},"reason":{"code":103005}}`, code: 103005, device: "d1"},
		{name: "envelope", data: `{"data":` + plain + `}`, code: 103005, device: "d1"},
		{name: "client only", data: `{"clientId":"u","error":{"code":103005}}`, code: 103005},
		{name: "the outer code counts", data: `{"deviceId":"d1","error":{"code":103001,"cause":{"code":103005}}}`, code: 103001, device: "d1"},
		{name: "two devices", data: `{"error":{"code":103005},"a":{"deviceId":"d1"},"b":{"deviceId":"d2"}}`, code: 103005},
		{name: "two codes", data: `{"deviceId":"d1","a":{"code":103005},"b":{"code":103001}}`, device: "d1"},
		{name: "what was pushed", data: `{"error":{"code":103004},"payload":{"data":{"deviceId":"d9","code":"103005"}},"notification":{"deviceId":"d9"}}`, code: 103004},
		{name: "what was pushed, as data", data: `{"push":{"data":{"deviceId":"d9","code":"103005"}}}`},
		{name: "an HTTP status", data: `{"code":404,"deviceId":"d1"}`, device: "d1"},
		{name: "no JSON", data: "device d1: 103005"},
		{name: "bad base64", encoding: "base64", data: "!"},
		{name: "nothing", data: nil},
		{name: "a list", data: `[` + plain + `]`, code: 103005, device: "d1"},
		{name: "too deep", data: strings.Repeat(`{"a":`, 20) + plain + strings.Repeat(`}`, 20)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := parseFailure("id", noon, tc.data, tc.encoding)
			require.Equal(t, failure{id: "id", at: noon, code: tc.code, device: tc.device}, f)
		})
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	require.Equal(t, FailureUnreadable, label(0))
	require.Equal(t, FailureOther, label(40180))
	require.Equal(t, "103005", label(103005))
	for _, code := range []int{
		failureInternal, failureExhausted, failureNoRecipient, failureBadBody, failurePayload, failureToken,
		failureNotConfigured, failureUnreachable, failureCredentials, failureRate,
	} {
		require.NotEqual(t, FailureOther, label(code))
	}
}

func FuzzParseFailure(f *testing.F) {
	for _, s := range []string{`{"deviceId":"d1","error":{"code":103005}}`, `[]`, `"`, `{"data":{"data":1}}`, "null", `{"code":1e99}`} {
		f.Add(s, "json")
		f.Add(s, "base64")
	}
	f.Fuzz(func(t *testing.T, data, encoding string) {
		got := parseFailure("", noon, data, encoding)
		if got.device != "" && encoding == "" && !strings.Contains(data, "evice") {
			t.Fatalf("device out of nothing: %q", data)
		}
		if got.code != 0 && (got.code < 10_000 || got.code > 999_999) {
			t.Fatalf("code %d", got.code)
		}
	})
}

// TestSeen: bounded, and never forgets one of the last max.
func TestSeen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := seen{max: rapid.IntRange(1, 8).Draw(t, "max")}
		var order []string // by last use, distinct, the latest last
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 20), 0, 60).Draw(t, "keys") {
			key := fmt.Sprint(n)
			at := -1
			for i, k := range order {
				if k == key {
					at = i
				}
			}
			isNew := s.add(key)
			if at < 0 {
				require.True(t, isNew, "a key that was never given")
			} else {
				if len(order)-at <= s.max {
					require.False(t, isNew, "forgotten too early")
				}
				order = append(order[:at:at], order[at+1:]...)
			}
			order = append(order, key)
			require.LessOrEqual(t, len(s.young)+len(s.old), 2*s.max)
		}
	})
}

// TestRedact: forms in which ably-go shows a key.
func TestRedact(t *testing.T) {
	t.Parallel()
	r := newRedactor("app1.key1:s3cret+/=part")
	for _, s := range []string{
		`failed to WebSocket dial: failed to send handshake request: Get "http://127.0.0.1:1/?echo=true&key=app1.key1%3As3cret%2B%2F%3Dpart&v=4": dial tcp: connection refused`,
		"key=app1.key1:s3cret+/=part", "Authorization: Basic YXBwMS5rZXkxOnMzY3JldCsvPXBhcnQ=",
		"access_token=eyJhbGciOi.s3cret+/=part", "accessToken=s3cret%2B%2F%3Dpart", "the secret s3cret+/=part itself",
		`wss://h/?resume=s3cret%2B%2F%3Dpart&recover=x`,
	} {
		got := r.text(s)
		for _, secret := range []string{"s3cret", "YXBwMS5rZXkxOnMzY3JldCsvPXBhcnQ", "eyJhbGciOi"} {
			require.NotContains(t, got, secret)
		}
	}
	require.Equal(t, `Get "http://127.0.0.1:1/?[redacted]": connection refused`, r.text(`Get "http://127.0.0.1:1/?timestamp=1&key=k": connection refused`))
	require.Equal(t, "nothing to hide", r.text("nothing to hide"))
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for n := 1; n < 100; n++ {
		d := backoff(n)
		require.GreaterOrEqual(t, d, 500*time.Millisecond)
		require.LessOrEqual(t, d, backoffMax+backoffMax/2)
	}
}
