package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// around is how far from what went wrong a fault may be to be part of its history.
const around = 90 * time.Second

// tellProblem writes the whole history of a problem: what the service wrote down
// about the delivery, what the provider accepted, and the faults around it.
func tellProblem(ctx context.Context, w io.Writer, db database, p problem, incidents []incident) {
	fmt.Fprintf(w, "\n%s: %s: %s\n", p.kind, p.announcement, p.detail)
	from, to := time.Time{}, time.Time{}
	seen := func(t time.Time) {
		if from.IsZero() || t.Before(from) {
			from = t
		}
		if t.After(to) {
			to = t
		}
	}
	nids := map[string]bool{}
	for _, r := range p.receipts {
		seen(r.at)
		nids[r.nid] = true
		fmt.Fprintf(w, "  %s accepted by %s (%d): nid %s, tag %s, collapse %s, request %d, answer lost %v, code %d, %q, data %v\n",
			clock(r.at), r.provider, r.seq, r.nid, r.tag, r.collapse, r.attempt, r.lost, r.code, r.title, r.data)
	}
	lines, err := ledgerLines(ctx, db, p, seen)
	if err != nil {
		fmt.Fprintf(w, "  the database does not tell: %v\n", err)
	}
	for _, l := range lines {
		fmt.Fprintf(w, "  %s\n", l)
	}
	for _, i := range incidents {
		if i.began.After(to.Add(around)) || i.ended.Before(from.Add(-around)) {
			continue
		}
		held := ""
		for nid := range nids {
			if owner, ok := i.holder(pair{nid, p.device}); ok {
				held = ", this one by " + owner
			}
		}
		fmt.Fprintf(w, "  fault %s%s\n", i, held)
	}
}

// micros formats a time as the ledger keeps it.
func micros(us int64) string {
	if us == 0 {
		return "-"
	}
	return clock(time.UnixMicro(us))
}

// ledgerLines returns what the service wrote down about the deliveries of the
// announcement's subject to its device.
func ledgerLines(ctx context.Context, db database, p problem, seen func(time.Time)) ([]string, error) {
	if p.id == "" {
		return nil, nil
	}
	var lines []string
	var ids []int64
	err := query(ctx, db, `SELECT n.id, n.key, n.version, n.state, n.variant, n.created_at, n.released_at, n.fanned_at, COALESCE(d.id, 0), COALESCE(d.state, ''),
		COALESCE(d.reason, ''), COALESCE(d.attempts, 0), COALESCE(d.unknowns, 0), COALESCE(d.claims, 0), COALESCE(d.owner, ''),
		COALESCE(d.lease_until, 0), COALESCE(d.due_at, 0), COALESCE(d.created_at, 0), COALESCE(d.finished_at, 0)
		FROM notifications n LEFT JOIN deliveries d ON d.notification_id = n.id AND d.device_id = $1
		WHERE n.key LIKE $2 ORDER BY n.id`, []any{string(p.device), "%" + p.id + "%"}, func(r *sql.Rows) error {
		var nid, version, id, attempts, unknowns, claims int64
		var key, nstate, variant, state, reason, owner string
		var made, released, fanned, lease, due, created, finished int64
		if err := r.Scan(&nid, &key, &version, &nstate, &variant, &made, &released, &fanned, &id, &state, &reason, &attempts, &unknowns, &claims,
			&owner, &lease, &due, &created, &finished); err != nil {
			return err
		}
		seen(time.UnixMicro(made))
		lines = append(lines, fmt.Sprintf("notification %d %s version %d %s %s: made %s, released %s, fanned out %s", nid, key, version, variant, nstate,
			micros(made), micros(released), micros(fanned)))
		if id != 0 {
			ids = append(ids, id)
			lines = append(lines, fmt.Sprintf("  delivery %d %s %s: made %s, finished %s, due %s, attempts %d, unknown %d, claims %d, owner %s, lease until %s",
				id, state, reason, micros(created), micros(finished), micros(due), attempts, unknowns, claims, owner, micros(lease)))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		err := query(ctx, db, `SELECT owner, started_at, ended_at, verdict, code, status FROM attempts WHERE delivery_id = $1 ORDER BY id`, []any{id}, func(r *sql.Rows) error {
			var owner, verdict, code string
			var started, ended, status int64
			if err := r.Scan(&owner, &started, &ended, &verdict, &code, &status); err != nil {
				return err
			}
			lines = append(lines, fmt.Sprintf("  attempt at delivery %d by %s: %s–%s %s %s %d", id, owner, micros(started), micros(ended), verdict, code, status))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// tellUnfinished writes the deliveries that have not come to their end.
func tellUnfinished(ctx context.Context, w io.Writer, db database) {
	err := query(ctx, db, `SELECT id, notification_id, device_id, rule_id, provider, state, attempts, unknowns, claims, owner, lease_until, due_at
		FROM deliveries WHERE state IN ('queued', 'leased') ORDER BY id LIMIT 20`, nil, func(r *sql.Rows) error {
		var id, nid, attempts, unknowns, claims, lease, due int64
		var device, rule, provider, state, owner string
		if err := r.Scan(&id, &nid, &device, &rule, &provider, &state, &attempts, &unknowns, &claims, &owner, &lease, &due); err != nil {
			return err
		}
		fmt.Fprintf(w, "unfinished: delivery %d of notification %d (%s) to %s by %s: %s, attempts %d, unknown %d, claims %d, owner %s, lease until %s, due %s\n",
			id, nid, rule, device, provider, state, attempts, unknowns, claims, owner, micros(lease), micros(due))
		return nil
	})
	if err != nil {
		fmt.Fprintf(w, "unfinished: the database does not tell: %v\n", err)
	}
}

// tellCrash writes an end of a replica that nobody had asked for.
func tellCrash(w io.Writer, c crash) {
	fmt.Fprintf(w, "\n%s ended by itself at %s: %v; its log ends:\n", c.replica, clock(c.at), c.err)
	for line := range strings.Lines(c.tail) {
		fmt.Fprintf(w, "  %s", line)
	}
}

// unexcused returns the crashes that came while the database was there: a
// service that cannot open its database ends, to be started again.
func unexcused(crashes []crash, incidents []incident) []crash {
	return slices.DeleteFunc(slices.Clone(crashes), func(c crash) bool {
		return slices.ContainsFunc(incidents, func(i incident) bool {
			return (i.kind == faultCrash || i.kind == faultCut) && !c.at.Before(i.began) && c.at.Before(i.ended.Add(10*time.Second))
		})
	})
}
