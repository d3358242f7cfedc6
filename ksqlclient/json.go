package ksqlclient

import (
	"bytes"
	"encoding/json"
)

// The functions below walk JSON that json.Valid has accepted, without copying
// it; on other input they may return nonsense, but do not read past its end.

func skipJSONSpace(s []byte, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r') {
		i++
	}
	return i
}

// jsonEnd returns the index after the value that begins at s[i].
func jsonEnd(s []byte, i int) int {
	depth := 0
	for i < len(s) {
		switch s[i] {
		case '"':
			i = jsonStringEnd(s, i)
		case '[', '{':
			depth++
			i++
		case ']', '}':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r':
			i++
			continue
		default:
			for i < len(s) && !endsScalar(s[i]) {
				i++
			}
		}
		if depth <= 0 {
			return i
		}
	}
	return len(s)
}

func endsScalar(c byte) bool {
	switch c {
	case ',', ']', '}', ':', ' ', '\t', '\n', '\r':
		return true
	}
	return false
}

func jsonStringEnd(s []byte, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// jsonElements calls fn with the elements of an array.
func jsonElements(s []byte, fn func(n int, value []byte) error) error {
	i := skipJSONSpace(s, 1)
	for n := 0; i < len(s) && s[i] != ']'; n++ {
		end := jsonEnd(s, i)
		if err := fn(n, s[i:end]); err != nil {
			return err
		}
		i = skipJSONSpace(s, end)
		if i < len(s) && s[i] == ',' {
			i = skipJSONSpace(s, i+1)
		}
	}
	return nil
}

// jsonMembers calls fn with the members of an object, in order.
func jsonMembers(s []byte, fn func(key string, value []byte) error) error {
	i := skipJSONSpace(s, 1)
	for i < len(s) && s[i] != '}' {
		end := jsonStringEnd(s, i)
		key, err := jsonString(s[i:end])
		if err != nil {
			return err
		}
		i = skipJSONSpace(s, end)
		i = skipJSONSpace(s, i+1) // the colon
		end = jsonEnd(s, i)
		if err := fn(key, s[i:min(end, len(s))]); err != nil {
			return err
		}
		i = skipJSONSpace(s, end)
		if i < len(s) && s[i] == ',' {
			i = skipJSONSpace(s, i+1)
		}
	}
	return nil
}

// jsonString decodes a string literal.
func jsonString(s []byte) (string, error) {
	if bytes.IndexByte(s, '\\') < 0 && len(s) >= 2 {
		return string(s[1 : len(s)-1]), nil
	}
	var text string
	if err := json.Unmarshal(s, &text); err != nil {
		return "", err
	}
	return text, nil
}
