package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bugle-push/bugle/internal/sqldb"
)

// Database checks that the database can be opened and that its schema is one
// that this binary knows. A SQLite file that does not exist is not created: then
// its folder must be writable.
func Database(url string, o sqldb.Options) Check {
	const path = "database.url"
	return Check{Name: "database", Do: func(ctx context.Context) []Finding {
		if file, ok := strings.CutPrefix(url, "sqlite:"); ok && file != ":memory:" {
			file = strings.TrimPrefix(file, "//")
			found, exists := sqliteFile(path, file)
			if len(found) > 0 || !exists {
				return found
			}
		}
		db, err := sqldb.Open(ctx, url, o)
		if err != nil {
			mend := "give a database that Bugle made, or a new file in a folder that it may write to"
			if strings.HasPrefix(url, "postgres") {
				mend = "look whether the server runs and can be reached from here, and at the user, the password, the name of the database and its rights"
			}
			return []Finding{errorf(path, mend, "the database cannot be opened: %s", err)}
		}
		defer db.Close() //nolint:errcheck // it was only read
		current, newest, err := sqldb.Versions(ctx, db)
		switch {
		case err != nil:
			return []Finding{errorf(path, "give a database that Bugle made, or a new file", "the database's schema cannot be read: %s", err)}
		case current > newest:
			return []Finding{warningf(path, "nothing during a deployment or a way back, since steps only add; else run that newer Bugle",
				"a newer Bugle has migrated the database to version %d; this one knows versions up to %d", current, newest)}
		case current < newest:
			return []Finding{warningf(path, "nothing, or run bugle migrate up first: serve migrates at its start",
				"the database is at version %d; this Bugle will migrate it to %d", current, newest)}
		}
		return nil
	}}
}

// sqliteFile looks at the file, or at the folder that it will be created in.
func sqliteFile(path, file string) (found []Finding, exists bool) {
	info, err := os.Stat(file)
	switch {
	case err == nil && info.IsDir():
		return []Finding{errorf(path, "name a file in it", "%s is a folder", file)}, true
	case err == nil:
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			return []Finding{errorf(path, "make the file readable and writable for the user that runs Bugle", "%s", err)}, true
		}
		_ = f.Close() // nothing was written
		return nil, true
	case !errors.Is(err, fs.ErrNotExist):
		return []Finding{errorf(path, "correct the file's name", "%s", err)}, false
	}
	folder := filepath.Dir(file)
	mend := fmt.Sprintf("create the folder %s and make it writable for the user that runs Bugle", folder)
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return []Finding{errorf(path, mend, "the folder %s does not exist", folder)}, false
	}
	probe, err := os.CreateTemp(folder, ".bugle-check-*")
	if err != nil {
		return []Finding{errorf(path, mend, "the folder %s is not writable: %s", folder, err)}, false
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return nil, false
}
