package fcm_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/sandbox/fcm"
)

func withNID(token, nid string) string {
	return message(token, `"data":{"nid":"`+nid+`"},"android":{"collapse_key":"k","notification":{"tag":"t"}},"apns":{"headers":{"apns-collapse-id":"c"}}`)
}

// TestInjectedAnswers holds every fault that has an answer against its shape.
func TestInjectedAnswers(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	for _, tc := range []struct {
		kind   fcm.Kind
		status int
		text   string // error.status, or empty for a page
		types  []string
	}{
		{fcm.QuotaFCM, 429, "RESOURCE_EXHAUSTED", []string{"FcmError", "QuotaFailure"}},
		{fcm.QuotaProject, 429, "RESOURCE_EXHAUSTED", []string{"ErrorInfo", "Help"}},
		{fcm.QuotaBare, 429, "RESOURCE_EXHAUSTED", nil},
		{fcm.Unavailable, 503, "UNAVAILABLE", []string{"FcmError"}},
		{fcm.UnavailableBare, 503, "UNAVAILABLE", nil},
		{fcm.Internal, 500, "INTERNAL", []string{"FcmError"}},
		{fcm.InternalHTML, 500, "", nil},
		{fcm.BadGatewayHTML, 502, "", nil},
		{fcm.GatewayTimeoutHTML, 504, "", nil},
		{fcm.ThirdPartyAuth, 401, "UNAUTHENTICATED", []string{"FcmError"}},
		{fcm.ThirdPartyAuthMisleading, 401, "UNAUTHENTICATED", []string{"FcmError"}},
		{fcm.PermissionDenied, 403, "PERMISSION_DENIED", []string{"ErrorInfo"}},
		{fcm.ServiceDisabled, 403, "PERMISSION_DENIED", []string{"Help", "ErrorInfo"}},
	} {
		for _, wait := range []time.Duration{0, 3 * time.Second} {
			require.NoError(t, srv.Inject(fcm.FaultRule{Kind: tc.kind, RetryAfterMin: wait, RetryAfterMax: wait}))
			r := c.send(withNID(srv.MintToken(fcm.Android), "n"))
			require.Equal(t, tc.status, r.Status, tc.kind)
			require.Equal(t, tc.text, r.Error.Status, tc.kind)
			require.Equal(t, tc.types, r.types(), tc.kind)
			want := ""
			if wait > 0 {
				want = "3"
			}
			require.Equal(t, want, r.Header.Get("Retry-After"), tc.kind)
			if tc.text == "" {
				require.Contains(t, r.Body, fmt.Sprintf("Error %d (", tc.status))
			}
		}
		require.Equal(t, uint64(2), srv.Stats().Faults[tc.kind])
	}
	require.Empty(t, srv.Accepted())
	require.ErrorIs(t, srv.Inject(fcm.FaultRule{Kind: "no such"}), fcm.ErrFaults)
}

func TestResetBeforeAcceptance(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	require.NoError(t, srv.Inject(fcm.FaultRule{Kind: fcm.Reset}))
	_, err := c.do(c.sendPath(), withNID(srv.MintToken(fcm.Android), "n"))
	require.Error(t, err)
	require.Empty(t, srv.Accepted())
	require.Equal(t, uint64(1), srv.Stats().Outcomes[string(fcm.Reset)])
}

