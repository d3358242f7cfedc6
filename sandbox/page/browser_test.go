package page_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/browsertest"
	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/page"
)

// screens is where TestThePageFits leaves what it saw; empty leaves nothing.
var screens = flag.String("screens", "", "write screenshots of the betting page to this folder")

const soon = time.Minute

// inAWhile is when a race starts that does not start while a test looks at it,
// however slowly.
const inAWhile = 10 * time.Minute

// What a page does in the hands of a user, in one browser, each in a world of its own.
func TestInABrowser(t *testing.T) {
	t.Parallel()
	ctx := browsertest.Open(t)
	for name, test := range map[string]func(*testing.T, context.Context){
		"odds are fractions of the ladder":       fractions,
		"odds move":                              oddsMove,
		"a bet says what was seen":               betAsSeen,
		"a bet whose answer was lost is one bet": answerLost,
		"a bet that nobody answers":              noAnswer,
		"a stream that was replaced is closed":   replaced,
		"a push takes the place of its tag":      inPlace,
		"markup is text":                         markup,
		"activate and deactivate":                activation,
		"by keyboard alone":                      keyboard,
		"a document alone":                       documentAlone,
		"nothing moves that should not":          stillness,
		"the first load is small":                smallLoad,
	} {
		t.Run(name, func(t *testing.T) { test(t, ctx) })
	}
}

// What takes a while: nobody answers, nothing is there, or a push does not come.
func TestInTrouble(t *testing.T) {
	t.Parallel()
	ctx := browsertest.Open(t)
	for name, test := range map[string]func(*testing.T, context.Context){
		"the inbox tells what no push did":                   fromTheInbox,
		"no race is open":                                    noRace,
		"Bugle is away":                                      bugleAway,
		"a token is refused":                                 refused,
		"Ably is away":                                       ablyAway,
		"a token for Ably is renewed before it expires":      renewal,
		"every tab is another guest, until there is no room": room,
	} {
		t.Run(name, func(t *testing.T) { test(t, ctx) })
	}
}

func fractions(t *testing.T, ctx context.Context) { //nolint:revive // the browser comes second, as in every test
	b := newWorld(t).look(ctx, t)
	want := map[string]string{ // by odds
		"2.5": "5/2 3.50", "1": "1/1 2.00", "0.125": "1/8 1.13", "1.5": "3/2 2.50", "0.3636": "4/11 1.36",
		"0.8": "4/5 1.80", "0.91": "10/11 1.91", "1.62": "13/8 2.62", "3.877": "4/1 4.88", "3.7": "7/2 4.70",
		"45": "40/1 46.00", "0": "1/100 1.00", "0.01": "1/100 1.01", "1e3": "1000/1 1001.00", "2400": "2400/1 2401.00",
		"-1": "– –", "NaN": "– –", "1/0": "– –", `"x"`: "– –",
	}
	for odds, words := range want {
		require.Equal(t, words, b.Ask(t, `import("/odds.js").then(o => [o.fraction, o.decimal].map(f => f(`+odds+`)).join(" "))`), odds)
	}
	// Each step of the ladder is its own nearest, and the ladder only climbs.
	require.Equal(t, "good", b.Ask(t, `import("/odds.js").then(o => {
		const text = o.fraction.toString(), steps = [];
		for (let x = 0.005; x < 1100; x *= 1.002) { const f = o.fraction(x); if (f !== steps.at(-1)) steps.push(f); }
		const value = f => f.split("/")[0] / f.split("/")[1];
		const wrong = steps.filter((f, i) => o.fraction(value(f)) !== f || i > 0 && value(f) <= value(steps[i - 1]));
		return steps.length > 70 && wrong.length === 0 ? "good" : JSON.stringify({text, steps, wrong});
	})`))
}

