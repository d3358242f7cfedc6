package ably_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	sdk "github.com/ably/ably-go/ably"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// ablyJS is the version of ably-js that is installed for the test.
const ablyJS = "ably@2.28.0"

// idleFor is longer than two of the intervals within which a connection gets a
// heartbeat.
const idleFor = 31 * time.Second

// installJS installs ably-js from the npm registry into a directory of the
// test, and skips the test where that cannot be done.
func installJS(t *testing.T) (node, dir string) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("ably-js against the stand-in: node is not installed")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("ably-js against the stand-in: npm is not installed")
	}
	dir = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "install", "--prefix", dir, "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", ablyJS)
	cmd.Env = append(os.Environ(), "npm_config_update_notifier=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		last, _, _ := strings.Cut(string(bytes.TrimSpace(out)), "\n")
		t.Skip("ably-js against the stand-in: it cannot be installed from the npm registry: ", last)
	}
	return node, dir
}

// TestAblyJS: the unmodified ably-js, in both encodings.
func TestAblyJS(t *testing.T) {
	t.Parallel()
	node, dir := installJS(t)
	script, err := os.ReadFile("testdata/smoke.cjs")
	require.NoError(t, err)
	file := filepath.Join(dir, "smoke.cjs")
	require.NoError(t, os.WriteFile(file, script, 0o600))

	// Connections that stay up while nothing happens on them: those of ably-js,
	// and beside them those of ably-go.
	quiet := start(t, ably.Config{})
	changed := make(chan sdk.ConnectionStateChange, 10)
	for _, binary := range []bool{false, true} {
		c := realtime(t, quiet, sdk.WithKey(quiet.Key()), sdk.WithUseBinaryProtocol(binary))
		off := c.Connection.OnAll(func(ch sdk.ConnectionStateChange) { changed <- ch })
		defer off()
	}
	idle := startJS(t, quiet, false, node, file, "quiet")

	for name, binary := range map[string]bool{"json": false, "msgpack": true} {
		srv := start(t, ably.Config{})
		got := startJS(t, srv, binary, node, file, "rest", "channels", "tokens").found()
		require.JSONEq(t, `{
			"params": {"rewind": "1", "delta": "vcdiff"}, "modes": 4,
			"received": [["odds", "first"], ["object", [{"name": "Car 1", "odds": 0.125}]], ["bytes", "00ff"]],
			"id": "k/odds/0/1", "headers": {"offset": 7},
			"present": [["u1", "other page"]], "synced": [["u1", "other page"]],
			"history": ["odds", "object", "bytes"], "more": false, "ping": true,
			"resumed": true, "after": "after", "total": 4,
			"denied": [40160, 40160], "renewed": 2,
			"time": true, "once": ["first"], "active": true, "refused": [40031, 40009],
			"batch": [2, 0, 1, 40010], "batchPresence": 0,
			"device": "js-device", "listed": 1, "subscribed": ["push:1"], "gone": 40400
		}`, jsonText(t, got), name)
		accepted := srv.Accepted()
		require.Len(t, accepted, 1)
		require.Equal(t, "js-device", accepted[0].DeviceID)
		bets := srv.Messages("bets:f1:punter-77")
		require.Len(t, bets, 2)
		require.Equal(t, "punter-77", bets[0].ClientID)
	}

	require.Equal(t, map[string]any{"idle": 0.0}, idle.found(), "a connection changed its state")
	require.Empty(t, changed)
	require.Equal(t, uint64(4), quiet.Stats().Connections)
}

// jsRun is the script at work.
type jsRun struct {
	t          *testing.T
	srv        *ably.Server
	cmd        *exec.Cmd
	out        io.Reader
	complaints bytes.Buffer
}

// startJS starts parts of the script.
func startJS(t *testing.T, srv *ably.Server, binary bool, node, file string, parts ...string) *jsRun {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	r := &jsRun{t: t, srv: srv, cmd: exec.CommandContext(ctx, node, append([]string{file}, parts...)...)}
	r.cmd.Env = append(os.Environ(), "ABLY_KEY="+srv.Key(), "ABLY_PORT="+strconv.Itoa(srv.Port()),
		"ABLY_BINARY="+strconv.FormatBool(binary), "ABLY_IDLE="+strconv.FormatInt(idleFor.Milliseconds(), 10))
	r.cmd.Stderr = &r.complaints
	var err error
	r.out, err = r.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, r.cmd.Start())
	return r
}

// found does what the script asks for until it ends, and returns what it found.
func (r *jsRun) found() map[string]any {
	r.t.Helper()
	all := map[string]any{}
	for sc := bufio.NewScanner(r.out); sc.Scan(); {
		var line map[string]any
		require.NoError(r.t, json.Unmarshal(sc.Bytes(), &line), sc.Text())
		switch line["do"] {
		case "drop":
			r.srv.DropConnections()
		case "expire":
			r.srv.ExpireTokens()
		}
		delete(line, "do")
		maps.Copy(all, line)
	}
	require.NoError(r.t, r.cmd.Wait(), "%s", r.complaints.String())
	return all
}
