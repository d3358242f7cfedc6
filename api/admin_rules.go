package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/notifier"
)

// AdminRule is a rule and where it stands.
type AdminRule struct {
	ID        string          `json:"id" example:"bet-settled"`
	Schedule  string          `json:"schedule" example:"@every 15s"`
	Mode      string          `json:"mode" enum:"live,shadow,paused" doc:"As the rules say."`
	Class     string          `json:"class" enum:"transactional,service,marketing"`
	Paused    bool            `json:"paused" doc:"Whether it takes no ticks, by the rules or by an operator."`
	PausedBy  *AdminPause     `json:"paused_by,omitempty" doc:"The operator who paused it."`
	StoppedBy *AdminPause     `json:"stopped_by,omitempty" doc:"The operator who stopped its sending; absent while it sends. All sending may be stopped as well."`
	NextTick  *time.Time      `json:"next_tick" doc:"Null while it takes no ticks."`
	LastRun   *AdminRun       `json:"last_run" doc:"Null when it has never run."`
	LastError *AdminRuleError `json:"last_error" doc:"The last failed run; null when none has failed."`
	Watermark *AdminWatermark `json:"watermark" doc:"Null when the rule has none, or has never run."`
	Limit     int             `json:"max_deliveries" doc:"What one run may release by itself; 0 for no limit."`
}

// AdminPause is an operator's word on a rule.
type AdminPause struct {
	Actor  string    `json:"actor" example:"alice"`
	Reason string    `json:"reason" example:"wrong text"`
	At     time.Time `json:"at"`
}

// AdminRuleError is why a rule's last failed run failed.
type AdminRuleError struct {
	Run    int64     `json:"run"`
	TickAt time.Time `json:"tick_at"`
	Error  string    `json:"error"`
}

// AdminWatermark is how far a rule has read.
type AdminWatermark struct {
	Position   time.Time `json:"position" doc:"Rows that arrived before it have been read."`
	LagSeconds float64   `json:"lag_seconds"`
	SweptAt    time.Time `json:"swept_at"`
}

// AdminRuleList is every rule in force.
type AdminRuleList struct {
	Rules []AdminRule `json:"rules" nullable:"false"`
}

