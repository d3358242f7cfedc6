package relay

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// instant is lanes over a service that takes everything at once.
type instant struct {
	lanes     *lanes
	part      *partition
	now       time.Time
	published map[string]int
}

func newInstant(conflate bool, change func(*laneLimits)) *instant {
	s := &instant{now: time.Unix(1_700_000_000, 0), published: map[string]int{}}
	limits := laneLimits{
		inFlight: 64, troubles: 8, backoff: func(int) time.Duration { return time.Second },
		finish: func(it *item, what fate) {
			it.from.prefix.finish(it.offset())
			if what == published {
				s.published[it.message.Channel]++
			}
		},
		refuse: func(*item, string, string) {}, onHold: func(hold) {},
	}
	if change != nil {
		change(&limits)
	}
	s.lanes = newLanes(limits)
	s.part = newPartition(context.Background(), topicPartition{"odds", 0}, &Route{Topic: "odds", Conflate: conflate})
	s.part.catching = false
	return s
}

func (s *instant) push(offset int64, channel string, suspended bool) {
	s.part.prefix.add(offset)
	s.lanes.push(&item{
		from: s.part, record: &kgo.Record{Offset: offset, Timestamp: s.now}, message: Message{Channel: channel}, suspended: suspended,
	}, s.now)
}

// run publishes what may be published now, and returns when there will be more.
func (s *instant) run() time.Time {
	for {
		start, again := s.lanes.next(s.now)
		if len(start) == 0 {
			return again
		}
		for _, it := range start {
			s.lanes.settle(it, Answer{Verdict: Accepted}, s.now)
		}
	}
}

// A channel gets its rate and a little more at the beginning, and all channels
// together get theirs; each of them in turn.
func TestRatesAreKeptAndUsed(t *testing.T) {
	s := newInstant(false, func(l *laneLimits) { l.channelRate, l.channelBurst = 40, 5 })
	for i := range 400 {
		s.push(int64(i), "a", false)
	}
	begun := s.now
	for again := s.run(); !again.IsZero(); again = s.run() {
		s.now = again
	}
	require.Equal(t, 400, s.published["a"])
	require.Equal(t, (400-5)*25*time.Millisecond, s.now.Sub(begun))

	s = newInstant(false, func(l *laneLimits) { l.messageRate, l.requestRate = 1000, 100 })
	for i := range 1000 {
		s.push(int64(i), fmt.Sprint(i%10), false)
	}
	for end := s.now.Add(5 * time.Second); ; {
		again := s.run()
		if again.After(end) {
			break
		}
		s.now = again
	}
	for channel, n := range s.published {
		require.InDelta(t, 51, n, 1, "channel %s gets a tenth", channel)
	}
}

// When the rate is short, suspensions do not wait behind odds.
func TestSuspensionsGoFirst(t *testing.T) {
	s := newInstant(true, func(l *laneLimits) { l.requestRate = 10 })
	s.run()
	for i := range 50 {
		s.push(int64(i), fmt.Sprint("odds", i), false)
	}
	s.run()
	s.push(50, "suspended", true)
	s.now = s.now.Add(100 * time.Millisecond)
	s.run()
	require.Equal(t, 1, s.published["suspended"])
	require.Len(t, s.published, 2)
}

// What is read while a partition catches up waits, but for suspensions.
func TestCatchingUp(t *testing.T) {
	s := newInstant(true, nil)
	s.part.catching = true
	s.part.marks = map[string]Mark{"b": {Offset: 5}}
	s.push(0, "a", false)
	s.push(1, "a", true)
	s.push(2, "a", false)
	s.push(3, "a", false)
	s.push(4, "b", true)
	s.push(5, "b", false)
	s.push(6, "b", false)
	s.run()
	require.Equal(t, map[string]int{"a": 1}, s.published, "the suspension of a; b's was published before")
	require.EqualValues(t, 3, s.part.prefix.commit())
	s.lanes.catchUp(s.part, s.now)
	s.run()
	require.Equal(t, map[string]int{"a": 2, "b": 1}, s.published)
	require.EqualValues(t, 7, s.part.prefix.commit())
}

// A suspension that is on its way while its partition catches up is not begun
// again when the others may go.
func TestCatchingUpBeginsNothingTwice(t *testing.T) {
	s := newInstant(true, nil)
	s.part.catching = true
	s.push(0, "a", true)
	start, _ := s.lanes.next(s.now)
	require.Len(t, start, 1)
	s.push(1, "a", false)
	s.lanes.catchUp(s.part, s.now)
	again, _ := s.lanes.next(s.now.Add(time.Second))
	require.Empty(t, again, "one in flight for a channel")
	s.lanes.settle(start[0], Answer{Verdict: Accepted}, s.now)
	s.run()
	require.EqualValues(t, 2, s.part.prefix.commit())
}

// Channels come and go; what is remembered of them does not grow for ever.
func TestIdleChannelsAreForgotten(t *testing.T) {
	s := newInstant(true, nil)
	for i := range 100 {
		s.push(int64(i), fmt.Sprint(i), false)
	}
	s.run()
	require.Len(t, s.lanes.byChannel, 100)
	s.lanes.forget(time.Minute, s.now.Add(time.Minute))
	require.Len(t, s.lanes.byChannel, 100)
	s.lanes.forget(time.Minute, s.now.Add(time.Minute+1))
	require.Empty(t, s.lanes.byChannel)
	require.Empty(t, s.part.lanes)
}

// What concerns the key holds every channel, with a probe now and then; what
// concerns one channel only shows when others are taken.
func TestDeniedIsAboutTheKeyUntilOthersAreTaken(t *testing.T) {
	var held []hold
	var refused []string
	s := newInstant(true, func(l *laneLimits) {
		l.troubles = 3
		l.onHold = func(h hold) { held = append(held, h) }
		l.refuse = func(it *item, code, _ string) { refused = append(refused, it.message.Channel+" "+code) }
	})
	denied := func() {
		start, _ := s.lanes.next(s.now)
		for _, it := range start {
			s.lanes.settle(it, Answer{Verdict: Denied, Code: 40160, Reason: "no"}, s.now)
		}
	}
	for i, channel := range []string{"a", "b", "c"} {
		s.push(int64(i), channel, false)
	}
	denied()
	require.Equal(t, []hold{{holdCredentials, "40160: no"}}, held)
	require.Empty(t, refused, "the world is not dead-lettered")

	s.now = s.now.Add(2 * time.Second)
	start, _ := s.lanes.next(s.now)
	require.Len(t, start, 1, "a probe")
	s.lanes.settle(start[0], Answer{Verdict: Accepted}, s.now)
	require.Equal(t, hold{}, held[len(held)-1])
	s.now = s.now.Add(2 * time.Second)
	denied()
	require.Len(t, refused, 2)
	require.Contains(t, refused[0], " 40160")
	require.Len(t, s.published, 1)
}

// The cost of a record does not grow with the number of records, channels, or
// what waits.
func BenchmarkLanes(b *testing.B) {
	for _, conflate := range []bool{true, false} {
		for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("conflate=%t/records=%d", conflate, n), func(b *testing.B) {
				channels := make([]string, max(n/20, 1))
				for i := range channels {
					channels[i] = fmt.Sprint("outbound:odds:event", i)
				}
				b.ReportAllocs()
				for b.Loop() {
					s := newInstant(conflate, nil)
					for i := range n {
						s.push(int64(i), channels[i*7919%len(channels)], i%100 == 0)
					}
					s.run()
					if s.part.prefix.commit() != int64(n) {
						b.Fatal("not all done")
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
			})
		}
	}
}
