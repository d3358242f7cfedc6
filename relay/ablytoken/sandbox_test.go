package ablytoken_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/relay/ablytoken"
	"github.com/bugle-push/bugle/sandbox/ably"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The token at the wire: what Ably lets its owner do, and what it does not.
func TestATokenOpensTheUsersOwnChannelsOnly(t *testing.T) {
	t.Parallel()
	srv, err := ably.Start(context.WithoutCancel(t.Context()), ably.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	issuer, err := ablytoken.New(ablytoken.Config{Key: srv.Key()})
	require.NoError(t, err)
	token, err := issuer.Token("ann")
	require.NoError(t, err)

	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	do := func(method, path, body string) (status, code int) {
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL()+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+base64.StdEncoding.EncodeToString([]byte(token.JWT)))
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		var problem struct {
			Error struct {
				Code int `json:"code"`
			} `json:"error"`
		}
		_ = json.Unmarshal(text, &problem) // a list is no problem
		return resp.StatusCode, problem.Error.Code
	}
	messages := func(channel string) string { return "/channels/" + url.PathEscape(channel) + "/messages" }
	const bet = `{"name":"ann","data":"{\"name\":\"Car 1\",\"odds\":0.125}"}`
	device := func(client string) string {
		return `{"id":"phone-` + client + `","clientId":"` + client + `","platform":"android","formFactor":"phone","deviceSecret":"s",` +
			`"push":{"recipient":{"transportType":"fcm","registrationToken":"t"}}}`
	}
	for _, tt := range []struct {
		name, method, path, body string
		status, code             int
	}{
		{"a bet", "POST", messages("inbound:betting:horses:ann"), bet, 201, 0},
		{"a bet on another category", "POST", messages("inbound:betting:cars:ann"), bet, 201, 0},
		{"the odds", "GET", messages("outbound:odds:ascot-1505"), "", 200, 0},
		{"own device", "POST", "/push/deviceRegistrations", device("ann"), 201, 0},
		{"another's channel", "POST", messages("inbound:betting:horses:bob"), bet, 401, 40160},
		{"below the own one", "POST", messages("inbound:betting:horses:ann:x"), bet, 401, 40160},
		{"a longer name", "POST", messages("inbound:betting:horses:anna"), bet, 401, 40160},
		{"odds of one's own", "POST", messages("outbound:odds:ascot-1505"), bet, 401, 40160},
		{"reading bets", "GET", messages("inbound:betting:horses:ann"), "", 401, 40160},
		{"reading others' bets", "GET", messages("inbound:betting:horses:bob"), "", 401, 40160},
		{"anything else", "POST", messages("chat"), bet, 401, 40160},
		{"the push log", "GET", messages("[meta]log:push"), "", 401, 40160},
		{"another's name", "POST", messages("inbound:betting:horses:ann"), `{"clientId":"bob","data":"x"}`, 400, 40012},
		{"a push to everybody", "POST", "/push/publish", `{"recipient":{"clientId":"bob"},"notification":{"title":"t","body":"b"}}`, 401, 40160},
	} {
		status, code := do(tt.method, tt.path, tt.body)
		require.Equal(t, [2]int{tt.status, tt.code}, [2]int{status, code}, tt.name)
	}
	status, _ := do("POST", "/push/deviceRegistrations", device("bob"))
	require.GreaterOrEqual(t, status, 400, "another's device")
}
