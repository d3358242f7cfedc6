package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

// stub is a registry whose answer a test chooses.
type stub struct {
	api.Registry
	answer func(ctx context.Context) error
}

func (s stub) Devices(ctx context.Context, _ devices.UserID) ([]devices.Device, error) {
	return nil, s.answer(ctx)
}

func answering(answer func(ctx context.Context) error) func(*api.Config) {
	return func(c *api.Config) { c.Registry = stub{answer: answer} }
}

// golden compares a problem with testdata/problems/<name>.json. With
// UPDATE_GOLDEN set it writes the file instead.
func golden(t *testing.T, name string, body []byte) {
	t.Helper()
	var pretty bytes.Buffer
	require.NoError(t, json.Indent(&pretty, body, "", "  "))
	file := filepath.Join("testdata", "problems", strings.ReplaceAll(name, " ", "_")+".json")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, pretty.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "set UPDATE_GOLDEN=1 to write it")
	require.Equal(t, string(want), pretty.String())
}

func TestProblems(t *testing.T) {
	t.Parallel()
	activate := func(body string, header http.Header) call {
		return call{method: "POST", path: "/v1/devices/d1/activate", body: body, header: header}
	}
	media := func(values ...string) http.Header { return http.Header{"Content-Type": values} }
	get := call{method: "GET", path: "/v1/devices"}
	put := func(body string) call { return call{method: "PUT", path: "/v1/preferences", body: body} }
	for name, tc := range map[string]struct {
		call   call
		status int
		answer error
	}{
		"no such route":        {call: call{method: "GET", path: "/v2/devices"}, status: 404},
		"trailing slash":       {call: call{method: "GET", path: "/v1/devices/"}, status: 404},
		"method not allowed":   {call: call{method: "DELETE", path: "/v1/devices/d1"}, status: 405},
		"unknown device":       {call: call{method: "GET", path: "/v1/devices/d9"}, status: 404},
		"device id":            {call: call{method: "GET", path: "/v1/devices/a%2Fb"}, status: 400},
		"device id climbs":     {call: call{method: "POST", path: "/v1/devices/..%2e/deactivate"}, status: 400},
		"device id too long":   {call: call{method: "GET", path: "/v1/devices/" + strings.Repeat("a", 129)}, status: 400},
		"unknown parameter":    {call: call{method: "GET", path: "/v1/devices?limit=1"}, status: 400},
		"malformed":            {call: activate(`{"platform":`, nil), status: 400},
		"trailing data":        {call: activate(activation(fcmToken("t"))+`{}`, nil), status: 400},
		"not an object":        {call: activate(`[]`, nil), status: 400},
		"null":                 {call: activate(`null`, nil), status: 400},
		"no body":              {call: activate("", media("application/json")), status: 400},
		"nothing in it":        {call: activate(`{}`, nil), status: 400},
		"unknown fields":       {call: activate(`{"platform":"android","target":{"kind":"fcm_token","value":"x","extra":1},"region":"en"}`, nil), status: 400},
		"wrong types":          {call: activate(`{"platform":1,"target":{"kind":null,"value":["x"]}}`, nil), status: 400},
		"outside the schema":   {call: activate(`{"platform":"windows","target":{"kind":"apns","value":""}}`, nil), status: 400},
		"outside the rules":    {call: activate(`{"platform":"web","target":{"kind":"fcm_token","value":"short"},"locale":"?","time_zone":"Mars/Base","app_version":"\n"}`, nil), status: 400},
		"body too large":       {call: activate(`"`+strings.Repeat("a", 16<<10)+`"`, nil), status: 413},
		"form":                 {call: activate("platform=web", media("application/x-www-form-urlencoded")), status: 415},
		"no content type":      {call: activate(`{}`, media()), status: 415},
		"two content types":    {call: activate(`{}`, media("application/json", "application/json")), status: 415},
		"another charset":      {call: activate(`{}`, media("application/json; charset=latin1")), status: 415},
		"another json":         {call: activate(`{}`, media("application/merge-patch+json")), status: 415},
		"preferences null":     {call: put(`{"muted":null,"opted_in":[]}`), status: 400},
		"preferences missing":  {call: put(`{"muted":["loss"]}`), status: 400},
		"preferences category": {call: put(`{"muted":["loss","LOSS"],"opted_in":[""]}`), status: 400},
		"preferences quiet":    {call: put(`{"muted":[],"opted_in":[],"quiet":{"from":"22:00","to":"24:00"}}`), status: 400},
		"preferences all day":  {call: put(`{"muted":[],"opted_in":[],"quiet":{"from":"22:00","to":"22:00"}}`), status: 400},
		"preferences no end":   {call: put(`{"muted":[],"opted_in":[],"quiet":{"from":"22:00"}}`), status: 400},
		"preferences nowhere":  {call: put(`{"muted":[],"opted_in":[],"quiet":{"from":"22:00","to":"08:00","time_zone":"Mars/Olympus"}}`), status: 400},
		"internal":             {call: get, status: 500, answer: errors.New("dial tcp 10.0.0.7: password hunter2")},
		"internal fault":       {call: get, status: 500, answer: fault.New(fault.Internal, "hunter2")},
		"internal wrapping":    {call: get, status: 500, answer: fault.Wrap(fault.Internal, fault.New(fault.NotFound, "hunter2"), "hunter2")},
		"unavailable":          {call: get, status: 503, answer: fault.Wrap(fault.Unavailable, errors.New("hunter2"), "the database does not answer")},
		"deadline":             {call: get, status: 503, answer: context.DeadlineExceeded},
		"rate limited":         {call: get, status: 429, answer: fault.New(fault.RateLimited, "wait a minute")},
		"forbidden":            {call: get, status: 403, answer: fault.New(fault.Forbidden, "not yours")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var change []func(*api.Config)
			if tc.answer != nil {
				change = append(change, answering(func(context.Context) error { return tc.answer }))
			}
			w := newWorld(t, change...)
			tc.call.token = tokenFor(t, "ada")
			rec := w.do(t, tc.call)
			requireProblem(t, rec, tc.status)
			require.NotContains(t, rec.Body.String(), "hunter2")
			if tc.status >= 500 {
				require.Contains(t, w.log.String(), tc.answer.Error(), "the operator must find the cause")
				require.Equal(t, 2, strings.Count(w.log.String(), `"request_id":"`+requestID+`"`))
			}
			golden(t, name, rec.Body.Bytes())
		})
	}
}

func TestMethodNotAllowedSaysWhatIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, want := range map[string][]string{
		"/v1/devices":             {"GET"},
		"/v1/devices/d1/activate": {"POST"},
		"/v1/preferences":         {"GET", "PUT"},
		"/healthz":                {"GET", "HEAD"},
	} {
		rec := w.do(t, call{method: "PATCH", path: path})
		requireProblem(t, rec, 405)
		require.Equal(t, want, rec.Header().Values("Allow"), path)
	}
	requireProblem(t, w.do(t, call{method: "BREW", path: "/v1/devices"}), 405)
}

func TestBodyLimitIsExact(t *testing.T) {
	t.Parallel()
	body := activation(fcmToken("t"))
	for extra, status := range map[int64]int{-1: 413, 0: 200} {
		w := newWorld(t, func(c *api.Config) { c.BodyLimit = int64(len(body)) + extra })
		rec := w.do(t, call{method: "POST", path: "/v1/devices/d1/activate", body: body, token: tokenFor(t, "ada")})
		require.Equal(t, status, rec.Code, rec.Body.String())
	}
}

func TestAPanicIsAProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, answering(func(context.Context) error { panic("hunter2") }))
	rec := w.do(t, call{method: "GET", path: "/v1/devices", token: tokenFor(t, "ada")})
	requireProblem(t, rec, 500)
	golden(t, "panic", rec.Body.Bytes())
	require.NotContains(t, rec.Body.String(), "hunter2")
	require.Contains(t, w.log.String(), "request panicked")
	require.Contains(t, w.log.String(), `"status":500`)
}

func TestAnAbortStaysAnAbort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, answering(func(context.Context) error { panic(http.ErrAbortHandler) }))
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		w.do(t, call{method: "GET", path: "/v1/devices", token: tokenFor(t, "ada")})
	})
}

func TestWorkForARequestIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.RequestTimeout = time.Millisecond }, answering(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}))
	requireProblem(t, w.do(t, call{method: "GET", path: "/v1/devices", token: tokenFor(t, "ada")}), 503)
	require.Contains(t, w.log.String(), "request timed out")
}

func TestAClientThatLeavesIsNoError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, answering(func(ctx context.Context) error { return ctx.Err() }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := call{method: "GET", path: "/v1/devices", token: tokenFor(t, "ada")}.request(t).WithContext(ctx)
	w.handler.ServeHTTP(httptest.NewRecorder(), r)
	require.Contains(t, w.log.String(), `"status":499`)
	require.NotContains(t, w.log.String(), `"level":"error"`)
}
