package sqlrelay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/relay"
)

// Progress implements relay.Progress in the table relay_progress.
type Progress struct{ db *sqldb.DB }

// NewProgress makes a Progress; the database must be migrated.
func NewProgress(db *sqldb.DB) *Progress { return &Progress{db} }

// Open implements relay.Progress.
func (p *Progress) Open(ctx context.Context, source string, end int64) (out map[string]relay.Mark, err error) {
	err = p.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := p.use(ctx, tx, []string{source}); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM relay_progress WHERE source = $1 AND newest_offset >= $2`, source, end); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT channel, newest_offset, epoch FROM relay_progress WHERE source = $1`, source)
		marks, err := sqldb.Collect(rows, err, func(r *sql.Rows) (relay.Mark, error) {
			m := relay.Mark{Source: source}
			return m, r.Scan(&m.Channel, &m.Offset, &m.Epoch)
		})
		out = make(map[string]relay.Mark, len(marks))
		for _, m := range marks {
			out[m.Channel] = m
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read progress: %w", err)
	}
	return out, nil
}

// Use implements relay.Progress.
func (p *Progress) Use(ctx context.Context, sources []string) error {
	err := p.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return p.use(ctx, tx, sources) })
	if err != nil {
		return fmt.Errorf("note progress in use: %w", err)
	}
	return nil
}

func (p *Progress) use(ctx context.Context, tx *sql.Tx, sources []string) error {
	now, err := p.db.Now(ctx, tx)
	if err != nil {
		return err
	}
	text, err := sqldb.Batch(sources)
	if err != nil {
		return err
	}
	// Sorted, so that two replicas lock rows in one order.
	_, err = tx.ExecContext(ctx, `INSERT INTO relay_sources (source, used_at)
		SELECT DISTINCT j.value, CAST($2 AS BIGINT) FROM `+p.db.Dialect().Texts("$1")+` WHERE TRUE ORDER BY 1
		ON CONFLICT (source) DO UPDATE SET used_at = excluded.used_at WHERE excluded.used_at > relay_sources.used_at`,
		text, sqldb.Micros(now))
	return err
}

// RemoveGone implements relay.SourceRemover: one source at a time, the one that
// was in use longest ago first.
func (p *Progress) RemoveGone(ctx context.Context, keep time.Duration, limit int) (removed int, more bool, err error) {
	err = p.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		removed, more = 0, false
		now, err := p.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		var source string
		err = tx.QueryRowContext(ctx, `SELECT source FROM relay_sources WHERE used_at < $1 ORDER BY used_at, source LIMIT 1`+p.db.Dialect().SkipLocked,
			sqldb.Micros(now.Add(-keep))).Scan(&source)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		more = true
		if removed, err = sqldb.Exec(ctx, tx, `DELETE FROM relay_progress WHERE source = $1 AND channel IN
			(SELECT channel FROM relay_progress WHERE source = $1 ORDER BY channel LIMIT $2)`, source, limit); err != nil || removed == limit {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM relay_sources WHERE source = $1`, source)
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("remove progress of what is gone: %w", err)
	}
	return removed, more, nil
}

// mark is a row as the statement reads it.
type mark struct {
	Source  string `json:"source"`
	Channel string `json:"channel"`
	Offset  int64  `json:"newest"`
	Epoch   int32  `json:"epoch"`
}

// Save implements relay.Progress.
func (p *Progress) Save(ctx context.Context, marks []relay.Mark) error {
	// One row for each channel: PostgreSQL refuses to update a row twice.
	newest := map[[2]string]mark{}
	for _, m := range marks {
		at := [2]string{m.Source, m.Channel}
		if old, again := newest[at]; !again || m.Epoch > old.Epoch || m.Epoch == old.Epoch && m.Offset > old.Offset {
			newest[at] = mark(m)
		}
	}
	rows := make([]mark, 0, len(newest))
	for _, m := range newest {
		rows = append(rows, m)
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
		_, err := tx.ExecContext(ctx, `INSERT INTO relay_progress (source, channel, newest_offset, epoch)
			SELECT j.source, j.channel, j.newest, j.epoch FROM `+p.db.Dialect().Records("$1", "source TEXT", "channel TEXT", "newest BIGINT", "epoch BIGINT")+`
			WHERE TRUE ORDER BY 1, 2
			ON CONFLICT (source, channel) DO UPDATE SET newest_offset = excluded.newest_offset, epoch = excluded.epoch
			WHERE excluded.epoch > relay_progress.epoch
				OR excluded.epoch = relay_progress.epoch AND excluded.newest_offset > relay_progress.newest_offset`, text)
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
