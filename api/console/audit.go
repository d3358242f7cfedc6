package console

import (
	"net/http"
	"strconv"

	"github.com/bugle-push/bugle/notifier"
)

// auditView is a page of the audit, newest first.
type auditView struct {
	Entries []notifier.AuditEntry
	Next    string
}

func (c *Console) audit(v *visit) error {
	before, err := number(v, "before")
	if err != nil {
		return err
	}
	found, err := c.Audit.Audit(v.ctx(), notifier.AuditQuery{Before: before, Limit: pageSize + 1})
	if err != nil {
		return err
	}
	var view auditView
	if len(found) > pageSize {
		found = found[:pageSize]
		view.Next = "/audit?before=" + strconv.FormatInt(found[pageSize-1].ID, 10)
	}
	view.Entries = found
	return c.page(v, http.StatusOK, "audit", "Audit", "/audit", view)
}
