package fcm_test

import (
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/fcm"
	standin "github.com/bugle-push/bugle/sandbox/fcm"
)

// These tests speak to the stand-in through the unmodified SDK over a socket.

func startStandIn(t *testing.T, cfg standin.Config) *standin.Server {
	t.Helper()
	srv, err := standin.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv
}

func senderFor(t *testing.T, srv *standin.Server, change func(*fcm.Config)) *fcm.Sender {
	t.Helper()
	cfg := fcm.Config{
		ProjectID: srv.ProjectID(), CredentialsJSON: srv.CredentialsJSON(), URL: srv.URL(),
		Timeout: 5 * time.Second, Log: zerolog.Nop(),
	}
	if change != nil {
		change(&cfg)
	}
	return startSender(t, cfg)
}

func pushTo(platform devices.Platform, kind devices.TargetKind, target string) notifier.Push {
	p := push()
	p.Platform = platform
	p.Target = devices.Target{Kind: kind, Value: devices.Secret(target)}
	return p
}

// TestStandInAccepts: the stand-in, which checks what FCM checks, takes each
// kind of message on each platform and sees what was meant.
func TestStandInAccepts(t *testing.T) {
	t.Parallel()
	srv := startStandIn(t, standin.Config{})
	s := senderFor(t, srv, nil)
	seen := 0
	for _, platform := range []devices.Platform{devices.Android, devices.IOS, devices.Web} {
		for _, perishable := range []bool{false, true} {
			for kind, target := range map[devices.TargetKind]string{
				devices.FCMToken: srv.MintToken(string(platform)), devices.FCMFID: srv.MintFID(string(platform)),
			} {
				p := pushTo(platform, kind, target)
				p.Message.Perishable = perishable
				p.Message.Link = "https://bets.example/bet/1?a=1&b=<2>"
				out := s.Send(t.Context(), p)
				require.Equal(t, notifier.VerdictSent, out.Verdict, "%s %s: %v", platform, kind, out.Err)
				seen++
				records := srv.Accepted()
				require.Len(t, records, seen)
				got := records[seen-1]
				require.Equal(t, got.Name, out.ProviderID)
				require.Equal(t, target, got.Target())
				require.Equal(t, "4711", got.NID)
				require.Equal(t, testTitle, got.Title)
				require.Equal(t, testBody, got.Body)
				require.Equal(t, "b-1", got.Data["bet"])
				require.Equal(t, p.Message.Link, got.Data["link"])
				require.WithinDuration(t, p.Message.ExpiresAt, got.Expiration, 3*time.Second)
				switch platform {
				case devices.Android, devices.Web:
					require.Equal(t, p.Message.Thread, got.Tag)
				case devices.IOS:
					require.Equal(t, p.Message.Thread, got.CollapseID)
				}
				if platform == devices.Android && perishable {
					require.Equal(t, p.Message.Thread, got.CollapseKey)
				} else {
					require.Empty(t, got.CollapseKey)
				}
			}
		}
	}
}

// TestStandInTakesLargestMessages: what we cut to fit does fit.
func TestStandInTakesLargestMessages(t *testing.T) {
	t.Parallel()
	srv := startStandIn(t, standin.Config{})
	s := senderFor(t, srv, nil)
	for _, platform := range []devices.Platform{devices.Android, devices.IOS, devices.Web} {
		for _, unit := range []rune{'a', '"', '<', '馬', '🏇'} {
			p := pushTo(platform, devices.FCMToken, srv.MintToken(string(platform)))
			body := make([]rune, 5000)
			for i := range body {
				body[i] = unit
			}
			p.Message.Body = string(body)
			out := s.Send(t.Context(), p)
			require.Equal(t, notifier.VerdictSent, out.Verdict, "%s %c: %v", platform, unit, out.Err)
		}
	}
}

