package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/browsertest"
)

// soon is how long something may take that a busy machine does slowly: a race is
// entered every 20 s, and its bets are settled half a minute later.
const soon = 3 * time.Minute

// aFew users are enough where others only have to be there: without faults everybody
// has to be told of a race before it starts, also by a machine that does much else.
const aFew = "12"

// What somebody does who opens the betting page: activate the phone, see the odds
// move, bet, be told what became of it, deactivate, and hear no more. The oracles
// have to find nothing wrong in the end.
func TestAGuestUsesThePage(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a minute of real time")
	}
	browser := browsertest.Open(t)
	told := &output{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"-ports", "auto", "-faults", "none", "-seed", "12", "-users", aFew}, told, told)
	}()
	printed := told.await(t, 0, `(?m)^    (http://\S+)/\n    http://(\S+)/\n    ADMIN_TOKEN=bga_\S+$`, time.Minute)
	broker := told.await(t, 0, `kcat -b (\S+) -L`, soon)[1]
	api := told.await(t, 0, `(?m)^    listen: (\S+)$`, soon)[1]
	ably := told.await(t, 0, `http://(\S+)/sse`, soon)[1]
	b := browsertest.Look(browser, t, printed[1]+"/", "http://"+api+"/", "http://"+ably+"/")

	b.Open(t, printed[1]+"/")
	b.See(t, "#who", "guest-1", soon)
	b.See(t, "#device-state", "Not active", soon)
	b.Click(t, "#activate")
	b.See(t, "#device-state", "Active: Bugle sends to this phone", soon)

	// Another tab is another user, with a phone that is not activated.
	other := b.Another(t)
	other.Open(t, printed[1]+"/")
	other.See(t, "#who", "guest-2", soon)
	other.See(t, "#device-state", "Not active", soon)

	// A bet at the odds on the tile.
	tile := bettable(t, b)
	b.Click(t, tile+" button")
	b.See(t, "#slip-name", "Car 2", soon)
	b.Do(t, chromedp.SetValue(chromedp.CSS("#stake"), "7.25"))
	b.Do(t, chromedp.Evaluate[chromedp.Void](`document.getElementById("stake").dispatchEvent(new Event("input"))`))
	b.See(t, "#returns", "returns €", soon)
	b.Click(t, "#place")
	// On a busy machine what became of it may be there before anybody looks.
	b.Until(t, `document.querySelector("#bets .bet")?.dataset.state ?? ""`, func(got string) bool { return got == "placed" || decided(got) }, soon)
	b.See(t, "#bets .bet .what", "€7.25 on Car 2", soon)
	awaitBet(t, broker, "guest-1", "7.25")

	// The odds move, and the tile says so by more than a colour.
	moved := b.Until(t, `Array.from(document.querySelectorAll(".row.flash .arrow")).map(e => e.textContent + e.closest(".row").dataset.move + e.closest("button").querySelector(".said").textContent).join("\n")`,
		func(got string) bool { return strings.Contains(got, "▼") || strings.Contains(got, "▲") }, soon)
	require.Regexp(t, `▼down.*the odds have come down|▲up.*the odds have gone up`, moved)

	// The race was announced, and what became of the bet is on the phone and in the
	// list.
	b.See(t, "#tray .push[data-kind=race] .title", " in ", soon)
	b.Until(t, `document.querySelector("#tray .push[data-kind=win], #tray .push[data-kind=loss], #tray .push[data-kind=bet]")?.innerText ?? ""`,
		func(got string) bool { return strings.Contains(got, "Car 2") }, soon)
	b.Until(t, `document.querySelector("#bets .bet").dataset.state`, decided, soon)
	require.Equal(t, "0", other.Ask(t, `String(document.querySelectorAll("#tray .push").length)`), "a phone that was never activated")

	// Deactivated: the next race is announced to others, and to nobody here.
	b.Click(t, "#deactivate")
	b.See(t, "#device-state", "Not active", soon)
	b.Ask(t, `window.acknowledged = Date.now(); ""`)
	b.Click(t, "#clear")
	race := told.awaitAnnouncement(t, len(told.String()))
	// Nothing of that race, and nothing else but what was on its way when Bugle
	// acknowledged.
	require.Empty(t, b.Ask(t, `Array.from(document.querySelectorAll("#tray .push"))
		.filter(e => e.innerText.includes(`+strconv.Quote(race)+`) || !(Date.parse(e.querySelector("time").dateTime) < window.acknowledged + 5000))
		.map(e => e.innerText).join("\n")`))
	b.Quiet(t)
	other.Quiet(t)

	cancel()
	select {
	case code := <-ended:
		require.Zero(t, code, told.String())
	case <-time.After(drainAtMost + 15*time.Second):
		require.FailNow(t, "the sandbox does not end", told.String())
	}
}

// The page alone, for services that a file names.
func TestThePageAlone(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "page.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"api": "https://bugle.example.com", "ably": "https://main.realtime.ably.net", "token": "t"}`), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := &output{}
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"-page", file, "-ports", "auto"}, told, told) }()
	at := told.await(t, 0, `(http://127\.0\.0\.1:\d+)/, for the Bugle at https://bugle\.example\.com and .*allowed_origins: \[(http://\S+)\]`, soon)
	require.Equal(t, at[1], at[2])
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at[1]+"/config.json", nil)
	require.NoError(t, err)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Contains(t, string(text), `"guests":false`)
	cancel()
	require.Zero(t, <-ended, told.String())

	require.NoError(t, os.WriteFile(file, []byte(`{"api": "bugle"}`), 0o600))
	require.Equal(t, 1, run(t.Context(), []string{"-page", file, "-ports", "auto"}, told, told))
	require.Contains(t, told.String(), "token is missing")
}

// awaitAnnouncement waits until a race that was entered after the first from bytes
// has been announced to somebody, and returns its name.
func (o *output) awaitAnnouncement(t *testing.T, from int) string {
	t.Helper()
	db := o.database(t)
	entered := regexp.MustCompile(`(?m)^\d\d:\d\d  (.*) \((race-\d{4})\) at .* starts in`)
	var race string
	require.Eventually(t, func() bool {
		told, err := counts(t.Context(), db, `SELECT n.key, COUNT(*) FROM deliveries d JOIN notifications n ON n.id = d.notification_id
			WHERE d.rule_id = 'race-soon' AND d.state = 'sent' GROUP BY 1`)
		for _, m := range entered.FindAllStringSubmatch(o.String()[from:], -1) {
			if race = m[1]; told[`["`+m[2]+`"]`] > 0 {
				return err == nil
			}
		}
		return false
	}, soon, 100*time.Millisecond, "no race was announced")
	return race
}

// decided tells whether a bet is in a state that it was told of.
func decided(state string) bool {
	return slices.Contains([]string{"WON", "LOST", "REJECTED", "VOID", "DEAD_HEAT"}, state)
}

// bettable waits for a race that can be bet on for a while, and returns where its
// second car is.
func bettable(t *testing.T, b *browsertest.Tab) string {
	t.Helper()
	const tile = "#cars .row:nth-child(2)"
	b.Until(t, `(() => {
		const row = document.querySelector("`+tile+`"), left = /in (\d+) s/.exec(document.getElementById("race-clock").textContent);
		return row && left && Number(left[1]) > 15 && row.querySelector("button").ariaDisabled === "false" ? "yes" : "no";
	})()`, func(got string) bool { return got == "yes" }, soon)
	return tile
}
