package ksqlmigrate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bugle-push/bugle/ksqlclient"
)

// State is where a version stands.
type State string

// The states of ksql-migrations. Pending is that of a version without a row.
const (
	Pending  State = "PENDING"
	Running  State = "RUNNING"
	Migrated State = "MIGRATED"
	Failed   State = "ERROR"
)

const (
	currentKey = "CURRENT"
	noVersion  = "<none>"
	noReason   = "N/A"
)

// Record is what the metadata say of a version.
type Record struct {
	Version  int
	Name     string
	State    State
	Checksum string
	// StartedOn is zero when the row does not say; CompletedOn also while the
	// version is running.
	StartedOn, CompletedOn time.Time
	// Previous is the version that was applied before, 0 for none.
	Previous int
	// Reason is why it failed, or empty.
	Reason string

	started string // as written: the mark of a run
}

// record is a row of the metadata table.
type record struct {
	Version     string  `ksql:"version"`
	Name        string  `ksql:"name"`
	State       string  `ksql:"state"`
	Checksum    string  `ksql:"checksum"`
	StartedOn   string  `ksql:"started_on"`
	CompletedOn *string `ksql:"completed_on"`
	Previous    string  `ksql:"previous"`
	ErrorReason *string `ksql:"error_reason"`
}

func (r record) parse() (Record, error) {
	out := Record{Name: r.Name, State: State(r.State), Checksum: r.Checksum, started: r.StartedOn, StartedOn: millis(r.StartedOn)}
	var err error
	if out.Version, err = strconv.Atoi(r.Version); err != nil {
		return Record{}, fmt.Errorf("metadata name a version %q that is no number", r.Version)
	}
	if r.Previous != noVersion {
		if out.Previous, err = strconv.Atoi(r.Previous); err != nil {
			return Record{}, fmt.Errorf("metadata name a previous version %q that is no number", r.Previous)
		}
	}
	if r.CompletedOn != nil {
		out.CompletedOn = millis(*r.CompletedOn)
	}
	if r.ErrorReason != nil && *r.ErrorReason != noReason {
		out.Reason = *r.ErrorReason
	}
	return out, nil
}