func oddsMove(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.5, 1, 3, 4, 5, 6)...)
	b := w.look(ctx, t)
	b.See(t, "#cars .row:nth-child(1) .odds", "5/2", soon)
	require.Equal(t, "3.50", b.Ask(t, `document.querySelector("#cars .row:nth-child(1) .decimal span:last-child").textContent`))
	require.Contains(t, b.Ask(t, `document.querySelector("#cars .row:nth-child(1) button").title`), "3.50 in decimal odds")
	require.Equal(t, "0", b.Ask(t, `String(document.querySelectorAll(".flash").length)`), "the first odds have not moved")
	watchCars(t, b)
	w.odds(t, "race-1", six(2, 1.5, 3, 4, 5, 6)...)
	b.See(t, "#cars .row:nth-child(1) .odds", "2/1", soon)
	sawCars(t, b, "▼|▲| flash|flash|none Car 1 2/1 decimal 3.00 the odds have come down")
	// The arrow goes after a while, and stays as long where nothing may move.
	b.Until(t, `document.querySelector("#cars .arrow").textContent`, func(got string) bool { return got == "" }, soon)
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	require.NoError(t, err)
	watchCars(t, b)
	w.odds(t, "race-1", six(3, 1.5, 3, 4, 5, 6)...)
	sawCars(t, b, "▲|| none|none|none Car 1 3/1 decimal 4.00 the odds have gone up")
	_, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{}})
	require.NoError(t, err)
	b.Quiet(t)
}

// watchCars keeps what is shown of the first three cars at each change: a mark is gone
// after some seconds, which may be sooner than a test looks.
func watchCars(t *testing.T, b *browsertest.Tab) {
	t.Helper()
	b.Ask(t, `(() => {
		window.seen?.observer.disconnect();
		const shown = () => ["arrow", "odds"].map(c => Array.from(document.querySelectorAll("#cars ." + c)).slice(0, 3)
			.map(e => c === "arrow" ? e.textContent : getComputedStyle(e).animationName).join("|")).join(" ") + " " + `+heard(1)+`;
		window.seen = {all: [], observer: new MutationObserver(() => seen.all.push(shown()))};
		seen.observer.observe(document.getElementById("cars"), {subtree: true, childList: true, characterData: true, attributes: true});
		return "";
	})()`)
}

// sawCars waits until something has been shown since watchCars.
func sawCars(t *testing.T, b *browsertest.Tab, want string) {
	t.Helper()
	b.Until(t, `seen.all.join("\n")`, func(got string) bool { return slices.Contains(strings.Split(got, "\n"), want) }, soon)
}

// heard is what a screen reader says of a car.
func heard(car int) string {
	return fmt.Sprintf(`Array.from(document.querySelectorAll("#cars .row:nth-child(%d) button *:not(:has(*))")).filter(e => !e.closest("[aria-hidden=true]")).map(e => e.textContent.trim()).filter(Boolean).join(" ")`, car)
}

// placed is what the first guest has published.
func (w *world) placed() []ably.Message { return w.ably.Messages("inbound:betting:cars:guest-1") }

func betAsSeen(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.487, 1)...)
	b := w.look(ctx, t)
	b.Click(t, "#cars .row:nth-child(1) button")
	b.See(t, "#slip-odds", "5/2", soon)
	// The odds move while the slip is open: it keeps those that were seen, and says so.
	w.odds(t, "race-1", six(1.96, 1)...)
	b.See(t, "#moved", "The odds have moved down to 2/1", soon)
	require.Equal(t, "5/2", b.Ask(t, `document.getElementById("slip-odds").textContent`))
	for _, wrong := range []string{"", "0", "-1", "ten", "1.234", "1e3"} {
		b.Ask(t, `(() => { const s = document.getElementById("stake"); s.value = "`+wrong+`"; s.dispatchEvent(new Event("input")); return "" })()`)
		require.Equal(t, "true", b.Ask(t, `document.getElementById("place").ariaDisabled`), wrong)
	}
	b.Click(t, `#chips [data-stake="10"]`)
	b.See(t, "#returns", "€34.87", soon)
	b.Click(t, "#place")
	b.See(t, "#bets .bet .state", "Placed", soon)
	require.Len(t, w.placed(), 1)
	bet := w.placed()[0]
	require.Equal(t, "guest-1", bet.ClientID)
	require.JSONEq(t, `{"name":"Car 1","event":"race-1","stake":10,"odds":2.487}`, string(bet.Data))
	require.Regexp(t, `^[0-9a-f-]{36}$`, bet.ID)

	// And at the new ones, when they are taken.
	b.Click(t, "#cars .row:nth-child(2) button")
	w.odds(t, "race-1", six(1.96, 1.25)...)
	b.Click(t, "#take")
	b.Click(t, "#place")
	b.Until(t, `String(document.querySelectorAll("#bets .bet[data-state=placed]").length)`, func(got string) bool { return got == "2" }, soon)
	require.JSONEq(t, `{"name":"Car 2","event":"race-1","stake":10,"odds":1.25}`, string(w.placed()[1].Data))

	// A push about a bet changes it in the list.
	w.push(t, 7, "b1", "bet", "Bet not placed", "The odds moved", map[string]string{"bet": bet.ID, "reason": "ODDS_MOVED", "link": "app://bet/" + bet.ID})
	b.See(t, "#bets .bet[data-state=REJECTED]", "the odds had moved", soon)
	b.Click(t, "#tray .push button")
	require.Equal(t, bet.ID, b.Ask(t, `document.querySelector("#bets .shown").dataset.bet`))
	// After a reload all of it is there again.
	b.Open(t, w.page.URL()+"/")
	b.See(t, "#bets .bet[data-state=REJECTED]", "the odds had moved", soon)
	b.See(t, "#tray .push .title", "Bet not placed", soon)
	b.See(t, "#who", "guest-1", soon)
	b.Quiet(t)
}

