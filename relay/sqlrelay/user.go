package sqlrelay

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/relay/bets"
)

const (
	// userStep is how many numbers of rows one statement looks through for those of a user. Bets
	// have no index by user, whom nobody asks for but an export or an erasure: it would be written
	// with each bet. They are kept for a day, and looked through in short statements.
	userStep = 20_000
	// erasedPrefix begins what stands in the place of the channel of an erased user; no channel of
	// bets begins so.
	erasedPrefix = "erased:"
)

// userBet is a row of bets on its way to its user.
type userBet struct {
	Seq        int64           `json:"-"`
	MessageID  string          `json:"message_id"`
	Channel    string          `json:"channel"`
	Kind       bets.Kind       `json:"kind"`
	Reason     bets.Reason     `json:"reason,omitempty"`
	Value      json.RawMessage `json:"value,omitempty"`
	State      string          `json:"state"`
	ReceivedAt int64           `json:"received_at"`
	ProducedAt int64           `json:"produced_at,omitempty"`
}

// userMember is a row of presence on its way to its user.
type userMember struct {
	Channel      string `json:"channel"`
	ConnectionID string `json:"connection_id"`
	Page         string `json:"page"`
	Here         bool   `json:"here"`
	Since        int64  `json:"since"`
	SeenAt       int64  `json:"seen_at"`
}

// userBetsQuery finds the rows from $1 to below $2 whose channel ends with $3.
const userBetsQuery = `SELECT seq, message_id, channel, kind, reason, value, state, received_at, produced_at FROM bets
	WHERE seq >= $1 AND seq < $2 AND substr(channel, length(channel) - length(CAST($3 AS TEXT)) + 1) = $3 ORDER BY seq`

