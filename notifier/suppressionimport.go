package notifier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

const (
	// ImportActor is the actor of imports in the audit, and who has set what they set.
	ImportActor = "import"
	// MaxImportRows bounds the result of the query of an import.
	MaxImportRows = 500_000
	// DefaultMaxLifted is how many suppressions one import lifts or lessens at most.
	DefaultMaxLifted = 100

	// importLease is for how long an import is one replica's without a sign of life.
	importLease = 2 * time.Minute
	// importTimeout bounds the reading of an import; it ends within the lease.
	importTimeout = 90 * time.Second
	// importRetry is how long after a failure the next import begins at the earliest.
	importRetry = 30 * time.Second
	// importLook is how often a replica looks whether an import is due.
	importLook = 5 * time.Second
	// importGrace is how long imports may fail before that is an alarm, beside three of their intervals.
	importGrace = 15 * time.Minute
)

// ErrImportLost says that another replica may be importing by now.
var ErrImportLost = errors.New("the import is another replica's")

// ImportQuery is a query whose result says who must not be sent to, and when it
// is read.
type ImportQuery struct {
	// Query is a pull query with the columns user_id and reason, and where wanted class, from and until.
	Query string
	// MaxLifted is how many suppressions one import takes back at most: lifts, because they have
	// disappeared from the result, or lessens, because it says an earlier end, a later begin or a
	// smaller class. When there are more, it takes none back. 0 takes none back ever.
	MaxLifted int

	schedule Schedule
	gap      time.Duration
}

// CompileImport checks a query and its schedule. Its errors are Invalid faults
// with the fields schedule and query.
func CompileImport(schedule, query string, maxLifted int) (*ImportQuery, error) {
	q := &ImportQuery{Query: query, MaxLifted: maxLifted}
	var fields []fault.Field
	var err error
	if q.schedule, q.gap, err = parseSchedule(schedule); err != nil {
		fields = append(fields, fault.Field{Path: "schedule", Message: err.Error()})
	}
	scanned, err := scanQuery(query)
	if err == nil {
		err = scanned.check()
	}
	if err == nil && len(scanned.placeholders) > 0 {
		err = fmt.Errorf("has the parameter :%s, and an import has none: it reads the whole list", scanned.placeholders[0])
	}
	if err != nil {
		fields = append(fields, fault.Field{Path: "query", Message: err.Error()})
	}
	if maxLifted < 0 {
		fields = append(fields, fault.Field{Path: "max_lifted", Message: "wants 0 or more"})
	}
	if len(fields) > 0 {
		return nil, fault.InvalidFields("the import of suppressions is not valid", fields...)
	}
	return q, nil
}

// Columns returns the columns that an import reads; the first two must be there.
func (q *ImportQuery) Columns() []ColumnUse {
	return []ColumnUse{
		{Column: "user_id", Path: "query", Need: NeedScalar},
		{Column: "reason", Path: "query", Need: NeedScalar},
		{Column: "class", Path: "query", Need: NeedScalar},
		{Column: "from", Path: "query", Need: NeedTime},
		{Column: "until", Path: "query", Need: NeedTime},
	}
}

// Overdue is how long ago the last import that succeeded may have begun before
// that is an alarm.
func (q *ImportQuery) Overdue() time.Duration { return 3*q.gap + importGrace }

// suppression reads a row. What is null is as if it were not there. Beside an error
// stands the strictest that the row may have meant, or zero when it names no user.
func (q *ImportQuery) suppression(row Row) (Suppression, error) {
	text := func(column string) (string, error) {
		if row[column] == nil {
			return "", nil
		}
		s, ok := plainText(row[column])
		if !ok {
			return "", fmt.Errorf("%s is no text", column)
		}
		return s, nil
	}
	at := func(column string) (time.Time, error) {
		if row[column] == nil {
			return time.Time{}, nil
		}
		t, err := timeValue(row[column])
		if err != nil {
			return time.Time{}, fmt.Errorf("%s is no time", column)
		}
		return t, nil
	}
	user, userErr := text("user_id")
	reason, reasonErr := text("reason")
	class, classErr := text("class")
	from, fromErr := at("from")
	until, untilErr := at("until")
	said := Suppression{User: devices.UserID(user), Reason: Reason(reason), Class: SuppressionClass(class), From: from, Until: until}
	if classErr != nil {
		said.Class = SuppressAll
	}
	if err := errors.Join(userErr, reasonErr, classErr, fromErr, untilErr); err != nil {
		return said.strictest(fromErr == nil && untilErr == nil), err
	}
	s, err := said.Normalize()
	if err != nil {
		return said.strictest(true), err
	}
	return s, nil
}

