package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
)

func TestAdminTokenIsShownOnceAndKeptAsAHash(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens")
	code, first, stderr := command(t, nil, "admin-token", "--name", "alice", "--file", file)
	require.Equal(t, exitOK, code, stderr)
	require.Regexp(t, `^bga_[A-Za-z0-9_-]{43}\n$`, first)
	require.Contains(t, stderr, "alice")
	require.NotContains(t, stderr, strings.TrimSpace(first))

	// Whoever edited the file may have left its last line unended.
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte("# operators\n"+strings.TrimSpace(string(text))), 0o600))
	code, second, stderr := command(t, []string{"BUGLE_ADMIN_TOKENS_FILE=" + file}, "admin-token", "--name", "ci", "--expires", "never")
	require.Equal(t, exitOK, code, stderr)
	require.NotEqual(t, first, second)

	text, err = os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(text), "bga_")
	tokens, err := api.ParseAdminTokens(text)
	require.NoError(t, err)
	require.Len(t, tokens, 2)
	require.Equal(t, "alice", tokens[0].Name)
	require.WithinDuration(t, time.Now().Add(90*24*time.Hour), tokens[0].Expires, time.Minute)
	require.Equal(t, "ci", tokens[1].Name)
	require.Zero(t, tokens[1].Expires)
	stat, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), stat.Mode().Perm())
}

func TestAdminTokenRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	spoilt := write(t, "tokens", "alice bga_aToken 2026-01-01T00:00:00Z never\n")
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no name":       {[]string{"--file", spoilt}, "name"},
		"name of words": {[]string{"--name", "a b", "--file", spoilt}, "name"},
		"no file":       {[]string{"--name", "a"}, "admin.tokens_file"},
		"past":          {[]string{"--name", "a", "--expires", "-1h", "--file", spoilt}, "--expires"},
		"zero days":     {[]string{"--name", "a", "--expires", "0d", "--file", spoilt}, "--expires"},
		"overflow":      {[]string{"--name", "a", "--expires", "999999999999d", "--file", spoilt}, "--expires"},
		"spoilt file":   {[]string{"--name", "a", "--file", spoilt}, "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := command(t, nil, append([]string{"admin-token"}, tc.args...)...)
			require.Equal(t, exitFailure, code)
			require.Empty(t, stdout)
			require.Contains(t, stderr, tc.want)
			require.NotContains(t, stderr, "bga_aToken")
		})
	}
	text, err := os.ReadFile(spoilt)
	require.NoError(t, err)
	require.Len(t, strings.Split(string(text), "\n"), 2, "a refused call writes nothing")
}