// betsOf shows the rows of a user's betting channels, oldest first, until do returns false.
func (b *Bets) betsOf(ctx context.Context, user devices.UserID, do func(userBet) (bool, error)) error {
	var first, last int64
	if err := b.db.SQL().QueryRowContext(ctx, `SELECT COALESCE(MIN(seq), 0), COALESCE(MAX(seq), -1) FROM bets`).Scan(&first, &last); err != nil {
		return fmt.Errorf("read bounds of bets: %w", err)
	}
	for ; first <= last; first += userStep {
		rows, err := b.db.SQL().QueryContext(ctx, userBetsQuery, first, first+userStep, ":"+string(user))
		found, err := sqldb.Collect(rows, err, scanUserBet)
		if err != nil {
			return fmt.Errorf("read bets of user: %w", err)
		}
		for _, row := range found {
			if name, ok := bets.ChannelUser(row.Channel); !ok || name != string(user) {
				continue // a channel with more segments, whose last one says nothing
			}
			if more, err := do(row); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

func scanUserBet(r *sql.Rows) (u userBet, err error) {
	var value string
	if err := r.Scan(&u.Seq, &u.MessageID, &u.Channel, &u.Kind, &u.Reason, &value, &u.State, &u.ReceivedAt, &u.ProducedAt); err != nil {
		return u, err
	}
	record, err := base64.StdEncoding.DecodeString(value)
	switch {
	case err != nil:
		return u, fmt.Errorf("decode value of row %d: %w", u.Seq, err)
	case value == "":
	case u.Kind == bets.KindBet && json.Valid(record):
		u.Value = record
	default: // a dead letter is whatever bytes were sent
		u.Value, err = json.Marshal(record)
	}
	return u, err
}

// CountUser counts the rows of a user: presence, and bets and dead letters of their channels.
func (b *Bets) CountUser(ctx context.Context, user devices.UserID) (map[string]int64, error) {
	var members, rows int64
	if err := b.db.SQL().QueryRowContext(ctx, `SELECT COUNT(*) FROM presence WHERE client_id = $1`, string(user)).Scan(&members); err != nil {
		return nil, fmt.Errorf("count presence: %w", err)
	}
	err := b.betsOf(ctx, user, func(userBet) (bool, error) { rows++; return true, nil })
	return map[string]int64{"presence": members, "bets": rows}, err
}

// ExportUser hands out where the user is in the app, and what is kept of their bets. The value of
// a record is there while it waits for Kafka: of a bet as it is written there, of a dead letter in
// base64. Times are microseconds since 1970, as they are stored.
func (b *Bets) ExportUser(ctx context.Context, user devices.UserID, emit func(kind string, record any) error) error {
	rows, err := b.db.SQL().QueryContext(ctx, `SELECT channel, connection_id, page, here, since, seen_at FROM presence
		WHERE client_id = $1 ORDER BY channel, connection_id`, string(user))
	members, err := sqldb.Collect(rows, err, func(r *sql.Rows) (m userMember, err error) {
		return m, r.Scan(&m.Channel, &m.ConnectionID, &m.Page, &m.Here, &m.Since, &m.SeenAt)
	})
	if err != nil {
		return fmt.Errorf("export presence: %w", err)
	}
	for _, m := range members {
		if err := emit("presence", m); err != nil {
			return err
		}
	}
	return b.betsOf(ctx, user, func(row userBet) (bool, error) { return true, emit("bet", row) })
}

// erasure names what stands for the channel of an erased row.
type erasure struct {
	Seq    int64  `json:"seq"`
	Digest string `json:"digest"`
}

// digest stands for the channel of a row whose user was erased: with the message's id it still
// tells a repeat of the webhook, and it does not say who it was.
func digest(messageID, channel string) string {
	sum := sha256.Sum256([]byte(messageID + "\x00" + channel))
	return erasedPrefix + hex.EncodeToString(sum[:16])
}

// EraseUser removes the user's presence, and takes their name from bets that Kafka has. A row
// that waits for Kafka stays as it is, for it is somebody's money, and is counted as waiting. The
// message's id stays as long as ever, so that a webhook that is shown again makes no second bet.
func (b *Bets) EraseUser(ctx context.Context, user devices.UserID, limit int) (erased map[string]int64, waiting int64, more bool, err error) {
	var found []erasure
	err = b.betsOf(ctx, user, func(row userBet) (bool, error) {
		if row.State != "produced" {
			waiting++
			return true, nil
		}
		found = append(found, erasure{Seq: row.Seq, Digest: digest(row.MessageID, row.Channel)})
		return len(found) < limit, nil
	})
	if err != nil {
		return nil, 0, false, err
	}
	param, err := sqldb.Batch(found)
	if err != nil {
		return nil, 0, false, err
	}
	err = b.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		removed, err := sqldb.Exec(ctx, tx, `DELETE FROM presence WHERE (client_id, channel, connection_id) IN
			(SELECT client_id, channel, connection_id FROM presence WHERE client_id = $1 ORDER BY channel, connection_id LIMIT $2)`, string(user), limit)
		if err != nil {
			return fmt.Errorf("presence: %w", err)
		}
		erased = map[string]int64{"presence": int64(removed), "bets": int64(len(found))}
		more = removed == limit || len(found) == limit
		if len(found) == 0 {
			return nil
		}
		records := b.db.Dialect().Records("$1", "seq BIGINT", "digest TEXT")
		// An older release knows no digest, and has kept a repeat of what was erased.
		if _, err := tx.ExecContext(ctx, `DELETE FROM bets WHERE seq IN (SELECT n.seq FROM `+records+`
			JOIN bets n ON n.seq = j.seq JOIN bets o ON o.message_id = n.message_id AND o.channel = j.digest)`, param); err != nil {
			return fmt.Errorf("repeated bets: %w", err)
		}
		if _, err := tx.ExecContext(ctx, `UPDATE bets SET channel = j.digest FROM `+records+` WHERE bets.seq = j.seq`, param); err != nil {
			return fmt.Errorf("bets: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, 0, false, fmt.Errorf("erase user: %w", err)
	}
	return erased, waiting, more, nil
}

// dropErased takes back those of the rows just kept that repeat what was erased. It looks after
// the rows have been written, in a statement of its own: where an erasure takes the channel from a
// row while its repeat is being kept, the repeat waits for it, and only what follows can see it.
func (b *Bets) dropErased(ctx context.Context, tx *sql.Tx, kept []bets.Row) ([]bets.Row, error) {
	if len(kept) == 0 {
		return kept, nil
	}
	type item struct {
		MessageID string `json:"message_id"`
		Channel   string `json:"channel"`
		Digest    string `json:"digest"`
	}
	items := make([]item, len(kept))
	for i, r := range kept {
		items[i] = item{MessageID: r.MessageID, Channel: r.Channel, Digest: digest(r.MessageID, r.Channel)}
	}
	param, err := sqldb.Batch(items)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, b.dropErasedQuery(), param)
	dropped, err := sqldb.Collect(rows, err, func(r *sql.Rows) (key [2]string, err error) { return key, r.Scan(&key[0], &key[1]) })
	if err != nil {
		return nil, fmt.Errorf("drop repeats of what was erased: %w", err)
	}
	if len(dropped) == 0 {
		return kept, nil
	}
	gone := make(map[[2]string]bool, len(dropped))
	for _, key := range dropped {
		gone[key] = true
	}
	var out []bets.Row
	for _, r := range kept {
		if !gone[[2]string{r.MessageID, r.Channel}] {
			out = append(out, r)
		}
	}
	return out, nil
}

func (b *Bets) dropErasedQuery() string {
	return `DELETE FROM bets WHERE seq IN (SELECT n.seq FROM ` + b.db.Dialect().Records("$1", "message_id TEXT", "channel TEXT", "digest TEXT") + `
		JOIN bets o ON o.message_id = j.message_id AND o.channel = j.digest
		JOIN bets n ON n.message_id = j.message_id AND n.channel = j.channel)
		RETURNING message_id, channel`
}
