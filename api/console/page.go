package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

//go:embed templates/*.html templates/pages/*.html
var templateFiles embed.FS

// pageTemplate is a page with the layout around it.
type pageTemplate struct{ *template.Template }

// frame is what the layout shows around a page.
type frame struct {
	Title string
	// Here is the path of the part of the console that the page belongs to.
	Here string
	// Actor is who is signed in; empty on the sign-in.
	Actor string
	// Proof goes into every form.
	Proof   string
	Version string
	Notices []notice
	// Refusal is the form that this page refuses; nil for none.
	Refusal *refusal
	Now     time.Time
	Body    any
}

// problemView is the page of an error.
type problemView struct {
	Status                   int
	Title, Detail, RequestID string
	Fields                   []api.ProblemField
	// Back is the page whose form was refused as a whole; empty for none.
	Back string
}

// link is one entry of the navigation.
type link struct{ Path, Name string }

// parsePages reads every page of templates/pages.
func parsePages(assets map[string]asset, nav []link) (map[string]pageTemplate, error) {
	base, err := template.New("layout").Funcs(template.FuncMap{
		"asset":     func(name string) string { return "/assets/" + name + "?v=" + assets[name].version },
		"nav":       func() []link { return nav },
		"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"stamp":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"rel":       func(t time.Time) string { return relative(time.Until(t)) },
		"span":      span,
		"count":     grouped,
		"tone":      tone,
		"pathseg":   url.PathEscape,
		"pretty":    pretty,
		"dict":      dict,
		"firstline": firstLine,
		"delay":     delayOf,
		"plural":    plural,
		"runes":     func(s string) int64 { return int64(utf8.RuneCountInString(s)) },
		"len64":     func(ids []devices.ID) int64 { return int64(len(ids)) },
		"subject":   subjectPath,
	}).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("parse templates: %w", err)
	}
	files, err := templateFiles.ReadDir("templates/pages")
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	out := map[string]pageTemplate{}
	for _, f := range files {
		page, err := base.Clone()
		if err == nil {
			page, err = page.ParseFS(templateFiles, "templates/pages/"+f.Name())
		}
		if err != nil {
			return nil, fmt.Errorf("parse template %s: %w", f.Name(), err)
		}
		out[strings.TrimSuffix(f.Name(), ".html")] = pageTemplate{page}
	}
	return out, nil
}

// navigation lists the parts of the console.
func navigation(presence bool) []link {
	out := []link{
		{"/", "Overview"},
		{"/rules", "Rules"},
		{"/runs", "Runs"},
		{"/deliveries", "Deliveries"},
		{"/users", "Users"},
		{"/suppressions", "Suppressions"},
		{"/push", "Test push"},
		{"/audit", "Audit"},
	}
	if presence {
		out = append(out, link{"/presence", "Presence"})
	}
	return out
}

// page answers with a page for the operator.
func (c *Console) page(v *visit, status int, name, title, here string, body any) error {
	f := frame{Title: title, Here: here, Actor: v.by.Name, Proof: v.proof, Notices: c.sessions.told(v.secret), Refusal: v.refusal, Body: body}
	if v.refusal != nil {
		status = v.refusal.Status
		f.Notices = append(f.Notices, notice{Bad: true, Unsure: v.refusal.Status >= http.StatusInternalServerError, Text: v.refusal.Why})
	}
	c.render(v.w, v.r, status, name, f)
	return nil
}

// render writes a page, or nothing of it when it cannot be made: half a page
// must not look like a whole one.
func (c *Console) render(w http.ResponseWriter, r *http.Request, status int, name string, f frame) {
	c.execute(w, r, status, name, "layout", f)
}

