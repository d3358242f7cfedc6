package console_test

import (
	"context"
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api/console"
	"github.com/bugle-push/bugle/internal/browsertest"
)

// screens is where TestEveryPageFits leaves what it saw; empty leaves nothing.
var screens = flag.String("screens", "", "write screenshots of every page to this folder")

// tab is a tab of a real browser that looks at a world.
type tab struct {
	*world
	*browsertest.Tab
	ctx context.Context //nolint:containedctx // chromedp's name for a tab
}

// turn turns the browser to a world.
func turn(ctx context.Context, t *testing.T, w *world) *tab {
	t.Helper()
	// The browser's own icon of a date picker comes from the browser.
	return &tab{world: w, ctx: ctx, Tab: browsertest.Look(ctx, t, w.server.URL+"/", "data:image/svg+xml;")}
}

// patience is how long a page may take to show something.
const patience = time.Minute

func (b *tab) open(t testing.TB, path string) {
	t.Helper()
	b.Open(t, b.server.URL+path)
}

func (b *tab) see(t testing.TB, css, text string) {
	t.Helper()
	b.See(t, css, text, patience)
}

// What is asked for a second time fits too, on a phone as well.
func TestEveryQuestionFits(t *testing.T) {
	t.Parallel()
	b := turn(browsertest.Open(t), t, newWorld(t))
	b.signIn(t)
	for _, q := range []struct{ name, path, css string }{
		{"stop", "/", ".head details:not([hidden]) summary"},
		{"release", "/runs/12", ".actions summary.main"},
		{"discard", "/runs/12", ".actions summary:not(.main)"},
	} {
		b.open(t, q.path)
		b.Click(t, q.css)
		b.Shots(t, *screens, "question-"+q.name)
	}
	b.Quiet(t)
}

// becomes waits until a script has that answer.
func (b *tab) becomes(t testing.TB, script, want string) {
	t.Helper()
	b.Until(t, script, func(got string) bool { return got == want }, patience)
}

func (b *tab) signIn(t testing.TB) {
	t.Helper()
	b.open(t, "/sign-in")
	b.Do(t, chromedp.SendKeys(chromedp.CSS("#token"), b.token+"\r"))
	b.see(t, "h1", "Overview")
}

// upload imports a file with that text.
func (b *tab) upload(t testing.TB, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "list.csv")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	b.Do(t, chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}), chromedp.Click(chromedp.CSS(`form[action="/suppressions/import"] button`)))
}

// TestInABrowser does what operators do, in one browser, each in a world of its own.
func TestInABrowser(t *testing.T) {
	t.Parallel()
	ctx := browsertest.Open(t)
	for name, test := range map[string]func(*testing.T, *tab){
		"sign in, and out":               signInAndOut,
		"from another site":              fromAnotherSite,
		"pause, resume and run":          pauseAndRun,
		"preview on phones":              previewOnPhones,
		"release a held run":             releaseHeldRun,
		"discard a held run":             discardHeldRun,
		"suppress, and end it":           suppressAndEnd,
		"a test push":                    testPush,
		"why somebody was not told":      whyNotTold,
		"requeue what was rejected":      requeueRejected,
		"import, refused and taken":      importList,
		"a refused form keeps its words": refusedForm,
		"the audit is narrowed":          narrowedAudit,
		"export and erase a user":        exportAndErase,
		"stop and start all sending":     stopAndStart,
		"the first load is a small load": smallLoad,
	} {
		t.Run(name, func(t *testing.T) { test(t, turn(ctx, t, newWorld(t))) })
	}
}

// TestTheOverviewInABrowser leaves it open while the world goes on.
func TestTheOverviewInABrowser(t *testing.T) {
	t.Parallel()
	ctx := browsertest.Open(t)
	for name, test := range map[string]func(*testing.T, *tab){
		"the overview renews itself":     overviewRenews,
		"the overview is lost and found": lostAndFound,
		"others stop and start":          othersStopAndStart,
		"a quota is paused and goes on":  quotaPaused,
		"nobody looks":                   nobodyLooks,
		"the session of an open page":    sessionOfOpenPage,
		"more pages than streams":        morePagesThanStreams,
	} {
		// A part that is renewed more often could not be clicked on a slow machine.
		t.Run(name, func(t *testing.T) { test(t, turn(ctx, t, newWorldEvery(t, 500*time.Millisecond))) })
	}
}

