package notifier

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bugle-push/bugle/devices"
)

// The bounds of an explanation.
const (
	// DefaultExplained is how many deliveries are explained when nobody says.
	DefaultExplained = 50
	// MaxExplained is how many are explained at most.
	MaxExplained = 200
	// explainedThread is how many notifications of a thread are named, the newest ones.
	explainedThread = 50
	// badRowsTold is how many bad rows that name a user are told of.
	badRowsTold = 5
)

// ExplainLedger is what an Explainer asks the ledger. It changes nothing.
type ExplainLedger interface {
	StopReader
	ImportTeller
	SuppressionReader
	// Notification returns a notification and counts its deliveries, or ErrUnknownNotification.
	Notification(ctx context.Context, id NotificationID) (NotificationRecord, error)
	// NotificationsOf returns those of the ids that are on record, without counts, in any order.
	NotificationsOf(ctx context.Context, ids []NotificationID) ([]NotificationRecord, error)
	// Undelivered returns the notifications for a user alone of which no delivery is on record,
	// with ids below before (0: from the newest on) and not below from, newest first.
	Undelivered(ctx context.Context, user devices.UserID, before, from NotificationID, limit int) ([]NotificationRecord, error)
	// Replaced returns what has taken the place of each of the notifications: the newest released
	// one of its thread, of those that are newer and no shadow unless it is one itself.
	Replaced(ctx context.Context, ids []NotificationID) (map[NotificationID]NotificationID, error)
	// Thread returns the notifications of a thread, newest first.
	Thread(ctx context.Context, thread string, limit int) ([]ThreadEntry, error)
	// RunAlone returns a run without its counts, or ErrUnknownRun.
	RunAlone(ctx context.Context, id RunID) (RunRecord, error)
	// RunsOf returns those of the runs that are kept, without counts, in any order.
	RunsOf(ctx context.Context, ids []RunID) ([]RunRecord, error)
	// BadRowsNaming returns rows in which a column has the user's id and of which no notification was
	// made, at most limit of them, among the newest bad rows.
	BadRowsNaming(ctx context.Context, user devices.UserID, limit int) ([]BadRowRecord, error)
	// Standings returns what is known of each of some rules.
	Standings(ctx context.Context, rules []string) (map[string]RuleStanding, error)
	// Deliveries returns a page of deliveries.
	Deliveries(ctx context.Context, q DeliveryQuery) ([]DeliveryRecord, error)
	// Attempts returns the attempts of deliveries, oldest first.
	Attempts(ctx context.Context, ids []DeliveryID) (map[DeliveryID][]AttemptRecord, error)
	// View reads what the gates need to know of deliveries, whatever their state.
	View(ctx context.Context, claims []Claim) ([]View, error)
	// StoppedBy returns the latest word of the audit on each delivery that a suppression stopped.
	StoppedBy(ctx context.Context, ids []DeliveryID) (map[DeliveryID]Stopped, error)
}

// Directory knows users.
type Directory interface {
	// Devices returns the user's devices, the latest updated first.
	Devices(ctx context.Context, user devices.UserID) ([]devices.Device, error)
	// Preferences returns what the user has set.
	Preferences(ctx context.Context, user devices.UserID) (devices.Preferences, error)
}

// ThreadEntry is one notification of a thread.
type ThreadEntry struct {
	ID                    NotificationID
	Rule                  string
	Version               int
	Variant               string
	State                 string
	Shadow                bool
	CreatedAt, ReleasedAt time.Time
}

// replaces tells whether the entry takes the place of an older notification.
func (e ThreadEntry) replaces(id NotificationID, shadow bool) bool {
	return e.ID > id && e.State == "released" && (shadow || !e.Shadow)
}

// GateVerdict is what a gate said.
type GateVerdict string

// The verdicts of gates.
const (
	GatePassed   GateVerdict = "passed"
	GateStopped  GateVerdict = "stopped"
	GateWaits    GateVerdict = "waits"
	GateNotAsked GateVerdict = "not_asked"
)

// Gate is one gate and what it said of a delivery.
type Gate struct {
	// Name is one of GateNames.
	Name    string
	Verdict GateVerdict
	// Reason is empty unless it stopped the delivery or lets it wait.
	Reason Reason
	// Detail says more of it in plain words; it may be empty.
	Detail string
}

// ExplainedText is the text that some devices were, or would be, shown.
type ExplainedText struct {
	// Locale and TimeZone are the devices'; empty for the default.
	Locale, TimeZone string
	// Correction says that it is the correction's text.
	Correction bool
	Text
	// Devices are those of the explained deliveries that it is for.
	Devices []devices.ID
}

