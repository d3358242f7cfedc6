package notifier

// Row is one row that a Source delivered. Names are lower case. Values are of a
// small set that survives JSON unchanged, because a row is kept with its
// notification and rendered again at each attempt:
//
//	nil, bool, string
//	json.Number  every number: BIGINT and DECIMAL stay exact
//	string       also TIMESTAMP (RFC 3339, UTC, "2026-09-01T14:30:00Z"), DATE ("2026-09-01"),
//	             TIME ("14:30:05") and BYTES (base64)
//	[]any, map[string]any   of the same
type Row map[string]any

// Names tells whether a column of the row has the text as its value.
func (r Row) Names(text string) bool {
	for _, v := range r {
		if have, ok := plainText(v); ok && have == text {
			return true
		}
	}
	return false
}
