package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
)

// "Why did I not get it?" is answered by the first sentence of the page.
func TestThePageOfANotificationTellsWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	const said = "rejected phone-1 Not told: fcm refused the message for good at "
	got := text(page(t, b, "/notifications/41?device=phone-1"))
	for _, want := range []string{
		"Notification 41 released " + said, "Only what is for the device phone-1 is shown.", "reason INVALID_ARGUMENT",
		"passed What is on record can be read", "350 ms retry UNAVAILABLE 503", "rejected INVALID_ARGUMENT 400",
		"Red Rum <b> won Your bet b1 on Red Rum <b> is settled.", `"runner": "Red Rum <b>"`, "Key key-41", "Notification 41 (this one) released", "Try it again",
	} {
		require.Contains(t, got, want)
	}
	require.NotContains(t, got, "phone-2")

	got = text(page(t, b, "/notifications/41?user=ann"))
	require.Contains(t, got, said)
	require.Contains(t, got, "sent phone-2 Told: fcm took it at ")
	got = text(page(t, b, "/notifications/41"))
	require.Contains(t, got, "deliveries: 1 rejected, 1 sent.")
	got = text(page(t, b, "/notifications/41?user=nobody"))
	require.Contains(t, got, "No delivery of it to nobody is on record.")
	require.Contains(t, text(page(t, b, "/notifications/42")), "Nobody is told yet: run 12 is held because it would make more than 1000 deliveries")
	for _, path := range []string{"/notifications/999", "/notifications/x", "/notifications/-1", "/deliveries/999", "/deliveries/x"} {
		res, _ := b.get(t, path)
		require.Equal(t, http.StatusNotFound, res.StatusCode, path)
	}
}

// Wherever a notification or a delivery is named, its page is one click away.
func TestNotificationsAreLinked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	require.Contains(t, page(t, b, "/users?id=ann"), `href="/notifications/41?user=ann"`)
	require.Contains(t, page(t, b, "/runs/15"), `href="/notifications/41"`)
	require.Contains(t, page(t, b, "/deliveries"), `href="/notifications/41?device=phone-1"`)
	res, _ := b.get(t, "/deliveries/7")
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	require.Equal(t, "/notifications/41?device=phone-1", res.Header.Get("Location"))
	res, _ = b.post(t, "/deliveries/7/requeue", nil)
	require.Equal(t, "/notifications/41?device=phone-1", res.Header.Get("Location"))
	body := page(t, b, "/audit")
	require.Contains(t, body, `href="/deliveries/7"`)
}

// Every gate has words of its own, and a thread leads to what came before and after.
func TestGatesAndThreadsAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn(t)
	body := page(t, b, "/notifications/41?device=phone-1")
	_, gates, _ := strings.Cut(body, `<ol class="gates">`)
	gates, _, _ = strings.Cut(gates, "</ol>")
	require.Equal(t, len(notifier.GateNames()), strings.Count(gates, "<li"))
	for _, name := range notifier.GateNames() {
		require.NotContains(t, gates, "<span>"+name+"<")
	}

	now := time.Now().UnixMicro()
	w.exec(t, `UPDATE deliveries SET state = 'suppressed', reason = 'muted' WHERE id = 7`)
	w.exec(t, `INSERT INTO preferences (user_id, muted, updated_at) VALUES ('ann', '["win"]', 1)`)
	w.exec(t, `INSERT INTO notifications (id, rule_id, key, version, version_hash, order_value, latest, thread, follow_up, audience, user_id, category,
		class, urgency, state, run_id, source_row, expires_at, created_at, released_at)
		VALUES (50, 'bet-settled', 'key-50', 2, 'h', 1, TRUE, 'th-41', TRUE, 'user', 'ann', 'win', 'transactional', 'high', 'released', 15, '{}', $1, $1, $1)`, now)
	got := text(page(t, b, "/notifications/41?device=phone-1"))
	require.Contains(t, got, "Notification 41 released replaced by 50 suppressed phone-1 Not told: the category is muted: ann has muted win.")
	require.Contains(t, got, "stopped The category is not muted muted ann has muted win")
	require.Contains(t, got, "not asked The rule can make a text of the row")
	require.Contains(t, page(t, b, "/notifications/41"), `<a href="/notifications/50">Notification 50</a>`)
	require.NotContains(t, got, "Try it again", "a suppressed one is not tried again")
}

func TestAPageOfDeliveriesIsNarrowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now()
	for i := range 60 {
		w.exec(t, `INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, due_at, expires_at, created_at, finished_at)
			VALUES ($1, $1, 'd', 'bob', 'race-soon', 'ably', 'high', FALSE, 'expired', 'ttl', 1, $2, $3, 1)`,
			1000+i, now.Add(time.Hour).UnixMicro(), now.Add(time.Duration(i-100)*time.Minute).UnixMicro())
	}
	b := w.signedIn(t)
	first := page(t, b, "/deliveries?rule=race-soon&state=expired&provider=ably&reason=ttl")
	require.Contains(t, first, ">1059<")
	require.NotContains(t, first, ">1009<")
	_, next, _ := strings.Cut(first, `<a class="button" href="/deliveries?at=`)
	next, _, ok := strings.Cut(next, `"`)
	require.True(t, ok, text(first))
	second := page(t, b, "/deliveries?at="+strings.ReplaceAll(next, "&amp;", "&"))
	require.Contains(t, second, ">1009<")
	require.Contains(t, second, ">1000<")
	require.NotContains(t, second, ">1010<")
	for _, path := range []string{"/deliveries?provider=fcm&rule=race-soon", "/deliveries?reason=x", "/deliveries?since=" + now.Add(time.Hour).UTC().Format("2006-01-02T15:04")} {
		require.Contains(t, text(page(t, b, path)), "There are no such deliveries.", path)
	}
	require.Contains(t, first, `href="/deliveries/requeue?provider=ably`)
	require.NotContains(t, page(t, b, "/deliveries?state=sent"), "/deliveries/requeue")
	require.NotContains(t, page(t, b, "/deliveries"), "/deliveries/requeue", "everything is no filter")
}

// What is requeued is counted first, and changed by the form alone.
func TestRequeueing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now()
	for i := range 5 {
		expires := now.Add(time.Hour)
		if i >= 3 {
			expires = now.Add(-time.Minute)
		}
		w.exec(t, `INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, due_at, expires_at, created_at, finished_at)
			VALUES ($1, $1, 'd', 'bob', 'race-soon', 'fcm', 'high', FALSE, 'rejected', 'QUOTA', 1, $2, $3, 1)`, 1000+i, expires.UnixMicro(), now.UnixMicro())
	}
	b := w.signedIn(t)
	filter := url.Values{"rule": {"race-soon"}, "state": {"rejected"}, "reason": {"QUOTA"}}
	preview := page(t, b, "/deliveries/requeue?"+filter.Encode())
	_, most, _ := strings.Cut(preview, `name="most" value="`)
	most, _, _ = strings.Cut(most, `"`)
	got := text(preview)
	require.Contains(t, got, "3 would be tried again")
	require.Contains(t, got, "2 have expired: they stay as they are")
	require.Contains(t, got, "Try 3 deliveries again")
	require.Zero(t, w.changes(t), "looking changes nothing")

	// What has been refused since is not what somebody has agreed to.
	w.exec(t, `INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, due_at, expires_at, created_at, finished_at)
		VALUES (1010, 1010, 'd', 'bob', 'race-soon', 'fcm', 'high', FALSE, 'rejected', 'QUOTA', 1, $1, $2, 1)`, now.Add(time.Hour).UnixMicro(), now.Add(time.Second).UnixMicro())
	for _, most := range []string{"", "0", "-1", "many"} {
		filter.Set("most", most)
		res, _ := b.post(t, "/deliveries/requeue", filter)
		require.Equal(t, http.StatusBadRequest, res.StatusCode, most)
	}
	require.Zero(t, w.changes(t))
	filter.Set("most", most)
	res, _ := b.post(t, "/deliveries/requeue", filter)
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	require.Contains(t, text(page(t, b, res.Header.Get("Location"))), "Done. 3 deliveries wait for their turn again. The gates decide once more. There are more that the filter names: look at them before.")
	var queued, entries int
	w.scan(t, &queued, `SELECT COUNT(*) FROM deliveries WHERE state = 'queued' AND rule_id = 'race-soon'`)
	require.Equal(t, 3, queued)
	w.scan(t, &entries, `SELECT COUNT(*) FROM audit WHERE action = 'requeue_all' AND actor = 'alice' AND before_state LIKE '%QUOTA%'`)
	require.Equal(t, 1, entries)

	w.exec(t, `UPDATE deliveries SET state = 'sent' WHERE id = 1010`)
	require.Contains(t, text(page(t, b, "/deliveries/requeue?"+filter.Encode())), "Nothing that the filter names can be tried again.")
	res, _ = b.post(t, "/deliveries/requeue", filter)
	require.Contains(t, text(page(t, b, res.Header.Get("Location"))), "Not done. Nothing is left")
	res, body := b.post(t, "/deliveries/requeue", url.Values{"most": {"3"}})
	require.Equal(t, http.StatusBadRequest, res.StatusCode, "everything is no filter")
	require.Contains(t, text(body), "name at least a rule")

	// What may have been shown already is left out, and named by its state.
	w.exec(t, `INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, due_at, expires_at, created_at, finished_at)
		VALUES (1020, 1020, 'd', 'bob', 'race-soon', 'fcm', 'high', FALSE, 'unconfirmed', 'QUOTA', 1, $1, $2, 1),
		       (1021, 1021, 'd', 'bob', 'race-soon', 'fcm', 'high', FALSE, 'gone', 'QUOTA', 1, $1, $2, 1)`, now.Add(time.Hour).UnixMicro(), now.UnixMicro())
	all := url.Values{"rule": {"race-soon"}, "reason": {"QUOTA"}, "most": {"10"}}
	preview = page(t, b, "/deliveries/requeue?"+all.Encode())
	require.Contains(t, text(preview), "1 unconfirmed: left out")
	require.Contains(t, text(preview), "Try 1 delivery again")
	require.NotContains(t, text(preview), "may be shown twice")
	require.Contains(t, preview, `href="/deliveries/requeue?reason=QUOTA&amp;rule=race-soon&amp;state=unconfirmed"`)
	res, _ = b.post(t, "/deliveries/requeue", all)
	require.Contains(t, text(page(t, b, res.Header.Get("Location"))), "Done. 1 delivery waits")
	all.Set("state", "unconfirmed")
	named := text(page(t, b, "/deliveries/requeue?"+all.Encode()))
	require.Contains(t, named, "Try 1 delivery again")
	require.Contains(t, named, "may be shown twice")
	require.NotContains(t, named, "left out")
	var state string
	w.scan(t, &state, `SELECT state FROM deliveries WHERE id = 1020`)
	require.Equal(t, "unconfirmed", state)
}

func TestBadRowsAreShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(t, `INSERT INTO bad_rows (rule_id, row_hash, reason, detail, source_row, times_read, first_seen, last_seen)
		SELECT 'race-soon', 'h-' || i, 'null_key', 'row ' || i || '.', '{}', 1, i, i
		FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120) SELECT i FROM n) n`)
	b := w.signedIn(t)
	got := text(page(t, b, "/bad-rows?rule=bet-settled"))
	require.Contains(t, got, "bet-settled null_key bet_id is null in the row of "+markup+" 3 times")
	require.Contains(t, got, `"runner": "<b>Red Rum</b>"`)
	require.NotContains(t, got, "race-soon")
	require.Contains(t, text(page(t, b, "/bad-rows?rule=asleep")), "Every row of this rule could be made something of.")
	for _, first := range []string{"/bad-rows?rule=race-soon", "/bad-rows"} {
		seen, pages := 0, 0
		for path := first; path != ""; pages++ {
			body := page(t, b, path)
			seen += strings.Count(body, `data-label="Rule"><a href="/rules/race-soon"`)
			_, next, ok := strings.Cut(body, `<a class="button" href="/bad-rows?`)
			next, _, _ = strings.Cut(next, `"`)
			if path = ""; ok {
				path = "/bad-rows?" + strings.ReplaceAll(next, "&amp;", "&")
			}
		}
		require.Equal(t, 120, seen, first)
		require.Equal(t, 3, pages, first)
	}
}

// A timeline is read to its end, each item once.
func TestATimelineHasOlderPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	base := time.Now().Add(-time.Hour)
	for i := range 50 {
		at := base.Add(time.Duration(i) * time.Second).UnixMicro()
		w.exec(t, `INSERT INTO notifications (id, rule_id, key, version, version_hash, order_value, latest, thread, follow_up, audience, user_id, category,
			class, urgency, state, run_id, source_row, expires_at, created_at, released_at, fanned_at)
			VALUES ($1, 'bet-settled', 'k-' || $1, 1, 'h', 1, TRUE, 'tt-' || $1, FALSE, 'user', 'zoe', 'win', 'transactional', 'high', 'released', 15, '{}', $2, $2, $2, $2)`, 200+i, at)
		if i%3 > 0 { // every third one had no device
			w.exec(t, `INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, due_at, expires_at, created_at, finished_at)
				VALUES ($1, $1, 'phone-z', 'zoe', 'bet-settled', 'fcm', 'high', FALSE, 'sent', $2, $2, $2, $2)`, 200+i, at)
		}
	}
	b := w.signedIn(t)
	seen := map[int]int{}
	path, pages := "/users?id=zoe", 0
	for path != "" {
		body := page(t, b, path)
		pages++
		for i := range 50 {
			seen[200+i] += strings.Count(body, fmt.Sprintf(`href="/notifications/%d?user=zoe"`, 200+i))
		}
		require.Equal(t, pages > 1, strings.Contains(body, "Back to the newest"))
		_, next, ok := strings.Cut(body, `<a class="button" href="/users?`)
		next, _, _ = strings.Cut(next, `#timeline"`)
		if path = ""; ok {
			path = "/users?" + strings.ReplaceAll(next, "&amp;", "&")
		}
	}
	require.Equal(t, 3, pages)
	require.Len(t, seen, 50)
	for id, times := range seen {
		require.Equal(t, 1, times, id)
	}
}