func answerLost(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.5, 1)...)
	b := w.look(ctx, t)
	b.Click(t, "#cars .row:nth-child(1) button")
	require.NoError(t, w.ably.Inject(ably.UnavailableAfterAccept))
	b.Click(t, "#place")
	b.See(t, "#bets .bet .state", "Placed", soon)
	require.Len(t, w.placed(), 1)
	require.Positive(t, w.ably.Stats().Faults[ably.UnavailableAfterAccept])
}

// A bet may have been placed although nobody answered: nobody is told otherwise, by whatever sense.
func noAnswer(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.5, 1)...)
	b := w.look(ctx, t)
	b.Click(t, "#cars .row:nth-child(1) button")
	for range 5 { // as often as the page tries
		require.NoError(t, w.ably.Inject(ably.UnavailableAfterAccept))
	}
	b.Click(t, "#place")
	b.See(t, "#bets .bet .state", "No answer", soon)
	b.See(t, "#bets .bet .detail", "Ably may have it", soon)
	require.Equal(t, "No answer: it is not known whether €5.00 on Car 1 is placed.", b.Ask(t, `document.getElementById("said").textContent`))
	require.Len(t, w.placed(), 1)
}

// Races come and go faster than a stream opens: each stream that another one has taken the place of is
// closed, for a browser has six connections to a host.
func replaced(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	b := newWorld(t).look(ctx, t)
	b.Until(t, `String(document.documentElement.dataset.ready)`, func(is string) bool { return is == "true" }, soon)
	require.Equal(t, "2,2,0 2,2,2,2", b.Ask(t, `(async () => {
		const made = [], real = window.EventSource;
		window.EventSource = class {
			static CLOSED = 2;
			constructor(url) { this.readyState = 0; if (url.startsWith("https://ably.example/")) made.push(this); }
			addEventListener() {}
			close() { this.readyState = 2; }
		};
		try {
			const {Ably} = await import("/ably.js");
			const token = async () => ({token: "t", expires: Date.now() + 3600e3, clientId: "guest"});
			const ably = new Ably("https://ably.example", token, {state() {}, message() {}});
			const opened = async (n) => { while (made.length < n) await new Promise((done) => setTimeout(done, 5)); };
			ably.follow(["a"]);
			await opened(1);
			made[0].onopen();
			ably.follow(["a", "b"]);
			await opened(2);
			ably.follow(["b"]); // before the second has opened
			await opened(3);
			made[2].onopen();
			const open = made.map((s) => s.readyState).join();
			ably.follow(["c"]);
			await opened(4);
			ably.pause(); // before the fourth has
			return open + " " + made.map((s) => s.readyState).join();
		} finally {
			window.EventSource = real;
		}
	})()`))
	b.Quiet(t)
}