func TestFaultsAfterAcceptance(t *testing.T) {
	t.Parallel()
	for _, kind := range []fcm.Kind{fcm.ResetAfterAccept, fcm.UnavailableAfterAccept, fcm.HangAfterAccept} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			seen := make(chan fcm.Accepted, 3)
			srv := start(t, fcm.Config{
				HangLimit: 50 * time.Millisecond,
				OnAccept:  func(a fcm.Accepted) { seen <- a },
			})
			c := raw(t, srv)
			token := srv.MintToken(fcm.Android)
			require.NoError(t, srv.Inject(fcm.FaultRule{Kind: kind}))
			r, err := c.do(c.sendPath(), withNID(token, "n"))
			if kind == fcm.UnavailableAfterAccept {
				require.NoError(t, err)
				require.Equal(t, 503, r.Status)
			} else {
				require.Error(t, err, "the client gets a transport error")
			}
			got := srv.Accepted()
			require.Len(t, got, 1, "yet the message is accepted")
			require.True(t, got[0].AnswerLost)
			require.Equal(t, kind, got[0].Fault)
			require.Equal(t, got[0], <-seen)

			// The client repeats: that is excused, once.
			require.Equal(t, 200, c.send(withNID(token, "n")).Status)
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
			require.Equal(t, token, reps[0].Target)

			// A third time it has been told.
			require.Equal(t, 200, c.send(strings.Replace(withNID(token, "n"), `"tag":"t"`, `"tag":"other"`, 1)).Status)
			require.True(t, srv.Accepted()[2].AnsweredBefore)
			require.False(t, srv.Repeats()[0].Excused)
			require.False(t, srv.Repeats()[0].SameIDs)

			st := srv.Stats()
			require.Equal(t, uint64(1), st.AfterAccept)
			require.Equal(t, uint64(3), st.Accepted)
			require.Equal(t, uint64(2), st.Repeats)
			require.Equal(t, uint64(1), st.Faults[kind])
		})
	}
}

// TestAfterAcceptNeedsAcceptance checks that a refused message does not count
// as accepted and failed.
func TestAfterAcceptNeedsAcceptance(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	c := raw(t, srv)
	require.NoError(t, srv.SetFaults(fcm.Faults{Rules: []fcm.FaultRule{{Kind: fcm.ResetAfterAccept, Probability: 1}}}))
	token := srv.MintToken(fcm.Android)
	srv.Unregister(token)
	require.Equal(t, 404, c.send(withNID(token, "n")).Status)
	require.Equal(t, 200, c.send(`{"validate_only":true,`+withNID(srv.MintToken(fcm.Android), "n")[1:]).Status)
	require.Zero(t, srv.Stats().AfterAccept)
	require.Empty(t, srv.Accepted())
}

func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var lost []fcm.Accepted
	srv := start(t, fcm.Config{
		OnAccept:     func(fcm.Accepted) { cancel() }, // after the acceptance, before the answer
		OnAnswerLost: func(a fcm.Accepted) { lost = append(lost, a) },
		NoAuth:       true,
	})
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/projects/"+srv.ProjectID()+"/messages:send",
		strings.NewReader(withNID(srv.MintToken(fcm.Android), "n")))
	srv.Handler().ServeHTTP(httptest.NewRecorder(), req)
	require.Len(t, lost, 1)
	require.True(t, lost[0].AnswerLost)
	require.Empty(t, lost[0].Fault)
	require.Equal(t, lost, srv.Accepted(), "the record is corrected")
	require.Equal(t, uint64(1), srv.Stats().ClientLost)
	require.Zero(t, srv.Stats().AfterAccept)
}

// TestClientHangsUp does the same over a socket, where the server learns of it
// with a delay; on a busy machine that may take more than one message.
func TestClientHangsUp(t *testing.T) {
	t.Parallel()
	hangUp := make(chan context.CancelFunc, 1)
	srv := start(t, fcm.Config{
		Faults:   fcm.Faults{LatencyMin: 200 * time.Millisecond},
		OnAccept: func(fcm.Accepted) { (<-hangUp)() },
	})
	c := raw(t, srv)
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		hangUp <- cancel
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL()+"/projects/"+srv.ProjectID()+"/messages:send",
			strings.NewReader(withNID(srv.MintToken(fcm.Android), "n")))
		if err != nil {
			return false
		}
		req.Header.Set("Authorization", "Bearer "+c.bearer)
		if res, err := c.http.Do(req); err == nil {
			_ = res.Body.Close()
		}
		return srv.Stats().ClientLost > 0
	}, time.Minute, 50*time.Millisecond)
}

