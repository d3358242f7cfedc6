package ksqlclient_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// grammar is the lexer of ksqlDB's SqlBase.g4, written a second time and in
// another way than the package's own tokenizer, so that the two check each other.
// The longest match wins, then the first.
var grammar = []struct {
	kind string
	re   *regexp.Regexp
}{
	{"operator", regexp.MustCompile(`^(?:<>|!=|<=|>=|\|\||:=|->|=>|[=<>+\-*/%.,;()\[\]])`)},
	{"string", regexp.MustCompile(`^'(?:[^']|'')*'`)},
	{"integer", regexp.MustCompile(`^[0-9]+`)},
	{"decimal", regexp.MustCompile(`^(?:[0-9]+\.[0-9]*|\.[0-9]+)`)},
	{"double", regexp.MustCompile(`^(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][+-]?[0-9]+`)},
	{"word", regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_@]*`)},
	{"digitword", regexp.MustCompile(`^[0-9][A-Za-z0-9_@]+`)},
	{"quoted", regexp.MustCompile("^(?:\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`)")},
	{"variable", regexp.MustCompile(`^\$\{[A-Za-z_][A-Za-z0-9_@]*\}`)},
	{"hidden", regexp.MustCompile(`^--@[^\r\n]*\r?\n?`)},
	{"hidden", regexp.MustCompile(`^--[^@][^\r\n]*\r?\n?`)},
	{"hidden", regexp.MustCompile(`^/\*(?s:.*?)\*/`)},
	{"hidden", regexp.MustCompile(`^[ \r\n\t]+`)},
	{"unrecognized", regexp.MustCompile(`^(?s:.)`)},
}

type lexeme struct{ kind, text string }

// lex returns the visible tokens of a statement as the server would see them.
func lex(sql string) []lexeme {
	var all []lexeme
	for sql != "" {
		var found lexeme
		for _, rule := range grammar {
			// Go's leftmost-first search is the longest match for every rule here:
			// each is greedy and has no alternative that is another's prefix.
			if text := rule.re.FindString(sql); len(text) > len(found.text) {
				found = lexeme{rule.kind, text}
			}
		}
		if found.kind != "hidden" {
			all = append(all, found)
		}
		sql = sql[len(found.text):]
	}
	return all
}

// takeLiteral reads one literal expression from the front of the tokens and
// returns its value: string, int64, *big.Rat (DECIMAL), float64, bool or []byte.
func takeLiteral(tokens []lexeme) (value any, rest []lexeme, err error) {
	if len(tokens) == 0 {
		return nil, nil, errors.New("no token left")
	}
	sign := ""
	if tokens[0].text == "-" && len(tokens) > 1 {
		sign, tokens = "-", tokens[1:]
	}
	t, rest := tokens[0], tokens[1:]
	switch {
	case t.kind == "integer":
		value, err = strconv.ParseInt(sign+t.text, 10, 64)
		return value, rest, err
	case t.kind == "decimal":
		r, ok := new(big.Rat).SetString(sign + t.text)
		if !ok {
			return nil, nil, errors.New("bad decimal")
		}
		return r, rest, nil
	case t.kind == "double":
		value, err = strconv.ParseFloat(sign+t.text, 64)
		return value, rest, err
	case sign != "":
		return nil, nil, errors.New("a minus before no number")
	case t.kind == "string":
		return strings.ReplaceAll(t.text[1:len(t.text)-1], "''", "'"), rest, nil
	case t.text == "true" || t.text == "false":
		return t.text == "true", rest, nil
	case t.text == "TO_BYTES" && len(rest) >= 5 && rest[0].text == "(" && rest[1].kind == "string" &&
		rest[2].text == "," && rest[3].text == "'base64'" && rest[4].text == ")":
		value, err = base64.StdEncoding.DecodeString(strings.Trim(rest[1].text, "'"))
		return value, rest[5:], err
	}
	return nil, nil, fmt.Errorf("%s %q is no literal", t.kind, t.text)
}