func signInAndOut(t *testing.T, b *tab) {
	b.open(t, "/runs?state=held")
	b.see(t, "h1", "Sign in")
	require.Equal(t, "token", b.Ask(t, `document.activeElement.id`), "the keyboard is where it is needed")
	b.Do(t, chromedp.SendKeys(chromedp.CSS("#token"), b.token+"\r"))
	b.see(t, "h1", "Runs")
	require.Equal(t, "/runs?state=held", b.Ask(t, `location.pathname + location.search`))
	require.Equal(t, "held", b.Ask(t, `document.getElementById("state").value`))
	require.Empty(t, b.Ask(t, `document.cookie`), "no script sees the session")
	b.Click(t, ".who button")
	b.see(t, "h1", "Sign in")
	b.open(t, "/rules")
	b.see(t, "h1", "Sign in")
	b.Quiet(t)
}

// fromAnotherSite follows a link as an alert has it.
func fromAnotherSite(t *testing.T, b *tab) {
	b.signIn(t)
	b.Open(t, strings.Replace(b.server.URL, "127.0.0.1", "localhost", 1)+"/sign-in") // to a browser another site
	b.Ask(t, `document.querySelector("h1").innerHTML = '<a id="alert" href="`+b.server.URL+`/runs/12">look</a>'; ""`)
	b.Click(t, "#alert")
	b.see(t, ".notice.warn", "You come from another site")
	b.Click(t, ".notice.warn a")
	b.see(t, "h1", "Run 12")
}

func pauseAndRun(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/rules/bet-settled")
	b.Do(t, chromedp.SendKeys(chromedp.CSS("#pause-why"), "wrong text"), chromedp.Click(chromedp.CSS(`form[action$="/pause"] button`)))
	b.see(t, ".notice.warn", "Paused by alice")
	b.see(t, ".notice.warn", "wrong text")
	var paused int
	b.scan(t, &paused, `SELECT COUNT(*) FROM rule_controls WHERE rule_id = 'bet-settled' AND paused AND actor = 'alice' AND reason = 'wrong text'`)
	require.Equal(t, 1, paused)
	require.Equal(t, "true", b.Ask(t, `String(document.querySelector('form[action$="/run"] button').disabled)`))

	b.Click(t, `form[action$="/resume"] button`)
	b.see(t, ".notice.good", "takes ticks again")
	b.Click(t, `form[action$="/run"] button`)
	b.see(t, "h1", "Run 16")
	b.see(t, ".states", "released")
	b.see(t, ".funnel", "Rows read")
	var actors string
	b.scan(t, &actors, `SELECT actor FROM audit WHERE action = 'run'`)
	require.Equal(t, "alice", actors)
	b.open(t, "/audit")
	b.see(t, "tbody", "resume")
	b.Quiet(t)
}

func previewOnPhones(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/rules/bet-settled")
	b.Click(t, `.actions a.button`)
	b.see(t, ".android .title", markup+" won")
	b.see(t, ".ios .title", markup+" won")
	b.see(t, ".web .title", "Red Rum won")
	require.Equal(t, "0", b.Ask(t, `String(document.querySelectorAll('.push [src="x"]').length)`))
	light := b.Ask(t, `getComputedStyle(document.querySelector(".push")).color`)
	b.Click(t, "#shade-dark")
	require.NotEqual(t, light, b.Ask(t, `getComputedStyle(document.querySelector(".push")).color`))
	b.Click(t, `.tabs a[hreflang="de"]`)
	b.see(t, ".android .text", "Herzlichen Glückwunsch")
	require.Zero(t, b.changes(t), "a preview changes nothing")
	b.Quiet(t)
}

