package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/notifier"
)

// exportPage is how many entries an export reads at once.
const exportPage = 500

// Export writes a whole list, a page after the other. It returns an error when the
// list cannot be read any further: what was written must then not look like all of
// it. That the reader has gone is no error.
type Export func(w io.Writer) error

// ExportAudit reads the first page of what the filter chooses, behind an id and
// oldest first, so that a failure can still be told by the status of an answer. The
// Export writes an entry on each line, as JSON.
func ExportAudit(ctx context.Context, audit AuditReader, filter notifier.AuditFilter, after int64) (Export, error) {
	q := notifier.AuditQuery{AuditFilter: filter, After: after, Forward: true, Limit: exportPage}
	found, err := audit.Audit(ctx, q)
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) (err error) {
		lines := json.NewEncoder(w)
		for {
			for _, e := range found {
				if lines.Encode(auditEntryOf(e)) != nil {
					return nil
				}
				q.After = e.ID
			}
			if len(found) < exportPage {
				return nil
			}
			if found, err = audit.Audit(ctx, q); err != nil {
				return err
			}
		}
	}, nil
}

// ExportSuppressions writes into the audit that whom the query names is handed out,
// and reads the first page of that, as ExportAudit does. The Export writes what an
// import reads.
func ExportSuppressions(
	ctx context.Context, list notifier.Suppressions, by notifier.Actor, q notifier.SuppressionQuery, format notifier.SuppressionFormat,
) (Export, error) {
	q.Limit, q.After = exportPage, nil
	if err := list.NoteExport(ctx, by, q); err != nil {
		return nil, err
	}
	found, err := list.Suppressions(ctx, q)
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) (err error) {
		for first := true; ; first = false {
			if notifier.WriteSuppressions(w, format, first, found) != nil || len(found) < exportPage {
				return nil
			}
			last := found[len(found)-1].Key()
			q.After = &last
			if found, err = list.Suppressions(ctx, q); err != nil {
				return err
			}
		}
	}, nil
}

// exported answers with an export.
func (s *server) exported(ctx context.Context, media string, export Export) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		hctx.SetHeader("Content-Type", media)
		hctx.SetStatus(http.StatusOK)
		if err := export(hctx.BodyWriter()); err != nil {
			_ = problemOf(ctx, s.log, err) // logs it; there is nobody to answer to
			panic(http.ErrAbortHandler)    // half an export must not look like a whole one
		}
	}}
}