func fromTheInbox(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.5, 1)...)
	b := w.look(ctx, t)
	b.Click(t, "#cars .row:nth-child(1) button")
	b.Click(t, "#place")
	b.See(t, "#bets .bet .state", "Placed", soon)
	id := w.placed()[0].ID
	item := func(seq int, outcome, payout string) map[string]any {
		return map[string]any{"id": fmt.Sprint(seq), "seq": seq, "data": map[string]string{"bet": id, "outcome": outcome, "payout": payout, "currency": "EUR"}}
	}
	w.bugle.set(func(b *bugle) { b.inbox = []map[string]any{item(9, "LOST", "0"), item(4, "WON", "17.50")} })
	b.See(t, "#bets .bet .state", "Lost", 2*soon)
	b.See(t, "#bets .bet .detail", "result changed", soon)
	w.push(t, 3, "b", "win", "late", "an older one", map[string]string{"bet": id, "outcome": "WON", "payout": "17.50"})
	b.See(t, "#tray .push", "an older one", soon)
	require.Equal(t, "LOST", b.Ask(t, `document.querySelector("#bets .bet").dataset.state`))
	b.Quiet(t)
}

func inPlace(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	b := w.look(ctx, t)
	b.See(t, "#device-state", "Not active", soon)
	w.push(t, 1, "a", "race", "Copper Cup in 1 min", "Kempton Park", nil)
	w.push(t, 2, "b", "win", "You won €17.50", "Car 1 came first.", nil)
	w.push(t, 4, "a", "race", "Copper Cup is postponed", "Kempton Park: new start", nil)
	w.push(t, 3, "a", "race", "Copper Cup in 2 min", "comes late", nil)
	w.push(t, 2, "b", "win", "You won €17.50", "Car 1 came first.", nil)
	w.push(t, 5, "c", "bet", "Bet not placed", "Too late.", nil)
	b.See(t, "#tray", "Bet not placed", soon)
	require.Equal(t, "Bet not placed|You won €17.50|Copper Cup is postponed", b.Ask(t, `Array.from(document.querySelectorAll("#tray .title")).map(e => e.textContent).join("|")`))
	require.Equal(t, "updated", b.Ask(t, `Array.from(document.querySelectorAll("#tray .again:not([hidden])")).map(e => e.textContent).join("|")`))
	require.Equal(t, "Bet not placed. Too late.", b.Ask(t, `document.getElementById("heard").textContent`), "who does not see it hears it")
	b.Click(t, "#clear")
	b.See(t, "#quiet", "Not activated", soon)
	// What was cleared is not there any more to be replaced: this is a new one.
	w.push(t, 6, "a", "race", "Copper Cup is on again", "Kempton Park", nil)
	b.See(t, "#tray", "is on again", soon)
	require.Equal(t, "1", b.Ask(t, `String(document.querySelectorAll("#tray .push:not(:has(.again:not([hidden])))").length)`))
	b.Quiet(t)
}

func markup(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	const nasty = `<img src=x onerror="document.title='hit'"><script>document.title='hit'</script>`
	w := newWorld(t)
	w.race("race-1", nasty, inAWhile)
	w.odds(t, "race-1", tile{nasty, 2.5}, tile{"Car 2", 1})
	b := w.look(ctx, t)
	b.See(t, "#race-name", nasty, soon)
	b.See(t, "#cars .row:nth-child(1) .name", nasty, soon)
	b.Click(t, "#cars .row:nth-child(1) button")
	b.See(t, "#slip-name", nasty, soon)
	b.Click(t, "#place")
	b.See(t, "#bets .what", nasty, soon)
	w.push(t, 1, nasty, nasty, nasty, nasty, map[string]string{"link": "javascript:document.title='hit'"})
	b.See(t, "#tray .title", nasty, soon)
	b.Click(t, "#tray button")
	require.Equal(t, "Bugle betting", b.Ask(t, `document.title`))
	require.Equal(t, "0", b.Ask(t, `String(document.querySelectorAll('img[src="x"], main script').length)`))
	b.Quiet(t)
	// And where a script tried, the policy would refuse.
	require.Contains(t, b.Ask(t, `(() => { try { document.getElementById("who").innerHTML = "<b>x</b>"; return "taken" } catch (err) { return String(err) } })()`), "TrustedHTML")
}

