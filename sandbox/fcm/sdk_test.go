package fcm_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	firebase "firebase.google.com/go/v4"
	"firebase.google.com/go/v4/errorutils"
	"firebase.google.com/go/v4/messaging"
	"github.com/stretchr/testify/require"
	"google.golang.org/api/option"

	"github.com/bugle-push/bugle/sandbox/fcm"
)

// sdk returns the unmodified Firebase client, led to the server by its public
// options only.
func sdk(t *testing.T, srv *fcm.Server, opts ...option.ClientOption) *messaging.Client {
	t.Helper()
	if len(opts) == 0 {
		opts = []option.ClientOption{option.WithAuthCredentialsJSON(option.ServiceAccount, srv.CredentialsJSON())}
	}
	app, err := firebase.NewApp(t.Context(), &firebase.Config{ProjectID: srv.ProjectID()},
		append([]option.ClientOption{option.WithEndpoint(srv.URL())}, opts...)...)
	require.NoError(t, err)
	client, err := app.Messaging(t.Context())
	require.NoError(t, err)
	return client
}

func TestSDKSends(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	client := sdk(t, srv)
	off := time.Now().Add(5 * time.Minute).Truncate(time.Second)
	msg := func(token string) *messaging.Message {
		return &messaging.Message{
			Token:        token,
			Notification: &messaging.Notification{Title: "Kempton 15:05 in 5 min", Body: "Your pick: <Blue Heron>"},
			Data:         map[string]string{"nid": "n1", "link": "app://race/kmp-1505"},
			Android: &messaging.AndroidConfig{
				Priority: "high", TTL: new(298*time.Second + 700*time.Millisecond), CollapseKey: "race-kmp-1505",
				Notification: &messaging.AndroidNotification{
					ChannelID: "race_alerts", Tag: "race-kmp-1505", Color: "#00ff00",
					Visibility: messaging.VisibilityPublic, Priority: messaging.PriorityHigh, EventTimestamp: &off,
					VibrateTimingMillis: []int64{100, 1500},
					LightSettings:       &messaging.LightSettings{Color: "#112233", LightOnDurationMillis: 5, LightOffDurationMillis: 7},
				},
			},
			APNS: &messaging.APNSConfig{
				Headers: map[string]string{
					"apns-push-type": "alert", "apns-priority": "10", "apns-collapse-id": "race-kmp-1505",
					"apns-expiration": "4102444800",
				},
				Payload: &messaging.APNSPayload{Aps: &messaging.Aps{
					Sound: "default", ThreadID: "races",
					CustomData: map[string]any{"interruption-level": "time-sensitive", "relevance-score": 0.9},
				}},
			},
			Webpush: &messaging.WebpushConfig{
				Headers:      map[string]string{"TTL": "298", "Urgency": "high", "Topic": "kmp-1505"},
				Notification: &messaging.WebpushNotification{Tag: "web-kmp-1505", Renotify: true},
				FCMOptions:   &messaging.WebpushFCMOptions{Link: "https://bets.example/race/kmp-1505"},
			},
		}
	}
	for i, platform := range []string{fcm.Android, fcm.IOS, fcm.Web} {
		token := srv.MintToken(platform)
		require.Len(t, token, 142)
		require.Regexp(t, `^[c-f][A-Za-z0-9_-]{21}:APA91b[A-Za-z0-9_-]{113}$`, token)

		name, err := client.Send(t.Context(), msg(token))
		require.NoError(t, err, platform)
		require.Regexp(t, `^projects/`+srv.ProjectID()+`/messages/0:[0-9]{16}%[0-9a-f]{16}$`, name)

		got := srv.Accepted()
		require.Len(t, got, i+1)
		a := got[i]
		require.Equal(t, name, a.Name)
		require.Equal(t, platform, a.Platform)
		require.Equal(t, token, a.Target())
		require.Equal(t, "n1", a.NID)
		require.Equal(t, "Kempton 15:05 in 5 min", a.Title)
		require.Equal(t, "Your pick: <Blue Heron>", a.Body)
		require.Equal(t, map[string]string{"nid": "n1", "link": "app://race/kmp-1505"}, a.Data)
		require.Equal(t, "race-kmp-1505", a.CollapseID)
		require.Equal(t, "race-kmp-1505", a.CollapseKey)
		require.Equal(t, uint64(i+1), a.Seq)
		require.Equal(t, 1, a.Attempt)
		require.Equal(t, 1, a.Acceptance)
		require.False(t, a.AnswerLost)
		require.WithinDuration(t, time.Now(), a.At, time.Minute)
		switch platform {
		case fcm.Android:
			require.Equal(t, "race-kmp-1505", a.Tag)
			require.Equal(t, 298*time.Second, a.TTL, "a ttl is rounded down to whole seconds")
			require.Equal(t, "high", a.Priority)
		case fcm.IOS:
			require.Equal(t, time.Unix(4102444800, 0), a.Expiration)
			require.Equal(t, "10", a.Priority)
		case fcm.Web:
			require.Equal(t, "web-kmp-1505", a.Tag)
			require.Equal(t, 298*time.Second, a.TTL)
			require.Equal(t, a.At.Add(298*time.Second), a.Expiration)
		}
	}
	require.Equal(t, uint64(1), srv.Stats().Tokens, "one access token serves all sends")
}