func releaseHeldRun(t *testing.T, b *tab) {
	b.signIn(t)
	b.see(t, "#live", "Run 12")
	b.Click(t, `#live a[href="/runs/12"]`)
	b.see(t, ".notice.warn", "It waits for your word")
	b.see(t, ".android .title", "Red Rum <b> won")
	b.Click(t, ".actions summary.main")
	require.Equal(t, []string{"held", "held"}, heldStates(t, b), "nothing goes out before it is said twice")
	b.see(t, `form[action$="/release"]`, "deliveries go out at once")
	b.Click(t, `form[action$="/release"] button`)
	b.see(t, ".notice.good", "what it held goes out")
	b.see(t, ".states", "released")
	require.Equal(t, []string{"released", "held"}, heldStates(t, b))
	b.Quiet(t)
}

func discardHeldRun(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/runs/13")
	b.Click(t, ".actions summary:not(.main)")
	require.Equal(t, []string{"held", "held"}, heldStates(t, b), "nothing is discarded before it is said twice")
	b.Click(t, `form[action$="/discard"] button`)
	b.see(t, ".states", "discarded")
	require.Equal(t, []string{"held", "discarded"}, heldStates(t, b))
	b.Quiet(t)
}

func heldStates(t testing.TB, b *tab) []string {
	t.Helper()
	out := make([]string, 2)
	b.scan(t, &out[0], `SELECT state FROM runs WHERE id = 12`)
	b.scan(t, &out[1], `SELECT state FROM runs WHERE id = 13`)
	return out
}

func suppressAndEnd(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/users")
	b.Do(t, chromedp.SendKeys(chromedp.CSS("#id"), "ann\r"))
	b.see(t, "h1", "ann")
	b.see(t, "main", "phone-1")
	b.Do(t,
		chromedp.SetValue(chromedp.CSS("#reason"), "self_exclusion"), chromedp.SetValue(chromedp.CSS("#class"), "all"),
		chromedp.SendKeys(chromedp.CSS("#note"), "asked by phone"), chromedp.Click(chromedp.CSS(`form[action="/users/suppress"] button`)))
	b.see(t, ".list", "asked by phone")
	var n int
	const listed = `SELECT COUNT(*) FROM suppressions WHERE user_id = 'ann' AND reason = 'self_exclusion' AND class = 'all' AND set_by = 'alice'`
	b.scan(t, &n, listed)
	require.Equal(t, 1, n)
	b.Do(t,
		chromedp.SetValue(chromedp.CSS("#reason"), "self_exclusion"), chromedp.SetValue(chromedp.CSS("#class"), "service"),
		chromedp.Click(chromedp.CSS(`form[action="/users/suppress"] button`)))
	b.see(t, ".notice.bad", "would stop less")
	b.Forgive()
	b.scan(t, &n, listed)
	require.Equal(t, 1, n, "it is shortened only by a second word")
	b.Do(t, chromedp.Click(chromedp.CSS("#shorten")), chromedp.Click(chromedp.CSS(`form[action="/users/suppress"] button`)))
	b.see(t, ".notice.good", "ann is suppressed")
	b.scan(t, &n, listed)
	require.Zero(t, n)
	b.Click(t, `.list details.confirm summary`)
	b.Click(t, `form[action="/users/unsuppress"] button`)
	b.see(t, "main", "Nothing keeps this user from being sent to.")
	b.scan(t, &n, listed)
	require.Zero(t, n)
	b.Quiet(t)
}

func testPush(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/push?device=phone-1")
	b.Click(t, `form[action="/push"] button`)
	b.see(t, ".notice.good", `fcm answered "sent"`)
	b.stage.mu.Lock()
	defer b.stage.mu.Unlock()
	require.Len(t, b.stage.sent, 1)
	require.Equal(t, "Test", b.stage.sent[0].Message.Title)
	b.Quiet(t)
}

func whyNotTold(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/users?id=ann")
	b.Click(t, `.timeline a[href^="/notifications/41"]`)
	b.see(t, "h1", "Notification 41")
	b.see(t, ".answers", "Not told: fcm refused the message for good")
	b.see(t, ".answers", "Told: fcm took it")
	require.Equal(t, "false", b.Ask(t, `String(document.querySelector(".gates").checkVisibility())`))
	b.Click(t, ".delivery summary")
	b.see(t, ".gates", "The device is active")
	b.see(t, ".delivery", "INVALID_ARGUMENT")
	b.open(t, "/runs/15")
	b.Click(t, `#notifications a[href="/notifications/41"]`)
	b.see(t, ".answers", "1 rejected, 1 sent")
	b.Quiet(t)
}