func TestHangEndsWithTheClientOrTheServer(t *testing.T) {
	t.Parallel()
	srv, err := fcm.Start(t.Context(), fcm.Config{HangLimit: time.Hour})
	require.NoError(t, err)
	c := raw(t, srv)
	require.NoError(t, srv.Inject(fcm.FaultRule{Kind: fcm.Hang}, fcm.FaultRule{Kind: fcm.Hang}))
	c.http.Timeout = 50 * time.Millisecond
	_, err = c.do(c.sendPath(), withNID(srv.MintToken(fcm.Android), "n"))
	require.Error(t, err)

	c.http.Timeout = 0
	done := make(chan error, 1)
	token := srv.MintToken(fcm.Android)
	go func() { _, err := c.do(c.sendPath(), withNID(token, "n")); done <- err }()
	require.Eventually(t, func() bool { return srv.Stats().Faults[fcm.Hang] == 2 }, time.Minute, time.Millisecond)
	require.NoError(t, srv.Close())
	require.Error(t, <-done)
	require.Empty(t, srv.Accepted())
}

// TestPresetsLetRetriesThrough is the promise of Mild and Harsh: a client that
// retries always gets through within the bounds, and Mild never accepts a
// message it then fails.
func TestPresetsLetRetriesThrough(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]fcm.Faults{"mild": fcm.Mild(), "harsh": fcm.Harsh()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The same kinds, but far more often and without the latency.
			faults.LatencyMin, faults.LatencyMax = 0, 0
			for i := range faults.Rules {
				faults.Rules[i].Probability *= 9
			}
			srv := start(t, fcm.Config{Faults: faults})
			c := raw(t, srv)
			struck, bareOnes := 0, 0
			for i := range 300 {
				token, nid := srv.MintToken(fcm.Android), fmt.Sprint("n", i)
				failures, bare := 0, 0
				for {
					r, err := c.do(c.sendPath(), withNID(token, nid))
					if err == nil && r.Status == 200 {
						break
					}
					failures++
					if err != nil || r.Header.Get("Retry-After") == "" {
						bare++
					} else {
						require.Contains(t, []string{"1", "2"}, r.Header.Get("Retry-After"))
					}
				}
				require.LessOrEqual(t, failures, 2)
				require.LessOrEqual(t, bare, 1)
				struck += failures
				bareOnes += bare
			}
			require.Greater(t, struck, 50)
			require.Positive(t, bareOnes)
			if name == "mild" {
				require.Zero(t, srv.Stats().AfterAccept)
				require.Empty(t, srv.Repeats())
				require.Len(t, srv.Accepted(), 300)
			} else {
				require.Positive(t, srv.Stats().Faults[fcm.ResetAfterAccept])
				require.Positive(t, srv.Stats().Faults[fcm.UnavailableAfterAccept])
				for _, rep := range srv.Repeats() {
					require.True(t, rep.Excused)
					require.True(t, rep.SameIDs)
				}
			}
		})
	}
}

// TestFaultsRepeat checks that faults depend on the seed and the message, not
// on the order of requests.
func TestFaultsRepeat(t *testing.T) {
	t.Parallel()
	run := func(seed uint64, parallel bool) map[string]int {
		srv := start(t, fcm.Config{Seed: seed, Faults: fcm.Faults{Rules: []fcm.FaultRule{
			{Kind: fcm.Internal, Probability: 0.3}, {Kind: fcm.QuotaBare, Probability: 0.3},
		}}})
		c := raw(t, srv)
		out := map[string]int{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 40 {
			nid, token := fmt.Sprint("n", i), srv.TokenAt(fcm.Android, uint32(i))
			one := func() {
				r, err := c.do(c.sendPath(), withNID(token, nid))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					out[nid] = r.Status
				}
			}
			if parallel {
				wg.Go(one)
			} else {
				one()
			}
		}
		wg.Wait()
		return out
	}
	first := run(21, false)
	require.Len(t, first, 40)
	require.Equal(t, first, run(21, true))
	require.NotEqual(t, first, run(22, false))
	counts := map[int]int{}
	for _, status := range first {
		counts[status]++
	}
	require.Len(t, counts, 3)
}

func TestUnboundedFaults(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{Faults: fcm.Faults{
		Rules: []fcm.FaultRule{{Kind: fcm.ServiceDisabled, Probability: 1}}, MaxPerMessage: -1,
	}})
	c := raw(t, srv)
	token := srv.MintToken(fcm.Android)
	for range 5 {
		require.Equal(t, 403, c.send(withNID(token, "n")).Status)
	}
	require.NoError(t, srv.SetFaults(fcm.Faults{}))
	require.Equal(t, 200, c.send(withNID(token, "n")).Status)
	require.Equal(t, 6, srv.Accepted()[0].Attempt)
}

