package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// The media types of what is streamed.
const (
	mediaCSV    = "text/csv"
	mediaNDJSON = "application/x-ndjson"
)

// adminExample is an example with the media types of what it streams, where that is not JSON.
type adminExample struct {
	example
	bodyMedia, answerMedia string
}

// documentAdmin writes the examples of operators' operations into the document. They stand in one
// table, apart from the operations, as they tell one story: that of the tests.
func documentAdmin(api huma.API) {
	table := adminExamples()
	for _, item := range api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete} {
			if op == nil {
				continue
			}
			for _, e := range table[op.OperationID] {
				e.write(api, op)
			}
		}
	}
}

func (e adminExample) write(api huma.API, op *huma.Operation) {
	shown := func(v any) *huma.Example { return &huma.Example{Summary: e.summary, Value: v} }
	for _, p := range op.Parameters {
		if v, ok := e.params[p.Name]; ok {
			p.Example = nil // an example and examples exclude each other
			put(&p.Examples, e.name, shown(v))
		}
	}
	if e.body != nil {
		for media, m := range op.RequestBody.Content {
			if e.bodyMedia == "" || e.bodyMedia == media {
				m.Example = nil
				put(&m.Examples, e.name, shown(e.body))
			}
		}
	}
	answer := answerFor(api, op, e.status)
	if e.answerMedia != "" {
		if answer.Content == nil {
			answer.Content = map[string]*huma.MediaType{}
		}
		if answer.Content[e.answerMedia] == nil {
			answer.Content[e.answerMedia] = &huma.MediaType{} // a schema is of one value, and this is many
		}
		put(&answer.Content[e.answerMedia].Examples, e.name, shown(e.answer))
		return
	}
	if e.answer != nil {
		for _, m := range answer.Content {
			put(&m.Examples, e.name, shown(e.answer))
		}
	}
}

// documentNulls says of each member that refers to an object and is never left out that it may be
// null: huma says so of other members only.
func documentNulls(registry huma.Registry) {
	for name, s := range registry.Map() {
		t := registry.TypeFromRef("#/components/schemas/" + name)
		if t == nil || t.Kind() != reflect.Struct {
			continue
		}
		for _, f := range reflect.VisibleFields(t) {
			member, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := s.Properties[member]
			if p == nil || p.Ref == "" || f.Type.Kind() != reflect.Pointer || strings.Contains(options, "omit") {
				continue
			}
			s.Properties[member] = &huma.Schema{AnyOf: []*huma.Schema{{Ref: p.Ref}, {Type: "null"}}, Description: p.Description}
		}
	}
}

// tells is an example of a success.
func tells(name, summary string, params map[string]any, answer any) adminExample {
	return adminExample{example: example{name: name, summary: summary, params: params, status: http.StatusOK, answer: answer}}
}

// sending is an example of a success with a JSON body.
func sending(name, summary string, params map[string]any, body, answer any) adminExample {
	e := tells(name, summary, params, answer)
	e.body = body
	return e
}

// streams is an example whose answer is a text.
func streams(name, summary string, params map[string]any, media, answer string) adminExample {
	e := tells(name, summary, params, answer)
	e.answerMedia = media
	return e
}

// refuses is an example of a problem.
func refuses(name, summary string, params map[string]any, status int, cause error) adminExample {
	return adminExample{example: example{name: name, summary: summary, params: params, status: status, answer: problemExample(status, cause.Error())}}
}

func withID(id any) map[string]any { return map[string]any{"id": id} }

