package relay

import (
	"bytes"
	"cmp"
	"container/list"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bugle-push/bugle/internal/fault"
)

// What a Board returns when it has no odds to give.
var (
	// ErrNoOdds is of the kind NotFound.
	ErrNoOdds error = fault.New(fault.NotFound, "there are no odds of this event")
	// ErrOddsLoading is of the kind Unavailable: the topic has not been read to
	// its end yet, so that what is known may be long out of date.
	ErrOddsLoading error = fault.New(fault.Unavailable, "the odds are still being read; try again")
	// ErrTooManyStreams is of the kind Unavailable: this replica is full.
	ErrTooManyStreams error = fault.New(fault.Unavailable, "too many streams are open here; try again")
)

// The defaults and bounds of a Board.
const (
	DefaultMaxEvents  = 20_000
	DefaultMaxStreams = 10_000
	// DefaultExpireAfter leaves a market alone that is open for days and quiet.
	DefaultExpireAfter = 7 * 24 * time.Hour
	// MaxEventLen is the longest name of an event, in bytes.
	MaxEventLen = 256
	// MaxSnapshotLen is the largest snapshot, in bytes of JSON without spaces:
	// each update is sent to every stream of its event.
	MaxSnapshotLen = 256 << 10
)

// BoardConfig bounds what a Board keeps.
type BoardConfig struct {
	// MaxEvents is how many events are kept; beyond them the one goes whose
	// update is longest ago. As many that were removed are remembered beside
	// them. 0 means DefaultMaxEvents.
	MaxEvents int
	// MaxStreams is how many streams may be open at once; 0 means DefaultMaxStreams.
	MaxStreams int
	// ExpireAfter is how long after its last record an event is forgotten, by
	// the record's time; 0 means DefaultExpireAfter.
	ExpireAfter time.Duration
	// Registerer takes the metrics; nil keeps them unregistered.
	Registerer prometheus.Registerer
}

// Update is one record of the odds topic.
type Update struct {
	// Event is the record's key.
	Event    string
	Position Position
	// At is the record's time; the zero time means now.
	At time.Time
	// Value is JSON; nil removes the event.
	Value []byte
}

// Outcome is what a Board did with an Update. The set is closed: it is a label.
type Outcome string

// The outcomes.
const (
	// Updated is a newer snapshot.
	Updated Outcome = "updated"
	// Removed is a tombstone that was newer than what was known.
	Removed Outcome = "removed"
	// Outdated is a record that came after a newer one, or has expired.
	Outdated Outcome = "outdated"
	// Unfit is a record that is no snapshot: a bad name, no JSON, or too large.
	Unfit Outcome = "unfit"
)

// Snapshot is the newest that is known of an event. It must not be changed.
type Snapshot struct {
	Event    string
	Position Position
	// At is the time of the record.
	At time.Time
	// Odds is JSON without line breaks; nil when the event was removed.
	Odds json.RawMessage

	frame []byte // the same for a stream, made once for all of them
}

// Frame is the snapshot as a server-sent event, shared by everybody who gets it.
func (s *Snapshot) Frame() []byte { return s.frame }

// Board knows the newest odds of each event and tells streams when they change.
// It keeps MaxEvents snapshots at most, the names of as many events that were
// removed, and a little for each open stream.
//
// Nothing waits for a stream: an update replaces what the event's streams will
// read next, and wakes them. One that is slow finds the newest when it is ready
// and has skipped what came in between.
//
// A Board is empty and loading until Loaded is called. It is safe for
// concurrent use, and starts no goroutine.
type Board struct {
	cfg     BoardConfig
	metrics *boardMetrics

	streams atomic.Int64
	loaded  chan struct{} // closed by the first Loaded
	closed  chan struct{}
	once    struct{ loaded, closed sync.Once }

	mu     sync.RWMutex
	topic  string // the id of the topic that was loaded last
	events map[string]*event
	live   *list.List // of *event that have odds, the newest update in front
	// removed is the same of those that a tombstone removed. They are remembered,
	// so that an older record of another partition does not bring them back, but
	// on a bound of their own: they must not push out odds.
	removed *list.List
}

