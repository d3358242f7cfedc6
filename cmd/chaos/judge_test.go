package main

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/racing"
)

// trial is a small world in virtual time: Ada has a phone at FCM and a tablet at
// Ably, Ben has a phone at FCM.
type trial struct {
	*oracle
	incidents []incident
	limit     int
	seq       uint64
}

func newTrial() *trial {
	t := &trial{oracle: newOracle(), limit: 2}
	t.activated("ada", racing.Device{ID: "ada-phone", Token: "token-ada"})
	t.activated("ada", racing.Device{ID: "ada-tablet", Token: "tablet-ada"})
	t.activated("ben", racing.Device{ID: "ben-phone", Token: "token-ben"})
	return t
}

func (t *trial) bet(id string, user racing.UserID, o racing.Outcome, payout racing.Money) {
	t.showing(subject{aboutBet, id}, user, revision{outcome: o, payout: payout})
}

// push is an accepted message, to be changed before it is told.
type push struct {
	fcm.Accepted
}

// settled is a message of FCM's about a settlement of bet b1.
func (t *trial) settled(nid string, o racing.Outcome, payout racing.Money) push {
	t.seq++
	return push{fcm.Accepted{
		Seq: t.seq, At: time.Now(), Token: "token-ada", NID: nid, Tag: "thread-b1", CollapseKey: "thread-b1", Attempt: 1,
		Data: map[string]string{"link": "app://bet/b1", "outcome": string(o), "payout": payout.String()},
	}}
}

func (t *trial) accept(p push) { t.acceptedByFCM(p.Accepted) }

// tablet is the same message as Ably's stand-in accepts it.
func (t *trial) tablet(p push, code int) {
	t.acceptedByAbly(ably.Accepted{
		Seq: p.Seq, At: p.At, DeviceID: "tablet-ada", NID: p.NID, Tag: p.Tag, CollapseKey: p.CollapseKey, Data: p.Data, Attempt: p.Attempt, Code: code,
	})
}

// fault writes down that an owner had deliveries to Ada's phone in flight, now.
func (t *trial) fault(kind faultKind, lasts time.Duration, nids ...string) {
	flight := map[pair]bool{}
	for _, nid := range nids {
		flight[pair{nid, "ada-phone"}] = true
	}
	t.incidents = append(t.incidents, incident{
		kind: kind, what: string(kind), began: time.Now(), ended: time.Now().Add(lasts), flights: map[string]map[pair]bool{"owner": flight},
	})
}

func (t *trial) verdict() verdict {
	return judge{oracle: t.oracle, incidents: t.incidents, limit: t.limit, now: time.Now()}.decide()
}

// kinds returns the kinds of the problems in their order.
func kinds(v verdict) []problemKind {
	var out []problemKind
	for _, p := range v.problems {
		out = append(out, p.kind)
	}
	return out
}

// judged runs a story in virtual time.
func judged(t *testing.T, story func(w *trial)) (v verdict) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		w := newTrial()
		story(w)
		v = w.verdict()
	})
	return v
}

