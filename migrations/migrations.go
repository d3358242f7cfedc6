// Package migrations holds the schema of Bugle's own database, step by step,
// and the ksqlDB statements that create the views which the built-in rules
// read. Steps go forward only: a step that has been released is never changed.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed sqlite/*.sql
var sqliteFiles embed.FS

//go:embed postgres/*.sql
var postgresFiles embed.FS

//go:embed ksqldb/*.sql
var ksqlFiles embed.FS

// SQLite returns the steps for SQLite.
func SQLite() fs.FS { return sub(sqliteFiles, "sqlite") }

// Postgres returns the steps for PostgreSQL: the same versions under the same
// names, with what its types and locks want otherwise.
func Postgres() fs.FS { return sub(postgresFiles, "postgres") }

// KSQLDB returns the statements for ksqlDB, in the naming of ksql-migrations.
func KSQLDB() fs.FS { return sub(ksqlFiles, "ksqldb") }

func sub(files embed.FS, dir string) fs.FS {
	out, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // the folder is named in the embed directive above
	}
	return out
}