// ExplainedDelivery is a delivery and what became of it.
type ExplainedDelivery struct {
	DeliveryRecord
	// Device is the device as it is now, without its target; its ID is empty when it is gone.
	Device devices.Device
	// Correction says that this device was told an older version, so that the text is the correction's.
	Correction bool
	// Asked says that the gates' verdicts are as of now, because nothing is on record yet: what
	// waits in the queue has not been asked.
	Asked bool
	// Gates are in the order in which they are asked.
	Gates []Gate
	// SupersededBy is the newest notification that took its place; 0 for none.
	SupersededBy NotificationID
	// WaitsUntil is when its turn comes, or the gates are asked again; zero unless it waits.
	WaitsUntil time.Time
	// Explanation says in one or two sentences what became of it, and why.
	Explanation string
}

// Explanation is the story of a notification.
type Explanation struct {
	Notification NotificationRecord
	// Run is nil when it is not kept any more.
	Run *RunRecord
	// Rule is the rule in force; nil when it has been removed.
	Rule *Rule
	// RuleChanged says that the rules have changed since the run: texts are made by those in force.
	RuleChanged bool
	// Identity tells whether key, version and order columns are still those of the notification.
	IdentityChanged bool
	Thread          []ThreadEntry
	// SupersededBy is the newest notification that took its place; 0 for none.
	SupersededBy NotificationID
	Texts        []ExplainedText
	Deliveries   []ExplainedDelivery
	// Next is the device behind which the next page of deliveries begins; empty at the end.
	Next devices.ID
	// Summary says in plain words what became of it as a whole.
	Summary string
}

// ExplainRequest says what to explain of a notification.
type ExplainRequest struct {
	ID NotificationID
	// User and Device narrow the deliveries; empty for all.
	User   devices.UserID
	Device devices.ID
	// After begins behind a device; it is not for a User or Device.
	After devices.ID
	// Limit is how many deliveries are explained; 0 means DefaultExplained.
	Limit int
}

// ExplainerConfig is what an Explainer needs; all but the last two are required.
type ExplainerConfig struct {
	Ledger    ExplainLedger
	Directory Directory
	// Rules returns the rules in force.
	Rules func() *RuleSet
	// Gates are those that deliveries meet.
	Gates Gates
	// Retention says how long it is known what became of deliveries.
	Retention Retention
}

// Explainer tells what became of notifications and why, from what is on record.
// It changes nothing, and asks no source and no provider.
type Explainer struct {
	ledger    ExplainLedger
	directory Directory
	rules     func() *RuleSet
	gates     Gates
	retention Retention
}

// NewExplainer returns an Explainer.
func NewExplainer(c ExplainerConfig) (*Explainer, error) {
	if c.Ledger == nil || c.Directory == nil || c.Rules == nil {
		return nil, fmt.Errorf("explainer needs a ledger, a directory and rules")
	}
	return &Explainer{ledger: c.Ledger, directory: c.Directory, rules: c.Rules, gates: c.Gates, retention: c.Retention.withDefaults()}, nil
}

// Explain tells the story of a notification. It returns ErrUnknownNotification.
func (x *Explainer) Explain(ctx context.Context, req ExplainRequest) (Explanation, error) {
	n, err := x.ledger.Notification(ctx, req.ID)
	if err != nil {
		return Explanation{}, err
	}
	out := Explanation{Notification: n}
	if out.Run, err = x.run(ctx, n.Run); err != nil {
		return out, err
	}
	if out.Thread, err = x.ledger.Thread(ctx, n.Thread, explainedThread); err != nil {
		return out, err
	}
	out.SupersededBy = newest(out.Thread, n)
	rules := x.rules()
	if rule, ok := rules.Get(n.Rule); ok {
		out.Rule = rule
		out.IdentityChanged = n.Identity != "" && n.Identity != rule.Identity
	}
	out.RuleChanged = out.Run != nil && out.Run.Generation != rules.Generation()

	limit := req.Limit
	if limit <= 0 {
		limit = DefaultExplained
	}
	limit = min(limit, MaxExplained)
	q := DeliveryQuery{Notification: req.ID, User: req.User, Device: req.Device, Limit: limit + 1}
	if req.After != "" && q.ByDevice() {
		q.After = &DeliveryCursor{Device: req.After}
	}
	found, err := x.ledger.Deliveries(ctx, q)
	if err != nil {
		return out, err
	}
	if len(found) > limit {
		found = found[:limit]
		out.Next = found[limit-1].Device
	}
	s := scene{rules: rules, notifications: map[NotificationID]NotificationRecord{n.ID: n}, newer: map[NotificationID]NotificationID{n.ID: out.SupersededBy}}
	var texts []ExplainedText
	out.Deliveries, texts, err = x.deliveries(ctx, s, found)
	if err != nil {
		return out, err
	}
	out.Texts = x.texts(rules, n, texts)
	out.Summary = x.summary(out)
	if len(found) == 0 && req.After == "" {
		out.Summary += x.nothingFor(n, req, time.Now())
	}
	return out, nil
}

