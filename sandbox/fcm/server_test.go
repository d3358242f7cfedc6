package fcm_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"firebase.google.com/go/v4/messaging"
	"github.com/stretchr/testify/require"
	"google.golang.org/api/option"

	"github.com/bugle-push/bugle/sandbox/fcm"
)

func TestRefusesOtherMachines(t *testing.T) {
	t.Parallel()
	for _, cfg := range []fcm.Config{{Addr: "0.0.0.0:0"}, {Addr: ":0"}, {Addr: "192.0.2.1:0"}, {TLSAddr: "0.0.0.0:0"}} {
		_, err := fcm.Start(t.Context(), cfg)
		require.ErrorIs(t, err, fcm.ErrNotLoopback)
	}
	_, err := fcm.Start(t.Context(), fcm.Config{Addr: "nonsense"})
	require.Error(t, err)
	_, err = fcm.Start(t.Context(), fcm.Config{ProjectID: "a/b"})
	require.Error(t, err)
	_, err = fcm.Start(t.Context(), fcm.Config{PublicURL: "fcm:1"})
	require.Error(t, err)
	srv := start(t, fcm.Config{AllowNonLoopback: true, Addr: "127.0.0.1:0", PublicURL: "http://fcm.test:1/"})
	require.Equal(t, "http://fcm.test:1/v1", srv.URL())
	require.Contains(t, string(srv.CredentialsJSON()), `"token_uri": "http://fcm.test:1/token"`)
}

func TestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	srv, err := fcm.Start(ctx, fcm.Config{})
	require.NoError(t, err)
	c := raw(t, srv)
	require.Equal(t, 200, c.send(message(srv.MintToken(fcm.Web), "")).Status)
	cancel()
	require.Eventually(t, func() bool {
		_, err := c.do(c.sendPath(), "{}")
		return err != nil
	}, time.Minute, time.Millisecond)
	require.NoError(t, srv.Close())
	require.NoError(t, srv.Close(), "Close may be called again")
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	accepted := make(chan struct{})
	proceed := make(chan struct{})
	srv, err := fcm.Start(t.Context(), fcm.Config{OnAccept: func(fcm.Accepted) { close(accepted); <-proceed }})
	require.NoError(t, err)
	c := raw(t, srv)
	var wg sync.WaitGroup
	status := 0
	token := srv.MintToken(fcm.Web)
	wg.Go(func() {
		if r, err := c.do(c.sendPath(), message(token, "")); err == nil {
			status = r.Status
		}
	})
	<-accepted
	wg.Go(func() { _ = srv.Shutdown(t.Context()) })
	close(proceed)
	wg.Wait()
	require.Equal(t, 200, status)
	require.False(t, srv.Accepted()[0].AnswerLost)
}

// h2 returns a client of HTTP/2: over TLS, or in clear text with prior
// knowledge.
func h2(t *testing.T, srv *fcm.Server, secure bool) *http.Client {
	t.Helper()
	var p http.Protocols
	tr := &http.Transport{Protocols: &p}
	if secure {
		p.SetHTTP2(true)
		tr.TLSClientConfig = &tls.Config{RootCAs: srv.CertPool(), MinVersion: tls.VersionTLS12}
	} else {
		p.SetUnencryptedHTTP2(true)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"h2": true, "h2c": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := start(t, fcm.Config{TLSAddr: "127.0.0.1:0", HangLimit: 20 * time.Millisecond})
			base := srv.URL()
			if secure {
				base = srv.TLSURL()
				require.True(t, strings.HasPrefix(base, "https://"))
			}
			client, bearer := h2(t, srv, secure), srv.MintBearer()
			conns := map[string]bool{}
			var mu sync.Mutex
			post := func(nid string) (*http.Response, error) {
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
					mu.Lock()
					defer mu.Unlock()
					conns[i.Conn.LocalAddr().String()] = true
				}})
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/projects/"+srv.ProjectID()+"/messages:send",
					strings.NewReader(withNID(srv.TokenAt(fcm.Web, 0), nid)))
				require.NoError(t, err)
				req.Header.Set("Authorization", "Bearer "+bearer)
				res, err := client.Do(req)
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				return res, err
			}
			for i := range 3 {
				res, err := post(fmt.Sprint("n", i))
				require.NoError(t, err)
				require.Equal(t, 2, res.ProtoMajor)
				require.Equal(t, 200, res.StatusCode)
			}
			require.Len(t, conns, 1, "requests share a connection")

			for _, kind := range []fcm.Kind{fcm.Reset, fcm.ResetAfterAccept, fcm.Hang} {
				require.NoError(t, srv.Inject(fcm.FaultRule{Kind: kind}))
				_, err := post("r-" + string(kind))
				require.Error(t, err, kind)
			}
			require.Len(t, conns, 1, "a reset stream leaves the connection")
			require.Len(t, srv.Accepted(), 4)
			require.True(t, srv.Accepted()[3].AnswerLost)

			require.NoError(t, srv.Inject(fcm.FaultRule{Kind: fcm.GoAway}))
			res, err := post("last")
			require.NoError(t, err)
			require.Equal(t, 200, res.StatusCode, "the request itself is answered")
			require.Eventually(t, func() bool {
				_, err := post("after")
				require.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				return len(conns) == 2
			}, time.Minute, time.Millisecond, "GOAWAY leads to a new connection")
		})
	}
}

