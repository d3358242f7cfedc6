package fcm_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/fcm"
)

// Bodies of the refusals as captured from, or documented for, the live
// service, without their indentation.
const (
	noRecipient    = `{"error":{"code":400,"message":"Recipient of the message is not set.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message","description":"Recipient of the message is not set."}]},{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"}]}}`
	badTopic       = `{"error":{"code":400,"message":"Topic name contains invalid characters.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message","description":"Topic name contains invalid characters."}]},{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"}]}}`
	badCondition   = `{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT"}}`
	tooBig         = `{"error":{"code":400,"message":"Message is too large. The maximum is 4K (4096 bytes).","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest"},{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"}]}}`
	badWebTTL      = `{"error":{"code":400,"message":"TTL must be a non-negative integer.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.webpush.headers.TTL","description":"TTL must be a non-negative integer."}]},{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"}]}}`
	badToken       = `{"error":{"code":400,"message":"The registration token is not a valid FCM registration token","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"},{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.token","description":"The registration token is not a valid FCM registration token"}]}]}}`
	goneBody       = `{"error":{"code":404,"message":"Requested entity was not found.","status":"NOT_FOUND","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}`
	senderBody     = `{"error":{"code":403,"message":"SenderId mismatch","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"SENDER_ID_MISMATCH"}]}}`
	numberInData   = `{"error":{"code":400,"message":"Invalid value at 'message.data[0].value' (TYPE_STRING), 12","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.data[0].value","description":"Invalid value at 'message.data[0].value' (TYPE_STRING), 12"}]}]}}`
	unknownName    = `{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"x\" at 'message.android': Cannot find field.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.android","description":"Invalid JSON payload received. Unknown name \"x\" at 'message.android': Cannot find field."}]}]}}`
	unknownAtRoot  = `{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"x\": Cannot find field.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"description":"Invalid JSON payload received. Unknown name \"x\": Cannot find field."}]}]}}`
	fcmDetail      = "FcmError"
	apnsDetail     = "ApnsError"
	requestDetail  = "BadRequest"
	invalidPattern = "INVALID_ARGUMENT"
)

// TestBodies compares whole bodies where the live service's are known.
func TestBodies(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	token := srv.MintToken(fcm.Web)
	gone := srv.MintToken(fcm.Web)
	srv.Unregister(gone)
	cases := map[string]struct{ body, want string }{
		"no message":         {`{}`, noRecipient},
		"empty body":         {``, noRecipient},
		"null message":       {`{"message":null}`, noRecipient},
		"no target":          {`{"message":{"data":{"a":"b"}}}`, noRecipient},
		"empty token":        {message("", ""), noRecipient},
		"topic with slash":   {`{"message":{"topic":"/topics/a"}}`, badTopic},
		"topic with space":   {`{"message":{"topic":"a b"}}`, badTopic},
		"topic of 901":       {`{"message":{"topic":"` + strings.Repeat("a", 901) + `"}}`, badTopic},
		"condition":          {`{"message":{"condition":"a in topics"}}`, badCondition},
		"data of 4097":       {message(token, `"data":{"k":"`+strings.Repeat("v", 4096)+`"}`), tooBig},
		"web ttl negative":   {message(token, `"webpush":{"headers":{"TTL":"-1"}}`), badWebTTL},
		"web ttl fraction":   {message(token, `"webpush":{"headers":{"ttl":"1.5"}}`), badWebTTL},
		"web ttl unit":       {message(token, `"webpush":{"headers":{"TTL":"15s"}}`), badWebTTL},
		"token, no colon":    {message(strings.Repeat("a", 140), ""), badToken},
		"token, bad letters": {message(strings.Replace(token, ":", ": ", 1), ""), badToken},
		"token, too long":    {message("abcdefgh:"+strings.Repeat("a", 4096), ""), badToken},
		"unregistered":       {message(gone, ""), goneBody},
		"altered token":      {message(alter(token), ""), goneBody},
		"foreign":            {message(srv.MintForeignToken(fcm.Android), ""), senderBody},
		"number in data":     {message(token, `"data":{"k":12}`), numberInData},
		"unknown name":       {message(token, `"android":{"x":1}`), unknownName},
		"unknown at root":    {`{"x":1,"message":{"token":"` + token + `"}}`, unknownAtRoot},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := c.send(tc.body)
			r.is(t, tc.want)
			require.Equal(t, r.Error.Code, r.Status)
			// A dry run is answered alike.
			if rest, ok := strings.CutPrefix(tc.body, `{"message"`); ok {
				c.send(`{"validateOnly":true,"message"`+rest).is(t, tc.want)
			}
		})
	}
	t.Cleanup(func() { require.Empty(t, srv.Accepted()) })
}

