package notifier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"text/template/parse"
	"time"

	"golang.org/x/text/language"
)

// textKind says what becomes of a rendered text.
type textKind uint8

const (
	kindTitle textKind = iota // one line
	kindBody                  // may have lines
	kindLink                  // values are escaped as parts of a URL
	kindData                  // passed to the app as it is
)

// The names by which every printed value is wrapped. They cannot be written in
// a template: the compiler allows the functions of TemplateFunctions only.
const (
	printWords = "_print_words"
	printText  = "_print_text"
	printLink  = "_print_link"
)

// TemplateFunctions returns the names of the functions that a text may use, sorted.
func TemplateFunctions() []string {
	names := slices.Collect(maps.Keys(new(renderEnv).functions()))
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "_") })
	names = append(names, "and", "or", "not", "eq", "ne") // text/template's own
	slices.Sort(names)
	return names
}

// textSet holds every template of a rule. Templates are parsed once; a render
// borrows a copy whose functions are bound to its own environment, since
// text/template has no other way to tell a function whose zone it works in.
type textSet struct {
	root  *template.Template
	names []string
	kinds []textKind
	zones *zones
	pool  sync.Pool // of *renderer
}

// textID is an index into a textSet; noText stands for a text that is not there.
type textID int

const noText textID = -1

type renderer struct {
	env       renderEnv
	templates []*template.Template
	out       bytes.Buffer
}

func newTextSet(rule string, z *zones) *textSet {
	s := &textSet{zones: z}
	s.root = template.New(rule).Option("missingkey=error").Funcs(new(renderEnv).functions())
	return s
}

// add parses one text. The path names it in errors.
func (s *textSet) add(path string, kind textKind, text string) (textID, error) {
	// Parsed apart, so that a text cannot redefine another one.
	t, err := template.New(path).Funcs(new(renderEnv).functions()).Parse(text)
	if err != nil {
		return noText, errors.New(trimTemplateError(err.Error(), path))
	}
	if t.Tree == nil || len(t.Templates()) > 1 {
		return noText, errStatements
	}
	w := treeWalker{allowed: TemplateFunctions(), printer: printWords}
	switch kind {
	case kindLink:
		w.printer = printLink
	case kindData:
		w.printer = printText
	case kindTitle, kindBody: // read by people
	}
	if err := w.list(t.Root); err != nil {
		return noText, err
	}
	if _, err := s.root.AddParseTree(path, t.Tree); err != nil {
		return noText, err
	}
	s.names = append(s.names, path)
	s.kinds = append(s.kinds, kind)
	return textID(len(s.names) - 1), nil
}

func (s *textSet) borrow() (*renderer, error) {
	if r, ok := s.pool.Get().(*renderer); ok {
		return r, nil
	}
	root, err := s.root.Clone()
	if err != nil {
		return nil, fmt.Errorf("clone templates: %w", err)
	}
	r := &renderer{}
	r.env.zones = s.zones
	root.Funcs(r.env.functions())
	for _, name := range s.names {
		r.templates = append(r.templates, root.Lookup(name))
	}
	return r, nil
}

// render executes one text. The error names its path and never its outcome.
func (s *textSet) render(r *renderer, id textID, row Row) (string, error) {
	r.out.Reset()
	if err := r.templates[id].Execute(&r.out, map[string]any(row)); err != nil {
		return "", fmt.Errorf("%s: %s", s.names[id], trimTemplateError(err.Error(), s.names[id]))
	}
	text := strings.ToValidUTF8(r.out.String(), "\uFFFD")
	switch s.kinds[id] {
	case kindTitle:
		text = cutRunes(oneLine(text), MaxTitleRunes)
		if text == "" {
			return "", fmt.Errorf("%s: the title is empty", s.names[id])
		}
	case kindBody:
		text = cutRunes(cleanLines(text), MaxBodyRunes)
	case kindLink:
		text = strings.TrimSpace(text)
		if err := checkLink(text); err != nil {
			return "", fmt.Errorf("%s: %w", s.names[id], err)
		}
	case kindData:
		text = strings.TrimSpace(text)
		if len(text) > MaxDataBytes {
			return "", fmt.Errorf("%s: longer than %d bytes", s.names[id], MaxDataBytes)
		}
	}
	return text, nil
}

// trimTemplateError drops what text/template puts before the message and the
// reader knows already: `line 1:3: at <.runner>: map has no entry for key "runner"`.
func trimTemplateError(text, path string) string {
	text = strings.TrimPrefix(text, "template: ")
	if place, ok := strings.CutPrefix(text, path+":"); ok {
		text = "line " + place
	}
	return strings.NewReplacer(
		fmt.Sprintf("executing %q ", path), "",
		"at <"+printWords+">: error calling "+printWords+": ", "the value ",
		"at <"+printText+">: error calling "+printText+": ", "the value ",
		"at <"+printLink+">: error calling "+printLink+": ", "the value ",
	).Replace(text)
}

// renderEnv is what the functions of one render know beside their arguments.
type renderEnv struct {
	now    time.Time
	locale language.Tag
	rtl    bool // the text runs from right to left
	zone   string
	zones  *zones
}

