package notifier

import (
	"errors"
	"slices"
	"strings"
)

// scannedQuery is what the compiler wants to know about a query. The query
// itself is the server's to judge.
type scannedQuery struct {
	placeholders []string // each once, in order of appearance
	words        []string // bare words in upper case
	trailing     bool     // something follows the first semicolon
}

var (
	errQueryNUL     = errors.New("holds a NUL character")
	errQueryString  = errors.New("a string, a quoted name or a comment does not end")
	errQueryDashes  = errors.New("a comment has nothing behind its two dashes: ksqlDB would take the next line into it")
	errQuerySelect  = errors.New("must be one SELECT statement")
	errQuerySecond  = errors.New("must be one statement: something follows the semicolon")
	errQueryEndless = errors.New("must be a pull query: one with EMIT never ends")
)

// scanQuery walks over a query once. Strings, quoted names and comments are
// stepped over, so that a colon inside them is no placeholder.
func scanQuery(q string) (scannedQuery, error) {
	var s scannedQuery
	seen := map[string]bool{}
	ended := false
	for i := 0; i < len(q); {
		c := q[i]
		switch {
		case c == 0:
			return s, errQueryNUL
		case c == '\'' || c == '"' || c == '`':
			// A doubled quote stands for itself; reading it as two strings side by side comes to the same.
			n := strings.IndexByte(q[i+1:], c)
			if n < 0 {
				return s, errQueryString
			}
			if strings.IndexByte(q[i:i+n+2], 0) >= 0 {
				return s, errQueryNUL
			}
			s.trailing = s.trailing || ended
			i += n + 2
		case strings.HasPrefix(q[i:], "--"):
			n := strings.IndexAny(q[i:], "\r\n")
			if n < 0 {
				n = len(q) - i
			}
			if n == 2 {
				return s, errQueryDashes
			}
			i += n
		case strings.HasPrefix(q[i:], "/*"):
			n := strings.Index(q[i+2:], "*/")
			if n < 0 {
				return s, errQueryString
			}
			i += n + 4
		case c == ';':
			ended = true
			i++
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case strings.HasPrefix(q[i:], "::"):
			s.trailing = s.trailing || ended
			i += 2
		case c == ':' && i+1 < len(q) && isNameStart(q[i+1]):
			end := nameEnd(q, i+1)
			if name := q[i+1 : end]; !seen[name] {
				seen[name] = true
				s.placeholders = append(s.placeholders, name)
			}
			s.trailing = s.trailing || ended
			i = end
		case isNameStart(c):
			end := nameEnd(q, i)
			s.words = append(s.words, strings.ToUpper(q[i:end]))
			s.trailing = s.trailing || ended
			i = end
		case c >= '0' && c <= '9':
			// 1E5 is a number, and the E no word.
			i = nameEnd(q, i)
			s.trailing = s.trailing || ended
		default:
			s.trailing = s.trailing || ended
			i++
		}
	}
	return s, nil
}

// check refuses what can never be a pull query.
func (s scannedQuery) check() error {
	if len(s.words) == 0 || s.words[0] != "SELECT" {
		return errQuerySelect
	}
	if s.trailing {
		return errQuerySecond
	}
	if slices.Contains(s.words, "EMIT") {
		return errQueryEndless
	}
	return nil
}

func isNameStart(c byte) bool {
	return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
}

func nameEnd(q string, i int) int {
	for i < len(q) && (isNameStart(q[i]) || (q[i] >= '0' && q[i] <= '9')) {
		i++
	}
	return i
}
