package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// AdminDelivery is one notification to one device.
type AdminDelivery struct {
	ID            int64      `json:"id" example:"7"`
	Notification  int64      `json:"notification"`
	Device        string     `json:"device"`
	User          string     `json:"user" doc:"Whose device it was when the delivery was made."`
	Rule          string     `json:"rule" example:"bet-settled"`
	Provider      string     `json:"provider" example:"fcm"`
	Urgency       string     `json:"urgency" enum:"high,normal"`
	State         string     `json:"state" enum:"queued,leased,sent,gone,rejected,expired,suppressed,superseded,cancelled,unconfirmed"`
	Reason        string     `json:"reason" doc:"The gate's or the provider's reason." example:"muted"`
	AttemptsCount int        `json:"attempts_counted" doc:"Attempts that count against the backoff."`
	UnknownsCount int        `json:"unknowns" doc:"Attempts whose outcome is not known."`
	Owner         string     `json:"owner" doc:"The replica that had it last."`
	DueAt         time.Time  `json:"due_at"`
	ExpiresAt     time.Time  `json:"expires_at"`
	CreatedAt     time.Time  `json:"created_at"`
	FinishedAt    *time.Time `json:"finished_at" doc:"Null until it has ended."`
	Attempts      []Attempt  `json:"attempts,omitempty" doc:"Only when one delivery is asked for; oldest first."`
}

// Attempt is one call of a provider.
type Attempt struct {
	StartedAt  time.Time `json:"started_at"`
	EndedAt    time.Time `json:"ended_at"`
	Verdict    string    `json:"verdict" enum:"sent,retry,gone,rejected,blocked,unknown"`
	Code       string    `json:"code" doc:"The provider's reason."`
	Status     int       `json:"status" doc:"The HTTP status; 0 when there was none."`
	ProviderID string    `json:"provider_id" doc:"The provider's name for an accepted message."`
	Generation int64     `json:"generation" doc:"Of the target that was sent to."`
	Owner      string    `json:"owner" doc:"The replica that made it."`
}

// AdminRequeue says which deliveries are to be tried again.
type AdminRequeue struct {
	Rule     string     `json:"rule,omitempty" maxLength:"64" example:"bet-settled"`
	Provider string     `json:"provider,omitempty" enum:"fcm,ably"`
	State    string     `json:"state,omitempty" enum:"gone,rejected,expired,unconfirmed,cancelled" doc:"Without it, any of these but unconfirmed: those may have been shown already."`
	Reason   string     `json:"reason,omitempty" maxLength:"128" example:"INVALID_ARGUMENT"`
	Since    *time.Time `json:"since,omitempty" nullable:"true" doc:"Only those made at or after this time."`
	Until    *time.Time `json:"until,omitempty" nullable:"true" doc:"Only those made before this time."`
	After    string     `json:"after,omitempty" maxLength:"512" doc:"The next of the time before: go on behind what that has requeued."`
	Limit    int        `json:"limit,omitempty" minimum:"1" maximum:"10000" default:"1000" doc:"The most to requeue, from the oldest on."`
	DryRun   bool       `json:"dry_run,omitempty" doc:"Count only; nothing is changed."`
}

// AdminRequeued says what became of that.
type AdminRequeued struct {
	Matching    int     `json:"matching" doc:"What the filter names and has not expired, counted up to 100000."`
	Expired     int     `json:"expired" doc:"What it names and is worth nothing any more: it stays as it is. Counted up to 100000."`
	Unconfirmed int     `json:"unconfirmed" doc:"What it would name with state: unconfirmed, and leaves out without a state, because it may have been shown already. Counted up to 100000."`
	Requeued    int     `json:"requeued" doc:"How many are tried again."`
	Next        *string `json:"next" doc:"Ask again with after= this for those behind the limit; null when fewer were left. What is refused anew meanwhile is not among them."`
}

