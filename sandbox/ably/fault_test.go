package ably_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// TestInjectedAnswers holds every fault that has an answer against its shape.
func TestInjectedAnswers(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	c := raw(t, srv)
	phone := srv.MintDevice("u", ably.Android)
	for _, tc := range []struct {
		kind   ably.Kind
		status int
		header string // X-Ably-ErrorCode
		code   int    // in the body
		server string
	}{
		{ably.RateRequests, 429, "42918", 42918, "ably-stand-in"},
		{ably.RateGeneric, 429, "42910", 42910, "ably-stand-in"},
		{ably.RateEdge, 429, "42922", 0, "ably-stand-in"},
		{ably.AccountBlocked, 403, "40112", 40112, "ably-stand-in"},
		{ably.TokenExpired, 401, "40142", 40142, "ably-stand-in"},
		{ably.Internal, 500, "50000", 50000, "ably-stand-in"},
		{ably.Unavailable, 503, "50003", 50003, "ably-stand-in"},
		{ably.BadGatewayHTML, 502, "", 0, "CloudFront"},
		{ably.GatewayTimeoutHTML, 504, "", 0, "CloudFront"},
	} {
		require.NoError(t, srv.Inject(tc.kind, tc.kind))
		for _, send := range []func() *reply{
			func() *reply { return c.publish(push(phone, "n")) },
			func() *reply { return c.do("POST", "/channels/c/messages", `{"name":"n"}`) },
		} {
			r := send()
			require.Equal(t, tc.status, r.Status, tc.kind)
			require.Equal(t, tc.header, r.Header.Get("X-Ably-ErrorCode"), tc.kind)
			require.Equal(t, tc.code, r.Code, tc.kind)
			require.Equal(t, tc.server, r.Header.Get("Server"), tc.kind)
			require.Empty(t, r.Header.Get("Retry-After"), "Ably documents none")
		}
		require.Equal(t, uint64(2), srv.Stats().Faults[tc.kind])
	}
	require.Empty(t, srv.Accepted())
	require.Zero(t, srv.Stats().Messages)
	require.ErrorIs(t, srv.Inject("no such"), ably.ErrFaults)
}

func TestResetBeforeAcceptance(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{HangLimit: 50 * time.Millisecond})
	c := raw(t, srv)
	phone := srv.MintDevice("u", ably.Android)
	require.NoError(t, srv.Inject(ably.Reset, ably.Hang, ably.GoAway))
	for range 2 {
		_, err := c.try("POST", "/push/publish", push(phone, "n"))
		require.Error(t, err)
	}
	require.Empty(t, srv.Accepted())
	require.Equal(t, 204, c.publish(push(phone, "n")).Status, "goes away after the answer")
	require.Len(t, srv.Accepted(), 1)
	require.Equal(t, 3, srv.Accepted()[0].Attempt)
}

func TestFaultsAfterAcceptance(t *testing.T) {
	t.Parallel()
	for _, kind := range []ably.Kind{ably.ResetAfterAccept, ably.UnavailableAfterAccept, ably.HangAfterAccept} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			seen := make(chan ably.Accepted, 3)
			srv := start(t, ably.Config{HangLimit: 50 * time.Millisecond, OnAccept: func(a ably.Accepted) { seen <- a }})
			c := raw(t, srv)
			phone := srv.MintDevice("u", ably.IOS)
			require.NoError(t, srv.Inject(kind))
			r, err := c.try("POST", "/push/publish", push(phone, "n"))
			if kind == ably.UnavailableAfterAccept {
				require.NoError(t, err)
				require.Equal(t, 503, r.Status)
			} else {
				require.Error(t, err, "the client gets a transport error")
			}
			got := srv.Accepted()
			require.Len(t, got, 1, "yet the push is accepted")
			require.True(t, got[0].AnswerLost)
			require.Equal(t, kind, got[0].Fault)
			require.Equal(t, got[0], <-seen)

			// The client repeats: that is excused, once.
			require.Equal(t, 204, c.publish(push(phone, "n")).Status)
			second := srv.Accepted()[1]
			require.Equal(t, 2, second.Attempt)
			require.Equal(t, 2, second.Acceptance)
			require.False(t, second.AnsweredBefore)
			require.False(t, second.AnswerLost)
			reps := srv.Repeats()
			require.Len(t, reps, 1)
			require.True(t, reps[0].Excused)
			require.True(t, reps[0].SameIDs)
			require.Equal(t, "n", reps[0].NID)
			require.Equal(t, phone, reps[0].Target)

			// A third time it has been told.
			other := `{"recipient":{"deviceId":"` + phone + `"},"data":{"nid":"n"},"apns":{"apns-headers":{"apns-collapse-id":"other"}}}`
			require.Equal(t, 204, c.publish(other).Status)
			require.True(t, srv.Accepted()[2].AnsweredBefore)
			require.False(t, srv.Repeats()[0].Excused)
			require.False(t, srv.Repeats()[0].SameIDs)
			st := srv.Stats()
			require.Equal(t, uint64(3), st.Accepted)
			require.Equal(t, uint64(2), st.Repeats)
			require.Equal(t, uint64(1), st.AfterAccept)
			require.Equal(t, uint64(1), st.Faults[kind])
			require.Equal(t, map[string]uint64{string(kind): 1, "accepted": 2}, st.Outcomes)
		})
	}
}

