package notifier

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/bugle-push/bugle/internal/fault"
)

// CompileRules reads and checks rule files as one set. Either every rule is
// fit to run, or the error is a *fault.Error of kind Invalid whose Fields name
// everything that is wrong, each with its path ("rules[1].schedule"), behind
// the name of its source where that has one.
func CompileRules(sources ...RuleSource) (*RuleSet, error) {
	var (
		perSource []*problems
		compiled  []*compiler
		first     = map[string]string{} // id → where it stands
		z         = &zones{}
	)
	for _, src := range sources {
		p := &problems{source: src.Name}
		perSource = append(perSource, p)
		for i, y := range decodeSource(src, p).Rules {
			c := &compiler{yaml: y, path: fmt.Sprintf("rules[%d]", i), problems: p}
			c.compile(z)
			if at, dup := first[y.ID]; dup {
				c.addf("id", "%q is the id of %s already", y.ID, at)
				continue
			}
			if y.ID != "" {
				first[y.ID] = c.place()
			}
			compiled = append(compiled, c)
		}
	}
	byID := make(map[string]*compiler, len(compiled))
	rules := make([]*Rule, 0, len(compiled))
	for _, c := range compiled {
		byID[c.yaml.ID] = c
		rules = append(rules, c.rule)
	}
	for _, c := range compiled {
		c.follow(byID)
	}
	pair(rules)
	var fields []fault.Field
	for _, p := range perSource {
		fields = append(fields, p.fields...)
	}
	if len(fields) > 0 {
		return nil, fault.InvalidFields("the rules cannot be used", fields...)
	}
	return newRuleSet(rules), nil
}

// compiler makes one rule of its YAML.
type compiler struct {
	yaml ruleYAML
	path string
	*problems
	rule     *Rule
	interval time.Duration // the shortest time between two ticks, 0 when the schedule is wrong
}

func (c *compiler) addf(path, format string, args ...any) {
	c.problems.addf(joinPath(c.path, path), format, args...)
}

func (c *compiler) place() string {
	if c.source == "" {
		return c.path
	}
	return c.source + ": " + c.path
}

func (c *compiler) compile(z *zones) {
	y := c.yaml
	c.rule = &Rule{ID: y.ID, ScheduleText: y.Schedule + y.Cron, Query: y.Query, thread: y.ID}
	c.id()
	c.schedule()
	c.choices()
	c.audience()
	c.columns()
	c.lifetime()
	c.provisional()
	c.arrival()
	c.query()
	c.rule.texts = newTextSet(y.ID, z)
	c.words()
	c.identity()
}

func (c *compiler) id() {
	if id := c.yaml.ID; id == "" {
		c.addf("id", "is missing")
	} else if !validName(id, "-") {
		c.addf("id", "must be 1 to 64 characters of a-z, 0-9 and -")
	}
}

// validName allows lower-case letters, digits and the extra characters.
func validName(s, extra string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(extra, r)
	})
}

func (c *compiler) schedule() {
	y, field := c.yaml, "schedule"
	switch {
	case y.Schedule == "" && y.Cron == "":
		c.addf(field, "is missing")
		return
	case y.Schedule != "" && y.Cron != "":
		c.addf("cron", "give either schedule or cron")
		return
	case y.Cron != "":
		field = "cron"
	}
	s, gap, err := parseSchedule(c.rule.ScheduleText)
	if err != nil {
		c.addf(field, "%s", err)
		return
	}
	c.rule.Schedule, c.interval = s, gap
	c.rule.Jitter = c.duration("jitter", y.Jitter, 0, 0, maxEvery)
	if c.rule.Jitter >= gap {
		c.addf("jitter", "must be less than the time between two ticks, %s", gap)
	}
}

// duration reads an optional duration between two bounds.
func (c *compiler) duration(path, text string, absent, low, high time.Duration) time.Duration {
	if text == "" {
		return absent
	}
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		c.addf(path, "%s", err)
	case d < low || d > high:
		c.addf(path, "must be between %s and %s", FormatDuration(low), FormatDuration(high))
	default:
		return d
	}
	return absent
}

// choices are the settings with a closed set of values.
func (c *compiler) choices() {
	y, r := c.yaml, c.rule
	r.Class = oneOf(c, "class", y.Class, "", Transactional, Service, Marketing)
	if y.Class == "" {
		c.addf("class", "is missing: transactional, service or marketing")
	}
	r.Mode = oneOf(c, "mode", y.Mode, ModeLive, ModeLive, ModeShadow, ModePaused)
	urgency := Normal
	if r.Class == Transactional || r.Class == Service || y.Expires != "" {
		urgency = High
	}
	r.Urgency = oneOf(c, "urgency", y.Urgency, urgency, High, Normal)
	if y.MaxDeliveries < 0 {
		c.addf("max_deliveries", "must be 0 (no limit) or more")
	}
	r.MaxDeliveries = y.MaxDeliveries
	if g := y.MaxGrowth; g != nil {
		if g.Times < 2 || g.Times > 1000 {
			c.addf("max_growth.times", "must be 2 to 1000")
		}
		if g.Over < 0 {
			c.addf("max_growth.over", "must be 0 (%d) or more", DefaultGrowthOver)
		}
		r.MaxGrowth = &Growth{Times: g.Times, Over: cmp.Or(g.Over, DefaultGrowthOver)}
	}
}

