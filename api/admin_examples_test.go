package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every operation shows a success and what it answers, and each example of the document is
// requested in the story of the tests: it answers the status under which it stands, and both
// answers fit the schema.
func TestEveryExampleForOperatorsReturnsWhatItSays(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	raw := a.as(t, "GET", "/admin/openapi.json", "").Body.Bytes()
	var doc document
	require.NoError(t, json.Unmarshal(raw, &doc))
	ok, errs := newValidator(t, raw).ValidateDocument()
	require.True(t, ok, "%v", errs)
	run := 0
	for path, item := range doc.Paths {
		for method, op := range item {
			names := op.names()
			statuses := slices.Collect(maps.Values(names))
			require.True(t, slices.ContainsFunc(statuses, func(s int) bool { return s < 300 }), "%s shows no success", op.OperationID)
			for name, status := range names {
				run++
				t.Run(op.OperationID+"/"+name, func(t *testing.T) {
					t.Parallel()
					runAdminExample(t, raw, exampleRun{method: strings.ToUpper(method), path: path, op: op, name: name, status: status})
				})
			}
		}
	}
	require.Greater(t, run, 40)
}

// adminRequest builds the request of an example, whose body may be of any media type.
func (e exampleRun) adminRequest(t *testing.T, token string) call {
	t.Helper()
	c := call{method: e.method, path: e.path, token: token}
	query := url.Values{}
	for _, p := range e.op.Parameters {
		shown, ok := p.Examples[e.name]
		require.True(t, ok || p.In != "path", "the example %s has no %s", e.name, p.Name)
		if !ok {
			continue
		}
		var value any
		require.NoError(t, json.Unmarshal(shown.Value, &value))
		if p.In == "path" {
			c.path = strings.ReplaceAll(c.path, "{"+p.Name+"}", url.PathEscape(fmt.Sprint(value)))
			continue
		}
		query.Set(p.Name, fmt.Sprint(value))
	}
	if len(query) > 0 {
		c.path += "?" + query.Encode()
	}
	if e.op.RequestBody == nil {
		return c
	}
	for media, m := range e.op.RequestBody.Content {
		shown, ok := m.Examples[e.name]
		if !ok {
			continue
		}
		c.contentType, c.body = media, string(shown.Value)
		var text string
		if json.Unmarshal(shown.Value, &text) == nil {
			c.body = text
		}
	}
	require.NotEmpty(t, c.body, "the example %s has no body", e.name)
	return c
}

func runAdminExample(t *testing.T, raw []byte, e exampleRun) {
	t.Helper()
	a := newAdminWorld(t)
	c := e.adminRequest(t, a.token)
	rec := a.do(t, c)
	require.Equal(t, e.status, rec.Code, rec.Body.String())
	v := newValidator(t, raw)
	check := c
	if !strings.Contains(check.contentType, "json") || strings.Contains(check.contentType, "ndjson") {
		check.body = "" // what is streamed has no schema
	}
	requireFits(t, v, check.request(t), rec.Result(), check.body != "")
	for media, m := range e.op.Responses[strconv.Itoa(e.status)].Content {
		require.Contains(t, rec.Header().Get("Content-Type"), media)
		shown := []byte(m.Examples[e.name].Value)
		require.NotEmpty(t, shown, "the example %s has no answer", e.name)
		if e.status >= 300 {
			var want, got map[string]any
			require.NoError(t, json.Unmarshal(shown, &want))
			require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &got))
			delete(want, "instance")
			delete(got, "instance")
			require.Equal(t, want, got, "a problem is shown as it is")
		}
		if !strings.HasSuffix(media, "json") || strings.HasSuffix(media, "ndjson") {
			continue
		}
		resp := rec.Result()
		resp.Body = io.NopCloser(bytes.NewReader(shown))
		requireFits(t, v, check.request(t), resp, false)
	}
}