// TestClientGone is a client that gives up while the stand-in takes its time.
func TestClientGone(t *testing.T) {
	t.Parallel()
	lost := make(chan ably.Accepted, 1)
	accepted := make(chan ably.Accepted, 1)
	srv := start(t, ably.Config{
		OnAccept:     func(a ably.Accepted) { accepted <- a },
		OnAnswerLost: func(a ably.Accepted) { lost <- a },
		Faults:       ably.Faults{LatencyMin: time.Minute, LatencyMax: time.Minute},
	})
	phone := srv.MintDevice("u", ably.Android)
	c := raw(t, srv)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL()+"/push/publish", strings.NewReader(push(phone, "n")))
		if err != nil {
			gone <- err
			return
		}
		req.Header.Set("Authorization", c.auth)
		req.Header.Set("Content-Type", "application/json")
		res, err := c.http.Do(req)
		if err == nil {
			res.Body.Close()
		}
		gone <- err
	}()
	require.False(t, (<-accepted).AnswerLost)
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	got := <-lost
	require.True(t, got.AnswerLost)
	require.Equal(t, uint64(1), got.Seq)
	require.True(t, srv.Accepted()[0].AnswerLost)
	require.Equal(t, uint64(1), srv.Stats().ClientLost)
}

func TestItemFaults(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	srv.MintDevice("u1", ably.Android)
	c := raw(t, srv)
	item := func(nid string) string {
		return `{"recipient":{"clientId":"u1"},"payload":{"data":{"nid":"` + nid + `"}}}`
	}
	require.NoError(t, srv.Inject(ably.ItemInternal))
	require.Equal(t, 204, c.publish(`{"recipient":{"clientId":"u1"},"data":{"nid":"x"}}`).Status, "waits for a batch")
	r := c.do("POST", "/push/batch/publish", "["+item("a")+","+item("b")+"]")
	require.Equal(t, 200, r.Status)
	require.Regexp(t, `^\[{"error":.*50000.*},{}\]$`, r.Body)
	require.Len(t, srv.Accepted(), 2)
	require.Equal(t, "b", srv.Accepted()[1].NID)
	require.Equal(t, uint64(1), srv.Stats().Faults[ably.ItemInternal])
}

// TestRetriesGetThrough: under the presets, whoever retries gets every push
// through, under Mild exactly once, under Harsh with excused repeats only.
func TestRetriesGetThrough(t *testing.T) {
	t.Parallel()
	for name, preset := range map[string]func() ably.Faults{"mild": ably.Mild, "harsh": ably.Harsh} {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprint(name, batch), func(t *testing.T) {
				t.Parallel()
				faults := preset()
				faults.LatencyMin, faults.LatencyMax = 0, 0
				for i := range faults.Rules {
					faults.Rules[i].Probability *= 5
				}
				srv := start(t, ably.Config{Faults: faults})
				c := raw(t, srv)
				const n = 200
				var wg sync.WaitGroup
				for i := range n {
					phone := srv.MintDevice("u", ably.Android)
					wg.Go(func() {
						for range 6 { // two faults of the request, two of the item
							path, body := "/push/publish", push(phone, fmt.Sprint(i))
							if batch {
								path = "/push/batch/publish"
								body = fmt.Sprintf(`[{"recipient":{"deviceId":%q},"payload":{"data":{"nid":"%d"}}}]`, phone, i)
							}
							r, err := c.try("POST", path, body)
							if err == nil && (r.Status == 204 || r.Body == "[{}]") {
								return
							}
						}
						t.Error("not through after 6 attempts")
					})
				}
				wg.Wait()
				for _, rep := range srv.Repeats() {
					require.True(t, rep.Excused)
					require.True(t, rep.SameIDs)
				}
				st := srv.Stats()
				require.Equal(t, uint64(n), st.Accepted-st.Repeats)
				require.NotEmpty(t, st.Faults)
				if name == "mild" {
					require.Zero(t, st.Repeats)
				}
			})
		}
	}
}

