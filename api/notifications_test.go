package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// spyInbox remembers what it was asked.
type spyInbox struct {
	user  devices.UserID
	query notifier.InboxQuery
	read  []notifier.NotificationID
	upTo  []notifier.NotificationID
	page  notifier.InboxPage
	err   error
}

func (s *spyInbox) List(_ context.Context, user devices.UserID, q notifier.InboxQuery) (notifier.InboxPage, error) {
	s.user, s.query = user, q
	return s.page, s.err
}

func (s *spyInbox) MarkRead(_ context.Context, user devices.UserID, id notifier.NotificationID) error {
	s.user, s.read = user, append(s.read, id)
	return s.err
}

func (s *spyInbox) MarkReadUpTo(_ context.Context, user devices.UserID, id notifier.NotificationID) error {
	s.user, s.upTo = user, append(s.upTo, id)
	return s.err
}

func spying(t *testing.T) (*world, *spyInbox) {
	t.Helper()
	spy := &spyInbox{}
	return newWorld(t, func(c *api.Config) { c.Inbox = spy }), spy
}

func TestAPageOfNotifications(t *testing.T) {
	t.Parallel()
	w, spy := spying(t)
	at := time.Date(2026, 9, 1, 14, 5, 7, 250_000_000, time.UTC)
	spy.page = notifier.InboxPage{Next: 9, Items: []notifier.InboxItem{
		{ID: 12, Rule: "bet-settled", Category: "win", Class: notifier.Transactional, Thread: "th", Text: notifier.Text{Title: "<b> & “ü”", Body: "b"}, CreatedAt: at, ExpiresAt: at.Add(time.Hour)},
		{ID: 9, Rule: "gone", Category: "race", Class: notifier.Marketing, Thread: "tx", Superseded: true, CreatedAt: at, ExpiresAt: at, ReadAt: at.Add(time.Minute)},
	}}
	rec := w.do(t, call{method: "GET", path: "/v1/notifications", token: tokenFor(t, "ada")})
	require.Equal(t, 200, rec.Code, rec.Body.String())
	require.Equal(t, devices.UserID("ada"), spy.user)
	require.Equal(t, notifier.InboxQuery{Limit: 50}, spy.query)
	require.JSONEq(t, `{"notifications":[
		{"id":"12","seq":12,"rule":"bet-settled","category":"win","class":"transactional","title":"<b> & “ü”","body":"b","thread":"th","superseded":false,
		 "created_at":"2026-09-01T14:05:07.25Z","expires_at":"2026-09-01T15:05:07.25Z"},
		{"id":"9","seq":9,"rule":"gone","category":"race","class":"marketing","thread":"tx","superseded":true,
		 "created_at":"2026-09-01T14:05:07.25Z","expires_at":"2026-09-01T14:05:07.25Z","read_at":"2026-09-01T14:06:07.25Z"}],"next":"9"}`, rec.Body.String())

	spy.page = notifier.InboxPage{}
	rec = w.do(t, call{method: "GET", path: "/v1/notifications?limit=100&after=9&unread=true&locale=de-CH", token: tokenFor(t, "ada")})
	require.Equal(t, notifier.InboxQuery{Before: 9, Limit: 100, Unread: true, Locale: "de-CH"}, spy.query)
	require.JSONEq(t, `{"notifications":[]}`, rec.Body.String())
}

func TestWhatAPageMayBeAskedFor(t *testing.T) {
	t.Parallel()
	w, spy := spying(t)
	for query, status := range map[string]int{
		"": 200, "limit=1": 200, "limit=100": 200, "unread=false": 200, "locale=": 200, "after=9223372036854775807": 200,
		"limit=0": 400, "limit=101": 400, "limit=-1": 400, "limit=x": 400, "limit=1e1": 400,
		"after=0": 400, "after=-1": 400, "after=x": 400, "after=01": 400, "after=%2B1": 400, "after=9223372036854775808": 400, "after=1%20OR%201=1": 400,
		"unread=maybe": 400, "locale=%3F": 400, "locale=x-------": 400, "before=1": 400,
		"locale=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": 400,
	} {
		rec := w.do(t, call{method: "GET", path: "/v1/notifications?" + query, token: tokenFor(t, "ada")})
		require.Equal(t, status, rec.Code, "%s: %s", query, rec.Body)
	}
	for body, status := range map[string]int{
		`{"up_to":"1"}`: 204, `{"up_to":"9223372036854775807"}`: 204,
		`{"up_to":"0"}`: 400, `{"up_to":"-1"}`: 400, `{"up_to":1}`: 400, `{"up_to":null}`: 400, `{}`: 400, `{"up_to":"9223372036854775808"}`: 400,
		`{"up_to":"1","user":"bob"}`: 400, `[]`: 400,
	} {
		rec := w.do(t, call{method: "POST", path: "/v1/notifications/read", body: body, token: tokenFor(t, "ada")})
		require.Equal(t, status, rec.Code, "%s: %s", body, rec.Body)
	}
	require.ElementsMatch(t, []notifier.NotificationID{1, 1<<63 - 1}, spy.upTo)
	for id, status := range map[string]int{"1": 204, "read": 404, "0": 404, "01": 404, "+1": 404, "-1": 404, "9223372036854775808": 404, "x": 404, "1%2F2": 404} {
		rec := w.do(t, call{method: "POST", path: "/v1/notifications/" + id + "/read", token: tokenFor(t, "ada")})
		require.Equal(t, status, rec.Code, "%s: %s", id, rec.Body)
	}
	require.Equal(t, []notifier.NotificationID{1}, spy.read)
}

func TestReadingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	w, _ := spying(t)
	for range 2 {
		rec := w.do(t, call{method: "POST", path: "/v1/notifications/7/read", token: tokenFor(t, "ada")})
		require.Equal(t, 204, rec.Code)
		require.Empty(t, rec.Body.String())
	}
}

func TestAnInboxThatFailsTellsNothing(t *testing.T) {
	t.Parallel()
	w, spy := spying(t)
	spy.err = errors.New("dial tcp 10.0.0.7: hunter2")
	rec := w.do(t, call{method: "GET", path: "/v1/notifications", token: tokenFor(t, "ada")})
	requireProblem(t, rec, 500)
	require.NotContains(t, rec.Body.String(), "hunter2")
	require.Contains(t, w.log.String(), "hunter2")
}

func TestWithoutAnInboxThereAreNoRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Inbox = nil })
	requireProblem(t, w.do(t, call{method: "GET", path: "/v1/notifications", token: tokenFor(t, "ada")}), http.StatusNotFound)
	rec := w.do(t, call{method: "GET", path: "/openapi.json"})
	require.True(t, json.Valid(rec.Body.Bytes()))
	require.NotContains(t, rec.Body.String(), "/v1/notifications")
}
