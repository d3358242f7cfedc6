package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// streamKey is where an operation's metadata says that it reads its body itself.
const streamKey = "bugle.stream"

// AdminSuppression says that a user must not be sent to.
type AdminSuppression struct {
	User   string     `json:"user" example:"ann"`
	Reason string     `json:"reason" enum:"self_exclusion,cool_off,account_closed,jurisdiction"`
	Class  string     `json:"class" enum:"marketing,service,all" doc:"What it stops: marketing; service, and with it marketing; or all, transactional too."`
	From   *time.Time `json:"from" doc:"When it begins; null: it has always been so."`
	Until  *time.Time `json:"until" doc:"When it ends; null: never."`
	Note   string     `json:"note"`
	Active bool       `json:"active" doc:"Whether it counts now."`
	// Imported ones are not taken back here.
	Imported bool      `json:"imported" doc:"Whether suppressions.import has set it: it is on a list of its own, beside an operator's for the same user and reason, and only an import takes it back."`
	SetBy    string    `json:"set_by" doc:"Who said so last."`
	SetAt    time.Time `json:"set_at"`
}

// AdminSuppressionList is a page of suppressions.
type AdminSuppressionList struct {
	Suppressions []AdminSuppression `json:"suppressions" nullable:"false"`
	Next         string             `json:"next,omitempty" doc:"Ask again with after= this for the next page; absent at the end."`
}

// AdminSuppress asks that a user is not sent to.
type AdminSuppress struct {
	User   string     `json:"user" maxLength:"128" example:"ann"`
	Reason string     `json:"reason" enum:"self_exclusion,cool_off,account_closed,jurisdiction"`
	Class  string     `json:"class,omitempty" enum:"marketing,service,all" default:"service" doc:"What to stop: marketing (for jurisdiction only); service, and with it marketing; or all, transactional too."`
	From   *time.Time `json:"from,omitempty" nullable:"true" doc:"When it begins; without it, at once."`
	Until  *time.Time `json:"until,omitempty" nullable:"true" doc:"When it ends; without it, never."`
	Note   string     `json:"note,omitempty" maxLength:"500"`
	// Shorten is not part of the suppression.
	Shorten bool `json:"shorten,omitempty" doc:"That it may end earlier, begin later or stop less than the user's suppression for the same reason that is in force. Without it, that is a 409."`
}

// AdminImport says what an import did.
type AdminImport struct {
	Lines     int `json:"lines" doc:"How many suppressions were read."`
	Changed   int `json:"changed" doc:"How many of them were written."`
	Unchanged int `json:"unchanged" doc:"How many said what the list said already."`
	// Kept and KeptLines are among the others.
	Kept      int   `json:"kept" doc:"How many said less than what is in force: of the two the earlier beginning, the later end and the stricter class hold. They are counted among the others."`
	KeptLines []int `json:"kept_lines,omitempty" doc:"The first hundred lines that did."`
}