func activation(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	b := w.look(ctx, t)
	state := func() (got string) {
		w.bugle.set(func(b *bugle) { got = b.devices["guest-1-phone"] })
		return got
	}
	b.See(t, "#device-state", "Not active", soon)
	require.Equal(t, "false true", b.Ask(t, `["activate", "deactivate"].map(id => document.getElementById(id).ariaDisabled).join(" ")`))
	b.Click(t, "#activate")
	b.See(t, "#device-state", "Active: Bugle sends to this phone.", soon)
	require.Equal(t, "active", state())
	b.Open(t, w.page.URL()+"/")
	b.See(t, "#device-state", "Active: Bugle sends to this phone.", soon)
	b.Click(t, "#deactivate")
	b.See(t, "#device-state", "Not active", soon)
	require.Equal(t, "inactive", state())
	b.Quiet(t)
}

func keyboard(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.race("race-1", "Copper Cup", inAWhile)
	w.race("race-2", "Silver Mile", 2*inAWhile)
	w.odds(t, "race-1", six(2.5, 1)...)
	w.odds(t, "race-2", six(4, 5)...)
	b := w.look(ctx, t)
	b.See(t, "#cars .row:nth-child(1) .odds", "5/2", soon)
	press := func(keys ...string) {
		for _, k := range keys {
			b.Do(t, chromedp.KeyEvent(k))
		}
	}
	focus := func() string {
		return b.Ask(t, `document.activeElement.id || document.activeElement.dataset.race || document.activeElement.innerText.replace(/\s+/g, " ") || document.activeElement.tagName`)
	}
	press(kb.Tab)
	require.Equal(t, "To the odds", b.Ask(t, `document.activeElement.textContent`))
	for i := 0; i < 10 && focus() != "race-1"; i++ {
		press(kb.Tab)
	}
	require.Equal(t, "race-1", focus())
	press(kb.ArrowRight)
	require.Equal(t, "race-2", focus())
	b.See(t, "#race-name", "Silver Mile", soon)
	b.See(t, "#cars .row:nth-child(1) .odds", "4/1", soon)
	press(kb.Tab)
	require.Contains(t, focus(), "Car 1 4/1")
	press("\r")
	b.See(t, "#slip-odds", "4/1", soon)
	require.Equal(t, "stake", focus())
	press("8", "\r") // the stake was selected
	b.See(t, "#bets .bet[data-state=placed]", "€8.00 on Car 1", soon)
	require.Contains(t, focus(), "Car 1", "back where it was")
	press("\r")
	b.See(t, "#slip-odds", "4/1", soon)
	press(kb.Escape)
	b.Until(t, `String(document.getElementById("slip").open)`, func(got string) bool { return got == "false" }, soon)
	require.Len(t, w.placed(), 1)
	b.Quiet(t)
}

func noRace(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	b := w.look(ctx, t)
	b.See(t, "#market", "There is nothing to bet on just now.", soon)
	b.See(t, "#ably", "live", soon)
	w.race("race-1", "Copper Cup", inAWhile)
	b.See(t, "#race-name", "Copper Cup", soon)
	b.See(t, "#race-note", "Waiting for the first odds", soon)
	require.Equal(t, "6", b.Ask(t, `String(Array.from(document.querySelectorAll("#cars .ghost")).filter(e => e.checkVisibility()).length)`))
	w.odds(t, "race-1", six(2.5, 1)...)
	b.See(t, "#race-note", "Tap a car to bet", soon)
	require.Equal(t, "0", b.Ask(t, `String(document.querySelectorAll("#cars .ghost").length)`))
	// It starts: no more bets, and the result.
	w.race("race-1", "Copper Cup", -time.Second)
	b.See(t, "#race-note", "No more bets", soon)
	require.Equal(t, "true", b.Ask(t, `document.querySelector("#cars button").ariaDisabled`))
	w.page.Result("race-1", "Car 2")
	b.See(t, "#race-note", "Car 2 won.", soon)
	b.Until(t, `document.querySelector("#cars .row[data-winner=true] .name")?.textContent ?? ""`, func(got string) bool { return got == "Car 2" }, soon)
	// Another one opens, and the page goes there by itself.
	w.race("race-2", "Silver Mile", inAWhile)
	b.See(t, "#race-name", "Silver Mile", 2*soon)
	b.Quiet(t)
}

func bugleAway(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.bugle.set(func(b *bugle) { b.status = http.StatusServiceUnavailable })
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.5, 1)...)
	b := w.look(ctx, t)
	b.See(t, "#trouble", "Bugle does not answer.", soon)
	b.See(t, "#bugle", "away", soon)
	b.See(t, "#device-state", "Asking Bugle…", soon)
	w.bugle.set(func(b *bugle) { b.status = 0 })
	b.See(t, "#device-state", "Not active", 2*soon)
	b.See(t, "#cars .row:nth-child(1) .odds", "5/2", 2*soon)
	b.Until(t, `String(document.getElementById("trouble").hidden)`, func(got string) bool { return got == "true" }, soon)
}

