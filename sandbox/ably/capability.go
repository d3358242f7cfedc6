package ably

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Operations of a capability that this package asks for.
const (
	opSubscribe     = "subscribe"
	opPublish       = "publish"
	opPresence      = "presence"
	opHistory       = "history"
	opStats         = "stats"
	opMetadata      = "channel-metadata"
	opPushSubscribe = "push-subscribe"
	opPushAdmin     = "push-admin"
	opPrivileged    = "privileged-headers"
)

// capability maps resources to operations. Matching goes by whole segments
// between colons: a lone "*" matches one segment, a trailing one any rest, and
// resources with a qualifier in brackets are families of their own. Source:
// Ably, "Capabilities".
type capability map[string][]string

// parseCapability reads the JSON text of a capability.
func parseCapability(text string) (capability, error) {
	var c capability
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return nil, fmt.Errorf("parse capability: %w", err)
	}
	return c, nil
}

// text writes the capability in its canonical form, keys and operations sorted.
func (c capability) text() string {
	out := make(map[string][]string, len(c))
	for r, ops := range c {
		out[r] = slices.Sorted(slices.Values(ops))
	}
	b, err := json.Marshal(out)
	if err != nil { // maps of strings always encode
		return "{}"
	}
	return string(b)
}

// allows reports whether op is permitted on a channel.
func (c capability) allows(op, channel string) bool {
	for pattern, ops := range c {
		if holds(ops, op) && covers(pattern, channel) {
			return true
		}
	}
	return false
}

// anywhere reports whether op is permitted on any resource at all.
func (c capability) anywhere(op string) bool {
	for _, ops := range c {
		if holds(ops, op) {
			return true
		}
	}
	return false
}

func holds(ops []string, op string) bool {
	return slices.Contains(ops, op) || slices.Contains(ops, "*")
}

// splitQualifier cuts "[meta]log:push" into "meta" and "log:push".
func splitQualifier(name string) (qualifier, rest string) {
	if strings.HasPrefix(name, "[") {
		if q, r, ok := strings.Cut(name[1:], "]"); ok {
			return q, r
		}
	}
	return "", name
}

// covers reports whether a pattern covers a name, which may be a pattern too.
func covers(pattern, name string) bool {
	pq, p := splitQualifier(pattern)
	nq, n := splitQualifier(name)
	if pq != nq && pq != "*" {
		return false
	}
	ps, ns := strings.Split(p, ":"), strings.Split(n, ":")
	for i, seg := range ps {
		last := i == len(ps)-1
		switch {
		case i >= len(ns):
			return false
		case seg == "*" && last:
			return true
		case seg == "*":
			// A trailing star of the name stands for more than this segment.
			if ns[i] == "*" && i == len(ns)-1 {
				return false
			}
		case seg != ns[i]:
			return false
		}
	}
	return len(ps) == len(ns)
}

// and returns what both permit.
func (c capability) and(d capability) capability {
	out := capability{}
	add := func(resource string, a, b []string) {
		var ops []string
		switch {
		case slices.Contains(a, "*"):
			ops = b
		case slices.Contains(b, "*"):
			ops = a
		default:
			for _, op := range a {
				if slices.Contains(b, op) {
					ops = append(ops, op)
				}
			}
		}
		if len(ops) > 0 {
			out[resource] = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(out[resource]), ops...))))
		}
	}
	for _, rc := range slices.Sorted(maps.Keys(c)) {
		for _, rd := range slices.Sorted(maps.Keys(d)) {
			switch {
			case covers(rd, rc):
				add(rc, c[rc], d[rd])
			case covers(rc, rd):
				add(rd, c[rc], d[rd])
			}
		}
	}
	return out
}