// AdminDeliveryList is a page of deliveries.
type AdminDeliveryList struct {
	Deliveries []AdminDelivery `json:"deliveries" nullable:"false"`
	Next       *string         `json:"next" doc:"Ask again with after= this for the next page; null at the end."`
}

type (
	deliveryInput struct {
		ID int64 `path:"id" minimum:"1" doc:"The delivery's id." example:"7"`
	}
	deliveriesInput struct {
		Limit        int       `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"The most entries to answer."`
		User         string    `query:"user" maxLength:"256" doc:"Whose device it was."`
		Device       string    `query:"device" maxLength:"128"`
		Notification int64     `query:"notification" minimum:"1"`
		State        string    `query:"state" enum:"queued,leased,sent,gone,rejected,expired,suppressed,superseded,cancelled,unconfirmed"`
		Rule         string    `query:"rule" maxLength:"64"`
		Since        time.Time `query:"since" doc:"Only those made at or after this time."`
		Until        time.Time `query:"until" doc:"Only those made before this time."`
		After        string    `query:"after" maxLength:"512" doc:"The next of the page before."`
	}
	requeueInput     struct{ Body AdminRequeue }
	requeueOutput    struct{ Body AdminRequeued }
	deliveryOutput   struct{ Body AdminDelivery }
	deliveriesOutput struct{ Body AdminDeliveryList }
)

func (a *adminServer) registerDeliveries(api huma.API) {
	tags := []string{"deliveries"}
	handle(a.server, api, huma.Operation{
		OperationID: "list-deliveries", Method: http.MethodGet, Path: "/admin/v1/deliveries", Tags: tags,
		Summary:     "List deliveries",
		Description: "Newest first; by device when only a notification is named. Name a user, a device or a notification where you can: a state or a rule alone may have to look at many.",
	}, a.listDeliveries)
	handle(a.server, api, huma.Operation{
		OperationID: "get-delivery", Method: http.MethodGet, Path: "/admin/v1/deliveries/{id}", Tags: tags,
		Summary: "Get a delivery and its attempts",
	}, a.getDelivery)
	handle(a.server, api, huma.Operation{
		OperationID: "requeue-delivery", Method: http.MethodPost, Path: "/admin/v1/deliveries/{id}/requeue", Tags: tags,
		Summary:     "Try a delivery again",
		Description: "For one that is gone, rejected, expired, unconfirmed or cancelled and has not reached its expiry; else 409. The gates decide again, and its attempts are kept. One that is unconfirmed may be shown twice.",
	}, a.requeueDelivery)
	handle(a.server, api, lasting(huma.Operation{
		OperationID: "requeue-deliveries", Method: http.MethodPost, Path: "/admin/v1/deliveries/requeue", Tags: tags,
		Summary: "Try all deliveries again that a filter names",
		Description: "Those that are gone, rejected, expired or cancelled and have not reached their expiry; those that are unconfirmed only with that state, because they may have been shown already. " +
			"The gates decide again, and attempts are kept. " +
			"Name at least a rule, a provider, a state, a reason or since, and look at what a dry_run says first. When more match than the limit, ask again with after, until next is null. " +
			"It is one entry of the audit, with the filter.",
	}, requeueTimeout), a.requeueDeliveries)
}

func (a *adminServer) listDeliveries(ctx context.Context, in *deliveriesInput) (*deliveriesOutput, error) {
	q := notifier.DeliveryQuery{
		User: devices.UserID(in.User), Device: devices.ID(in.Device), Notification: notifier.NotificationID(in.Notification),
		State: notifier.DeliveryState(in.State), Rule: in.Rule, Since: in.Since, Until: in.Until, Limit: in.Limit + 1,
	}
	if in.After != "" {
		var c deliveryCursor
		if err := c.decode(in.After); err != nil {
			return nil, err
		}
		q.After = &notifier.DeliveryCursor{CreatedAt: time.UnixMicro(c.CreatedAt).UTC(), ID: notifier.DeliveryID(c.ID), Device: devices.ID(c.Device)}
	}
	found, err := a.Deliveries.Deliveries(ctx, q)
	if err != nil {
		return nil, err
	}
	found, more := page(found, in.Limit)
	out := &deliveriesOutput{Body: AdminDeliveryList{Deliveries: make([]AdminDelivery, 0, len(found))}}
	for _, d := range found {
		out.Body.Deliveries = append(out.Body.Deliveries, adminDeliveryOf(d))
	}
	if more {
		last := found[len(found)-1]
		out.Body.Next = new(deliveryCursor{CreatedAt: last.CreatedAt.UnixMicro(), ID: int64(last.ID), Device: string(last.Device)}.encode())
	}
	return out, nil
}