func refused(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.bugle.set(func(b *bugle) { b.status = http.StatusUnauthorized })
	b := w.look(ctx, t)
	b.See(t, "#trouble", "Bugle does not take this guest’s token any more.", soon)
	b.See(t, "#bugle", "refused", soon)
	w.bugle.set(func(b *bugle) { b.status = 0 })
	b.Click(t, "#anew")
	b.See(t, "#who", "guest-2", soon)
	b.See(t, "#device-state", "Not active", soon)
}

func ablyAway(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.5, 1)...)
	b := w.look(ctx, t)
	b.See(t, "#race-note", "Tap a car to bet", soon)
	require.NoError(t, w.ably.Close())
	b.See(t, "#race-note", "The odds are not live at the moment", soon)
	require.Equal(t, "true", b.Ask(t, `document.querySelector("#cars button").ariaDisabled`))
	b.See(t, "#ably", "away", soon)
	b.See(t, "#trouble", "Ably does not answer.", soon)
}

func renewal(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.bugle.set(func(b *bugle) { b.life = 5 * time.Second })
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.5, 1)...)
	b := w.look(ctx, t)
	b.See(t, "#race-note", "Tap a car to bet", soon)
	b.Ask(t, `(() => { window.states = []; new MutationObserver(() => states.push(document.getElementById("ably").dataset.state)).observe(document.getElementById("ably"), {attributes: true}); return "" })()`)
	require.Eventually(t, func() bool { return w.bugle.tokensAsked() >= 2 }, soon, 20*time.Millisecond)
	w.bugle.set(func(b *bugle) { b.status = http.StatusServiceUnavailable })
	b.See(t, "#bugle", "away", soon) // the next renewal has failed
	w.bugle.set(func(b *bugle) { b.status = 0 })
	require.Eventually(t, func() bool { return w.bugle.tokensAsked() >= 4 }, soon, 20*time.Millisecond)
	w.odds(t, "race-1", six(2, 1)...)
	b.See(t, "#cars .row:nth-child(1) .odds", "2/1", soon)
	require.NotContains(t, b.Ask(t, `states.join(" ")`), "a", "it was live all the time: "+b.Ask(t, `states.join(" ")`))
}

func room(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	b := w.look(ctx, t)
	b.See(t, "#who", "guest-1", soon)
	for i := range 2 {
		other := b.Another(t)
		other.Open(t, w.page.URL()+"/")
		other.See(t, "#who", fmt.Sprintf("guest-%d", i+2), soon)
		w.push(t, 10+i, fmt.Sprint("t", i), "race", "for the first", "of them", nil)
		require.Equal(t, "0", other.Ask(t, `String(document.querySelectorAll("#tray .push").length)`))
	}
	// A tab that was duplicated has the storage of the first one, and is another guest.
	key := b.Ask(t, `sessionStorage.getItem("guest")`)
	last := b.Another(t)
	last.Open(t, w.page.URL()+"/")
	last.See(t, "#trouble", "The sandbox has room for 3 guests, and all of them are here.", soon)
	last.Ask(t, `sessionStorage.setItem("guest", "`+key+`"); ""`)
	last.Open(t, w.page.URL()+"/")
	last.See(t, "#trouble", "The sandbox has room for 3 guests, and all of them are here.", soon)
	require.Equal(t, "…", last.Ask(t, `document.getElementById("who").textContent`))
	b.See(t, "#tray", "for the first", soon)
}

