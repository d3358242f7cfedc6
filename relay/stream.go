package relay

import (
	"context"
	"errors"
	"time"
)

// How a stream ends or pauses.
var (
	// ErrHeartbeat says that nothing came in the time that was given.
	ErrHeartbeat = errors.New("nothing new")
	// ErrBoardClosed says that the service is stopping.
	ErrBoardClosed = errors.New("the board is closed")
)

// StreamEnd is why a stream ended. The set is closed: it is a label.
type StreamEnd string

// The ends of a stream.
const (
	// EndClient is a client that went away.
	EndClient StreamEnd = "client"
	// EndSlow is a client that did not take what was written in time.
	EndSlow StreamEnd = "slow"
	// EndAge is a stream that was open as long as one may be.
	EndAge StreamEnd = "age"
	// EndStopping is a stop of the service.
	EndStopping StreamEnd = "stopping"
)

// Stream follows the odds of one event. It is one reader's: not safe for
// concurrent use.
type Stream struct {
	board *Board
	event *event
	after Position // what the reader has
	had   bool     // the reader has shown a position, or has odds
	seen  uint64   // number of the state that was read last; 0 for none
	ended bool
	timer *time.Timer // of Next, which is called for each update of each stream
}

// Stream opens one. The reader gets the newest odds first, unless it has them:
// after is the position that it saw last, which may be from another replica.
// It returns ErrTooManyStreams when MaxStreams are open. Whoever opens a
// stream must End it.
//
// While the board is loading, the stream is quiet: what is known then may be
// older than what the reader has.
func (b *Board) Stream(name string, after Position) (*Stream, error) {
	if b.streams.Add(1) > int64(b.cfg.MaxStreams) {
		b.streams.Add(-1)
		return nil, ErrTooManyStreams
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.events[name]
	if e == nil {
		e = b.add(name)
	}
	e.streams++
	return &Stream{board: b, event: e, after: after, had: !after.IsZero()}, nil
}

// Next waits for something newer than what was returned before and returns it
// as a server-sent event, which must not be changed. It returns ErrHeartbeat
// when nothing came within quiet, ErrBoardClosed when the board was closed and
// there is nothing newer, and ctx's error.
func (s *Stream) Next(ctx context.Context, quiet time.Duration) ([]byte, error) {
	if s.timer == nil {
		s.timer = time.NewTimer(quiet)
	} else {
		s.timer.Reset(quiet)
	}
	defer s.timer.Stop()
	var changed <-chan struct{} = s.board.loaded
	for {
		if s.board.isLoaded() {
			state := s.event.state.Load()
			if frame := s.read(state); frame != nil {
				return frame, nil
			}
			changed = state.changed
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.board.closed:
			return nil, ErrBoardClosed
		case <-s.timer.C:
			return nil, ErrHeartbeat
		case <-changed:
		}
	}
}

// read returns what a state has that the reader has not, or nil.
func (s *Stream) read(state *eventState) []byte {
	first := s.seen == 0
	if !first && state.number+1 == s.seen {
		return nil
	}
	if !first && state.number+1 > s.seen+1 {
		s.board.metrics.updates.WithLabelValues("skipped").Add(float64(state.number - s.seen))
	}
	s.seen = state.number + 1
	switch {
	case state.snapshot != nil:
		p := state.snapshot.Position
		if s.after.covers(p) {
			return nil
		}
		s.after, s.had = p, state.snapshot.Odds != nil
		s.board.metrics.updates.WithLabelValues("sent").Inc()
		return state.snapshot.frame
	case s.had && (state.gone || first):
		// The reader has odds of which nothing is known here any more.
		s.had = false
		return removedFrame(s.event.name, Position{})
	}
	return nil
}

// End closes the stream and counts why. Ending again changes nothing.
func (s *Stream) End(why StreamEnd) {
	if s.ended {
		return
	}
	s.ended = true
	b := s.board
	b.metrics.ended.WithLabelValues(string(why)).Inc()
	b.streams.Add(-1)
	b.mu.Lock()
	defer b.mu.Unlock()
	s.event.streams--
	if s.event.streams == 0 && s.event.place == nil {
		delete(b.events, s.event.name)
	}
}
