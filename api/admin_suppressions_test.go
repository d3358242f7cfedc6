package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
)

func TestAnOperatorSuppressesAUser(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	rec := a.as(t, "PUT", "/admin/v1/suppressions", `{"user":"ann","reason":"self_exclusion","from":"2026-01-01T00:00:00+01:00","until":null,"note":"by phone"}`)
	require.Equal(t, 200, rec.Code, rec.Body.String())
	s := decode[api.AdminSuppression](t, rec)
	require.WithinDuration(t, time.Now(), s.SetAt, time.Minute)
	from := time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC)
	require.Equal(t, api.AdminSuppression{
		User: "ann", Reason: "self_exclusion", Class: "service", From: &from, Note: "by phone", Active: true, SetBy: "alice", SetAt: s.SetAt,
	}, s)

	list := decode[api.AdminSuppressionList](t, a.as(t, "GET", "/admin/v1/suppressions?limit=1", ""))
	require.Equal(t, []api.AdminSuppression{s}, list.Suppressions)
	list = decode[api.AdminSuppressionList](t, a.as(t, "GET", "/admin/v1/suppressions?limit=1&after="+list.Next, ""))
	require.Equal(t, "eve", list.Suppressions[0].User)
	require.Empty(t, list.Next)
	require.Len(t, decode[api.AdminSuppressionList](t, a.as(t, "GET", "/admin/v1/suppressions?reason=cool_off", "")).Suppressions, 1)
	require.Empty(t, decode[api.AdminSuppressionList](t, a.as(t, "GET", "/admin/v1/suppressions?user=bob", "")).Suppressions)

	require.Contains(t, requireProblem(t, a.as(t, "POST", "/admin/v1/devices/phone-1/test", `{"title":"a","body":"b"}`), 409).Detail, "suppressed")
	require.Equal(t, 204, a.as(t, "DELETE", "/admin/v1/suppressions?user=ann&reason=self_exclusion", "").Code)
	requireProblem(t, a.as(t, "DELETE", "/admin/v1/suppressions?user=ann&reason=self_exclusion", ""), 404)
	var actions []string
	for _, e := range a.audit(t) {
		actions = append(actions, e.Action+" "+e.Subject)
	}
	require.Equal(t, []string{"suppress suppression/self_exclusion/ann", "unsuppress suppression/self_exclusion/ann"}, actions)
}

func TestAWrongSuppressionIsRefused(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	for body, path := range map[string]string{
		`{"user":"ann","reason":"cool_off","class":"marketing"}`:                                          "body.class",
		`{"user":"","reason":"cool_off"}`:                                                                 "body.user",
		`{"user":"ann","reason":"boredom"}`:                                                               "body.reason",
		`{"user":"ann","reason":"cool_off","from":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}`: "body.until",
		`{"user":"ann","reason":"cool_off","until":"soon"}`:                                               "body.until",
		`{"user":"ann","reason":"cool_off","util":"2026-01-01T00:00:00Z"}`:                                "body.util",
	} {
		p := requireProblem(t, a.as(t, "PUT", "/admin/v1/suppressions", body), 400)
		require.Equal(t, path, p.Errors[0].Path, body)
	}
	requireProblem(t, a.as(t, "DELETE", "/admin/v1/suppressions?user=eve", ""), 400)
	requireProblem(t, a.as(t, "GET", "/admin/v1/suppressions?after=x", ""), 400)
	require.Empty(t, a.audit(t))
}

func (a *adminWorld) importList(t testing.TB, media, body string) *httptest.ResponseRecorder {
	t.Helper()
	return a.do(t, call{method: "POST", path: "/admin/v1/suppressions/import", contentType: media, body: body, token: a.token})
}

func TestManyAreSuppressedByAnImport(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	var csv strings.Builder
	csv.WriteString("user,reason,class\n")
	for i := range 1500 {
		fmt.Fprintf(&csv, "u%04d,account_closed,all\n", i)
	}
	rec := a.importList(t, "text/csv; charset=utf-8", csv.String())
	require.Equal(t, 200, rec.Code, rec.Body.String())
	require.Equal(t, api.AdminImport{Lines: 1500, Changed: 1500}, decode[api.AdminImport](t, rec))
	rec = a.importList(t, "text/csv", csv.String())
	require.Equal(t, api.AdminImport{Lines: 1500, Unchanged: 1500}, decode[api.AdminImport](t, rec))

	for format, media := range map[string]string{"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"} {
		rec = a.as(t, "GET", "/admin/v1/suppressions/export?format="+format, "")
		require.Equal(t, 200, rec.Code)
		require.Equal(t, media, rec.Header().Get("Content-Type"))
		other := newAdminWorld(t)
		again := other.importList(t, media, rec.Body.String())
		require.Equal(t, api.AdminImport{Lines: 1501, Changed: 1500, Unchanged: 1}, decode[api.AdminImport](t, again), "eve is known there")
	}
}