// stillness has everything happen, and measures what the browser calls layout shifts.
func stillness(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.race("race-1", "Copper Cup", inAWhile)
	b := w.look(ctx, t)
	b.Ask(t, `(() => { window.shifts = []; new PerformanceObserver(list => list.getEntries().forEach(e => shifts.push(e))).observe({type: "layout-shift", buffered: true}); return "" })()`)
	b.See(t, "#race-note", "Waiting for the first odds", soon)
	w.odds(t, "race-1", six(2.5, 1, 3, 4, 5, 6)...)
	b.See(t, "#race-note", "Tap a car", soon)
	w.odds(t, "race-1", six(100, 0.125, 3, 4.3, 5, 6)...)
	w.race("race-2", "Silver Mile", 2*inAWhile)
	w.push(t, 1, "a", "race", "Copper Cup in 1 min", "Kempton Park", nil)
	b.See(t, "#tray", "Copper Cup", soon)
	b.Click(t, "#activate")
	b.See(t, "#device-state", "Active", soon)
	b.Ask(t, `new Promise(done => requestAnimationFrame(() => setTimeout(() => done(""), 300)))`)
	require.Empty(t, b.Ask(t, `shifts.filter(e => !e.hadRecentInput && e.value > 0.002).map(e => e.value.toFixed(4) + " " + e.sources.map(s => s.node?.outerHTML?.slice(0, 80)).join(" ")).join("\n")`))
}

// documentAlone has no guests: a user, a phone and an event that a file names.
func documentAlone(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	var err error
	w.page, err = page.Start(t.Context(), page.Config{Document: page.Document{
		API: w.bugle.URL, Ably: w.ably.URL(), Token: "token-of-ann", Currency: "GBP", Events: []page.Race{{ID: "ascot", Name: "The Gold Cup"}},
		Device: &page.Device{ID: "my-phone", Platform: "android", Target: page.Target{Kind: "fcm_token", Value: "x"}},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.page.Close()) })
	w.odds(t, "ascot", six(2.5, 1)...)
	b := w.look(ctx, t)
	b.See(t, "#race-clock", "open", soon)
	b.Click(t, "#activate")
	b.See(t, "#device-state", "Active", soon)
	b.See(t, "#phone-note", "this frame shows none", soon)
	b.Click(t, "#cars .row:nth-child(1) button")
	b.Click(t, "#place")
	b.See(t, "#bets .bet[data-state=placed]", "£5.00 on Car 1", soon)
	require.Len(t, w.ably.Messages("inbound:betting:cars:ann"), 1)
	w.bugle.set(func(b *bugle) { b.status = http.StatusUnauthorized })
	b.Click(t, "#deactivate")
	b.See(t, "#trouble", "Bugle refuses the token of the page’s document.", soon)
	require.Equal(t, "true", b.Ask(t, `String(document.getElementById("anew").hidden)`))
}

func smallLoad(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	b := newWorld(t).look(ctx, t)
	b.See(t, "#device-state", "Not active", soon)
	require.Greater(t, b.Bytes(), 10e3)
	require.Less(t, b.Bytes(), 100e3)
}

// The page stands in its window, wide and narrow, in light and dark.
func TestThePageFits(t *testing.T) {
	t.Parallel()
	ctx := browsertest.Open(t)
	w := newWorld(t)
	b := w.look(ctx, t)
	b.See(t, "#market", "There is nothing to bet on", soon)
	b.Shots(t, *screens, "betting-idle")
	w.race("race-1", "Copper Cup", inAWhile)
	w.race("race-2", "The Very Long Name Of A Race That Somebody Has Paid For Handicap", 55*time.Minute)
	w.odds(t, "race-1", six(2.487, 0.8, 3.52, 4.04, 8.1, 21.3)...)
	b.See(t, "#cars .odds", "5/2", soon)
	b.Click(t, "#activate")
	b.See(t, "#device-state", "Active", soon)
	for i, car := range []int{1, 2, 3, 4} {
		b.Click(t, fmt.Sprintf("#cars .row:nth-child(%d) button", car))
		if i == 1 {
			w.odds(t, "race-1", six(2.487, 0.62, 3.52, 4.04, 8.1, 21.3)...)
			b.See(t, "#moved", "The odds have moved", soon)
			b.Shots(t, *screens, "betting-slip")
		}
		b.Click(t, "#place")
		b.Until(t, `String(document.querySelectorAll("#bets .bet[data-state=placed]").length)`, func(got string) bool { return got == fmt.Sprint(i+1) }, soon)
	}
	placed := w.placed()
	w.push(t, 1, "r", "race", "Copper Cup in 1 min", "Kempton Park, 14:05", map[string]string{"link": "app://race/race-1"})
	w.push(t, 2, "b1", "bet", "Bet not placed: the odds moved", "Car 2 in Copper Cup is at 5/8 now, you bet at 4/5. Nothing was staked.", map[string]string{"bet": placed[1].ID, "reason": "ODDS_MOVED"})
	w.push(t, 3, "b2", "loss", "No luck this time", "Car 3 did not win Copper Cup.", map[string]string{"bet": placed[2].ID, "outcome": "LOST"})
	w.push(t, 4, "b3", "win", "You won €17.44", "Car 1 came first in Copper Cup.", map[string]string{"bet": placed[0].ID, "outcome": "WON", "payout": "17.44", "currency": "EUR"})
	w.push(t, 5, "b2", "win", "Result changed", "Car 3 in Copper Cup: a dead heat, you won €11.30.", map[string]string{"bet": placed[2].ID, "outcome": "DEAD_HEAT", "payout": "11.30", "currency": "EUR"})
	b.See(t, "#bets", "Dead heat", soon)
	w.odds(t, "race-1", six(2.1, 0.62, 3.52, 5.1, 8.1, 17)...)
	b.See(t, "#cars .row:nth-child(1) .odds", "2/1", soon)
	b.Shots(t, *screens, "betting-live")
	b.Quiet(t)
	require.NoError(t, w.ably.Close())
	b.See(t, "#race-note", "not live", soon)
	w.bugle.set(func(b *bugle) { b.status = http.StatusServiceUnavailable })
	b.Click(t, "#deactivate")
	b.See(t, "#trouble", "Bugle does not answer", soon)
	b.See(t, "#trouble", "Ably does not answer", soon)
	b.Shots(t, *screens, "betting-away")
}

