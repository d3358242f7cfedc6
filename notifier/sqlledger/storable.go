package sqlledger

import "strings"

// storable is a text from outside without what a text in PostgreSQL cannot hold:
// NUL and what is not UTF-8.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