// strictest returns the most that a suppression which is not valid may have meant:
// an unknown reason may have been self-exclusion, an unknown class all, and times
// that do not go together no bounds. It is zero when not even its user is known.
func (s Suppression) strictest(timed bool) Suppression {
	if !slices.Contains(SuppressionReasons(), s.Reason) {
		s.Reason = ReasonSelfExclusion
	}
	if s.Class != "" && !slices.Contains(SuppressionClasses(), s.Class) {
		s.Class = SuppressAll
	}
	if s.Class == SuppressMarketing && s.Reason.stopsService() {
		s.Class = SuppressService
	}
	if timed {
		if whole, err := s.Normalize(); err == nil {
			return whole
		}
	}
	s.From, s.Until = time.Time{}, time.Time{}
	whole, err := s.Normalize()
	if err != nil {
		return Suppression{}
	}
	return whole
}

// and returns what stops all that either of two suppressions for the same user and reason stops,
// and may stop more: what lies between two times, too.
func (s Suppression) and(o Suppression) Suppression {
	if o.Class.stops(Transactional) || o.Class.stops(Service) && !s.Class.stops(Transactional) {
		s.Class = o.Class
	}
	if o.From.Before(s.From) {
		s.From = o.From // the zero time is before every other
	}
	if !s.Until.IsZero() && (o.Until.IsZero() || o.Until.After(s.Until)) {
		s.Until = o.Until
	}
	return s
}

// holds tells whether the suppression stops, from now on, all that another for the same user and
// reason stops. One that has ended stops nothing.
func (s Suppression) holds(o Suppression, now time.Time) bool {
	begins := later(o.From, now) // what is over does not count
	switch {
	case !o.Until.IsZero() && !o.Until.After(begins):
		return true
	case s.From.After(begins), !s.Until.IsZero() && (o.Until.IsZero() || s.Until.Before(o.Until)):
		return false
	}
	for _, c := range []Class{Transactional, Service, Marketing} {
		if o.Class.stops(c) && !s.Class.stops(c) {
			return false
		}
	}
	return true
}

// ImportTurn is the right of one replica to import.
type ImportTurn struct {
	Owner string
	// No is the fence: whoever holds an older one writes nothing.
	No int64
	// BegunAt is when it began, by the database's clock.
	BegunAt time.Time
}

// ImportState says how imports stand.
type ImportState struct {
	// SucceededAt is when the last one began that succeeded; zero: none has.
	SucceededAt time.Time
	// Now is the present by the database's clock.
	Now time.Time
}

// ImportLedger keeps the imported suppressions. Every change is in the audit,
// written in the same transaction, with the actor ImportActor.
type ImportLedger interface {
	// ImportState tells how imports stand.
	ImportState(ctx context.Context) (ImportState, error)
	// BeginImport takes the turn, unless another one is going on or due says, under the lock, that
	// none is wanted.
	BeginImport(ctx context.Context, owner string, lease time.Duration, due func(ImportState) bool) (turn ImportTurn, ok bool, err error)
	// SetImported sets imported suppressions, all of them or none, and keeps the turn for another
	// lease. It returns how many were written, or ErrImportLost.
	SetImported(ctx context.Context, turn ImportTurn, lease time.Duration, set []Suppression) (changed int, err error)
	// Imported lists imported suppressions by user and reason, behind a key; nil begins.
	Imported(ctx context.Context, after *SuppressionKey, limit int) ([]Suppression, error)
	// LiftImported takes imported suppressions back, and keeps the turn for another lease. It
	// returns how many there were, or ErrImportLost.
	LiftImported(ctx context.Context, turn ImportTurn, lease time.Duration, keys []SuppressionKey) (lifted int, err error)
	// EndImport ends the turn. After a success the next import is due by the schedule, else after a pause.
	EndImport(ctx context.Context, turn ImportTurn, succeeded bool, pause time.Duration) error
}

