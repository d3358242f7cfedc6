package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/notifier"
)

func (a *adminWorld) audit(t testing.TB) []api.AdminAuditEntry {
	t.Helper()
	rec := a.as(t, "GET", "/admin/v1/audit?after=0&limit=500", "")
	require.Equal(t, 200, rec.Code, rec.Body.String())
	return decode[api.AdminAuditList](t, rec).Entries
}

func TestAnOperatorPausesAndResumesARule(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	rec := a.as(t, "POST", "/admin/v1/rules/bet-settled/pause", `{"reason":"wrong text"}`)
	require.Equal(t, 200, rec.Code, rec.Body.String())
	rule := decode[api.AdminRule](t, rec)
	require.True(t, rule.Paused)
	require.Nil(t, rule.NextTick)
	require.Equal(t, "alice", rule.PausedBy.Actor)
	require.Equal(t, "wrong text", rule.PausedBy.Reason)
	require.Equal(t, int64(15), rule.LastRun.ID)
	require.Equal(t, &api.AdminRuleError{Run: 14, TickAt: rule.LastError.TickAt, Error: "the body was cut"}, rule.LastError)

	requireProblem(t, a.as(t, "POST", "/admin/v1/rules/bet-settled/run", ""), 409)
	require.Contains(t, requireProblem(t, a.as(t, "POST", "/admin/v1/rules/asleep/run", ""), 409).Detail, "mode: paused")
	rec = a.as(t, "POST", "/admin/v1/rules/bet-settled/resume", `{}`)
	require.NotNil(t, decode[api.AdminRule](t, rec).NextTick)

	list := decode[api.AdminRuleList](t, a.as(t, "GET", "/admin/v1/rules", "")).Rules
	require.Len(t, list, 2)
	require.True(t, list[1].Paused)
	require.Nil(t, list[1].PausedBy, "paused by the rules, not by an operator")
	require.Nil(t, list[1].LastRun)

	entries := a.audit(t)
	require.Len(t, entries, 2)
	require.Equal(t, "pause", entries[0].Action)
	require.Equal(t, "alice", entries[0].Actor)
	require.Equal(t, "rule/bet-settled", entries[0].Subject)
	require.Equal(t, requestID, entries[0].RequestID)
	require.JSONEq(t, `{"paused":false}`, string(entries[0].Before))
	require.Contains(t, a.log.String(), `"message":"rule paused by operator"`)
	for _, path := range []string{"", "/pause", "/resume", "/run", "/preview"} {
		method, body := "POST", "{}"
		if path == "" {
			method, body = "GET", ""
		}
		if path == "/run" {
			body = ""
		}
		requireProblem(t, a.as(t, method, "/admin/v1/rules/nothing"+path, body), 404)
	}
	require.Len(t, a.audit(t), 2, "what fails changes nothing")
}

func TestAnOperatorRunsAndPreviewsARule(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	a.stage.rows = []notifier.Row{{"bet_id": "b9", "user_id": "ann", "outcome": "WON", "rowtime": json.Number(strconv.FormatInt(time.Now().UnixMilli(), 10))}, {"bet_id": nil}}
	a.exec(t, `INSERT INTO watermarks (rule_id, identity, start_at, position, swept_at) VALUES ('bet-settled', $1, 1, $2, $2)`,
		identityOf(t), time.Now().Add(-time.Minute).UnixMicro())

	rec := a.as(t, "POST", "/admin/v1/rules/bet-settled/preview", `{"limit":5}`)
	require.Equal(t, 200, rec.Code, rec.Body.String())
	p := decode[api.AdminPreview](t, rec)
	require.Equal(t, 2, p.Rows)
	require.Equal(t, 1, p.BadRows)
	require.Equal(t, map[string]int{"new": 1}, p.News)
	require.Len(t, p.Notifications, 1)
	require.Equal(t, 1, p.Notifications[0].Devices)
	require.Equal(t, map[string]api.AdminText{"default": {Title: "Bet b9", Body: "WON"}, "de": {Title: "Wette b9", Body: "WON"}}, p.Notifications[0].Texts)
	require.Empty(t, a.audit(t), "looking is no change")

	rec = a.as(t, "POST", "/admin/v1/rules/bet-settled/run", "")
	require.Equal(t, 200, rec.Code, rec.Body.String())
	run := decode[api.AdminRun](t, rec)
	require.Equal(t, "released", run.State)
	require.Equal(t, int64(1), run.Staged)
	require.Equal(t, map[string]int64{"released": 1}, run.Counts.Notifications)
	require.Contains(t, string(a.audit(t)[0].After), fmt.Sprintf(`"run":%d`, run.ID))
	p = decode[api.AdminPreview](t, a.as(t, "POST", "/admin/v1/rules/bet-settled/preview", `{}`))
	require.Equal(t, map[string]int{"known": 1}, p.News)
	requireProblem(t, a.as(t, "POST", "/admin/v1/rules/bet-settled/preview", `{"limit":101}`), 400)
	requireProblem(t, a.as(t, "POST", "/admin/v1/rules/bet-settled/preview", `{"since":"yesterday"}`), 400)
}