func (a *adminServer) getDelivery(ctx context.Context, in *deliveryInput) (*deliveryOutput, error) {
	return deliveryAnswer(a.Deliveries.Delivery(ctx, notifier.DeliveryID(in.ID)))
}

func (a *adminServer) requeueDeliveries(ctx context.Context, in *requeueInput) (*requeueOutput, error) {
	b := in.Body
	f := notifier.RequeueFilter{
		Rule: b.Rule, Provider: devices.Provider(b.Provider), State: notifier.DeliveryState(b.State), Reason: b.Reason, Limit: b.Limit, DryRun: b.DryRun,
	}
	if b.Since != nil {
		f.Since = *b.Since
	}
	if b.Until != nil {
		f.Until = *b.Until
	}
	if b.After != "" {
		var c deliveryCursor
		if err := c.decode(b.After); err != nil {
			return nil, fault.InvalidFields("the request is not valid", fault.Field{Path: "body.after", Message: "wants the next of the time before"})
		}
		f.After = &notifier.RequeueCursor{CreatedAt: time.UnixMicro(c.CreatedAt).UTC(), ID: notifier.DeliveryID(c.ID)}
	}
	r, err := a.Requeue.RequeueAll(ctx, actorOf(ctx), f)
	if err != nil {
		return nil, within("body", err)
	}
	out := &requeueOutput{Body: AdminRequeued{Matching: r.Matching, Expired: r.Expired, Unconfirmed: r.Unconfirmed, Requeued: r.Requeued}}
	if r.Next != nil {
		out.Body.Next = new(deliveryCursor{CreatedAt: r.Next.CreatedAt.UnixMicro(), ID: int64(r.Next.ID)}.encode())
	}
	return out, nil
}

func (a *adminServer) requeueDelivery(ctx context.Context, in *deliveryInput) (*deliveryOutput, error) {
	return deliveryAnswer(a.Requeue.Requeue(ctx, actorOf(ctx), notifier.DeliveryID(in.ID)))
}

func deliveryAnswer(d notifier.DeliveryRecord, err error) (*deliveryOutput, error) {
	if err != nil {
		return nil, err
	}
	return &deliveryOutput{Body: adminDeliveryOf(d)}, nil
}

func adminDeliveryOf(d notifier.DeliveryRecord) AdminDelivery {
	out := AdminDelivery{
		ID: int64(d.ID), Notification: int64(d.Notification), Device: string(d.Device), User: string(d.User), Rule: d.Rule,
		Provider: string(d.Provider), Urgency: string(d.Urgency), State: string(d.State), Reason: d.Reason,
		AttemptsCount: d.Counted, UnknownsCount: d.Unknowns, Owner: d.Owner, DueAt: d.DueAt, ExpiresAt: d.ExpiresAt,
		CreatedAt: d.CreatedAt, FinishedAt: optionalTime(d.FinishedAt),
	}
	for _, t := range d.Attempts {
		out.Attempts = append(out.Attempts, Attempt{
			StartedAt: t.StartedAt, EndedAt: t.EndedAt, Verdict: string(t.Verdict), Code: t.Code, Status: t.Status,
			ProviderID: t.ProviderID, Generation: t.Generation, Owner: t.Owner,
		})
	}
	return out
}