// TestStreamLimit counts how many requests one connection takes at a time.
func TestStreamLimit(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	srv := start(t, fcm.Config{OnAccept: func(fcm.Accepted) { <-release }})
	client, bearer := h2(t, srv, false), srv.MintBearer()
	var mu sync.Mutex
	perConn := map[string]int{}
	var wg sync.WaitGroup
	post := func(i int) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			mu.Lock()
			defer mu.Unlock()
			perConn[info.Conn.LocalAddr().String()]++
		}})
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL()+"/projects/"+srv.ProjectID()+"/messages:send",
			strings.NewReader(message(srv.TokenAt(fcm.Web, uint32(i)), "")))
		req.Header.Set("Authorization", "Bearer "+bearer)
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close()
		}
	}
	for i := range 120 {
		wg.Go(func() { post(i) })
	}
	require.Eventually(t, func() bool { return srv.Stats().Accepted == 120 }, time.Minute, time.Millisecond)
	close(release)
	wg.Wait()
	require.Greater(t, len(perConn), 1, "120 requests do not fit one connection")
	for _, n := range perConn {
		require.LessOrEqual(t, n, fcm.MaxConcurrentStreams)
	}
}

// TestSDKOverHTTP2 leads the SDK over TLS and HTTP/2 by a client of the
// caller's own, to which the SDK adds no credentials.
func TestSDKOverHTTP2(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{TLSAddr: "127.0.0.1:0", NoAuth: true})
	client := sdk(t, srv, option.WithHTTPClient(h2(t, srv, true)), option.WithEndpoint(srv.TLSURL()))
	_, err := client.Send(t.Context(), &messaging.Message{Token: srv.MintToken(fcm.IOS)})
	require.NoError(t, err)
}

func TestHandlerAlone(t *testing.T) {
	t.Parallel()
	srv := start(t, fcm.Config{NoAuth: true})
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/projects/"+srv.ProjectID()+"/messages:send",
		strings.NewReader(message(srv.MintToken(fcm.Web), "")))
	srv.Handler().ServeHTTP(rec, req)
	require.Equal(t, 200, rec.Code)
	require.Len(t, srv.Accepted(), 1)
}

// FuzzSend checks that any body gets a JSON answer with a status that fits.
func FuzzSend(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"message":{"token":"x"}}`, `{"message":{"topic":"a","data":{"k":"v"}}}`, `{"message":`,
		`{"validate_only":true,"message":{"condition":"'a' in topics && !('b' in topics)"}}`,
		`{"message":{"topic":"a","android":{"ttl":"1.5s","notification":{"light_settings":{"color":{"red":1},"light_on_duration":"1s","light_off_duration":"1s"}}}}}`,
		`{"message":{"topic":"a","apns":{"payload":{"aps":{"alert":[1,{}]}}},"webpush":{"notification":{"tag":1}}}}`,
	} {
		f.Add(seed)
	}
	srv, err := fcm.Start(f.Context(), fcm.Config{NoAuth: true, MaxRecords: 100, ProjectQuota: -1})
	require.NoError(f, err)
	f.Cleanup(func() { _ = srv.Close() })
	f.Fuzz(func(t *testing.T, body string) {
		before := srv.Stats().Accepted
		rec := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/projects/"+srv.ProjectID()+"/messages:send", strings.NewReader(body))
		srv.Handler().ServeHTTP(rec, req)
		require.Contains(t, []int{200, 400, 404}, rec.Code)
		require.Equal(t, "application/json; charset=UTF-8", rec.Header().Get("Content-Type"))
		require.True(t, rec.Code == 200 || srv.Stats().Accepted == before, "a refused message is not accepted")
	})
}

func BenchmarkSend(b *testing.B) {
	srv, err := fcm.Start(b.Context(), fcm.Config{ProjectQuota: -1, DeviceQuota: -1, MaxRecords: 1000})
	require.NoError(b, err)
	b.Cleanup(func() { _ = srv.Close() })
	body, bearer := withNID(srv.MintToken(fcm.Android), "n"), srv.MintBearer()
	h := srv.Handler()
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/projects/"+srv.ProjectID()+"/messages:send", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+bearer)
		h.ServeHTTP(httptest.NewRecorder(), req)
	}
}