// Nothing keeps anybody out, in light and dark, as far as a program can tell.
func TestThePageIsAccessible(t *testing.T) {
	t.Parallel()
	axe := browsertest.Axe(t)
	ctx := browsertest.Open(t)
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		require.NoError(t, err)
		w := newWorld(t)
		b := w.look(ctx, t)
		b.See(t, "#market", "There is nothing to bet on", soon)
		b.Accessible(t, axe)
		w.race("race-1", "Copper Cup", inAWhile)
		w.race("race-2", "Silver Mile", 2*inAWhile)
		w.odds(t, "race-1", six(2.5, 1, 3, 4, 5, 6)...)
		b.Click(t, "#activate")
		b.See(t, "#device-state", "Active", soon)
		b.Click(t, "#cars .row:nth-child(1) button")
		w.odds(t, "race-1", six(2, 1.5, 3, 4, 5, 6)...)
		b.See(t, "#moved", "The odds have moved", soon)
		b.Accessible(t, axe)
		b.Click(t, "#place")
		b.See(t, "#bets .bet .state", "Placed", soon)
		w.push(t, 1, "a", "race", "Copper Cup in 1 min", "Kempton Park", nil)
		w.push(t, 2, "b", "win", "You won €17.50", "Car 1 came first.", map[string]string{"bet": w.placed()[0].ID, "outcome": "WON", "payout": "17.5"})
		b.See(t, "#bets .bet .state", "Won", soon)
		watchCars(t, b)
		w.odds(t, "race-1", six(3, 1.2, 3, 4, 5, 6)...)
		sawCars(t, b, "▲|▼| none|none|none Car 1 3/1 decimal 4.00 the odds have gone up")
		b.Accessible(t, axe)
		w.bugle.set(func(b *bugle) { b.status = http.StatusUnauthorized })
		b.Click(t, "#deactivate")
		b.See(t, "#trouble", "does not take", soon)
		b.Accessible(t, axe)
	}
}

// What the page is told is what the sandbox configured, and nothing else.
func TestTheDocumentSaysWhereEverythingIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status, head, body := get(t, w.page.URL()+"/config.json", nil)
	require.Equal(t, http.StatusOK, status)
	var d map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &d))
	require.Equal(t, map[string]any{
		"api": w.bugle.URL, "ably": w.ably.URL(), "odds": "outbound:odds:", "bets": "inbound:betting:cars:", "currency": "EUR", "guests": true,
	}, d)
	policy := head.Get("Content-Security-Policy")
	require.Contains(t, policy, "connect-src 'self' "+w.bugle.URL+" "+w.ably.URL()+";")
	require.True(t, strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "), policy)
	require.NotContains(t, policy, "unsafe")
}