// AdminReason is why an operator does what they do.
type AdminReason struct {
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"For the audit, and for who finds the rule paused." example:"wrong text"`
}

// AdminPreviewRequest says what to preview.
type AdminPreviewRequest struct {
	Since *time.Time `json:"since,omitempty" doc:"The lower bound of the rows' arrival; without it, what a tick would read now."`
	Limit int        `json:"limit,omitempty" minimum:"1" maximum:"100" default:"10" doc:"How many notifications to render; the others are counted."`
}

// AdminPreview is what a rule would announce now.
type AdminPreview struct {
	Rule          string                     `json:"rule"`
	Since         time.Time                  `json:"since"`
	Until         time.Time                  `json:"until"`
	Baseline      bool                       `json:"baseline" doc:"The rule's key, version or order has changed: its next run takes what it reads as known and announces nothing."`
	Rows          int                        `json:"rows" doc:"How many rows were read."`
	Truncated     bool                       `json:"truncated" doc:"There are more rows than a preview reads."`
	News          map[string]int             `json:"news" nullable:"false" doc:"How many would be new, changed, confirmed (held as provisional until now), renewed (known, and to be announced again because another rule of the thread has said something else since), known or stale. Known and stale ones would not be announced."`
	Expired       int                        `json:"expired" doc:"How many are worth nothing any more."`
	BadRows       int                        `json:"bad_rows" doc:"How many rows no notification can be made of."`
	Bad           []AdminPreviewBadRow       `json:"bad" nullable:"false" doc:"The first of them."`
	Notifications []AdminPreviewNotification `json:"notifications" nullable:"false"`
}

// AdminPreviewBadRow is why no notification can be made of a row.
type AdminPreviewBadRow struct {
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// AdminPreviewNotification is one notification as it would be shown.
type AdminPreviewNotification struct {
	Key       string               `json:"key"`
	News      string               `json:"news" enum:"new,changed,confirmed,renewed,known,stale"`
	User      string               `json:"user" doc:"Empty when it is not for one user."`
	Variant   string               `json:"variant"`
	Category  string               `json:"category"`
	ExpiresAt time.Time            `json:"expires_at"`
	HeldUntil *time.Time           `json:"held_until" doc:"Its row is provisional: it would be announced then, or when a row confirms it."`
	Devices   int                  `json:"devices" doc:"How many active devices would get it, mutes and opt-ins considered."`
	Texts     map[string]AdminText `json:"texts" nullable:"false" doc:"By locale; default is for every other."`
}

// AdminText is a rendered text.
type AdminText struct {
	Title string            `json:"title"`
	Body  string            `json:"body"`
	Link  string            `json:"link,omitempty"`
	Data  map[string]string `json:"data,omitempty"`
}

type (
	ruleInput struct {
		ID string `path:"id" maxLength:"64" doc:"The rule's id." example:"bet-settled"`
	}
	ruleReasonInput struct {
		ID   string `path:"id" maxLength:"64" doc:"The rule's id." example:"bet-settled"`
		Body AdminReason
	}
	rulePreviewInput struct {
		ID   string `path:"id" maxLength:"64" doc:"The rule's id." example:"bet-settled"`
		Body AdminPreviewRequest
	}
	ruleOutput    struct{ Body AdminRule }
	rulesOutput   struct{ Body AdminRuleList }
	previewOutput struct{ Body AdminPreview }
)

func (a *adminServer) registerRules(api huma.API) {
	tags := []string{"rules"}
	handle(a.server, api, huma.Operation{
		OperationID: "list-rules", Method: http.MethodGet, Path: "/admin/v1/rules", Tags: tags,
		Summary: "List the rules in force",
	}, a.listRules)
	handle(a.server, api, huma.Operation{
		OperationID: "get-rule", Method: http.MethodGet, Path: "/admin/v1/rules/{id}", Tags: tags,
		Summary: "Get a rule and where it stands",
	}, a.getRule)
	handle(a.server, api, huma.Operation{
		OperationID: "pause-rule", Method: http.MethodPost, Path: "/admin/v1/rules/{id}/pause", Tags: tags,
		Summary:     "Pause a rule",
		Description: "It takes no ticks on any replica until it is resumed, restarts included. What has been released still goes out.",
	}, a.pauseRule)
	handle(a.server, api, huma.Operation{
		OperationID: "resume-rule", Method: http.MethodPost, Path: "/admin/v1/rules/{id}/resume", Tags: tags,
		Summary:     "Resume a paused rule",
		Description: "Its next tick catches up from the watermark: rows that arrived during the pause are announced unless they have expired.",
	}, a.resumeRule)
	handle(a.server, api, huma.Operation{
		OperationID: "stop-rule", Method: http.MethodPost, Path: "/admin/v1/rules/{id}/stop", Tags: tags,
		Summary: "Stop the sending of a rule",
		Description: "Within a second no replica sends anything of it, restarts included, until it is started: what is queued waits, or expires. " +
			"Its ticks go on unless it is paused as well.",
	}, a.stopRule)
	handle(a.server, api, huma.Operation{
		OperationID: "start-rule", Method: http.MethodPost, Path: "/admin/v1/rules/{id}/start", Tags: tags,
		Summary: "Start the sending of a stopped rule", Description: "What is queued and has not expired goes out.",
	}, a.startRule)
	handle(a.server, api, lasting(huma.Operation{
		OperationID: "run-rule", Method: http.MethodPost, Path: "/admin/v1/rules/{id}/run", Tags: tags,
		Summary:     "Run a rule now",
		Description: "A tick out of turn, at the present second. Answers the run when it has ended, failed ones too. 409 while the rule is paused or running.",
	}, runTimeout), a.runRule)
	handle(a.server, api, lasting(huma.Operation{
		OperationID: "preview-rule", Method: http.MethodPost, Path: "/admin/v1/rules/{id}/preview", Tags: tags,
		Summary:     "Show what a rule would announce now",
		Description: "Runs the query and renders what it finds. Nothing is sent and nothing is written down.",
	}, previewTimeout), a.previewRule)
}

func (a *adminServer) listRules(ctx context.Context, _ *noInput) (*rulesOutput, error) {
	found, err := a.Rules.Rules(ctx)
	if err != nil {
		return nil, err
	}
	out := &rulesOutput{Body: AdminRuleList{Rules: make([]AdminRule, 0, len(found))}}
	for _, r := range found {
		out.Body.Rules = append(out.Body.Rules, adminRuleOf(r))
	}
	return out, nil
}

func (a *adminServer) getRule(ctx context.Context, in *ruleInput) (*ruleOutput, error) {
	return ruleAnswer(a.Rules.Rule(ctx, in.ID))
}

func (a *adminServer) pauseRule(ctx context.Context, in *ruleReasonInput) (*ruleOutput, error) {
	return ruleAnswer(a.RuleControl.Pause(ctx, actorOf(ctx), in.ID, in.Body.Reason))
}

func (a *adminServer) resumeRule(ctx context.Context, in *ruleReasonInput) (*ruleOutput, error) {
	return ruleAnswer(a.RuleControl.Resume(ctx, actorOf(ctx), in.ID, in.Body.Reason))
}

func (a *adminServer) stopRule(ctx context.Context, in *ruleReasonInput) (*ruleOutput, error) {
	return ruleAnswer(a.RuleControl.StopRule(ctx, actorOf(ctx), in.ID, in.Body.Reason))
}

func (a *adminServer) startRule(ctx context.Context, in *ruleReasonInput) (*ruleOutput, error) {
	return ruleAnswer(a.RuleControl.StartRule(ctx, actorOf(ctx), in.ID, in.Body.Reason))
}

func (a *adminServer) runRule(ctx context.Context, in *ruleInput) (*runOutput, error) {
	return runAnswer(a.RuleControl.RunNow(ctx, actorOf(ctx), in.ID))
}

func (a *adminServer) previewRule(ctx context.Context, in *rulePreviewInput) (*previewOutput, error) {
	req := notifier.PreviewRequest{Limit: in.Body.Limit}
	if in.Body.Since != nil {
		req.Since = *in.Body.Since
	}
	p, err := a.Rules.Preview(ctx, in.ID, req)
	if err != nil {
		return nil, err
	}
	return &previewOutput{Body: adminPreviewOf(in.ID, p)}, nil
}

func ruleAnswer(s notifier.RuleStatus, err error) (*ruleOutput, error) {
	if err != nil {
		return nil, err
	}
	return &ruleOutput{Body: adminRuleOf(s)}, nil
}

func adminRuleOf(s notifier.RuleStatus) AdminRule {
	r := AdminRule{
		ID: s.Rule.ID, Schedule: s.Rule.ScheduleText, Mode: string(s.Rule.Mode), Class: string(s.Rule.Class),
		Paused: s.Paused(), NextTick: optionalTime(s.NextTick), Limit: s.Rule.MaxDeliveries,
	}
	if s.Control.Paused {
		r.PausedBy = &AdminPause{Actor: s.Control.Actor, Reason: s.Control.Reason, At: s.Control.At}
	}
	if s.Stop != nil {
		r.StoppedBy = &AdminPause{Actor: s.Stop.Actor, Reason: s.Stop.Reason, At: s.Stop.At}
	}
	if s.LastRun != nil {
		run := adminRunOf(*s.LastRun)
		r.LastRun = &run
	}
	if f := s.LastFailed; f != nil {
		r.LastError = &AdminRuleError{Run: int64(f.ID), TickAt: f.TickAt, Error: f.Error}
	}
	if s.Rule.Watermark != nil && s.Progress != nil {
		r.Watermark = &AdminWatermark{Position: s.Progress.Position, LagSeconds: s.Lag.Seconds(), SweptAt: s.Progress.SweptAt}
	}
	return r
}

// NewAdminPreview writes a preview as the admin API answers it.
func NewAdminPreview(rule string, p notifier.Preview) AdminPreview { return adminPreviewOf(rule, p) }

func adminPreviewOf(rule string, p notifier.Preview) AdminPreview {
	out := AdminPreview{
		Rule: rule, Since: p.Window.Since, Until: p.Window.Until, Baseline: p.Baseline, Rows: p.Rows, Truncated: p.Truncated,
		News: make(map[string]int, len(p.News)), Expired: p.Expired, BadRows: p.BadRows,
		Bad:           make([]AdminPreviewBadRow, 0, len(p.Bad)),
		Notifications: adminPreviewNotifications(p.Notifications),
	}
	for news, n := range p.News {
		out.News[string(news)] = n
	}
	for _, b := range p.Bad {
		out.Bad = append(out.Bad, AdminPreviewBadRow{Reason: string(b.Reason), Detail: b.Detail})
	}
	return out
}

func adminPreviewNotifications(found []notifier.PreviewNotification) []AdminPreviewNotification {
	out := make([]AdminPreviewNotification, 0, len(found))
	for _, n := range found {
		shown := AdminPreviewNotification{
			Key: n.Key, News: string(n.News), User: string(n.User), Variant: n.Variant, Category: n.Category,
			ExpiresAt: n.ExpiresAt, HeldUntil: optionalTime(n.HeldUntil), Devices: n.Devices, Texts: make(map[string]AdminText, len(n.Texts)),
		}
		for locale, t := range n.Texts {
			if locale == "" {
				locale = "default"
			}
			shown.Texts[locale] = AdminText{Title: t.Title, Body: t.Body, Link: t.Link, Data: t.Data}
		}
		out = append(out, shown)
	}
	return out
}
