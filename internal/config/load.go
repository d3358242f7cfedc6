package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	envprovider "github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"

	"github.com/bugle-push/bugle/internal/fault"
)

// maxFileBytes bounds the configuration file and each file that it names.
const maxFileBytes = 4 << 20

// Options say where the configuration comes from.
type Options struct {
	// File is the configuration file; empty takes the one named by BUGLE_CONFIG,
	// or none.
	File string
	// Environ is the environment, as os.Environ returns it.
	Environ []string
	// Needs lists what the caller is going to use: what is missing for that is an
	// error. Whatever else is set is checked all the same.
	Needs []Need
}

// Load reads, merges and checks the configuration. The error is a *fault.Error
// of kind Invalid that lists everything that is wrong.
func Load(o Options) (Config, error) {
	file := o.File
	if file == "" {
		for _, e := range o.Environ {
			if v, ok := strings.CutPrefix(e, fileVariable+"="); ok {
				file = v
			}
		}
	}
	var text []byte
	if file != "" {
		var err error
		if text, err = readFile(file); err != nil {
			return Config{}, fault.InvalidFields("the configuration cannot be used",
				fault.Field{Path: "--config (" + fileVariable + ")", Message: err.Error()})
		}
	}
	c, err := Parse(text, o.Environ, o.Needs...)
	if err == nil && file != "" {
		o.File = file
		c.Origin = &o
	}
	return c, err
}

// Parse is Load for the text of a file.
func Parse(text []byte, environ []string, needs ...Need) (Config, error) {
	r := &reader{}
	c := r.read(text, environ)
	if len(r.fields) == 0 || r.decoded {
		// What could not be decoded has kept its default, so that everything else is still checked.
		r.check(&c, needs)
	}
	if len(r.fields) > 0 {
		return Config{}, fault.InvalidFields("the configuration cannot be used", r.fields...)
	}
	return c, nil
}

// reader collects what is wrong.
type reader struct {
	fields  []fault.Field
	bad     []string // paths that have been reported
	decoded bool
}

func (r *reader) addf(path, format string, args ...any) {
	if path != "" && slices.Contains(r.bad, path) {
		return // one word about each key is enough: what could not be read is not also missing
	}
	r.bad = append(r.bad, path)
	r.fields = append(r.fields, fault.Field{Path: label(path), Message: fmt.Sprintf(format, args...)})
}

func (r *reader) read(text []byte, environ []string) Config {
	c := Default()
	k := koanf.New(".")
	if err := k.Load(document(text), strictYAML{}); err != nil {
		r.fields = append(r.fields, fault.Field{Path: "the file", Message: err.Error()})
		return c
	}
	for _, key := range Keys() {
		if key.Secret && k.Exists(key.Path) {
			k.Delete(key.Path)
			r.addf(key.Path, "is not accepted in the file: name a file with it in %s_file, or set the variable", key.Path)
		}
	}
	if err := k.Load(envprovider.Provider(".", envprovider.Opt{
		Prefix: envPrefix, TransformFunc: r.variable, EnvironFunc: func() []string { return environ },
	}), nil); err != nil {
		r.fields = append(r.fields, fault.Field{Path: "the environment", Message: err.Error()})
		return c
	}
	r.unknownKeys(k.Raw(), reflect.TypeFor[Config](), "")
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, TagName: "yaml",
		DecodeHook: mapstructure.DecodeHookFuncValue(strictValue),
		MatchName:  func(key, field string) bool { return key == field },
	}})
	r.decodeErrors(err)
	r.decoded = true
	return c
}

