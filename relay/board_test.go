package relay_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/relay"
)

const topicID = "8f14e45f"

func newBoard(t testing.TB, cfg relay.BoardConfig) *relay.Board {
	t.Helper()
	b, err := relay.NewBoard(cfg)
	require.NoError(t, err)
	return b
}

func at(partition int32, offset int64) relay.Position {
	return relay.NewPosition(topicID, partition, offset)
}

func oddsOf(event string, offset int64, value string) relay.Update {
	u := relay.Update{Event: event, Position: at(0, offset)}
	if value != "" {
		u.Value = []byte(value)
	}
	return u
}

func TestTheNewestSnapshotOfAnEventIsKnown(t *testing.T) {
	t.Parallel()
	b := newBoard(t, relay.BoardConfig{})
	_, err := b.Latest("e1")
	require.ErrorIs(t, err, relay.ErrOddsLoading)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, relay.Updated, b.Put(oddsOf("e1", 3, "[ 1,\n 2 ]")))
	require.Equal(t, relay.Outdated, b.Put(oddsOf("e1", 3, "[3]")))
	require.Equal(t, relay.Outdated, b.Put(oddsOf("e1", 2, "[3]")))
	_, err = b.Latest("e1")
	require.ErrorIs(t, err, relay.ErrOddsLoading, "what is known may be old")
	b.Loaded(topicID)
	s, err := b.Latest("e1")
	require.NoError(t, err)
	require.Equal(t, "[1,2]", string(s.Odds))
	require.Equal(t, at(0, 3), s.Position)

	require.Equal(t, relay.Removed, b.Put(oddsOf("e1", 4, "")))
	_, err = b.Latest("e1")
	require.ErrorIs(t, err, relay.ErrNoOdds)
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.Equal(t, relay.Outdated, b.Put(oddsOf("e1", 3, "[1]")), "what was removed does not come back")
	require.Equal(t, relay.Updated, b.Put(oddsOf("e1", 5, "[1]")))
}

func TestWhatIsNoSnapshotIsRefused(t *testing.T) {
	t.Parallel()
	b := newBoard(t, relay.BoardConfig{})
	b.Loaded(topicID)
	b.Put(oddsOf("e1", 1, "[1]"))
	for name, u := range map[string]relay.Update{
		"no event":    oddsOf("", 2, "[1]"),
		"long event":  oddsOf(strings.Repeat("e", relay.MaxEventLen+1), 2, "[1]"),
		"not UTF-8":   oddsOf("\xff", 2, "[1]"),
		"no JSON":     oddsOf("e1", 2, "[1"),
		"empty":       {Event: "e1", Position: at(0, 2), Value: []byte{}},
		"bad string":  oddsOf("e1", 2, "\"\xff\""),
		"too large":   oddsOf("e1", 2, `"`+strings.Repeat("a", relay.MaxSnapshotLen)+`"`),
		"no position": {Event: "e1", Value: []byte("[1]")},
	} {
		require.Equal(t, relay.Unfit, b.Put(u), name)
	}
	s, err := b.Latest("e1")
	require.NoError(t, err)
	require.Equal(t, "[1]", string(s.Odds))
}

// Whatever the order in which partitions are read, the newest record of a key
// by offset, and between partitions by time, is what is known in the end.
func TestOrderOfPartitionsDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b, err := relay.NewBoard(relay.BoardConfig{})
		require.NoError(rt, err)
		b.Loaded(topicID)
		base := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		// One key whose partition changes as partitions are added.
		n := rapid.IntRange(1, 20).Draw(rt, "records")
		moved := rapid.IntRange(0, n).Draw(rt, "moved at")
		queues := [2][]relay.Update{}
		for i := range n {
			p := 0
			if i >= moved {
				p = 1
			}
			u := relay.Update{Event: "e", Position: at(int32(p), int64(len(queues[p]))), At: base.Add(time.Duration(i) * time.Second), Value: fmt.Appendf(nil, "%d", i)}
			queues[p] = append(queues[p], u)
		}
		for len(queues[0])+len(queues[1]) > 0 {
			p := rapid.IntRange(0, 1).Draw(rt, "partition")
			if len(queues[p]) == 0 {
				p = 1 - p
			}
			b.Put(queues[p][0])
			queues[p] = queues[p][1:]
		}
		s, err := b.Latest("e")
		require.NoError(rt, err)
		require.Equal(rt, fmt.Sprint(n-1), string(s.Odds))
	})
}

func TestEventsExpireAndAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(t, relay.BoardConfig{MaxEvents: 3, ExpireAfter: time.Hour})
		b.Loaded(topicID)
		known := func() (names []string) {
			for i := range 6 {
				if _, err := b.Latest(fmt.Sprint(i)); err == nil {
					names = append(names, fmt.Sprint(i))
				}
			}
			return names
		}
		for i := range 3 {
			b.Put(oddsOf(fmt.Sprint(i), int64(i), "[]"))
			time.Sleep(10 * time.Minute)
		}
		require.Equal(t, []string{"0", "1", "2"}, known())
		b.Put(oddsOf("0", 10, "[]"))
		b.Put(oddsOf("3", 11, "[]"))
		require.Equal(t, []string{"0", "2", "3"}, known(), "the one goes whose update is longest ago")

		time.Sleep(50 * time.Minute)
		b.Expire()
		require.Equal(t, []string{"0", "3"}, known())
		time.Sleep(11 * time.Minute)
		require.Empty(t, known(), "also before anybody sweeps")

		old := oddsOf("4", 20, "[]")
		old.At = time.Now().Add(-time.Hour)
		require.Equal(t, relay.Outdated, b.Put(old), "by the record's time")
		ahead := oddsOf("5", 21, "[]")
		ahead.At = time.Now().Add(time.Hour)
		b.Put(ahead)
		time.Sleep(time.Hour)
		b.Expire()
		require.Empty(t, known(), "a clock that is ahead keeps nothing longer")
	})
}

// However many events are removed, those that have odds stay, up to their bound;
// and the removed ones are bounded too.
func TestRemovedEventsPushNoneOut(t *testing.T) {
	t.Parallel()
	const most, names = 3, 9
	rapid.Check(t, func(rt *rapid.T) {
		registry := prometheus.NewPedanticRegistry()
		b, err := relay.NewBoard(relay.BoardConfig{MaxEvents: most, Registerer: registry})
		require.NoError(rt, err)
		b.Loaded(topicID)
		var live, removed []string // the newest update last
		without := func(list []string, name string) []string {
			return slices.DeleteFunc(list, func(n string) bool { return n == name })
		}
		for i := range rapid.IntRange(1, 60).Draw(rt, "records") {
			name := fmt.Sprint("e", rapid.IntRange(0, names-1).Draw(rt, "event"))
			live, removed = without(live, name), without(removed, name)
			if rapid.Bool().Draw(rt, "tombstone") {
				require.Equal(rt, relay.Removed, b.Put(oddsOf(name, int64(i+1), "")))
				removed = append(removed, name)
				removed = removed[max(0, len(removed)-most):]
			} else {
				require.Equal(rt, relay.Updated, b.Put(oddsOf(name, int64(i+1), "[]")))
				live = append(live, name)
				live = live[max(0, len(live)-most):]
			}
		}
		for i := range names {
			name := fmt.Sprint("e", i)
			_, err := b.Latest(name)
			require.Equal(rt, slices.Contains(live, name), err == nil, name)
		}
		require.NoError(rt, testutil.GatherAndCompare(registry, strings.NewReader(fmt.Sprintf(
			"# HELP bugle_odds_events Events on the board that have odds.\n# TYPE bugle_odds_events gauge\nbugle_odds_events %d\n", len(live),
		)), "bugle_odds_events"))
		for i := range names { // last, since a record that is taken changes the board
			if name := fmt.Sprint("e", i); slices.Contains(removed, name) {
				require.Equal(rt, relay.Outdated, b.Put(oddsOf(name, 0, "[]")), "%s does not come back", name)
			}
		}
	})
}

