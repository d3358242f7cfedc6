package console_test

import (
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/api/console"
	"github.com/bugle-push/bugle/internal/fault"
)

// text is what a page says, without its markup, and with one kind of space.
func text(body string) string {
	var out strings.Builder
	for part := range strings.SplitSeq(body, "<") {
		if _, after, ok := strings.Cut(part, ">"); ok {
			part = after
		}
		out.WriteString(" " + part)
	}
	return strings.ReplaceAll(strings.Join(strings.Fields(html.UnescapeString(out.String())), " "), " ,", ",")
}

func TestTheOverviewTellsTheNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := text(page(t, w.signedIn(t), "/live"))
	for _, want := range []string{
		"Lane Queued Oldest due In flight here fcm/high 4 321 95 s 0 fcm/normal 0 – 0", "of all replicas; what is in flight, of this one",
		"Providers as this replica finds them", "of this replica's partitions 77 records behind", "held: credentials", "1 failing", "failing ksqldb connection refused",
		"1 replica alive", "2 held runs", "3 rules in force", "would make 1 234 deliveries, more than 1 000",
	} {
		require.Contains(t, got, want)
	}
}

// What all may send and whether they must wait is told from the first moment on,
// and as it is now, not as this replica was granted last.
func TestTheOverviewTellsOfQuotas(t *testing.T) {
	t.Parallel()
	w := newWorldEvery(t, time.Hour) // nobody else remembers anything meanwhile
	b := w.signedIn(t)
	q := w.work.quota
	w.work.rate.WithLabelValues("fcm").Set(100)
	q.share.WithLabelValues("fcm").Set(.25)
	got := text(page(t, b, "/live"))
	require.Contains(t, got, "all replicas: 25 a second at most")
	require.NotContains(t, got, "Relay's quota", "it has no limit")
	q.budget.WithLabelValues("requests").Set(40)
	q.published.WithLabelValues("accepted").Add(0)
	q.until.WithLabelValues("fcm").Set(float64(time.Now().Add(20 * time.Minute).Unix()))
	q.share.WithLabelValues("fcm").Set(0)
	for range 2 {
		require.NoError(t, w.pages.Remember(time.Now()))
	}
	got = text(page(t, b, "/live"))
	require.Contains(t, got, "Quota of fcm – used all: 100 a second paused, goes on in 20 min")
	require.Contains(t, got, "fcm throttled", "who asks all to wait is not taking pushes, whether or not this replica has heard it")
	require.NotContains(t, got, "taking pushes")
	require.Contains(t, got, "all replicas: nothing now")
	require.Contains(t, got, "Relay's quota 0 % used by this replica held: credentials")
	require.Contains(t, got, "requests 0 % of 40 a second")
}

// An outage of the database hides nothing that is known without it.
func TestTheOverviewOutlivesTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	require.NoError(t, w.db.Close())
	got := text(page(t, b, "/"))
	require.Contains(t, got, "2 failing")
	require.Contains(t, got, "Not known now. Something went wrong here; request id ")
	require.Contains(t, got, "fcm/high 4 321")
	require.Contains(t, got, "Whether sending is stopped is not known now.")
	whole := page(t, b, "/")
	for _, button := range []string{"Stop", "Start"} { // nobody knows which of them is wanted
		require.Regexp(t, `<details class="confirm" data-when="[a-z]+"><summary class="button">`+button, whole)
	}
	res, body := b.get(t, "/runs")
	require.Equal(t, http.StatusInternalServerError, res.StatusCode)
	require.Contains(t, body, "the request id leads to the cause in the log")
	require.NotContains(t, body, "sql:")
}

// A queue that cannot be counted, as in an outage of the database, is not one with nothing in it.
func TestAQueueThatIsNotCountedIsNotEmpty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	w.pending.DeleteLabelValues("fcm/high")
	got := text(page(t, b, "/live"))
	require.Contains(t, got, "fcm/high not known 95 s")
	require.Contains(t, got, "fcm/normal 0 –")
	w.pending.Reset()
	w.oldest.Reset()
	got = text(page(t, b, "/live"))
	require.Contains(t, got, "Not known now. The queue has not been counted.")
	require.NotContains(t, got, "Nothing is queued")
}

func TestThePageOfAUserTellsWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	got := text(page(t, b, "/users?id=ann"))
	for _, want := range []string{
		"phone-1 active android", "rejected Red Rum <b> won Your bet b1 on Red Rum <b> is settled.", "delivery 7 to phone-1 · INVALID_ARGUMENT",
		"notification 41, version 1", "notification 42, version 1",
	} {
		require.Contains(t, got, want)
	}
	require.Contains(t, text(page(t, b, "/users?id=eve")), "suppressed cool_off, service by bob")
	require.Contains(t, text(page(t, b, "/users?id=nobody")), "Nothing was told to this user")
}

func TestListsComeInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 60 {
		w.exec(t, `INSERT INTO suppressions (user_id, reason, class, set_by, set_at) VALUES ($1, 'cool_off', 'service', 'bob', 1)`, "u-"+strconv.Itoa(100+i))
		w.exec(t, `INSERT INTO runs (id, rule_id, tick_at, state, baseline, since_at, until_at, generation, owner, lease_until, started_at)
			VALUES ($1, 'race-soon', $1, 'failed', FALSE, 0, 0, 'g', 'o', 0, 0)`, 100+i)
	}
	b := w.signedIn(t)
	for _, tt := range []struct{ first, more, onFirst, onSecond string }{
		{"/suppressions", `/suppressions?after_reason=cool_off&amp;after_user=u-148`, ">u-148<", ">u-159<"},
		{"/runs?rule=race-soon", `/runs?before=110&amp;rule=race-soon&amp;state=`, `href="/runs/110"`, `href="/runs/100"`},
	} {
		body := page(t, b, tt.first)
		require.Contains(t, body, tt.onFirst)
		require.NotContains(t, body, tt.onSecond)
		require.Contains(t, body, tt.more)
		second := page(t, b, strings.ReplaceAll(tt.more, "&amp;", "&"))
		require.Contains(t, second, tt.onSecond)
		require.NotContains(t, second, tt.onFirst)
	}
}

func TestTheListOfRulesShowsWhatTheirRunsBrought(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(t, `UPDATE runs SET staged = 12, adopted = 1 WHERE id = 13`)
	w.exec(t, `UPDATE runs SET staged = 0 WHERE id = 12`)
	body := page(t, w.signedIn(t), "/rules")
	require.Contains(t, body, `aria-label="News in the last runs, the newest first: 3, 3, 13, 0"`)
	require.Contains(t, body, `<rect x="72" y="0" width="6" height="100"></rect>`)
	require.Equal(t, 1, strings.Count(body, `class="bars"`), "the others have never run")
}

// A notice is shown by the next page of the session, which may be another tab's: it names what it is about.
func TestANoticeNamesWhatItIsAbout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	for _, tt := range []struct{ path, told string }{
		{"/rules/bet-settled/pause", "Done. bet-settled is paused"},
		{"/rules/bet-settled/resume", "Done. bet-settled takes ticks again"},
		{"/rules/bet-settled/stop", "Done. Nothing of bet-settled is sent"},
		{"/rules/bet-settled/start", "Done. bet-settled sends again"},
		{"/rules/bet-settled/run", "Done. bet-settled has run, out of turn."},
		{"/runs/12/release", "Done. Run 12 is released"},
		{"/runs/13/discard", "Done. Run 13 is discarded"},
	} {
		res, body := b.post(t, tt.path, nil)
		require.Equal(t, http.StatusSeeOther, res.StatusCode, body)
		require.Contains(t, text(page(t, b, "/suppressions")), tt.told)
	}
}

// What a button was refused for stands on the next page, once.
func TestARefusalIsToldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	for _, tt := range []struct {
		path string
		form url.Values
		told string
	}{
		{"/rules/asleep/run", nil, "mode: paused in the rules"},
		{"/runs/15/release", nil, "nly a held run can be released"},
		{"/users/unsuppress", url.Values{"user": {"ann"}, "reason": {"cool_off"}}, "There is no such suppression"},
		{"/deliveries/8/requeue", nil, "is sent"},
	} {
		res, _ := b.post(t, tt.path, tt.form)
		require.Equal(t, http.StatusSeeOther, res.StatusCode, tt.path)
		require.Contains(t, text(page(t, b, "/rules")), tt.told)
		require.NotContains(t, text(page(t, b, "/rules")), tt.told)
	}
	require.Zero(t, w.changes(t))
}

func TestNewWantsWhatItNeeds(t *testing.T) {
	t.Parallel()
	for _, cfg := range []console.Config{{}, {Operations: &api.Operations{}}} {
		_, err := console.New(cfg)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}
