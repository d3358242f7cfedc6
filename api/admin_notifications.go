package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/notifier"
)

// AdminNotification is one event for one audience and what became of it.
type AdminNotification struct {
	ID         int64            `json:"id" example:"41"`
	Rule       string           `json:"rule" example:"bet-settled"`
	Key        string           `json:"key" doc:"The rule's key columns, as JSON."`
	Version    int              `json:"version" doc:"Counts the versions of the key, from 1."`
	Latest     bool             `json:"latest" doc:"No newer version of the key is known."`
	Thread     string           `json:"thread" doc:"What it replaces on screen: tag and collapse id at the provider."`
	Audience   string           `json:"audience" enum:"user,all,follows"`
	User       string           `json:"user" doc:"Empty when it is not for one user."`
	Variant    string           `json:"variant"`
	Category   string           `json:"category"`
	Class      string           `json:"class"`
	Urgency    string           `json:"urgency"`
	State      string           `json:"state" enum:"staged,passed,baseline,provisional,released,held,discarded,superseded"`
	HeldUntil  *time.Time       `json:"held_until" doc:"When the hold of a provisional version ends or ended; null for one that never was provisional. Superseded and never confirmed: it was replaced while it was held, and nobody was told."`
	Confirmed  *time.Time       `json:"confirmed_at" doc:"When a row confirmed it."`
	Run        int64            `json:"run"`
	SourceRow  map[string]any   `json:"source_row" nullable:"false" doc:"The row that it was made of."`
	DueAt      *time.Time       `json:"due_at" doc:"When the event happened, where the rule says."`
	ExpiresAt  time.Time        `json:"expires_at"`
	CreatedAt  time.Time        `json:"created_at"`
	ReleasedAt *time.Time       `json:"released_at"`
	FannedOut  *time.Time       `json:"fanned_out_at" doc:"When every device had its delivery."`
	Deliveries map[string]int64 `json:"deliveries" nullable:"false" doc:"By state, counted up to 1000000 in all."`
}

// AdminBadRow is a row that no notification could be made of.
type AdminBadRow struct {
	Rule      string         `json:"rule"`
	Reason    string         `json:"reason" example:"null_key"`
	Detail    string         `json:"detail"`
	SourceRow map[string]any `json:"source_row"`
	Times     int64          `json:"times_read"`
	FirstSeen time.Time      `json:"first_seen"`
	LastSeen  time.Time      `json:"last_seen"`
}

// AdminBadRowList is a page of bad rows.
type AdminBadRowList struct {
	BadRows []AdminBadRow `json:"bad_rows" nullable:"false"`
	Next    *string       `json:"next" doc:"Ask again with after= this for the next page; null at the end."`
}

type (
	adminBadRowsInput struct {
		Limit int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"The most entries to answer."`
		Rule  string `query:"rule" maxLength:"64" doc:"Only this rule's."`
		After string `query:"after" maxLength:"512" doc:"The next of the page before."`
	}
	adminBadRowsOutput struct{ Body AdminBadRowList }
)

func (a *adminServer) registerNotifications(api huma.API) {
	handle(a.server, api, huma.Operation{
		OperationID: "list-bad-rows", Method: http.MethodGet, Path: "/admin/v1/bad-rows", Tags: []string{"notifications"},
		Summary: "List rows that no notification could be made of, those first seen last first",
	}, a.listBadRows)
}

func adminNotificationOf(n notifier.NotificationRecord) AdminNotification {
	return AdminNotification{
		ID: int64(n.ID), Rule: n.Rule, Key: n.Key, Version: n.Version, Latest: n.Latest, Thread: n.Thread,
		Audience: string(n.Audience), User: string(n.User), Variant: n.Variant, Category: n.Category, Class: string(n.Class),
		Urgency: string(n.Urgency), State: n.State, Run: int64(n.Run), SourceRow: n.Row,
		DueAt: optionalTime(n.DueAt), ExpiresAt: n.ExpiresAt, CreatedAt: n.CreatedAt,
		HeldUntil: optionalTime(n.HeldUntil), Confirmed: optionalTime(n.ConfirmedAt),
		ReleasedAt: optionalTime(n.ReleasedAt), FannedOut: optionalTime(n.FannedOut), Deliveries: byName(n.Deliveries),
	}
}

func (a *adminServer) listBadRows(ctx context.Context, in *adminBadRowsInput) (*adminBadRowsOutput, error) {
	q := notifier.BadRowQuery{Rule: in.Rule, Limit: in.Limit + 1}
	if in.After != "" {
		var c badRowCursor
		if err := c.decode(in.After); err != nil {
			return nil, err
		}
		q.After = &notifier.BadRowCursor{FirstSeen: time.UnixMicro(c.FirstSeen).UTC(), Rule: c.Rule, Hash: c.Hash}
	}
	found, err := a.BadRows.BadRows(ctx, q)
	if err != nil {
		return nil, err
	}
	found, more := page(found, in.Limit)
	out := &adminBadRowsOutput{Body: AdminBadRowList{BadRows: make([]AdminBadRow, 0, len(found))}}
	for _, b := range found {
		out.Body.BadRows = append(out.Body.BadRows, AdminBadRow{
			Rule: b.Rule, Reason: string(b.Reason), Detail: b.Detail, SourceRow: b.Row, Times: b.Times,
			FirstSeen: b.FirstSeen, LastSeen: b.LastSeen,
		})
	}
	if more {
		last := found[len(found)-1]
		out.Body.Next = new(badRowCursor{FirstSeen: last.FirstSeen.UnixMicro(), Rule: last.Rule, Hash: last.Hash}.encode())
	}
	return out, nil
}