func TestSDKDryRunLeavesNoRecord(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	client := sdk(t, srv)
	name, err := client.SendDryRun(t.Context(), &messaging.Message{Token: srv.MintToken(fcm.Web)})
	require.NoError(t, err)
	require.Equal(t, "projects/"+srv.ProjectID()+"/messages/fake_message_id", name)
	_, err = client.SendDryRun(t.Context(), &messaging.Message{Token: "a:b"})
	require.True(t, messaging.IsInvalidArgument(err))
	require.Empty(t, srv.Accepted())
}

func TestSDKTopicAndCondition(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	client := sdk(t, srv)
	for _, m := range []*messaging.Message{
		{Topic: "odds.evt-1~x%20"},
		{Condition: "'a' in topics && ('b' in topics || !('c' in topics))"},
	} {
		name, err := client.Send(t.Context(), m)
		require.NoError(t, err)
		require.Regexp(t, `/messages/[0-9]+$`, name)
	}
	require.Equal(t, "odds.evt-1~x%20", srv.Accepted()[0].Topic)
	require.NotEmpty(t, srv.Accepted()[1].Condition)
}

func TestSDKWithoutAuthentication(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{NoAuth: true})
	client := sdk(t, srv, option.WithoutAuthentication())
	_, err := client.Send(t.Context(), &messaging.Message{Token: srv.MintToken(fcm.Android)})
	require.NoError(t, err)
}

func TestSDKSendEach(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	client := sdk(t, srv)
	gone := srv.MintToken(fcm.Android)
	srv.Unregister(gone)
	tokens := []string{srv.MintToken(fcm.Android), gone, srv.MintToken(fcm.IOS)}
	res, err := client.SendEachForMulticast(t.Context(), &messaging.MulticastMessage{Tokens: tokens})
	require.NoError(t, err)
	require.Equal(t, 2, res.SuccessCount)
	require.True(t, messaging.IsUnregistered(res.Responses[1].Error))
}

