package page_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/browsertest"
)

// TestAVisitor is what befalls somebody who has read nothing, in one browser, each in a world of its own.
func TestAVisitor(t *testing.T) {
	t.Parallel()
	ctx := browsertest.Open(t)
	for name, test := range map[string]func(*testing.T, context.Context){
		"a small window, and names of all kinds":    smallWindow,
		"a clock that is wrong":                     wrongClock,
		"a bet that is rejected is told and mended": rejected,
		"the steps are ticked off":                  steps,
		"what was cleared stays so":                 staysCleared,
		"a mark goes where nothing may move":        markGoes,
		"what can be bet on comes first":            openFirst,
	} {
		t.Run(name, func(t *testing.T) { test(t, ctx) })
	}
}

func smallWindow(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	names := []string{"Car 1", "シルバーストーンの長い名前の車", "السيارة الحمراء السريعة جدا", "Donaudampfschifffahrtsgesellschaft", "Marathon", "X"}
	var tiles []tile
	for i, name := range names {
		tiles = append(tiles, tile{name, []float64{0.125, 1000, 3.5, 8.0 / 13, 33, 2}[i]})
	}
	w.race("race-1", "The Very Long Name Of A Marathon That Somebody Has Paid For Handicap", inAWhile)
	w.race("race-2", "كأس الصحراء", 2*inAWhile)
	w.odds(t, "race-1", tiles...)
	b := w.look(ctx, t)
	b.See(t, "#cars .odds", "1000/1", soon)
	b.See(t, "#device-state", "Not active", soon)
	b.Click(t, "#activate")
	w.push(t, 1, "a", "race", "كأس الصحراء خلال دقيقة", "مضمار ميدان", nil)
	w.push(t, 2, "a", "race", names[1], names[3], nil)
	b.See(t, "#tray", names[1], soon)
	for _, width := range []int64{320, 360, 640, 800, 1024, 1280, 1920} { // 640 is 1280 at 200 %
		b.Do(t, chromedp.EmulateViewport(width, 800))
		require.Equal(t, "fits", b.Ask(t, `document.documentElement.scrollWidth <= innerWidth ? "fits" : "is " + document.documentElement.scrollWidth`), width)
		require.Empty(t, b.Ask(t, `Array.from(document.querySelectorAll("#cars .name")).filter(e => e.textContent.length < 10 && (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth || e.clientHeight > 50) || e.clientWidth < 40).map(e => e.textContent + " in " + e.clientWidth + " of " + e.scrollWidth).join("; ")`), width)
		require.Empty(t, b.Ask(t, `(() => { const hidden = Array.from(document.querySelectorAll("#cars .odds, #device button, #clear")).filter(e => { const r = e.getBoundingClientRect(); return r.left < 0 || r.right > innerWidth }); return hidden.map(e => e.outerHTML.slice(0, 80)).join("; ") })()`), width)
	}
	require.Equal(t, "rtl", b.Ask(t, `getComputedStyle(document.querySelectorAll("#cars .name")[2]).direction`))
	b.Do(t, chromedp.EmulateViewport(1280, 900))
	b.Quiet(t)
}

// wrongClock is two hours ahead: to such a browser every race would have started.
func wrongClock(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	id, err := chromedp.Call(ctx, cdpage.AddScriptToEvaluateOnNewDocument, cdpage.AddScriptToEvaluateOnNewDocumentParams{Source: `
		const right = Date.now.bind(Date);
		Date.now = () => right() + 7200e3;
	`})
	require.NoError(t, err)
	defer func() {
		_, err := chromedp.Call(ctx, cdpage.RemoveScriptToEvaluateOnNewDocument, cdpage.RemoveScriptToEvaluateOnNewDocumentParams(id))
		require.NoError(t, err)
	}()
	w := newWorld(t)
	w.bugle.set(func(b *bugle) { b.life = 90 * time.Minute }) // over, to such a browser
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.5, 1)...)
	b := w.look(ctx, t)
	b.See(t, "#race-clock", "in ", soon)
	b.See(t, "#race-note", "Tap a car", soon)
	b.Click(t, "#cars .row:nth-child(1) button")
	b.Click(t, "#place")
	b.See(t, "#bets .bet .state", "Placed", soon)
	w.push(t, 1, "a", "race", "Copper Cup in 1 min", "Kempton Park", nil)
	b.See(t, "#tray", "Copper Cup", soon)
	require.Equal(t, "Copper Cup in 1 min. Kempton Park", b.Ask(t, `document.getElementById("heard").textContent`), "it is new")
	require.Equal(t, 1, w.bugle.tokensAsked(), "a token that is good is asked for once")
	b.Quiet(t)
}