// adminExamples are those of each operation, by its id.
func adminExamples() map[string][]adminExample {
	const rule, user, device = "bet-settled", "ann", "phone-1"
	now := exampleTime(14, 5)
	paused := ruleExample()
	paused.Paused, paused.NextTick, paused.PausedBy = true, nil, &AdminPause{Actor: "alice", Reason: "wrong text", At: now}
	stopped := ruleExample()
	stopped.StoppedBy = &AdminPause{Actor: "alice", Reason: "wrong text", At: now}
	reason, none := AdminReason{Reason: "wrong text"}, AdminReason{}
	held := runExample(12, notifier.RunHeld)
	held.Planned, held.Limit = 101, 100
	shown := held
	shown.Counts = &AdminRunCounts{Notifications: map[string]int64{"held": 1}, Deliveries: map[string]int64{}}
	released, discarded := runExample(12, notifier.RunReleased), runExample(13, notifier.RunDiscarded)
	requeued := deliveryExample(notifier.Queued)
	requeued.FinishedAt, requeued.Reason = nil, ""
	inactive := adminDeviceExample()
	inactive.State = string(devices.Inactive)
	suppression := suppressionExample()
	return map[string][]adminExample{
		"list-rules":  {tells("rules", "One rule", nil, AdminRuleList{Rules: []AdminRule{ruleExample()}})},
		"get-rule":    {tells("rule", "It is live", withID(rule), ruleExample()), refuses("unknown_rule", "There is none", withID("bet-unsettled"), 404, notifier.ErrUnknownRule)},
		"pause-rule":  {sending("paused", "It takes no ticks", withID(rule), reason, paused)},
		"resume-rule": {sending("resumed", "It takes ticks again", withID(rule), none, ruleExample())},
		"stop-rule":   {sending("stopped", "Nothing of it is sent", withID(rule), reason, stopped)},
		"start-rule":  {sending("started", "It is sent again", withID(rule), none, ruleExample())},
		"run-rule": {
			tells("ran", "It has run", withID(rule), runExample(16, notifier.RunReleased)),
			refuses("paused_by_file", "It is paused in the rules", withID("asleep"), 409, notifier.ErrRulePausedByFile),
		},
		"preview-rule": {sending("preview", "One row would be announced", withID(rule), AdminPreviewRequest{Limit: 20}, AdminPreview{
			Rule: rule, Since: now.Add(-time.Minute), Until: now, Rows: 1, News: map[string]int{"new": 1}, Bad: []AdminPreviewBadRow{},
			Notifications: []AdminPreviewNotification{previewExample()},
		})},
		"list-runs": {tells("held_runs", "One run is held", map[string]any{"state": "held"}, AdminRunList{Runs: []AdminRun{held}})},
		"get-run":   {tells("run", "It is held", withID(12), shown), refuses("unknown_run", "There is none", withID(99), 404, notifier.ErrUnknownRun)},
		"list-run-notifications": {tells("of_a_run", "What it made", map[string]any{"id": 15, "limit": 20}, AdminRunNotificationList{Notifications: []AdminRunNotification{{
			ID: 41, Key: `{"BET_ID":"b-7"}`, Version: 1, Audience: "user", User: user, Variant: "won", Category: "win",
			State: "released", CreatedAt: now, ReleasedAt: new(now),
		}}})},
		"sample-run": {tells("sample", "What it would send first", map[string]any{"id": 12, "limit": 20}, AdminRunSample{Notifications: []AdminPreviewNotification{previewExample()}})},
		"release-run": {
			tells("released", "What it held goes out", withID(12), released),
			refuses("not_held", "It has been released before", withID(15), 409, errors.New("the run is released: only a held run can be released or discarded")),
		},
		"discard-run": {tells("discarded", "What it held is dropped for good", withID(13), discarded)},
		"get-sending": {tells("sending", "Nothing is stopped", nil, AdminSending{Rules: map[string]AdminPause{}})},
		"stop-sending": {sending("all_stopped", "Nothing is sent", nil, reason, AdminSending{
			Stopped: true, StoppedBy: &AdminPause{Actor: "alice", Reason: "wrong text", At: now}, Rules: map[string]AdminPause{},
		})},
		"start-sending": {sending("all_started", "All is sent again", nil, none, AdminSending{Rules: map[string]AdminPause{}})},

		"list-suppressions": {tells("suppressions", "One user's", map[string]any{"user": "eve"}, AdminSuppressionList{Suppressions: []AdminSuppression{suppression}})},
		"put-suppression": {sending("suppressed", "The user takes a break", nil,
			AdminSuppress{User: "eve", Reason: "cool_off", Until: suppression.Until, Note: suppression.Note, Shorten: true}, suppression)},
		"delete-suppression": {
			{example: example{name: "taken_back", summary: "It is taken back", params: map[string]any{"user": "eve", "reason": "cool_off"}, status: http.StatusNoContent}},
			refuses("unknown_suppression", "There is none", map[string]any{"user": "ann", "reason": "cool_off"}, 404, notifier.ErrUnknownSuppression),
		},
		"import-suppressions": {
			{example: example{
				name: "from_csv", summary: "Two lines of CSV", body: "user,reason,until\nann,self_exclusion,2027-03-01T00:00:00Z\nbob,account_closed,\n",
				status: http.StatusOK, answer: AdminImport{Lines: 2, Changed: 2},
			}, bodyMedia: mediaCSV},
			{example: example{
				name: "from_ndjson", summary: "One line of NDJSON", body: `{"user":"ann","reason":"cool_off","class":"all"}` + "\n",
				status: http.StatusOK, answer: AdminImport{Lines: 1, Changed: 1},
			}, bodyMedia: mediaNDJSON},
		},
		"export-suppressions": {streams("as_ndjson", "One suppression", map[string]any{"format": "ndjson"}, mediaNDJSON, `{"user":"eve","reason":"cool_off","class":"service"}`+"\n")},

		"list-deliveries":    {tells("of_a_user", "One delivery of a user", map[string]any{"user": user, "limit": 20}, AdminDeliveryList{Deliveries: []AdminDelivery{deliveryExample(notifier.Rejected)}})},
		"get-delivery":       {tells("delivery", "The provider has refused it", withID(7), attemptedExample()), refuses("unknown_delivery", "There is none", withID(99), 404, notifier.ErrUnknownDelivery)},
		"requeue-delivery":   {tells("requeued", "It is tried again", withID(7), requeued)},
		"requeue-deliveries": requeueExamples(),
		"get-notification":   {tells("notification", "What became of it", map[string]any{"id": 41, "user": user}, explanationExample())},
		"get-timeline":       {tells("timeline", "What a user was told, or not", map[string]any{"id": user, "limit": 20}, timelineExample())},
		"list-bad-rows": {tells("bad_rows", "A row without a key", map[string]any{"rule": rule}, AdminBadRowList{BadRows: []AdminBadRow{{
			Rule: rule, Reason: "null_key", Detail: `column "bet_id" is null`, SourceRow: map[string]any{"bet_id": nil}, Times: 3, FirstSeen: now, LastSeen: now,
		}}})},

		"export-user": {streams("export", "A device and a notification", withID(user), mediaNDJSON,
			`{"kind":"device","record":{"ID":"phone-1","Target":"fcm_token sha256:5feceb66"}}`+"\n"+`{"kind":"notification","record":{"id":41,"rule_id":"bet-settled","state":"released"}}`+"\n")},
		"erase-user": {tells("erased", "All is erased", map[string]any{"id": user, "reason": "request-4711"}, AdminErasure{
			Erased:  map[string]int64{"devices": 2, "preferences": 1, "notifications": 3, "deliveries": 2, "attempts": 1, "inbox_reads": 0, "frequency": 0, "presence": 1, "bets": 4},
			Remains: erasureRemains(),
		})},
		"list-user-devices": {tells("devices", "One device", map[string]any{"user": user}, AdminDeviceList{Devices: []AdminDevice{adminDeviceExample()}})},
		"get-any-device":    {tells("device", "A device", withID(device), adminDeviceExample())},
		"deactivate-any-device": {
			sending("deactivated", "Nothing is sent to it any more", withID(device), AdminDeactivate{Reason: "request 4711"}, inactive),
			{example: example{
				name: "unknown_device", summary: "There is none", params: withID("phone-9"), body: AdminDeactivate{},
				status: http.StatusNotFound, answer: problemExample(http.StatusNotFound, devices.ErrUnknownDevice.Error()),
			}},
		},
		"test-device": {sending("tested", "The provider took it", withID(device), AdminTest{Title: "Test", Body: "Can you see this?"}, AdminTestResult{
			Device: device, Provider: "fcm", Generation: 1, Verdict: "sent", Status: 200, ProviderID: "projects/p/messages/1", TookMillis: 84,
		})},

		"list-audit":   {tells("of_a_rule", "A pause", map[string]any{"subject": "rule/bet-settled"}, AdminAuditList{Entries: []AdminAuditEntry{auditExample()}})},
		"export-audit": {streams("audit", "A pause", map[string]any{"after": 0, "action": "pause"}, mediaNDJSON, auditLine())},
		"list-replicas": {tells("replicas", "One replica", nil, AdminReplicaList{Replicas: []AdminReplica{{
			Owner: "bugle-0-7GQ2MZ4K", Version: "v1.0.0", Generation: "9f86d081884c7d65", InForce: true, Alive: true, Since: now, SeenAt: now,
		}}})},
		"list-presence": {tells("present", "A user looks at the cars", map[string]any{"client": user}, AdminMemberList{Members: []AdminMember{{
			Client: user, Channel: "inbound:betting:cars:ann", Connection: "kT3x9aQ2Lm", Page: "Car Racing Page", Since: now, SeenAt: now, ExpiresAt: now.Add(2 * time.Hour),
		}}})},
	}
}