func oneOf[T ~string](c *compiler, path, text string, absent T, allowed ...T) T {
	if text == "" {
		return absent
	}
	if !slices.Contains(allowed, T(text)) {
		words := make([]string, len(allowed))
		for i, a := range allowed {
			words[i] = string(a)
		}
		c.addf(path, "must be one of %s", strings.Join(words, ", "))
		return absent
	}
	return T(text)
}

func (c *compiler) audience() {
	a := c.yaml.Audience
	given := 0
	if a.All {
		c.rule.Audience = Audience{Kind: AudienceAll}
		given++
	}
	if a.User != "" {
		c.column("audience.user", a.User)
		c.rule.Audience = Audience{Kind: AudienceUser, Column: a.User}
		given++
	}
	if a.Follows != "" {
		c.rule.Audience = Audience{Kind: AudienceFollows, Rule: a.Follows}
		given++
	}
	switch given {
	case 0:
		c.addf("audience", "is missing: all, {user: column} or {follows: rule}")
	case 1:
	default:
		c.addf("audience", "must be one of all, user and follows")
	}
}

// follow checks the rule that this one follows. Threads are those of the rule
// at the end of the chain, so that all of it replaces one another on screen.
func (c *compiler) follow(byID map[string]*compiler) {
	if c.rule.Audience.Kind != AudienceFollows {
		return
	}
	const path = "audience.follows"
	next, ok := byID[c.rule.Audience.Rule]
	if !ok {
		c.addf(path, "there is no rule %q", c.rule.Audience.Rule)
		return
	}
	if len(next.yaml.Key) != len(c.yaml.Key) && next != c {
		c.addf(path, "rule %q has a key of %d columns, this one of %d: no key could ever be the same",
			next.yaml.ID, len(next.yaml.Key), len(c.yaml.Key))
	}
	for range byID {
		if next == nil || next.rule.Audience.Kind != AudienceFollows {
			break
		}
		next = byID[next.rule.Audience.Rule]
	}
	switch {
	case next == nil: // reported where it is followed
	case next.rule.Audience.Kind == AudienceFollows:
		c.addf(path, "rules follow one another in a circle")
	default:
		c.rule.thread = next.yaml.ID
	}
}

// pair finds the rules of one thread whose orders can be compared.
func pair(rules []*Rule) {
	for _, r := range rules {
		for _, other := range rules {
			if other != r && other.thread == r.thread && r.order != "" && other.order == r.order {
				r.peers = append(r.peers, other.ID)
			}
		}
		slices.Sort(r.peers)
	}
}

func (c *compiler) columns() {
	y, r := c.yaml, c.rule
	if len(y.Key) == 0 {
		c.addf("key", "is missing: the columns that name the event")
	}
	c.columnList("key", y.Key)
	c.columnList("version", y.Version)
	if y.Order != "" {
		c.column("order", y.Order)
	}
	switch {
	case len(y.Version) > 0 && y.Order == "":
		c.addf("order", "is missing: a rule with version must say which version is newer")
	case len(y.Version) == 0 && y.Order != "":
		c.addf("order", "needs version: without it there is one version only")
	}
	r.key, r.version, r.order = y.Key, y.Version, y.Order
}

func (c *compiler) columnList(path string, names []string) {
	for i, n := range names {
		at := fmt.Sprintf("%s[%d]", path, i)
		c.column(at, n)
		if slices.Index(names, n) < i {
			c.addf(at, "column %q is named twice", n)
		}
	}
}

func (c *compiler) column(path, name string) {
	switch {
	case strings.TrimSpace(name) == "":
		c.addf(path, "is empty: a column is needed")
	case name != strings.ToLower(name):
		c.addf(path, "column names arrive in lower case: write %q", strings.ToLower(name))
	}
}

// identity hashes what decides which rows are the same and which are newer, and
// the whole definition.
func (c *compiler) identity() {
	r := c.rule
	// Slices and strings always encode.
	text, _ := json.Marshal([]any{r.key, r.version, r.order})
	r.Identity = shortHash(16, string(text))
	r.canonicalRuleText, _ = json.Marshal(c.yaml)
}

// language returns the language of the rule's plain texts.
func (c *compiler) language() language.Tag {
	text := c.yaml.Language
	if text == "" {
		text = defaultLanguage
	}
	tag, err := parseLocale(text)
	if err != nil {
		c.addf("language", "%s", err)
		return language.English
	}
	return tag
}