func requeueRejected(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/deliveries")
	b.Do(t, chromedp.SetValue(chromedp.CSS("#state"), "rejected"), chromedp.Click(chromedp.CSS("form.filter button")))
	b.see(t, ".actions", "Try these again")
	b.Click(t, ".actions a.button")
	b.see(t, ".tiles", "would be tried again")
	b.see(t, ".tile.good b", "1")
	require.Zero(t, b.changes(t))
	b.Click(t, `form[action="/deliveries/requeue"] button`)
	b.see(t, ".notice.good", "1 delivery")
	var state string
	b.scan(t, &state, `SELECT state FROM deliveries WHERE id = 7`)
	require.Equal(t, "queued", state)
	b.Quiet(t)
}

func importList(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/suppressions")
	b.upload(t, "user,reason\nmia,cool_off\nnoa,"+markup+"\n")
	b.see(t, ".notice.bad", "1 line is wrong")
	b.see(t, ".wrong-lines", "3")
	b.becomes(t, `document.activeElement.id`, "file") // the keyboard is where it is needed
	b.Forgive()
	b.upload(t, "user,reason\nmia,cool_off\n")
	b.see(t, ".notice.good", "Of 1 line 1 are in the list now")
	b.see(t, "tbody", "mia")
	b.Quiet(t)
}

func refusedForm(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/users?id=ann")
	b.Do(t, chromedp.SetValue(chromedp.CSS("#reason"), "cool_off"), chromedp.SetValue(chromedp.CSS("#class"), "marketing"),
		chromedp.SendKeys(chromedp.CSS("#note"), "asked by phone"), chromedp.Click(chromedp.CSS(`form[action="/users/suppress"] button`)))
	b.see(t, ".field-wrong", "it wants service or all")
	b.becomes(t, `[document.activeElement.id, reason.value, document.getElementById("class").value, note.value].join(" ")`, "class cool_off marketing asked by phone")
	require.Equal(t, "it wants service or all", b.Ask(t, `document.getElementById(document.activeElement.getAttribute("aria-describedby")).innerText.slice(-23)`))
	b.Forgive()
	b.Do(t, chromedp.SetValue(chromedp.CSS("#class"), "service"), chromedp.Click(chromedp.CSS(`form[action="/users/suppress"] button`)))
	b.see(t, ".notice.good", "ann is suppressed")
	b.see(t, ".list", "asked by phone")
	b.Quiet(t)
}

func narrowedAudit(t *testing.T, b *tab) {
	b.exec(t, `INSERT INTO audit (at, actor, action, subject, before_state, after_state, request_id) VALUES
		(1000000, 'bob', 'pause', 'rule/asleep', 'null', '{}', 'q'), (2000000, 'eve', 'stop', 'sending', 'null', '{}', 'q')`)
	b.signIn(t)
	b.open(t, "/audit")
	b.Do(t, chromedp.SendKeys(chromedp.CSS("#actor"), "bob"), chromedp.SetValue(chromedp.CSS("#action"), "pause"), chromedp.Click(chromedp.CSS("form.filter button")))
	b.see(t, ".actions", "Export these")
	b.see(t, "tbody", "rule/asleep")
	require.Equal(t, "1", b.Ask(t, `String(document.querySelectorAll("tbody tr").length)`))
	b.Click(t, `tbody a[href="/rules/asleep"]`)
	b.see(t, "h1", "asleep")
	b.Quiet(t)
}

