package console_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is wrong, since when, and where something can be done about it stand at the top.
func TestTheOverviewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	first := text(page(t, b, "/live"))
	require.Regexp(t, `What is wrong \(5\) failing ksqldb (now|\d+ s ago) All checks connection refused`, first)
	for _, want := range []string{
		"held relay of odds: credentials", "waits the queue fcm/high 95 s ago What waits",
		"held run 13 of bet-settled: 1 234 deliveries", "Release or discard",
	} {
		require.Contains(t, first, want)
	}
	require.NotContains(t, first, "not known rules")
	body := page(t, b, "/live")
	require.Contains(t, body, `<a href="/runs/13">Release or discard</a>`)
	require.Contains(t, body, `<a href="/deliveries?provider=fcm&amp;state=queued">What waits</a>`)

	b.post(t, "/rules/race-soon/pause", url.Values{"reason": {"wrong text"}})
	b.post(t, "/rules/race-soon/stop", nil)
	w.exec(t, `INSERT INTO runs (id, rule_id, tick_at, state, baseline, since_at, until_at, generation, owner, lease_until, error, started_at, finished_at)
		VALUES (17, 'bet-settled', $1, 'failed', FALSE, 0, 0, 'g', 'o', 0, 'the body was cut', $1, $1)`, time.Now().Add(-5*time.Minute).UnixMicro()+int64(time.Hour/time.Microsecond))
	second := text(page(t, b, "/live"))
	for _, want := range []string{"paused race-soon", "Resume it by alice: wrong text", "stopped the sending of race-soon", "failed bet-settled in 55 min Run 17 the body was cut"} {
		require.Contains(t, second, want)
	}
	require.Regexp(t, `Run 17 .* held run 13`, second, "what is not done comes before what waits for a word")

	require.NoError(t, w.db.Close())
	require.Contains(t, text(page(t, b, "/live")), "not known rules, held runs, replicas, stops Something went wrong here")
}

// A failing check is older than who looks: whoever asked first has found it.
func TestAFailingCheckKeepsItsBeginning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	since := func() string {
		b.get(t, "/readyz")
		return pick(t, page(t, b, "/live"), `<b>ksqldb</b> <span class="since"><time datetime="([^"]+)"`)
	}
	began := since()
	require.Never(t, func() bool { return since() != began }, 2500*time.Millisecond, 500*time.Millisecond)
	w.broken.Store(false)
	require.Eventually(t, func() bool { return !hasTrouble(page(t, b, "/live")) }, time.Minute, 100*time.Millisecond)
	w.broken.Store(true)
	require.Eventually(t, func() bool { return hasTrouble(page(t, b, "/live")) }, time.Minute, 100*time.Millisecond)
	require.NotEqual(t, began, since())
}

// pick is what a pattern finds.
func pick(t testing.TB, body, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(body)
	require.NotNil(t, m, body)
	return m[1]
}

func hasTrouble(body string) bool { return strings.Contains(body, "<b>ksqldb</b>") }
