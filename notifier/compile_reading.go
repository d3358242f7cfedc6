package notifier

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// lifetime compiles how long a notification is worth something and a key is remembered.
func (c *compiler) lifetime() {
	y, r := c.yaml, c.rule
	if y.TTL != nil {
		if y.TTL.For == "" {
			c.addf("ttl.for", "is missing")
		}
		r.ttlFor = c.duration("ttl.for", y.TTL.For, 0, time.Second, MaxTTL)
		if y.TTL.From != "" {
			c.column("ttl.from", y.TTL.From)
		}
		r.ttlFrom = y.TTL.From
	}
	if y.Expires != "" {
		c.column("expires", y.Expires)
		if y.TTL != nil {
			c.addf("ttl", "give either ttl or expires")
		}
		r.expires, r.Perishable = y.Expires, true
	}
	switch {
	case r.expires != "" || r.ttlFrom != "": // each draft has its own
	case y.TTL != nil:
		r.TTL = r.ttlFor
	default:
		r.TTL = DefaultTTL
	}
	r.ForgetAfter = c.duration("forget_after", y.ForgetAfter, 0, time.Minute, 10*maxEvery)
	if y.ForgetAfter == "" && y.Watermark == nil && y.Expires == "" {
		c.addf("forget_after", "is missing: nothing else (watermark, expires) says how long keys must be remembered")
	}
}

// arrival compiles watermark, sweep and start: which rows are new.
func (c *compiler) arrival() {
	y, r := c.yaml, c.rule
	if y.Watermark == nil {
		if y.Sweep != nil {
			c.addf("sweep", "needs watermark")
		}
		if y.Start != "" {
			c.addf("start", "needs watermark")
		}
		return
	}
	w := &Watermark{
		Column:    y.Watermark.Column,
		Lookback:  c.duration("watermark.lookback", y.Watermark.Lookback, DefaultLookback, 0, MaxTTL),
		MaxWindow: c.duration("watermark.max_window", y.Watermark.MaxWindow, DefaultMaxWindow, time.Second, maxEvery),
	}
	if w.Column == "" {
		c.addf("watermark.column", "is missing: the column with the arrival time")
	} else {
		c.column("watermark.column", w.Column)
	}
	r.Watermark = w
	reach, reaching := w.Lookback, "watermark.lookback"
	if y.Sweep != nil {
		if y.Sweep.Every == "" {
			c.addf("sweep.every", "is missing")
		}
		if y.Sweep.Lookback == "" {
			c.addf("sweep.lookback", "is missing")
		}
		r.Sweep = &Sweep{
			Every:    c.duration("sweep.every", y.Sweep.Every, 0, time.Second, maxEvery),
			Lookback: c.duration("sweep.lookback", y.Sweep.Lookback, 0, time.Second, maxEvery),
		}
		if l := r.Sweep.Lookback; l > 0 && l <= w.Lookback {
			c.addf("sweep.lookback", "must be longer than watermark.lookback, %s", FormatDuration(w.Lookback))
		}
		reach, reaching = max(reach, r.Sweep.Lookback), "sweep.lookback"
	}
	if r.ForgetAfter > 0 && r.ForgetAfter < reach {
		c.addf("forget_after", "must not be shorter than %s, or what is read again is announced again", reaching)
	}
	if y.Start != "" {
		t, err := time.Parse(time.RFC3339, y.Start)
		if err != nil {
			c.addf("start", `must be an RFC 3339 time such as "2026-09-01T00:00:00Z"`)
		}
		r.Start = t.UTC()
	}
}

// query compiles the query and its parameters.
func (c *compiler) query() {
	y := c.yaml
	if strings.TrimSpace(y.Query) == "" {
		c.addf("query", "is missing")
		return
	}
	q, err := scanQuery(y.Query)
	if err == nil {
		err = q.check()
	}
	if err != nil {
		c.addf("query", "%s", err)
		return
	}
	known, used := standardParams(), map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(y.Params)) {
		path := "params." + name
		_, standard := known[name]
		switch {
		case standard:
			c.addf(path, "is a parameter that every rule has")
			used[name] = true
			continue
		case !validName(name, "_") || name[0] >= '0' && name[0] <= '9':
			c.addf(path, "the name must be of a-z, 0-9 and _, a letter first")
		case strings.HasSuffix(name, millisSuffix):
			c.addf(path, "%s is added by the query: it means the same moment in milliseconds", millisSuffix)
		}
		e, err := parseParam(y.Params[name])
		if err != nil {
			c.addf(path, "%s", err)
		}
		known[name] = e
	}
	for _, name := range q.placeholders {
		base, millis := splitMillis(name)
		e, ok := known[base]
		if !ok {
			c.addf("query", "there is no parameter :%s (known are :%s, each also with %s)",
				name, strings.Join(slices.Sorted(maps.Keys(known)), ", :"), millisSuffix)
			continue
		}
		used[base] = true
		c.rule.params = append(c.rule.params, boundParam{name: name, expr: e, millis: millis})
	}
	for _, name := range slices.Sorted(maps.Keys(y.Params)) {
		if !used[name] {
			c.addf("params."+name, "the query does not use it")
		}
	}
	if y.Watermark != nil && (!used["since"] || !used["until"]) {
		c.addf("query", "must use :since and :until, because the rule has a watermark")
	}
	if y.Watermark == nil && (used["since"] || used["until"]) {
		c.addf("query", ":since and :until need a watermark")
	}
}