func rejected(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.5, 1)...)
	b := w.look(ctx, t)
	b.Click(t, "#cars .row:nth-child(1) button")
	b.See(t, "#unheard", "no push will tell", soon)
	b.Click(t, `#chips [data-stake="10"]`)
	b.Click(t, "#place")
	b.See(t, "#bets .bet .state", "Placed", soon)
	w.odds(t, "race-1", six(2, 1)...)
	b.See(t, "#cars .row:nth-child(1) .odds", "2/1", soon)
	// The phone is far away, as on a small screen.
	b.Do(t, chromedp.EmulateViewport(390, 844))
	b.Ask(t, `document.getElementById("cars").scrollIntoView(); ""`)
	bet := w.placed()[0]
	w.push(t, 7, "b1", "bet", "Bet not placed", "The odds moved", map[string]string{"bet": bet.ID, "reason": "ODDS_MOVED"})
	b.See(t, "#news", "Not placed: €10.00 on Car 1. The odds had moved. Nothing was staked.", soon)
	require.Equal(t, "true", b.Ask(t, `(() => { const r = document.getElementById("news").getBoundingClientRect(); return String(r.top >= 0 && r.bottom <= innerHeight) })()`))
	require.Equal(t, "the odds had moved; nothing was staked", b.Ask(t, `document.querySelector("#bets .detail").textContent`))
	b.Click(t, "#news-again")
	b.See(t, "#slip-odds", "2/1", soon)
	require.Equal(t, "10", b.Ask(t, `document.getElementById("stake").value`))
	b.Click(t, "#place")
	b.Until(t, `String(document.querySelectorAll("#bets .bet[data-state=placed]").length)`, func(got string) bool { return got == "1" }, soon)
	require.JSONEq(t, `{"name":"Car 1","event":"race-1","stake":10,"odds":2}`, string(w.placed()[1].Data))
	b.See(t, "#bets .again-bet", "Bet again", soon)
	// Once the race has started there is nothing to bet on again; and a reload tells nothing anew.
	w.push(t, 8, "b2", "bet", "Bet not placed", "The odds moved", map[string]string{"bet": w.placed()[1].ID, "reason": "ODDS_MOVED"})
	b.See(t, "#news-again", "Bet again", soon)
	w.race("race-1", "Copper Cup", -time.Second)
	b.Until(t, `String(document.getElementById("news-again").hidden || document.getElementById("news").hidden)`, func(got string) bool { return got == "true" }, soon/3)
	b.Until(t, `String(document.querySelectorAll("#bets .again-bet:not([hidden])").length)`, func(got string) bool { return got == "0" }, soon)
	b.Open(t, w.page.URL()+"/")
	b.See(t, "#tray", "Bet not placed", soon)
	require.Equal(t, "true", b.Ask(t, `String(document.getElementById("news").hidden)`))
	b.Do(t, chromedp.EmulateViewport(1280, 900))
	b.Quiet(t)
}

