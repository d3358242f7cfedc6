package ksqlmigrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bugle-push/bugle/ksqlclient"
)

// Conditions that callers branch on, for errors.Is.
var (
	// ErrChanged means that the file of an applied version is not the one that was
	// applied, or is gone.
	ErrChanged = errors.New("an applied migration has changed")
	// ErrRunning means that the latest version is marked as running: another run is
	// at work, or one was stopped in the middle.
	ErrRunning = errors.New("a migration is marked as running")
	// ErrConcurrent means that another run has put its mark over ours.
	ErrConcurrent = errors.New("another run is at work")
	// ErrLag means that the metadata table did not catch up in time.
	ErrLag = errors.New("the metadata table lags behind")
)

// StatementError is the failure of a statement of a file. The version is in the
// state ERROR, and the next Apply begins it again.
type StatementError struct {
	Version int
	// Number of the statement in its file, from 1, and of how many.
	Number, Of int
	// SQL is the statement as it was sent.
	SQL string
	Err error
}

// Error names the statement by its beginning.
func (e *StatementError) Error() string {
	return fmt.Sprintf("apply version %d: statement %d of %d (%s): %s", e.Version, e.Number, e.Of, headline(e.SQL), e.Err)
}

// Unwrap returns the cause.
func (e *StatementError) Unwrap() error { return e.Err }

// Client is what a Migrator asks of a *ksqlclient.Client.
type Client interface {
	Info(ctx context.Context) (ksqlclient.Info, error)
	Describe(ctx context.Context, name string) (ksqlclient.Source, error)
	Exec(ctx context.Context, sql string, params ksqlclient.Params, options ...ksqlclient.Option) ([]ksqlclient.Result, error)
	PullAll(ctx context.Context, sql string, params ksqlclient.Params, options ...ksqlclient.Option) ([]ksqlclient.Row, error)
}

// Config configures a Migrator. Client and Files are required.
type Config struct {
	Client Client
	// Files is the folder of the migrations; see Load.
	Files fs.FS
	// Defines are variables that have these values whatever the files DEFINE.
	Defines map[string]string
	// Stream and Table are the names of the metadata; empty means MIGRATION_EVENTS
	// and MIGRATION_SCHEMA_VERSIONS.
	Stream, Table string
	// Replicas of the metadata's topics when they are created; 0 means 1, which is
	// ksql-migrations' default. Confluent Cloud wants 3.
	Replicas int
	// Timeout bounds one statement with the wait for its command; 0 means two
	// minutes.
	Timeout time.Duration
	// Poll is the pause between two looks at the metadata table, and Tries how
	// often it is looked at; zero means a second, and ten times, as in
	// ksql-migrations.
	Poll  time.Duration
	Tries int
	// Report, if set, is told what happens, one call after the other.
	Report func(Event)
}

// Event is a step of Apply.
type Event struct {
	Migration Migration
	// Number and Of are of the statement that was done; zero when the version
	// begins, and Done when it has ended well.
	Number, Of int
	SQL        string
	// Existed means that IF NOT EXISTS found it.
	Existed bool
	Done    bool
}

// Migrator applies the files of a folder. New makes it.
type Migrator struct {
	client        Client
	files         []Migration
	defines       map[string]string
	stream, table string
	replicas      int
	timeout       time.Duration
	poll          time.Duration
	tries         int
	report        func(Event)
	sequence      int64 // the last command, -1 for none
}