// event is what is known of one, and what its streams wait on.
type event struct {
	name    string
	state   atomic.Pointer[eventState]
	streams int           // guarded by Board.mu
	place   *list.Element // guarded by Board.mu; nil without a snapshot
	in      *list.List    // where place is
}

// eventState never changes: an update replaces it and closes changed.
type eventState struct {
	snapshot *Snapshot // nil for nothing known
	// gone tells that there was one that the board forgot, so that streams say so.
	gone    bool
	number  uint64 // counts the states of an event
	changed chan struct{}
}

// NewBoard returns an empty board that is loading. It returns an Invalid fault
// for a negative bound, and an error when the metrics cannot be registered.
func NewBoard(cfg BoardConfig) (*Board, error) {
	if cfg.MaxEvents < 0 || cfg.MaxStreams < 0 || cfg.ExpireAfter < 0 {
		return nil, fault.New(fault.Invalid, "board: MaxEvents, MaxStreams and ExpireAfter must not be negative")
	}
	cfg.MaxEvents = cmp.Or(cfg.MaxEvents, DefaultMaxEvents)
	cfg.MaxStreams = cmp.Or(cfg.MaxStreams, DefaultMaxStreams)
	cfg.ExpireAfter = cmp.Or(cfg.ExpireAfter, DefaultExpireAfter)
	b := &Board{
		cfg: cfg, loaded: make(chan struct{}), closed: make(chan struct{}),
		events: map[string]*event{}, live: list.New(), removed: list.New(),
	}
	var err error
	b.metrics, err = newBoardMetrics(cfg.Registerer, b)
	return b, err
}

// Put takes a record. Records may come in any order between partitions, and
// again.
func (b *Board) Put(u Update) Outcome {
	outcome := b.put(u)
	b.metrics.records.WithLabelValues(string(outcome)).Inc()
	return outcome
}

func (b *Board) put(u Update) Outcome {
	now := time.Now()
	if u.At.IsZero() || u.At.After(now) {
		u.At = now // a clock that is ahead must not keep an event longer
	}
	snapshot, ok := newSnapshot(u)
	if !ok {
		return Unfit
	}
	if now.Sub(u.At) >= b.cfg.ExpireAfter {
		return Outdated
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.events[u.Event]
	if e == nil {
		e = b.add(u.Event)
	}
	before := e.state.Load()
	if old := before.snapshot; old != nil && !u.Position.replaces(u.At, old.Position, old.At) {
		return Outdated
	}
	in, outcome := b.live, Updated
	if u.Value == nil {
		in, outcome = b.removed, Removed
	}
	e.moveTo(in)
	e.replace(&eventState{snapshot: snapshot, number: before.number + 1, changed: make(chan struct{})})
	for in.Len() > b.cfg.MaxEvents {
		if last, ok := in.Back().Value.(*event); ok {
			b.forget(last)
		}
	}
	return outcome
}

// moveTo puts an event in front of a list, or of none for nil.
func (e *event) moveTo(in *list.List) {
	if e.place != nil && e.in == in {
		in.MoveToFront(e.place)
		return
	}
	if e.place != nil {
		e.in.Remove(e.place)
	}
	e.place, e.in = nil, in
	if in != nil {
		e.place = in.PushFront(e)
	}
}

// newSnapshot encodes a record once, for everybody.
func newSnapshot(u Update) (*Snapshot, bool) {
	if u.Event == "" || len(u.Event) > MaxEventLen || !utf8.ValidString(u.Event) || u.Position.IsZero() {
		return nil, false
	}
	s := &Snapshot{Event: u.Event, Position: u.Position, At: u.At.UTC().Truncate(time.Millisecond)}
	if u.Value == nil {
		s.frame = removedFrame(u.Event, u.Position)
		return s, true
	}
	var odds bytes.Buffer
	if err := json.Compact(&odds, u.Value); err != nil || odds.Len() > MaxSnapshotLen || !utf8.Valid(odds.Bytes()) {
		return nil, false
	}
	s.Odds = odds.Bytes()
	s.frame = oddsFrame(s)
	return s, true
}

// replace puts a new state in place and wakes all streams of the event.
func (e *event) replace(s *eventState) { close(e.state.Swap(s).changed) }

func (b *Board) add(name string) *event {
	e := &event{name: name}
	e.state.Store(&eventState{changed: make(chan struct{})})
	b.events[name] = e
	return e
}

// forget drops what is known of an event, and the event when no stream waits
// for it. Whoever had its odds is told that they are gone.
func (b *Board) forget(e *event) {
	e.moveTo(nil)
	if e.streams == 0 {
		delete(b.events, e.name)
	}
	before := e.state.Load()
	if before.snapshot == nil {
		return
	}
	e.replace(&eventState{gone: true, number: before.number + 1, changed: make(chan struct{})})
}

// Expire forgets the events whose last record is older than ExpireAfter.
func (b *Board) Expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgetIf(func(s *Snapshot) bool { return time.Since(s.At) >= b.cfg.ExpireAfter })
}