func identityOf(t *testing.T) string {
	t.Helper()
	rules, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte("rules:" + strings.ReplaceAll(adminRules, "\n", "\n  "))})
	require.NoError(t, err)
	rule, ok := rules.Get("bet-settled")
	require.True(t, ok)
	return rule.Identity
}

func TestAnOperatorDecidesAboutHeldRuns(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	held := decode[api.AdminRunList](t, a.as(t, "GET", "/admin/v1/runs?state=held&rule=bet-settled", ""))
	require.Len(t, held.Runs, 2)
	require.Nil(t, held.Next)
	run := decode[api.AdminRun](t, a.as(t, "POST", "/admin/v1/runs/12/release", ""))
	require.Equal(t, "released", run.State)
	require.Equal(t, map[string]int64{"released": 1}, run.Counts.Notifications)
	require.Equal(t, "discarded", decode[api.AdminRun](t, a.as(t, "POST", "/admin/v1/runs/13/discard", "")).State)
	for _, path := range []string{"12/release", "12/discard", "13/release", "14/discard"} {
		require.Contains(t, requireProblem(t, a.as(t, "POST", "/admin/v1/runs/"+path, ""), 409).Detail, "only a held run")
	}
	requireProblem(t, a.as(t, "POST", "/admin/v1/runs/99/release", ""), 404)
	requireProblem(t, a.as(t, "GET", "/admin/v1/runs/99", ""), 404)
	entries := a.audit(t)
	require.Len(t, entries, 2)
	require.Equal(t, []string{"release", "discard"}, []string{entries[0].Action, entries[1].Action})

	// Every run once, page by page.
	var ids []int64
	for path := "/admin/v1/runs?limit=3"; ; {
		list := decode[api.AdminRunList](t, a.as(t, "GET", path, ""))
		for _, r := range list.Runs {
			ids = append(ids, r.ID)
		}
		if list.Next == nil {
			break
		}
		path = fmt.Sprintf("/admin/v1/runs?limit=3&before=%d", *list.Next)
	}
	require.Equal(t, []int64{15, 14, 13, 12}, ids)
}

