package pgcluster

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bugle-push/bugle/internal/fault"
)

// ErrNotInstalled is returned where this machine has no PostgreSQL server.
var ErrNotInstalled error = fault.New(fault.NotFound, "no PostgreSQL server is installed here (postgres and initdb)")

// Find returns the folder of the server's programs, those of the newest version where several are
// installed. Debian keeps them out of the PATH.
func Find() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil && complete(filepath.Dir(path)) {
		return filepath.Dir(path), nil
	}
	var found []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",                               // Debian, Ubuntu
		"/usr/pgsql-*/bin",                                        // Red Hat
		"/usr/local/pgsql/bin", "/usr/local/opt/postgresql@*/bin", // built by hand, Homebrew
		"/opt/homebrew/opt/postgresql@*/bin",
	} {
		dirs, _ := filepath.Glob(pattern) // the patterns are right
		found = append(found, dirs...)
	}
	slices.SortStableFunc(found, func(a, b string) int { return version(b) - version(a) })
	for _, dir := range found {
		if complete(dir) {
			return dir, nil
		}
	}
	return "", ErrNotInstalled
}

// version is the number in a folder's name, 0 for none.
func version(dir string) int {
	for part := range strings.FieldsFuncSeq(dir, func(r rune) bool { return r < '0' || r > '9' }) {
		if n, err := strconv.Atoi(part); err == nil {
			return n
		}
	}
	return 0
}

func complete(dir string) bool {
	for _, program := range []string{"postgres", "initdb"} {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err != nil {
			return false
		}
	}
	return true
}