func ruleExample() AdminRule {
	now := exampleTime(14, 5)
	last := runExample(15, notifier.RunReleased)
	return AdminRule{
		ID: "bet-settled", Schedule: "@every 15s", Mode: "live", Class: "transactional", NextTick: new(now.Add(15 * time.Second)), LastRun: &last,
		LastError: &AdminRuleError{Run: 14, TickAt: now.Add(-time.Hour), Error: "the body was cut"},
		Watermark: &AdminWatermark{Position: now.Add(-time.Second), LagSeconds: 1, SweptAt: now.Add(-time.Hour)}, Limit: 100,
	}
}

func runExample(id int64, state notifier.RunState) AdminRun {
	now := exampleTime(14, 5)
	return AdminRun{
		ID: id, Rule: "bet-settled", TickAt: now, State: string(state), Since: now.Add(-time.Minute), Until: now, Generation: "9f86d081884c7d65",
		Owner: "bugle-0-7GQ2MZ4K", Rows: 7, Staged: 1, StartedAt: now, FinishedAt: new(now.Add(time.Second)),
	}
}

func previewExample() AdminPreviewNotification {
	return AdminPreviewNotification{
		Key: `{"bet_id":"b-17"}`, News: "new", User: "ann", Variant: "WON", Category: "win", ExpiresAt: exampleTime(15, 5), Devices: 2,
		Texts: map[string]AdminText{"default": {Title: "You won £12.50", Body: "Red Rum came first in The Gold Cup."}},
	}
}