func TestAnOperatorFindsOutWhatBecameOfADelivery(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	var ids []int64
	path := "/admin/v1/deliveries?user=ann&limit=1"
	for next := path; ; {
		rec := a.as(t, "GET", next, "")
		require.Equal(t, 200, rec.Code, rec.Body.String())
		list := decode[api.AdminDeliveryList](t, rec)
		for _, d := range list.Deliveries {
			ids = append(ids, d.ID)
			require.Empty(t, d.Attempts)
		}
		if list.Next == nil {
			break
		}
		next = path + "&after=" + *list.Next
	}
	require.Equal(t, []int64{8, 7}, ids)
	for query, want := range map[string]int{
		"device=phone-1": 1, "notification=41": 2, "notification=41&device=phone-2": 1, "state=rejected": 1, "rule=bet-settled&state=sent": 1,
		"since=2000-01-01T00:00:00Z&until=2001-01-01T00:00:00Z": 0, "since=2000-01-01T00:00:00Z": 2, "user=bob": 0,
	} {
		rec := a.as(t, "GET", "/admin/v1/deliveries?"+query, "")
		require.Equal(t, 200, rec.Code, rec.Body.String())
		require.Len(t, decode[api.AdminDeliveryList](t, rec).Deliveries, want, query)
	}
	for _, query := range []string{"state=lost", "limit=0", "limit=501", "after=!", "after=e30x", "notification=0", "since=now", "order=asc"} {
		requireProblem(t, a.as(t, "GET", "/admin/v1/deliveries?"+query, ""), 400)
	}

	d := decode[api.AdminDelivery](t, a.as(t, "GET", "/admin/v1/deliveries/7", ""))
	require.Equal(t, "rejected", d.State)
	require.Len(t, d.Attempts, 1)
	require.Equal(t, 400, d.Attempts[0].Status)
	n := decode[api.AdminExplanation](t, a.as(t, "GET", "/admin/v1/notifications/41", ""))
	require.Equal(t, map[string]int64{"rejected": 1, "sent": 1}, n.Deliveries)
	require.Equal(t, int64(15), n.Run)
	require.Contains(t, a.as(t, "GET", "/admin/v1/notifications/41", "").Body.String(), `"payout":12345678901234567890`, "numbers stay exact")

	d = decode[api.AdminDelivery](t, a.as(t, "POST", "/admin/v1/deliveries/7/requeue", ""))
	require.Equal(t, "queued", d.State)
	require.Len(t, d.Attempts, 1)
	require.Contains(t, requireProblem(t, a.as(t, "POST", "/admin/v1/deliveries/7/requeue", ""), 409).Detail, "queued")
	require.Contains(t, requireProblem(t, a.as(t, "POST", "/admin/v1/deliveries/8/requeue", ""), 409).Detail, "sent")
	requireProblem(t, a.as(t, "POST", "/admin/v1/deliveries/9/requeue", ""), 404)
	requireProblem(t, a.as(t, "GET", "/admin/v1/deliveries/9", ""), 404)
	requireProblem(t, a.as(t, "GET", "/admin/v1/notifications/9", ""), 404)
	require.Len(t, a.audit(t), 1)

	bad := decode[api.AdminBadRowList](t, a.as(t, "GET", "/admin/v1/bad-rows?rule=bet-settled&limit=1", ""))
	require.Len(t, bad.BadRows, 1)
	require.NotNil(t, bad.Next)
	rest := decode[api.AdminBadRowList](t, a.as(t, "GET", "/admin/v1/bad-rows?limit=1&after="+*bad.Next, ""))
	require.Len(t, rest.BadRows, 1)
	require.NotEqual(t, bad.BadRows[0].Detail, rest.BadRows[0].Detail)
	require.Nil(t, rest.Next)
}

func TestAnOperatorDeactivatesADevice(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	a.exec(t, `UPDATE deliveries SET state = 'queued' WHERE id = 7`)
	rec := a.as(t, "POST", "/admin/v1/devices/phone-1/deactivate", `{"reason":"request 4711"}`)
	require.Equal(t, 200, rec.Code, rec.Body.String())
	d := decode[api.AdminDevice](t, rec)
	require.Equal(t, []string{"phone-1", "ann", "inactive"}, []string{d.ID, d.User, d.State})
	require.NotContains(t, rec.Body.String(), deadTarget)
	delivery := decode[api.AdminDelivery](t, a.as(t, "GET", "/admin/v1/deliveries/7", ""))
	require.Equal(t, []string{"cancelled", "deactivated"}, []string{delivery.State, delivery.Reason})
	requireProblem(t, a.as(t, "POST", "/admin/v1/devices/phone-1/test", `{"title":"a","body":"b"}`), 409)

	require.Equal(t, 200, a.as(t, "POST", "/admin/v1/devices/phone-1/deactivate", `{}`).Code, "doing it again changes nothing")
	requireProblem(t, a.as(t, "POST", "/admin/v1/devices/phone-9/deactivate", `{}`), 404)
	requireProblem(t, a.as(t, "POST", "/admin/v1/devices/phone-2/deactivate", `{"reason":"`+strings.Repeat("x", 501)+`"}`), 400)
	entries := a.audit(t)
	require.Len(t, entries, 1)
	require.Equal(t, []string{"alice", "deactivate", "device/phone-1"}, []string{entries[0].Actor, entries[0].Action, entries[0].Subject})
	require.JSONEq(t, `{"state":"active","user":"ann"}`, string(entries[0].Before))
	require.JSONEq(t, `{"state":"inactive","reason":"request 4711"}`, string(entries[0].After))
}