// TestSDKErrors holds every error class against the SDK's helpers.
func TestSDKErrors(t *testing.T) {
	t.Parallel()
	type helper = func(error) bool
	is := map[string]helper{
		"unregistered": messaging.IsUnregistered, "invalid": messaging.IsInvalidArgument,
		"sender": messaging.IsSenderIDMismatch, "quota": messaging.IsQuotaExceeded,
		"unavailable": messaging.IsUnavailable, "internal": messaging.IsInternal,
		"third": messaging.IsThirdPartyAuthError,
	}
	cases := []struct {
		name     string
		set      func(*fcm.Server) string // returns the token to send to
		want     string                   // the one helper that answers true, or empty
		platform helper                   // the platform error code
		status   int
	}{
		{"unregistered", func(s *fcm.Server) string {
			token := s.MintToken(fcm.Android)
			s.Unregister(token)
			return token
		}, "unregistered", errorutils.IsNotFound, 404},
		{"never issued", func(*fcm.Server) string {
			return strings.Repeat("x", 22) + ":APA91b" + strings.Repeat("y", 113)
		}, "unregistered", errorutils.IsNotFound, 404},
		{"bad token", func(*fcm.Server) string { return "not-a-token" }, "invalid", errorutils.IsInvalidArgument, 400},
		{"foreign", func(s *fcm.Server) string { return s.MintForeignToken(fcm.IOS) }, "sender", errorutils.IsPermissionDenied, 403},
		{"apns unregistered", apns(fcm.APNsUnregistered), "unregistered", errorutils.IsNotFound, 404},
		{"apns disabled", apns(fcm.APNsDisabled), "invalid", errorutils.IsInvalidArgument, 400},
		{"apns bad token", apns(fcm.APNsBadDeviceToken), "invalid", errorutils.IsInvalidArgument, 400},
		{"apns key", apns(fcm.APNsInvalidProviderToken), "third", errorutils.IsUnauthenticated, 401},
		{"apns environment", apns(fcm.APNsBadEnvironment), "third", errorutils.IsUnauthenticated, 401},
		{"quota", inject(fcm.QuotaFCM), "quota", errorutils.IsResourceExhausted, 429},
		{"project quota has no FcmError", inject(fcm.QuotaProject), "", errorutils.IsResourceExhausted, 429},
		{"bare quota", inject(fcm.QuotaBare), "", errorutils.IsResourceExhausted, 429},
		{"internal", inject(fcm.Internal), "internal", errorutils.IsInternal, 500},
		{"internal page", inject(fcm.InternalHTML), "", errorutils.IsInternal, 500},
		{"bad gateway page", inject(fcm.BadGatewayHTML), "", errorutils.IsUnknown, 502},
		{"third party", inject(fcm.ThirdPartyAuth), "third", errorutils.IsUnauthenticated, 401},
		{"third party, misleading", inject(fcm.ThirdPartyAuthMisleading), "third", errorutils.IsUnauthenticated, 401},
		{"permission", inject(fcm.PermissionDenied), "", errorutils.IsPermissionDenied, 403},
		{"disabled", inject(fcm.ServiceDisabled), "", errorutils.IsPermissionDenied, 403},
		{"unavailable", func(s *fcm.Server) string {
			// A Retry-After beyond two minutes makes the SDK give up at once.
			_ = s.Inject(fcm.FaultRule{Kind: fcm.Unavailable, RetryAfterMin: 10 * time.Minute})
			return s.MintToken(fcm.Android)
		}, "unavailable", errorutils.IsUnavailable, 503},
		{"bare unavailable", func(s *fcm.Server) string {
			_ = s.Inject(fcm.FaultRule{Kind: fcm.UnavailableBare, RetryAfterMin: 10 * time.Minute})
			return s.MintToken(fcm.Android)
		}, "", errorutils.IsUnavailable, 503},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			srv := start(t, fcm.Config{})
			client := sdk(t, srv)
			_, err := client.Send(t.Context(), &messaging.Message{Token: tc.set(srv)})
			require.Error(t, err)
			for name, helper := range is {
				require.Equal(t, name == tc.want, helper(err), "helper %s on: %v", name, err)
			}
			require.True(t, tc.platform(err), "%v", err)
			require.Equal(t, tc.status, errorutils.HTTPResponse(err).StatusCode)
			require.Empty(t, srv.Accepted())
		})
	}
}

func apns(f fcm.APNsFailure) func(*fcm.Server) string {
	return func(s *fcm.Server) string {
		token := s.MintToken(fcm.IOS)
		s.SetAPNs(token, f)
		return token
	}
}

func inject(k fcm.Kind) func(*fcm.Server) string {
	return func(s *fcm.Server) string {
		_ = s.Inject(fcm.FaultRule{Kind: k})
		return s.MintToken(fcm.Android)
	}
}

// TestSDKRetriesByItself shows the repeat that no caller of the SDK asked for.
func TestSDKRetriesByItself(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	require.NoError(t, srv.Inject(fcm.FaultRule{Kind: fcm.ResetAfterAccept}))
	client := sdk(t, srv)
	_, err := client.Send(t.Context(), &messaging.Message{
		Token: srv.MintToken(fcm.Android), Data: map[string]string{"nid": "n1"},
	})
	require.NoError(t, err)
	reps := srv.Repeats()
	require.Len(t, reps, 1)
	require.Len(t, reps[0].Records, 2)
	require.True(t, reps[0].Excused)
	require.True(t, reps[0].SameIDs)
}

// sdkTopics leads the hard-coded address of topic management to the server.
type sdkTopics struct {
	srv    *fcm.Server
	bearer string
}

func (rt sdkTopics) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	base := strings.TrimPrefix(rt.srv.URL(), "http://")
	r.URL.Scheme, r.URL.Host = "http", base[:strings.IndexByte(base, '/')]
	r.Header.Set("Authorization", "Bearer "+rt.bearer)
	return http.DefaultTransport.RoundTrip(r)
}

func TestSDKTopicManagement(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	client := sdk(t, srv, option.WithHTTPClient(&http.Client{Transport: sdkTopics{srv, srv.MintBearer()}}))
	good, gone := srv.MintToken(fcm.Android), srv.MintToken(fcm.Android)
	srv.Unregister(gone)

	res, err := client.SubscribeToTopic(t.Context(), []string{good, gone, "nonsense"}, "races")
	require.NoError(t, err)
	require.Equal(t, 1, res.SuccessCount)
	require.Len(t, res.Errors, 2)
	require.Equal(t, []string{good}, srv.Subscriptions("races"))

	_, err = client.UnsubscribeFromTopic(t.Context(), []string{good}, "races")
	require.NoError(t, err)
	require.Empty(t, srv.Subscriptions("races"))
}
