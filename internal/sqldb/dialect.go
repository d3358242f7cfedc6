package sqldb

import "strings"

// Dialect holds the pieces of SQL text in which the databases differ.
type Dialect struct {
	// Name is "sqlite" or "postgres".
	Name string
	// ForUpdate is the suffix of a SELECT that locks its rows; empty on SQLite,
	// whose writing transaction already excludes every other.
	ForUpdate string
	// SkipLocked is the suffix of a SELECT that locks rows and passes over those
	// that somebody else holds.
	SkipLocked string
	// Clock is an expression for the present time by the database's clock, in
	// microseconds; 0 on SQLite, which has none.
	Clock string
}

// The names of the dialects.
const (
	nameSQLite   = "sqlite"
	namePostgres = "postgres"
)

var (
	sqliteDialect   = Dialect{Name: nameSQLite, Clock: "0"}
	postgresDialect = Dialect{
		Name: namePostgres, ForUpdate: " FOR UPDATE", SkipLocked: " FOR UPDATE SKIP LOCKED",
		Clock: "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
	}
)

// Records is a FROM item with the alias j over the JSON array of objects in the
// parameter ("$1"): one parameter carries a whole batch. Each column is a name
// and a type, "id BIGINT"; the types are BIGINT, TEXT and BOOLEAN. A member that
// an object lacks is NULL.
func (d Dialect) Records(param string, columns ...string) string {
	if d.Name == namePostgres {
		return "json_to_recordset(CAST(" + param + " AS JSON)) AS j (" + strings.Join(columns, ", ") + ")"
	}
	var b strings.Builder
	b.WriteString("(SELECT ")
	for i, column := range columns {
		name, kind, _ := strings.Cut(column, " ")
		if i > 0 {
			b.WriteString(", ")
		}
		if kind == "TEXT" {
			b.WriteString("value ->> '" + name + "' AS " + name)
		} else {
			b.WriteString("CAST(value ->> '" + name + "' AS BIGINT) AS " + name)
		}
	}
	b.WriteString(" FROM json_each(" + param + ")) AS j")
	return b.String()
}

// Texts is a FROM item with the alias j whose column "value" runs through the
// strings of a JSON array: a parameter or a column.
func (d Dialect) Texts(expression string) string {
	if d.Name == namePostgres {
		return "json_array_elements_text(CAST(" + expression + " AS JSON)) AS j (value)"
	}
	return "json_each(" + expression + ") AS j"
}

// Objects is an aggregate of rows: a text with a JSON array of objects that have
// the columns as members. Of no rows it is "[]".
func (d Dialect) Objects(columns ...string) string {
	members := make([]string, len(columns))
	for i, column := range columns {
		_, name, ok := strings.Cut(column, ".")
		if !ok {
			name = column
		}
		members[i] = "'" + name + "', " + column
	}
	if d.Name == namePostgres {
		return "COALESCE(CAST(json_agg(json_build_object(" + strings.Join(members, ", ") + ")) AS TEXT), '[]')"
	}
	return "json_group_array(json_object(" + strings.Join(members, ", ") + "))"
}