func (c *Console) execute(w http.ResponseWriter, r *http.Request, status int, name, part string, f frame) {
	f.Version, f.Now = c.version, time.Now()
	var buf bytes.Buffer
	if err := c.pages[name].ExecuteTemplate(&buf, part, f); err != nil {
		c.log.Error().Err(err).Str("request_id", api.RequestID(r.Context())).Msg("page not rendered")
		http.Error(w, "Something went wrong here; the request id leads to the cause in the log: "+api.RequestID(r.Context()), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // an error means that the browser has gone
}

// problem answers with the page of an error.
func (c *Console) problem(v *visit, err error) {
	p := api.ProblemOf(v.r.Context(), c.log, err)
	view := problemView{Status: p.Status, Title: p.Title, Detail: p.Detail, RequestID: p.Instance, Fields: p.Errors}
	if v.r.Method == http.MethodPost && p.Status == http.StatusForbidden {
		view.Back = pageOf(v.r)
	}
	_ = c.page(v, p.Status, "problem", p.Title, "", view) // it never fails
}

// done sends the operator from a form back to a page that tells what was done,
// or why not. The page is loaded with GET, so that loading it again does nothing.
func (c *Console) done(v *visit, to, told string, err error) error {
	n := notice{Text: told}
	if err != nil {
		p := api.ProblemOf(v.r.Context(), c.log, err)
		// What broke off on our side may have been written down before.
		n = notice{Bad: true, Unsure: p.Status >= http.StatusInternalServerError, Text: sentence(why(p))}
	}
	c.sessions.tell(v.secret, n)
	http.Redirect(v.w, v.r, to, http.StatusSeeOther) //nolint:gosec // a path of ours, with what was sent escaped
	return nil
}

// number reads a number of the query, 0 when it is not there.
func number(v *visit, name string) (int64, error) {
	text := v.r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	return parseID(text)
}

func parseID(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, fault.New(fault.NotFound, "an id is a number from 1 on")
	}
	return n, nil
}

// relative tells how far a moment is from now, roughly: "12 s ago", "in 3 min".
func relative(d time.Duration) string {
	if d.Abs() < 500*time.Millisecond {
		return "now"
	}
	if d < 0 {
		return span(-d) + " ago"
	}
	return "in " + span(d)
}

// span tells a duration roughly.
func span(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < 120*time.Second:
		return strconv.Itoa(int(math.Round(d.Seconds()))) + " s"
	case d < 120*time.Minute:
		return strconv.Itoa(int(math.Round(d.Minutes()))) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(math.Round(d.Hours()))) + " h"
	}
	return strconv.Itoa(int(math.Round(d.Hours()/24))) + " d"
}

// grouped writes a number with narrow spaces between thousands.
func grouped(v any) (string, error) {
	var n int64
	switch v := v.(type) {
	case int:
		n = int64(v)
	case int64:
		n = v
	case float64:
		n = int64(math.Round(v))
	default:
		return "", fmt.Errorf("count of a %T", v)
	}
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits, nil
}

// tone is the colour of a state; the word itself always stands beside it.
func tone(state any) string {
	switch fmt.Sprint(state) {
	case "released", "sent", "active", "live", "ok", "passed":
		return "good"
	case "held", "paused", "shadow", "expired", "suppressed", "superseded", "retired", "unconfirmed", "waits", "retry", "unknown":
		return "warn"
	case "failed", "rejected", "gone", "blocked", "stopped":
		return "bad"
	}
	return "plain"
}

// pretty indents JSON for reading; what is none stays as it is.
func pretty(raw json.RawMessage) string {
	var buf bytes.Buffer
	if json.Indent(&buf, raw, "", "  ") != nil {
		return string(raw)
	}
	return buf.String()
}

// delayOf is a rule's delay; a dash where nothing of it was accepted lately.
func delayOf(delays map[string]float64, rule string) string {
	if d, ok := delays[rule]; ok {
		return duration.text(d)
	}
	return "–"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// dict hands several values to a part of a template.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict of %d values", len(pairs))
	}
	out := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict with a %T for a name", pairs[i])
		}
		out[name] = pairs[i+1]
	}
	return out, nil
}
