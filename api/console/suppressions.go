package console

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

const (
	// uploadLimit bounds an upload, in bytes: some hundred thousand lines. The admin API takes more.
	uploadLimit = 32 << 20
	// uploadSniffed is how far its format is looked for.
	uploadSniffed = 512
)

// suppressionsView is a page of the list.
type suppressionsView struct {
	User, Reason string
	Filtered     bool
	Reasons      []notifier.Reason
	Suppressions []suppressionView
	// Import is what an upload came to that had wrong lines; nil without one.
	Import *notifier.ImportReport
	Next   string
}

func (c *Console) suppressions(v *visit) error { return c.suppressionsPage(v, nil) }

func (c *Console) suppressionsPage(v *visit, report *notifier.ImportReport) error {
	query := v.r.URL.Query()
	view := suppressionsView{User: query.Get("user"), Reason: query.Get("reason"), Reasons: notifier.SuppressionReasons(), Import: report}
	if !slices.Contains(view.Reasons, notifier.Reason(view.Reason)) {
		view.Reason = ""
	}
	q := notifier.SuppressionQuery{User: devices.UserID(view.User), Reason: notifier.Reason(view.Reason), Limit: pageSize + 1}
	if query.Has("after_user") {
		q.After = &notifier.SuppressionKey{
			User: devices.UserID(query.Get("after_user")), Reason: notifier.Reason(query.Get("after_reason")), Imported: query.Get("after_imported") != "",
		}
	}
	found, err := c.Suppressions.Suppressions(v.ctx(), q)
	if err != nil {
		return err
	}
	kept := url.Values{}
	for name, text := range map[string]string{"user": view.User, "reason": view.Reason} {
		if text != "" {
			kept.Set(name, text)
		}
	}
	view.Filtered = len(kept) > 0
	if len(found) > pageSize {
		found = found[:pageSize]
		last := found[pageSize-1]
		kept.Set("after_user", string(last.User))
		kept.Set("after_reason", string(last.Reason))
		if last.Imported {
			kept.Set("after_imported", "yes")
		}
		view.Next = "/suppressions?" + kept.Encode()
	}
	view.Suppressions = suppressionsOf(found)
	return c.page(v, http.StatusOK, "suppressions", "Suppressions", "/suppressions", view)
}

// exportSuppressions hands out whom the filter names, as an import reads it. It is
// audited, so that it takes a form.
func (c *Console) exportSuppressions(v *visit) error {
	format, media, name := notifier.SuppressionCSV, "text/csv; charset=utf-8", "bugle-suppressions.csv"
	form := v.r.PostForm
	if form.Get("format") == string(notifier.SuppressionNDJSON) {
		format, media, name = notifier.SuppressionNDJSON, "application/x-ndjson", "bugle-suppressions.ndjson"
	}
	q := notifier.SuppressionQuery{User: devices.UserID(form.Get("user")), Reason: notifier.Reason(form.Get("reason"))}
	export, err := api.ExportSuppressions(v.ctx(), c.Suppressions, v.by, q, format)
	if err != nil {
		return err
	}
	c.handOut(v, media, name, export)
	return nil
}

// importSuppressions reads an upload as it arrives: nothing of it is kept but
// what a chunk of lines needs.
func (c *Console) importSuppressions(v *visit) error {
	report, err := c.readUpload(v)
	told := fmt.Sprintf("Of %s %d are in the list now.", plural(int64(report.Lines), "line", "lines"), report.Changed+report.Unchanged)
	switch {
	case err != nil:
		if f, ok := errors.AsType[*fault.Error](err); ok {
			err = fault.InvalidFields(f.Message+". "+told, fault.Field{Path: "file", Message: f.Message})
		}
	case report.Wrong > 0:
		err = fault.InvalidFields(fmt.Sprintf("%s wrong, and nothing of the 1000 lines around each was taken. %s",
			plural(int64(report.Wrong), "line is", "lines are"), told), fault.Field{Path: "file", Message: "has wrong lines: see the list"})
	case report.Lines == 0:
		err = fault.InvalidFields("nothing was imported", fault.Field{Path: "file", Message: "has no line with a suppression"})
	default:
		told = fmt.Sprintf("%s, %d of them new or changed.", told[:len(told)-1], report.Changed)
		if report.Kept > 0 {
			told += fmt.Sprintf(" %s less than what is in force, of which the longer was kept: %s.",
				plural(int64(report.Kept), "line says", "lines say"), linesOf(report))
		}
		return c.done(v, "/suppressions", told, nil)
	}
	v.r.PostForm = url.Values{"file": {""}}
	return c.again(v, "import", "/suppressions", func(v *visit) error {
		if report.Wrong == 0 {
			return c.suppressionsPage(v, nil)
		}
		return c.suppressionsPage(v, &report)
	}, err)
}

// linesOf names the first lines of which the longer was kept.
func linesOf(report notifier.ImportReport) string {
	const named = 10
	var out []string
	for _, n := range report.KeptLines[:min(named, len(report.KeptLines))] {
		out = append(out, strconv.Itoa(n))
	}
	text := "line " + strings.Join(out, ", ")
	if report.Kept > named {
		text += " and others"
	}
	return text
}

// readUpload reads the file of a form whose proof came before it.
func (c *Console) readUpload(v *visit) (report notifier.ImportReport, err error) {
	file, err := nextPart(v, "file")
	if err == nil {
		text := bufio.NewReaderSize(file, uploadSniffed)
		report, err = notifier.ImportSuppressions(v.ctx(), c.Suppressions, v.by, text, formatOf(text))
	}
	if err == nil {
		return report, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return report, fault.Newf(fault.Invalid, "the file is larger than %d MiB: use the admin API", uploadLimit>>20)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, io.ErrUnexpectedEOF) {
		return report, fault.New(fault.Invalid, "the upload broke off")
	}
	return report, err
}

// formatOf looks at how a file begins: an object is NDJSON, all else CSV.
func formatOf(r *bufio.Reader) notifier.SuppressionFormat {
	head, _ := r.Peek(uploadSniffed) // a shorter file is a file
	for _, b := range head {
		switch b {
		case ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf:
			continue
		case '{':
			return notifier.SuppressionNDJSON
		}
		break
	}
	return notifier.SuppressionCSV
}

// nextPart is the next field of an upload, which must have that name.
func nextPart(v *visit, name string) (*multipart.Part, error) {
	part, err := v.parts.NextPart()
	if errors.Is(err, io.EOF) || err == nil && part.FormName() != name {
		return nil, fault.Newf(fault.Invalid, "the form has no %s where it must be", name)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the form cannot be read")
	}
	return part, nil
}
