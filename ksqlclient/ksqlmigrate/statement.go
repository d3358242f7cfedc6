package ksqlmigrate

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
)

// Statement is one statement of a file, ready to be sent.
type Statement struct {
	// SQL has no comments, its variables are replaced, and it ends with a
	// semicolon.
	SQL string
	// Properties are those that were SET before it.
	Properties map[string]any
}

// Statements splits the file, follows its SET and DEFINE, and returns what has to
// be sent. A variable in defines has that value whatever the file DEFINEs; with
// ksql-migrations, which has the same option, the file's DEFINE would win.
//
// Errors: a string or comment without end, a statement without semicolon or of a
// kind that ksql-migrations refuses, a variable that is not defined. They name
// the line.
func (m Migration) Statements(defines map[string]string) ([]Statement, error) {
	pieces, err := split(m.SQL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.File, err)
	}
	var (
		out        []Statement
		properties = map[string]any{}
		variables  = maps.Clone(defines)
	)
	if variables == nil {
		variables = map[string]string{}
	}
	for _, p := range pieces {
		sql, err := substitute(p.sql, variables)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", m.File, p.line, err)
		}
		switch kind := kindOf(sql); kind {
		case kindSet, kindUnset, kindDefine, kindUndefine:
			name, value, ok := assignment(sql)
			if !ok {
				return nil, fmt.Errorf("%s: line %d: %s is not of the form %s", m.File, p.line, kind, forms[kind])
			}
			switch kind {
			case kindSet:
				properties = maps.Clone(properties)
				properties[name] = value
			case kindUnset:
				properties = maps.Clone(properties)
				delete(properties, name)
			case kindDefine:
				if _, given := defines[name]; !given {
					variables[name] = value
				}
			default: // UNDEFINE
				if _, given := defines[name]; !given {
					delete(variables, name)
				}
			}
		case kindRefused:
			return nil, fmt.Errorf("%s: line %d: ksql-migrations takes no statement that begins %q", m.File, p.line, beginning(sql))
		case kindChange:
			out = append(out, Statement{SQL: sql, Properties: properties})
		}
	}
	return out, nil
}

// kind is what is done with a statement.
type kind string

const (
	kindRefused  kind = ""
	kindChange   kind = "change"
	kindSet      kind = "SET"
	kindUnset    kind = "UNSET"
	kindDefine   kind = "DEFINE"
	kindUndefine kind = "UNDEFINE"
)

var forms = map[kind]string{
	kindSet: "SET 'name' = 'value';", kindUnset: "UNSET 'name';", kindDefine: "DEFINE name = 'value';", kindUndefine: "UNDEFINE name;",
}

// permitted are the beginnings that ksql-migrations takes (ksqlDB: "Manage
// metadata schemas", supported statements).
var permitted = regexp.MustCompile(`(?is)^(` +
	`CREATE(\s+OR\s+REPLACE)?(\s+SOURCE)?\s+(STREAM|TABLE)|CREATE\s+(SOURCE|SINK)\s+CONNECTOR|CREATE\s+TYPE|` +
	`DROP\s+(STREAM|TABLE|CONNECTOR|TYPE)|ALTER\s+(STREAM|TABLE)|INSERT\s+INTO|` +
	`PAUSE|RESUME|TERMINATE|ASSERT(\s+NOT\s+EXISTS)?\s+(TOPIC|SCHEMA))\b`)

func kindOf(sql string) kind {
	word, _, _ := strings.Cut(strings.TrimRight(strings.TrimSpace(sql), ";"), " ")
	switch k := kind(strings.ToUpper(strings.TrimSpace(word))); k {
	case kindSet, kindUnset, kindDefine, kindUndefine:
		return k
	default:
		if permitted.MatchString(strings.TrimSpace(sql)) {
			return kindChange
		}
		return kindRefused
	}
}

func beginning(sql string) string {
	words := strings.Fields(sql)
	return strings.Join(words[:min(2, len(words))], " ")
}

var assigned = regexp.MustCompile(`(?is)^\s*(?:SET|UNSET|DEFINE|UNDEFINE)\s+('(?:[^']|'')+'|[A-Za-z_][A-Za-z0-9_]*)\s*(?:=\s*('(?:[^']|'')*'))?\s*;$`)

// assignment reads SET, UNSET, DEFINE or UNDEFINE.
func assignment(sql string) (name, value string, ok bool) {
	m := assigned.FindStringSubmatch(sql)
	if m == nil {
		return "", "", false
	}
	k := kindOf(sql)
	quoted := strings.HasPrefix(m[1], "'")
	wants := k == kindSet || k == kindDefine
	if wants != (m[2] != "") || quoted != (k == kindSet || k == kindUnset) {
		return "", "", false
	}
	return unquote(m[1]), unquote(m[2]), true
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '\'' {
		return s
	}
	return strings.ReplaceAll(s[1:len(s)-1], "''", "'")
}

// piece is a statement with its semicolon, without comments.
type piece struct {
	sql  string
	line int // on which it begins
}

// split cuts a file at its semicolons, as ksql-migrations does: -- comments end
// with their line, an empty one too, which the server itself would let run on.
func split(sql string) ([]piece, error) {
	var (
		out  []piece
		b    strings.Builder
		line = 1
		from = 0 // line of the statement's first character
	)
	for i := 0; i < len(sql); {
		n, comment := 1, false
		switch c := sql[i]; {
		case c == '\'' || c == '`':
			end := strings.IndexByte(sql[i+1:], c)
			if end < 0 {
				return nil, fmt.Errorf("line %d: %c without end", line, c)
			}
			n = end + 2
		case strings.HasPrefix(sql[i:], "--"):
			if n = strings.IndexByte(sql[i:], '\n'); n < 0 {
				return nil, fmt.Errorf("line %d: a comment without line end, which ksql-migrations refuses", line)
			}
			comment = true
		case strings.HasPrefix(sql[i:], "/*"):
			end := strings.Index(sql[i+2:], "*/")
			if end < 0 {
				return nil, fmt.Errorf("line %d: a comment without end", line)
			}
			n, comment = end+4, true
		case c == ';':
			if strings.TrimSpace(b.String()) == "" {
				return nil, fmt.Errorf("line %d: a semicolon without statement", line)
			}
			out = append(out, piece{strings.TrimSpace(b.String()) + ";", from})
			b.Reset()
			from = 0
			i++
			continue
		}
		text := sql[i : i+n]
		if !comment {
			if from == 0 && strings.TrimSpace(text) != "" {
				from = line
			}
			b.WriteString(text)
		}
		line += strings.Count(text, "\n")
		i += n
	}
	if rest := strings.TrimSpace(b.String()); rest != "" {
		return nil, fmt.Errorf("line %d: the last statement has no semicolon", from)
	}
	return out, nil
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// substitute replaces ${name} once; what a value contains is not looked at again.
// Inside a string a quote of the value is doubled, so that it stays in the string.
func substitute(sql string, variables map[string]string) (string, error) {
	var b strings.Builder
	inString, from := false, 0
	for _, at := range variable.FindAllStringSubmatchIndex(sql, -1) {
		before := sql[from:at[0]]
		if strings.Count(before, "'")%2 == 1 {
			inString = !inString
		}
		name := sql[at[2]:at[3]]
		value, ok := variables[name]
		if !ok {
			return "", fmt.Errorf("the variable %s is not defined (DEFINE it in the file, or give it with the command)", name)
		}
		if inString {
			value = strings.ReplaceAll(value, "'", "''")
		}
		b.WriteString(before + value)
		from = at[1]
	}
	return b.String() + sql[from:], nil
}
