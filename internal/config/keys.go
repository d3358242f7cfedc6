package config

import (
	"fmt"
	"reflect"
	"strings"
)

// envPrefix begins the name of every environment variable of ours.
const envPrefix = "BUGLE_"

// fileVariable names the configuration file; it is no key itself.
const fileVariable = envPrefix + "CONFIG"

// Key is one setting.
type Key struct {
	// Path is where it stands in the file: "ksqldb.url".
	Path string
	// Env is the environment variable that overrides it: "BUGLE_KSQLDB_URL".
	Env string
	// Type is the kind of value: text, number, true or false, or YAML for a structure.
	Type string
	// Default is the value when nothing is said; empty for none.
	Default string
	// Doc explains it.
	Doc string
	// Example is a value to show when it is missing; may be empty.
	Example string
	// Secret is set for keys that are not accepted in the file.
	Secret bool

	kind reflect.Kind
}

// The types of keys, as the reference names them.
const (
	typeText   = "text"
	typeNumber = "number"
	typeWhole  = "whole number"
	typeBool   = "true or false"
	typeYAML   = "YAML"
)

// Keys lists every setting in the order of Config's fields.
//
// The environment variable of a key is its path in capitals with an underscore
// for each dot. Variables are looked up in this list, never taken apart, so an
// underscore inside a name (fcm.project_id, BUGLE_FCM_PROJECT_ID) is no riddle.
func Keys() []Key {
	var keys []Key
	walk(reflect.ValueOf(Default()), "", func(k Key) { keys = append(keys, k) })
	return keys
}

func walk(v reflect.Value, prefix string, visit func(Key)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "-" {
			continue
		}
		path := prefix + name
		kind := field.Type.Kind()
		if kind == reflect.Struct {
			walk(v.Field(i), path+".", visit)
			continue
		}
		k := Key{
			Path: path, Env: envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_")),
			Doc: field.Tag.Get("doc"), Example: field.Tag.Get("example"), kind: kind,
		}
		_, k.Secret = field.Tag.Lookup("secret")
		if !v.Field(i).IsZero() || kind == reflect.Int8 { // a zerolog.Level: its zero is a word too
			k.Default = fmt.Sprint(v.Field(i).Interface())
		}
		switch kind {
		case reflect.Float64:
			k.Type = typeNumber
		case reflect.Int:
			k.Type = typeWhole
		case reflect.Bool:
			k.Type = typeBool
		case reflect.Map, reflect.Slice:
			k.Type = typeYAML
		default:
			k.Type = typeText
		}
		visit(k)
	}
}

// label names a key in an error: "ksqldb.url (BUGLE_KSQLDB_URL)".
func label(path string) string {
	for _, k := range Keys() {
		if k.Path == path {
			return k.Path + " (" + k.Env + ")"
		}
	}
	return path
}