// Importer reads who must not be sent to from a query, on a schedule. Every
// replica has one; one at a time imports.
type Importer struct {
	query  *ImportQuery
	source Source
	ledger ImportLedger
	owner  string
	log    zerolog.Logger

	imports   *prometheus.CounterVec
	changes   *prometheus.CounterVec
	rows      prometheus.Gauge
	succeeded prometheus.Gauge

	mu    sync.Mutex
	since time.Time // when this replica began to look
	state ImportState
	why   string // why the last import of this replica failed; empty when it did not
}

// NewImporter returns an Importer; reg may be nil.
func NewImporter(q *ImportQuery, source Source, ledger ImportLedger, owner string, reg prometheus.Registerer, log zerolog.Logger) *Importer {
	i := &Importer{
		query: q, source: source, ledger: ledger, owner: owner, log: log.With().Str("component", "importer").Logger(),
		imports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_suppression_imports_total", Help: "Imports of suppressions by how they ended.",
		}, []string{"outcome"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_suppressions_imported_total", Help: "Suppressions that an import has set or lifted.",
		}, []string{"change"}),
		rows: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bugle_suppression_import_rows", Help: "Rows that this replica's last import read.",
		}),
		succeeded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bugle_suppression_import_succeeded_timestamp_seconds", Help: "When the last import of any replica began that succeeded; 0 when none has.",
		}),
		since: time.Now(),
	}
	if reg != nil {
		reg.MustRegister(i.imports, i.changes, i.rows, i.succeeded)
	}
	return i
}

// Run imports until ctx ends.
func (i *Importer) Run(ctx context.Context) error {
	failing := ""
	for sleep(ctx, importLook) {
		err := i.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		now := ""
		if err != nil {
			if now = err.Error(); now != failing {
				i.log.Error().Err(err).Msg("suppressions could not be imported")
			}
		}
		failing = now
	}
	return nil
}

// Check fails when no import has succeeded for long.
func (i *Importer) Check(context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	last := i.state.SucceededAt
	age := time.Since(i.since) // of a first import, or of a state that cannot be read
	if !last.IsZero() {
		age = i.state.Now.Sub(last)
	}
	switch {
	case age <= i.query.Overdue():
		return nil
	case i.why != "":
		return fmt.Errorf("no import of suppressions has succeeded for %s: %s", age.Round(time.Second), i.why)
	}
	return fmt.Errorf("no import of suppressions has succeeded for %s", age.Round(time.Second))
}

// look imports if an import is due.
func (i *Importer) look(ctx context.Context) error {
	step, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	state, err := i.ledger.ImportState(step)
	if err != nil {
		return err
	}
	i.keep(state)
	due := func(s ImportState) bool {
		return s.SucceededAt.IsZero() || !i.query.schedule.Next(s.SucceededAt).After(s.Now)
	}
	if !due(state) {
		return nil
	}
	turn, ok, err := i.ledger.BeginImport(step, i.owner, importLease, due)
	if err != nil || !ok {
		return err
	}
	began := time.Now()
	done, err := i.once(ctx, turn)
	i.changes.WithLabelValues("set").Add(float64(done.set))
	i.changes.WithLabelValues("lifted").Add(float64(done.lifted))
	i.rows.Set(float64(done.rows))
	outcome := "succeeded"
	if err != nil {
		outcome = "failed"
	}
	i.imports.WithLabelValues(outcome).Inc()
	i.mu.Lock()
	i.why = ""
	if err != nil {
		i.why = err.Error()
	}
	i.mu.Unlock()
	end, cancelEnd := context.WithTimeout(context.WithoutCancel(ctx), ledgerTimeout)
	defer cancelEnd()
	if endErr := i.ledger.EndImport(end, turn, err == nil, importRetry); endErr != nil {
		return errors.Join(err, endErr)
	}
	if err != nil {
		return err
	}
	if state, err = i.ledger.ImportState(end); err == nil {
		i.keep(state)
	}
	i.log.Info().Int("count", done.rows).Int("set", done.set).Int("lifted", done.lifted).Int64("took_ms", time.Since(began).Milliseconds()).
		Msg("suppressions imported")
	return err
}

func (i *Importer) keep(s ImportState) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.state = s
	if !s.SucceededAt.IsZero() {
		i.succeeded.Set(float64(s.SucceededAt.UnixMicro()) / 1e6)
	}
}

