package racing

import (
	"fmt"
	"time"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// kept is how long rows stay in the views after their last change: the
// retention of the real views, shortened so that a sandbox can run for weeks.
const kept = 15 * time.Minute

// views holds the materialised views that the built-in rules read, with the
// columns and types of migrations/ksqldb, which a test holds them to.
type views struct {
	settled, staged, rejected, upcoming *ksqldb.Table
	rows                                []keptRow // in the order of their ROWTIME, roughly
}

// keptRow is what is needed to remove a row.
type keptRow struct {
	table *ksqldb.Table
	key   []any
	until time.Time
}

func newViews() *views {
	return &views{settled: NewSettledBets(), staged: NewSettledBetsWithStatus(), rejected: NewRejectedBets(), upcoming: NewUpcomingRaces()}
}

// NewSettledBets returns an empty view SETTLED_BETS, of the columns BET_ID,
// WINDOWSTART, WINDOWEND, USER_ID, EVENT_ID, EVENT_NAME, RUNNER, STAKE, ODDS,
// PAYOUT, CURRENCY, OUTCOME and SETTLED_AT.
func NewSettledBets() *ksqldb.Table {
	return settledBets("SETTLED_BETS")
}

// NewSettledBetsWithStatus returns an empty view SETTLED_BETS_WITH_STATUS: that of
// NewSettledBets with the column STATUS, PROVISIONAL or FINAL.
func NewSettledBetsWithStatus() *ksqldb.Table {
	return settledBets("SETTLED_BETS_WITH_STATUS", text("STATUS"))
}

// The statuses of a settlement.
const (
	statusProvisional = "PROVISIONAL"
	statusFinal       = "FINAL"
)

func settledBets(name string, more ...ksqldb.Column) *ksqldb.Table {
	return ksqldb.NewTable(name, append([]ksqldb.Column{
		{Name: "BET_ID", Type: "STRING", Key: true},
		{Name: "WINDOWSTART", Type: "BIGINT", Key: true},
		{Name: "WINDOWEND", Type: "BIGINT", Key: true},
		text("USER_ID"), text("EVENT_ID"), text("EVENT_NAME"), text("RUNNER"),
		{Name: "STAKE", Type: "DECIMAL(18, 2)"},
		{Name: "ODDS", Type: "DOUBLE"},
		{Name: "PAYOUT", Type: "DECIMAL(18, 2)"},
		text("CURRENCY"), text("OUTCOME"),
		{Name: "SETTLED_AT", Type: "TIMESTAMP"},
	}, more...)...)
}

// NewRejectedBets returns an empty view REJECTED_BETS, of the columns BET_ID,
// WINDOWSTART, WINDOWEND, USER_ID, EVENT_ID, EVENT_NAME, RUNNER, STAKE, ODDS,
// ODDS_NOW, REASON and PLACED_AT. REASON is ODDS_MOVED, RACE_STARTED or
// NOT_OFFERED.
func NewRejectedBets() *ksqldb.Table {
	return ksqldb.NewTable("REJECTED_BETS",
		ksqldb.Column{Name: "BET_ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "WINDOWSTART", Type: "BIGINT", Key: true},
		ksqldb.Column{Name: "WINDOWEND", Type: "BIGINT", Key: true},
		text("USER_ID"), text("EVENT_ID"), text("EVENT_NAME"), text("RUNNER"),
		ksqldb.Column{Name: "STAKE", Type: "DECIMAL(18, 2)"},
		ksqldb.Column{Name: "ODDS", Type: "DOUBLE"},
		ksqldb.Column{Name: "ODDS_NOW", Type: "DOUBLE"},
		text("REASON"),
		ksqldb.Column{Name: "PLACED_AT", Type: "TIMESTAMP"},
	)
}

// NewUpcomingRaces returns an empty view UPCOMING_RACES, of the columns
// EVENT_ID, NAME, COURSE, STARTS_AT and STATUS.
func NewUpcomingRaces() *ksqldb.Table {
	return ksqldb.NewTable("UPCOMING_RACES",
		ksqldb.Column{Name: "EVENT_ID", Type: "STRING", Key: true},
		text("NAME"), text("COURSE"),
		ksqldb.Column{Name: "STARTS_AT", Type: "TIMESTAMP"},
		text("STATUS"),
	)
}

func text(name string) ksqldb.Column { return ksqldb.Column{Name: name, Type: "STRING"} }

// putBet writes a settlement whose record arrived at rowtime. The view is
// windowed by day, as the real one.
func (v *views) putBet(b *bet, outcome Outcome, payout Money, status string, rowtime, settledAt time.Time) error {
	const day = 24 * time.Hour
	from := rowtime.Truncate(day).UnixMilli()
	to := rowtime.Truncate(day).Add(day).UnixMilli()
	values := []any{
		b.id, from, to, string(b.user.id), b.race.id, b.race.name, b.race.runners[b.runner].name,
		b.stake.String(), b.odds.Float(), payout.String(), b.currency, string(outcome), settledAt,
	}
	// SETTLED_BETS has no status, so what is provisional is not for it.
	if status == statusFinal {
		if err := v.settled.Put(rowtime, values...); err != nil {
			return fmt.Errorf("put settlement: %w", err)
		}
		v.rows = append(v.rows, keptRow{v.settled, []any{b.id, from, to}, rowtime.Add(kept)})
	}
	if err := v.staged.Put(rowtime, append(values, status)...); err != nil {
		return fmt.Errorf("put settlement with its status: %w", err)
	}
	v.rows = append(v.rows, keptRow{v.staged, []any{b.id, from, to}, rowtime.Add(kept)})
	return nil
}

// putRejection writes a rejection whose record arrived at rowtime.
func (v *views) putRejection(r Rejection, rowtime time.Time) error {
	const day = 24 * time.Hour
	from := rowtime.Truncate(day).UnixMilli()
	to := rowtime.Truncate(day).Add(day).UnixMilli()
	var name, now any
	if r.EventName != "" {
		name = r.EventName
	}
	if r.Known {
		now = r.OddsNow.Float()
	}
	err := v.rejected.Put(rowtime, r.ID, from, to, string(r.User), r.Event, name, r.Runner,
		r.Stake.String(), r.Odds.Float(), now, r.Reason, r.PlacedAt)
	if err != nil {
		return fmt.Errorf("put rejection: %w", err)
	}
	v.rows = append(v.rows, keptRow{v.rejected, []any{r.ID, from, to}, rowtime.Add(kept)})
	return nil
}

// putRace writes a race as it stands.
func (v *views) putRace(r *race, rowtime time.Time) error {
	if err := v.upcoming.Put(rowtime, r.id, r.name, r.course, r.startsAt, string(r.status)); err != nil {
		return fmt.Errorf("put race: %w", err)
	}
	if r.status == Off || r.status == Abandoned {
		v.rows = append(v.rows, keptRow{v.upcoming, []any{r.id}, rowtime.Add(kept)})
	}
	return nil
}

// prune removes what has been kept long enough.
func (v *views) prune(now time.Time) {
	n := 0
	for n < len(v.rows) && v.rows[n].until.Before(now) {
		v.rows[n].table.Delete(v.rows[n].key...)
		n++
	}
	v.rows = v.rows[n:]
}
