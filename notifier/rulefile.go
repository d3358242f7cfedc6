package notifier

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"go.yaml.in/yaml/v3"

	"github.com/bugle-push/bugle/internal/fault"
)

// maxSourceBytes bounds a rule file; the built-in one has 4 KiB.
const maxSourceBytes = 1 << 20

// The shapes of a rule file. The tags are the documented keys; a test compares
// them with the reference. Durations, times and templates stay text here: the
// compiler reads them and says where one is wrong.
type (
	fileYAML struct {
		Rules []ruleYAML `mapstructure:"rules"`
	}
	ruleYAML struct {
		ID            string              `mapstructure:"id"`
		Schedule      string              `mapstructure:"schedule"`
		Cron          string              `mapstructure:"cron"`
		Jitter        string              `mapstructure:"jitter"`
		Class         string              `mapstructure:"class"`
		Urgency       string              `mapstructure:"urgency"`
		Mode          string              `mapstructure:"mode"`
		Query         string              `mapstructure:"query"`
		Params        map[string]string   `mapstructure:"params"`
		Watermark     *watermarkYAML      `mapstructure:"watermark"`
		Sweep         *sweepYAML          `mapstructure:"sweep"`
		Start         string              `mapstructure:"start"`
		Key           []string            `mapstructure:"key"`
		Version       []string            `mapstructure:"version"`
		Order         string              `mapstructure:"order"`
		Audience      audienceYAML        `mapstructure:"audience"`
		Variant       string              `mapstructure:"variant"`
		Variants      map[string]textYAML `mapstructure:"variants"`
		Notification  *textYAML           `mapstructure:"notification"`
		Correction    *correctionYAML     `mapstructure:"correction"`
		Category      string              `mapstructure:"category"`
		Link          string              `mapstructure:"link"`
		Data          map[string]string   `mapstructure:"data"`
		Language      string              `mapstructure:"language"`
		TTL           *ttlYAML            `mapstructure:"ttl"`
		Expires       string              `mapstructure:"expires"`
		ForgetAfter   string              `mapstructure:"forget_after"`
		MaxDeliveries int                 `mapstructure:"max_deliveries"`
		MaxGrowth     *growthYAML         `mapstructure:"max_growth" json:",omitempty"`
		Provisional   *provisionalYAML    `mapstructure:"provisional" json:",omitempty"`
	}
	provisionalYAML struct {
		Column string   `mapstructure:"column"`
		Values []string `mapstructure:"values"`
		Hold   string   `mapstructure:"hold"`
	}
	growthYAML struct {
		Times int `mapstructure:"times"`
		Over  int `mapstructure:"over"`
	}
	watermarkYAML struct {
		Column    string `mapstructure:"column"`
		Lookback  string `mapstructure:"lookback"`
		MaxWindow string `mapstructure:"max_window"`
	}
	sweepYAML struct {
		Every    string `mapstructure:"every"`
		Lookback string `mapstructure:"lookback"`
	}
	audienceYAML struct {
		All     bool   `mapstructure:"all"`
		User    string `mapstructure:"user"`
		Follows string `mapstructure:"follows"`
	}
	ttlYAML struct {
		From string `mapstructure:"from"`
		For  string `mapstructure:"for"`
	}
	textYAML struct {
		Category string               `mapstructure:"category"`
		Title    string               `mapstructure:"title"`
		Body     string               `mapstructure:"body"`
		Link     string               `mapstructure:"link"`
		Data     map[string]string    `mapstructure:"data"`
		Locales  map[string]wordsYAML `mapstructure:"locales"`
	}
	correctionYAML struct {
		Title   string               `mapstructure:"title"`
		Body    string               `mapstructure:"body"`
		Link    string               `mapstructure:"link"`
		Data    map[string]string    `mapstructure:"data"`
		Locales map[string]wordsYAML `mapstructure:"locales"`
	}
	wordsYAML struct {
		Title string `mapstructure:"title"`
		Body  string `mapstructure:"body"`
	}
)

// problems collects what is wrong with one source.
type problems struct {
	source string
	fields []fault.Field
	// undecoded are paths whose value had the wrong shape: what the compiler finds missing there
	// or below is no news.
	undecoded []string
}

func (p *problems) addf(path, format string, args ...any) {
	for _, u := range p.undecoded {
		if u == "" || path == u || strings.HasPrefix(path, u+".") || strings.HasPrefix(path, u+"[") {
			return
		}
	}
	p.report(path, fmt.Sprintf(format, args...))
}

func (p *problems) report(path, message string) {
	switch {
	case p.source != "" && path != "":
		path = p.source + ": " + path
	case p.source != "":
		path = p.source
	case path == "":
		path = "yaml" // a source without a name as a whole
	}
	p.fields = append(p.fields, fault.Field{Path: path, Message: message})
}