func exportAndErase(t *testing.T, b *tab) {
	b.signIn(t)
	b.open(t, "/users?id=ann")
	b.Do(t, chromedp.SendKeys(chromedp.CSS("#confirm"), "anne"), chromedp.Click(chromedp.CSS(`form[action="/users/erase"] button`)))
	b.see(t, ".field-wrong", "nothing was erased")
	b.becomes(t, `document.activeElement.id + " " + document.activeElement.value`, "confirm anne")
	b.Forgive()
	require.Equal(t, "200 attachment; filename=\"bugle-user.ndjson\" true", b.Ask(t, `(() => {
		const form = document.querySelector('form[action="/users/export"]'), x = new XMLHttpRequest();
		x.open("POST", form.action, false);
		x.send(new URLSearchParams(new FormData(form)));
		return [x.status, x.getResponseHeader("Content-Disposition"), x.responseText.includes('"kind":"device"')].join(" ");
	})()`))
	b.Do(t, chromedp.SetValue(chromedp.CSS("#confirm"), "ann"), chromedp.Click(chromedp.CSS(`form[action="/users/erase"] button`)))
	b.see(t, ".notice.good", "of this user are erased")
	var n int
	b.scan(t, &n, `SELECT COUNT(*) FROM deliveries WHERE user_id = 'ann'`)
	require.Zero(t, n)
	b.Quiet(t)
}

// Tab reaches all that a page does, and one always sees where it is.
func TestThePagesWorkByKeyboard(t *testing.T) {
	t.Parallel()
	b := turn(browsertest.Open(t), t, newWorld(t))
	b.signIn(t)
	for _, path := range []string{"/notifications/41", "/deliveries?state=rejected", "/deliveries/requeue?state=rejected", "/users?id=ann", "/suppressions", "/audit", "/presence"} {
		b.open(t, path)
		want := b.Ask(t, `window.reached = new Set(); String(Array.from(document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")).filter(e => e.checkVisibility()).length)`)
		most, err := strconv.Atoi(want)
		require.NoError(t, err)
		for range 8 * most { // a field of a date has several stops of its own
			b.Do(t, chromedp.KeyEvent(kb.Tab))
			got := b.Ask(t, `(() => {
				const e = document.activeElement;
				if (e === document.body) return "over";
				reached.add(e);
				const s = getComputedStyle(e);
				return e.matches(":focus-visible") && s.outlineStyle === "none" ? "unseen " + e.outerHTML.slice(0, 100) : String(reached.size);
			})()`)
			require.NotContains(t, got, "unseen", path)
			if got == want || got == "over" {
				break
			}
		}
		require.Equal(t, want, b.Ask(t, `String(reached.size)`), path)
	}
	b.open(t, "/notifications/41")
	b.Ask(t, `document.querySelector(".delivery summary").focus(); ""`)
	b.Do(t, chromedp.KeyEvent(kb.Enter))
	b.see(t, ".gates", "The device is active")
	b.Quiet(t)
}

func stopAndStart(t *testing.T, b *tab) {
	b.signIn(t)
	b.Click(t, ".head details:not([hidden]) summary")
	b.Do(t, chromedp.SendKeys(chromedp.CSS("#stop-why"), "odds are wrong\r"))
	b.see(t, "#live .notice.bad", "All sending is stopped by alice")
	b.Click(t, ".head details:not([hidden]) summary")
	b.Click(t, `form[action="/sending/start"] button`)
	b.see(t, ".notices", "Sending has started again")
	var n int
	b.scan(t, &n, `SELECT COUNT(*) FROM stops`)
	require.Zero(t, n)
	b.Quiet(t)
}

// othersStopAndStart is what a page shows that was open before: the button of the other deed would
// be the wrong one.
func othersStopAndStart(t *testing.T, b *tab) {
	b.signIn(t)
	const buttons = `Array.from(document.querySelectorAll(".head summary")).filter(e => e.checkVisibility()).map(e => e.innerText).join("|")`
	require.Equal(t, "Stop all sending…", b.Ask(t, buttons))
	other := b.signedIn(t)
	other.post(t, "/sending/stop", url.Values{"reason": {"odds are wrong"}})
	b.see(t, "#live .notice.bad", "All sending is stopped by alice")
	b.becomes(t, buttons, "Start sending…")
	other.post(t, "/sending/start", nil)
	b.becomes(t, buttons, "Stop all sending…")
	b.Quiet(t)
}