// TestStandInFaults: each fault comes to its verdict with one request, and what
// was accepted behind a fault is repeated with the same ids.
func TestStandInFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind    standin.Kind
		verdict notifier.Verdict
		code    string
	}{
		{standin.QuotaFCM, notifier.VerdictRetry, fcm.CodeQuotaExceeded},
		{standin.QuotaProject, notifier.VerdictRetry, fcm.CodeQuotaExceeded},
		{standin.QuotaBare, notifier.VerdictRetry, fcm.CodeQuotaExceeded},
		{standin.Unavailable, notifier.VerdictUnknown, fcm.CodeUnavailable},
		{standin.UnavailableBare, notifier.VerdictUnknown, fcm.CodeUnavailable},
		{standin.Internal, notifier.VerdictUnknown, fcm.CodeInternal},
		{standin.InternalHTML, notifier.VerdictUnknown, fcm.CodeInternal},
		{standin.BadGatewayHTML, notifier.VerdictUnknown, fcm.CodeBadGateway},
		{standin.GatewayTimeoutHTML, notifier.VerdictUnknown, fcm.CodeGatewayTimeout},
		{standin.ThirdPartyAuth, notifier.VerdictBlocked, fcm.CodeThirdPartyAuth},
		{standin.PermissionDenied, notifier.VerdictBlocked, fcm.CodePermissionDenied},
		{standin.ServiceDisabled, notifier.VerdictBlocked, fcm.CodeServiceDisabled},
		{standin.Reset, notifier.VerdictUnknown, fcm.CodeConnectionLost},
		{standin.Hang, notifier.VerdictUnknown, fcm.CodeTimeout},
		{standin.ResetAfterAccept, notifier.VerdictUnknown, fcm.CodeConnectionLost},
		{standin.UnavailableAfterAccept, notifier.VerdictUnknown, fcm.CodeUnavailable},
		{standin.HangAfterAccept, notifier.VerdictUnknown, fcm.CodeTimeout},
		{standin.GoAway, notifier.VerdictSent, fcm.CodeAccepted},
	} {
		for _, secure := range []bool{false, true} {
			name := string(tc.kind) + "/h1"
			if secure {
				name = string(tc.kind) + "/h2"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				srv := startStandIn(t, standin.Config{TLSAddr: "127.0.0.1:0"})
				s := senderFor(t, srv, func(c *fcm.Config) {
					if secure {
						c.URL = srv.TLSURL()
						c.TLS = &tls.Config{RootCAs: srv.CertPool(), MinVersion: tls.VersionTLS12}
					}
					if tc.code == fcm.CodeTimeout {
						c.Timeout = 3 * time.Second // within which it is sent
					}
				})
				p := pushTo(devices.Android, devices.FCMToken, srv.MintToken(standin.Android))
				// The connection has been used before the fault strikes.
				warm := pushTo(devices.Web, devices.FCMToken, srv.MintToken(standin.Web))
				require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), warm).Verdict)

				require.NoError(t, srv.Inject(standin.FaultRule{Kind: tc.kind, RetryAfterMin: 3 * time.Second, RetryAfterMax: 3 * time.Second}))
				out := s.Send(t.Context(), p)
				require.Equal(t, tc.verdict, out.Verdict, "%v", out.Err)
				require.Equal(t, tc.code, out.Code, "%v", out.Err)
				require.EqualValues(t, 2, srv.Stats().Sends)
				switch tc.code {
				case fcm.CodeQuotaExceeded, fcm.CodeUnavailable:
					require.Equal(t, 3*time.Second, out.After)
				}

				// The dispatcher's repeat.
				out = s.Send(t.Context(), p)
				require.Equal(t, notifier.VerdictSent, out.Verdict, "%v", out.Err)
				require.EqualValues(t, 3, srv.Stats().Sends)
				for _, r := range srv.Repeats() {
					if tc.kind != standin.GoAway { // which was answered, and repeated here all the same
						require.True(t, r.Excused)
					}
					require.True(t, r.SameIDs)
				}
			})
		}
	}
}

// TestStandInTargets: what is said about a target.
func TestStandInTargets(t *testing.T) {
	t.Parallel()
	srv := startStandIn(t, standin.Config{})
	s := senderFor(t, srv, nil)
	unregistered := srv.MintToken(standin.Android)
	srv.Unregister(unregistered)
	apns := func(f standin.APNsFailure) string {
		token := srv.MintToken(standin.IOS)
		srv.SetAPNs(token, f)
		return token
	}
	for _, tc := range []struct {
		name     string
		platform devices.Platform
		target   string
		verdict  notifier.Verdict
		code     string
	}{
		{"unregistered", devices.Android, unregistered, notifier.VerdictGone, fcm.CodeUnregistered},
		{"malformed", devices.Android, "not-a-token", notifier.VerdictGone, fcm.CodeInvalidToken},
		{"foreign", devices.Android, srv.MintForeignToken(standin.Android), notifier.VerdictRejected, fcm.CodeSenderIDMismatch},
		{"APNs unregistered", devices.IOS, apns(standin.APNsUnregistered), notifier.VerdictGone, fcm.CodeAPNsUnregistered},
		{"APNs disabled", devices.IOS, apns(standin.APNsDisabled), notifier.VerdictGone, fcm.CodeAPNsUnregistered},
		{"APNs bad token", devices.IOS, apns(standin.APNsBadDeviceToken), notifier.VerdictGone, fcm.CodeAPNsBadDeviceToken},
		{"APNs provider token", devices.IOS, apns(standin.APNsInvalidProviderToken), notifier.VerdictBlocked, fcm.CodeThirdPartyAuth},
		{"APNs environment", devices.IOS, apns(standin.APNsBadEnvironment), notifier.VerdictBlocked, fcm.CodeThirdPartyAuth},
	} {
		out := s.Send(t.Context(), pushTo(tc.platform, devices.FCMToken, tc.target))
		require.Equal(t, tc.verdict, out.Verdict, "%s: %v", tc.name, out.Err)
		require.Equal(t, tc.code, out.Code, tc.name)
	}
	require.Empty(t, srv.Accepted())
}

