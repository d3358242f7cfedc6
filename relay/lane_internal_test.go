package relay

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// modelWorld is an Ably in virtual time, and what the lanes have said of each
// record.
type modelWorld struct {
	t         *rapid.T
	now       time.Time
	lanes     *lanes
	parts     []*partition
	flying    []*item
	late      []delayed // requests without an answer that arrive all the same
	channels  map[string]*modelChannel
	fates     map[*item]fate
	refused   map[*item]bool
	pushed    []*item
	nextBy    []int64
	perSecond []time.Time // every attempt
}

type modelChannel struct {
	got      []int64             // offsets, in the order in which they arrived for the first time
	seen     map[int64]time.Time // ids within the window
	attempts []time.Time
	newest   int64 // pushed
}

type delayed struct {
	at     time.Time
	item   *item
	offset int64
}

const (
	modelRate     = 40
	modelBurst    = 5
	modelInFlight = 4
	modelRequests = 100
)

func newModelWorld(t *rapid.T, conflate bool, maxAge time.Duration) *modelWorld {
	w := &modelWorld{
		t: t, now: time.Unix(1_700_000_000, 0), channels: map[string]*modelChannel{}, fates: map[*item]fate{}, refused: map[*item]bool{},
	}
	w.lanes = newLanes(laneLimits{
		channelRate: modelRate, channelBurst: modelBurst, requestRate: modelRequests, inFlight: modelInFlight, troubles: 3,
		backoff: func(n int) time.Duration { return time.Duration(min(n, 8)) * 100 * time.Millisecond },
		finish:  w.finish, refuse: w.refuse, onHold: func(hold) {},
	})
	for i := range 2 {
		p := newPartition(context.Background(), topicPartition{"odds", int32(i)}, &Route{Topic: "odds", Conflate: conflate, MaxAge: maxAge})
		p.catching = false
		w.parts = append(w.parts, p)
		w.nextBy = append(w.nextBy, 0)
	}
	return w
}

func (w *modelWorld) finish(it *item, what fate) {
	require.NotContains(w.t, w.fates, it, "a record ends once")
	require.False(w.t, w.refused[it])
	w.fates[it] = what
	it.from.prefix.finish(it.offset())
	ch := w.channels[it.message.Channel]
	switch what { //nolint:exhaustive // the others need nothing here
	case conflated:
		require.False(w.t, it.suspended, "a suspension is not conflated away")
		require.True(w.t, it.from.route.Conflate)
		require.Greater(w.t, ch.newest, it.offset(), "something newer has come")
	case stale:
		require.False(w.t, it.suspended)
		require.Greater(w.t, w.now.Sub(it.record.Timestamp), it.from.route.MaxAge)
	case published:
		require.Contains(w.t, ch.got, it.offset())
	}
}

func (w *modelWorld) refuse(it *item, _, _ string) {
	require.NotContains(w.t, w.fates, it)
	w.refused[it] = true
	// What is refused for its content is so whenever it arrives.
	w.late = slices.DeleteFunc(w.late, func(d delayed) bool { return d.item == it })
	it.from.prefix.finish(it.offset())
}

func (w *modelWorld) push(t *rapid.T) {
	part := rapid.IntRange(0, 1).Draw(t, "partition")
	for range rapid.IntRange(1, 5).Draw(t, "records") {
		channel := fmt.Sprintf("p%d-%d", part, rapid.IntRange(0, 1).Draw(t, "channel"))
		w.nextBy[part] += rapid.Int64Range(1, 2).Draw(t, "gap")
		it := &item{
			from: w.parts[part], record: &kgo.Record{Offset: w.nextBy[part], Timestamp: w.now}, message: Message{Channel: channel},
			suspended: rapid.IntRange(0, 9).Draw(t, "suspended") == 0,
		}
		if w.channels[channel] == nil {
			w.channels[channel] = &modelChannel{seen: map[int64]time.Time{}, newest: -1}
		}
		w.channels[channel].newest = it.offset()
		w.pushed = append(w.pushed, it)
		require.True(t, it.from.prefix.add(it.offset()))
		w.lanes.push(it, w.now)
	}
	w.start()
}

// arrive is a request that reaches the channel.
func (w *modelWorld) arrive(it *item) {
	ch := w.channels[it.message.Channel]
	if at, again := ch.seen[it.offset()]; again && w.now.Sub(at) <= 2*time.Minute {
		return
	}
	ch.seen[it.offset()] = w.now
	if len(ch.got) > 0 {
		require.Greater(w.t, it.offset(), ch.got[len(ch.got)-1], "odds do not go back on %s", it.message.Channel)
	}
	ch.got = append(ch.got, it.offset())
}

// start lets begin what may.
func (w *modelWorld) start() (again time.Time) {
	start, again := w.lanes.next(w.now)
	for _, it := range start {
		for _, other := range w.flying {
			require.NotEqual(w.t, other.message.Channel, it.message.Channel, "one at a time on a channel")
		}
		w.flying = append(w.flying, it)
		require.LessOrEqual(w.t, len(w.flying), modelInFlight)
		ch := w.channels[it.message.Channel]
		ch.attempts = append(ch.attempts, w.now)
		w.perSecond = append(w.perSecond, w.now)
		w.bounded(ch.attempts, modelRate+modelBurst)
		w.bounded(w.perSecond, modelRequests+modelRequests/10)
	}
	return again
}

func (w *modelWorld) bounded(at []time.Time, most int) {
	n := 0
	for i := len(at) - 1; i >= 0 && w.now.Sub(at[i]) < time.Second; i-- {
		n++
	}
	require.LessOrEqual(w.t, n, most)
}