// unknownKeys compares what was read with the fields of a type. mapstructure
// can do that too, but tells of it only when every value has the right kind.
func (r *reader) unknownKeys(raw map[string]any, t reflect.Type, prefix string) {
	known := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for field := range t.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			known[name] = field.Type
		}
		delete(known, "-")
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		of := known[name]
		if t.Kind() == reflect.Map {
			of = t.Elem()
		}
		if of == nil {
			siblings := make([]string, 0, len(known))
			for sibling := range known {
				siblings = append(siblings, prefix+sibling)
			}
			r.unknown(prefix+name, siblings)
			continue
		}
		if below, ok := raw[name].(map[string]any); ok && (of.Kind() == reflect.Struct || of.Kind() == reflect.Map) {
			r.unknownKeys(below, of, prefix+name+".")
		}
		if list, ok := raw[name].([]any); ok && of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Struct {
			for i, element := range list {
				if below, ok := element.(map[string]any); ok {
					r.unknownKeys(below, of.Elem(), fmt.Sprintf("%s%s[%d].", prefix, name, i))
				}
			}
		}
	}
}

// unknown reports a key that no setting has, and what may have been meant.
func (r *reader) unknown(path string, siblings []string) {
	keys := Keys()
	if slices.ContainsFunc(keys, func(k Key) bool { return k.Path == path }) {
		section, name, _ := strings.Cut(path, ".")
		r.fields = append(r.fields, fault.Field{Path: path, Message: fmt.Sprintf("write it as %s: {%s: …}, without the dot", section, name)})
		return
	}
	names := make([]string, 0, len(keys)+len(siblings))
	for _, k := range keys {
		names = append(names, k.Path)
	}
	slices.Sort(siblings)
	if near := nearest(path, append(names, siblings...)); near != "" {
		r.addf(path, "unknown key; did you mean %s?", near)
		return
	}
	r.addf(path, "unknown key")
}

// variable turns an environment variable into a path and a value of its key's kind.
func (r *reader) variable(name, value string) (string, any) {
	if name == fileVariable || value == "" {
		return "", nil // an empty variable counts as not set
	}
	keys := Keys()
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Env == name })
	if i < 0 {
		names := make([]string, 0, len(keys))
		for _, k := range keys {
			names = append(names, k.Env)
		}
		message := "unknown variable"
		if near := nearest(name, names); near != "" {
			message += "; did you mean " + near + "?"
		}
		r.fields = append(r.fields, fault.Field{Path: name, Message: message})
		return "", nil
	}
	key := keys[i]
	var (
		v   any = value
		err error
	)
	switch key.Type {
	case typeNumber:
		v, err = strconv.ParseFloat(value, 64)
	case typeWhole:
		v, err = strconv.Atoi(value)
	case typeBool:
		if v = value == "true"; value != "true" && value != "false" {
			r.addf(key.Path, "wants true or false")
			return "", nil
		}
	case typeYAML:
		err = yaml.Unmarshal([]byte(value), &v)
	}
	if err != nil {
		// The value is not repeated: it may be a secret that was put into the wrong variable.
		r.addf(key.Path, "wants a %s", key.Type)
		return "", nil
	}
	return key.Path, v
}

// decodeErrors reports every value of the wrong kind: the innermost errors of
// the tree that mapstructure returns, each of which knows its path.
func (r *reader) decodeErrors(err error) {
	switch e := err.(type) { //nolint:errorlint // the tree is walked node by node
	case nil:
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			r.decodeErrors(inner)
		}
	case *mapstructure.DecodeError:
		inner := e.Unwrap()
		if _, many := inner.(interface{ Unwrap() []error }); many {
			r.decodeErrors(inner)
			return
		}
		if _, nested := errors.AsType[*mapstructure.DecodeError](inner); nested {
			r.decodeErrors(inner)
			return
		}
		message := "has a value of the wrong kind"
		if u, ok := errors.AsType[*mapstructure.UnconvertibleTypeError](inner); ok {
			message = fmt.Sprintf("wants %s, got %s", describe(u.Expected.Type()), describe(reflect.TypeOf(u.Value)))
		} else if w, ok := errors.AsType[*wrongValue](inner); ok {
			message = w.text
		}
		r.addf(mapKey.ReplaceAllString(e.Name(), ".$1"), "%s", message)
	default:
		if inner := errors.Unwrap(err); inner != nil {
			r.decodeErrors(inner)
			return
		}
		r.fields = append(r.fields, fault.Field{Path: "the configuration", Message: "has a value of the wrong kind"})
	}
}

