package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/relay"
)

// document is what the tests need of the OpenAPI document.
type document struct {
	OpenAPI string                          `json:"openapi"`
	Paths   map[string]map[string]operation `json:"paths"`
}

type operation struct {
	OperationID string `json:"operationId"`
	Parameters  []struct {
		Name     string             `json:"name"`
		In       string             `json:"in"`
		Examples map[string]example `json:"examples"`
	} `json:"parameters"`
	RequestBody *struct {
		Content map[string]media `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]media `json:"content"`
	} `json:"responses"`
}

type media struct {
	Examples map[string]example `json:"examples"`
}

type example struct {
	Summary string          `json:"summary"`
	Value   json.RawMessage `json:"value"`
}

// names are the examples of the operation, by the status that they answer. One
// that has no body stands with its request only.
func (o operation) names() map[string]int {
	out := map[string]int{}
	success := 0
	for status, r := range o.Responses {
		code, err := strconv.Atoi(status)
		if err != nil {
			continue // default
		}
		if code < 300 {
			success = code
		}
		for _, m := range r.Content {
			for name := range m.Examples {
				out[name] = code
			}
		}
	}
	requests := []map[string]example{}
	for _, p := range o.Parameters {
		requests = append(requests, p.Examples)
	}
	if o.RequestBody != nil {
		for _, m := range o.RequestBody.Content {
			requests = append(requests, m.Examples)
		}
	}
	for _, r := range requests {
		for name := range r {
			if _, ok := out[name]; !ok {
				out[name] = success
			}
		}
	}
	return out
}

func openAPI(t testing.TB, w *world) ([]byte, document) {
	t.Helper()
	rec := w.do(t, call{method: "GET", path: "/openapi.json"})
	require.Equal(t, 200, rec.Code)
	var doc document
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &doc))
	return rec.Body.Bytes(), doc
}

func newValidator(t testing.TB, raw []byte) validator.Validator {
	t.Helper()
	parsed, err := libopenapi.NewDocument(raw)
	require.NoError(t, err)
	v, errs := validator.NewValidator(parsed)
	require.Empty(t, errs)
	return v
}

func TestTheDocumentIsValidOpenAPI(t *testing.T) {
	t.Parallel()
	raw, doc := openAPI(t, newWorld(t))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	ok, errs := newValidator(t, raw).ValidateDocument()
	for _, err := range errs {
		t.Errorf("%s: %s", err.Message, err.Reason)
	}
	require.True(t, ok)

	broken := bytes.Replace(raw, []byte(`"responses"`), []byte(`"answers"`), 1)
	ok, _ = newValidator(t, broken).ValidateDocument()
	require.False(t, ok, "the validator finds what is wrong")
}

// TestEveryExampleReturnsWhatItSays makes the request of each example of the
// document and compares status and shape of the answer with the documented
// one; both must fit the schema.
func TestEveryExampleReturnsWhatItSays(t *testing.T) {
	t.Parallel()
	raw, doc := openAPI(t, newWorld(t))
	run := 0
	for path, item := range doc.Paths {
		for method, op := range item {
			names := op.names()
			require.NotEmpty(t, names, op.OperationID)
			success := false
			for name, status := range names {
				success = success || status < 300
				run++
				t.Run(op.OperationID+"/"+name, func(t *testing.T) {
					t.Parallel()
					runExample(t, raw, exampleRun{method: strings.ToUpper(method), path: path, op: op, name: name, status: status})
				})
			}
			require.True(t, success, "%s shows no success", op.OperationID)
			successes := slices.DeleteFunc(slices.Collect(maps.Keys(op.Responses)), func(s string) bool { return s[0] != '2' })
			require.Len(t, successes, 1, op.OperationID)
			for _, status := range []int{401, 429, 503} {
				require.Contains(t, slices.Collect(maps.Values(names)), status, op.OperationID)
			}
		}
	}
	require.Greater(t, run, 50)
}

type exampleRun struct {
	method, path, name string
	op                 operation
	status             int
}

// exampleInbox has what the examples tell of.
type exampleInbox struct{}

func (exampleInbox) List(_ context.Context, _ devices.UserID, q notifier.InboxQuery) (notifier.InboxPage, error) {
	if q.Before != 0 {
		return notifier.InboxPage{}, nil
	}
	now := time.Now()
	return notifier.InboxPage{Next: 4690, Items: []notifier.InboxItem{
		{
			ID: 4711, Rule: "bet-settled", Category: "win", Class: notifier.Transactional, Thread: "t1", CreatedAt: now, ExpiresAt: now,
			Text: notifier.Text{Title: "t", Body: "b", Link: "app://x", Data: map[string]string{"bet": "b-17", "outcome": "WON"}},
		},
		{
			ID: 4690, Rule: "race-soon", Category: "race", Class: notifier.Marketing, Thread: "t2", CreatedAt: now, ExpiresAt: now,
			Text: notifier.Text{Title: "t", Body: "b", Link: "app://x"}, Superseded: true, ReadAt: now,
		},
	}}, nil
}

func (exampleInbox) MarkRead(_ context.Context, _ devices.UserID, id notifier.NotificationID) error {
	if id != 4711 {
		return notifier.ErrNoSuchItem
	}
	return nil
}

func (exampleInbox) MarkReadUpTo(context.Context, devices.UserID, notifier.NotificationID) error {
	return nil
}

const exampleTopic = "8f14e45f"

// exampleBoard has what the examples tell of, and ends every stream after it.
func exampleBoard(t testing.TB, cfg relay.BoardConfig) *relay.Board {
	t.Helper()
	b, err := relay.NewBoard(cfg)
	require.NoError(t, err)
	require.Equal(t, relay.Updated, b.Put(relay.Update{
		Event: "ascot-1505", Position: relay.NewPosition(exampleTopic, 3, 1842), At: time.Now().Add(-time.Second),
		Value: []byte(`[{"name":"Red Rum","imageURL":"https://x","odds":3.5},{"name":"Arkle","imageURL":"https://x","odds":5}]`),
	}))
	b.Loaded(exampleTopic)
	b.Close()
	return b
}

// down is an authenticator whose issuer does not answer.
type down struct{}

func (down) Authenticate(context.Context, string) (devices.UserID, error) {
	return "", fault.New(fault.Unavailable, "the database does not answer")
}

// request builds the request of an example. Parameters that it does not name
// take the value that a success has, if they stand in the path.
func (e exampleRun) request(t *testing.T) call {
	t.Helper()
	path, query := e.path, url.Values{}
	for _, p := range e.op.Parameters {
		shown, ok := p.Examples[e.name]
		if !ok {
			require.NotEqual(t, "path", p.In, "the example %s has no %s", e.name, p.Name)
			continue
		}
		var value any
		require.NoError(t, json.Unmarshal(shown.Value, &value))
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(fmt.Sprint(value)))
		} else {
			query.Set(p.Name, fmt.Sprint(value))
		}
	}
	c := call{method: e.method, path: path, token: tokenFor(t, "ada")}
	if len(query) > 0 {
		c.path += "?" + query.Encode()
	}
	if e.op.RequestBody != nil {
		c.body = e.body(t)
	}
	return c
}

// body is that of the example, or of any other: common problems share one.
func (e exampleRun) body(t *testing.T) string {
	t.Helper()
	examples := e.op.RequestBody.Content["application/json"].Examples
	if own, ok := examples[e.name]; ok {
		return string(own.Value)
	}
	names := e.op.names()
	for name, shown := range examples {
		if names[name] < 300 {
			return string(shown.Value)
		}
	}
	t.Fatalf("no example of %s has a body", e.op.OperationID)
	return ""
}

func (e exampleRun) answer(t *testing.T) any {
	t.Helper()
	for _, m := range e.op.Responses[strconv.Itoa(e.status)].Content {
		var v any
		require.NoError(t, json.Unmarshal(m.Examples[e.name].Value, &v))
		return v
	}
	return nil
}

// owned activates the device of the examples for somebody.
func owned(t *testing.T, w *world, user string) {
	t.Helper()
	w.activate(t, user, "8f14e45f-ceea-467f-a1d6-2b0f5a0c1e11", activation(fcmToken("first")))
}

// runExample puts the world in the state that an example speaks of, by its
// name, and makes its request. An example of an unknown name fails.
func runExample(t *testing.T, raw []byte, e exampleRun) {
	t.Helper()
	c := e.request(t)
	w := newWorld(t, func(cfg *api.Config) {
		cfg.Inbox = exampleInbox{}
		switch e.name {
		case "too_many_requests":
			cfg.UserLimit = 1
		case "unavailable":
			cfg.Auth = down{}
		case "odds_loading":
			board, err := relay.NewBoard(relay.BoardConfig{})
			require.NoError(t, err)
			cfg.Odds.Board = board
		case "too_many_streams":
			board := exampleBoard(t, relay.BoardConfig{MaxStreams: 1})
			_, err := board.Stream("another", relay.Position{})
			require.NoError(t, err)
			cfg.Odds.Board = board
		}
	})
	validRequest := true
	switch e.name {
	case "activated", "stored", "page", "last_page", "read", "token", "unknown_device", "unknown_notification", "unavailable",
		"odds", "no_odds", "odds_loading", "stream", "too_many_streams":
	case "wrong_target", "all_day": // breaks a rule that the schema does not tell
	case "deactivated", "device", "devices":
		owned(t, w, "ada")
	case "preferences":
		require.Equal(t, 200, w.do(t, call{method: "PUT", path: "/v1/preferences", body: `{"muted":["loss"],"opted_in":[],"quiet":{"from":"22:00","to":"08:00","time_zone":"Europe/London"}}`, token: c.token}).Code)
	case "unsafe_user":
		c.token = tokenFor(t, "ada*")
	case "taken":
		owned(t, w, "bob")
	case "wrong_locale":
	case "incomplete", "wrong_id":
		validRequest = false
	case "no_token":
		c.token, validRequest = "", false
	case "expired_token":
		c.token = sign(t, jwt.MapClaims{"sub": "ada", "iss": issuer, "aud": audience, "exp": time.Now().Add(-time.Hour).Unix()})
	case "too_many_requests":
		w.do(t, call{method: "GET", path: "/v1/preferences", token: c.token})
	case "too_large":
		c.body, validRequest = `"`+strings.Repeat("a", api.DefaultBodyLimit)+`"`, false
	case "not_json":
		c.header, validRequest = http.Header{"Content-Type": {"text/plain"}}, false
	default:
		t.Fatalf("nobody knows what must be so before the example %q", e.name)
	}
	rec := w.do(t, c)
	require.Equal(t, e.status, rec.Code, rec.Body.String())
	if e.status == http.StatusTooManyRequests {
		require.NotEmpty(t, rec.Header().Get("Retry-After"))
	}

	var got any
	if rec.Header().Get("Content-Type") == "text/event-stream" {
		got = rec.Body.String()
	} else if rec.Body.Len() > 0 {
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &got))
	}
	want := e.answer(t)
	if e.status >= 300 {
		delete(want.(map[string]any), "instance")
		delete(got.(map[string]any), "instance")
		require.Equal(t, want, got, "a problem is shown as it is")
	} else {
		require.Equal(t, shapeOf(want), shapeOf(got))
	}

	v := newValidator(t, raw)
	requireFits(t, v, c.request(t), rec.Result(), validRequest)
	if want != nil {
		shown, err := json.Marshal(want)
		require.NoError(t, err)
		if text, ok := want.(string); ok {
			shown = []byte(text)
		}
		resp := rec.Result()
		resp.Body = io.NopCloser(bytes.NewReader(shown))
		requireFits(t, v, c.request(t), resp, validRequest)
	}
}

func requireFits(t *testing.T, v validator.Validator, r *http.Request, resp *http.Response, request bool) {
	t.Helper()
	if request {
		ok, errs := v.ValidateHttpRequest(r)
		for _, err := range errs {
			t.Errorf("request: %s: %s %v", err.Message, err.Reason, err.SchemaValidationErrors)
		}
		require.True(t, ok)
	}
	ok, errs := v.ValidateHttpResponse(r, resp)
	for _, err := range errs {
		t.Errorf("answer: %s: %s %v", err.Message, err.Reason, err.SchemaValidationErrors)
	}
	require.True(t, ok)
}

// shapeOf is a value with its scalars replaced by the names of their types, and
// lists by the shapes of their items.
func shapeOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = shapeOf(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = shapeOf(item)
		}
		return out
	case nil:
		return "null"
	}
	return fmt.Sprintf("%T", v)
}