func (e *renderEnv) functions() template.FuncMap {
	return template.FuncMap{
		"money":     func(amount, code any) (string, error) { return formatMoney(amount, code, e.locale) },
		"odds":      formatOdds,
		"localtime": e.localTime,
		"minutes":   e.minutes,
		"upper":     func(v any) (string, error) { return mapPrinted(v, strings.ToUpper) },
		"lower":     func(v any) (string, error) { return mapPrinted(v, strings.ToLower) },
		"url":       wholeURL,
		printWords:  e.printedInWords,
		printText:   printed,
		printLink:   printedInLink,
	}
}

// localTime is the time of day in the device's zone, written as its language
// does. A device without a known zone gets UTC and is told so. A moment that is farther away than half a day has its
// date in front: a postponed race is not always one of today.
func (e *renderEnv) localTime(v any) (string, error) {
	t, err := timeValue(v)
	if err != nil {
		return "", err
	}
	zone, ok := e.zones.load(e.zone)
	t = t.In(zone)
	text := clockOf(e.locale).format(t)
	if away := t.Sub(e.now).Abs(); away > 12*time.Hour {
		text = t.Format(time.DateOnly) + " " + text // the one order of day and month that nobody misreads
	}
	text = localDigits(text, e.locale)
	if !ok {
		text += " UTC"
	}
	return text, nil
}

// minutes is the time left in whole minutes, rounded; 1 as long as anything is
// left and 0 after that.
func (e *renderEnv) minutes(v any) (string, error) {
	t, err := timeValue(v)
	if err != nil {
		return "", err
	}
	left := t.Sub(e.now)
	n := int64(0)
	if left > 0 {
		n = max(1, int64(math.Round(left.Minutes())))
	}
	return localDigits(strconv.FormatInt(n, 10), e.locale) + minuteUnit(e.locale), nil
}

// rawURL is a URL that its rule declared whole: it is not escaped again.
type rawURL string

// wholeURL lets a column hold the complete link.
func wholeURL(v any) (rawURL, error) {
	s, ok := v.(string)
	if !ok || s == "" {
		return "", errors.New("the URL is null, empty or no text")
	}
	return rawURL(s), nil
}

var errPrintNull = errors.New("is null")

// printed is how a value stands in a text. Null is an error, because a text
// with a hole in it must not reach anybody; `or` and `if` deal with columns
// that may be null.
func printed(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", errPrintNull
	case string:
		return v, nil
	case rawURL:
		return string(v), nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	if text, ok := numberText(v); ok {
		return text, nil
	}
	return "", errors.New("is a list or a structure")
}

// printedInWords is how a value stands in a title or body.
func (e *renderEnv) printedInWords(v any) (string, error) {
	text, err := printed(v)
	if err != nil {
		return "", err
	}
	return isolate(text, e.rtl), nil
}

// printedInLink escapes a value such that it stays in its place, be that a
// segment of a path or a value of a query.
func printedInLink(v any) (string, error) {
	if u, ok := v.(rawURL); ok {
		return string(u), nil
	}
	text, err := printed(v)
	if err != nil {
		return "", err
	}
	// QueryEscape writes a space as "+", which means a plus sign in a path.
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), nil
}

func mapPrinted(v any, f func(string) string) (string, error) {
	text, err := printed(v)
	if err != nil {
		return "", err
	}
	return f(text), nil
}

// errStatements: range could run for ever ({{range 1000000000}}), and templates can call themselves.
var errStatements = errors.New("only if, else, with and variables are available: no range, template, define or block")

// treeWalker allows the small language that a text needs and makes every
// printed value go through the printer.
type treeWalker struct {
	allowed []string
	printer string
}

func (w treeWalker) list(l *parse.ListNode) error {
	if l == nil {
		return nil
	}
	for _, n := range l.Nodes {
		if err := w.node(n); err != nil {
			return err
		}
	}
	return nil
}

func (w treeWalker) node(n parse.Node) error {
	switch n := n.(type) {
	case *parse.TextNode, *parse.CommentNode:
		return nil
	case *parse.ActionNode:
		if err := w.pipe(n.Pipe); err != nil {
			return err
		}
		if len(n.Pipe.Decl) == 0 {
			n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{
				NodeType: parse.NodeCommand, Pos: n.Pos,
				Args: []parse.Node{parse.NewIdentifier(w.printer).SetPos(n.Pos)},
			})
		}
		return nil
	case *parse.IfNode:
		return w.branch(&n.BranchNode)
	case *parse.WithNode:
		return w.branch(&n.BranchNode)
	default:
		return errStatements
	}
}

func (w treeWalker) branch(b *parse.BranchNode) error {
	if err := w.pipe(b.Pipe); err != nil {
		return err
	}
	if err := w.list(b.List); err != nil {
		return err
	}
	return w.list(b.ElseList)
}

func (w treeWalker) pipe(p *parse.PipeNode) error {
	for _, c := range p.Cmds {
		for _, arg := range c.Args {
			if err := w.arg(arg); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w treeWalker) arg(n parse.Node) error {
	switch n := n.(type) {
	case *parse.IdentifierNode:
		if !slices.Contains(w.allowed, n.Ident) {
			return fmt.Errorf("function %q not defined: there are %s", n.Ident, strings.Join(w.allowed, ", "))
		}
	case *parse.PipeNode:
		return w.pipe(n)
	case *parse.ChainNode:
		return w.arg(n.Node)
	}
	return nil
}
