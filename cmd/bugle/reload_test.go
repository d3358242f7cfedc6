package main

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// logs is an output that a test reads while it is written.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func TestAHangupReadsTheRulesAgain(t *testing.T) {
	t.Parallel()
	// Until the service listens to it, and after, the signal must not end the test.
	guard := make(chan os.Signal, 8)
	signal.Notify(guard, syscall.SIGHUP)
	defer signal.Stop(guard)
	hangup := func() { require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP)) }

	ksql, err := ksqldb.Start(t.Context(), ksqldb.Config{})
	require.NoError(t, err)
	defer ksql.Close()
	google, err := fcm.Start(t.Context(), fcm.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, google.Close()) }()
	builtin := string(notifier.BuiltinRules().YAML)
	rules := write(t, "rules.yaml", builtin)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errs logs
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"serve"}, []string{
			"BUGLE_ENV=dev", "BUGLE_LISTEN=127.0.0.1:0", "BUGLE_ADMIN_LISTEN=127.0.0.1:0",
			"BUGLE_DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "bugle.db"), "BUGLE_KSQLDB_URL=" + ksql.URL(),
			"BUGLE_AUTH_SECRET=a secret that is thirty-two bytes or more", "BUGLE_FCM_PROJECT_ID=" + google.ProjectID(),
			"BUGLE_FCM_CREDENTIALS=" + string(google.CredentialsJSON()), "BUGLE_FCM_URL=" + google.URL(), "BUGLE_RULES_FILE=" + rules,
		}, stdio{out: &out, err: &errs})
	}()
	require.Eventually(t, func() bool { return errs.count("service opened") == 1 }, time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool { hangup(); return errs.count("nothing has changed") > 0 }, time.Minute, 100*time.Millisecond)

	// The new file is noticed by itself as well; either way it is put in force once.
	require.NoError(t, os.WriteFile(rules+".new", []byte(strings.Replace(builtin, "@every 15s", "@every 20s", 1)), 0o600))
	require.NoError(t, os.Rename(rules+".new", rules))
	hangup()
	require.Eventually(t, func() bool { return errs.count("rules replaced") == 1 }, time.Minute, 10*time.Millisecond)
	stop()
	require.Equal(t, exitOK, <-done)
	require.Equal(t, 1, errs.count("rules replaced"))
}