// sse is a server-sent event as a client reads it.
type sse struct{ id, event, data string }

func parseSSE(t testing.TB, frame []byte) sse {
	t.Helper()
	require.True(t, strings.HasSuffix(string(frame), "\n\n"))
	var out sse
	lines := bufio.NewScanner(strings.NewReader(string(frame)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			out.id = value
		case "event":
			out.event = value
		case "data":
			require.Empty(t, out.data, "one line of data")
			out.data = value
		}
	}
	return out
}

func open(t testing.TB, b *relay.Board, event, last string) *relay.Stream {
	t.Helper()
	s, err := b.Stream(event, relay.ParsePosition(last))
	require.NoError(t, err)
	t.Cleanup(func() { s.End(relay.EndClient) })
	return s
}

func next(t testing.TB, s *relay.Stream) sse {
	t.Helper()
	frame, err := s.Next(t.Context(), time.Second)
	require.NoError(t, err)
	return parseSSE(t, frame)
}

func requireQuiet(t testing.TB, s *relay.Stream) {
	t.Helper()
	frame, err := s.Next(t.Context(), time.Second)
	require.ErrorIs(t, err, relay.ErrHeartbeat, "%s", frame)
}

func TestAStreamBeginsWithTheNewestAndFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(t, relay.BoardConfig{})
		b.Put(oddsOf("e1", 1, `[{"name":"Car \"1\"","odds":1.50}]`))
		s := open(t, b, "e1", "")
		requireQuiet(t, s) // the topic has not been read to its end
		b.Put(oddsOf("e1", 2, `[{"name":"Car 1","odds":1.75}]`))
		b.Loaded(topicID)
		first := next(t, s)
		require.Equal(t, "0-2-"+topicID, first.id)
		require.Equal(t, "odds", first.event)
		var data struct {
			Event     string          `json:"event"`
			UpdatedAt time.Time       `json:"updated_at"`
			Odds      json.RawMessage `json:"odds"`
		}
		require.NoError(t, json.Unmarshal([]byte(first.data), &data))
		require.Equal(t, "e1", data.Event)
		require.JSONEq(t, `[{"name":"Car 1","odds":1.75}]`, string(data.Odds))
		require.WithinDuration(t, time.Now(), data.UpdatedAt, 0)

		requireQuiet(t, s)
		b.Put(oddsOf("e2", 3, `[]`))
		requireQuiet(t, s)
		go func() {
			time.Sleep(100 * time.Millisecond)
			b.Put(oddsOf("e1", 4, `[]`))
		}()
		require.Equal(t, "0-4-"+topicID, next(t, s).id)
		b.Put(oddsOf("e1", 5, ""))
		require.Equal(t, sse{"0-5-" + topicID, "removed", `{"event":"e1"}`}, next(t, s))
		requireQuiet(t, s)

		early := open(t, b, "not yet", "")
		requireQuiet(t, early)
		b.Put(oddsOf("not yet", 6, `[]`))
		require.Equal(t, "odds", next(t, early).event)
	})
}

func TestResumeSendsOnlyWhatIsNewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(t, relay.BoardConfig{ExpireAfter: time.Hour})
		b.Loaded(topicID)
		b.Put(oddsOf("e1", 7, `[7]`))
		requireQuiet(t, open(t, b, "e1", "0-7-"+topicID))
		require.Equal(t, "0-7-"+topicID, next(t, open(t, b, "e1", "0-6-"+topicID)).id)
		for _, other := range []string{"", "nonsense", "1-9-" + topicID, "0-9-01234567", "0-9", "-1-3", "0-x"} {
			require.Equal(t, "0-7-"+topicID, next(t, open(t, b, "e1", other)).id, other)
		}

		// A replica that is behind another sends nothing that the client has seen.
		ahead := open(t, b, "e1", "0-9-"+topicID)
		requireQuiet(t, ahead)
		b.Put(oddsOf("e1", 8, `[8]`))
		b.Put(oddsOf("e1", 9, `[9]`))
		requireQuiet(t, ahead)
		b.Put(oddsOf("e1", 10, `[10]`))
		require.Equal(t, "0-10-"+topicID, next(t, ahead).id)

		// What was removed in between is told; who knows that is told nothing.
		b.Put(oddsOf("e1", 11, ""))
		told := open(t, b, "e1", "0-10-"+topicID)
		require.Equal(t, "removed", next(t, told).event)
		requireQuiet(t, open(t, b, "e1", "0-11-"+topicID))

		// So is what nothing is known of any more; who has nothing is told nothing.
		b.Put(oddsOf("e2", 12, `[]`))
		watching := open(t, b, "e2", "")
		require.Equal(t, "odds", next(t, watching).event)
		time.Sleep(time.Hour)
		b.Expire()
		require.Equal(t, sse{"", "removed", `{"event":"e2"}`}, next(t, watching))
		requireQuiet(t, told) // once is enough
		requireQuiet(t, watching)
		require.Equal(t, "removed", next(t, open(t, b, "e2", "0-12-"+topicID)).event)
		requireQuiet(t, open(t, b, "e2", ""))
		b.Put(oddsOf("e2", 13, `[]`))
		require.Equal(t, "odds", next(t, watching).event, "a stream outlives what is forgotten")
	})
}

func TestATopicMadeAnewReplacesEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(t, relay.BoardConfig{})
		b.Loaded(topicID)
		b.Put(oddsOf("e1", 100, `[100]`))
		b.Put(oddsOf("e2", 101, `[101]`))
		s1, s2 := open(t, b, "e1", ""), open(t, b, "e2", "")
		next(t, s1)
		next(t, s2)
		b.Put(relay.Update{Event: "e1", Position: relay.NewPosition("ffffffff", 0, 0), Value: []byte("[0]")})
		b.Loaded("ffffffff")
		require.Equal(t, "0-0-ffffffff", next(t, s1).id)
		require.Equal(t, "removed", next(t, s2).event)
	})
}

func TestASlowReaderSkipsToTheNewest(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	b := newBoard(t, relay.BoardConfig{Registerer: metrics})
	b.Loaded(topicID)
	s := open(t, b, "e1", "")
	for i := range 100 {
		b.Put(oddsOf("e1", int64(i), fmt.Sprint(i)))
	}
	require.Equal(t, "0-99-"+topicID, next(t, s).id)
	b.Put(oddsOf("e1", 100, "100"))
	require.Equal(t, "0-100-"+topicID, next(t, s).id)
	for i := range 5 {
		b.Put(oddsOf("e1", int64(101+i), "0"))
	}
	require.Equal(t, "0-105-"+topicID, next(t, s).id)
	require.NoError(t, testutil.GatherAndCompare(metrics, strings.NewReader(`
# HELP bugle_odds_stream_updates_total Updates for streams: sent, or skipped because a newer one came before the client was ready.
# TYPE bugle_odds_stream_updates_total counter
bugle_odds_stream_updates_total{outcome="sent"} 3
bugle_odds_stream_updates_total{outcome="skipped"} 4
`), "bugle_odds_stream_updates_total"), "what came before the first read is not skipped: nobody was owed it")
}

func TestStreamsAreBoundedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	b := newBoard(t, relay.BoardConfig{MaxStreams: 2, Registerer: metrics})
	b.Loaded(topicID)
	first, err := b.Stream("e1", relay.Position{})
	require.NoError(t, err)
	_, err = b.Stream("e2", relay.Position{})
	require.NoError(t, err)
	_, err = b.Stream("e3", relay.Position{})
	require.ErrorIs(t, err, relay.ErrTooManyStreams)
	first.End(relay.EndSlow)
	first.End(relay.EndClient)
	_, err = b.Stream("e3", relay.Position{})
	require.NoError(t, err)
	require.NoError(t, testutil.GatherAndCompare(metrics, strings.NewReader(`
# HELP bugle_odds_events Events on the board that have odds.
# TYPE bugle_odds_events gauge
bugle_odds_events 0
# HELP bugle_odds_streams Streams that are open.
# TYPE bugle_odds_streams gauge
bugle_odds_streams 2
# HELP bugle_odds_streams_ended_total Streams that ended by reason.
# TYPE bugle_odds_streams_ended_total counter
bugle_odds_streams_ended_total{reason="age"} 0
bugle_odds_streams_ended_total{reason="client"} 0
bugle_odds_streams_ended_total{reason="slow"} 1
bugle_odds_streams_ended_total{reason="stopping"} 0
`), "bugle_odds_events", "bugle_odds_streams", "bugle_odds_streams_ended_total"))
}