// alter changes the last character of a token, which breaks its MAC.
func alter(token string) string {
	last := "A"
	if strings.HasSuffix(token, last) {
		last = "B"
	}
	return token[:len(token)-1] + last
}

// TestRefusals covers the rules whose wording the live service does not
// document: only the shape of the answer counts.
func TestRefusals(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{DeviceQuota: -1})
	c := raw(t, srv)
	byRule, byAPNs, byFrontEnd := []string{requestDetail, fcmDetail}, []string{fcmDetail, apnsDetail}, []string{requestDetail}
	long := strings.Repeat("x", 65)
	cases := []struct {
		extra string
		types []string
		text  string // part of the message
	}{
		{`"data":{"from":"x"}`, byRule, "Invalid data payload key: from"},
		{`"data":{"message_type":"x"}`, byRule, "Invalid data payload key: message_type"},
		{`"data":{"google.a":"x"}`, byRule, "Invalid data payload key: google.a"},
		{`"data":{"googleish":"x"}`, byRule, "Invalid data payload key"},
		{`"data":{"gcm.notification.a":"x"}`, byRule, "Invalid data payload key"},
		{`"data":{"gcm":"x"}`, byRule, "Invalid data payload key"},
		{`"android":{"data":{"from":"x"}}`, byRule, "Invalid data payload key: from"},
		{`"android":{"ttl":"2419201s"}`, byRule, "TTL"},
		{`"android":{"ttl":"-1s"}`, byRule, "TTL"},
		{`"android":{"ttl":"-0.5s"}`, byRule, "TTL"},
		{`"android":{"ttl":"999999999999s"}`, byRule, "TTL"},
		{`"android":{"ttl":"300"}`, byFrontEnd, "Illegal duration format; duration must end with 's'"},
		{`"android":{"ttl":300}`, byFrontEnd, "google.protobuf.Duration), 300"},
		{`"android":{"ttl":"5m0s"}`, byFrontEnd, "Illegal duration format"},
		{`"android":{"priority":"urgent"}`, byFrontEnd, `AndroidMessagePriority), "urgent"`},
		{`"android":{},"androidV2":{}`, byRule, "android_v2"},
		{`"androidV2":{"ttl":"2419201s"}`, byRule, "TTL"},
		{`"androidV2":{"data":{"from":"x"}}`, byRule, "Invalid data payload key: from"},
		{`"androidV2":{"remoteNotification":{"notification":{"color":"red"}}}`, byRule, "color"},
		{`"android":{"notification":{"color":"red"}}`, byRule, "color"},
		{`"android":{"notification":{"color":"#12345"}}`, byRule, "color"},
		{`"android":{"notification":{"body_loc_args":["a"]}}`, byRule, "body_loc_key"},
		{`"android":{"notification":{"title_loc_args":["a"]}}`, byRule, "title_loc_key"},
		{`"android":{"notification":{"vibrate_timings":["-1s"]}}`, byRule, "negative"},
		{`"android":{"notification":{"light_settings":{"color":{"red":1}}}}`, byRule, "Light settings"},
		{`"android":{"notification":{"light_settings":{"color":{"red":1.5},"light_on_duration":"1s","light_off_duration":"1s"}}}`, byRule, "between 0 and 1"},
		{`"android":{"notification":{"light_settings":{"color":{},"light_on_duration":"-1s","light_off_duration":"1s"}}}`, byRule, "negative"},
		{`"fcm_options":{"analytics_label":"a b"}`, byRule, "label"},
		{`"android":{"fcm_options":{"analytics_label":"` + long + `"}}`, byRule, "label"},
		{`"apns":{"headers":{"apns-priority":10}}`, byFrontEnd, "Invalid value at 'message.apns.headers[0].value' (TYPE_STRING), 10"},
		{`"apns":{"headers":{"apns-collapse-id":"` + long + `"}}`, byAPNs, "invalid argument"},
		{`"apns":{"headers":{"apns-push-type":"loud"}}`, byAPNs, "invalid argument"},
		{`"apns":{"headers":{"apns-priority":"7"}}`, byAPNs, "invalid argument"},
		{`"apns":{"headers":{"apns-expiration":"soon"}}`, byAPNs, "invalid argument"},
		{`"apns":{"headers":{"apns-push-type":"background","apns-priority":"10"}}`, byAPNs, "invalid argument"},
		{`"apns":{"headers":{"apns-priority":"10"},"payload":{"aps":{"content-available":1}}}`, byAPNs, "invalid argument"},
		{`"apns":{"payload":"text"}`, byFrontEnd, "google.protobuf.Struct"},
		{`"webpush":{"headers":{"Urgency":"now"}}`, byRule, "Urgency"},
		{`"webpush":{"headers":{"Topic":"` + long + `"}}`, byRule, "Topic"},
		{`"webpush":{"fcm_options":{"link":"http://a.example"}}`, byRule, "HTTPS"},
		{`"topic":"a"`, byFrontEnd, "oneof field 'target' is already set. Cannot set 'topic'"},
		{`"condition":"'a' in topics"`, byFrontEnd, "Cannot set 'condition'"},
		{`"fid":"` + srv.MintFID(fcm.Android) + `"`, byFrontEnd, "Cannot set 'fid'"},
		{`"data":["a"]`, byFrontEnd, "Cannot bind a list to map for field 'data'"},
		{`"data":{"a":{"b":"c"}}`, byFrontEnd, "Starting an object on a scalar field"},
		{`"data":{"a":"b","c":null}`, byFrontEnd, "message.data[1].value"},
		{`"notification":"text"`, byFrontEnd, "google.firebase.fcm.v1.Notification)"},
		{`"notification":{"title":["a"]}`, byFrontEnd, "Proto field is not repeating, cannot start list."},
	}
	for _, tc := range cases {
		t.Run(tc.extra[:min(len(tc.extra), 60)], func(t *testing.T) {
			t.Parallel()
			for _, platform := range []string{fcm.Android, fcm.IOS, fcm.Web} {
				r := c.send(message(srv.MintToken(platform), tc.extra))
				require.Equal(t, 400, r.Status, r.Body)
				require.Equal(t, invalidPattern, r.Error.Status)
				require.Equal(t, tc.types, r.types(), r.Body)
				require.Contains(t, r.Error.Message, tc.text)
			}
		})
	}
	t.Cleanup(func() { require.Empty(t, srv.Accepted()) })
}

