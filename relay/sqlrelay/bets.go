package sqlrelay

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/relay/bets"
)

// Bets keeps what Ably's webhooks bring: the outbox of bets, and presence. It
// serves bets.Book, bets.Outbox and bets.Remover.
type Bets struct{ db *sqldb.DB }

// NewBets returns the books on a migrated database.
func NewBets(db *sqldb.DB) *Bets { return &Bets{db: db} }

// kept is a row on its way in.
type kept struct {
	No        int    `json:"no"`
	MessageID string `json:"message_id"`
	Channel   string `json:"channel"`
	Kind      string `json:"kind"`
	Reason    string `json:"reason"`
	Value     string `json:"value"`
	Size      int    `json:"size"`
}

// takeQuery keeps what is not there yet, in the order in which it is given. A
// message with the id of one on another channel is no bet: downstream, the two
// would count as one.
func (b *Bets) takeQuery() string {
	taken := `EXISTS (SELECT 1 FROM bets o WHERE o.message_id = j.message_id AND o.channel <> j.channel)`
	return `INSERT INTO bets (message_id, channel, kind, reason, value, size, received_at)
		SELECT j.message_id, j.channel,
			CASE WHEN j.kind = 'bet' AND ` + taken + ` THEN 'dead' ELSE j.kind END,
			CASE WHEN j.kind = 'bet' AND ` + taken + ` THEN $3 ELSE j.reason END,
			j.value, j.size, $2
		FROM ` + b.db.Dialect().Records("$1", "no BIGINT", "message_id TEXT", "channel TEXT", "kind TEXT", "reason TEXT", "value TEXT", "size BIGINT") + `
		WHERE TRUE ORDER BY j.no
		ON CONFLICT (message_id, channel) DO NOTHING
		RETURNING message_id, channel, kind, reason`
}

// Take implements bets.Book.
func (b *Bets) Take(ctx context.Context, rows []bets.Row, sightings []bets.Sighting) (out bets.Taken, err error) {
	if len(rows) == 0 && len(sightings) == 0 {
		return out, nil
	}
	items := keep(rows)
	param, err := sqldb.Batch(items)
	if err != nil {
		return out, err
	}
	err = b.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		out = bets.Taken{}
		now, err := b.now(ctx, tx)
		if err != nil {
			return err
		}
		if len(items) > 0 {
			found, err := tx.QueryContext(ctx, b.takeQuery(), param, now, string(bets.ReasonID))
			out.New, err = sqldb.Collect(found, err, func(r *sql.Rows) (row bets.Row, err error) {
				return row, r.Scan(&row.MessageID, &row.Channel, &row.Kind, &row.Reason)
			})
			if err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			if out.New, err = b.dropErased(ctx, tx, out.New); err != nil {
				return err
			}
			out.Duplicates = len(items) - len(out.New)
		}
		return b.see(ctx, tx, sightings, now)
	})
	if err != nil {
		return bets.Taken{}, fmt.Errorf("take bets: %w", err)
	}
	return out, nil
}

// keep writes rows as they are stored. Two of one request with one id on different
// channels do not see each other in the database: the second is told apart here.
func keep(rows []bets.Row) []kept {
	items := make([]kept, len(rows))
	channels := make(map[string]string, len(rows))
	for i, r := range rows {
		items[i] = kept{
			No: i, MessageID: r.MessageID, Channel: r.Channel, Kind: string(r.Kind), Reason: string(r.Reason),
			Value: base64.StdEncoding.EncodeToString(r.Value), Size: r.Size,
		}
		first, seen := channels[r.MessageID]
		if !seen {
			channels[r.MessageID] = r.Channel
		}
		if seen && first != r.Channel && r.Kind == bets.KindBet {
			items[i].Kind, items[i].Reason = string(bets.KindDead), string(bets.ReasonID)
		}
	}
	return items
}

