package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEndpoint(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][2]string{
		"postgres://me@127.0.0.1:5433/bugle?sslmode=disable":  {"tcp", "127.0.0.1:5433"},
		"postgres://me@127.0.0.1/bugle":                       {"tcp", "127.0.0.1:5432"},
		"postgres:///bugle?host=/tmp/x&user=me":               {"unix", "/tmp/x/.s.PGSQL.5432"},
		"postgres://me@/bugle?host=%2Ftmp%2Fx&port=5433":      {"unix", "/tmp/x/.s.PGSQL.5433"},
		"postgres://me:secret@localhost:1/bugle?host=/run/pg": {"unix", "/run/pg/.s.PGSQL.1"},
	} {
		network, target, err := endpoint(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, [2]string{network, target}, raw)
	}
	_, _, err := endpoint("postgres://%zz")
	require.Error(t, err)
}
