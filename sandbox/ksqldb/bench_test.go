package ksqldb_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// BenchmarkPoll is the poll of a rule: a window of ROWTIME that matches a
// hundred rows of a hundred thousand.
func BenchmarkPoll(b *testing.B) {
	table := ksqldb.NewTable("SETTLED_BETS",
		ksqldb.Column{Name: "BET_ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "PAYOUT", Type: "DECIMAL(18, 2)"},
		ksqldb.Column{Name: "SETTLED_AT", Type: "TIMESTAMP"},
	)
	for i := range 100_000 {
		at := time.UnixMilli(int64(i))
		if err := table.Put(at, fmt.Sprint("b-", i), "12.50", at); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		rows, err := ksqldb.Run("SELECT bet_id, payout, settled_at FROM settled_bets WHERE ROWTIME >= 99900 AND ROWTIME < 100000;", table)
		if err != nil || len(rows) != 100 {
			b.Fatal(len(rows), err)
		}
	}
}