func deliveryExample(state notifier.DeliveryState) AdminDelivery {
	now := exampleTime(14, 5)
	return AdminDelivery{
		ID: 7, Notification: 41, Device: "phone-1", User: "ann", Rule: "bet-settled", Provider: "fcm", Urgency: "high", State: string(state),
		Reason: "INVALID_ARGUMENT", AttemptsCount: 1, Owner: "bugle-0-7GQ2MZ4K", DueAt: now, ExpiresAt: now.Add(time.Hour), CreatedAt: now, FinishedAt: new(now.Add(time.Second)),
	}
}

func attemptedExample() AdminDelivery {
	now := exampleTime(14, 5)
	d := deliveryExample(notifier.Rejected)
	d.Attempts = []Attempt{{
		StartedAt: now, EndedAt: now.Add(84 * time.Millisecond), Verdict: "rejected", Code: "INVALID_ARGUMENT", Status: 400, Generation: 1, Owner: "bugle-0-7GQ2MZ4K",
	}}
	return d
}

func requeueExamples() []adminExample {
	filter := AdminRequeue{Rule: "bet-settled", State: "rejected", Limit: 500}
	look := filter
	look.DryRun = true
	return []adminExample{
		sending("counted", "A first look", nil, look, AdminRequeued{Matching: 1, Expired: 2}),
		sending("requeued_all", "They are tried again", nil, filter, AdminRequeued{Matching: 1, Expired: 2, Requeued: 1}),
	}
}

