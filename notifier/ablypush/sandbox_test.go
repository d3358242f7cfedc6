package ablypush_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ablypush"
	"github.com/bugle-push/bugle/sandbox/ably"
)

func startAbly(t *testing.T, cfg ably.Config) *ably.Server {
	t.Helper()
	s, err := ably.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func senderTo(t *testing.T, s *ably.Server) *ablypush.Sender {
	t.Helper()
	return newSender(t, s.URL(), func(c *ablypush.Config) { c.Key = devices.Secret(s.Key()) })
}

func pushToDevice(id string) notifier.Push {
	p := push()
	p.Target.Value = devices.Secret(id)
	return p
}

// TestEachTransport: one push, and what arrives on each kind of device.
func TestEachTransport(t *testing.T) {
	t.Parallel()
	srv := startAbly(t, ably.Config{})
	s := senderTo(t, srv)
	want := push()
	for _, platform := range []string{ably.Android, ably.IOS, ably.Browser} {
		srv.MintDevice(testClient, platform)
	}
	want.Target = devices.Target{Kind: devices.AblyClient, Value: testClient}
	want.Message.Perishable = true
	out := s.Send(t.Context(), want)
	require.Equal(t, notifier.VerdictSent, out.Verdict, "%v", out.Err)

	got := srv.Accepted()
	require.Len(t, got, 3)
	for _, a := range got {
		require.True(t, a.Delivered(), "code %d on %s", a.Code, a.Transport)
		require.Equal(t, testTitle, a.Title)
		require.Equal(t, testBody, a.Body)
		require.Equal(t, map[string]string{
			"nid": "4711", "seq": "4711", "thread": "b1ByRx3kQ0a", "category": "win", "class": "transactional",
			"link": "app://bet/b-1", "bet": "b-1",
		}, a.Data, a.Transport)
		switch a.Transport {
		case "fcm":
			require.Equal(t, "b1ByRx3kQ0a", a.Tag)
			require.Equal(t, "b1ByRx3kQ0a", a.CollapseKey)
		case "apns":
			require.Equal(t, "b1ByRx3kQ0a", a.CollapseID)
			require.Equal(t, "win", a.ThreadID)
			require.Equal(t, "alert", a.Headers["apns-push-type"])
		case "web":
			require.Equal(t, "b1ByRx3kQ0a", a.Tag)
		default:
			t.Error("unexpected transport", a.Transport)
		}
	}
}

// TestLongBodyArrives: what is cut here is not refused by a provider.
func TestLongBodyArrives(t *testing.T) {
	t.Parallel()
	srv := startAbly(t, ably.Config{})
	s := senderTo(t, srv)
	for _, platform := range []string{ably.Android, ably.IOS, ably.Browser} {
		for _, unit := range []string{"a", "🏇", "<", `"`, "é"} {
			p := pushToDevice(srv.MintDevice("", platform))
			p.Message.Body = strings.Repeat(unit, 5000)
			require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
		}
	}
	for _, a := range srv.Accepted() {
		require.Zero(t, a.Code, "%s refused %d bytes", a.Transport, len(a.Payload))
	}
}

// TestStandInRefusals: verdicts for what the stand-in refuses.
func TestStandInRefusals(t *testing.T) {
	t.Parallel()
	srv := startAbly(t, ably.Config{Keys: []ably.Key{
		{ID: "root"}, {ID: "publisher", Capability: map[string][]string{"*": {"publish"}}},
	}})
	device := srv.MintDevice("", ably.Android)
	removed := srv.MintDevice("", ably.Android)
	srv.RemoveDevice(removed)
	for _, tc := range []struct {
		name, key, device string
		verdict           notifier.Verdict
		code              string
	}{
		{"accepted", srv.Key(), device, notifier.VerdictSent, ablypush.CodeAccepted},
		{"removed device", srv.Key(), removed, notifier.VerdictGone, ablypush.CodeDeviceNotFound},
		{"no push-admin", srv.KeyOf("publisher"), device, notifier.VerdictBlocked, ablypush.CodePermissionDenied},
		{"wrong secret", srv.AppID() + ".root:wrong", device, notifier.VerdictBlocked, ablypush.CodeUnauthenticated},
		{"no such key", srv.AppID() + ".nobody:wrong", device, notifier.VerdictBlocked, ""},
		{"no such application", "other0.root:wrong", removed, notifier.VerdictBlocked, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSender(t, srv.URL(), func(c *ablypush.Config) { c.Key = devices.Secret(tc.key) })
			out := s.Send(t.Context(), pushToDevice(tc.device))
			require.Equal(t, tc.verdict, out.Verdict, "%v", out.Err)
			if tc.code != "" {
				require.Equal(t, tc.code, out.Code)
			}
		})
	}
}

// TestStandInFaults: verdicts for what goes wrong on the way.
func TestStandInFaults(t *testing.T) {
	t.Parallel()
	for kind, want := range map[ably.Kind]struct {
		verdict notifier.Verdict
		code    string
	}{
		ably.RateRequests:           {notifier.VerdictRetry, ablypush.CodeRateLimited},
		ably.RateGeneric:            {notifier.VerdictRetry, ablypush.CodeRateLimited},
		ably.RateEdge:               {notifier.VerdictRetry, ablypush.CodeRateLimited},
		ably.AccountBlocked:         {notifier.VerdictBlocked, ablypush.CodeAccountBlocked},
		ably.TokenExpired:           {notifier.VerdictBlocked, ablypush.CodeUnauthenticated},
		ably.Internal:               {notifier.VerdictUnknown, ablypush.CodeServerError},
		ably.Unavailable:            {notifier.VerdictUnknown, ablypush.CodeServerError},
		ably.BadGatewayHTML:         {notifier.VerdictUnknown, ablypush.CodeServerError},
		ably.GatewayTimeoutHTML:     {notifier.VerdictUnknown, ablypush.CodeServerError},
		ably.Reset:                  {notifier.VerdictUnknown, ablypush.CodeConnectionLost},
		ably.Hang:                   {notifier.VerdictUnknown, ablypush.CodeTimeout},
		ably.ResetAfterAccept:       {notifier.VerdictUnknown, ablypush.CodeConnectionLost},
		ably.UnavailableAfterAccept: {notifier.VerdictUnknown, ablypush.CodeServerError},
		ably.HangAfterAccept:        {notifier.VerdictUnknown, ablypush.CodeTimeout},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			srv := startAbly(t, ably.Config{})
			device := srv.MintDevice("", ably.Android)
			require.NoError(t, srv.Inject(kind))
			s := newSender(t, srv.URL(), func(c *ablypush.Config) {
				c.Key, c.Timeout = devices.Secret(srv.Key()), 3*time.Second
			})
			out := s.Send(t.Context(), pushToDevice(device))
			require.Equal(t, want.verdict, out.Verdict, "%v", out.Err)
			require.Equal(t, want.code, out.Code)
			require.EqualValues(t, 1, srv.Stats().Publishes)
			s.Send(t.Context(), pushToDevice(device))
			for _, r := range srv.Repeats() {
				require.True(t, r.SameIDs, "a repeat does not replace")
				require.True(t, r.Excused)
			}
		})
	}
}
