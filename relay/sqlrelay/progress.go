package sqlrelay

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/relay"
)

// Progress implements relay.Progress in the table relay_progress.
type Progress struct{ db *sqldb.DB }

// NewProgress makes a Progress; the database must be migrated.
func NewProgress(db *sqldb.DB) *Progress { return &Progress{db} }

// Marks implements relay.Progress.
func (p *Progress) Marks(ctx context.Context, source string) (map[string]int64, error) {
	rows, err := p.db.SQL().QueryContext(ctx, `SELECT channel, newest_offset FROM relay_progress WHERE source = $1`, source)
	if err != nil {
		return nil, fmt.Errorf("read progress: %w", err)
	}
	defer rows.Close()
	out := map[string]int64{}
	for rows.Next() {
		var channel string
		var offset int64
		if err := rows.Scan(&channel, &offset); err != nil {
			return nil, fmt.Errorf("read progress: %w", err)
		}
		out[channel] = offset
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read progress: %w", err)
	}
	return out, nil
}

// mark is a row as the statement reads it.
type mark struct {
	Source  string `json:"source"`
	Channel string `json:"channel"`
	Offset  int64  `json:"newest"`
}

// Save implements relay.Progress.
func (p *Progress) Save(ctx context.Context, marks []relay.Mark) error {
	// One row for each channel: PostgreSQL refuses to update a row twice.
	newest := map[[2]string]int64{}
	for _, m := range marks {
		at := [2]string{m.Source, m.Channel}
		if offset, again := newest[at]; !again || m.Offset > offset {
			newest[at] = m.Offset
		}
	}
	rows := make([]mark, 0, len(newest))
	for at, offset := range newest {
		rows = append(rows, mark{at[0], at[1], offset})
	}
	if len(rows) == 0 {
		return nil
	}
	text, err := sqldb.Batch(rows)
	if err != nil {
		return err
	}
	// Sorted, so that two replicas lock rows in one order. WHERE TRUE keeps SQLite
	// from reading ON as the condition of a join.
	err = p.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO relay_progress (source, channel, newest_offset)
			SELECT j.source, j.channel, j.newest FROM `+p.db.Dialect().Records("$1", "source TEXT", "channel TEXT", "newest BIGINT")+`
			WHERE TRUE ORDER BY 1, 2
			ON CONFLICT (source, channel) DO UPDATE SET newest_offset = excluded.newest_offset
			WHERE excluded.newest_offset > relay_progress.newest_offset`, text)
		return err
	})
	if err != nil {
		return fmt.Errorf("save progress: %w", err)
	}
	return nil
}

// Forget implements relay.Progress.
func (p *Progress) Forget(ctx context.Context, source string, below int64) error {
	err := p.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM relay_progress WHERE source = $1 AND newest_offset < $2`, source, below)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove progress: %w", err)
	}
	return nil
}
