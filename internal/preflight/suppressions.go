package preflight

import (
	"context"
	"errors"
	"slices"

	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/notifier"
)

// SuppressionImport checks that the server takes the query of an import, and
// that its result has the columns of one in types that fit.
func SuppressionImport(client KSQLDB, q *notifier.ImportQuery) Check {
	const path = "suppressions.import.query"
	return Check{Name: "suppressions", Do: func(ctx context.Context) []Finding {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		columns, err := client.Columns(ctx, q.Query, nil)
		if refused, ok := errors.AsType[*ksqlclient.Error](err); ok && refused.Code == ksqlclient.CodeBadStatement {
			return []Finding{errorf(path, "correct the query, or create what it reads", "ksqlDB refuses the query: %s", refused.Message)}
		}
		if err != nil {
			return []Finding{errorf(path, "run the query by hand", "the query fails: %s", err)}
		}
		var found []Finding
		for _, u := range q.Columns() {
			i := slices.IndexFunc(columns, func(c ksqlclient.Column) bool { return c.Name == u.Column })
			required := u.Column == "user_id" || u.Column == "reason"
			switch {
			case i < 0 && required:
				found = append(found, errorf(path, "add it to the SELECT of the query", "the query's result has no column %s", u.Column))
			case i < 0:
			default:
				if verdict, wants := suits(u.Need, columns[i].Type); verdict == suitsNot {
					found = append(found, errorf(path, "cast it in the query", "the column %s is %s, which is not %s", u.Column, columns[i].Type, wants))
				}
			}
		}
		for _, c := range columns {
			if !slices.ContainsFunc(q.Columns(), func(u notifier.ColumnUse) bool { return u.Column == c.Name }) {
				found = append(found, warningf(path, "leave it out; or, if it is from or until, give it that name: AS `until`",
					"nothing reads the column %s: without until a suppression is for good", c.Name))
			}
		}
		return found
	}}
}