// imported is what an import has done.
type imported struct{ rows, set, lifted int }

// once reads the whole result, sets what it says, and takes back what has
// disappeared from it or is less than it was: that only when the result was
// complete, no row of it was wrong, and no more is taken back than may be.
// Otherwise whoever is on the list stays there, as strictly as before.
func (i *Importer) once(ctx context.Context, turn ImportTurn) (done imported, err error) {
	list, wrong, readErr := i.read(ctx, &done)
	less, err := i.less(ctx, list, turn.BegunAt)
	if err != nil {
		return done, errors.Join(readErr, err)
	}
	back := less.gone + len(less.held)
	refused := error(nil)
	switch {
	case readErr != nil:
		refused = fmt.Errorf("the result is not complete, so nobody is taken off the list: %w", readErr)
	case wrong != nil:
		refused = fmt.Errorf("a row is wrong, so nobody is taken off the list: %w", wrong)
	case i.query.MaxLifted > 0 && back > 0 && (done.rows == 0 || back > i.query.MaxLifted):
		refused = fmt.Errorf("%d have disappeared from %d rows and %d are less than they were, more than max_lifted allows or all of them, so nobody is taken off the list",
			less.gone, done.rows, len(less.held))
	}
	lifts := refused == nil && i.query.MaxLifted > 0
	if !lifts {
		maps.Copy(list, less.held)
	}
	// Whoever the result names is suppressed, complete or not.
	for part := range slices.Chunk(slices.Collect(maps.Values(list)), importChunk) {
		n, err := i.ledger.SetImported(ctx, turn, importLease, part)
		done.set += n
		if err != nil {
			return done, errors.Join(refused, err)
		}
	}
	if lifts && len(less.keys) > 0 {
		done.lifted, err = i.ledger.LiftImported(ctx, turn, importLease, less.keys)
	}
	return done, errors.Join(refused, err)
}

// read returns what the result says, and what is wrong with a row; of several
// rows for a user and reason all hold. A wrong row that names a user holds, too,
// as strictly as it may be meant.
func (i *Importer) read(ctx context.Context, done *imported) (list map[SuppressionKey]Suppression, wrong, err error) {
	ctx, cancel := context.WithTimeout(ctx, importTimeout)
	defer cancel()
	list, bad := map[SuppressionKey]Suppression{}, 0
	for row, err := range i.source.Read(ctx, i.query.Query, nil) {
		if err != nil {
			return list, wrong, err
		}
		if done.rows++; done.rows > MaxImportRows {
			return list, wrong, fmt.Errorf("it has more than %d rows", MaxImportRows)
		}
		s, err := i.query.suppression(row)
		if err != nil {
			bad++
			wrong = fmt.Errorf("%d in all, the last is row %d: %s", bad, done.rows, lineMessage(err))
			if s.User == "" {
				continue
			}
		}
		key := SuppressionKey{User: s.User, Reason: s.Reason}
		if known, twice := list[key]; twice {
			s = known.and(s)
		}
		list[key] = s
	}
	return list, wrong, nil
}

// lessened is what a result would take back of what is imported.
type lessened struct {
	// gone counts what the result does not have any more, and keys are the first of it: as many as
	// may be lifted.
	gone int
	keys []SuppressionKey
	// held is what the result has with other times or another class, so that it would stop less than
	// before; each together with what stands.
	held map[SuppressionKey]Suppression
}

// less compares what is imported with the result.
func (i *Importer) less(ctx context.Context, list map[SuppressionKey]Suppression, now time.Time) (out lessened, err error) {
	out.held = map[SuppressionKey]Suppression{}
	var after *SuppressionKey
	for {
		page, err := i.ledger.Imported(ctx, after, importChunk)
		if err != nil {
			return out, err
		}
		for _, stands := range page {
			key := SuppressionKey{User: stands.User, Reason: stands.Reason}
			after = &key
			said, ok := list[key]
			switch {
			case !ok:
				if out.gone++; out.gone <= i.query.MaxLifted {
					out.keys = append(out.keys, key)
				}
			case !said.holds(stands, now):
				out.held[key] = said.and(stands)
			}
		}
		if len(page) < importChunk {
			return out, nil
		}
	}
}
