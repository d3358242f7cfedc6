package ksqlclient_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bugle-push/bugle/ksqlclient"
)

// benchBody is an answer of 10,000 rows of eight columns.
func benchBody() string {
	var b strings.Builder
	b.WriteString(`{"columnNames":["BET_ID","USER_ID","EVENT_NAME","RUNNER","OUTCOME","PAYOUT","SETTLED_AT","ROWTIME"],` +
		`"columnTypes":["STRING","STRING","STRING","STRING","STRING","DECIMAL(18, 2)","TIMESTAMP","BIGINT"]}` + "\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, `["bet-%06d","user-%04d","14:30 Ascot","Red Rum","WON",%d.50,"2026-09-01T14:30:00.%03d",%d]`+"\n",
			i, i%5000, i, i%1000, 1788273005123+i)
	}
	return b.String()
}

func BenchmarkPull10kRows(b *testing.B) {
	body := benchBody()
	c := answer(b, 200, body, func(*ksqlclient.Config) {})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		rows := 0
		for _, err := range c.Pull(b.Context(), selectAll, nil) {
			if err != nil {
				b.Fatal(err)
			}
			rows++
		}
		if rows != 10_000 {
			b.Fatal(rows)
		}
	}
}

func BenchmarkCollect10kStructs(b *testing.B) {
	c := answer(b, 200, benchBody())
	type bet struct {
		ID      string             `ksql:"bet_id"`
		User    string             `ksql:"user_id"`
		Payout  ksqlclient.Decimal `ksql:"payout"`
		Rowtime int64              `ksql:"rowtime"`
	}
	b.ReportAllocs()
	for b.Loop() {
		bets, err := ksqlclient.Collect[bet](c.Pull(b.Context(), selectAll, nil))
		if err != nil || len(bets) != 10_000 {
			b.Fatal(len(bets), err)
		}
	}
}