func overviewRenews(t *testing.T, b *tab) {
	b.signIn(t)
	b.see(t, "#live .tile", "1 failing")
	b.see(t, "#live", "connection refused")
	b.see(t, "#live-chart-sends", "Nothing sent yet.")
	before := b.Ask(t, `String(performance.timeOrigin)`)
	top := b.Ask(t, `String(document.getElementById("live-providers").getBoundingClientRect().top)`)
	b.broken.Store(false)
	b.see(t, "#live .tile", "Ready")
	b.work.attempts.WithLabelValues("fcm", "sent", "").Add(40)
	b.work.attempts.WithLabelValues("fcm", "gone", "UNREGISTERED").Add(1)
	b.see(t, "#live-chart-sends .legend", "gone")
	require.NotEmpty(t, b.Ask(t, `document.querySelector("#live-chart-sends .line.l0").getAttribute("d")`))

	require.Contains(t, b.Ask(t, `document.querySelector("#live-chart-sends svg").getAttribute("aria-label")`), "Sends by verdict over the last")
	require.Equal(t, top, b.Ask(t, `String(document.getElementById("live-providers").getBoundingClientRect().top)`), "lines need no more room than the lack of them")

	// What is renewed stays open, and the keyboard stays where it is.
	b.Click(t, "#live-chart-sends summary")
	b.see(t, "#live-chart-sends td", "0")
	require.NotContains(t, b.Ask(t, `document.querySelector("#live-chart-sends table").innerText`), "retry")
	b.work.attempts.WithLabelValues("fcm", "retry", "QUOTA_EXCEEDED").Add(3)
	b.see(t, "#live-chart-sends table", "retry")
	require.Equal(t, "numbers-sends", b.Ask(t, `document.activeElement.parentNode.id`))
	require.Equal(t, before, b.Ask(t, `String(performance.timeOrigin)`), "the page was not loaded again")

	// What is pressed stays until it is let go, else the click would be lost.
	b.Ask(t, `Date.now = () => 0; pressed = document.querySelector("#live-chart-sends summary"); pressed.dispatchEvent(new PointerEvent("pointerdown", {bubbles: true})); ""`)
	b.work.attempts.WithLabelValues("ably", "blocked", "forbidden").Add(2)
	b.see(t, "#live-chart-providers .legend", "ably")
	require.Equal(t, "true", b.Ask(t, `String(pressed.isConnected)`))
	b.Ask(t, `pressed.dispatchEvent(new PointerEvent("pointerup", {bubbles: true})); ""`)
	b.see(t, "#live-chart-sends .legend", "blocked")
	require.Equal(t, "true", b.Ask(t, `String(document.getElementById("lost").hidden)`))
	b.Quiet(t)
}

