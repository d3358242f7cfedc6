package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// AdminAuditEntry is one change that an operator made, or a delivery that a
// suppression stopped.
type AdminAuditEntry struct {
	ID        int64           `json:"id"`
	At        time.Time       `json:"at"`
	Actor     string          `json:"actor" example:"alice" doc:"Empty where Bugle itself did it: stopped, a delivery that a suppression held back."`
	Action    string          `json:"action" enum:"pause,resume,run,release,discard,requeue,requeue_all,test_send,deactivate,suppress,unsuppress,stop,start,erase,export,stopped"`
	Subject   string          `json:"subject" example:"rule/bet-settled"`
	Before    json.RawMessage `json:"before" doc:"What was; null where there was nothing."`
	After     json.RawMessage `json:"after" doc:"What is since."`
	RequestID string          `json:"request_id"`
}

// AdminAuditList is a page of the audit.
type AdminAuditList struct {
	Entries []AdminAuditEntry `json:"entries" nullable:"false"`
	Next    *int64            `json:"next" doc:"Ask again with this as the same parameter (before, when there was none) for the next page; null at the end."`
}

type (
	// AuditFilter is which entries of the audit are asked for; zero is all of them.
	AuditFilter struct {
		Actor   string    `query:"actor" maxLength:"64" doc:"Only what this operator did, by the name of their token."`
		Action  string    `query:"action" enum:"pause,resume,run,release,discard,requeue,requeue_all,test_send,deactivate,suppress,unsuppress,stop,start,erase,export,stopped" doc:"Only such entries."`
		Subject string    `query:"subject" maxLength:"512" doc:"Only what was done to this: rule/bet-settled, run/12, delivery/7, device/phone-1, suppression/cool_off/ann, user/ann."`
		Since   time.Time `query:"since" doc:"Only entries of this time or later."`
		Until   time.Time `query:"until" doc:"Only entries before this time."`
	}
	auditInput struct {
		AuditFilter
		Limit  int   `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"The most entries to answer."`
		After  int64 `query:"after" minimum:"-1" default:"-1" doc:"Those with larger ids, oldest first; 0 begins at the first. -1: newest first."`
		Before int64 `query:"before" minimum:"1" doc:"Those with smaller ids, newest first."`
	}
	exportInput struct {
		AuditFilter
		After int64 `query:"after" minimum:"0" doc:"Only those with larger ids: the last id of the export before."`
	}
	auditOutput struct{ Body AdminAuditList }
)

func (a *adminServer) registerAudit(api huma.API) {
	tags := []string{"audit"}
	handle(a.server, api, huma.Operation{
		OperationID: "list-audit", Method: http.MethodGet, Path: "/admin/v1/audit", Tags: tags,
		Summary:     "List what operators did, and what suppressions stopped",
		Description: "Newest first, or with after from there on.",
	}, a.listAudit)
	handle(a.server, api, lasting(huma.Operation{
		OperationID: "export-audit", Method: http.MethodGet, Path: "/admin/v1/audit/export", Tags: tags,
		Summary:     "Export the audit",
		Description: "Every entry that the filters choose on a line of its own (application/x-ndjson), oldest first. An export that is cut off ends without its closing chunk.",
	}, exportTimeout), a.exportAudit)
}

func (a *adminServer) listAudit(ctx context.Context, in *auditInput) (*auditOutput, error) {
	q := notifier.AuditQuery{AuditFilter: in.filter(), After: in.After, Before: in.Before, Forward: in.After >= 0, Limit: in.Limit + 1}
	if q.Forward && q.Before > 0 {
		return nil, fault.InvalidFields("the request is not valid", fault.Field{Path: "query.before", Message: "excludes after: give one of the two"})
	}
	found, err := a.Audit.Audit(ctx, q)
	if err != nil {
		return nil, err
	}
	found, more := page(found, in.Limit)
	out := &auditOutput{Body: AdminAuditList{Entries: make([]AdminAuditEntry, 0, len(found))}}
	for _, e := range found {
		out.Body.Entries = append(out.Body.Entries, auditEntryOf(e))
	}
	if more {
		out.Body.Next = new(found[len(found)-1].ID)
	}
	return out, nil
}

func (a *adminServer) exportAudit(ctx context.Context, in *exportInput) (*huma.StreamResponse, error) {
	export, err := ExportAudit(ctx, a.Audit, in.filter(), in.After)
	if err != nil {
		return nil, err
	}
	return a.exported(ctx, "application/x-ndjson", export), nil
}

func (f AuditFilter) filter() notifier.AuditFilter {
	return notifier.AuditFilter{Actor: f.Actor, Action: notifier.Action(f.Action), Subject: f.Subject, Since: f.Since, Until: f.Until}
}

func auditEntryOf(e notifier.AuditEntry) AdminAuditEntry {
	return AdminAuditEntry{
		ID: e.ID, At: e.At, Actor: e.Actor.Name, Action: string(e.Action), Subject: e.Subject,
		Before: e.Before, After: e.After, RequestID: e.Actor.RequestID,
	}
}
