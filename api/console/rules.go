package console

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"
	"golang.org/x/text/language"

	"github.com/bugle-push/bugle/notifier"
)

const (
	// maxReason bounds an operator's reason, in characters, as the admin API does.
	maxReason = 500
	// rulesRuns is how many runs the page of a rule lists.
	rulesRuns = 12
)

// previewLimits are how many notifications a preview can be asked to render.
func previewLimits() []int { return []int{3, 10, 30} }

// ruleView is the page of a rule.
type ruleView struct {
	notifier.RuleStatus
	Runs []notifier.RunRecord
}

// previewView is what a rule would announce now.
type previewView struct {
	Rule *notifier.Rule
	// Back is how far the preview reads back; empty for what a tick would read now.
	Back    string
	Limit   int
	Limits  []int
	Preview notifier.Preview
	Mockups mockups
	Error   string
}

// mockups are notifications on phones, in one language.
type mockups struct {
	// Locales are the languages that there are; "" is the default text.
	Locales []string
	Locale  string
	Shown   []mockup
	// Path is where to ask for another language.
	Path  string
	Query url.Values
}

// mockup is one notification as it would be shown.
type mockup struct {
	notifier.PreviewNotification
	// Text is nil when the rule as it is now can make none.
	Text *notifier.Text
	// Default says that there is no text in the language that was asked for: devices
	// of that language get the default one.
	Default bool
}

// In is the address of the same page in another language.
func (m mockups) In(locale string) string {
	q := maps.Clone(m.Query)
	q.Set("locale", locale)
	return m.Path + "?" + q.Encode()
}

// Direction is how a phone of the language is read: "rtl" or "ltr".
func (m mockups) Direction() string {
	tag, err := language.Parse(m.Locale)
	if err != nil {
		return "ltr"
	}
	script, _ := tag.Script()
	if slices.Contains([]string{"Arab", "Hebr", "Thaa", "Syrc", "Nkoo", "Adlm", "Rohg"}, script.String()) {
		return "rtl"
	}
	return "ltr"
}

func mockupsOf(found []notifier.PreviewNotification, v *visit) mockups {
	m := mockups{Locale: v.r.URL.Query().Get("locale"), Path: v.r.URL.EscapedPath(), Query: v.r.URL.Query()}
	seen := map[string]bool{}
	for _, n := range found {
		for locale := range n.Texts {
			seen[locale] = true
		}
	}
	m.Locales = slices.Sorted(maps.Keys(seen))
	for _, n := range found {
		shown := mockup{PreviewNotification: n}
		text, ok := n.Texts[m.Locale]
		if !ok {
			text, ok = n.Texts[""]
			shown.Default = ok
		}
		if ok {
			shown.Text = &text
		}
		m.Shown = append(m.Shown, shown)
	}
	return m
}

// rulesRow is a rule of the list.
type rulesRow struct {
	notifier.RuleStatus
	// News is how much news this replica has found lately.
	News spark
	// Bars are the news of its last runs, by any replica.
	Bars runBars
}

func (c *Console) rules(v *visit) error {
	found, err := c.Rules.Rules(v.ctx())
	if err != nil {
		return err
	}
	news := c.history().perRule()
	rows := make([]rulesRow, 0, len(found))
	ids := make([]string, 0, len(found))
	for _, status := range found {
		ids = append(ids, status.Rule.ID)
	}
	runs, err := c.Runs.LastRuns(v.ctx(), ids, rulesRuns)
	if err != nil {
		return err
	}
	for _, status := range found {
		rows = append(rows, rulesRow{RuleStatus: status, News: news[status.Rule.ID], Bars: barsOf(runs[status.Rule.ID])})
	}
	return c.page(v, http.StatusOK, "rules", "Rules", "/rules", rows)
}

func (c *Console) rule(v *visit) error {
	id := ruleID(v)
	found, err := c.Rules.Rule(v.ctx(), id)
	if err != nil {
		return err
	}
	runs, err := c.Runs.Runs(v.ctx(), notifier.RunQuery{Rule: id, Limit: rulesRuns})
	if err != nil {
		return err
	}
	return c.page(v, http.StatusOK, "rule", id, "/rules", ruleView{RuleStatus: found, Runs: runs})
}

// preview shows what the rule would announce. That its query fails is an answer
// too, and stands on the page.
func (c *Console) preview(v *visit) error {
	id, query := ruleID(v), v.r.URL.Query()
	found, err := c.Rules.Rule(v.ctx(), id)
	if err != nil {
		return err
	}
	view := previewView{Rule: found.Rule, Back: query.Get("back"), Limits: previewLimits()}
	view.Limit, _ = strconv.Atoi(query.Get("limit"))
	if !slices.Contains(view.Limits, view.Limit) {
		view.Limit = view.Limits[0]
	}
	req := notifier.PreviewRequest{Limit: view.Limit}
	switch view.Back {
	case "1h":
		req.Since = time.Now().Add(-time.Hour)
	case "24h":
		req.Since = time.Now().Add(-24 * time.Hour)
	default:
		view.Back = ""
	}
	p := ask(c, v, func() (notifier.Preview, error) { return c.Rules.Preview(v.ctx(), id, req) })
	view.Preview, view.Error = p.Value, p.Unknown
	view.Mockups = mockupsOf(p.Value.Notifications, v)
	return c.page(v, http.StatusOK, "preview", "Preview of "+id, "/rules", view)
}

// ruleAction is a form on the page of a rule. What is told names the rule: the next page of the
// session may be that of another tab.
func (c *Console) ruleAction(do func(context.Context, notifier.Actor, string, string) (notifier.RuleStatus, error), told string) handler {
	return func(v *visit) error {
		id := ruleID(v)
		reason, err := reasonOf(v)
		if err == nil {
			_, err = do(v.ctx(), v.by, id, reason)
		}
		back := "/rules/" + url.PathEscape(id)
		if err != nil {
			return c.again(v, path.Base(v.r.URL.Path), back, c.rule, err)
		}
		return c.done(v, back, fmt.Sprintf(told, id), nil)
	}
}

// runRule runs a rule and shows the run, also one that failed.
func (c *Console) runRule(v *visit) error {
	id := ruleID(v)
	run, err := c.RuleControl.RunNow(v.ctx(), v.by, id)
	if err != nil {
		return c.done(v, "/rules/"+url.PathEscape(id), "", err)
	}
	return c.done(v, runPath(run.ID), id+" has run, out of turn.", nil)
}

// ruleID is the rule in the path. An escaped path comes as it was sent.
func ruleID(v *visit) string {
	id := chi.URLParam(v.r, "id")
	if plain, err := url.PathUnescape(id); err == nil {
		return plain
	}
	return id
}

// reasonOf is why the operator does what they do; it may be empty.
func reasonOf(v *visit) (string, error) {
	reason := v.r.PostForm.Get("reason")
	if !utf8.ValidString(reason) || utf8.RuneCountInString(reason) > maxReason {
		return "", wrongForm("reason", fmt.Sprintf("wants at most %d characters", maxReason))
	}
	return reason, nil
}

func runPath(id notifier.RunID) string {
	return "/runs/" + strconv.FormatInt(int64(id), 10)
}
