package console

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/notifier"
)

// auditView is a page of the audit, newest first.
type auditView struct {
	Actor, Action, Subject string
	// Since and Until are as they were typed.
	Since, Until string
	Actions      []notifier.Action
	Entries      []notifier.AuditEntry
	Filtered     bool
	// Export is where to take all that the filter chooses away; Next the next page.
	Export, Next string
}

// auditFilter reads what to look for, and what to repeat in the addresses of other pages.
func auditFilter(query url.Values) (f notifier.AuditFilter, kept url.Values, err error) {
	kept = url.Values{}
	for _, name := range []string{"actor", "action", "subject", "since", "until"} {
		if text := query.Get(name); text != "" {
			kept.Set(name, text)
		}
	}
	f.Actor, f.Action, f.Subject = query.Get("actor"), notifier.Action(query.Get("action")), strings.TrimSpace(query.Get("subject"))
	if f.Action != "" && !slices.Contains(notifier.Actions(), f.Action) {
		return f, kept, wrongForm("action", "is nothing that anybody can do")
	}
	if f.Since, err = formTime(query, "since"); err != nil {
		return f, kept, err
	}
	f.Until, err = formTime(query, "until")
	if err == nil && !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		err = wrongForm("until", "wants a time after the first one")
	}
	return f, kept, err
}

func (c *Console) audit(v *visit) error {
	query := v.r.URL.Query()
	view := auditView{
		Actor: query.Get("actor"), Action: query.Get("action"), Subject: query.Get("subject"), Since: query.Get("since"), Until: query.Get("until"),
		Actions: notifier.Actions(),
	}
	f, kept, err := auditFilter(query)
	if err != nil {
		c.refused(v, "filter", query, err)
		return c.page(v, http.StatusOK, "audit", "Audit", "/audit", view)
	}
	before, err := number(v, "before")
	if err != nil {
		return err
	}
	if view.Entries, err = c.Audit.Audit(v.ctx(), notifier.AuditQuery{AuditFilter: f, Before: before, Limit: pageSize + 1}); err != nil {
		return err
	}
	view.Filtered = len(kept) > 0
	view.Export = "/audit/export?" + kept.Encode()
	if len(view.Entries) > pageSize {
		view.Entries = view.Entries[:pageSize]
		kept.Set("before", strconv.FormatInt(view.Entries[pageSize-1].ID, 10))
		view.Next = "/audit?" + kept.Encode()
	}
	return c.page(v, http.StatusOK, "audit", "Audit", "/audit", view)
}

// exportAudit hands out every entry that the filter chooses, oldest first, a line each.
func (c *Console) exportAudit(v *visit) error {
	f, _, err := auditFilter(v.r.URL.Query())
	if err != nil {
		return err
	}
	export, err := api.ExportAudit(v.ctx(), c.Audit, f, 0)
	if err != nil {
		return err
	}
	c.handOut(v, "application/x-ndjson", "bugle-audit.ndjson", export)
	return nil
}

// handOut answers with an export, which the browser keeps as a file.
func (c *Console) handOut(v *visit, media, name string, export api.Export) {
	attach(v, media, name)
	if err := export(v.w); err != nil {
		c.abort(v, err)
	}
}

// attach begins an answer that the browser keeps as a file.
func attach(v *visit, media, name string) {
	h := v.w.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	v.w.WriteHeader(http.StatusOK)
}

// abort cuts an answer off that has begun: half a file must not look like a whole one.
func (c *Console) abort(v *visit, err error) {
	_ = api.ProblemOf(v.ctx(), c.log, err) // logs it; there is nobody to answer to
	panic(http.ErrAbortHandler)
}

// subjectPath is the page of what stands in the audit; empty when there is none.
func subjectPath(subject string) string {
	kind, id, _ := strings.Cut(subject, "/")
	switch kind {
	case "rule", "run", "delivery":
		plurals := map[string]string{"rule": "/rules/", "run": "/runs/", "delivery": "/deliveries/"}
		return plurals[kind] + url.PathEscape(id)
	case "deliveries":
		return "/deliveries"
	case "suppressions":
		return "/suppressions"
	case "sending":
		return "/"
	case "device", "user":
		return userPath(id)
	case "suppression":
		_, user, _ := strings.Cut(id, "/")
		return userPath(user)
	}
	return ""
}