// TestAcceptedEdges covers what is just within the rules.
func TestAcceptedEdges(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	for _, extra := range []string{
		`"data":{"k":"` + strings.Repeat("v", 4095) + `"}`,
		`"data":{"notification":"x","a":""}`,
		`"data":{"k":"1","k":"2"}`,
		`"android":{"ttl":"2419200s"}`,
		`"android":{"ttl":"2419200.999999999s"}`,
		`"android":{"ttl":"0s"}`,
		`"android":{"ttl":"3.000000001s","priority":"high"}`,
		`"android":{"priority":"NORMAL"},"android":{"priority":1}`,
		`"android":{"notification":{"notification_count":"3","sticky":"true"}}`,
		`"androidV2":{"backgroundSync":{},"ttl":"5s"}`,
		`"apns":{"headers":{"apns-collapse-id":"` + strings.Repeat("x", 64) + `","apns-expiration":"0"}}`,
		`"apns":{"headers":{"apns-push-type":"background","apns-priority":"5"},"payload":{"aps":{"content-available":1}}}`,
		`"apns":{"payload":{"aps":null,"x":[1,{"y":null}]}}`,
		`"notification":{"title":"t"},"apns":{"headers":{"apns-priority":"10"},"payload":{"aps":{"content-available":1}}}`,
		`"webpush":{"headers":{"TTL":"0","Urgency":"very-low","Topic":"` + strings.Repeat("x", 32) + `"}}`,
		`"topic":null,"name":"ignored"`,
	} {
		for _, platform := range []string{fcm.Android, fcm.IOS, fcm.Web} {
			r := c.send(message(srv.MintToken(platform), extra))
			require.Equal(t, 200, r.Status, "%s: %s", extra[:min(len(extra), 60)], r.Body)
		}
	}
	require.Equal(t, "2", srv.Accepted()[6].Data["k"], "of a key given twice the last counts")
}

