package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/bugle-push/bugle/notifier"
)

// badRowsView is a page of rows that no notification could be made of.
type badRowsView struct {
	Rule    string
	BadRows []badRowView
	Next    string
}

type badRowView struct {
	notifier.BadRowRecord
	// Text is the row for reading.
	Text json.RawMessage
}

func (c *Console) badRows(v *visit) error {
	query := v.r.URL.Query()
	view := badRowsView{Rule: query.Get("rule")}
	q := notifier.BadRowQuery{Rule: view.Rule, Limit: pageSize + 1}
	at, err := number(v, "at")
	if err != nil {
		return err
	}
	if at > 0 {
		q.After = &notifier.BadRowCursor{FirstSeen: time.UnixMicro(at).UTC(), Rule: query.Get("after_rule"), Hash: query.Get("hash")}
	}
	found, err := c.BadRows.BadRows(v.ctx(), q)
	if err != nil {
		return err
	}
	if len(found) > pageSize {
		found = found[:pageSize]
		last := found[pageSize-1]
		more := url.Values{"at": {strconv.FormatInt(last.FirstSeen.UnixMicro(), 10)}, "after_rule": {last.Rule}, "hash": {last.Hash}}
		if view.Rule != "" {
			more.Set("rule", view.Rule)
		}
		view.Next = "/bad-rows?" + more.Encode()
	}
	for _, b := range found {
		text, err := rowText(b.Row)
		if err != nil {
			return err
		}
		view.BadRows = append(view.BadRows, badRowView{BadRowRecord: b, Text: text})
	}
	return c.page(v, http.StatusOK, "bad-rows", "Bad rows", "/runs", view)
}
