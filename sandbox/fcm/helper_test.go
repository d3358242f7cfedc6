package fcm_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/sandbox/fcm"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The Firebase SDK's dependency on OpenCensus starts this at import.
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// start runs a server for one test.
func start(t *testing.T, cfg fcm.Config) *fcm.Server {
	t.Helper()
	if cfg.Seed == 0 {
		cfg.Seed = 7
	}
	srv, err := fcm.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv
}

// rawClient speaks HTTP to a server without an SDK's help.
type rawClient struct {
	t      *testing.T
	srv    *fcm.Server
	http   *http.Client
	bearer string
}

func raw(t *testing.T, srv *fcm.Server) *rawClient {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &rawClient{t: t, srv: srv, http: &http.Client{Transport: tr, Timeout: time.Minute}, bearer: srv.MintBearer()}
}

// reply is an answer as a client reads it.
type reply struct {
	Status int
	Header http.Header
	Body   string
	Error  struct {
		Code    int              `json:"code"`
		Message string           `json:"message"`
		Status  string           `json:"status"`
		Details []map[string]any `json:"details"`
	}
	Name string
}

// do posts a body to a path under the server's base.
func (c *rawClient) do(path, body string) (*reply, error) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost,
		strings.TrimSuffix(c.srv.URL(), "/v1")+path, strings.NewReader(body))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "application/json")
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	out := &reply{Status: res.StatusCode, Header: res.Header, Body: string(b)}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		require.NoError(c.t, json.Unmarshal(b, out))
	}
	return out, nil
}

func (c *rawClient) sendPath() string { return "/v1/projects/" + c.srv.ProjectID() + "/messages:send" }

// send posts a request to messages:send and wants an answer.
func (c *rawClient) send(body string) *reply {
	c.t.Helper()
	r, err := c.do(c.sendPath(), body)
	require.NoError(c.t, err)
	return r
}

// types lists the short names of the answer's details in order.
func (r *reply) types() []string {
	var out []string
	for _, d := range r.Error.Details {
		name, _ := d["@type"].(string)
		out = append(out, name[strings.LastIndexByte(name, '.')+1:])
	}
	return out
}

// is wants exactly this JSON, the order of names included, but for the
// indentation.
func (r *reply) is(t *testing.T, want string, why ...any) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, []byte(r.Body)))
	require.Equal(t, want, b.String(), why...)
}

// message returns a request for one message with extra fields, written as
// JSON members.
func message(token, extra string) string {
	if extra != "" {
		extra = "," + extra
	}
	return `{"message":{"token":"` + token + `"` + extra + `}}`
}

// virtual is a clock that tests move by hand.
type virtual struct{ at chan time.Time }

func newVirtual() *virtual {
	v := &virtual{at: make(chan time.Time, 1)}
	v.at <- time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	return v
}

func (v *virtual) now() time.Time { t := <-v.at; v.at <- t; return t }

func (v *virtual) pass(d time.Duration) { v.at <- (<-v.at).Add(d) }
