package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/notifier"
)

// AdminRun is what one tick of a rule did.
type AdminRun struct {
	ID         int64      `json:"id" example:"12"`
	Rule       string     `json:"rule" example:"bet-settled"`
	TickAt     time.Time  `json:"tick_at"`
	State      string     `json:"state" enum:"reading,released,held,discarded,failed"`
	Baseline   bool       `json:"baseline" doc:"It took what it read as known and announced nothing."`
	Since      time.Time  `json:"since" doc:"The lower bound of the rows' arrival."`
	Until      time.Time  `json:"until" doc:"The upper bound, not included."`
	Generation string     `json:"generation" doc:"Of the rules that it was made with."`
	Owner      string     `json:"owner" doc:"The replica that ran it."`
	Rows       int64      `json:"rows" doc:"How many rows were read."`
	Staged     int64      `json:"staged" doc:"New versions."`
	Adopted    int64      `json:"adopted" doc:"Versions that a failed run had staged."`
	Swept      int64      `json:"swept" doc:"New versions that only the sweep could find."`
	BadRows    int64      `json:"bad_rows"`
	Planned    int64      `json:"planned" doc:"The deliveries that it would make, where the rule limits them. They are counted up to one more than limit: a held run would make at least so many."`
	Limit      int64      `json:"limit" doc:"More deliveries than this hold the run: max_deliveries, or what max_growth allowed; 0 for no limit."`
	Error      string     `json:"error,omitempty" doc:"Why it failed."`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at" doc:"Null while it is reading."`
	// Counts is only there when one run is asked for.
	Counts *AdminRunCounts `json:"counts,omitempty" doc:"Only when one run is asked for."`
}

// AdminRunCounts says what became of a run's notifications.
type AdminRunCounts struct {
	Notifications map[string]int64 `json:"notifications" nullable:"false" doc:"By state, counted up to 1000000 in all."`
	Deliveries    map[string]int64 `json:"deliveries" nullable:"false" doc:"By state, counted up to 1000000 in all."`
}

// AdminRunSample is a part of what a held run would send.
type AdminRunSample struct {
	Notifications []AdminPreviewNotification `json:"notifications" nullable:"false"`
}

// AdminRunList is a page of runs.
type AdminRunList struct {
	Runs []AdminRun `json:"runs" nullable:"false"`
	Next *int64     `json:"next" doc:"Ask again with before= this for the next page; null at the end."`
}

// AdminRunNotification is one notification of a run.
type AdminRunNotification struct {
	ID         int64      `json:"id" example:"41"`
	Key        string     `json:"key" doc:"The rule's key columns, as JSON."`
	Version    int        `json:"version" doc:"Counts the versions of the key, from 1."`
	Audience   string     `json:"audience" enum:"user,all,follows"`
	User       string     `json:"user" doc:"Empty when it is not for one user."`
	Variant    string     `json:"variant"`
	Category   string     `json:"category"`
	State      string     `json:"state" enum:"staged,passed,baseline,provisional,released,held,discarded,superseded"`
	CreatedAt  time.Time  `json:"created_at"`
	ReleasedAt *time.Time `json:"released_at"`
}

// AdminRunNotificationList is a page of a run's notifications.
type AdminRunNotificationList struct {
	Notifications []AdminRunNotification `json:"notifications" nullable:"false"`
	Next          *int64                 `json:"next" doc:"Ask again with after= this for the next page; null at the end."`
}

