package console

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/fault"
)

// refusal is a form that was not accepted. Its page is shown again with what was
// typed, and each field with what is wrong with it.
type refusal struct {
	// Form names the form on its page.
	Form   string
	Status int
	// Why says it as a whole, in a line.
	Why   string
	Typed url.Values
	// Fields says what is wrong with a field, by its name.
	Fields map[string]string
}

// wrongField is what a page says below a field.
type wrongField struct{ ID, Text string }

// again shows the page at a path with the form that was refused there.
func (c *Console) again(v *visit, form, path string, show handler, err error) error {
	c.refused(v, form, v.r.PostForm, err)
	u, parseErr := url.Parse(path)
	if parseErr != nil {
		return parseErr
	}
	r := v.r.Clone(v.ctx())
	r.Method, r.URL = http.MethodGet, u
	v.r = r
	return show(v)
}

// refused keeps for the page why a form was not accepted.
func (c *Console) refused(v *visit, form string, typed url.Values, err error) {
	p := api.ProblemOf(v.ctx(), c.log, err)
	out := refusal{Form: form, Status: p.Status, Typed: typed, Fields: map[string]string{}}
	rest := *p
	rest.Errors = nil
	for _, f := range p.Errors {
		name := f.Path[strings.LastIndexByte(f.Path, '.')+1:]
		if typed.Has(name) {
			out.Fields[name] = f.Message
			continue
		}
		rest.Errors = append(rest.Errors, f)
	}
	out.Why = sentence(why(&rest))
	v.refusal = &out
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return text
	}
	text = string(unicode.ToUpper(first)) + text[size:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// wrongForm is a fault of one field of a form.
func wrongForm(field, message string) error {
	return fault.InvalidFields("the form is not valid", fault.Field{Path: field, Message: message})
}

// Typed is what stands in a field: what was typed when the form was refused, and
// else what the page has for it.
func (f frame) Typed(form, field, other string) string {
	if f.Refusal != nil && f.Refusal.Form == form && f.Refusal.Typed.Has(field) {
		return f.Refusal.Typed.Get(field)
	}
	return other
}

// Refused tells whether a form was refused.
func (f frame) Refused(form string) bool { return f.Refusal != nil && f.Refusal.Form == form }

// Wrong is what is wrong with a field; nil when nothing is.
func (f frame) Wrong(form, field string) *wrongField {
	if !f.Refused(form) || f.Refusal.Fields[field] == "" {
		return nil
	}
	return &wrongField{ID: form + "-" + field + "-wrong", Text: f.Refusal.Fields[field]}
}