func steps(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	w.race("race-1", "Copper Cup", inAWhile)
	w.odds(t, "race-1", six(2.5, 1)...)
	b := w.look(ctx, t)
	const done = `Array.from(document.querySelectorAll("#how .done")).map(e => e.dataset.step).join(" ")`
	ticked := func(want string) {
		t.Helper()
		b.Until(t, done, func(got string) bool { return got == want }, soon)
	}
	b.See(t, "#how", "Activate the phone", soon)
	ticked("")
	b.See(t, "#device-state", "Not active", soon)
	b.Click(t, "#activate")
	ticked("activate")
	b.Click(t, "#cars .row:nth-child(1) button")
	require.Equal(t, "true", b.Ask(t, `String(document.getElementById("unheard").hidden)`))
	b.Click(t, "#place")
	ticked("activate bet")
	b.See(t, "#bets .bet .state", "Placed", soon)
	w.push(t, 1, "b", "win", "You won", "Car 1 came first.", map[string]string{"bet": w.placed()[0].ID, "outcome": "WON", "payout": "17.5"})
	ticked("activate bet push")
	b.See(t, "#news", "Won: €5.00 on Car 1, €17.50.", soon)
	b.Click(t, "#news-close")
	b.Open(t, w.page.URL()+"/")
	ticked("activate bet push")
	b.Quiet(t)
}

func staysCleared(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	b := w.look(ctx, t)
	b.See(t, "#device-state", "Not active", soon)
	w.push(t, 1, "a", "race", "Copper Cup in 1 min", "Kempton Park", nil)
	b.See(t, "#tray", "Copper Cup", soon)
	b.Click(t, "#clear")
	b.Open(t, w.page.URL()+"/")
	w.push(t, 2, "b", "race", "Silver Mile in 1 min", "Kempton Park", nil)
	b.See(t, "#tray", "Silver Mile", soon)
	require.Equal(t, "1", b.Ask(t, `String(document.querySelectorAll("#tray .push").length)`))
	b.Quiet(t)
}

func markGoes(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	reduce := func(features ...*emulation.MediaFeature) {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		require.NoError(t, err)
	}
	reduce(&emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"})
	defer reduce()
	w := newWorld(t)
	b := w.look(ctx, t)
	b.See(t, "#device-state", "Not active", soon)
	// The page looks itself: the mark may be gone before a test on a busy machine asks.
	const outline = `getComputedStyle(document.querySelector("#tray .push button")).outlineStyle`
	b.Ask(t, `window.outlines = new Set(); setInterval(() => document.querySelector("#tray .push button") && outlines.add(`+outline+`), 20); ""`)
	w.push(t, 1, "a", "race", "Copper Cup in 1 min", "Kempton Park", nil)
	w.push(t, 2, "a", "race", "Copper Cup is off", "Kempton Park", nil)
	b.Until(t, `String(outlines.has("solid"))`, func(got string) bool { return got == "true" }, soon)
	b.Until(t, outline, func(got string) bool { return got == "none" }, soon)
	b.Quiet(t)
}

func openFirst(t *testing.T, ctx context.Context) { //nolint:revive // see fractions
	w := newWorld(t)
	for i := range 3 {
		w.race(fmt.Sprint("off-", i), fmt.Sprint("Gone Stakes ", i), -time.Minute)
	}
	w.race("race-1", "Copper Cup", inAWhile)
	w.race("race-2", "Silver Mile", 2*inAWhile)
	b := w.look(ctx, t)
	b.See(t, "#race-name", "Copper Cup", soon)
	require.Equal(t, "Copper Cup Silver Mile Gone Stakes 1 Gone Stakes 2", b.Ask(t, `Array.from(document.querySelectorAll("#strip b")).map(e => e.textContent).join(" ")`))
	b.Do(t, chromedp.EmulateViewport(390, 844))
	b.Ask(t, `document.querySelectorAll("#strip button")[3].click(); ""`)
	require.Equal(t, "true", b.Ask(t, `(() => { const tab = document.querySelector("#strip [aria-selected=true]").getBoundingClientRect(), strip = document.getElementById("strip").getBoundingClientRect(); return String(tab.left >= strip.left - 1 && tab.right <= strip.right + 1) })()`))
	b.Do(t, chromedp.EmulateViewport(1280, 900))
	b.Quiet(t)
}