var metadataName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// New reads the files and checks every statement of them, or returns all that is
// wrong. It does not connect.
func New(cfg Config) (*Migrator, error) {
	m := &Migrator{
		client: cfg.Client, defines: cfg.Defines, stream: cfg.Stream, table: cfg.Table, replicas: cfg.Replicas,
		timeout: cfg.Timeout, poll: cfg.Poll, tries: cfg.Tries, report: cfg.Report, sequence: -1,
	}
	if m.stream == "" {
		m.stream = "MIGRATION_EVENTS"
	}
	if m.table == "" {
		m.table = "MIGRATION_SCHEMA_VERSIONS"
	}
	if m.replicas == 0 {
		m.replicas = 1
	}
	if m.timeout == 0 {
		m.timeout = 2 * time.Minute
	}
	if m.poll == 0 {
		m.poll = time.Second
	}
	if m.tries == 0 {
		m.tries = 10
	}
	if m.report == nil {
		m.report = func(Event) {}
	}
	if !metadataName.MatchString(m.stream) || !metadataName.MatchString(m.table) {
		return nil, errors.New("the names of the metadata must be plain identifiers")
	}
	var err error
	if m.files, err = Load(cfg.Files); err != nil {
		return nil, err
	}
	var errs []error
	for _, f := range m.files {
		_, err := f.Statements(m.defines)
		errs = append(errs, err)
	}
	for _, name := range slices.Sorted(maps.Keys(m.defines)) {
		used := func(f Migration) bool { return strings.Contains(f.SQL, "${"+name+"}") }
		if !slices.ContainsFunc(m.files, used) {
			errs = append(errs, fmt.Errorf("no file uses the variable %s", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return m, nil
}

// Status is a version as the files and the metadata have it.
type Status struct {
	// Migration has no File when only the metadata know the version.
	Migration
	// State is Pending for what has not been applied.
	State State
	// Record is nil without a row in the metadata.
	Record *Record
	// Changed means that the file of an applied version is not the one that was
	// applied.
	Changed bool
	// Skipped means that a later version has been applied: it will never be.
	Skipped bool
}

// Status reads where each version stands. It creates nothing.
func (m *Migrator) Status(ctx context.Context) ([]Status, error) {
	_, table, err := m.initialized(ctx)
	if err != nil {
		return nil, err
	}
	latest := 0
	if table {
		current, err := m.read(ctx, currentKey)
		if err != nil {
			return nil, err
		}
		if current != nil {
			latest = current.Version
		}
	}
	var out []Status
	for _, f := range m.files {
		s := Status{Migration: f, State: Pending}
		if table {
			if s.Record, err = m.read(ctx, strconv.Itoa(f.Version)); err != nil {
				return nil, err
			}
		}
		if s.Record != nil {
			s.State = s.Record.State
			s.Changed = s.State == Migrated && s.Record.Checksum != f.Checksum
		}
		s.Skipped = s.State == Pending && f.Version < latest
		out = append(out, s)
	}
	known := func(version int) bool {
		return slices.ContainsFunc(m.files, func(f Migration) bool { return f.Version == version })
	}
	if latest > 0 && !known(latest) {
		r, err := m.read(ctx, strconv.Itoa(latest))
		if err != nil {
			return nil, err
		}
		if r != nil {
			out = append(out, Status{Migration: Migration{Version: r.Version, Name: r.Name}, State: r.State, Record: r})
		}
	}
	return out, nil
}

// Options say what Apply applies.
type Options struct {
	// Until is the last version to apply; 0 means all.
	Until int
	// Next applies one version only.
	Next bool
	// TakeOver begins a version again that is marked as running, because whoever
	// ran it has been stopped.
	TakeOver bool
}

// Plan returns what Apply would apply now, in order. It changes nothing, and
// refuses what Apply would refuse before it begins.
func (m *Migrator) Plan(ctx context.Context, o Options) ([]Migration, error) {
	_, table, err := m.initialized(ctx)
	if err != nil {
		return nil, err
	}
	var current *Record
	if table {
		if current, err = m.read(ctx, currentKey); err != nil {
			return nil, err
		}
	}
	plan, _, err := m.plan(ctx, current, o)
	return plan, err
}

// plan returns what to apply and the version before it.
func (m *Migrator) plan(ctx context.Context, current *Record, o Options) ([]Migration, int, error) {
	previous := 0
	if current != nil {
		previous = current.Version
		switch current.State {
		case Migrated:
		case Running:
			if !o.TakeOver {
				return nil, 0, fmt.Errorf("%w: version %d since %s", ErrRunning, current.Version, current.StartedOn.Format(time.RFC3339))
			}
			previous = current.Previous
		case Failed, Pending:
			previous = current.Previous
		default:
			return nil, 0, fmt.Errorf("metadata have the unknown state %q", current.State)
		}
	}
	if err := m.verify(ctx, previous); err != nil {
		return nil, 0, err
	}
	var plan []Migration
	for _, f := range m.files {
		if f.Version > previous && (o.Until == 0 || f.Version <= o.Until) && (!o.Next || len(plan) == 0) {
			plan = append(plan, f)
		}
	}
	return plan, previous, nil
}

// verify holds every applied version against its file, from the latest back to
// the first.
func (m *Migrator) verify(ctx context.Context, latest int) error {
	var errs []error
	seen := map[int]bool{}
	for version := latest; version > 0 && !seen[version]; {
		seen[version] = true
		r, err := m.read(ctx, strconv.Itoa(version))
		if err != nil {
			return err
		}
		if r == nil || r.State != Migrated {
			return fmt.Errorf("metadata name version %d as applied, and have it in another state", version)
		}
		i := slices.IndexFunc(m.files, func(f Migration) bool { return f.Version == version })
		switch {
		case i < 0:
			errs = append(errs, fmt.Errorf("%w: version %d (%s) has no file", ErrChanged, version, r.Name))
		case m.files[i].Checksum != r.Checksum:
			errs = append(errs, fmt.Errorf("%w: %s is not the file that was applied on %s", ErrChanged, m.files[i].File, r.CompletedOn.Format(time.RFC3339)))
		}
		version = r.Previous
	}
	return errors.Join(errs...)
}

// Apply applies what is missing, after it has made sure of the metadata, and
// returns the versions that it applied, also along with an error.
//
// Errors: *StatementError, ErrChanged, ErrRunning, ErrConcurrent, ErrLag, and
// those of the client.
func (m *Migrator) Apply(ctx context.Context, o Options) ([]int, error) {
	if err := m.initialize(ctx); err != nil {
		return nil, err
	}
	current, err := m.read(ctx, currentKey)
	if err != nil {
		return nil, err
	}
	plan, previous, err := m.plan(ctx, current, o)
	if err != nil {
		return nil, err
	}
	var applied []int
	for _, f := range plan {
		if err := m.apply(ctx, f, previous); err != nil {
			return applied, err
		}
		applied, previous = append(applied, f.Version), f.Version
	}
	return applied, nil
}

// apply applies one version.
func (m *Migrator) apply(ctx context.Context, f Migration, previous int) error {
	statements, err := f.Statements(m.defines)
	if err != nil {
		return err
	}
	started := time.Now()
	mark := Record{
		Version: f.Version, Name: f.Name, State: Running, Checksum: f.Checksum, StartedOn: started,
		Previous: previous, started: strconv.FormatInt(started.UnixMilli(), 10),
	}
	if err := m.write(ctx, mark); err != nil {
		return err
	}
	if err := m.settle(ctx, mark); err != nil {
		return err
	}
	m.report(Event{Migration: f, Of: len(statements)})
	for i, s := range statements {
		if err := m.mine(ctx, mark); err != nil {
			return err
		}
		existed, err := m.execute(ctx, s)
		if err != nil {
			return m.fail(ctx, mark, &StatementError{Version: f.Version, Number: i + 1, Of: len(statements), SQL: s.SQL, Err: err})
		}
		m.report(Event{Migration: f, Number: i + 1, Of: len(statements), SQL: s.SQL, Existed: existed})
	}
	if err := m.mine(ctx, mark); err != nil {
		return err
	}
	mark.State, mark.CompletedOn = Migrated, time.Now()
	if err := m.write(ctx, mark); err != nil {
		return err
	}
	if err := m.settle(ctx, mark); err != nil {
		return err
	}
	m.report(Event{Migration: f, Of: len(statements), Done: true})
	return nil
}

// execute runs a statement and reports whether what it makes was there already.
// What the server refused because it is busy is tried again; after a cut nobody
// knows whether it ran, so that is a failure.
func (m *Migrator) execute(ctx context.Context, s Statement) (existed bool, err error) {
	options := []ksqlclient.Option{ksqlclient.WithTimeout(m.timeout), ksqlclient.WithProperties(s.Properties)}
	if m.sequence >= 0 {
		// Another node behind the same address may not have read the last one yet.
		options = append(options, ksqlclient.AfterCommand(m.sequence))
	}
	for try := 1; ; try++ {
		results, err := m.client.Exec(ctx, s.SQL, nil, options...)
		m.remember(results)
		if refused, ok := errors.AsType[*ksqlclient.Error](err); ok && refused.Class() == ksqlclient.Transient && refused.Kind == ksqlclient.KindExec && try < m.tries {
			if err := m.pause(ctx); err != nil {
				return false, err
			}
			continue
		}
		if err != nil {
			return false, err
		}
		return slices.ContainsFunc(results, func(r ksqlclient.Result) bool { return r.Type == "warning_entity" }), nil
	}
}

// remember keeps the number of the last command.
func (m *Migrator) remember(results []ksqlclient.Result) {
	for _, r := range results {
		if r.Command != nil {
			m.sequence = max(m.sequence, r.Command.Sequence)
		}
	}
}

// fail writes down why a version failed, also when the caller has given up.
func (m *Migrator) fail(ctx context.Context, mark Record, cause *StatementError) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	mark.State, mark.CompletedOn, mark.Reason = Failed, time.Now(), cause.Error()
	if err := m.write(ctx, mark); err != nil {
		return errors.Join(cause, err)
	}
	if err := m.settle(ctx, mark); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

var (
	spaces = regexp.MustCompile(`\s+`)
	body   = regexp.MustCompile(`(?i) (AS|WITH|VALUES)\b| ?\(`)
)

// headline is the beginning of a statement: what it makes and its name.
func headline(sql string) string {
	const most = 80
	text := strings.TrimRight(spaces.ReplaceAllString(sql, " "), ";")
	if at := body.FindStringIndex(text); at != nil {
		text = text[:at[0]]
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

// Headline is the beginning of the statement of an event, as messages show it.
func (e Event) Headline() string { return headline(e.SQL) }