// Waiting implements bets.Outbox.
func (b *Bets) Waiting(ctx context.Context, kind bets.Kind) (found bool, err error) {
	err = b.db.SQL().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM bets WHERE state = 'queued' AND kind = $1)
		OR EXISTS (SELECT 1 FROM bets WHERE state = 'leased' AND kind = $1)`, kind).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for bets: %w", err)
	}
	return found, nil
}

const (
	// lapsedQuery gives back what a replica has claimed that is no more.
	lapsedQuery = `UPDATE bets SET state = 'queued' WHERE state = 'leased' AND kind = $1 AND lease_until <= $2`
	// unguarded is true of a row of whose channel no claim is open.
	unguarded = `NOT EXISTS (SELECT 1 FROM bets o WHERE o.state = 'leased' AND o.kind = b.kind AND o.channel = b.channel)`
)

// claimQuery leases what has waited longest. What is picked is materialized,
// because a join may run a subquery again, which would lock more than the limit.
func (b *Bets) claimQuery() string {
	return `WITH due AS MATERIALIZED (SELECT b.seq FROM bets b
			WHERE b.state = 'queued' AND b.kind = $3 AND ` + unguarded + `
			ORDER BY b.seq LIMIT $4` + b.db.Dialect().SkipLocked + `)
		UPDATE bets SET state = 'leased', owner = $1, lease_until = $2, claims = bets.claims + 1 FROM due
		WHERE bets.seq = due.seq
		RETURNING bets.seq, bets.claims, bets.message_id, bets.channel, bets.kind, bets.reason, bets.value, bets.size, bets.received_at`
}

// Claim implements bets.Outbox. Claims follow one another, so that each sees which
// channels another has taken.
func (b *Bets) Claim(ctx context.Context, r bets.ClaimRequest) (out []bets.Claimed, err error) {
	err = b.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := b.db.Lock(ctx, tx, "bugle bets "+string(r.Kind)); err != nil {
			return err
		}
		now, err := b.now(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, lapsedQuery, r.Kind, now); err != nil {
			return fmt.Errorf("give lapsed leases back: %w", err)
		}
		rows, err := tx.QueryContext(ctx, b.claimQuery(), r.Owner, now+r.Lease.Microseconds(), r.Kind, r.Limit)
		out, err = sqldb.Collect(rows, err, func(r *sql.Rows) (bets.Claimed, error) { return scanClaimed(r, now) })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim bets: %w", err)
	}
	slices.SortFunc(out, func(x, y bets.Claimed) int { return cmp.Compare(x.Seq, y.Seq) })
	return out, nil
}

func scanClaimed(r *sql.Rows, now int64) (c bets.Claimed, err error) {
	var value string
	var received int64
	if err := r.Scan(&c.Seq, &c.No, &c.MessageID, &c.Channel, &c.Kind, &c.Reason, &value, &c.Size, &received); err != nil {
		return c, err
	}
	c.ReceivedAt = sqldb.Time(received)
	c.Waited = max(0, time.Duration(now-received)*time.Microsecond)
	if c.Value, err = base64.StdEncoding.DecodeString(value); err != nil {
		return c, fmt.Errorf("decode value of row %d: %w", c.Seq, err)
	}
	return c, nil
}

// Renew implements bets.Outbox. A lease that has ended is not renewed.
func (b *Bets) Renew(ctx context.Context, kind bets.Kind, owner string, lease time.Duration) error {
	err := b.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := b.now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE bets SET lease_until = $1 WHERE state = 'leased' AND kind = $2 AND owner = $3 AND lease_until > $4`,
			now+lease.Microseconds(), kind, owner, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("renew leases of bets: %w", err)
	}
	return nil
}

// claim names a claim.
type claim struct {
	Seq int64 `json:"seq"`
	No  int64 `json:"no"`
}

// onClaims runs an update on those of the claims that nobody has claimed since; a
// lease that ended is as good as long as nobody has. It returns how many those are.
func (b *Bets) onClaims(ctx context.Context, set string, claims []bets.Claimed, args ...any) (n int, err error) {
	items := make([]claim, len(claims))
	for i, c := range claims {
		items[i] = claim{Seq: c.Seq, No: c.No}
	}
	param, err := sqldb.Batch(items)
	if err != nil {
		return 0, err
	}
	err = b.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := b.now(ctx, tx)
		if err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, `UPDATE bets SET `+set+` FROM `+b.db.Dialect().Records("$1", "seq BIGINT", "no BIGINT")+`
			WHERE bets.seq = j.seq AND bets.claims = j.no`, append([]any{param, now}, args...)...)
		if err != nil {
			return err
		}
		affected, err := result.RowsAffected()
		n = int(affected)
		return err
	})
	return n, err
}

