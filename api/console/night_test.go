package console_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/browsertest"
)

// TestAtNight is what befalls operators in a hurry, in one browser, each in a world of its own.
func TestAtNight(t *testing.T) {
	t.Parallel()
	ctx := browsertest.Open(t)
	for name, test := range map[string]func(*testing.T, *tab){
		"who stops waiting may send again":             stopsWaiting,
		"the session ends in the middle of a form":     sessionEndsInForm,
		"another one signs in after a session's end":   anotherSignsIn,
		"a sign-in in another tab":                     anotherTab,
		"the session ends while the reason is written": sessionEndsWhileTyping,
		"a clock that is wrong":                        wrongClock,
		"what phones make of a text":                   phonesOfPreview,
		"what is wrong stays where one reads it":       readsTroubles,
	} {
		t.Run(name, func(t *testing.T) { test(t, turn(ctx, t, newWorldEvery(t, 500*time.Millisecond))) })
	}
}

func stopsWaiting(t *testing.T, b *tab) {
	gate := make(chan struct{})
	b.gate.Store(&gate) // the page that the answer leads to does not come
	b.signIn(t)
	b.open(t, "/rules/bet-settled")
	const busy = `String(document.querySelector('form[action$="/run"]').ariaBusy)`
	b.Click(t, `form[action$="/run"] button`)
	require.Eventually(t, func() bool {
		var begun int
		b.scan(t, &begun, `SELECT COUNT(*) FROM runs WHERE id > 15`)
		return begun > 0
	}, patience, 20*time.Millisecond)
	// As Escape and the browser's button do. A page that waits may not hear it at once, nor answer before it
	// has.
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
		defer cancel()
		if _, err := chromedp.Call(ctx, cdpage.StopLoading, cdp.Empty{}); err != nil {
			return false
		}
		told, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector(".stopped")?.innerText ?? ""`))
		return err == nil && strings.Contains(told, "Perhaps done")
	}, patience, 100*time.Millisecond)
	require.Equal(t, "null", b.Ask(t, busy))
	close(gate)
	b.Click(t, `form[action$="/run"] button`)
	require.Eventually(t, func() bool { return strings.Count(b.log.String(), `"route":"/rules/{id}/run","method":"POST"`) == 2 }, patience, 20*time.Millisecond)
	b.Quiet(t)
}

// endSession makes the browser's session one that nobody knows.
func (b *tab) endSession(t testing.TB) {
	t.Helper()
	cookies, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{})
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/audit", http.NoBody)
	require.NoError(t, err)
	for _, c := range cookies.Cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	other := b.browser(t)
	res, body := other.do(t, r)
	require.Equal(t, http.StatusOK, res.StatusCode)
	_, proof, _ := strings.Cut(body, `name="proof" value="`)
	proof, _, _ = strings.Cut(proof, `"`)
	out := other.form(t, "/sign-out", url.Values{"proof": {proof}})
	for _, c := range cookies.Cookies {
		out.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	res, _ = other.do(t, out)
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
}

// suppressAfterTheEnd writes the form of a user and sends it when the session has ended.
func suppressAfterTheEnd(t *testing.T, b *tab) {
	t.Helper()
	b.signIn(t)
	b.open(t, "/users?id=ann")
	b.Do(t, chromedp.SetValue(chromedp.CSS("#reason"), "self_exclusion"), chromedp.SetValue(chromedp.CSS("#class"), "all"),
		chromedp.SendKeys(chromedp.CSS("#note"), "asked by phone"))
	b.endSession(t)
	b.Click(t, `form[action="/users/suppress"] button`)
	b.see(t, ".notice.bad", "Not done. the session has ended")
	b.Forgive()
}

func sessionEndsInForm(t *testing.T, b *tab) {
	suppressAfterTheEnd(t, b)
	b.Type(t, "#token", "bga_wrong\r")
	b.see(t, ".notice.bad", "token")
	b.Forgive()
	b.Type(t, "#token", b.token+"\r")
	b.see(t, "h1", "ann")
	b.see(t, `form[action="/users/suppress"] .notice`, "Not done: the session had ended.")
	require.Equal(t, "self_exclusion all asked by phone", b.Ask(t, `[reason.value, document.getElementById("class").value, note.value].join(" ")`))
	require.Zero(t, b.changes(t), "nothing is sent by itself")
	b.Do(t, chromedp.KeyEvent("\r")) // the keyboard is on the button
	b.see(t, ".list", "asked by phone")
	b.open(t, "/users?id=ann")
	require.Empty(t, b.Ask(t, `note.value`), "it is kept once")
	b.Quiet(t)
}

func anotherSignsIn(t *testing.T, b *tab) {
	bob := b.addToken(t, "bob", 0)
	require.Eventually(t, func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/admin/v1/rules", http.NoBody)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+bob)
		res, _ := b.browser(t).do(t, r)
		return res.StatusCode == http.StatusOK
	}, patience, 50*time.Millisecond, "the file is read again every second")
	suppressAfterTheEnd(t, b)
	b.Type(t, "#token", bob+"\r")
	b.see(t, "h1", "ann")
	require.Equal(t, " null", b.Ask(t, `note.value + " " + sessionStorage.getItem("typed")`), "what somebody else has typed is not shown")
	b.Quiet(t)
}

func sessionEndsWhileTyping(t *testing.T, b *tab) {
	b.signIn(t)
	b.see(t, "#live-chart-sends", "Nothing sent yet.")
	b.Click(t, ".head details:not([hidden]) summary")
	b.Type(t, "#stop-why", "odds are wrong")
	b.endSession(t)
	b.see(t, "#lost", "No answer from Bugle")
	require.Equal(t, "odds are wrong", b.Ask(t, `document.getElementById("stop-why").value`))
	b.Type(t, "#stop-why", "\r")
	b.see(t, ".notice.bad", "Not done.")
	b.Forgive()
	require.Zero(t, b.changes(t))
	b.Type(t, "#token", b.token+"\r")
	b.see(t, `form[action="/sending/stop"] .notice`, "Not done: the session had ended.")
	require.Equal(t, "odds are wrong", b.Ask(t, `document.getElementById("stop-why").value`))
	b.Quiet(t)
}

