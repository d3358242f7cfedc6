package ksqldb_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// A server with one table, asked over HTTP.
func Example() {
	races := ksqldb.NewTable("UPCOMING_RACES",
		ksqldb.Column{Name: "EVENT_ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "STARTS_AT", Type: "TIMESTAMP"},
	)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server, err := ksqldb.Start(ctx, ksqldb.Config{
		Views: []ksqldb.View{races},
		Now:   func() time.Time { return time.UnixMilli(1788264000000) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	ascot := time.Date(2026, 9, 1, 14, 30, 0, 0, time.UTC)
	if err := races.Put(ascot.Add(-time.Hour), "ascot-1430", ascot); err != nil {
		fmt.Println(err)
		return
	}
	for _, sql := range []string{
		"SELECT event_id, starts_at FROM upcoming_races WHERE starts_at > '2026-09-01T14';",
		"SELECT event_id FROM upcoming_races WHERE starts_at > 1788264000000;",
	} {
		body := strings.NewReader(`{"sql":"` + sql + `"}`)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL()+"/query-stream", body)
		if err != nil {
			fmt.Println(err)
			return
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, err := io.ReadAll(res.Body) // an error here is a cut answer
		fmt.Println(res.StatusCode, err)
		fmt.Println(strings.TrimSpace(string(answer)))
		_ = res.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 200 <nil>
	// {"queryId":"query_1788264000000","columnNames":["EVENT_ID","STARTS_AT"],"columnTypes":["STRING","TIMESTAMP"]}
	// ["ascot-1430","2026-09-01T14:30:00.000"]
	// 400 <nil>
	// {"@type":"generic_error","error_code":40001,"message":"Operator > cannot be used to compare TIMESTAMP and BIGINT"}
}

// Check tells what a server would say without starting one.
func ExampleCheck() {
	bets := ksqldb.NewTable("SETTLED_BETS",
		ksqldb.Column{Name: "BET_ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "PAYOUT", Type: "DECIMAL(18, 2)"},
	)
	columns, err := ksqldb.Check("SELECT payout, ROWTIME AS rowtime FROM settled_bets WHERE ROWTIME >= '2026-09-01';", bets)
	fmt.Println(columns, err)
	_, err = ksqldb.Check("SELECT payout FROM settled_bets ORDER BY payout;", bets)
	fmt.Println(err)
	// Output:
	// [{PAYOUT DECIMAL(18, 2) false} {ROWTIME BIGINT false}] <nil>
	// 40001: line 1:39: Syntax Error
}