// TestFaultsAreAFunctionOfTheMessage: the same messages meet the same faults
// in whatever order they are sent.
func TestFaultsAreAFunctionOfTheMessage(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		order := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7}).Draw(rt, "order")
		seed := rapid.Uint64Range(1, 1<<40).Draw(rt, "seed")
		run := func(order []int) map[int]int {
			srv, err := ably.Start(t.Context(), ably.Config{Seed: seed, Faults: ably.Faults{Rules: []ably.FaultRule{{Kind: ably.Internal, Probability: 0.5}}}})
			require.NoError(rt, err)
			defer srv.Close()
			c := raw(t, srv)
			out := map[int]int{}
			for _, i := range order {
				out[i] = c.publish(`{"recipient":{"clientId":"u"},"data":{"nid":"` + fmt.Sprint(i) + `"}}`).Status
			}
			return out
		}
		require.Equal(rt, run([]int{0, 1, 2, 3, 4, 5, 6, 7}), run(order))
	})
}

func TestPushRate(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, ably.Config{PushRate: 10, Now: clock.now})
	c := raw(t, srv)
	phone := srv.MintDevice("u", ably.Android)
	var delivered []int
	for second := range 3 {
		n := 0
		for i := range 40 {
			require.Equal(t, 204, c.publish(push(phone, fmt.Sprint(second, i))).Status, "the answer knows nothing of it")
		}
		for _, a := range srv.AcceptedSince(uint64(second * 40)) {
			if a.Delivered() {
				n++
			} else {
				require.Equal(t, 42926, a.Code)
			}
		}
		delivered = append(delivered, n)
		clock.pass(time.Second)
	}
	require.Equal(t, 10, delivered[0])
	for _, n := range delivered[1:] {
		require.Positive(t, n)
		require.LessOrEqual(t, n, 10)
	}
	last := srv.AcceptedSince(80)
	require.False(t, last[0].Delivered() && last[1].Delivered() && last[2].Delivered() && last[3].Delivered() && last[4].Delivered() &&
		last[5].Delivered() && last[6].Delivered() && last[7].Delivered(), "under lasting overload it is not the first that get through")
	st := srv.Stats()
	require.Equal(t, uint64(120), st.Delivered+st.Dropped)
	require.Equal(t, st.Dropped, st.LogEvents[42926])
	clock.pass(2 * time.Second)
	require.Equal(t, 204, c.publish(push(phone, "calm")).Status)
	require.True(t, srv.AcceptedSince(120)[0].Delivered())
}

func TestRates(t *testing.T) {
	t.Parallel()
	clock := newVirtual()
	srv := start(t, ably.Config{RequestRate: 3, ChannelRate: 2, Now: clock.now})
	c := raw(t, srv)
	send := func(body string) int { return c.do("POST", "/channels/c/messages", body).Code }
	require.Zero(t, send(`[{"name":"a"},{"name":"b"}]`))
	require.Equal(t, 42913, send(`{"name":"c"}`))
	require.Zero(t, c.do("POST", "/channels/d/messages", `{"name":"c"}`).Code, "per channel")
	require.Equal(t, 42918, send(`{"name":"c"}`))
	require.Equal(t, 429, c.do("GET", "/push/channels", "").Status)
	clock.pass(time.Second)
	require.Zero(t, send(`{"name":"c"}`))
}

func TestImpossibleFaults(t *testing.T) {
	t.Parallel()
	srv := start(t, ably.Config{})
	for _, f := range []ably.Faults{
		{LatencyMin: -1},
		{LatencyMin: 2, LatencyMax: 1},
		{Rules: []ably.FaultRule{{Kind: "x"}}},
		{Rules: []ably.FaultRule{{Kind: ably.Reset, Probability: -1}}},
		{Rules: []ably.FaultRule{{Kind: ably.Reset, Probability: 0.6}, {Kind: ably.Hang, Probability: 0.6}}},
	} {
		require.ErrorIs(t, srv.SetFaults(f), ably.ErrFaults)
		_, err := ably.Start(t.Context(), ably.Config{Faults: f})
		require.ErrorIs(t, err, ably.ErrFaults)
	}
	require.NoError(t, srv.SetFaults(ably.Harsh()))
	_, err := ably.Start(t.Context(), ably.Config{Addr: "0.0.0.0:0"})
	require.ErrorIs(t, err, ably.ErrNotLoopback)
	for _, cfg := range []ably.Config{
		{AppID: "a.b"},
		{Keys: []ably.Key{{}}},
		{Keys: []ably.Key{{ID: "a"}, {ID: "a"}}},
		{PushRate: -1},
		{History: -1},
		{PublicURL: "nothing"},
		{Addr: "nothing"},
	} {
		_, err := ably.Start(t.Context(), cfg)
		require.Error(t, err)
	}
}