func (w *modelWorld) answer(t *rapid.T, verdicts []Verdict) {
	i := rapid.IntRange(0, len(w.flying)-1).Draw(t, "which")
	it := w.flying[i]
	w.flying = slices.Delete(w.flying, i, i+1)
	a := Answer{Verdict: rapid.SampledFrom(verdicts).Draw(t, "verdict")}
	switch a.Verdict { //nolint:exhaustive // of the others nothing arrives
	case Accepted:
		w.arrive(it)
	case Unknown:
		switch rapid.IntRange(0, 2).Draw(t, "reality") {
		case 0: // never arrives
		case 1:
			w.arrive(it)
		case 2:
			w.late = append(w.late, delayed{w.now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "delay")) * time.Second), it, it.offset()})
		}
	}
	w.lanes.settle(it, a, w.now)
	w.start()
}

// pass lets time go by; requests that were late arrive on the way.
func (w *modelWorld) pass(d time.Duration) {
	until := w.now.Add(d)
	slices.SortFunc(w.late, func(a, b delayed) int { return a.at.Compare(b.at) })
	for len(w.late) > 0 && !w.late[0].at.After(until) {
		w.now = w.late[0].at
		w.arrive(w.late[0].item)
		w.late = w.late[1:]
	}
	w.now = until
	w.start()
}

func (w *modelWorld) commits() {
	for i, p := range w.parts {
		for _, it := range w.pushed {
			if it.from == p && w.fates[it] == "" && !w.refused[it] {
				require.LessOrEqual(w.t, p.prefix.commit(), it.offset(), "partition %d is committed past what is not done", i)
			}
		}
	}
}

// drain lets everything succeed, and looks at the end.
func (w *modelWorld) drain() {
	for n := 0; ; n++ {
		require.Less(w.t, n, 100_000)
		for len(w.flying) > 0 {
			it := w.flying[0]
			w.flying = w.flying[1:]
			w.arrive(it)
			w.lanes.settle(it, Answer{Verdict: Accepted}, w.now)
			w.start()
		}
		again := w.start()
		if len(w.flying) > 0 {
			continue
		}
		if again.IsZero() {
			break
		}
		w.pass(max(again.Sub(w.now), time.Nanosecond))
	}
	newest := map[string]*item{}
	for _, it := range w.pushed {
		require.True(w.t, w.fates[it] != "" || w.refused[it], "everything has ended")
		newest[it.message.Channel] = it
		if it.suspended && !w.refused[it] {
			require.Equal(w.t, published, w.fates[it], "every suspension arrives")
		}
		if !it.from.route.Conflate && it.from.route.MaxAge == 0 && !w.refused[it] {
			require.Equal(w.t, published, w.fates[it])
		}
	}
	for channel, it := range newest {
		require.Contains(w.t, []fate{published, stale, ""}, w.fates[it], "the newest of %s arrives", channel)
	}
	for i, p := range w.parts {
		if w.nextBy[i] > 0 {
			require.Equal(w.t, w.nextBy[i]+1, p.prefix.commit())
		}
	}
}

// In whatever order records come, answers are lost, and requests arrive late: a
// channel's odds never go back, nothing is lost, rates are kept, and no commit
// passes what is not done.
func TestLanesKeepTheirWord(t *testing.T) {
	for _, conflate := range []bool{true, false} {
		for _, maxAge := range []time.Duration{0, 3 * time.Second} {
			t.Run(fmt.Sprintf("conflate %t, max age %v", conflate, maxAge), func(t *testing.T) {
				t.Parallel()
				rapid.Check(t, func(t *rapid.T) {
					w := newModelWorld(t, conflate, maxAge)
					verdicts := []Verdict{Accepted, Accepted, Accepted, Unknown, Unknown, Unknown, NotSent, ChannelLimited, AccountLimited, Blocked, Denied, Refused}
					t.Repeat(map[string]func(*rapid.T){
						"push": w.push,
						"answer": func(t *rapid.T) {
							if len(w.flying) == 0 {
								t.Skip("nothing in flight")
							}
							for range rapid.IntRange(1, len(w.flying)).Draw(t, "answers") {
								if len(w.flying) > 0 {
									w.answer(t, verdicts)
								}
							}
						},
						"pass": func(t *rapid.T) {
							w.pass(time.Duration(rapid.SampledFrom([]int{1, 10, 30, 100, 1000, 5000}).Draw(t, "ms")) * time.Millisecond)
						},
						"": func(*rapid.T) { w.commits() },
					})
					w.drain()
				})
			})
		}
	}
}

// A mark is about the log as it was: what stands at its offsets after the log has
// lost its end was written in a higher epoch, and has not been published.
func TestAMarkKnowsItsEpoch(t *testing.T) {
	t.Parallel()
	record := func(offset int64, epoch int32) *kgo.Record { return &kgo.Record{Offset: offset, LeaderEpoch: epoch} }
	m := Mark{Offset: 10, Epoch: 3}
	require.True(t, m.covers(record(10, 3)))
	require.True(t, m.covers(record(9, 2)))
	require.False(t, m.covers(record(11, 3)))
	require.False(t, m.covers(record(9, 4)), "the log has lost its end")
	require.True(t, Mark{Offset: 10, Epoch: -1}.covers(record(9, 4)), "nobody knows its epoch")
	require.True(t, Mark{Offset: 10, Epoch: 3}.covers(record(9, -1)))
}