func TestClosingEndsStreamsAfterTheNewest(t *testing.T) {
	t.Parallel()
	b := newBoard(t, relay.BoardConfig{})
	b.Loaded(topicID)
	s := open(t, b, "e1", "")
	b.Put(oddsOf("e1", 1, "[]"))
	b.Close()
	b.Close()
	require.Equal(t, "odds", next(t, s).event)
	_, err := s.Next(t.Context(), time.Minute)
	require.ErrorIs(t, err, relay.ErrBoardClosed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = open(t, newBoard(t, relay.BoardConfig{}), "e1", "").Next(ctx, time.Minute)
	require.ErrorIs(t, err, context.Canceled)
}

func TestBoundsMustNotBeNegative(t *testing.T) {
	t.Parallel()
	_, err := relay.NewBoard(relay.BoardConfig{MaxEvents: -1})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// Many writers and readers at once: each reader sees offsets that only grow and
// ends with the last one.
func TestReadersSeeOddsThatOnlyGrow(t *testing.T) {
	t.Parallel()
	b := newBoard(t, relay.BoardConfig{})
	b.Loaded(topicID)
	const events, readers, updates = 4, 50, 500
	var wg sync.WaitGroup
	for e := range events {
		name := fmt.Sprint(e)
		for range readers {
			s := open(t, b, name, "")
			wg.Go(func() {
				last := int64(-1)
				for last < updates-1 {
					frame, err := s.Next(t.Context(), time.Minute)
					if err != nil {
						t.Errorf("after %d: %v", last, err)
						return
					}
					id := relay.ParsePosition(parseSSE(t, frame).id)
					if id.Offset <= last {
						t.Errorf("%d after %d", id.Offset, last)
					}
					last = id.Offset
				}
			})
		}
		wg.Go(func() {
			for i := range updates {
				b.Put(oddsOf(name, int64(i), fmt.Sprint(i)))
			}
		})
	}
	wg.Wait()
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"3-1842-8f14e45f", "0-0", "", "a-b-c", "1-2-3-4", "-1-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := relay.ParsePosition(text)
		if p.IsZero() {
			require.Empty(t, p.String())
			return
		}
		require.Equal(t, p, relay.ParsePosition(p.String()))
	})
}

// BenchmarkUpdate measures one update of an event that many streams follow, from
// Put until the last of them has it.
func BenchmarkUpdate(b *testing.B) {
	for _, subscribers := range []int{1, 1_000, 10_000} {
		b.Run(fmt.Sprintf("streams=%d", subscribers), func(b *testing.B) {
			board := newBoard(b, relay.BoardConfig{})
			board.Loaded(topicID)
			value := []byte(`[` + strings.Repeat(`{"name":"Car 1","imageURL":"https://cdn.example/car-1.png","odds":0.125},`, 11) + `{"name":"Car 12","imageURL":"","odds":2}]`)
			ctx, cancel := context.WithCancel(b.Context())
			var running, got sync.WaitGroup
			for range subscribers {
				s, err := board.Stream("e1", relay.Position{})
				require.NoError(b, err)
				running.Go(func() {
					defer s.End(relay.EndClient)
					for {
						if _, err := s.Next(ctx, time.Hour); err != nil {
							return
						}
						got.Done()
					}
				})
			}
			b.ReportAllocs()
			offset := int64(0)
			for b.Loop() {
				got.Add(subscribers)
				offset++
				board.Put(relay.Update{Event: "e1", Position: at(0, offset), Value: value})
				got.Wait()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(subscribers), "ns/stream")
			cancel()
			running.Wait()
		})
	}
}