// TestSizeByPlatform checks that only what the target would get is measured.
func TestSizeByPlatform(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	big := strings.Repeat("v", 4096)
	for extra, refusedFor := range map[string]string{
		`"apns":{"payload":{"aps":{"alert":"` + big + `"}}}`:                       fcm.IOS,
		`"android":{"data":{"k":"` + big + `"}}`:                                   fcm.Android,
		`"webpush":{"notification":{"body":"` + big + `"}}`:                        fcm.Web,
		`"webpush":{"data":{"k":"` + big + `"}}`:                                   fcm.Web,
		`"android":{"notification":{"body":"` + big + `"}}`:                        fcm.Android,
		`"data":{"k":"` + big[:4000] + `"},"android":{"data":{"k":"` + big + `"}}`: fcm.Android,
	} {
		for _, platform := range []string{fcm.Android, fcm.IOS, fcm.Web} {
			r := c.send(message(srv.MintToken(platform), extra))
			if platform == refusedFor {
				r.is(t, tooBig)
			} else {
				require.Equal(t, 200, r.Status, "%s %s", platform, extra[:40])
			}
		}
	}
	r := c.send(`{"message":{"topic":"a","apns":{"payload":{"aps":{"alert":"` + big + `"}}}}}`)
	r.is(t, tooBig, "a topic reaches every platform")
}

func TestConditions(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	for condition, ok := range map[string]bool{
		"'a' in topics":    true,
		"!('a' in topics)": true,
		"!'a' in topics":   true,
		"'a' in topics&&'b' in topics || 'c' in topics":                                                      true,
		"('a' in topics || ('b' in topics && 'c' in topics)) && !('d' in topics)":                            true,
		"'a' in topics || 'b' in topics || 'c' in topics || 'd' in topics || 'e' in topics":                  true,
		"'a' in topics || 'b' in topics || 'c' in topics || 'd' in topics || 'e' in topics || 'f' in topics": false,
		"'a'":                           false,
		"'a' in topic":                  false,
		"'a b' in topics":               false,
		"'' in topics":                  false,
		"'a' in topics &&":              false,
		"'a' in topics 'b' in topics":   false,
		"'a' in topics & 'b' in topics": false,
		"('a' in topics":                false,
		"'a' in topics)":                false,
		strings.Repeat("(", 100) + "'a' in topics" + strings.Repeat(")", 100): false,
	} {
		r := c.send(`{"message":{"condition":"` + condition + `"}}`)
		if ok {
			require.Equal(t, 200, r.Status, condition)
		} else {
			r.is(t, badCondition, condition)
		}
	}
}

func TestBrokenJSON(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{MaxBodyBytes: 64 << 10})
	c := raw(t, srv)
	for body, text := range map[string]string{
		`{"message":`:       "Invalid JSON payload received. Unexpected end of string.",
		`{"message":{}} {}`: "Invalid JSON payload received.",
		`{message:{}}`:      "Invalid JSON payload received. Unexpected token.",
		"{\"x\":\"\xff\"}":  "Invalid JSON payload received.",
		`[]`:                "Root element must be a message.",
		`"text"`:            "Root element must be a message.",
		`{"message":{"apns":{"payload":` + strings.Repeat(`{"a":`, 200) + `1` + strings.Repeat(`}`, 200) + `}}}`: "Message too deep",
	} {
		r := c.send(body)
		requireFrontEnd(t, r, body)
		require.Contains(t, r.Error.Message, text)
	}
	r := c.send(`{"message":{"name":"` + strings.Repeat("x", 65<<10) + `"}}`)
	require.Equal(t, 400, r.Status)
	require.Contains(t, r.Error.Message, "Request payload size exceeds the limit")
}