func (b *Board) forgetIf(drop func(*Snapshot) bool) {
	for _, in := range []*list.List{b.live, b.removed} {
		for place := in.Front(); place != nil; {
			e, _ := place.Value.(*event)
			place = place.Next()
			if drop(e.state.Load().snapshot) {
				b.forget(e)
			}
		}
	}
}

// Loaded says that the topic of this id (see Position) has been read to its
// end: from now on the board answers. What is known from another topic of the
// same name is forgotten.
func (b *Board) Loaded(topic string) {
	b.mu.Lock()
	b.topic = topic
	b.forgetIf(func(s *Snapshot) bool { return s.Position.Topic != topic })
	b.mu.Unlock()
	b.once.loaded.Do(func() { close(b.loaded) })
}

func (b *Board) isLoaded() bool {
	select {
	case <-b.loaded:
		return true
	default:
		return false
	}
}

// Latest returns the newest snapshot of an event. It returns ErrNoOdds when
// nothing is known of it or it was removed, and ErrOddsLoading at first.
func (b *Board) Latest(name string) (*Snapshot, error) {
	if !b.isLoaded() {
		return nil, ErrOddsLoading
	}
	b.mu.RLock()
	e := b.events[name]
	b.mu.RUnlock()
	if e == nil {
		return nil, ErrNoOdds
	}
	s := e.state.Load().snapshot
	if s == nil || s.Odds == nil || time.Since(s.At) >= b.cfg.ExpireAfter {
		return nil, ErrNoOdds
	}
	return s, nil
}

// Close ends all streams, for good. Closing again changes nothing.
func (b *Board) Close() { b.once.closed.Do(func() { close(b.closed) }) }

// oddsFrame is a server-sent event. JSON has no line breaks, so that it is one
// line of data.
func oddsFrame(s *Snapshot) []byte {
	name, _ := json.Marshal(s.Event) // a string always can be encoded
	return fmt.Appendf(nil, "id: %s\nevent: odds\ndata: {\"event\":%s,\"updated_at\":%q,\"odds\":%s}\n\n",
		s.Position, name, s.At.Format(time.RFC3339Nano), s.Odds)
}

// removedFrame tells that the odds of an event are gone. Without a position the
// client keeps the id that it has.
func removedFrame(event string, p Position) []byte {
	name, _ := json.Marshal(event)
	var id string
	if !p.IsZero() {
		id = "id: " + p.String() + "\n"
	}
	return fmt.Appendf(nil, "%sevent: removed\ndata: {\"event\":%s}\n\n", id, name)
}
