package sqldb_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
)

// soon is before anything but the bound under test, 10 s, would end the wait, with
// the time that a busy machine takes.
const soon = 28 * time.Second

// silent is the URL of a server that lets everybody in and answers nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			server := pgproto3.NewBackend(conn, conn)
			if _, err := server.ReceiveStartupMessage(); err != nil {
				continue
			}
			server.Send(&pgproto3.AuthenticationOk{})
			server.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			_ = server.Flush()
		}
	}()
	return "postgres://u@" + l.Addr().String() + "/x?sslmode=disable"
}

func TestNobodyWaitsForEverForADatabaseThatVanishesAtTheStart(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) error{
		"while it is opened": func(t *testing.T) error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
			defer cancel()
			_, err := sqldb.Open(ctx, silent(t), sqldb.Options{})
			return err
		},
		"before it is migrated": func(t *testing.T) error {
			at := sqldbtest.PostgresURL(t)
			// Whether it hears nothing or waits for a lock is all the same to who asks.
			db, other := open(t, with(t, at, "statement_timeout", "0")), open(t, at)
			tx, err := other.SQL().BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer tx.Rollback() //nolint:errcheck // it changed nothing
			_, err = tx.ExecContext(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE goose_db_version`)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
			defer cancel()
			_, err = sqldb.Migrate(ctx, db)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			err := start(t)
			require.Less(t, time.Since(began), soon)
			require.Equal(t, fault.Unavailable, fault.KindOf(err), err)
			require.ErrorContains(t, err, "does not answer")
		})
	}
}