func lostAndFound(t *testing.T, b *tab) {
	b.signIn(t)
	b.see(t, "#live .tile", "1 failing")
	addr := b.server.Listener.Addr().String()
	b.server.Config.SetKeepAlivesEnabled(false)
	require.NoError(t, b.server.Listener.Close())
	b.server.CloseClientConnections()
	b.see(t, "#lost", "No answer from Bugle since")
	require.Regexp(t, `since \d\d:\d\d:\d\d UTC\.`, b.Ask(t, `document.getElementById("lost").innerText`))
	require.Equal(t, "true", b.Ask(t, `String(document.getElementById("live").classList.contains("old"))`))
	require.Contains(t, b.Ask(t, `document.getElementById("live").innerText`), "1 failing", "what was known stays to be seen")

	b.broken.Store(false)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
	require.NoError(t, err)
	again := &http.Server{Handler: b.routes, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- again.Serve(listener) }()
	defer func() {
		require.NoError(t, again.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	}()
	b.see(t, "#live .tile", "Ready")
	require.Equal(t, "true false", b.Ask(t, `document.getElementById("lost").hidden + " " + document.getElementById("live").classList.contains("old")`))
}

// ended counts the streams that have ended.
func (w *world) ended() int {
	return strings.Count(w.log.String(), `"route":"/live/stream","method":"GET","status":200`)
}

func nobodyLooks(t *testing.T, b *tab) {
	b.signIn(t)
	b.see(t, "#live-chart-sends", "Nothing sent yet.") // and not what the page came with
	before := b.ended()
	hide := func(hidden string) {
		b.Ask(t, `Object.defineProperty(document, "hidden", {value: `+hidden+`, configurable: true}); document.dispatchEvent(new Event("visibilitychange")); ""`)
	}
	hide("true")
	require.Eventually(t, func() bool { return b.ended() == before+1 }, time.Minute, 20*time.Millisecond)
	b.broken.Store(false)
	require.Contains(t, b.Ask(t, `document.getElementById("live").innerText`), "1 failing")
	require.Equal(t, "true", b.Ask(t, `String(document.getElementById("lost").hidden)`), "nothing is lost that nobody looks for")
	hide("false")
	b.see(t, "#live .tile", "Ready")
	require.Equal(t, before+1, b.ended())
	b.Quiet(t)
}

func sessionOfOpenPage(t *testing.T, b *tab) {
	b.signIn(t)
	require.NoError(t, os.WriteFile(b.tokens, nil, 0o600))
	b.see(t, "h1", "Sign in")
}

func morePagesThanStreams(t *testing.T, b *tab) {
	b.signIn(t)
	b.see(t, "#live-chart-sends", "Nothing sent yet.")
	// All the streams of this session go to others, who have the same cookie.
	cookies, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{})
	require.NoError(t, err)
	other := b.browser(t)
	for _, c := range cookies.Cookies {
		other.client.Jar.SetCookies(mustURL(t, b.server.URL), []*http.Cookie{{Name: c.Name, Value: c.Value}})
	}
	b.open(t, "/rules")
	for range 4 {
		require.Eventually(t, func() bool { // the page's own ends a moment after it has gone
			return other.follow(t).res.StatusCode == http.StatusOK
		}, time.Minute, 20*time.Millisecond)
	}
	b.open(t, "/")
	b.see(t, "#live .tile", "1 failing")
	b.broken.Store(false)
	b.see(t, "#live .tile", "Ready")
	require.Equal(t, "true", b.Ask(t, `String(document.getElementById("lost").hidden)`))
}

// quotaPaused watches a quota being paused, and going on: in words, on ground that
// is shaded, and nothing on the page moves.
func quotaPaused(t *testing.T, b *tab) {
	q := b.work.quota
	q.share.WithLabelValues("fcm").Set(1)
	b.signIn(t)
	const state = "#live-chart-quota-fcm .state"
	b.see(t, state, "within its limit")
	b.see(t, "#live-chart-quota-fcm .legend", "100\u202f%")
	b.becomes(t, `String(document.querySelectorAll("#live-chart-quota-fcm path.limit").length)`, "2") // and in the legend
	tops := func() (out []float64) {
		require.NoError(t, json.Unmarshal([]byte(b.Ask(t, `JSON.stringify(Array.from(document.querySelectorAll("#live > section, #live .plot")).map(function (e) { return e.getBoundingClientRect().top; }))`)), &out))
		return out
	}
	before := tops()
	require.Greater(t, len(before), 10)
	q.share.WithLabelValues("fcm").Set(0)
	q.until.WithLabelValues("fcm").Set(float64(time.Now().Add(10 * time.Minute).Unix()))
	b.see(t, state, "paused, goes on in 10 min")
	b.becomes(t, `String(document.querySelectorAll("#live-chart-quota-fcm .plot .band").length)`, "1")
	require.InDeltaSlice(t, before, tops(), 0.5, "nothing moves")
	q.share.Reset()
	q.until.Reset()
	b.see(t, state, "not known")
	require.InDeltaSlice(t, before, tops(), 0.5, "nothing moves")
	q.share.WithLabelValues("fcm").Set(.3)
	q.slowed.WithLabelValues("fcm").Set(float64(time.Now().Unix()))
	b.see(t, state, "slowed to 30")
	require.InDeltaSlice(t, before, tops(), 0.5, "nothing moves")
	b.Quiet(t)
}