func TestImpossibleFaults(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{})
	for _, f := range []fcm.Faults{
		{LatencyMin: -1},
		{LatencyMin: 2, LatencyMax: 1},
		{TokenUnavailable: 2},
		{Rules: []fcm.FaultRule{{Kind: "odd", Probability: 0.1}}},
		{Rules: []fcm.FaultRule{{Kind: fcm.Reset, Probability: -0.1}}},
		{Rules: []fcm.FaultRule{{Kind: fcm.Reset, Probability: 0.6}, {Kind: fcm.Hang, Probability: 0.6}}},
		{Rules: []fcm.FaultRule{{Kind: fcm.Internal, RetryAfterMin: 2, RetryAfterMax: 1}}},
	} {
		require.ErrorIs(t, srv.SetFaults(f), fcm.ErrFaults)
		_, err := fcm.Start(t.Context(), fcm.Config{Faults: f})
		require.ErrorIs(t, err, fcm.ErrFaults)
	}
	require.NoError(t, srv.SetFaults(fcm.Mild()))
	require.NoError(t, srv.SetFaults(fcm.Harsh()))
}

func TestRecordsAreBounded(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{MaxRecords: 10, KeepMessages: true})
	c := raw(t, srv)
	for i := range 45 {
		body := withNID(srv.MintToken(fcm.Web), fmt.Sprint("n", i))
		require.Equal(t, 200, c.send(body).Status)
		got := srv.Accepted()
		require.Equal(t, body, string(got[len(got)-1].Message))
	}
	got := srv.Accepted()
	require.GreaterOrEqual(t, len(got), 10)
	require.LessOrEqual(t, len(got), 20)
	require.Equal(t, uint64(45), got[len(got)-1].Seq)
	require.Equal(t, uint64(45-len(got)), srv.Stats().Forgotten)
	for i, a := range got {
		require.Equal(t, srv.Stats().Forgotten+uint64(i)+1, a.Seq)
	}
	require.Len(t, srv.AcceptedSince(43), 2)
	require.Empty(t, srv.AcceptedSince(45))
	require.Empty(t, srv.AcceptedSince(99))
	require.Equal(t, got, srv.AcceptedSince(1))
}

// TestOutcomesAddUp checks that every send has one outcome, whatever is sent
// and whatever goes wrong.
func TestOutcomesAddUp(t *testing.T) {
	t.Parallel()
	faults := fcm.Harsh()
	faults.LatencyMin, faults.LatencyMax, faults.MaxPerMessage = 0, 0, -1
	for i := range faults.Rules {
		faults.Rules[i].Probability = 0.1
	}
	faults.Rules = append(faults.Rules, fcm.FaultRule{Kind: fcm.GoAway, Probability: 0.1}, fcm.FaultRule{Kind: fcm.Reset, Probability: 0.1})
	srv := start(t, fcm.Config{Faults: faults, DeviceQuota: 20})
	c := raw(t, srv)
	sent := 0
	gone := srv.TokenAt(fcm.Android, 1)
	srv.Unregister(gone)
	rapid.Check(t, func(rt *rapid.T) {
		token := rapid.SampledFrom([]string{srv.TokenAt(fcm.Android, 0), gone, srv.TokenAt(fcm.IOS, 2), "nonsense", ""}).Draw(rt, "token")
		body := rapid.SampledFrom([]string{withNID(token, "n"), message(token, `"x":1`), "{", `{"validate_only":true,` + message(token, "")[1:]}).Draw(rt, "body")
		sent++
		_, _ = c.do(c.sendPath(), body) // a reset is an outcome too
		st := srv.Stats()
		sum := uint64(0)
		for _, n := range st.Outcomes {
			sum += n
		}
		require.Equal(rt, uint64(sent), st.Sends)
		require.Equal(rt, st.Sends, sum)
		require.Equal(rt, st.Accepted, st.Outcomes["accepted"]+st.AfterAccept)
		require.Len(rt, srv.Accepted(), int(st.Accepted))
	})
}