func TestAnImportSaysWhatIsWrongAndWhatIsIn(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	lines := strings.Repeat(`{"user":"ann","reason":"cool_off"}`+"\n", 1000) + `{"user":"bob","reason":"boredom"}` + "\n" + `{"user":"cid","reason":"cool_off"}`
	p := requireProblem(t, a.importList(t, "application/x-ndjson", lines), 400)
	require.Equal(t, []api.ProblemField{{Path: "line 1001", Message: "reason: wants one of self_exclusion, cool_off, account_closed, jurisdiction"}}, p.Errors)
	require.Contains(t, p.Detail, "of 1002 lines 1000 are in the list now")
	require.Contains(t, requireProblem(t, a.importList(t, "text/csv", "who\n"), 400).Detail, "first line")
	requireProblem(t, a.importList(t, "application/json", `{"user":"ann","reason":"cool_off"}`), 415)

	r := call{method: "POST", path: "/admin/v1/suppressions/import", contentType: "application/x-ndjson", token: a.token, body: "x"}.request(t)
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"user":"dan","reason":"cool_off"}`+"\n"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	rec := httptest.NewRecorder()
	a.handler.ServeHTTP(rec, r)
	require.Contains(t, requireProblem(t, rec, 400).Detail, "broke off")
}

// deadlines is a writer that keeps the last read deadline of its connection.
type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

// SetReadDeadline keeps it.
func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = t
	return nil
}

// Who sends a byte now and then would otherwise hold an import for days.
func TestAnImportIsReadUntilItsEndAndNoLonger(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	r := call{method: "POST", path: "/admin/v1/suppressions/import", contentType: "application/x-ndjson", token: a.token, body: `{"user":"dan","reason":"cool_off"}`}.request(t)
	end := time.Now().Add(10 * time.Second)
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	a.handler.ServeHTTP(w, r.WithContext(ctx))
	require.Equal(t, 200, w.Code, w.Body.String())
	require.Equal(t, end, w.read)
}

// An import may take longer than the server lets other requests take.
func TestALongImportIsReadAsItArrives(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	server := httptest.NewUnstartedServer(a.handler)
	server.Config.ReadTimeout = 2 * time.Second // the head of a request comes within it
	server.Start()
	t.Cleanup(server.Close)
	body, lines := io.Pipe()
	go func() {
		defer lines.Close()
		for i := range 6 {
			fmt.Fprintf(lines, `{"user":"u%d","reason":"cool_off"}`+"\n", i)
			time.Sleep(500 * time.Millisecond) // slower than the timeout as a whole
		}
	}()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/admin/v1/suppressions/import", body)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := server.Client().Do(r)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout())
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode, string(text))
	require.Contains(t, string(text), `"changed":6`)
}

// Half of an export must not look like a whole one: who is missing from it would be taken for somebody who
// may be sent to.
func TestAnExportThatCannotGoOnIsBrokenOff(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	a.exec(t, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
		INSERT INTO suppressions (user_id, reason, class, set_by, set_at) SELECT 'u' || i, 'cool_off', 'all', 'bob', 1 FROM n`)
	a.exec(t, `INSERT INTO suppressions (user_id, reason, class, set_by, set_at) VALUES ('z', 'cool_off', 'all', 'bob', 'no time')`)
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { a.as(t, "GET", "/admin/v1/suppressions/export", "") })

	a.exec(t, `UPDATE notifications SET source_row = '{' WHERE user_id = 'ann'`)
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { a.as(t, "GET", "/admin/v1/users/ann/export", "") })
}

func TestASuppressionIsShortenedOnlyByWord(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	put := func(body string, want int) string {
		t.Helper()
		rec := a.as(t, "PUT", "/admin/v1/suppressions", body)
		require.Equal(t, want, rec.Code, rec.Body.String())
		return rec.Body.String()
	}
	const shorter = `{"user":"ann","reason":"self_exclusion","until":"2150-01-01T00:00:00Z"`
	put(`{"user":"ann","reason":"self_exclusion","until":"2200-01-01T00:00:00Z"}`, 200)
	said := put(shorter+`}`, 409)
	require.Contains(t, said, "self_exclusion is set until 2200-01-01T00:00:00Z (class service)")
	require.Contains(t, said, "shorten")
	put(shorter+`,"shorten":false}`, 409)
	require.Contains(t, a.as(t, "GET", "/admin/v1/suppressions?user=ann", "").Body.String(), "2200-01-01")

	rec := a.do(t, call{
		method: "POST", path: "/admin/v1/suppressions/import", token: a.token, contentType: "text/csv",
		body: "user,reason,until\nbob,cool_off,\nann,self_exclusion,2150-01-01T00:00:00Z\n",
	})
	require.Equal(t, 200, rec.Code, rec.Body.String())
	require.JSONEq(t, `{"lines":2,"changed":1,"unchanged":1,"kept":1,"kept_lines":[3]}`, rec.Body.String())
	require.Contains(t, a.as(t, "GET", "/admin/v1/suppressions?user=ann", "").Body.String(), "2200-01-01", "no import shortens")

	require.Contains(t, put(shorter+`,"shorten":true}`, 200), "2150-01-01")
	var told []string
	for _, e := range a.audit(t) {
		if strings.Contains(string(e.After), `"shortened":true`) {
			told = append(told, e.Actor+" "+e.Subject)
			require.Contains(t, string(e.Before), "2200-01-01")
		}
	}
	require.Equal(t, []string{"alice suppression/self_exclusion/ann"}, told)
}

func TestAnExportOfSuppressionsIsAudited(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	body := a.as(t, "GET", "/admin/v1/suppressions/export?reason=cool_off&format=ndjson", "").Body.String()
	require.Contains(t, body, `"user":"eve"`)
	require.Empty(t, a.as(t, "GET", "/admin/v1/suppressions/export?user=ann&format=ndjson", "").Body.String())
	entries := decode[api.AdminAuditList](t, a.as(t, "GET", "/admin/v1/audit?subject=suppressions&action=export", "")).Entries
	require.Len(t, entries, 2)
	require.Equal(t, "alice", entries[1].Actor)
	require.JSONEq(t, `{"reason":"cool_off","rows":{"suppressions":1,"imported_suppressions":0}}`, string(entries[1].Before))
	require.JSONEq(t, `{"user":"ann","rows":{"suppressions":0,"imported_suppressions":0}}`, string(entries[0].Before))
}
