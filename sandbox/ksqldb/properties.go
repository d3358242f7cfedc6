package ksqldb

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// propertyKind is the Java type of a request property.
type propertyKind int

const (
	propertyUnknown propertyKind = iota
	propertyBool
	propertyLong
	propertyString
)

// kindOfProperty knows the properties that make sense for a query.
func kindOfProperty(name string) propertyKind {
	switch name {
	case "ksql.query.pull.table.scan.enabled", "ksql.query.pull.range.scan.enabled",
		"ksql.query.pull.limit.clause.enabled", "ksql.query.pull.stream.enabled",
		"ksql.query.pull.interpreter.enabled", "ksql.query.pull.enable.standby.reads",
		"ksql.query.pull.consistency.token.enabled",
		"ksql.query.push.v2.enabled", "ksql.query.push.v2.interpreter.enabled",
		"ksql.query.push.v2.continuation.tokens.enabled":
		return propertyBool
	case "ksql.query.pull.max.allowed.offset.lag":
		return propertyLong
	case "auto.offset.reset":
		return propertyString
	}
	if strings.HasPrefix(name, "ksql.streams.") || strings.HasPrefix(name, "ksql.functions.") {
		return propertyString
	}
	return propertyUnknown
}

// readProperties checks the properties of a request. On /query-stream a value
// must have the right JSON type: a boolean sent as a string breaks the query
// inside the server, and so does a long that fits an int,
// because Jackson makes an Integer of it. On /query and /ksql strings are
// coerced. An unknown name is refused by both, each in its own way.
func readProperties(properties map[string]json.RawMessage, legacy bool) (planOptions, error) {
	opts := planOptions{tableScan: true, rangeScan: true, limitClause: true}
	for name, raw := range properties {
		text, quoted := unquote(raw)
		switch kindOfProperty(name) {
		case propertyUnknown:
			if legacy {
				return opts, &apiError{http.StatusInternalServerError, codeServerError, "Not recognizable as ksql, streams, consumer, or producer property: '" + name + "'"}
			}
			return opts, badRequest("Not recognizable as ksql, streams, consumer, or producer property: '%s'", name)
		case propertyBool:
			on := strings.EqualFold(text, "true")
			if quoted && !legacy || !on && !strings.EqualFold(text, "false") {
				return opts, badProperty(name, legacy)
			}
			switch name {
			case "ksql.query.pull.table.scan.enabled":
				opts.tableScan = on
			case "ksql.query.pull.range.scan.enabled":
				opts.rangeScan = on
			case "ksql.query.pull.limit.clause.enabled":
				opts.limitClause = on
			}
		case propertyLong:
			n, err := strconv.ParseInt(text, 10, 64)
			small := int64(int32(n)) == n
			if err != nil || !legacy && (quoted || small) {
				return opts, badProperty(name, legacy)
			}
		case propertyString:
		}
	}
	return opts, nil
}

// badProperty is the answer to a value of the wrong type: a ClassCastException
// deep in the server on /query-stream, a refusal where values are coerced.
func badProperty(name string, legacy bool) error {
	if legacy {
		return badRequest("Invalid value for property '%s'", name)
	}
	return &apiError{http.StatusInternalServerError, codeServerError, genericServerError}
}

// unquote returns the text of a JSON scalar and whether it was a string.
func unquote(raw json.RawMessage) (string, bool) {
	var s string
	if json.Unmarshal(raw, &s) == nil && len(raw) > 0 && raw[0] == '"' {
		return s, true
	}
	return string(raw), false
}