// wrongClock is an hour ahead, and then two hours behind what it was.
func wrongClock(t *testing.T, b *tab) {
	id, err := chromedp.Call(b.ctx, cdpage.AddScriptToEvaluateOnNewDocument, cdpage.AddScriptToEvaluateOnNewDocumentParams{Source: `
		window.wrong = 3600e3;
		const right = Date.now.bind(Date), began = performance.timeOrigin;
		Date.now = () => right() + window.wrong;
		Object.defineProperty(performance, "timeOrigin", {get: () => began + 3600e3});
	`})
	require.NoError(t, err)
	defer func() {
		_, err := chromedp.Call(b.ctx, cdpage.RemoveScriptToEvaluateOnNewDocument, cdpage.RemoveScriptToEvaluateOnNewDocumentParams(id))
		require.NoError(t, err)
	}()
	b.signIn(t)
	b.open(t, "/rules/bet-settled")
	b.Ask(t, `document.querySelectorAll("time[data-rel]").forEach(e => { e.textContent = "?"; }); ""`)
	got := b.Until(t, `document.querySelector(".card table time").textContent`, func(got string) bool { return got != "?" }, patience)
	require.Regexp(t, `^\d+ s ago$|^2 min ago$`, got)
	b.open(t, "/")
	b.Ask(t, `window.wrong = -3600e3; ""`)
	b.Until(t, `document.querySelector("#live-replicas time").textContent`, func(got string) bool { return strings.HasSuffix(got, " s ago") || got == "now" }, patience)
	b.Quiet(t)
}

func readsTroubles(t *testing.T, b *tab) {
	b.signIn(t)
	b.see(t, "#live-troubles", "ksqldb")
	b.Ask(t, `document.getElementById("troubles").focus(); document.getElementById("troubles").scrollTop = 40; ""`)
	top := b.Ask(t, `String(document.getElementById("live-chart-sends").getBoundingClientRect().top)`)
	b.broken.Store(false)
	b.Until(t, `document.getElementById("live-troubles").innerText`, func(got string) bool { return !strings.Contains(got, "ksqldb") && strings.Contains(got, "run 13") }, patience)
	require.Equal(t, "troubles 40 "+top, b.Ask(t, `[document.activeElement.id, document.getElementById("troubles").scrollTop, document.getElementById("live-chart-sends").getBoundingClientRect().top].join(" ")`))
	b.Click(t, `#troubles a[href="/runs/13"]`)
	b.see(t, "h1", "Run 13")
	b.Quiet(t)
}

// phonesOfPreview is what one decides by: how much of a text is seen, by whom.
func phonesOfPreview(t *testing.T, b *tab) {
	b.stage.mu.Lock()
	b.stage.rows = b.stage.rows[1:] // Red Rum
	b.stage.mu.Unlock()
	b.signIn(t)
	b.open(t, "/rules/bet-settled/preview?locale=de")
	const captions = `Array.from(document.querySelectorAll("figcaption")).map(e => e.innerText).join("|")`
	b.see(t, ".facts", "title 20, text 154 characters")
	b.becomes(t, captions, "Android · text cut|iOS · text cut|Web")
	b.Click(t, "#size-opened")
	b.becomes(t, captions, "Android|iOS|Web")
	b.Click(t, "#shade-dark")
	// What was chosen stays so in the next language, which is read from the right.
	b.Click(t, `.tabs a[hreflang="ar"]`)
	b.see(t, ".android .text", "تمت تسوية")
	require.Equal(t, "true true", b.Ask(t, `document.getElementById("size-opened").checked + " " + document.getElementById("shade-dark").checked`))
	require.Equal(t, "rtl true", b.Ask(t, `(() => {
		const push = document.querySelector(".ios .push"), icon = push.querySelector("img").getBoundingClientRect(), now = push.querySelector(".now").getBoundingClientRect();
		return getComputedStyle(push).direction + " " + (icon.left > now.right);
	})()`), "the whole phone is the other way round")
	b.open(t, "/rules/bet-settled/preview?locale=fr")
	b.see(t, ".default", "no text in fr: such a phone gets the default one")
	b.Quiet(t)
}

// anotherTab signs in anew, which ends the session of the first one's form.
func anotherTab(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/rules/bet-settled")
	b.Type(t, "#pause-why", "wrong text")
	res, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{})
	require.NoError(t, err)
	before := res.Cookies[0].Value
	other := b.Another(t)
	other.Open(t, b.server.URL+"/audit")
	other.Click(t, ".who button")
	other.Type(t, "#token", b.token+"\r")
	other.See(t, "h1", "Overview", patience)
	res, err = chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{})
	require.NoError(t, err)
	require.NotEqual(t, before, res.Cookies[0].Value)
	b.Click(t, `form[action$="/pause"] button`)
	b.see(t, "main", "form is not one of this session")
	b.see(t, "[data-undone]", "Not done.")
	b.Forgive()
	require.Zero(t, b.changes(t))
	b.Click(t, "[data-undone] a")
	b.see(t, `form[action$="/pause"] .notice`, "Not done: the session had ended.")
	require.Equal(t, "wrong text", b.Ask(t, `document.getElementById("pause-why").value`))
	b.Click(t, `form[action$="/pause"] button`)
	b.see(t, ".notice.warn", "Paused by alice")
	b.Quiet(t)
}
