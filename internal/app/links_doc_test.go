package app_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

var (
	docLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	docHeading = regexp.MustCompile(`^#{1,6} +(.+?) *$`)
	inlineCode = regexp.MustCompile("`[^`]*`")
)

// Every relative link in the documents leads to a file that is there, and every
// anchor to a heading in it.
func TestLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	files, err := filepath.Glob(filepath.Join(root, "*.md"))
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(filepath.Join(root, "docs"), func(name string, _ fs.DirEntry, err error) error {
		if filepath.Ext(name) == ".md" {
			files = append(files, name)
		}
		return err
	}))
	anchors := map[string]map[string]bool{} // by file
	for _, file := range files {
		anchors[file] = headings(proseOf(t, file))
	}
	checked := 0
	var broken []string
	for _, file := range files {
		for i, line := range proseOf(t, file) {
			for _, m := range docLink.FindAllStringSubmatch(inlineCode.ReplaceAllString(line, "code"), -1) {
				if strings.Contains(m[1], ":") {
					continue // somewhere else in the world
				}
				checked++
				name, anchor, _ := strings.Cut(m[1], "#")
				target := file
				if name != "" {
					target = filepath.Join(filepath.Dir(file), filepath.FromSlash(name))
				}
				if _, err := os.Stat(target); err != nil {
					broken = append(broken, fmt.Sprintf("%s:%d: %s: no such file", file, i+1, m[1]))
					continue
				}
				if known, is := anchors[target]; anchor != "" && (!is || !known[anchor]) {
					broken = append(broken, fmt.Sprintf("%s:%d: %s: no such heading", file, i+1, m[1]))
				}
			}
		}
	}
	require.Empty(t, broken)
	require.Greater(t, checked, 100, "the links are not found any more")
}

// proseOf returns the lines of a file, empty where they are part of a block of code.
func proseOf(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines, fenced := strings.Split(string(text), "\n"), false
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fenced || fence {
			lines[i] = ""
		}
		fenced = fenced != fence
	}
	return lines
}

// headings returns the anchors that GitHub makes of headings: small letters,
// digits, "-" and "_" stay, spaces become "-", the rest goes; a second one of
// the same name gets a number.
func headings(lines []string) map[string]bool {
	out, seen := map[string]bool{}, map[string]int{}
	for _, line := range lines {
		m := docHeading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		text := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(m[1], "$1")
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, text)
		if n := seen[slug]; n > 0 {
			out[fmt.Sprintf("%s-%d", slug, n)] = true
		} else {
			out[slug] = true
		}
		seen[slug]++
	}
	return out
}