// mapKey is how mapstructure writes the key of a map, where we write a dot. The
// places of a list stay as they are.
var mapKey = regexp.MustCompile(`\[([^\]]*[^\]0-9][^\]]*)\]`)

// describe names a kind of value for a person.
func describe(t reflect.Type) string {
	if t == nil {
		return "nothing"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a group of keys"
	default:
		return t.Kind().String()
	}
}

// wrongValue says what is wrong with a value, without repeating it.
type wrongValue struct{ text string }

func (e *wrongValue) Error() string { return e.text }

// strictValue refuses what mapstructure would convert in silence, and reads
// types that read themselves from text.
func strictValue(from, to reflect.Value) (any, error) {
	for from.Kind() == reflect.Interface && !from.IsNil() {
		from = from.Elem()
	}
	if from.Kind() == reflect.String && to.CanAddr() {
		if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](to.Addr()); ok {
			if err := u.UnmarshalText([]byte(from.String())); err != nil {
				if w, ok := errors.AsType[*wrongValue](err); ok {
					return nil, w
				}
				return nil, &wrongValue{"is none of the known words"}
			}
			return to.Interface(), nil
		}
	}
	wrong := func() (any, error) {
		return nil, &wrongValue{fmt.Sprintf("wants %s, got %s", describe(to.Type()), describe(from.Type()))}
	}
	switch to.Kind() {
	case reflect.Int:
		if from.Kind() != reflect.Int {
			return wrong()
		}
	case reflect.Int64: // a Duration: a bare number has no unit
		return nil, &wrongValue{"wants a duration such as 30d, got " + describe(from.Type())}
	case reflect.Int8: // a zerolog.Level is a word
		return nil, &wrongValue{"wants a word, got " + describe(from.Type())}
	case reflect.Float64:
		if from.Kind() != reflect.Int && from.Kind() != reflect.Float64 {
			return wrong()
		}
	case reflect.Slice, reflect.Map, reflect.Struct:
		if from.Kind() != to.Kind() && (to.Kind() != reflect.Struct || from.Kind() != reflect.Map) {
			return wrong()
		}
	default: // mapstructure itself is strict about texts and true or false
	}
	return from.Interface(), nil
}

// document is a koanf provider of a text.
type document []byte

// ReadBytes implements koanf.Provider.
func (d document) ReadBytes() ([]byte, error) { return d, nil }

// Read implements koanf.Provider.
func (d document) Read() (map[string]any, error) {
	return nil, errors.New("read document: only bytes are provided")
}

// strictYAML is a koanf parser of exactly one YAML document with unique keys.
type strictYAML struct{}

// Unmarshal implements koanf.Parser.
func (strictYAML) Unmarshal(text []byte) (map[string]any, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var out map[string]any
	if err := dec.Decode(&out); err != nil && !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more than one YAML document")
	}
	return out, nil
}

// Marshal implements koanf.Parser.
func (strictYAML) Marshal(m map[string]any) ([]byte, error) { return yaml.Marshal(m) }

// yamlError keeps the parser's words but not the text of the file, which may
// hold what should not be there.
func yamlError(err error) error {
	te, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return fmt.Errorf("is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	lines := make([]string, 0, len(te.Errors))
	for _, text := range te.Errors {
		if line, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(rest, "cannot unmarshal") {
			text = line + ": a group of keys is wanted here"
		}
		lines = append(lines, text)
	}
	return errors.New(strings.Join(lines, ", "))
}

// readFile reads a file of bounded size.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err // says "open NAME: reason" already
	}
	defer f.Close() //nolint:errcheck // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxFileBytes>>20)
	}
	return text, nil
}

// nearest returns the candidate that differs from name by two letters at most,
// or "" when there is none.
func nearest(name string, candidates []string) string {
	best, least := "", 3
	for _, c := range candidates {
		if d := distance(name, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, remove or replace (Levenshtein).
func distance(a, b string) int {
	if max(len(a), len(b)) > 100 {
		return 100
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