// TestStandInWrongProject: a wrong project retires nothing.
func TestStandInWrongProject(t *testing.T) {
	t.Parallel()
	srv := startStandIn(t, standin.Config{})
	s := senderFor(t, srv, func(c *fcm.Config) { c.ProjectID = "another" })
	out := s.Send(t.Context(), pushTo(devices.Android, devices.FCMToken, srv.MintToken(standin.Android)))
	require.Equal(t, notifier.VerdictBlocked, out.Verdict, "%s: %v", out.Code, out.Err)
}

// TestStandInRevokesTokens: one send pays for a revoked access token.
func TestStandInRevokesTokens(t *testing.T) {
	t.Parallel()
	srv := startStandIn(t, standin.Config{})
	s := senderFor(t, srv, nil)
	p := pushTo(devices.Android, devices.FCMToken, srv.MintToken(standin.Android))
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
	srv.RevokeBearers()
	out := s.Send(t.Context(), p)
	require.Equal(t, notifier.VerdictRetry, out.Verdict)
	require.Equal(t, fcm.CodeTokenStale, out.Code)
	require.Equal(t, notifier.VerdictSent, s.Send(t.Context(), p).Verdict)
	require.EqualValues(t, 2, srv.Stats().Tokens)
}

// TestStandInHarsh sends many at once on a bad day, repeating as a dispatcher
// would: every message arrives, and only those whose answer was lost twice.
func TestStandInHarsh(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		name := map[bool]string{false: "h1", true: "h2"}[secure]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := startStandIn(t, standin.Config{TLSAddr: "127.0.0.1:0", Seed: 7, Faults: standin.Harsh()})
			s := senderFor(t, srv, func(c *fcm.Config) {
				c.MaxInFlight = 200
				// No timeout may strike on a busy machine: an answer that was
				// written and not read in time counts as given.
				c.Timeout, c.DialTimeout = time.Minute, time.Minute
				if secure {
					c.URL = srv.TLSURL()
					c.TLS = &tls.Config{RootCAs: srv.CertPool(), MinVersion: tls.VersionTLS12}
				}
			})
			const messages = 600
			attempts := make([]int, messages)
			var wg sync.WaitGroup
			for i := range messages {
				token := srv.TokenAt(standin.Android, uint32(i))
				wg.Go(func() {
					p := pushTo(devices.Android, devices.FCMToken, token)
					p.Message.NotificationID = notifier.NotificationID(i + 1)
					for range 10 {
						attempts[i]++
						out := s.Send(t.Context(), p)
						switch out.Verdict {
						case notifier.VerdictSent:
							return
						case notifier.VerdictRetry, notifier.VerdictUnknown:
						default:
							t.Errorf("message %d: %s %v", i, out.Verdict, out.Err)
							return
						}
					}
					t.Errorf("message %d never arrived", i)
				})
			}
			wg.Wait()

			total := 0
			for _, n := range attempts {
				total += n
			}
			stats := srv.Stats()
			require.EqualValues(t, total, stats.Sends, "requests of the attempts")
			accepted := map[string]bool{}
			for _, a := range srv.Accepted() {
				accepted[a.NID] = true
			}
			require.Len(t, accepted, messages)
			require.NotZero(t, stats.AfterAccept, "no fault struck")
			for _, r := range srv.Repeats() {
				require.True(t, r.Excused, "a message was repeated although it was answered")
				require.True(t, r.SameIDs)
			}
		})
	}
}
