package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// compare holds where the session stands against the end of the topic, again
// and again. The board is loaded when everything has been read that was there
// at the first comparison, and behind when something has not been read that was
// there at the comparison before.
func (s *session) compare(ctx context.Context) error {
	var goal map[int32]int64
	reached := false
	for {
		ends, err := s.ends(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (goal == nil || errors.Is(err, errTopicChanged)):
			return err
		case err != nil:
			s.watch.note(err.Error())
			s.pause(ctx)
			continue
		case goal == nil || reached:
			goal = ends
		default:
			s.watch.note(fmt.Sprintf("%d records of topic %s are still to be read", s.missing(ends), s.watch.cfg.Topic))
		}
		s.watch.lag.Set(float64(s.missing(ends)))
		reached = s.await(ctx, goal)
		s.watch.cfg.Board.Expire()
	}
}

// await waits until the next comparison, and tells whether the goal has been
// reached in that time.
func (s *session) await(ctx context.Context, goal map[int32]int64) bool {
	until := time.NewTimer(s.watch.cfg.CheckEvery)
	defer until.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	reached, before, quiet := false, int64(-1), 0
	for {
		if !reached {
			missing := s.missing(goal)
			// Nothing came for a while: is there anything?
			if quiet++; missing != before {
				before, quiet = missing, 0
			}
			if missing > 0 && quiet >= quietLooks {
				quiet = 0
				s.skipGaps(ctx, goal)
			}
			if reached = missing == 0 && !s.isWaiting(); reached {
				s.watch.cfg.Board.Loaded(s.topic)
				s.watch.note("")
			}
		}
		select {
		case <-ctx.Done():
			return reached
		case <-until.C:
			return reached
		case <-look.C:
		}
	}
}

// How often a goal is looked at, and after how many looks without progress the
// brokers are asked whether there is anything left.
const (
	lookEvery  = 50 * time.Millisecond
	quietLooks = 20
)

// missing counts what is between the session and the given ends.
func (s *session) missing(ends map[int32]int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := int64(0)
	for p, end := range ends {
		sum += max(0, end-s.next[p])
	}
	return sum
}

func (s *session) isWaiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting > 0
}

// skipGaps moves over offsets at the end of partitions that hold no record.
func (s *session) skipGaps(ctx context.Context, goal map[int32]int64) {
	for p, end := range goal {
		s.mu.Lock()
		next := s.next[p]
		s.mu.Unlock()
		if next < end && nothingLeft(ctx, s.client, s.watch.cfg.Topic, s.id, p, next, end) {
			s.mu.Lock()
			s.next[p] = max(s.next[p], end)
			s.mu.Unlock()
		}
	}
}

// ends returns the end of each partition as readers of committed records see
// it, or errTopicChanged.
func (s *session) ends(ctx context.Context) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	id, partitions, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	listed, err := s.admin.ListCommittedOffsets(ctx, s.watch.cfg.Topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list end offsets of topic %s: %w", s.watch.cfg.Topic, err)
	}
	out := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	if id != s.id || partitions != s.partitions {
		return nil, errTopicChanged
	}
	return out, nil
}