type (
	suppressionsInput struct {
		Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"The most entries to answer."`
		User   string `query:"user" maxLength:"128" doc:"Only this user's."`
		Reason string `query:"reason" enum:"self_exclusion,cool_off,account_closed,jurisdiction" doc:"Only those for this reason."`
		After  string `query:"after" maxLength:"512" doc:"The next of the page before."`
	}
	suppressInput   struct{ Body AdminSuppress }
	unsuppressInput struct {
		User   string `query:"user" required:"true" maxLength:"128"`
		Reason string `query:"reason" required:"true" enum:"self_exclusion,cool_off,account_closed,jurisdiction"`
	}
	suppressionExportInput struct {
		User   string `query:"user" maxLength:"128" doc:"Only this user's."`
		Reason string `query:"reason" enum:"self_exclusion,cool_off,account_closed,jurisdiction" doc:"Only those for this reason."`
		Format string `query:"format" enum:"csv,ndjson" default:"csv"`
	}
	suppressionImportInput struct{ stream streamed }

	suppressionsOutput      struct{ Body AdminSuppressionList }
	suppressionOutput       struct{ Body AdminSuppression }
	suppressionImportOutput struct{ Body AdminImport }
)

// streamed is the body of a request that is worked on while it arrives.
type streamed struct {
	body   io.Reader
	format notifier.SuppressionFormat
}

// Resolve takes the body from the request before huma would.
func (in *suppressionImportInput) Resolve(hctx huma.Context) []error {
	r, w := humachi.Unwrap(hctx)
	if values := r.Header.Values("Content-Type"); len(values) == 1 {
		media, _, err := mime.ParseMediaType(values[0])
		switch {
		case err == nil && media == "text/csv":
			in.stream.format = notifier.SuppressionCSV
		case err == nil && media == "application/x-ndjson":
			in.stream.format = notifier.SuppressionNDJSON
		}
	}
	end, _ := hctx.Context().Deadline() // bound has set one
	in.stream.body = PatientBody(w, r.Body, end)
	return nil
}

func (a *adminServer) registerSuppressions(api huma.API) {
	tags := []string{"suppressions"}
	const path = "/admin/v1/suppressions"
	handle(a.server, api, huma.Operation{
		OperationID: "list-suppressions", Method: http.MethodGet, Path: path, Tags: tags,
		Summary: "List who must not be sent to, by user and reason",
	}, a.listSuppressions)
	handle(a.server, api, huma.Operation{
		OperationID: "put-suppression", Method: http.MethodPut, Path: path, Tags: tags,
		Summary: "Suppress a user",
		Description: "In the place of the user's suppression for the same reason. One that would stop less than what is in force is refused (409) unless the body has shorten: true. From the answer on, no replica begins a send that it forbids " +
			"within more than a second. What it stops is in the audit.",
	}, a.putSuppression)
	handle(a.server, api, huma.Operation{
		OperationID: "delete-suppression", Method: http.MethodDelete, Path: path, Tags: tags,
		Summary: "Take a suppression back", DefaultStatus: http.StatusNoContent,
		Description: "What it has stopped stays stopped. 404 when there is none.",
	}, a.deleteSuppression)
	imported := lasting(huma.Operation{
		OperationID: "import-suppressions", Method: http.MethodPost, Path: path + "/import", Tags: tags,
		Summary: "Suppress many users",
		Description: "text/csv with a header (user, reason, class, from, until, note), or application/x-ndjson with the same members. Read as it arrives, " +
			"in chunks of 1000 lines: each is set as a whole, or left out when one of its lines is wrong. Two lines for the same user and reason must say the same. 400 names the wrong lines and says " +
			"how many are in the list all the same. Nobody is taken off the list, and nobody's suppression is shortened: a line that says less than what is in force keeps the longer (kept).",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"text/csv": {}, "application/x-ndjson": {}}},
	}, importTimeout)
	imported.Metadata[streamKey] = true
	handle(a.server, api, imported, a.importSuppressions)
	handle(a.server, api, lasting(huma.Operation{
		OperationID: "export-suppressions", Method: http.MethodGet, Path: path + "/export", Tags: tags,
		Summary:     "Export who must not be sent to",
		Description: "As an import reads it. It is in the audit, with the filter and how many there were, before anything is handed out. An export that is cut off ends without its closing chunk.",
	}, exportTimeout), a.exportSuppressions)
}

func (a *adminServer) listSuppressions(ctx context.Context, in *suppressionsInput) (*suppressionsOutput, error) {
	q := notifier.SuppressionQuery{User: devices.UserID(in.User), Reason: notifier.Reason(in.Reason), Limit: in.Limit + 1}
	if in.After != "" {
		var c suppressionCursor
		if err := decodeCursor(in.After, &c); err != nil {
			return nil, err
		}
		q.After = &notifier.SuppressionKey{User: devices.UserID(c.User), Reason: notifier.Reason(c.Reason), Imported: c.Imported}
	}
	found, err := a.Suppressions.Suppressions(ctx, q)
	if err != nil {
		return nil, err
	}
	found, more := page(found, in.Limit)
	out := &suppressionsOutput{Body: AdminSuppressionList{Suppressions: make([]AdminSuppression, 0, len(found))}}
	for _, s := range found {
		out.Body.Suppressions = append(out.Body.Suppressions, adminSuppressionOf(s))
	}
	if more {
		last := found[len(found)-1]
		out.Body.Next = encodeCursor(suppressionCursor{User: string(last.User), Reason: string(last.Reason), Imported: last.Imported})
	}
	return out, nil
}

func (a *adminServer) putSuppression(ctx context.Context, in *suppressInput) (*suppressionOutput, error) {
	s := notifier.Suppression{
		User: devices.UserID(in.Body.User), Reason: notifier.Reason(in.Body.Reason), Class: notifier.SuppressionClass(in.Body.Class), Note: in.Body.Note,
	}
	if in.Body.From != nil {
		s.From = *in.Body.From
	}
	if in.Body.Until != nil {
		s.Until = *in.Body.Until
	}
	how := notifier.RefuseShorter
	if in.Body.Shorten {
		how = notifier.AllowShorter
	}
	if _, err := a.Suppressions.Suppress(ctx, actorOf(ctx), []notifier.Suppression{s}, how); err != nil {
		return nil, within("body", err)
	}
	now, err := a.Suppressions.Suppressions(ctx, notifier.SuppressionQuery{User: s.User, Reason: s.Reason, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(now) == 0 {
		return nil, notifier.ErrUnknownSuppression // somebody else has taken it back since
	}
	return &suppressionOutput{Body: adminSuppressionOf(now[0])}, nil
}

func (a *adminServer) deleteSuppression(ctx context.Context, in *unsuppressInput) (*struct{}, error) {
	return nil, a.Suppressions.Unsuppress(ctx, actorOf(ctx), notifier.SuppressionKey{User: devices.UserID(in.User), Reason: notifier.Reason(in.Reason)})
}

func (a *adminServer) importSuppressions(ctx context.Context, in *suppressionImportInput) (*suppressionImportOutput, error) {
	if in.stream.format == "" {
		return nil, newProblem(ctx, http.StatusUnsupportedMediaType, "Content-Type must be text/csv or application/x-ndjson")
	}
	report, err := notifier.ImportSuppressions(ctx, a.Suppressions, actorOf(ctx), in.stream.body, in.stream.format)
	told := fmt.Sprintf("of %d lines %d are in the list now", report.Lines, report.Changed+report.Unchanged)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, newProblem(ctx, http.StatusBadRequest, "the body broke off: "+told)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return nil, fault.Wrap(f.Kind, err, f.Message+": "+told)
	}
	if err != nil {
		return nil, err
	}
	if report.Wrong > 0 {
		fields := make([]fault.Field, len(report.Errors))
		for i, e := range report.Errors {
			fields[i] = fault.Field{Path: fmt.Sprintf("line %d", e.Line), Message: e.Message}
		}
		return nil, fault.InvalidFields(fmt.Sprintf("%d lines are wrong, and nothing of their chunks of 1000 lines was taken: %s", report.Wrong, told), fields...)
	}
	return &suppressionImportOutput{Body: AdminImport{
		Lines: report.Lines, Changed: report.Changed, Unchanged: report.Unchanged, Kept: report.Kept, KeptLines: report.KeptLines,
	}}, nil
}

func (a *adminServer) exportSuppressions(ctx context.Context, in *suppressionExportInput) (*huma.StreamResponse, error) {
	format, media := notifier.SuppressionCSV, "text/csv; charset=utf-8"
	if in.Format == string(notifier.SuppressionNDJSON) {
		format, media = notifier.SuppressionNDJSON, "application/x-ndjson"
	}
	q := notifier.SuppressionQuery{User: devices.UserID(in.User), Reason: notifier.Reason(in.Reason)}
	export, err := ExportSuppressions(ctx, a.Suppressions, actorOf(ctx), q, format)
	if err != nil {
		return nil, err
	}
	return a.exported(ctx, media, export), nil
}

func adminSuppressionOf(s notifier.Suppression) AdminSuppression {
	return AdminSuppression{
		User: string(s.User), Reason: string(s.Reason), Class: string(s.Class), From: optionalTime(s.From), Until: optionalTime(s.Until),
		Note: s.Note, Active: s.ActiveAt(time.Now()), Imported: s.Imported, SetBy: s.SetBy, SetAt: s.SetAt,
	}
}
