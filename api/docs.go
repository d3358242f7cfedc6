package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle string

// What the template of the docs page knows.
type (
	docsView struct {
		Title, Version, Description string
		Style                       template.CSS
		Groups                      []docsGroup
		Schemas                     []docsSchema
	}
	docsGroup struct {
		Name, Description string
		Operations        []docsOperation
	}
	docsOperation struct {
		ID, Method, Path, Summary, Description string
		Params                                 []docsField
		Body                                   *docsBody
		Answers                                []docsAnswer
	}
	docsBody struct {
		Type     docsType
		Examples []docsExample
	}
	docsAnswer struct {
		Status, Text string
		Success      bool
		Type         docsType
		Examples     []docsExample
	}
	docsExample struct{ Summary, JSON string }
	docsSchema  struct {
		Name   string
		Fields []docsField
	}
	docsField struct {
		Name, In, Bounds, Doc string
		Required              bool
		Type                  docsType
	}
	// docsType links to a schema when it is one.
	docsType struct{ Name, Link string }
)

// docsPage renders the document once, as a page that needs nothing else: no
// script, no font, no other host.
func docsPage(doc *huma.OpenAPI) (http.HandlerFunc, error) {
	page, err := template.New("docs").Parse(docsTemplate)
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	view, err := docsViewOf(doc)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := page.Execute(&buf, view); err != nil {
		return nil, fmt.Errorf("execute template: %w", err)
	}
	sum := sha256.Sum256([]byte(docsStyle))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		_, _ = w.Write(buf.Bytes())
	}, nil
}

func docsViewOf(doc *huma.OpenAPI) (docsView, error) {
	v := docsView{
		Title: doc.Info.Title, Version: doc.Info.Version, Description: doc.Info.Description,
		Style: template.CSS(docsStyle), //nolint:gosec // it is part of the binary
	}
	byTag := map[string][]docsOperation{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		item := doc.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post} {
			if op == nil {
				continue
			}
			shown, err := docsOperationOf(path, op)
			if err != nil {
				return v, fmt.Errorf("operation %s: %w", op.OperationID, err)
			}
			byTag[op.Tags[0]] = append(byTag[op.Tags[0]], shown)
		}
	}
	for _, tag := range doc.Tags {
		if len(byTag[tag.Name]) > 0 {
			v.Groups = append(v.Groups, docsGroup{Name: tag.Name, Description: tag.Description, Operations: byTag[tag.Name]})
		}
	}
	schemas := doc.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		s := schemas[name]
		shown := docsSchema{Name: name}
		for _, prop := range slices.Sorted(maps.Keys(s.Properties)) {
			shown.Fields = append(shown.Fields, docsFieldOf(prop, "", slices.Contains(s.Required, prop), s.Properties[prop]))
		}
		v.Schemas = append(v.Schemas, shown)
	}
	return v, nil
}

func docsOperationOf(path string, op *huma.Operation) (docsOperation, error) {
	out := docsOperation{ID: op.OperationID, Method: op.Method, Path: path, Summary: op.Summary, Description: op.Description}
	for _, p := range op.Parameters {
		f := docsFieldOf(p.Name, p.In, p.Required, p.Schema)
		f.Doc = cmp.Or(p.Description, f.Doc)
		out.Params = append(out.Params, f)
	}
	if op.RequestBody != nil {
		media := op.RequestBody.Content["application/json"]
		examples, err := docsExamplesOf(media.Examples)
		if err != nil {
			return out, err
		}
		out.Body = &docsBody{Type: docsTypeOf(media.Schema), Examples: examples}
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		a := docsAnswer{Status: status, Text: r.Description, Success: strings.HasPrefix(status, "2")}
		for _, media := range r.Content {
			examples, err := docsExamplesOf(media.Examples)
			if err != nil {
				return out, err
			}
			a.Type, a.Examples = docsTypeOf(media.Schema), examples
		}
		out.Answers = append(out.Answers, a)
	}
	return out, nil
}

func docsExamplesOf(examples map[string]*huma.Example) ([]docsExample, error) {
	out := make([]docsExample, 0, len(examples))
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false) // the template escapes
		enc.SetIndent("", "  ")
		if err := enc.Encode(examples[name].Value); err != nil {
			return nil, fmt.Errorf("encode example %s: %w", name, err)
		}
		out = append(out, docsExample{Summary: examples[name].Summary, JSON: strings.TrimSuffix(buf.String(), "\n")})
	}
	return out, nil
}

func docsFieldOf(name, in string, required bool, s *huma.Schema) docsField {
	f := docsField{Name: name, In: in, Required: required, Type: docsTypeOf(s), Doc: s.Description}
	var bounds []string
	if len(s.Enum) > 0 {
		values := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			values[i] = fmt.Sprint(v)
		}
		bounds = append(bounds, strings.Join(values, " | "))
	}
	if s.Minimum != nil && s.Maximum != nil {
		bounds = append(bounds, fmt.Sprintf("%g to %g", *s.Minimum, *s.Maximum))
	}
	if s.MaxLength != nil {
		bounds = append(bounds, fmt.Sprintf("at most %d characters", *s.MaxLength))
	}
	if s.Default != nil {
		bounds = append(bounds, fmt.Sprintf("default %v", s.Default))
	}
	f.Bounds = strings.Join(bounds, ", ")
	return f
}

func docsTypeOf(s *huma.Schema) docsType {
	if s == nil {
		return docsType{}
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return docsType{Name: name, Link: name}
	}
	switch {
	case s.Type == huma.TypeArray:
		item := docsTypeOf(s.Items)
		return docsType{Name: "array of " + item.Name, Link: item.Link}
	case s.Format != "" && s.Format != "int64":
		return docsType{Name: s.Type + " (" + s.Format + ")"}
	}
	return docsType{Name: s.Type}
}
