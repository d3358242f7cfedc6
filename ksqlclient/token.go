package ksqlclient

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

type tokenKind int

const (
	tokenSpace   tokenKind = iota // white space and comments
	tokenWord                     // unquoted identifier or keyword
	tokenQuoted                   // "identifier" or `identifier`
	tokenString                   // 'literal'
	tokenNumber                   // 1, 1.5, 1E5
	tokenParam                    // :name
	tokenOther                    // operators and punctuation
	tokenDivider                  // ;
)

type token struct {
	kind tokenKind
	text string
	pos  int
}

// word reports whether the token is the given keyword, which is in upper case.
func (t token) word(keyword string) bool {
	return t.kind == tokenWord && strings.EqualFold(t.text, keyword)
}

// tokenize splits a statement as ksqlDB's lexer does (SqlBase.g4), plus :name
// placeholders. The texts of all tokens joined are the statement.
func tokenize(sql string) ([]token, error) {
	if !utf8.ValidString(sql) {
		return nil, fmt.Errorf("%w: not valid UTF-8", ErrStatement)
	}
	if i := strings.IndexByte(sql, 0); i >= 0 {
		return nil, fmt.Errorf("%w: NUL byte at offset %d", ErrStatement, i)
	}
	var tokens []token
	for pos := 0; pos < len(sql); {
		kind, n, err := nextToken(sql[pos:])
		if err != nil {
			return nil, fmt.Errorf("%w: %w at offset %d", ErrStatement, err, pos)
		}
		tokens = append(tokens, token{kind: kind, text: sql[pos : pos+n], pos: pos})
		pos += n
	}
	return tokens, nil
}

// nextToken returns the kind and the length of the first token of s, which is
// not empty.
func nextToken(s string) (tokenKind, int, error) {
	switch c := s[0]; {
	case isSpace(c):
		return tokenSpace, span(s, isSpace), nil
	case isLetter(c):
		return tokenWord, span(s, isWordByte), nil
	case isDigit(c), c == '.' && len(s) > 1 && isDigit(s[1]):
		kind, n := number(s)
		return kind, n, nil
	case c == '\'':
		n, err := quoted(s, "string literal")
		return tokenString, n, err
	case c == '"' || c == '`':
		n, err := quoted(s, "quoted identifier")
		return tokenQuoted, n, err
	case strings.HasPrefix(s, "--"):
		n, err := lineComment(s)
		return tokenSpace, n, err
	case strings.HasPrefix(s, "/*"):
		// Block comments do not nest.
		end := strings.Index(s[2:], "*/")
		if end < 0 {
			return 0, 0, fmt.Errorf("unterminated comment")
		}
		return tokenSpace, end + 4, nil
	case c == ';':
		return tokenDivider, 1, nil
	case c == ':' && len(s) > 1 && isLetter(s[1]):
		return tokenParam, 1 + span(s[1:], isNameByte), nil
	}
	for _, op := range []string{":=", "::", "<>", "!=", "<=", ">=", "->", "=>", "||"} {
		if strings.HasPrefix(s, op) {
			return tokenOther, len(op), nil
		}
	}
	_, n := utf8.DecodeRuneInString(s)
	return tokenOther, n, nil
}

// quoted measures a literal or identifier whose only escape is its doubled
// delimiter.
func quoted(s, what string) (int, error) {
	for i := 1; i < len(s); i++ {
		if s[i] != s[0] {
			continue
		}
		if i+1 < len(s) && s[i+1] == s[0] {
			i++
			continue
		}
		return i + 1, nil
	}
	return 0, fmt.Errorf("unterminated %s", what)
}

// lineComment measures a -- comment without its line end. ksqlDB's grammar takes
// any character after the two dashes into the comment, a line break too, so a
// bare "--" line silently comments out the line below it. That is never meant,
// and a value bound on that line would stand inside a comment that it could
// end: refused.
func lineComment(s string) (int, error) {
	n := strings.IndexAny(s, "\r\n")
	if n < 0 {
		n = len(s)
	}
	if n == 2 {
		return 0, fmt.Errorf("empty -- comment, which ksqlDB extends over the next line")
	}
	return n, nil
}

// number measures a numeric literal; digits that run into letters are one word,
// as in ksqlDB's DIGIT_IDENTIFIER.
func number(s string) (tokenKind, int) {
	n := span(s, isDigit)
	if n < len(s) && s[n] == '.' {
		n++
		n += span(s[n:], isDigit)
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		m := n + 1
		if m < len(s) && (s[m] == '+' || s[m] == '-') {
			m++
		}
		if d := span(s[m:], isDigit); d > 0 {
			n = m + d
		}
	}
	// The longest match wins: 1E5X is an identifier, 1.5X a number and a word.
	if w := span(s, isWordByte); w > n {
		return tokenWord, w
	}
	return tokenNumber, n
}

func span(s string, in func(byte) bool) int {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

func isSpace(c byte) bool    { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isLetter(c byte) bool   { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isNameByte(c byte) bool { return isLetter(c) || isDigit(c) }
func isWordByte(c byte) bool { return isNameByte(c) || c == '@' }

// significant drops white space and comments.
func significant(tokens []token) []token {
	kept := make([]token, 0, len(tokens))
	for _, t := range tokens {
		if t.kind != tokenSpace {
			kept = append(kept, t)
		}
	}
	return kept
}

// terminated returns the statement with its final semicolon, added on a line of
// its own where a comment would swallow it.
func terminated(sql string) (string, []token, error) {
	tokens, err := tokenize(sql)
	if err != nil {
		return "", nil, err
	}
	kept := significant(tokens)
	if len(kept) == 0 {
		return "", nil, fmt.Errorf("%w: empty", ErrStatement)
	}
	if kept[len(kept)-1].kind == tokenDivider {
		return sql, kept, nil
	}
	if strings.HasPrefix(tokens[len(tokens)-1].text, "--") {
		sql += "\n"
	}
	return sql + ";", append(kept, token{kind: tokenDivider, text: ";", pos: len(sql)}), nil
}

// pullStatement checks that the statement is one SELECT without EMIT and
// returns it with its semicolon.
func pullStatement(sql string) (string, error) {
	sql, tokens, err := terminated(sql)
	if err != nil {
		return "", err
	}
	if !tokens[0].word("SELECT") {
		return "", fmt.Errorf("%w: a pull query begins with SELECT", ErrStatement)
	}
	for i, t := range tokens {
		if t.kind == tokenDivider && i < len(tokens)-1 {
			return "", fmt.Errorf("%w: more than one statement", ErrStatement)
		}
		if t.word("EMIT") && (tokens[i+1].word("CHANGES") || tokens[i+1].word("FINAL")) {
			return "", fmt.Errorf("%w: EMIT makes it a push query, which never ends", ErrStatement)
		}
	}
	return sql, nil
}

// QuoteIdentifier returns the name in back-quotes, doubling those it contains.
// ksqlDB takes quoted names case by case, while unquoted ones are upper-cased.
// It does not check that the server accepts the name.
func QuoteIdentifier(name string) string {
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}
