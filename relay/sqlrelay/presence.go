package sqlrelay

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/relay/bets"
)

// seen is the newest sighting of a member on its way in.
type seen struct {
	ClientID     string `json:"client_id"`
	Channel      string `json:"channel"`
	ConnectionID string `json:"connection_id"`
	Page         string `json:"page"`
	Here         int    `json:"here"`
	Since        int64  `json:"since"`
	At           int64  `json:"at"`
	Serial       int64  `json:"serial"`
	ExpiresAt    int64  `json:"expires_at"`
}

// seeQuery keeps a sighting where it is newer than what is known. A member who was
// there already has been since then.
func (b *Bets) seeQuery() string {
	return `INSERT INTO presence (client_id, channel, connection_id, page, here, since, seen_at, serial, expires_at)
		SELECT j.client_id, j.channel, j.connection_id, j.page, j.here = 1, j.since, j.at, j.serial, j.expires_at
		FROM ` + b.db.Dialect().Records("$1", "client_id TEXT", "channel TEXT", "connection_id TEXT", "page TEXT", "here BIGINT", "since BIGINT",
		"at BIGINT", "serial BIGINT", "expires_at BIGINT") + `
		WHERE TRUE
		ON CONFLICT (client_id, channel, connection_id) DO UPDATE SET
			page = excluded.page, here = excluded.here, seen_at = excluded.seen_at, serial = excluded.serial, expires_at = excluded.expires_at,
			since = CASE WHEN presence.here THEN presence.since ELSE excluded.since END
		WHERE excluded.seen_at > presence.seen_at OR (excluded.seen_at = presence.seen_at AND excluded.serial > presence.serial)`
}

// see keeps the newest sighting of each member. They go in one order, so that two
// replicas do not wait for each other.
func (b *Bets) see(ctx context.Context, tx *sql.Tx, sightings []bets.Sighting, now int64) error {
	if len(sightings) == 0 {
		return nil
	}
	ordered := slices.SortedStableFunc(slices.Values(sightings), func(x, y bets.Sighting) int {
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Serial, y.Serial))
	})
	newest := make(map[[3]string]seen, len(ordered))
	for _, s := range ordered {
		key := [3]string{s.ClientID, s.Channel, s.ConnectionID}
		at := sqldb.Micros(s.At)
		next := seen{
			ClientID: s.ClientID, Channel: s.Channel, ConnectionID: s.ConnectionID, Page: s.Page,
			Since: at, At: at, Serial: s.Serial, ExpiresAt: now + bets.PresenceLife.Microseconds(),
		}
		if s.Here {
			next.Here = 1
			if last := newest[key]; last.Here == 1 {
				next.Since = last.Since
			}
		}
		newest[key] = next
	}
	items := slices.SortedFunc(maps.Values(newest), func(x, y seen) int {
		return cmp.Or(cmp.Compare(x.ClientID, y.ClientID), cmp.Compare(x.Channel, y.Channel), cmp.Compare(x.ConnectionID, y.ConnectionID))
	})
	param, err := sqldb.Batch(items)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, b.seeQuery(), param); err != nil {
		return fmt.Errorf("keep presence: %w", err)
	}
	return nil
}

// forget removes members that have expired.
func (b *Bets) forget(ctx context.Context, tx *sql.Tx, now int64, limit int) (int, error) {
	return sqldb.Exec(ctx, tx, `DELETE FROM presence WHERE (client_id, channel, connection_id) IN
		(SELECT client_id, channel, connection_id FROM presence WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2`+b.db.Dialect().SkipLocked+`)`,
		now, limit)
}

// membersQuery pages by the primary key, or by the index of the channel or the
// page. Which of them is asked for stands in the text, so that each has its own plan.
func membersQuery(q bets.MemberQuery, now int64) (string, []any) {
	text := `SELECT client_id, channel, connection_id, page, since, seen_at, expires_at FROM presence WHERE here`
	var args []any
	and := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		text += " AND " + condition
	}
	and(`expires_at + 0 > ?`, now) // beside its index, which has another order
	if q.ClientID != "" {
		and(`client_id = ?`, q.ClientID)
	}
	switch {
	case q.Channel != "" && q.ClientID == "":
		and(`channel = ?`, q.Channel)
	case q.Channel != "":
		and(`(channel = ? OR 1 = 0)`, q.Channel) // beside its index
	}
	switch {
	case q.Page != "" && q.ClientID == "" && q.Channel == "":
		and(`page = ?`, q.Page)
	case q.Page != "":
		and(`(page = ? OR 1 = 0)`, q.Page)
	}
	if q.After != nil {
		and(`(client_id, channel, connection_id) > (?, ?, ?)`, q.After.ClientID, q.After.Channel, q.After.ConnectionID)
	}
	args = append(args, q.Limit)
	return text + ` ORDER BY client_id, channel, connection_id LIMIT $` + strconv.Itoa(len(args)), args
}

// Members lists who is in the app, by client, channel and connection.
func (b *Bets) Members(ctx context.Context, q bets.MemberQuery) ([]bets.Member, error) {
	now, err := b.now(ctx, b.db.SQL())
	if err != nil {
		return nil, err
	}
	text, args := membersQuery(q, now)
	rows, err := b.db.SQL().QueryContext(ctx, text, args...)
	out, err := sqldb.Collect(rows, err, func(r *sql.Rows) (m bets.Member, err error) {
		var since, seen, expires int64
		err = r.Scan(&m.ClientID, &m.Channel, &m.ConnectionID, &m.Page, &since, &seen, &expires)
		m.Since, m.SeenAt, m.ExpiresAt = sqldb.Time(since), sqldb.Time(seen), sqldb.Time(expires)
		return m, err
	})
	if err != nil {
		return nil, fmt.Errorf("list presence: %w", err)
	}
	return out, nil
}
