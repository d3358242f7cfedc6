package sqldb

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
	// each is the table function that yields the elements of a JSON array.
	each string
}

var sqliteDialect = Dialect{Name: "sqlite", each: "json_each(%) AS j"}

// Each is a FROM item with the alias j whose column "value" runs through the
// elements of the JSON array in the parameter ("$1"): one parameter carries a
// whole batch. Objects are taken apart with j.value ->> 'name', which both
// databases have; wrap numbers in CAST(… AS BIGINT).
func (d Dialect) Each(param string) string {
	out := make([]byte, 0, len(d.each)+len(param))
	for i := range len(d.each) {
		if d.each[i] == '%' {
			out = append(out, param...)
			continue
		}
		out = append(out, d.each[i])
	}
	return string(out)
}
