package app_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// enough is what a stop may take whatever clients do, on a busy machine too. What
// is held up takes all of the 25 seconds that a stop has, which is why it must not
// be: Kubernetes grants 30, of which a send and its record may need 20.
const enough = 20 * time.Second

func TestAStopEndsWhatAnOperatorHasAskedForAndWritesItDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	w.cfg.Rules, w.cfg.RulesFile = nil, filepath.Join(dir, "rules.yaml")
	text := "rules:" + strings.Replace(fmt.Sprintf(rules, time.Now().Add(-10*time.Minute).UTC().Format(time.RFC3339)), "@every 1s", "0 0 1 1 *", 1)
	require.NoError(t, os.WriteFile(w.cfg.RulesFile, []byte(text), 0o600))
	plain, line, err := api.NewAdminToken("alice", time.Now(), time.Hour)
	require.NoError(t, err)
	w.cfg.Admin.TokensFile = filepath.Join(dir, "tokens")
	require.NoError(t, os.WriteFile(w.cfg.Admin.TokensFile, []byte(line.Line()), 0o600))
	service, stop := w.start(t)
	admin := "http://" + service.AdminAddr()
	latest := func() string {
		_, body := call(t, http.MethodGet, admin+"/admin/v1/runs", plain.Reveal(), "")
		var list api.AdminRunList
		require.NoError(t, json.Unmarshal([]byte(body), &list))
		if len(list.Runs) == 0 {
			return ""
		}
		return list.Runs[0].State
	}

	w.ksql.SetFaults(ksqldb.Faults{Hang: 1})
	answered := make(chan int, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, admin+"/admin/v1/rules/settled/run", http.NoBody)
		if err == nil {
			req.Header.Set("Authorization", "Bearer "+plain.Reveal())
			var resp *http.Response
			if resp, err = (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req); err == nil {
				_ = resp.Body.Close()
				answered <- resp.StatusCode
				return
			}
		}
		answered <- 0
	}()
	require.Eventually(t, func() bool { return latest() == string(notifier.RunReading) }, time.Minute, 20*time.Millisecond)

	began := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(began), enough)
	require.Equal(t, http.StatusServiceUnavailable, <-answered)
	service, _ = w.start(t)
	admin = "http://" + service.AdminAddr()
	require.Equal(t, string(notifier.RunFailed), latest(), "it must not block its rule until its lease lapses")
}

func TestSomebodyWhoWatchesTheOverviewHoldsNoStopUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plain, line, err := api.NewAdminToken("alice", time.Now(), time.Hour)
	require.NoError(t, err)
	w.cfg.Admin.TokensFile = filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(w.cfg.Admin.TokensFile, []byte(line.Line()), 0o600))
	service, stop := w.start(t)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+service.AdminAddr()+"/sign-in", strings.NewReader(url.Values{"token": {plain.Reveal()}}.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	req, err = http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+service.AdminAddr()+"/live/stream", http.NoBody)
	require.NoError(t, err)
	resp, err = client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	events := bufio.NewReader(resp.Body)
	for {
		line, err := events.ReadString('\n')
		require.NoError(t, err)
		if line == "event: all\n" {
			break
		}
	}
	began := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(began), enough)
	_, err = io.Copy(io.Discard, events)
	require.NoError(t, err, "the answer has ended, and was not cut")
}

func TestAClientThatDoesNotReadHoldsNoStopUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service, stop := w.start(t)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", service.Addr())
	require.NoError(t, err)
	defer conn.Close()
	// More answers than the sockets' buffers hold.
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(2*time.Second)))
	_, _ = conn.Write([]byte(strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", 1000)))
	time.Sleep(500 * time.Millisecond)
	began := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(began), enough)
}
