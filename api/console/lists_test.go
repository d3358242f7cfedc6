package console_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// upload makes the request of the form with a file. An empty proof is left out.
func (b *browser) upload(t testing.TB, proof, name string, file []byte) *http.Request {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if proof != "" {
		require.NoError(t, form.WriteField("proof", proof))
	}
	part, err := form.CreateFormFile("file", name)
	require.NoError(t, err)
	_, err = part.Write(file)
	require.NoError(t, err)
	require.NoError(t, form.Close())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.server.URL+"/suppressions/import", &body)
	require.NoError(t, err)
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Origin", b.server.URL)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

func TestImportingSuppressions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	for name, file := range map[string]string{
		"list.csv":    "\xef\xbb\xbfuser,reason,note\nmia,cool_off,asked\nnoa,self_exclusion,\n",
		"list.ndjson": "\n" + `{"user":"ole","reason":"cool_off","class":"all"}` + "\n",
	} {
		res, body := b.do(t, b.upload(t, b.proof(t), name, []byte(file)))
		require.Equal(t, http.StatusSeeOther, res.StatusCode, text(body))
		require.Equal(t, "/suppressions", res.Header.Get("Location"))
		require.Contains(t, text(page(t, b, "/suppressions")), "in the list now", name)
	}
	var n int
	w.scan(t, &n, `SELECT COUNT(*) FROM suppressions WHERE user_id IN ('mia', 'noa', 'ole') AND set_by = 'alice'`)
	require.Equal(t, 3, n)
	w.scan(t, &n, `SELECT COUNT(*) FROM audit WHERE action = 'suppress' AND actor = 'alice'`)
	require.Equal(t, 3, n)

	res, body := b.do(t, b.upload(t, b.proof(t), "list.csv", []byte("user,reason\npia,cool_off\nquin,nothing\n"+strings.Repeat("ron,\n", 200))))
	require.Equal(t, http.StatusBadRequest, res.StatusCode)
	got := text(body)
	require.Contains(t, got, "201 lines are wrong")
	require.Contains(t, got, "3 reason: ", "the line is named")
	require.Contains(t, got, "These are the first 100 of 201.")
	require.Contains(t, body, `aria-describedby="import-file-wrong"`)
	w.scan(t, &n, `SELECT COUNT(*) FROM suppressions WHERE user_id IN ('pia', 'quin', 'ron')`)
	require.Zero(t, n)
}

// Nothing that somebody uploads does any harm, or is shown as anything but text.
// Where the session has ended, a link to a file leads to the sign-in: with an attribute download, a
// browser would keep that page as the file. From there the way goes to the page with the link.
func TestNoSignInIsKeptAsAFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	for _, path := range []string{"/audit", "/suppressions"} {
		body := page(t, b, path)
		require.Contains(t, body, path+"/export")
		require.NotRegexp(t, `<a [^>]* download`, body)
	}
	for path, want := range map[string]string{
		"/audit/export?actor=alice": "/audit?actor=alice",
		"/rules/export":             "/rules/export", // a rule may have that name
	} {
		res, _ := w.browser(t).get(t, path)
		require.Equal(t, http.StatusSeeOther, res.StatusCode)
		require.Equal(t, "/sign-in?next="+url.QueryEscape(want), res.Header.Get("Location"))
		require.Empty(t, res.Header.Get("Content-Disposition"))
	}
}

func TestHostileUploadsAreHarmless(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	proof := b.proof(t)
	for name, file := range map[string][]byte{
		"nothing":            nil,
		"a picture":          append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat([]byte{0, 1, 2, 0xff}, 5000)...),
		"markup":             []byte("user,reason," + markup + "\n"),
		"markup in a line":   []byte("user,reason\n" + markup + ",cool_off,x\n<script>alert(1)</script>,nothing\n"),
		"a line without end": bytes.Repeat([]byte("x"), 1<<20),
		"unknown columns":    []byte("user,reason,is_admin\nann,cool_off,yes\n"),
		"not UTF-8":          []byte("user,reason\n\xff\xfe,cool_off\n"),
		"control characters": []byte("user,reason\n\"a\x00b\",cool_off\n"),
		"a member too many":  []byte(`{"user":"ann","reason":"cool_off","__proto__":{}}` + "\n"),
		"deeply nested":      []byte(`{"user":` + strings.Repeat("[", 8000) + "\n"),
		"a zip":              []byte("PK\x03\x04" + strings.Repeat("\x00", 100)),
		"only a header":      []byte("user,reason\n"),
		"an unknown reason":  []byte("user,reason\nann,because\n"),
	} {
		res, body := b.do(t, b.upload(t, proof, "../../etc/"+markup, file))
		require.Equal(t, http.StatusBadRequest, res.StatusCode, "%s: %s", name, text(body))
		require.NotContains(t, body, "<img src=x", name)
		require.NotContains(t, body, "<script>alert", name)
		require.Contains(t, body, `id="import-file-wrong"`, name)
	}
	// A formula is kept as it is: what opens the export is told so by the type of the file.
	res, _ := b.do(t, b.upload(t, proof, "x.csv", []byte("user,reason,note\nzed,cool_off,"+`"=HYPERLINK(""http://evil.example"")"`+"\n")))
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	w.exec(t, `DELETE FROM suppressions WHERE user_id = 'zed'`)
	var entries int
	w.scan(t, &entries, `SELECT COUNT(*) FROM audit`)
	require.Equal(t, 1, entries)
	require.Equal(t, 1, w.changes(t), "that entry of the audit")
}

func TestNoUploadWorksWithoutProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	proof, file := b.proof(t), []byte("user,reason\nann,cool_off\n")
	for name, r := range map[string]*http.Request{
		"no proof":                     b.upload(t, "", "x.csv", file),
		"the proof of another session": b.upload(t, w.signedIn(t).proof(t), "x.csv", file),
		"another site": func() *http.Request {
			r := b.upload(t, proof, "x.csv", file)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Origin", "https://evil.example")
			return r
		}(),
		"the proof in the query": func() *http.Request {
			r := b.upload(t, "", "x.csv", file)
			r.URL.RawQuery = "proof=" + proof
			return r
		}(),
	} {
		res, body := b.do(t, r)
		require.Contains(t, []int{http.StatusForbidden, http.StatusBadRequest}, res.StatusCode, "%s: %s", name, text(body))
	}
	out := w.browser(t)
	res, _ := out.do(t, out.upload(t, proof, "x.csv", file))
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	var n int
	w.scan(t, &n, `SELECT COUNT(*) FROM suppressions WHERE user_id = 'ann'`)
	require.Zero(t, n)
}

// take asks for a file: by a form, with what stands in the address, where it is audited.
func (b *browser) take(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	u := mustURL(t, path)
	if u.Path == "/audit/export" {
		return b.get(t, path)
	}
	return b.post(t, u.Path, u.Query())
}

func TestListsAreExported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(t, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
		INSERT INTO suppressions (user_id, reason, class, set_by, set_at) SELECT 'u' || i, 'cool_off', 'service', 'bob', 1 FROM n`)
	w.exec(t, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
		INSERT INTO audit (at, actor, action, subject, before_state, after_state, request_id)
		SELECT i * 1000000, CASE WHEN i % 2 = 0 THEN 'bob' ELSE 'eve' END, 'pause', 'rule/r', 'null', '{}', 'q' FROM n`)
	b := w.signedIn(t)
	for path, want := range map[string]struct {
		media, name string
		lines       int
	}{
		"/suppressions/export?user=u7":                        {"text/csv; charset=utf-8", "bugle-suppressions.csv", 2},
		"/suppressions/export?reason=jurisdiction&format=csv": {"text/csv; charset=utf-8", "bugle-suppressions.csv", 1},
		"/suppressions/export":                                {"text/csv; charset=utf-8", "bugle-suppressions.csv", 1202},
		"/suppressions/export?format=ndjson":                  {"application/x-ndjson", "bugle-suppressions.ndjson", 1201},
		"/audit/export?action=pause":                          {"application/x-ndjson", "bugle-audit.ndjson", 1200},
		"/audit/export?actor=bob":                             {"application/x-ndjson", "bugle-audit.ndjson", 600},
		"/audit/export?actor=bob&action=stop":                 {"application/x-ndjson", "bugle-audit.ndjson", 0},
	} {
		res, body := b.take(t, path)
		require.Equal(t, http.StatusOK, res.StatusCode, path)
		require.Equal(t, want.media, res.Header.Get("Content-Type"), path)
		require.Equal(t, `attachment; filename="`+want.name+`"`, res.Header.Get("Content-Disposition"))
		require.Equal(t, want.lines, strings.Count(body, "\n"), path)
	}
	// Each is in the audit: who, what they chose, and how many it was.
	var of []string
	for _, part := range []string{`"rows":{"imported_suppressions":0,"suppressions":1201}`, `"user":"u7","rows":{"imported_suppressions":0,"suppressions":1}`, `"reason":"jurisdiction","rows":{"imported_suppressions":0,"suppressions":0}`} {
		var n int
		w.scan(t, &n, `SELECT COUNT(*) FROM audit WHERE actor = 'alice' AND action = 'export' AND subject = 'suppressions' AND before_state LIKE '%' || $1 || '%'`, part)
		of = append(of, fmt.Sprint(n))
	}
	require.Equal(t, []string{"2", "1", "1"}, of)
	require.Equal(t, http.StatusMethodNotAllowed, func() int { res, _ := b.get(t, "/suppressions/export"); return res.StatusCode }(), "what is audited takes a form")

	_, body := b.get(t, "/audit/export?actor=bob")
	var first struct{ Actor, Action, Subject string }
	require.NoError(t, json.Unmarshal([]byte(body[:strings.IndexByte(body, '\n')]), &first))
	require.Equal(t, "bob", first.Actor)
	require.Equal(t, "rule/r", first.Subject)

	got := page(t, b, "/audit?actor=bob&action=pause")
	require.Contains(t, got, `href="/audit/export?action=pause&amp;actor=bob"`)
	require.Contains(t, got, `href="/audit?action=pause&amp;actor=bob&amp;before=`)
	require.NotContains(t, got, `data-label="Who">eve<`)
	require.Contains(t, text(page(t, b, "/audit?subject=rule/x")), "Nobody has done such a thing.")
	require.Contains(t, text(page(t, b, "/suppressions?user=u7&reason=cool_off")), "u7 suppressed")
	require.NotContains(t, text(page(t, b, "/suppressions?user=u7")), "u70")
}

