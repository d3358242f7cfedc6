package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// A form that was refused comes back with what was typed, and says at each field
// what is wrong with it.
func TestARefusedFormKeepsWhatWasTyped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	long := strings.Repeat("x", 501)
	for name, tt := range map[string]struct {
		path   string
		form   url.Values
		status int
		// told stands on the page, and wrong at the field of that id; kept stands in fields.
		told, field, wrong string
		kept               []string
	}{
		"a reason too long": {
			path: "/rules/bet-settled/pause", form: url.Values{"reason": {long}}, status: 400,
			field: "pause-reason-wrong", wrong: "wants at most 500 characters", kept: []string{`value="` + long + `"`},
		},
		"a reason too long, to stop everything": {
			path: "/sending/stop", form: url.Values{"reason": {long}}, status: 400,
			field: "stop-reason-wrong", wrong: "wants at most 500 characters", kept: []string{`value="` + long + `"`, `<details class="confirm" open`},
		},
		"a class that the reason does not allow": {
			path: "/users/suppress", form: url.Values{"user": {"ann"}, "reason": {"cool_off"}, "class": {"marketing"}, "note": {"asked by phone"}, "until": {"2031-01-02T03:04"}},
			status: 400, field: "suppress-class-wrong", wrong: "wants service or all",
			kept: []string{`<option selected>cool_off`, `value="asked by phone"`, `value="2031-01-02T03:04"`, `value="marketing" selected`},
		},
		"a time that is none": {
			path: "/users/suppress", form: url.Values{"user": {"ann"}, "reason": {"cool_off"}, "until": {"soon"}, "note": {markup}}, status: 400,
			field: "suppress-until-wrong", wrong: "wants a date and a time", kept: []string{`value="soon"`, `value="&lt;img src=x`},
		},
		"nobody": {
			path: "/users/suppress", form: url.Values{"user": {""}, "reason": {"cool_off"}, "class": {"all"}, "note": {"typed"}, "from_page": {"suppressions"}}, status: 400,
			field: "suppress-user-wrong", kept: []string{`value="typed"`, `value="all" selected`},
		},
		"a push without a title": {
			path: "/push", form: url.Values{"device": {"phone-1"}, "title": {""}, "body": {"long thought about"}}, status: 400,
			field: "push-title-wrong", wrong: "wants 1 to 200 characters", kept: []string{">long thought about</textarea>"},
		},
		"a device that is not active": {
			path: "/push", form: url.Values{"device": {"phone-2"}, "title": {"a"}, "body": {"x"}}, status: 409, told: "not active",
		},
		"an erasure of somebody else": {
			path: "/users/erase", form: url.Values{"user": {"ann"}, "confirm": {"anne"}}, status: 400,
			field: "erase-confirm-wrong", wrong: "nothing was erased", kept: []string{`value="anne"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := b.post(t, tt.path, tt.form)
			require.Equal(t, tt.status, res.StatusCode, text(body))
			require.Contains(t, text(body), "Not done.")
			require.Contains(t, text(body), tt.told)
			for _, kept := range tt.kept {
				require.Contains(t, body, kept)
			}
			if tt.field != "" {
				require.Contains(t, body, `aria-invalid="true" aria-describedby="`+tt.field+`" autofocus`)
				_, at, ok := strings.Cut(body, `<p class="field-wrong" id="`+tt.field+`">`)
				require.True(t, ok, body)
				said, _, _ := strings.Cut(at, "</p>")
				require.Contains(t, said, tt.wrong)
			}
			require.NotContains(t, body, "<img src=x")
		})
	}
	require.Zero(t, w.changes(t))
	require.NotContains(t, page(t, b, "/users?id=ann"), "aria-invalid", "the next page knows nothing of it")
}

// What nobody knows the end of is not said to be undone: whoever believes it does it twice.
func TestWhatMayBeDoneIsNotSaidToBeUndone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	form := url.Values{"device": {"phone-1"}, "title": {"a"}, "body": {"b"}}
	w.stage.answer = notifier.Outcome{Verdict: notifier.VerdictUnknown, Code: "timeout"}
	res, body := b.post(t, "/push", form)
	require.Equal(t, http.StatusSeeOther, res.StatusCode, body)
	got := text(page(t, b, res.Header.Get("Location")))
	require.Regexp(t, `Perhaps not done\. fcm answered "unknown" after \d+(\.\d+)?(ns|µs|ms|s): the phone may show it all the same\.`, got)
	w.stage.answer = notifier.Outcome{Verdict: notifier.VerdictRejected, Code: "INVALID_ARGUMENT", Status: 400}
	res, body = b.post(t, "/push", form)
	require.Equal(t, http.StatusConflict, res.StatusCode)
	require.Contains(t, text(body), `Not done. Fcm answered "rejected"`)
	require.NotContains(t, text(body), "Perhaps")

	proof := b.proof(t)
	require.NoError(t, w.db.Close())
	res, _ = b.post(t, "/runs/12/release", url.Values{"proof": {proof}})
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	require.Contains(t, text(page(t, b, "/")), "Perhaps not done. Something went wrong here")
	res, body = b.post(t, "/sending/stop", url.Values{"proof": {proof}})
	require.Equal(t, http.StatusInternalServerError, res.StatusCode)
	require.Contains(t, text(body), "Perhaps not done. Something went wrong here")
}

// So does a filter that cannot be understood; the page looks for nothing then.
func TestARefusedFilterKeepsWhatWasTyped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	for path, field := range map[string]string{
		"/audit?since=soon&actor=alice":                                    "filter-since-wrong",
		"/audit?action=juggle&actor=alice":                                 "filter-action-wrong",
		"/audit?since=2026-01-02T00:00&until=2026-01-01T00:00&actor=alice": "filter-until-wrong",
		"/deliveries?until=soon&rule=alice":                                "filter-until-wrong",
		"/deliveries?state=dead&rule=alice":                                "filter-state-wrong",
	} {
		res, body := b.get(t, path)
		require.Equal(t, http.StatusBadRequest, res.StatusCode, path)
		require.Contains(t, body, `aria-describedby="`+field+`"`, path)
		require.Contains(t, body, `id="`+field+`"`, path)
		require.Contains(t, body, `value="alice"`, path)
		require.Contains(t, text(body), "Nothing was looked for.", path)
	}
	for _, path := range []string{"/audit/export?since=soon", "/deliveries/requeue?until=soon", "/deliveries/requeue", "/deliveries?delivery=x", "/users?id=ann&notification=-1"} {
		res, _ := b.get(t, path)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, res.StatusCode, path)
	}
}

// People who lose their way get a page, and programs a problem.
func TestWhatHasNoRouteIsAPageForABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	ask := func(b *browser, method, path, accept string) (*http.Response, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, b.server.URL+path, http.NoBody)
		require.NoError(t, err)
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		return b.do(t, r)
	}
	const html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, who := range []*browser{b, w.browser(t)} {
		res, body := ask(who, http.MethodGet, "/nothing/here", html)
		require.Equal(t, http.StatusNotFound, res.StatusCode)
		require.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
		require.Contains(t, res.Header.Get("Content-Security-Policy"), "default-src 'none'")
		require.Contains(t, text(body), "There is no page with this address.")
		require.Equal(t, who == b, strings.Contains(body, ">alice<"))
	}
	res, body := ask(b, http.MethodGet, "/users/suppress", html)
	require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
	require.Equal(t, "POST", res.Header.Get("Allow"))
	require.Contains(t, text(body), "This address takes forms")
	for path, accept := range map[string]string{
		"/admin/v1/nothing": html, "/admin": html, "/debug/nothing": html, "/nothing": "application/json", "/nothing/": "", "/assets/nothing/x": html,
	} {
		res, body := ask(b, http.MethodGet, path, accept)
		require.Equal(t, http.StatusNotFound, res.StatusCode, path)
		require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"), path)
		require.Contains(t, body, "no route has this path", path)
	}
}