func explanationExample() AdminExplanation {
	now := exampleTime(14, 5)
	return AdminExplanation{
		AdminNotification: AdminNotification{
			ID: 41, Rule: "bet-settled", Key: `{"bet_id":"b-17"}`, Version: 1, Latest: true, Thread: "kq0mC1Zb9yPfQ2hXv8LwT3Ra", Audience: "user", User: "ann",
			Variant: "WON", Category: "win", Class: "transactional", Urgency: "high", State: "released", Run: 15, SourceRow: map[string]any{"bet_id": "b-17", "outcome": "WON"},
			ExpiresAt: now.Add(time.Hour), CreatedAt: now, ReleasedAt: &now, FannedOut: &now, Deliveries: map[string]int64{"rejected": 1},
		},
		Identity: "9f86d081884c7d65", RuleVersion: AdminRuleVersion{MadeBy: "9f86d081884c7d65", Mode: "live"},
		Texts:      []AdminShownText{{Locale: "en-GB", TimeZone: "Europe/London", Title: "You won £12.50", Body: "Red Rum came first in The Gold Cup.", Data: map[string]string{}, Devices: []string{"phone-1"}}},
		ThreadList: []AdminThreadEntry{{ID: 41, Rule: "bet-settled", Version: 1, Variant: "WON", State: "released", CreatedAt: now, ReleasedAt: &now}},
		Summary:    "1 delivery: 1 rejected.", Explained: []AdminExplained{explainedExample()},
	}
}

func explainedExample() AdminExplained {
	return AdminExplained{
		AdminDelivery: attemptedExample(),
		DeviceNow:     &AdminDeviceNow{State: "active", User: "ann", Platform: "android", Generation: 1, Locale: "en-GB", TimeZone: "Europe/London"},
		Gates:         []AdminGate{{Name: "expired", Verdict: "passed"}, {Name: "muted", Verdict: "passed"}},
		Explanation:   "Not told: the provider refused the message (INVALID_ARGUMENT).",
	}
}

func timelineExample() AdminTimeline {
	now := exampleTime(14, 5)
	explained := explainedExample()
	return AdminTimeline{
		User: "ann", Summary: []string{"1 active device.", "Muted: loss."}, Devices: []AdminDevice{adminDeviceExample()}, Preferences: preferencesExample(),
		Suppressions: []AdminSuppression{}, Rules: []AdminRuleReach{{Rule: "bet-settled", Until: &now}},
		Items: []AdminTimelineItem{{
			At: now, Notification: 41, Rule: "bet-settled", Key: `{"bet_id":"b-17"}`, Version: 1, Category: "win", Class: "transactional", Variant: "WON",
			State: "released", Title: "You won £12.50", Body: "Red Rum came first in The Gold Cup.", Delivery: &explained, Explanation: explained.Explanation,
		}},
	}
}

func suppressionExample() AdminSuppression {
	until := time.Date(2027, time.March, 1, 0, 0, 0, 0, time.UTC)
	return AdminSuppression{
		User: "eve", Reason: "cool_off", Class: "service", Until: &until, Note: "asked by mail", Active: true, SetBy: "alice", SetAt: exampleTime(14, 5),
	}
}

func adminDeviceExample() AdminDevice {
	d := deviceExample()
	d.ID = "phone-1"
	return AdminDevice{Device: d, User: "ann"}
}

func auditExample() AdminAuditEntry {
	return AdminAuditEntry{
		ID: 3, At: exampleTime(14, 5), Actor: "alice", Action: "pause", Subject: notifier.SubjectRule("bet-settled"),
		Before: json.RawMessage(`{"paused":false}`), After: json.RawMessage(`{"paused":true,"reason":"wrong text"}`), RequestID: "VJTLE2M5XQ4ZQJ6O7T2W3K4NRA",
	}
}

// auditLine is the same as an export writes it.
func auditLine() string {
	text, err := json.Marshal(auditExample())
	if err != nil {
		panic(fmt.Sprintf("api: example of the audit: %v", err))
	}
	return string(text) + "\n"
}