func TestJudge(t *testing.T) {
	t.Parallel()
	// told is what goes right: both of Ada's devices hear of a bet within a second.
	told := func(w *trial) push {
		w.bet("b1", "ada", racing.Won, 600)
		time.Sleep(time.Second)
		p := w.settled("7", racing.Won, 600)
		w.accept(p)
		w.tablet(p, 0)
		return p
	}
	// again repeats a message later.
	again := func(w *trial, p push, after time.Duration) push {
		time.Sleep(after)
		w.seq++
		p.Seq, p.At, p.Attempt = w.seq, time.Now(), p.Attempt+1
		w.accept(p)
		return p
	}
	for _, test := range []struct {
		name  string
		story func(w *trial)
		want  []problemKind
		check func(t *testing.T, v verdict)
	}{
		{
			name:  "all received",
			story: func(w *trial) { told(w) },
			check: func(t *testing.T, v verdict) {
				require.Equal(t, 2, v.expected)
				require.Equal(t, 2, v.received)
			},
		},
		{
			name: "a device was not told",
			story: func(w *trial) {
				w.bet("b1", "ada", racing.Won, 600)
				w.accept(w.settled("7", racing.Won, 600))
			},
			want: []problemKind{problemLost},
			check: func(t *testing.T, v verdict) {
				require.Equal(t, 1, v.lost)
				require.EqualValues(t, "ada-tablet", v.problems[0].device)
			},
		},
		{
			name: "an older revision may be missing, the newest may not",
			story: func(w *trial) {
				w.bet("b1", "ada", racing.Won, 600)
				w.bet("b1", "ada", racing.Lost, 0)
				w.accept(w.settled("8", racing.Lost, 0))
				w.tablet(w.settled("7", racing.Won, 600), 0)
			},
			want: []problemKind{problemLost},
			check: func(t *testing.T, v verdict) {
				require.Equal(t, 4, v.expected)
				require.Equal(t, 1, v.superseded)
				require.Equal(t, 1, v.problems[0].rev)
			},
		},
		{
			name: "Ably dropped it",
			story: func(w *trial) {
				w.bet("b1", "ada", racing.Won, 600)
				p := w.settled("7", racing.Won, 600)
				w.accept(p)
				w.tablet(p, 42926)
			},
			check: func(t *testing.T, v verdict) {
				require.Equal(t, 1, v.dropped)
				require.Equal(t, 1, v.received)
			},
		},
		{
			name:  "repeated for no reason",
			story: func(w *trial) { again(w, told(w), time.Second) },
			want:  []problemKind{problemRepeat},
		},
		{
			name: "repeated after a lost answer",
			story: func(w *trial) {
				w.bet("b1", "ada", racing.Won, 600)
				p := w.settled("7", racing.Won, 600)
				w.tablet(p, 0)
				p.Fault, p.AnswerLost = fcm.ResetAfterAccept, true
				w.accept(p)
				p.Fault, p.AnswerLost = "", false
				again(w, p, 11*time.Second)
			},
			check: func(t *testing.T, v verdict) {
				require.Equal(t, 1, v.repeats)
				require.Equal(t, 1, v.lostAnswers)
			},
		},
		{
			name: "an answer that only the client gave up on is no excuse",
			story: func(w *trial) {
				w.bet("b1", "ada", racing.Won, 600)
				p := w.settled("7", racing.Won, 600)
				w.tablet(p, 0)
				p.AnswerLost = true
				w.accept(p)
				again(w, p, 11*time.Second)
			},
			want: []problemKind{problemRepeat},
		},
		{
			name: "one lost answer does not excuse two repeats",
			story: func(w *trial) {
				w.bet("b1", "ada", racing.Won, 600)
				p := w.settled("7", racing.Won, 600)
				w.tablet(p, 0)
				p.Fault = fcm.HangAfterAccept
				w.accept(p)
				p.Fault = ""
				again(w, again(w, p, 11*time.Second), 11*time.Second)
			},
			want: []problemKind{problemRepeat},
		},
		{
			name: "repeated after a kill that found it in flight",
			story: func(w *trial) {
				p := told(w)
				w.fault(faultKill, 0, "7")
				again(w, p, time.Minute)
			},
			check: func(t *testing.T, v verdict) {
				require.Equal(t, 1, v.repeats)
				require.Equal(t, 1, v.inFlight)
			},
		},
		{
			name: "one kill does not excuse two repeats",
			story: func(w *trial) {
				p := told(w)
				w.fault(faultKill, 0, "7")
				again(w, again(w, p, time.Minute), time.Second)
			},
			want: []problemKind{problemRepeat},
		},
		{
			name: "a kill that found another in flight is no excuse",
			story: func(w *trial) {
				p := told(w)
				w.fault(faultKill, 0, "8")
				again(w, p, time.Minute)
			},
			want: []problemKind{problemRepeat},
		},
		{
			name: "a kill before the first acceptance is no excuse",
			story: func(w *trial) {
				w.fault(faultKill, 0, "7")
				time.Sleep(5 * time.Second)
				again(w, told(w), time.Second)
			},
			want: []problemKind{problemRepeat},
		},
		{
			name: "a kill after the repeat is no excuse",
			story: func(w *trial) {
				again(w, told(w), time.Second)
				time.Sleep(time.Second)
				w.fault(faultKill, 0, "7")
			},
			want: []problemKind{problemRepeat},
		},
		{
			name: "a stop that a request outlived",
			story: func(w *trial) {
				w.fault(faultLongStop, 70*time.Second, "7")
				time.Sleep(66 * time.Second)
				again(w, told(w), 5*time.Second)
			},
			check: func(t *testing.T, v verdict) { require.Equal(t, 1, v.repeats) },
		},
		{
			name: "more repeats than a replica has places in flight",
			story: func(w *trial) {
				w.fault(faultKill, 0, "1", "2", "3")
				for n := range 3 {
					id := fmt.Sprintf("b%d", n+1)
					w.bet(id, "ben", racing.Lost, 0)
					p := w.settled(fmt.Sprint(n+1), racing.Lost, 0)
					p.Token, p.Data["link"] = "token-ben", "app://bet/"+id
					w.incidents[0].flights["owner"][pair{p.NID, "ben-phone"}] = true
					w.accept(p)
					again(w, p, 0)
				}
			},
			want:  []problemKind{problemOverLimit},
			check: func(t *testing.T, v verdict) { require.Equal(t, 3, v.repeats) },
		},
		{
			name: "repeated under another tag",
			story: func(w *trial) {
				p := told(w)
				w.fault(faultKill, 0, "7")
				p.Tag = "thread-b2"
				again(w, p, time.Minute)
			},
			want: []problemKind{problemIDs},
		},
		{
			name: "repeated under another collapse key",
			story: func(w *trial) {
				p := told(w)
				w.fault(faultKill, 0, "7")
				p.CollapseKey = ""
				again(w, p, time.Minute)
			},
			want: []problemKind{problemIDs},
		},
		{
			name: "the same revision as another notification",
			story: func(w *trial) {
				p := told(w)
				p.NID = "9"
				again(w, p, time.Second)
			},
			want: []problemKind{problemIDs},
		},
		{
			name: "a correction that does not replace what it corrects",
			story: func(w *trial) {
				p := told(w)
				w.bet("b1", "ada", racing.Lost, 0)
				q := w.settled("9", racing.Lost, 0)
				w.tablet(q, 0)
				q.Tag = "other"
				w.accept(q)
				_ = p
			},
			want: []problemKind{problemIDs},
		},
		{
			name: "a correction with a smaller notification id",
			story: func(w *trial) {
				told(w)
				w.bet("b1", "ada", racing.Lost, 0)
				time.Sleep(time.Second)
				q := w.settled("9", racing.Lost, 0)
				w.tablet(q, 0)
				q.NID = "6"
				w.accept(q)
			},
			want: []problemKind{problemIDs},
		},
		{
			name: "the old result after the new one",
			story: func(w *trial) {
				w.bet("b1", "ada", racing.Won, 600)
				w.bet("b1", "ada", racing.Lost, 0)
				q := w.settled("9", racing.Lost, 0)
				w.accept(q)
				w.tablet(q, 0)
				time.Sleep(time.Second)
				w.accept(w.settled("7", racing.Won, 600))
			},
			want: []problemKind{problemOrder},
		},
		{
			name: "late although nothing struck it",
			story: func(w *trial) {
				w.bet("b1", "ben", racing.Won, 600)
				time.Sleep(untouchedBound + time.Second)
				p := w.settled("7", racing.Won, 600)
				p.Token = "token-ben"
				w.accept(p)
			},
			want:  []problemKind{problemLate},
			check: func(t *testing.T, v verdict) { require.Equal(t, 1, v.late) },
		},
		{
			name: "not late while nothing could be sent",
			story: func(w *trial) {
				w.bet("b1", "ben", racing.Won, 600)
				w.fault(faultLongStop, longStop)
				w.incidents[0].outage = true
				time.Sleep(untouchedBound + 60*time.Second)
				p := w.settled("7", racing.Won, 600)
				p.Token = "token-ben"
				w.accept(p)
			},
		},
		{
			name: "not late after a refusal, but late after two minutes",
			story: func(w *trial) {
				w.bet("b1", "ada", racing.Won, 600)
				time.Sleep(struckBound - time.Second)
				p := w.settled("7", racing.Won, 600)
				p.Attempt = 2
				w.accept(p)
				time.Sleep(2 * time.Second)
				p.At = time.Now()
				w.tablet(p, 0)
			},
			want: []problemKind{problemLate},
		},
		{
			name: "for somebody else's device",
			story: func(w *trial) {
				p := told(w)
				p.Token = "token-ben"
				w.accept(p)
			},
			want:  []problemKind{problemStray},
			check: func(t *testing.T, v verdict) { require.Equal(t, "wrong device", v.problems[0].detail) },
		},
		{
			name: "for a device that nobody has",
			story: func(w *trial) {
				p := told(w)
				p.Token = "token-eve"
				w.accept(p)
			},
			want:  []problemKind{problemStray},
			check: func(t *testing.T, v verdict) { require.Equal(t, "unknown device", v.problems[0].detail) },
		},
		{
			name: "about a bet that nobody has placed",
			story: func(w *trial) {
				p := told(w)
				p.Data = map[string]string{"link": "app://bet/b9", "outcome": "WON", "payout": "6.00"}
				w.accept(p)
			},
			want:  []problemKind{problemStray},
			check: func(t *testing.T, v verdict) { require.Equal(t, "unknown subject", v.problems[0].detail) },
		},
		{
			name: "an outcome that was never shown",
			story: func(w *trial) {
				p := told(w)
				p.Data = map[string]string{"link": "app://bet/b1", "outcome": "WON", "payout": "7.00"}
				w.accept(p)
			},
			want:  []problemKind{problemStray},
			check: func(t *testing.T, v verdict) { require.Equal(t, "unknown revision", v.problems[0].detail) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := judged(t, test.story)
			require.Equal(t, test.want, kinds(v))
			require.Equal(t, v.expected, v.received+v.dropped+v.superseded+v.expired+v.lost)
			if test.check != nil {
				test.check(t, v)
			}
		})
	}
}

