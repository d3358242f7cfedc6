package ksqlmigrate

import (
	"crypto/md5" //nolint:gosec // ksql-migrations' choice; it tells files apart and protects nothing
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Migration is one file.
type Migration struct {
	// Version from the name, 1 to 999999.
	Version int
	// Name is what follows the version, with spaces for underscores.
	Name string
	// File is the name of the file.
	File string
	// SQL is its content.
	SQL string
	// Checksum is the MD5 of the content in lower-case hex, as ksql-migrations
	// keeps it.
	Checksum string
}

var fileName = regexp.MustCompile(`^V([0-9]{6})__(.+)\.sql$`)

// Load reads the files V<six digits>__<name>.sql of a folder, in the order of
// their versions. Other files are passed over, unless they end in .sql: those and
// two files of one version are errors, all of which are reported at once.
func Load(files fs.FS) ([]Migration, error) {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var (
		out  []Migration
		errs []error
	)
	for _, entry := range entries {
		if entry.IsDir() || path.Ext(entry.Name()) != ".sql" {
			continue
		}
		m := fileName.FindStringSubmatch(entry.Name())
		if m == nil {
			errs = append(errs, fmt.Errorf("%s: the name is not V<six digits>__<name>.sql", entry.Name()))
			continue
		}
		version, _ := strconv.Atoi(m[1]) // six digits
		if version == 0 {
			errs = append(errs, fmt.Errorf("%s: versions begin with 1", entry.Name()))
			continue
		}
		text, err := fs.ReadFile(files, entry.Name())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if i := slices.IndexFunc(out, func(o Migration) bool { return o.Version == version }); i >= 0 {
			errs = append(errs, fmt.Errorf("%s: has the version of %s", entry.Name(), out[i].File))
			continue
		}
		sum := md5.Sum(text) //nolint:gosec // see the import
		out = append(out, Migration{
			Version: version, Name: strings.ReplaceAll(m[2], "_", " "), File: entry.Name(), SQL: string(text), Checksum: hex.EncodeToString(sum[:]),
		})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	slices.SortFunc(out, func(a, b Migration) int { return a.Version - b.Version })
	return out, nil
}