// decodeSource reads one file. A file that is no YAML at all gives no rules.
func decodeSource(src RuleSource, p *problems) fileYAML {
	var file fileYAML
	if len(src.YAML) > maxSourceBytes {
		p.report("", "is larger than 1 MiB")
		p.undecoded = append(p.undecoded, "")
		return file
	}
	tree, err := decodeTree(src.YAML)
	if err != nil {
		// A yaml.TypeError has one line for each duplicate key and the like; others have the line in the text.
		if te, ok := errors.AsType[*yaml.TypeError](err); ok {
			for _, text := range te.Errors {
				p.report("", text)
			}
		} else {
			p.report("", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		p.undecoded = append(p.undecoded, "")
		return file
	}
	normalized, ok := normalize(tree, "", p).(map[string]any)
	if !ok {
		p.report("", `must be a mapping with the key "rules"`)
		p.undecoded = append(p.undecoded, "")
		return file
	}
	if _, ok := normalized["rules"]; !ok {
		p.addf("rules", "is missing")
	}
	shaped, _ := shape(normalized, reflect.TypeFor[fileYAML](), "", p)
	if err := mapstructure.Decode(shaped, &file); err != nil {
		p.report("", err.Error()) // shape has let something through
		p.undecoded = append(p.undecoded, "")
	}
	return file
}

// shape compares a tree with the type that it is decoded into. It reports
// every unknown key and every value of the wrong kind with its path, and
// returns the tree without them, so that the decoder has nothing to complain
// about: mapstructure's own errors speak of Go's types, and it says nothing
// about unknown keys of a mapping in which something else is wrong too.
func shape(v any, t reflect.Type, path string, p *problems) (any, bool) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if word, ok := v.(string); ok && t == reflect.TypeFor[audienceYAML]() {
		if word == "all" {
			return map[string]any{"all": true}, true
		}
		return nil, p.wrongShape(path, "must be all, {user: column} or {follows: rule}")
	}
	ok := false
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		var m map[string]any
		if m, ok = v.(map[string]any); ok {
			return shapeMap(m, t, path, p), true
		}
	case reflect.Slice:
		var list []any
		if list, ok = v.([]any); ok {
			return shapeList(list, t, path, p), true
		}
	case reflect.String:
		_, ok = v.(string)
	case reflect.Int:
		_, ok = v.(int)
	case reflect.Bool:
		_, ok = v.(bool)
	default:
		panic("notifier: rule file shape: " + t.String())
	}
	if !ok {
		return nil, p.wrongShape(path, fmt.Sprintf("must be %s, not %s", kindWord(t), valueWord(v)))
	}
	return v, true
}

func shapeMap(m map[string]any, t reflect.Type, path string, p *problems) map[string]any {
	out := make(map[string]any, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		at := joinPath(path, k)
		var elem reflect.Type
		if t.Kind() == reflect.Map {
			elem = t.Elem()
		} else if field, ok := taggedField(t, k); ok {
			elem = field
		} else {
			p.report(at, "unknown key")
			continue
		}
		if item, ok := shape(m[k], elem, at, p); ok {
			out[k] = item
		}
	}
	return out
}

func shapeList(list []any, t reflect.Type, path string, p *problems) []any {
	out := make([]any, len(list))
	for i, item := range list {
		if item == nil {
			continue // reported by normalize
		}
		// A place that is wrong stays, as nil, so that the others keep their numbers.
		out[i], _ = shape(item, t.Elem(), path+"["+strconv.Itoa(i)+"]", p)
	}
	return out
}

// wrongShape reports a value whose place nothing more need be said about. It returns false.
func (p *problems) wrongShape(path, message string) bool {
	p.report(path, message)
	p.undecoded = append(p.undecoded, path)
	return false
}

func taggedField(t reflect.Type, key string) (reflect.Type, bool) {
	for f := range t.Fields() {
		if f.Tag.Get("mapstructure") == key {
			return f.Type, true
		}
	}
	return nil, false
}

// decodeTree parses exactly one YAML document.
func decodeTree(text []byte) (any, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var tree any
	if err := dec.Decode(&tree); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("is empty")
		}
		return nil, err
	}
	var more any
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("must be one YAML document")
	}
	return tree, nil
}

// normalize makes a YAML tree what mapstructure can take: keys are text, times
// are RFC 3339 text again, and keys without a value are as good as absent.
func normalize(v any, path string, p *problems) any {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if v[k] == nil {
				p.report(joinPath(path, k), "has no value")
				p.undecoded = append(p.undecoded, joinPath(path, k))
				delete(v, k)
				continue
			}
			v[k] = normalize(v[k], joinPath(path, k), p)
		}
		return v
	case map[any]any:
		text := make(map[string]any, len(v))
		for k, item := range v {
			name, ok := k.(string)
			if !ok {
				name = fmt.Sprint(k)
				p.report(joinPath(path, name), "the key must be text: put it in quotes")
				continue
			}
			text[name] = item
		}
		return normalize(text, path, p)
	case []any:
		for i := range v {
			at := path + "[" + strconv.Itoa(i) + "]"
			if v[i] == nil {
				p.report(at, "has no value")
				p.undecoded = append(p.undecoded, at)
				continue
			}
			v[i] = normalize(v[i], at, p)
		}
		return v
	case time.Time:
		return v.Format(time.RFC3339Nano)
	default:
		return v
	}
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func kindWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text (in quotes)"
	case reflect.Int:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	default:
		return "a mapping"
	}
}

func valueWord(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	case int:
		return "a whole number"
	default:
		return "a number"
	}
}
