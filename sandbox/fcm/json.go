package fcm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"
)

// maxDepth is how deep the front end follows nested values.
const maxDepth = 100

// errTooDeep refuses JSON nested beyond maxDepth.
var errTooDeep = errors.New("nested too deep")

// object is a JSON object in the order written: the front end reports an entry
// of a map by its position.
type object []member

type member struct {
	name  string
	value any // object, []any, string, json.Number, bool or nil
}

// parseJSON reads one value and nothing after it.
func parseJSON(body []byte) (any, *answer) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	v, err := parseValue(dec, 0)
	if err == nil {
		if _, end := dec.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("trailing value")
		}
	}
	if err == nil && !utf8.Valid(body) {
		// encoding/json replaces what is no UTF-8; protobuf refuses it.
		err = errors.New("not utf-8")
	}
	if err == nil {
		return v, nil
	}
	if errors.Is(err, errTooDeep) {
		return nil, frontEnd(violation{Description: "Invalid JSON payload received. Message too deep. Max recursion depth reached for key ''"})
	}
	return nil, syntaxAnswer(body, int(dec.InputOffset()))
}

// syntaxAnswer quotes the text around the place where parsing stopped.
func syntaxAnswer(body []byte, at int) *answer {
	at = min(max(at, 0), len(body))
	from, to := max(0, at-20), min(len(body), at+20)
	what := "Unexpected token."
	if at == len(bytes.TrimRight(body, " \t\r\n")) {
		what = "Unexpected end of string."
	}
	text := fmt.Sprintf("Invalid JSON payload received. %s\n%s\n%*s", what,
		bytes.ToValidUTF8(body[from:to], []byte("?")), at-from+1, "^")
	return errorAnswer("front_end", http.StatusBadRequest, text, badRequest(violation{Description: text}))
}

func parseValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("read json: %w", err)
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return tok, nil
	}
	if delim == '[' {
		list := []any{}
		for dec.More() {
			v, err := parseValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	}
	obj := object{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("read json: %w", err)
		}
		v, err := parseValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		obj = append(obj, member{name.(string), v}) // the decoder lets nothing else stand there
	}
	_, err = dec.Token()
	return obj, err
}

// literal prints a value the way the front end quotes it back.
func literal(v any) string {
	return string(bytes.TrimSpace(encode(plain(v), false)))
}

// plain turns ordered objects into maps, for reading and printing.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		m := make(map[string]any, len(v))
		for _, f := range v {
			m[f.name] = plain(f.value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = plain(e)
		}
		return list
	}
	return v
}
