package sqldbtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/sqldb"
)

// Statement is what somebody asked a database.
type Statement struct {
	SQL  string
	Args []any
}

// Watch keeps the statements that a database is asked while somebody looks.
type Watch struct {
	mu      sync.Mutex
	looking bool
	seen    []Statement
}

// During returns the statements that came while do ran.
func (w *Watch) During(do func()) []Statement {
	w.mu.Lock()
	w.looking, w.seen = true, nil
	w.mu.Unlock()
	do()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looking = false
	return w.seen
}

func (w *Watch) see(query string, args []driver.NamedValue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.looking {
		return
	}
	s := Statement{SQL: query}
	for _, a := range args {
		s.Args = append(s.Args, a.Value)
	}
	w.seen = append(w.seen, s)
}

func watchSQLite(t testing.TB) (*sqldb.DB, *Watch) {
	t.Helper()
	w := &Watch{}
	return openWith(t, "sqlite:"+filepath.Join(t.TempDir(), "bugle.db"), sqldb.Options{Connector: w.wrap}), w
}

func watchPostgres(t testing.TB) (*sqldb.DB, *Watch) {
	t.Helper()
	w := &Watch{}
	return openWith(t, PostgresURL(t), sqldb.Options{Connector: w.wrap}), w
}

func (w *Watch) wrap(c driver.Connector) driver.Connector { return watchedConnector{c, w} }

type watchedConnector struct {
	driver.Connector
	watch *Watch
}

// Connect opens a connection that is watched.
func (c watchedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return watchedConn{conn, c.watch}, nil
}

// watchedConn hands on all that database/sql asks of the two drivers.
type watchedConn struct {
	driver.Conn
	watch *Watch
}

// QueryContext queries.
func (c watchedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.watch.see(query, args)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

// ExecContext executes.
func (c watchedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.watch.see(query, args)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

// BeginTx begins a transaction.
func (c watchedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

// Ping asks whether the database is there.
func (c watchedConn) Ping(ctx context.Context) error {
	if p, ok := c.Conn.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

// CheckNamedValue converts a parameter.
func (c watchedConn) CheckNamedValue(v *driver.NamedValue) error {
	if p, ok := c.Conn.(driver.NamedValueChecker); ok {
		return p.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// ResetSession makes a connection ready for its next user.
func (c watchedConn) ResetSession(ctx context.Context) error {
	if p, ok := c.Conn.(driver.SessionResetter); ok {
		return p.ResetSession(ctx)
	}
	return nil
}

// Plan is how a database would answer a statement.
type Plan struct {
	// Text is for reading.
	Text string
	// Rows counts the rows that were read, or -1 where the database does not tell (SQLite).
	Rows int
	// Scans are the tables that are read from one end on, by no condition: as a whole, or along an
	// index until there are enough.
	Scans []string
	// Sorts says that what was found is put in order.
	Sorts bool
}

// Explain asks for the plan of a query. PostgreSQL runs it to count what it reads.
func Explain(t testing.TB, db *sqldb.DB, s Statement) Plan {
	t.Helper()
	if db.Dialect().Name == "sqlite" {
		return explainSQLite(t, db, s)
	}
	var text string
	err := db.SQL().QueryRowContext(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) `+s.SQL, s.Args...).Scan(&text)
	require.NoError(t, err, s.SQL)
	var plans []struct{ Plan pgNode }
	require.NoError(t, json.Unmarshal([]byte(text), &plans))
	var out Plan
	for _, p := range plans {
		p.Plan.add(&out, 0)
	}
	return out
}

// pgNode is a step of PostgreSQL's plan.
type pgNode struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Index    string  `json:"Index Name"`
	Cond     string  `json:"Index Cond"`
	Filter   string  `json:"Filter"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Removed  float64 `json:"Rows Removed by Filter"`
	Recheck  float64 `json:"Rows Removed by Index Recheck"`
	Plans    []pgNode
}

func (n pgNode) add(p *Plan, depth int) {
	line := strings.Repeat("  ", depth) + n.Type
	if n.Relation != "" {
		line += " on " + n.Relation
	}
	if n.Index != "" {
		line += " by " + n.Index
	}
	if n.Cond != "" {
		line += " where " + n.Cond
	}
	if n.Filter != "" {
		line += " if " + n.Filter
	}
	p.Text += fmt.Sprintf("%s, %.0f rows, %.0f times\n", line, n.Rows, n.Loops)
	if strings.Contains(n.Type, "Scan") && n.Relation != "" {
		p.Rows += int((n.Rows + n.Removed + n.Recheck) * n.Loops)
		if n.Type == "Seq Scan" || n.Index != "" && n.Cond == "" {
			p.Scans = append(p.Scans, n.Relation)
		}
	}
	p.Sorts = p.Sorts || strings.Contains(n.Type, "Sort")
	for _, child := range n.Plans {
		child.add(p, depth+1)
	}
}

func explainSQLite(t testing.TB, db *sqldb.DB, s Statement) Plan {
	t.Helper()
	rows, err := db.SQL().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+s.SQL, s.Args...)
	steps, err := sqldb.Collect(rows, err, func(r *sql.Rows) (step string, err error) {
		var id, parent, unused int
		return step, r.Scan(&id, &parent, &unused, &step)
	})
	require.NoError(t, err, s.SQL)
	out := Plan{Text: strings.Join(steps, "\n") + "\n", Rows: -1}
	for _, step := range steps {
		if table, ok := strings.CutPrefix(step, "SCAN "); ok {
			out.Scans = append(out.Scans, strings.Fields(table)[0])
		}
		out.Sorts = out.Sorts || strings.Contains(step, "TEMP B-TREE FOR ORDER BY")
	}
	return out
}
