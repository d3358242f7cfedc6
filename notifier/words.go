package notifier

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// words compiles the texts: one notification or a variant for each value of a
// column, and a correction.
func (c *compiler) words() {
	y, r := c.yaml, c.rule
	plain := c.language()
	c.defaults()
	r.variants = map[string]*ruleText{}
	switch {
	case y.Notification != nil && (y.Variant != "" || len(y.Variants) > 0):
		c.addf("notification", "give either notification or variant and variants")
	case y.Variant != "" && len(y.Variants) == 0:
		c.addf("variants", "is missing: a text for each value of %q", y.Variant)
	case y.Variant == "" && len(y.Variants) > 0:
		c.addf("variant", "is missing: the column that chooses among variants")
	case y.Notification == nil && len(y.Variants) == 0:
		c.addf("notification", "is missing (or variant and variants)")
	}
	if y.Variant != "" {
		c.column("variant", y.Variant)
	}
	r.variantColumn = y.Variant
	if y.Notification != nil {
		r.variants[""] = c.text("notification", *y.Notification, plain)
	}
	for _, name := range slices.Sorted(maps.Keys(y.Variants)) {
		path := "variants." + name
		if name == "" {
			c.addf(path, "a variant needs a name")
			continue
		}
		r.variants[name] = c.text(path, y.Variants[name], plain)
	}
	if y.Correction != nil {
		if len(y.Version) == 0 {
			c.addf("correction", "needs version: without it nothing is ever corrected")
		}
		k := y.Correction
		r.correction = c.wording("correction", textYAML{Title: k.Title, Body: k.Body, Link: k.Link, Data: k.Data, Locales: k.Locales}, plain)
		r.HasCorrection = true
	}
}

// defaults checks what the rule gives to all its texts.
func (c *compiler) defaults() {
	if c.yaml.Category != "" {
		c.category("category", c.yaml.Category)
	}
}

func (c *compiler) category(path, name string) {
	if !validName(name, "-_") {
		c.addf(path, "must be 1 to 64 characters of a-z, 0-9, - and _")
	}
}

// text compiles a notification or variant, which takes from the rule what it does not have itself.
func (c *compiler) text(path string, y textYAML, plain language.Tag) *ruleText {
	inherit := func(own, rule string) string {
		if own == "" {
			return rule
		}
		return own
	}
	category := inherit(y.Category, c.yaml.Category)
	switch {
	case category == "":
		c.addf(path+".category", "is missing: what a user mutes")
	case y.Category != "":
		c.category(path+".category", category)
	}
	y.Link = inherit(y.Link, c.yaml.Link)
	if y.Data == nil {
		y.Data = c.yaml.Data
	}
	t := c.wording(path, y, plain)
	t.category = category
	return t
}

// wording compiles title, body, link and data, with their translations.
func (c *compiler) wording(path string, y textYAML, plain language.Tag) *ruleText {
	t := &ruleText{link: noText, hasData: y.Data != nil}
	t.plain = c.localText(path, wordsYAML{Title: y.Title, Body: y.Body}, plain)
	if y.Link != "" {
		t.link = c.template(path+".link", kindLink, y.Link)
	}
	for _, name := range slices.Sorted(maps.Keys(y.Data)) {
		at := path + ".data." + name
		if reason := reservedData(name); reason != "" {
			c.addf(at, "%s", reason)
		}
		t.data = append(t.data, dataText{name, c.template(at, kindData, y.Data[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(y.Locales)) {
		at := path + ".locales." + name
		tag, err := parseLocale(name)
		if err != nil {
			c.addf(at, "%s", err)
			continue
		}
		if _, dup := t.locales[tag.String()]; dup {
			c.addf(at, "is the same locale as another one")
			continue
		}
		l := y.Locales[name]
		if (l.Body == "") != (y.Body == "") {
			c.addf(at+".body", "must be there exactly when the plain text has a body")
		}
		if t.locales == nil {
			t.locales = map[string]localText{}
		}
		t.locales[tag.String()] = c.localText(at, l, tag)
	}
	return t
}

func (c *compiler) localText(path string, y wordsYAML, tag language.Tag) localText {
	l := localText{language: tag, title: noText, body: noText}
	if strings.TrimSpace(y.Title) == "" {
		c.addf(path+".title", "is missing")
	} else {
		l.title = c.template(path+".title", kindTitle, y.Title)
	}
	if y.Body != "" {
		l.body = c.template(path+".body", kindBody, y.Body)
	}
	return l
}

func (c *compiler) template(path string, kind textKind, text string) textID {
	id, err := c.rule.texts.add(path, kind, text)
	if err != nil {
		c.addf(path, "%s", err)
	}
	return id
}

// reservedData says why a name may not stand in data, or nothing. FCM refuses a
// message whose data has the keys from or message_type or one that begins with
// google or gcm (Firebase: FCM error codes, INVALID_ARGUMENT), and puts data
// beside APNs' aps; the others are what the senders set themselves.
func reservedData(name string) string {
	lower := strings.ToLower(name)
	switch lower {
	case "":
		return "a name is needed"
	case "from", "message_type", "notification", "collapse_key", "aps":
		return "the name is reserved by Firebase or APNs"
	case "nid", "notification_id", "seq", "thread", "rule", "category", "class", "link", "title", "body", "expires_at":
		return "Bugle sets this name itself"
	}
	if strings.HasPrefix(lower, "google") || strings.HasPrefix(lower, "gcm") {
		return "names that begin with google or gcm are reserved by Firebase"
	}
	return ""
}
