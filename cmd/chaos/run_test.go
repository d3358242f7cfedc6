package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "bugle")
	require.NoError(t, os.WriteFile(binary, nil, 0o600))
	var out bytes.Buffer
	o, err := parseOptions([]string{"-bugle", binary}, &out)
	require.NoError(t, err)
	require.Equal(t, options{bugle: binary, rounds: 3, replicas: 3, db: dbPostgres, seed: 1, rate: 12}, o)
	o, err = parseOptions([]string{"-bugle", binary, "-db", "sqlite"}, &out)
	require.NoError(t, err)
	require.Equal(t, 1, o.replicas)
	require.Empty(t, out.String())

	for _, args := range [][]string{
		{},
		{"-bugle", binary + "-no"},
		{"-bugle", binary, "-db", "mysql"},
		{"-bugle", binary, "-db", "sqlite", "-replicas", "2"},
		{"-bugle", binary, "-replicas", "10"},
		{"-bugle", binary, "-rounds", "0"},
		{"-bugle", binary, "-rate", "0"},
		{"-bugle", binary, "more"},
	} {
		out.Reset()
		require.Equal(t, 2, run(t.Context(), args, &out, &out), args)
		require.Regexp(t, `^chaos: `, out.String(), args)
	}
	out.Reset()
	require.Zero(t, run(t.Context(), []string{"-h"}, &out, &out))
	require.Contains(t, out.String(), "-seed")
}

// A binary that does not become a service fails the run, and leaves nothing behind
// that runs.
func TestRunFailsWithoutService(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "bugle")
	require.NoError(t, os.WriteFile(binary, []byte("not a program"), 0o700))
	var stdout, stderr bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"-bugle", binary, "-db", "sqlite"}, &stdout, &stderr))
	require.Empty(t, stdout.String())
	require.Contains(t, stderr.String(), "start replica 1.1")
	kept := regexp.MustCompile(`the logs are in (\S+)`).FindStringSubmatch(stderr.String())
	require.NotNil(t, kept, stderr.String())
	require.DirExists(t, kept[1])
	require.NoError(t, os.RemoveAll(kept[1]))
}