func TestJudgeRaces(t *testing.T) {
	t.Parallel()
	// soon shows a race to all, and tells the phones of it; the tablet is told later or never.
	soon := func(w *trial, lead time.Duration, short bool) push {
		startsAt := time.Now().Add(lead)
		w.showing(subject{aboutRace, "r1"}, "", revision{startsAt: startsAt, short: short})
		p := w.settled("7", "", 0)
		p.Data = map[string]string{"link": "app://race/r1", "starts_at": startsAt.UTC().Format(time.RFC3339Nano)}
		w.accept(p)
		p.Token = "token-ben"
		w.accept(p)
		return p
	}
	t.Run("a race of short notice may expire", func(t *testing.T) {
		t.Parallel()
		v := judged(t, func(w *trial) {
			soon(w, 10*time.Second, true)
			time.Sleep(10 * time.Second)
		})
		require.Empty(t, v.problems)
		require.Equal(t, 1, v.expired)
		require.Equal(t, 2, v.received)
	})
	t.Run("but not before it starts", func(t *testing.T) {
		t.Parallel()
		v := judged(t, func(w *trial) {
			soon(w, 10*time.Second, true)
			time.Sleep(9 * time.Second)
		})
		require.Equal(t, []problemKind{problemLost}, kinds(v))
	})
	t.Run("a race that was far away is lost", func(t *testing.T) {
		t.Parallel()
		v := judged(t, func(w *trial) {
			soon(w, farLead, false)
			time.Sleep(farLead + time.Second)
		})
		require.Equal(t, []problemKind{problemLost}, kinds(v))
		require.Zero(t, v.expired)
	})
	t.Run("accepted after the start", func(t *testing.T) {
		t.Parallel()
		v := judged(t, func(w *trial) {
			p := soon(w, 10*time.Second, true)
			time.Sleep(10*time.Second + slack + time.Millisecond)
			p.At = time.Now()
			w.tablet(p, 0)
		})
		require.Equal(t, []problemKind{problemLate}, kinds(v))
		require.Equal(t, 1, v.late)
	})
	t.Run("accepted after the start, of a process that was stopped just before it sent", func(t *testing.T) {
		t.Parallel()
		v := judged(t, func(w *trial) {
			p := soon(w, 10*time.Second, true)
			time.Sleep(9 * time.Second)
			w.fault(faultStop, 5*time.Second)
			w.incidents[0].flights["owner"][pair{"7", "ada-tablet"}] = true
			time.Sleep(5*time.Second + 100*time.Millisecond)
			p.At = time.Now()
			w.tablet(p, 0)
		})
		require.Empty(t, v.problems)
		require.Equal(t, 1, v.lateAfterStop)
	})
	t.Run("told twice", func(t *testing.T) {
		t.Parallel()
		v := judged(t, func(w *trial) {
			p := soon(w, 10*time.Second, true)
			w.tablet(p, 0)
			time.Sleep(time.Second)
			p.At = time.Now()
			w.accept(p)
		})
		require.Equal(t, []problemKind{problemRepeat}, kinds(v))
	})
}

