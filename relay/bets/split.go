package bets

import (
	"bytes"
	"encoding/json"
)

// splitItems cuts the items of a webhook apart without reading them. It is for a
// body that encoding/json does not take as a whole: what one user has published
// stands in it beside the bets of others, and may be nested deeper than any parser
// goes. It tells false for what is no object with a list of items.
func splitItems(body []byte) (items []json.RawMessage, ok bool) {
	var (
		depth, begin int
		key          []byte // the last text, which is a name when a colon follows
		named, found bool   // the value that comes is that of items; it is open
	)
	for i := 0; i < len(body); i++ {
		c := body[i]
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '"':
			end := stringEnd(body, i)
			if end < 0 {
				return nil, false
			}
			key = body[i+1 : end]
			i = end
		case ':':
			named = depth == 1 && string(key) == "items"
			continue
		case '{', '[':
			depth++
			if depth == 1 && c != '{' {
				return nil, false
			}
			if depth == 2 && c == '[' && named {
				items, found, ok, begin = []json.RawMessage{}, true, true, i+1
			}
		case '}', ']':
			depth--
			switch {
			case depth == 1 && found:
				if last := bytes.TrimSpace(body[begin:i]); len(last) > 0 || len(items) > 0 {
					items = append(items, last)
				}
				found = false
			case depth == 0:
				return items, ok && len(bytes.TrimSpace(body[i+1:])) == 0
			}
		case ',':
			if depth == 2 && found {
				items = append(items, bytes.TrimSpace(body[begin:i]))
				begin = i + 1
			}
		}
		named = false
	}
	return nil, false
}

// stringEnd is where the JSON string ends that begins at i, or -1.
func stringEnd(body []byte, i int) int {
	for i++; i < len(body); i++ {
		switch body[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}
