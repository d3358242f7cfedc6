package apachekafka_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/bugle-push/bugle/internal/apachekafka"
)

// machine has only these programs, and an empty cache.
func machine(t *testing.T, programs map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range programs {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o700))
	}
	t.Setenv("PATH", dir)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
}

const (
	java8  = `echo 'openjdk version "1.8.0_402"' >&2`
	java17 = `echo 'openjdk version "17.0.15" 2025-04-15' >&2`
	java25 = `echo 'openjdk version "25-ea" 2025-09-16' >&2`
)

func TestFetchSaysWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		programs map[string]string
		missing  bool
		reason   string
	}{
		"no Java":       {map[string]string{"mvn": "exit 0"}, true, "java"},
		"old Java":      {map[string]string{"java": java8, "mvn": "exit 0"}, true, "is of version 1"},
		"no Maven":      {map[string]string{"java": java17}, true, "mvn"},
		"broken Java":   {map[string]string{"java": "exit 3"}, false, "ask Java for its version"},
		"no repository": {map[string]string{"java": java25, "mvn": `printf '\033[0m\033[0m[ERROR] no route\n'; echo "[ERROR] more"; exit 1`}, false, "exit status 1: [ERROR] no route"},
	} {
		t.Run(name, func(t *testing.T) {
			machine(t, c.programs)
			_, err := apachekafka.Fetch(t.Context(), &bytes.Buffer{})
			require.ErrorContains(t, err, c.reason)
			if c.missing {
				require.ErrorIs(t, err, apachekafka.ErrNotInstalled)
			} else {
				require.NotErrorIs(t, err, apachekafka.ErrNotInstalled)
			}
		})
	}
}

// What was fetched once is there for good, without Maven, and nothing of an
// attempt that failed is taken for it.
func TestFetchKeepsWhatItFetched(t *testing.T) {
	const mvn = `
for arg; do case "$arg" in -DoutputDirectory=*) out="${arg#*=}";; esac; done
PATH=/usr/bin:/bin
mkdir "$out" && echo jar >"$out/kafka.jar" && [ ! -e "$HOME/broken" ]
`
	machine(t, map[string]string{"java": java17, "mvn": mvn})
	broken := filepath.Join(os.Getenv("HOME"), "broken")
	require.NoError(t, os.WriteFile(broken, nil, 0o600))
	_, err := apachekafka.Fetch(t.Context(), &bytes.Buffer{})
	require.Error(t, err)
	require.NoError(t, os.Remove(broken))

	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			_, err := apachekafka.Fetch(t.Context(), &bytes.Buffer{})
			return err
		})
	}
	require.NoError(t, group.Wait())

	require.NoError(t, os.Remove(filepath.Join(os.Getenv("PATH"), "mvn")))
	var progress bytes.Buffer
	dir, err := apachekafka.Fetch(t.Context(), &progress)
	require.NoError(t, err)
	require.Empty(t, progress.String())
	require.FileExists(t, filepath.Join(dir, "kafka.jar"))
	require.Contains(t, filepath.Base(dir), apachekafka.Version())
	left, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Len(t, left, 1, "parts are left over")
}

func TestVersionIsTheOneOfThePOM(t *testing.T) {
	pom, err := os.ReadFile("pom.xml")
	require.NoError(t, err)
	require.NotEmpty(t, apachekafka.Version())
	require.Contains(t, string(pom), "<kafka.version>"+apachekafka.Version()+"</kafka.version>")
}