// What a run waits for at its end is what it would call lost.
func TestMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTrial()
		require.Zero(t, w.missing())
		w.bet("b1", "ada", racing.Won, 600)
		w.bet("b1", "ada", racing.Lost, 0)
		require.Equal(t, 2, w.missing())
		w.accept(w.settled("7", racing.Won, 600))
		require.Equal(t, 2, w.missing(), "the newest revision is what counts")
		w.accept(w.settled("8", racing.Lost, 0))
		require.Equal(t, 1, w.missing())
		w.showing(subject{aboutRace, "r1"}, "", revision{startsAt: time.Now().Add(time.Second), short: true})
		require.Equal(t, 4, w.missing())
		time.Sleep(2 * time.Second)
		require.Equal(t, 1, w.missing(), "what has started is worth nothing any more")
	})
}

func TestReportIsCleanOnlyWhenAllIsWell(t *testing.T) {
	t.Parallel()
	good := report{Expected: 2, Received: 2, SentTwice: 1, UnknownOutcomes: 1}
	require.True(t, good.clean())
	for name, spoil := range map[string]func(*report){
		"lost":               func(r *report) { r.Lost = 1 },
		"late":               func(r *report) { r.Late = 1 },
		"unexplained":        func(r *report) { r.Unexplained = 1 },
		"wrong":              func(r *report) { r.Wrong = 1 },
		"crashed":            func(r *report) { r.Crashes = 1 },
		"unfinished":         func(r *report) { r.Unfinished = 1 },
		"more than could be": func(r *report) { r.SentTwice = 2 },
	} {
		bad := good
		spoil(&bad)
		require.False(t, bad.clean(), name)
	}
}