func TestQueryAndPaths(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{ProjectNumber: "42"})
	c := raw(t, srv)
	body := message(srv.MintToken(fcm.Android), "")
	do := func(path string) *reply {
		r, err := c.do(path, body)
		require.NoError(t, err)
		return r
	}
	r := do(c.sendPath() + "?alt=json&prettyPrint=false&%24.xgafv=2&fields=name&key=k&quotaUser=u")
	require.Equal(t, 200, r.Status)
	require.NotContains(t, r.Body, "\n  ")
	require.Contains(t, do(c.sendPath()).Body, "{\n  \"name\": ")
	require.Equal(t, 200, do("/v1/projects/42/messages:send").Status, "the project number names the project too")

	r = do(c.sendPath() + "?nonsense=1")
	requireFrontEnd(t, r, "query")
	require.Contains(t, r.Error.Message, "Cannot bind query parameter")

	r = do("/v1/projects/other/messages:send")
	require.Equal(t, 403, r.Status)
	require.Equal(t, "PERMISSION_DENIED", r.Error.Status)
	require.Contains(t, r.Error.Message, "Permission 'cloudmessaging.messages.create' denied on resource")
	require.NotContains(t, r.types(), fcmDetail)

	for _, path := range []string{"/batch", "/v1/projects/a/b/messages:send", "/v1/projects//messages:send", "/fcm/send", "/v2/projects/42/messages:send"} {
		r = do(path)
		require.Equal(t, 404, r.Status, path)
		require.Contains(t, r.Header.Get("Content-Type"), "text/html")
		require.Contains(t, r.Body, "Error 404 (Not Found)!!1")
	}
}

func TestInstallationIDs(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	fid := srv.MintFID(fcm.IOS)
	require.Regexp(t, `^[c-f][A-Za-z0-9_-]{21}$`, fid)
	require.Equal(t, 200, c.send(`{"message":{"fid":"`+fid+`"}}`).Status)
	require.Equal(t, 200, c.send(message(fid, "")).Status, "token takes an installation id as well")
	require.Equal(t, fid, srv.Accepted()[0].FID)
	require.Equal(t, fcm.IOS, srv.Accepted()[0].Platform)

	token := srv.MintToken(fcm.IOS)
	c.send(`{"message":{"fid":"`+token[:22]+`"}}`).is(t, goneBody,
		"an installation reached by token is not reached by id")
	c.send(`{"message":{"fid":"`+token+`"}}`).is(t, goneBody)
	c.send(`{"message":{"fid":"nonsense"}}`).is(t, badToken)
	srv.Unregister(fid)
	c.send(`{"message":{"fid":"`+fid+`"}}`).is(t, goneBody)
}

func TestTargetsSurviveARestart(t *testing.T) {
	t.Parallel()
	one := start(t, fcm.Config{Seed: 11})
	token, same, fid := one.MintToken(fcm.Android), one.TokenAt(fcm.Web, 5), one.MintFID(fcm.Web)
	require.NotEqual(t, token, one.MintToken(fcm.Android))
	require.Equal(t, same, one.TokenAt(fcm.Web, 5))

	two := start(t, fcm.Config{Seed: 11})
	c := raw(t, two)
	require.Equal(t, token, two.MintToken(fcm.Android), "the n-th mint is the same")
	for _, target := range []string{token, same, fid} {
		require.Equal(t, 200, c.send(message(target, "")).Status)
	}
	other := start(t, fcm.Config{Seed: 12})
	raw(t, other).send(message(token, "")).is(t, goneBody)
	raw(t, start(t, fcm.Config{Seed: 11, ProjectID: "p2"})).send(message(token, "")).is(t, goneBody)
}

func TestRegisterToken(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	token := "cAbcdefghijklmnopqrstu:APA91b" + strings.Repeat("z", 113)
	c.send(message(token, "")).is(t, goneBody)
	srv.RegisterToken(token, fcm.IOS)
	require.Equal(t, 200, c.send(message(token, "")).Status)
	require.Equal(t, fcm.IOS, srv.Accepted()[0].Platform)
	srv.Unregister(token)
	c.send(message(token, "")).is(t, goneBody)
	srv.RegisterToken(token, fcm.IOS)
	require.Equal(t, 200, c.send(message(token, "")).Status)
}