// run returns nil for one that is not kept any more.
func (x *Explainer) run(ctx context.Context, id RunID) (*RunRecord, error) {
	r, err := x.ledger.RunAlone(ctx, id)
	switch {
	case isUnknownRun(err):
		return nil, nil //nolint:nilnil // it has been removed
	case err != nil:
		return nil, err
	}
	return &r, nil
}

// newest is the newest notification of the thread that takes the place of n.
func newest(thread []ThreadEntry, n NotificationRecord) NotificationID {
	for _, e := range thread {
		if e.replaces(n.ID, n.Shadow) {
			return e.ID
		}
	}
	return 0
}

// scene is what deliveries are explained with.
type scene struct {
	rules         *RuleSet
	notifications map[NotificationID]NotificationRecord
	// newer has what took a notification's place.
	newer map[NotificationID]NotificationID
	stops []Stop
}

// deliveries explains deliveries and lists the texts that their devices were or would be shown.
func (x *Explainer) deliveries(ctx context.Context, s scene, found []DeliveryRecord) ([]ExplainedDelivery, []ExplainedText, error) {
	if len(found) == 0 {
		return nil, nil, nil
	}
	ids := make([]DeliveryID, len(found))
	claims := make([]Claim, len(found))
	for i, d := range found {
		ids[i], claims[i] = d.ID, Claim{ID: d.ID}
	}
	attempts, err := x.ledger.Attempts(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	stopped, err := x.stopped(ctx, found)
	if err != nil {
		return nil, nil, err
	}
	if s.stops, err = x.ledger.Stops(ctx); err != nil {
		return nil, nil, err
	}
	list, err := x.ledger.View(ctx, claims)
	if err != nil {
		return nil, nil, err
	}
	views := make(map[DeliveryID]View, len(list))
	for _, v := range list {
		views[v.Claim.ID] = v
	}
	var texts []ExplainedText
	out := make([]ExplainedDelivery, 0, len(found))
	for _, d := range found {
		d.Attempts = attempts[d.ID]
		e := ExplainedDelivery{DeliveryRecord: d, SupersededBy: s.newer[d.Notification]}
		v, known := views[d.ID]
		if known {
			e.Device = v.Device
			e.Device.Target.Value = "" // no secret leaves here
			rule, _ := s.rules.Get(d.Rule)
			e.Correction = v.Told && rule != nil && rule.HasCorrection && rule.Audience.Kind != AudienceFollows
		}
		x.judge(s, &e, v, known, stopped[d.ID])
		texts = append(texts, ExplainedText{
			Locale: e.Device.Locale, TimeZone: e.Device.TimeZone, Correction: e.Correction, Devices: []devices.ID{d.Device},
		})
		out = append(out, e)
	}
	return out, texts, nil
}

// stopped asks the audit about what suppressions stopped: they may have been taken back since.
func (x *Explainer) stopped(ctx context.Context, found []DeliveryRecord) (map[DeliveryID]Stopped, error) {
	var ids []DeliveryID
	for _, d := range found {
		if d.State == Suppressed && gateOf(Reason(d.Reason)) == gateSuppressions {
			ids = append(ids, d.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return x.ledger.StoppedBy(ctx, ids)
}

// texts renders each text once, those of devices together. A notification without
// deliveries is shown in the default language.
func (x *Explainer) texts(rules *RuleSet, n NotificationRecord, wanted []ExplainedText) []ExplainedText {
	rule, ok := rules.Get(n.Rule)
	if !ok {
		return nil
	}
	if len(wanted) == 0 {
		wanted = []ExplainedText{{}}
	}
	type key struct {
		locale, zone string
		correction   bool
	}
	var out []ExplainedText
	at := map[key]int{}
	for _, t := range wanted {
		k := key{t.Locale, t.TimeZone, t.Correction}
		if i, seen := at[k]; seen {
			out[i].Devices = append(out[i].Devices, t.Devices...)
			continue
		}
		text, err := rule.Render(n.Draft, RenderContext{Locale: t.Locale, TimeZone: t.TimeZone, Now: shownAt(n), Correction: t.Correction})
		if err != nil {
			continue // the rule has changed since: it can make no text of the row any more
		}
		at[k] = len(out)
		t.Text = text
		out = append(out, t)
	}
	return out
}

// shownAt is the moment that relative times of a text count from.
func shownAt(n NotificationRecord) time.Time {
	if n.ReleasedAt.IsZero() {
		return n.CreatedAt
	}
	return n.ReleasedAt
}

// The gates by name, in the order in which they are asked.
const (
	gateRecord       = "record"
	gateRule         = "rule"
	gateExpiry       = "expiry"
	gateStop         = "stop"
	gateDevice       = "device"
	gateOwner        = "owner"
	gateNewest       = "newest"
	gateSuppressions = "suppressions"
	gateUnchanged    = "unchanged"
	gateTold         = "told"
	gateMuted        = "muted"
	gateOptIn        = "opt_in"
	gateQuietHours   = "quiet_hours"
	gateMode         = "mode"
	gateFrequency    = "frequency_cap"
	gateText         = "text"
)

// GateNames lists the gates in the order in which they are asked.
func GateNames() []string {
	return []string{
		gateRecord, gateRule, gateExpiry, gateStop, gateDevice, gateOwner, gateNewest, gateSuppressions, gateUnchanged, gateTold, gateMuted,
		gateOptIn, gateQuietHours, gateMode, gateFrequency, gateText,
	}
}

// gateOf names the gate that speaks for a reason; empty for one of a provider.
func gateOf(r Reason) string {
	switch r {
	case ReasonUnreadable:
		return gateRecord
	case ReasonRuleRemoved:
		return gateRule
	case ReasonTTL, ReasonBackoff:
		return gateExpiry
	case ReasonStopped:
		return gateStop
	case ReasonDeviceInactive, Reason(devices.CancelDeactivated), Reason(devices.CancelTargetMoved):
		return gateDevice
	case ReasonDeviceReassigned, Reason(devices.CancelUserChanged), ReasonErased:
		return gateOwner
	case ReasonNewer:
		return gateNewest
	case ReasonSelfExclusion, ReasonCoolOff, ReasonAccountClosed, ReasonJurisdiction, ReasonSuppressed, ReasonNotImported:
		return gateSuppressions
	case ReasonUnchanged:
		return gateUnchanged
	case ReasonNotTold:
		return gateTold
	case ReasonMuted:
		return gateMuted
	case ReasonNotOptedIn:
		return gateOptIn
	case ReasonQuietHours:
		return gateQuietHours
	case ReasonShadow:
		return gateMode
	case ReasonFrequencyCap:
		return gateFrequency
	case ReasonUnrenderable:
		return gateText
	}
	return ""
}

// judge fills in the gates' verdicts and the explanation.
func (x *Explainer) judge(s scene, e *ExplainedDelivery, v View, known bool, stopped Stopped) {
	rule, _ := s.rules.Get(e.Rule)
	var d Decision
	reason := Reason(e.Reason)
	waiting := e.State == Queued || e.State == Leased
	if waiting {
		if e.State == Queued {
			e.WaitsUntil = e.DueAt
		}
		if reason == "" && known {
			d = x.gates.Decide(v, rule, v.ReadAt.Add(v.Skew))
			e.Asked, reason = true, d.Reason
		}
	}
	at := gateOf(reason)
	if e.State == Superseded {
		at, reason = gateNewest, ReasonNewer
	}
	detail := ""
	if at != "" {
		detail = x.detail(s, e, v, known, reason, stopped)
	}
	e.Gates = gates(at, reason, detail, waiting && (!e.Asked || !d.Until.IsZero()))
	if e.Asked && d.Capped && at == "" {
		e.Gates[slices.Index(GateNames(), gateFrequency)].Verdict = GateNotAsked // the answer would take room
	}
	if !known && e.State != Sent {
		detail = ""
	}
	e.Explanation = sentence(e, reason, detail, d)
}

// gates lists the verdicts when one of them, or none, held the delivery up.
func gates(at string, reason Reason, detail string, waits bool) []Gate {
	out := make([]Gate, 0, len(GateNames()))
	verdict := GatePassed
	for _, name := range GateNames() {
		g := Gate{Name: name, Verdict: verdict}
		if name == at {
			g.Verdict, g.Reason, g.Detail = GateStopped, reason, detail
			if waits {
				g.Verdict = GateWaits
			}
			verdict = GateNotAsked
		}
		out = append(out, g)
	}
	return out
}

// sortedStates lists the states that some deliveries are in, sorted.
func sortedStates(m map[DeliveryState]int64) []DeliveryState { return slices.Sorted(maps.Keys(m)) }