type (
	runNotificationsInput struct {
		ID    int64 `path:"id" minimum:"1" doc:"The run's id." example:"12"`
		Limit int   `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"The most entries to answer."`
		After int64 `query:"after" minimum:"1" doc:"Only those with larger ids."`
	}
	runNotificationsOutput struct{ Body AdminRunNotificationList }

	runInput struct {
		ID int64 `path:"id" minimum:"1" doc:"The run's id." example:"12"`
	}
	runsInput struct {
		Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"The most entries to answer."`
		Rule   string `query:"rule" maxLength:"64" doc:"Only this rule's."`
		State  string `query:"state" enum:"reading,released,held,discarded,failed" doc:"Only those in this state."`
		Before int64  `query:"before" minimum:"1" doc:"Only those with smaller ids."`
	}
	sampleInput struct {
		ID    int64 `path:"id" minimum:"1" doc:"The run's id." example:"12"`
		Limit int   `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"The most notifications to show."`
	}
	sampleOutput struct{ Body AdminRunSample }
	runOutput    struct{ Body AdminRun }
	runsOutput   struct{ Body AdminRunList }
)

func (a *adminServer) registerRuns(api huma.API) {
	tags := []string{"runs"}
	handle(a.server, api, huma.Operation{
		OperationID: "list-runs", Method: http.MethodGet, Path: "/admin/v1/runs", Tags: tags,
		Summary: "List runs, newest first",
	}, a.listRuns)
	handle(a.server, api, huma.Operation{
		OperationID: "get-run", Method: http.MethodGet, Path: "/admin/v1/runs/{id}", Tags: tags,
		Summary: "Get a run and what became of its notifications",
	}, a.getRun)
	handle(a.server, api, lasting(huma.Operation{
		OperationID: "sample-run", Method: http.MethodGet, Path: "/admin/v1/runs/{id}/sample", Tags: tags,
		Summary:     "Show what a held run would send",
		Description: "The first of its notifications, rendered in every locale, and how many devices would get each. Without texts is what the rule as it is now can make none of. 409 unless the run is held.",
	}, previewTimeout), a.sampleRun)
	handle(a.server, api, huma.Operation{
		OperationID: "list-run-notifications", Method: http.MethodGet, Path: "/admin/v1/runs/{id}/notifications", Tags: tags,
		Summary:     "List a run's notifications, by their ids",
		Description: "GET /admin/v1/notifications/{id} explains each. A run of which no notification is on record has an empty list.",
	}, a.listRunNotifications)
	handle(a.server, api, huma.Operation{
		OperationID: "release-run", Method: http.MethodPost, Path: "/admin/v1/runs/{id}/release", Tags: tags,
		Summary:     "Release a held run",
		Description: "What it holds goes out now. 409 unless the run is held.",
	}, a.releaseRun)
	handle(a.server, api, huma.Operation{
		OperationID: "discard-run", Method: http.MethodPost, Path: "/admin/v1/runs/{id}/discard", Tags: tags,
		Summary:     "Discard a held run",
		Description: "What it holds is dropped for good: the same versions are never announced. 409 unless the run is held.",
	}, a.discardRun)
}

func (a *adminServer) listRuns(ctx context.Context, in *runsInput) (*runsOutput, error) {
	found, err := a.Runs.Runs(ctx, notifier.RunQuery{
		Rule: in.Rule, State: notifier.RunState(in.State), Before: notifier.RunID(in.Before), Limit: in.Limit + 1,
	})
	if err != nil {
		return nil, err
	}
	found, more := page(found, in.Limit)
	out := &runsOutput{Body: AdminRunList{Runs: make([]AdminRun, 0, len(found))}}
	for _, r := range found {
		out.Body.Runs = append(out.Body.Runs, adminRunOf(r))
	}
	if more {
		out.Body.Next = new(int64(found[len(found)-1].ID))
	}
	return out, nil
}

func (a *adminServer) getRun(ctx context.Context, in *runInput) (*runOutput, error) {
	return runAnswer(a.Runs.Run(ctx, notifier.RunID(in.ID)))
}

func (a *adminServer) listRunNotifications(ctx context.Context, in *runNotificationsInput) (*runNotificationsOutput, error) {
	found, err := a.Runs.RunNotifications(ctx, notifier.RunNotificationQuery{
		Run: notifier.RunID(in.ID), After: notifier.NotificationID(in.After), Limit: in.Limit + 1,
	})
	if err != nil {
		return nil, err
	}
	found, more := page(found, in.Limit)
	out := &runNotificationsOutput{Body: AdminRunNotificationList{Notifications: make([]AdminRunNotification, 0, len(found))}}
	for _, n := range found {
		out.Body.Notifications = append(out.Body.Notifications, AdminRunNotification{
			ID: int64(n.ID), Key: n.Key, Version: n.Version, Audience: string(n.Audience), User: string(n.User), Variant: n.Variant,
			Category: n.Category, State: n.State, CreatedAt: n.CreatedAt, ReleasedAt: optionalTime(n.ReleasedAt),
		})
	}
	if more {
		out.Body.Next = new(int64(found[len(found)-1].ID))
	}
	return out, nil
}

func (a *adminServer) sampleRun(ctx context.Context, in *sampleInput) (*sampleOutput, error) {
	found, err := a.RunControl.Sample(ctx, notifier.RunID(in.ID), in.Limit)
	if err != nil {
		return nil, err
	}
	return &sampleOutput{Body: AdminRunSample{Notifications: adminPreviewNotifications(found)}}, nil
}

func (a *adminServer) releaseRun(ctx context.Context, in *runInput) (*runOutput, error) {
	return runAnswer(a.RunControl.Release(ctx, actorOf(ctx), notifier.RunID(in.ID)))
}

func (a *adminServer) discardRun(ctx context.Context, in *runInput) (*runOutput, error) {
	return runAnswer(a.RunControl.Discard(ctx, actorOf(ctx), notifier.RunID(in.ID)))
}

func runAnswer(r notifier.RunRecord, err error) (*runOutput, error) {
	if err != nil {
		return nil, err
	}
	return &runOutput{Body: adminRunOf(r)}, nil
}

func adminRunOf(r notifier.RunRecord) AdminRun {
	out := AdminRun{
		ID: int64(r.ID), Rule: r.Rule, TickAt: r.TickAt, State: string(r.State), Baseline: r.Baseline, Since: r.Since, Until: r.Until,
		Generation: r.Generation, Owner: r.Owner, Rows: r.Rows, Staged: r.Staged, Adopted: r.Adopted, Swept: r.Swept, BadRows: r.Bad,
		Planned: r.Planned, Limit: r.Limit, Error: r.Error, StartedAt: r.StartedAt, FinishedAt: optionalTime(r.FinishedAt),
	}
	if r.Notifications != nil {
		out.Counts = &AdminRunCounts{Notifications: r.Notifications, Deliveries: byName(r.Deliveries)}
	}
	return out
}

// byName spells the keys of a count; it is never nil.
func byName[K ~string](m map[K]int64) map[string]int64 {
	out := make(map[string]int64, len(m))
	for k, n := range m {
		out[string(k)] = n
	}
	return out
}

// page cuts what was asked for with one more than the limit, and tells whether
// there is a next page.
func page[T any](found []T, limit int) ([]T, bool) {
	if len(found) <= limit {
		return found, false
	}
	return found[:limit], true
}