func millis(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// exists reports whether a source of this name exists.
func (m *Migrator) exists(ctx context.Context, name string) (bool, error) {
	_, err := m.client.Describe(ctx, name)
	if refused, ok := errors.AsType[*ksqlclient.Error](err); ok && refused.Code == ksqlclient.CodeBadStatement {
		return false, nil
	}
	return err == nil, err
}

// initialized reports whether the metadata exist; one without the other is not
// what ksql-migrations leaves behind, but what a failure between the two does.
func (m *Migrator) initialized(ctx context.Context) (stream, table bool, err error) {
	if stream, err = m.exists(ctx, m.stream); err != nil {
		return false, false, fmt.Errorf("look for metadata stream: %w", err)
	}
	if table, err = m.exists(ctx, m.table); err != nil {
		return false, false, fmt.Errorf("look for metadata table: %w", err)
	}
	return stream, table, nil
}

// initialize creates what is missing of the metadata, as ksql-migrations
// initialize-metadata does.
func (m *Migrator) initialize(ctx context.Context) error {
	stream, table, err := m.initialized(ctx)
	if err != nil {
		return err
	}
	if stream && table {
		return nil
	}
	info, err := m.client.Info(ctx)
	if err != nil {
		return err
	}
	create := func(sql string, params ...any) error {
		results, err := m.client.Exec(ctx, fmt.Sprintf(sql, params...), nil, ksqlclient.WithTimeout(m.timeout))
		m.remember(results)
		return err
	}
	topic := func(name string) string { return literal(info.ServiceID + "ksql_" + name) }
	if !stream {
		err := create(`CREATE STREAM IF NOT EXISTS %s (
  version_key  STRING KEY,
  version      STRING,
  name         STRING,
  state        STRING,
  checksum     STRING,
  started_on   STRING,
  completed_on STRING,
  previous     STRING,
  error_reason STRING
) WITH (KAFKA_TOPIC = %s, VALUE_FORMAT = 'JSON', PARTITIONS = 1, REPLICAS = %d);`, m.stream, topic(m.stream), m.replicas)
		if err != nil {
			return fmt.Errorf("create metadata stream %s: %w", m.stream, err)
		}
	}
	if !table {
		err := create(`CREATE TABLE IF NOT EXISTS %s WITH (KAFKA_TOPIC = %s) AS
SELECT version_key,
       LATEST_BY_OFFSET(version) AS version,
       LATEST_BY_OFFSET(name) AS name,
       LATEST_BY_OFFSET(state) AS state,
       LATEST_BY_OFFSET(checksum) AS checksum,
       LATEST_BY_OFFSET(started_on) AS started_on,
       LATEST_BY_OFFSET(completed_on) AS completed_on,
       LATEST_BY_OFFSET(previous) AS previous,
       LATEST_BY_OFFSET(error_reason) AS error_reason
FROM %s
GROUP BY version_key;`, m.table, topic(m.table), m.stream)
		if err != nil {
			return fmt.Errorf("create metadata table %s: %w", m.table, err)
		}
	}
	return nil
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// read returns the record of a key, nil when there is none. A table that is not
// ready yet is asked again.
func (m *Migrator) read(ctx context.Context, key string) (*Record, error) {
	sql := "SELECT version, name, state, checksum, started_on, completed_on, previous, error_reason FROM " + m.table + " WHERE version_key = :key;"
	for try := 1; ; try++ {
		rows, err := m.client.PullAll(ctx, sql, ksqlclient.Params{"key": key})
		switch {
		case err != nil && (!ksqlclient.Retryable(err) || try >= m.tries):
			return nil, fmt.Errorf("read metadata table %s: %w", m.table, err)
		case err != nil:
			if err := m.pause(ctx); err != nil {
				return nil, err
			}
		case len(rows) == 0:
			return nil, nil
		default:
			var r record
			if err := rows[0].Scan(&r); err != nil {
				return nil, fmt.Errorf("read metadata table %s: %w", m.table, err)
			}
			out, err := r.parse()
			if err != nil {
				return nil, err
			}
			return &out, nil
		}
	}
}

// write appends the state of a version under CURRENT and under its own key, in
// this order, as ksql-migrations does.
func (m *Migrator) write(ctx context.Context, r Record) error {
	previous, completed, reason := noVersion, "", noReason
	if r.Previous > 0 {
		previous = strconv.Itoa(r.Previous)
	}
	if !r.CompletedOn.IsZero() {
		completed = strconv.FormatInt(r.CompletedOn.UnixMilli(), 10)
	}
	if r.Reason != "" {
		reason = r.Reason
	}
	sql := "INSERT INTO " + m.stream + " (version_key, version, name, state, checksum, started_on, completed_on, previous, error_reason) " +
		"VALUES (:key, :version, :name, :state, :checksum, :started, :completed, :previous, :reason);"
	for _, key := range []string{currentKey, strconv.Itoa(r.Version)} {
		_, err := m.client.Exec(ctx, sql, ksqlclient.Params{
			"key": key, "version": strconv.Itoa(r.Version), "name": r.Name, "state": string(r.State), "checksum": r.Checksum,
			"started": r.started, "completed": completed, "previous": previous, "reason": reason,
		})
		if err != nil {
			return fmt.Errorf("write state %s of version %d: %w", r.State, r.Version, err)
		}
	}
	return nil
}

// settle waits until the table shows what was written. Somebody else's mark is
// ErrConcurrent.
func (m *Migrator) settle(ctx context.Context, want Record) error {
	for try := 1; ; try++ {
		for _, key := range []string{currentKey, strconv.Itoa(want.Version)} {
			got, err := m.read(ctx, key)
			if err != nil {
				return err
			}
			if got == nil || got.started != want.started || got.State != want.State || got.Version != want.Version {
				if try < m.tries {
					break
				}
				// Another mark is another run's, unless it is an older one that the table
				// still shows.
				if got != nil && got.started != want.started && (got.State == Running || !got.StartedOn.Before(want.StartedOn)) {
					return concurrent(*got)
				}
				return fmt.Errorf("%w: the table %s does not show the state %s of version %d", ErrLag, m.table, want.State, want.Version)
			}
			if key != currentKey {
				return nil
			}
		}
		if err := m.pause(ctx); err != nil {
			return err
		}
	}
}

// mine reports with ErrConcurrent that the mark of a run is no longer its own.
func (m *Migrator) mine(ctx context.Context, mark Record) error {
	got, err := m.read(ctx, currentKey)
	if err != nil {
		return err
	}
	if got == nil || got.started != mark.started || got.Version != mark.Version {
		if got == nil {
			return fmt.Errorf("%w: the metadata are gone", ErrConcurrent)
		}
		return concurrent(*got)
	}
	return nil
}

func concurrent(r Record) error {
	return fmt.Errorf("%w: version %d is %s since %s", ErrConcurrent, r.Version, r.State, r.StartedOn.Format(time.RFC3339))
}

func (m *Migrator) pause(ctx context.Context) error {
	timer := time.NewTimer(m.poll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