// Half of a file must not look like a whole one.
func TestAnExportThatCannotGoOnIsBrokenOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(t, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
		INSERT INTO suppressions (user_id, reason, class, set_by, set_at) SELECT 'u' || (1000 + i), 'cool_off', 'service', 'bob', 1 FROM n`)
	w.exec(t, `UPDATE suppressions SET set_at = 'no time' WHERE user_id = 'u1600'`)
	w.exec(t, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
		INSERT INTO audit (at, actor, action, subject, before_state, after_state, request_id) SELECT CASE i WHEN 600 THEN 'no time' ELSE i END, 'bob', 'pause', 'rule/r', 'null', '{}', 'q' FROM n`)
	w.exec(t, `UPDATE notifications SET source_row = '{' WHERE user_id = 'ann'`)
	b := w.signedIn(t)
	proof := url.Values{"proof": {b.proofOf(t, "/push")}, "user": {"ann"}}
	for path, form := range map[string]url.Values{"/suppressions/export": {"proof": proof["proof"]}, "/audit/export": nil, "/users/export": proof} {
		r := b.form(t, path, form)
		if form == nil {
			r.Method, r.Body = http.MethodGet, http.NoBody
		}
		res, err := b.client.Do(r)
		if err == nil { // else it broke off before its first bytes were on their way
			require.Equal(t, http.StatusOK, res.StatusCode, path)
			_, err = io.ReadAll(res.Body)
			require.NoError(t, res.Body.Close())
		}
		require.ErrorContains(t, err, "EOF", path)
	}
}

func TestAUserIsExportedAndErased(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	res, body := b.post(t, "/users/export", url.Values{"user": {"ann"}})
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, `attachment; filename="bugle-user.ndjson"`, res.Header.Get("Content-Disposition"))
	require.Contains(t, body, `"kind":"device"`)
	require.NotContains(t, body, secretTarget)
	require.Contains(t, page(t, b, "/audit"), ">user/ann<")

	res, body = b.post(t, "/users/export", url.Values{"user": {"nobody"}})
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.NotContains(t, body, `"kind":"device"`)

	res, _ = b.post(t, "/users/erase", url.Values{"user": {"ann"}, "confirm": {"ann"}})
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	got := text(page(t, b, res.Header.Get("Location")))
	require.Contains(t, got, "of this user are erased.")
	require.Contains(t, got, "No device has been activated for this user.")
	var n int
	w.scan(t, &n, `SELECT COUNT(*) FROM devices WHERE user_id = 'ann'`)
	require.Zero(t, n)
	w.scan(t, &n, `SELECT COUNT(*) FROM audit WHERE action = 'erase' AND actor = 'alice' AND subject = 'user/ann'`)
	require.Equal(t, 2, n)
}

func TestPresenceIsNarrowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	got := text(page(t, b, "/presence"))
	require.Contains(t, got, "ann Car Racing Page inbound:betting:horses:ann c-1")
	require.Contains(t, got, climber)
	for path, seen := range map[string]bool{
		"/presence?client=ann": true, "/presence?channel=inbound:betting:horses:ann": true, "/presence?page=Car+Racing+Page": true,
		"/presence?client=ann&page=x": false, "/presence?client=bob": false, "/presence?client=ann&channel=inbound:betting:horses:ann&page=Car+Racing+Page": true,
	} {
		body := text(page(t, b, path))
		require.Equal(t, seen, strings.Contains(body, "c-1"), path)
		require.NotContains(t, body, "c-2", path)
	}
}
