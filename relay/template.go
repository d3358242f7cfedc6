package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Template makes the name of a channel, or of a message, from a record:
// "outbound:odds:#{key}". The placeholders are
//
//	#{topic}      the record's topic; #{topic.name} is the same
//	#{partition}  its partition; #{topic.partition} is the same
//	#{key}        its key as text
//	#{key.a.b}    a field of its key, which is JSON
//	#{value.a.b}  a field of its value, which is JSON; a number picks from a list
//	#{header.x}   the last header named x
//
// #{topic.name} and #{topic.partition} are how the Ably Kafka Connector writes
// them. The zero value makes the empty text.
type Template struct {
	text  string
	parts []templatePart
}

// templatePart is a literal, or a place in the record.
type templatePart struct {
	literal string
	place   *place
}

// ParseTemplate reads a template. The error says what is wrong and where.
func ParseTemplate(text string) (Template, error) {
	t := Template{text: text}
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "#{")
		if before != "" {
			t.parts = append(t.parts, templatePart{literal: before})
		}
		if !found {
			break
		}
		inside, behind, closed := strings.Cut(after, "}")
		if !closed {
			return Template{}, fmt.Errorf("#{%s is not closed by }", after)
		}
		p, err := parsePlace(inside)
		if err != nil {
			return Template{}, fmt.Errorf("#{%s}: %w", inside, err)
		}
		t.parts = append(t.parts, templatePart{place: &p})
		rest = behind
	}
	return t, nil
}

// ParseChannelTemplate is ParseTemplate for the name of a channel: a beginning
// that Ably refuses (40010) is an error too.
func ParseChannelTemplate(text string) (Template, error) {
	t, err := ParseTemplate(text)
	if err != nil {
		return Template{}, err
	}
	if len(t.parts) == 0 {
		return Template{}, errors.New("is empty: a channel has a name")
	}
	for i, p := range t.parts {
		if p.literal == "" {
			continue
		}
		if i == 0 {
			err = checkChannel(p.literal)
		} else {
			err = checkChannel("x" + p.literal)
		}
		if err != nil {
			return Template{}, err
		}
	}
	return t, nil
}

// String returns the template as it was written.
func (t Template) String() string { return t.text }

// execute makes the text. The error names the place that has no usable value.
func (t Template) execute(d *document) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.place == nil {
			b.WriteString(p.literal)
			continue
		}
		text, err := p.place.text(d)
		if err != nil {
			return "", fmt.Errorf("#{%s}: %w", p.place.name, err)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// checkChannel refuses names that Ably refuses with 40010: empty ones, those
// that begin with a colon or a bracket, and those with line breaks; other control
// characters are as unlikely to be meant, and cannot all be stored. A comma
// separates channels in Ably's own URLs, and the Ably Kafka Connector refuses it
// and a space at the beginning too.
func checkChannel(name string) error {
	switch {
	case name == "":
		return errors.New("a channel's name is not empty")
	case strings.ContainsAny(name[:1], ":[, "):
		return fmt.Errorf("a channel's name does not begin with %q", name[:1])
	case strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("a channel's name has no line break or other control character")
	case !utf8.ValidString(name):
		return errors.New("a channel's name is UTF-8")
	}
	return nil
}

// place is one place in a record.
type place struct {
	name   string // as written
	source string // topic, partition, key, value or header
	header string
	path   []string
}

var errPlaces = errors.New("is none of topic, partition, key, key.FIELD, value.FIELD, header.NAME")

func parsePlace(name string) (place, error) {
	p := place{name: name}
	source, rest, dotted := strings.Cut(name, ".")
	p.source = source
	switch source {
	case "topic":
		switch {
		case !dotted || rest == "name":
		case rest == "partition":
			p.source = "partition"
		default:
			return place{}, errPlaces
		}
	case "partition":
		if dotted {
			return place{}, errPlaces
		}
	case "key", "value":
		if !dotted {
			if source == "value" {
				return place{}, errors.New("wants a field: value.FIELD")
			}
			return p, nil
		}
		p.path = strings.Split(rest, ".")
		if slices.Contains(p.path, "") {
			return place{}, errors.New("has an empty field name")
		}
	case "header":
		if rest == "" {
			return place{}, errors.New("wants a name: header.NAME")
		}
		p.header = rest // a header's name may have dots
	default:
		return place{}, errPlaces
	}
	return p, nil
}

var errMissing = errors.New("the record has none")

// text returns what is at the place. The error says why there is none.
func (p *place) text(d *document) (string, error) {
	switch p.source {
	case "topic":
		return d.record.Topic, nil
	case "partition":
		return strconv.Itoa(int(d.record.Partition)), nil
	case "header":
		for _, h := range slices.Backward(d.record.Headers) {
			if h.Key == p.header {
				return utf8Text(h.Value)
			}
		}
		return "", errMissing
	case "key":
		if len(p.path) > 0 {
			return d.key.field(d.record.Key, p.path)
		}
		if d.record.Key == nil {
			return "", errMissing
		}
		return utf8Text(d.record.Key)
	default:
		return d.value.field(d.data, p.path)
	}
}

func utf8Text(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", errors.New("is not UTF-8")
	}
	return string(b), nil
}

// jsonText is a text that is parsed once, when somebody asks for a field.
type jsonText struct {
	parsed bool
	root   any
	err    error
}

func (j *jsonText) field(text []byte, path []string) (string, error) {
	if !j.parsed {
		j.parsed = true
		dec := json.NewDecoder(strings.NewReader(string(text)))
		dec.UseNumber() // the digits as they were written
		if err := dec.Decode(&j.root); err != nil || dec.InputOffset() != int64(len(strings.TrimRight(string(text), " \t\r\n"))) {
			j.err = errors.New("it is not JSON")
		}
	}
	if j.err != nil {
		return "", j.err
	}
	at := j.root
	for _, name := range path {
		switch v := at.(type) {
		case map[string]any:
			at = v[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(v) {
				return "", errMissing
			}
			at = v[i]
		default:
			return "", errMissing
		}
	}
	switch v := at.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case nil:
		return "", errMissing
	default:
		return "", errors.New("is no text, number or truth value")
	}
}