func smallLoad(t *testing.T, b *tab) {
	_, err := chromedp.Call(b.ctx, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true})
	require.NoError(t, err)
	b.signIn(t)
	require.Greater(t, b.Bytes(), 10e3)
	require.Less(t, b.Bytes(), 200e3, "the sign-in and the overview together")
	t.Logf("the sign-in and the overview together: %.0f bytes", b.Bytes())
}

// Every page stands in its window, wide and narrow, in light and dark: nothing
// makes it scroll sideways, and the browser complains about nothing.
func TestEveryPageFits(t *testing.T) {
	t.Parallel()
	everyPage(t, func(b *tab, name string) {
		b.Ask(t, `scrollTo(0, 0); ""`)
		b.Shots(t, *screens, name)
	})
}

// TestEveryPageIsAccessible lets axe-core look at each page as it loads, and as a
// phone in the dark shows it.
func TestEveryPageIsAccessible(t *testing.T) {
	t.Parallel()
	axe := browsertest.Axe(t)
	everyPage(t, func(b *tab, _ string) {
		for _, way := range []string{"desktop-light", "phone-dark"} {
			b.As(t, way)
			b.Accessible(t, axe)
		}
	})
}

// everyPage goes to every page, in every state that it may be in, and looks.
func everyPage(t *testing.T, look func(b *tab, name string)) {
	t.Helper()
	w := newWorldEvery(t, console.DefaultEvery)
	b := turn(browsertest.Open(t), t, w)
	b.open(t, "/sign-in")
	look(b, "sign-in")
	b.signIn(t)
	b.see(t, "#live", "Nothing sent yet.")
	look(b, "overview-quiet")
	w.pastQuarter(t)
	for name, path := range map[string]string{
		"overview": "/", "rules": "/rules", "rule": "/rules/bet-settled", "preview": "/rules/bet-settled/preview", "preview-de": "/rules/bet-settled/preview?locale=de",
		"runs": "/runs", "run-held": "/runs/12", "run-failed": "/runs/14", "run-released": "/runs/15", "users": "/users", "user": "/users?id=ann",
		"notification": "/notifications/41", "notification-user": "/notifications/41?device=phone-1", "notification-held": "/notifications/42",
		"deliveries": "/deliveries", "deliveries-none": "/deliveries?rule=nothing", "deliveries-refused": "/deliveries?since=soon", "requeue": "/deliveries/requeue?state=rejected",
		"bad-rows": "/bad-rows", "presence": "/presence", "suppressions-none": "/suppressions?user=nobody", "user-unknown": "/users?id=nobody",
		"user-climber": "/users?id=" + url.QueryEscape(climber), "suppressions": "/suppressions", "push": "/push?device=phone-1",
	} {
		b.open(t, path)
		look(b, name)
	}
	b.open(t, "/")
	b.Ask(t, `document.querySelectorAll("#live details").forEach(d => { d.open = true; }); ""`)
	look(b, "overview-numbers")
	b.open(t, "/rules/bet-settled")
	b.Do(t, chromedp.SendKeys(chromedp.CSS("#pause-why"), "wrong text"), chromedp.Click(chromedp.CSS(`form[action$="/pause"] button`)))
	b.see(t, ".notice.warn", "Paused by alice")
	look(b, "rule-paused")
	b.open(t, "/audit")
	b.Click(t, "summary")
	look(b, "audit")
	b.open(t, "/suppressions")
	b.upload(t, "user,reason\nann,cool_off\nbob,nothing\n"+markup+",\n")
	b.see(t, ".wrong-lines", "reason")
	look(b, "suppressions-refused")
	b.open(t, "/push?device=phone-1")
	b.Ask(t, `title.value = " "; body.value = "x".repeat(2000); ""`)
	b.Click(t, `form[action="/push"] button`)
	b.see(t, ".field-wrong", "wants 1 to 1000 characters")
	look(b, "push-refused")
	b.Forgive() // a refusal is an error in the browser's own book
	b.Quiet(t)
	b.open(t, "/runs/999")
	look(b, "not-found")
	b.open(t, "/nothing/here")
	look(b, "no-page")
}