func TestARequeueGoesOnBehindWhatItHasTried(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	a.exec(t, `UPDATE deliveries SET state = 'rejected', reason = 'QUOTA'`)
	ask := func(body string) api.AdminRequeued {
		t.Helper()
		rec := a.as(t, "POST", "/admin/v1/deliveries/requeue", body)
		require.Equal(t, 200, rec.Code, rec.Body.String())
		a.exec(t, `UPDATE deliveries SET state = 'rejected', reason = 'QUOTA' WHERE state = 'queued'`) // anew
		return decode[api.AdminRequeued](t, rec)
	}
	first := ask(`{"reason":"QUOTA","limit":1}`)
	require.Equal(t, []int{2, 1}, []int{first.Matching, first.Requeued})
	require.NotNil(t, first.Next)
	second := ask(`{"reason":"QUOTA","limit":2,"after":"` + *first.Next + `"}`)
	require.Equal(t, []int{1, 1}, []int{second.Matching, second.Requeued})
	require.Nil(t, second.Next)
	a.exec(t, `UPDATE deliveries SET state = 'unconfirmed' WHERE id = 8`)
	require.Equal(t, 1, ask(`{"reason":"QUOTA","dry_run":true}`).Unconfirmed)
	p := requireProblem(t, a.as(t, "POST", "/admin/v1/deliveries/requeue", `{"reason":"QUOTA","after":"!"}`), 400)
	require.Equal(t, "body.after", p.Errors[0].Path)
}

func TestAnOperatorTestsADevice(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	list := decode[api.AdminDeviceList](t, a.as(t, "GET", "/admin/v1/devices?user=ann", ""))
	require.Len(t, list.Devices, 2)
	require.Empty(t, decode[api.AdminDeviceList](t, a.as(t, "GET", "/admin/v1/devices?user=bob", "")).Devices)
	requireProblem(t, a.as(t, "GET", "/admin/v1/devices", ""), 400)
	rec := a.as(t, "GET", "/admin/v1/devices/phone-1", "")
	device := decode[api.AdminDevice](t, rec)
	require.Equal(t, "ann", device.User)
	require.True(t, strings.HasPrefix(device.Target.Hash, "sha256:"))
	require.NotContains(t, rec.Body.String(), deadTarget)
	requireProblem(t, a.as(t, "GET", "/admin/v1/devices/phone-9", ""), 404)

	rec = a.as(t, "POST", "/admin/v1/devices/phone-1/test", `{"title":"a private title","body":"a private body"}`)
	require.Equal(t, 200, rec.Code, rec.Body.String())
	result := decode[api.AdminTestResult](t, rec)
	require.Equal(t, "sent", result.Verdict)
	require.Equal(t, "projects/p/messages/1", result.ProviderID)
	require.Equal(t, "a private title", a.stage.sent[0].Message.Title)
	requireProblem(t, a.as(t, "POST", "/admin/v1/devices/phone-2/test", `{"title":"a","body":"b"}`), 409)
	requireProblem(t, a.as(t, "POST", "/admin/v1/devices/phone-9/test", `{"title":"a","body":"b"}`), 404)
	requireProblem(t, a.as(t, "POST", "/admin/v1/devices/phone-1/test", `{"title":"","body":"b"}`), 400)
	require.Len(t, a.stage.sent, 1)
	entries := a.audit(t)
	require.Len(t, entries, 1)
	require.Equal(t, "test_send", entries[0].Action)
	told := a.log.String() + string(entries[0].After)
	require.NotContains(t, told, "private")
	require.NotContains(t, told, deadTarget)
}

