package ksqldb

import "strings"

// tokenKind classifies a token of SQL.
type tokenKind int

const (
	tokenEnd      tokenKind = iota
	tokenWord               // an unquoted identifier or a keyword, text in upper case
	tokenQuoted             // an identifier in back-quotes or double quotes, text without them
	tokenString             // a string literal, text unescaped
	tokenInteger            // digits
	tokenDecimal            // digits with a point
	tokenFloat              // a number with an exponent
	tokenDigits             // an identifier that starts with a digit
	tokenVariable           // ${name}
	tokenSymbol             // punctuation or an operator
)

// token is one token and the byte offsets of its text in the statement.
type token struct {
	kind     tokenKind
	text     string
	from, to int
}

// lex splits SQL into tokens, dropping white space and comments. A character
// that no token can begin with, such as the colon of a forgotten placeholder,
// is a syntax error: so is a string or a comment without an end.
func lex(sql string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
			continue
		case strings.HasPrefix(sql[i:], "--"):
			if end := strings.IndexByte(sql[i:], '\n'); end >= 0 {
				i += end + 1
			} else {
				i = len(sql)
			}
			continue
		case strings.HasPrefix(sql[i:], "/*"):
			end := strings.Index(sql[i+2:], "*/")
			if end < 0 {
				return nil, syntaxError(sql, i)
			}
			i += 2 + end + 2
			continue
		}
		t, ok := lexOne(sql, i)
		if !ok {
			return nil, syntaxError(sql, i)
		}
		tokens = append(tokens, t)
		i = t.to
	}
	return append(tokens, token{kind: tokenEnd, from: len(sql), to: len(sql)}), nil
}

func lexOne(sql string, i int) (token, bool) {
	switch c := sql[i]; {
	case c == '\'':
		return lexQuoted(sql, i, tokenString)
	case c == '`' || c == '"':
		return lexQuoted(sql, i, tokenQuoted)
	case isLetter(c) || c == '_':
		end := i + 1
		for end < len(sql) && isIdentifierPart(sql[end]) {
			end++
		}
		return token{tokenWord, strings.ToUpper(sql[i:end]), i, end}, true
	case isDigit(c) || c == '.' && i+1 < len(sql) && isDigit(sql[i+1]):
		return lexNumber(sql, i), true
	case strings.HasPrefix(sql[i:], "${"):
		end := strings.IndexByte(sql[i:], '}')
		if end < 0 {
			return token{}, false
		}
		return token{tokenVariable, sql[i : i+end+1], i, i + end + 1}, true
	}
	for _, symbol := range []string{"<>", "!=", "<=", ">=", ":=", "->", "=>", "||"} {
		if strings.HasPrefix(sql[i:], symbol) {
			return token{tokenSymbol, symbol, i, i + 2}, true
		}
	}
	if strings.IndexByte("=<>+-*/%(),.;[]", sql[i]) >= 0 {
		return token{tokenSymbol, sql[i : i+1], i, i + 1}, true
	}
	return token{}, false
}

// lexQuoted reads a quoted token; the quote itself is written twice inside.
func lexQuoted(sql string, i int, kind tokenKind) (token, bool) {
	quote := sql[i]
	var b strings.Builder
	for j := i + 1; j < len(sql); j++ {
		if sql[j] != quote {
			b.WriteByte(sql[j])
			continue
		}
		if j+1 < len(sql) && sql[j+1] == quote {
			b.WriteByte(quote)
			j++
			continue
		}
		return token{kind, b.String(), i, j + 1}, true
	}
	return token{}, false
}

// lexNumber takes the longest number or identifier that starts with a digit, as
// ANTLR would.
func lexNumber(sql string, i int) token {
	end, kind := i, tokenInteger
	for end < len(sql) && isDigit(sql[end]) {
		end++
	}
	word := end
	for word < len(sql) && isIdentifierPart(sql[word]) {
		word++
	}
	if end < len(sql) && sql[end] == '.' {
		kind = tokenDecimal
		end++
		for end < len(sql) && isDigit(sql[end]) {
			end++
		}
	}
	if end < len(sql) && (sql[end] == 'e' || sql[end] == 'E') {
		exp := end + 1
		if exp < len(sql) && (sql[exp] == '+' || sql[exp] == '-') {
			exp++
		}
		if exp < len(sql) && isDigit(sql[exp]) {
			for exp < len(sql) && isDigit(sql[exp]) {
				exp++
			}
			kind, end = tokenFloat, exp
		}
	}
	if word > end {
		return token{tokenDigits, strings.ToUpper(sql[i:word]), i, word}
	}
	return token{kind, sql[i:end], i, end}
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isIdentifierPart(c byte) bool {
	return isLetter(c) || isDigit(c) || c == '_' || c == '@'
}

// syntaxError refuses the statement at a byte offset. The text quotes nothing,
// so that no literal of a query ends up in somebody's log.
func syntaxError(sql string, at int) *apiError {
	line := 1 + strings.Count(sql[:at], "\n")
	column := at - strings.LastIndexByte(sql[:at], '\n')
	return refuse("line %d:%d: Syntax Error", line, column)
}

// splitStatements cuts a token list at its semicolons. It is an error if tokens
// follow the last semicolon.
func splitStatements(sql string, tokens []token) ([][]token, error) {
	var statements [][]token
	begin := 0
	for i, t := range tokens {
		switch {
		case t.kind == tokenSymbol && t.text == ";":
			if i == begin {
				return nil, syntaxError(sql, t.from)
			}
			end := token{kind: tokenEnd, from: t.from, to: t.from}
			statements = append(statements, append(tokens[begin:i:i], end))
			begin = i + 1
		case t.kind == tokenEnd && i > begin:
			return nil, syntaxError(sql, t.from) // the semicolon is missing
		}
	}
	return statements, nil
}