// Produced implements bets.Outbox. Saying it again changes nothing.
func (b *Bets) Produced(ctx context.Context, claims []bets.Claimed) (lost int, err error) {
	n, err := b.onClaims(ctx, `state = 'produced', value = '', owner = '', produced_at = $2`, claims)
	if err != nil {
		return 0, fmt.Errorf("note produced bets: %w", err)
	}
	return len(claims) - n, nil
}

// Release implements bets.Outbox.
func (b *Bets) Release(ctx context.Context, claims []bets.Claimed) error {
	if _, err := b.onClaims(ctx, `state = 'queued', owner = '', lease_until = CAST($2 AS BIGINT)`, claims); err != nil {
		return fmt.Errorf("give bets back: %w", err)
	}
	return nil
}

// Bury implements bets.Outbox.
func (b *Bets) Bury(ctx context.Context, claims []bets.Claimed, reason bets.Reason) error {
	_, err := b.onClaims(ctx, `kind = 'dead', reason = $3, state = 'queued', owner = '', lease_until = CAST($2 AS BIGINT)`, claims, string(reason))
	if err != nil {
		return fmt.Errorf("bury bets: %w", err)
	}
	return nil
}

// Backlog implements bets.Outbox.
func (b *Bets) Backlog(ctx context.Context, kind bets.Kind) (out bets.Backlog, err error) {
	var queued, leased, clock int64
	asked := time.Now()
	err = b.db.SQL().QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM (SELECT 1 FROM bets WHERE state = 'queued' AND kind = $1 LIMIT $2) q)
			+ (SELECT COUNT(*) FROM (SELECT 1 FROM bets WHERE state = 'leased' AND kind = $1 LIMIT $2) l),
		COALESCE((SELECT received_at FROM bets WHERE state = 'queued' AND kind = $1 ORDER BY seq LIMIT 1), 0),
		COALESCE((SELECT MIN(received_at) FROM bets WHERE state = 'leased' AND kind = $1), 0), `+b.db.Dialect().Clock,
		kind, bets.BacklogCounted).Scan(&out.Rows, &queued, &leased, &clock)
	if err != nil {
		return out, fmt.Errorf("read backlog of bets: %w", err)
	}
	out.Rows = min(out.Rows, bets.BacklogCounted)
	if clock == 0 {
		clock = sqldb.Micros(asked)
	}
	oldest := queued
	if oldest == 0 || leased != 0 && leased < oldest {
		oldest = leased
	}
	if oldest != 0 {
		out.Oldest = max(0, time.Duration(clock-oldest)*time.Microsecond)
	}
	return out, nil
}

// Remove implements bets.Remover.
func (b *Bets) Remove(ctx context.Context, keep time.Duration, limit int) (out bets.Removed, err error) {
	err = b.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		out = bets.Removed{}
		now, err := b.now(ctx, tx)
		if err != nil {
			return err
		}
		if out.Bets, err = sqldb.Exec(ctx, tx, `DELETE FROM bets WHERE seq IN (SELECT seq FROM bets
			WHERE state = 'produced' AND received_at < $1 ORDER BY received_at, seq LIMIT $2`+b.db.Dialect().SkipLocked+`)`,
			now-keep.Microseconds(), limit); err != nil {
			return fmt.Errorf("bets: %w", err)
		}
		if out.Presence, err = b.forget(ctx, tx, now, limit); err != nil {
			return fmt.Errorf("presence: %w", err)
		}
		out.More = out.Bets == limit || out.Presence == limit
		return nil
	})
	if err != nil {
		return bets.Removed{}, fmt.Errorf("remove old bets: %w", err)
	}
	return out, nil
}

func (b *Bets) now(ctx context.Context, q sqldb.Queryer) (int64, error) {
	now, err := b.db.Now(ctx, q)
	return sqldb.Micros(now), err
}