func TestTheAuditIsListedAndExported(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	const n = 1203 // more than two pages of an export
	for i := range n {
		a.exec(t, `INSERT INTO audit (at, actor, action, subject, before_state, after_state) VALUES ($1, 'bob', 'pause', $2, 'null', '{"paused":true}')`,
			time.Now().UnixMicro(), fmt.Sprintf("rule/r%d", i))
	}
	newest := decode[api.AdminAuditList](t, a.as(t, "GET", "/admin/v1/audit?limit=2", ""))
	require.Equal(t, []int64{n, n - 1}, []int64{newest.Entries[0].ID, newest.Entries[1].ID})
	older := decode[api.AdminAuditList](t, a.as(t, "GET", fmt.Sprintf("/admin/v1/audit?limit=2&before=%d", *newest.Next), ""))
	require.Equal(t, int64(n-2), older.Entries[0].ID)
	forward := decode[api.AdminAuditList](t, a.as(t, "GET", "/admin/v1/audit?limit=2&after=10", ""))
	require.Equal(t, int64(11), forward.Entries[0].ID)
	require.Equal(t, int64(12), *forward.Next)
	requireProblem(t, a.as(t, "GET", "/admin/v1/audit?after=1&before=5", ""), 400)

	for after, want := range map[int]int{0: n, 1000: 203, n: 0} {
		rec := a.as(t, "GET", fmt.Sprintf("/admin/v1/audit/export?after=%d", after), "")
		require.Equal(t, 200, rec.Code)
		require.Equal(t, "application/x-ndjson", rec.Header().Get("Content-Type"))
		lines := bufio.NewScanner(rec.Body)
		last := int64(after)
		count := 0
		for ; lines.Scan(); count++ {
			var e api.AdminAuditEntry
			require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
			require.Equal(t, last+1, e.ID)
			last = e.ID
		}
		require.NoError(t, lines.Err())
		require.Equal(t, want, count)
	}
	a.exec(t, `DROP TABLE audit`)
	requireProblem(t, a.as(t, "GET", "/admin/v1/audit/export", ""), 500)
}

// breakingAudit fails at its second page.
type breakingAudit struct{ reads int }

func (b *breakingAudit) Audit(_ context.Context, q notifier.AuditQuery) ([]notifier.AuditEntry, error) {
	if b.reads++; b.reads > 1 {
		return nil, errors.New("the disk is gone")
	}
	out := make([]notifier.AuditEntry, q.Limit)
	for i := range out {
		out[i] = notifier.AuditEntry{ID: int64(i) + 1, Before: json.RawMessage("null"), After: json.RawMessage("null")}
	}
	return out, nil
}

func TestHalfAnExportDoesNotLookLikeAWholeOne(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t, func(o *api.Operations) { o.Audit = &breakingAudit{} })
	addr := serve(t, a.handler)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr.String()+"/admin/v1/audit/export", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+a.token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Contains(t, a.log.String(), "the disk is gone")
}

func TestTheAdminDocumentTellsOfEveryRoute(t *testing.T) {
	t.Parallel()
	a := newAdminWorld(t)
	rec := a.as(t, "GET", "/admin/openapi.json", "")
	require.Equal(t, 200, rec.Code)
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	var documented, wanted []string
	for path, item := range doc.Paths {
		for method := range item {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	for _, rt := range adminRoutes() {
		if strings.HasPrefix(rt.pattern, "/admin/v1/") {
			wanted = append(wanted, rt.method+" "+rt.pattern)
		}
	}
	require.ElementsMatch(t, wanted, documented)
	require.NotContains(t, rec.Body.String(), "ErrorModel")
}

func TestIncompleteOperationsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := api.NewAdmin(api.AdminConfig{Gatherer: newWorld(t).metrics, Operations: &api.Operations{}})
	require.Error(t, err)
}
