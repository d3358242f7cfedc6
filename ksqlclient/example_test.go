package ksqlclient_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/bugle-push/bugle/ksqlclient"
)

// A server that knows one answer stands in for ksqlDB.
func exampleServer() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"columnNames":["BET_ID","PAYOUT","SETTLED_AT"],"columnTypes":["STRING","DECIMAL(18, 2)","TIMESTAMP"]}
["b-1",12.50,"2026-09-01T14:30:00.000"]
["b-2",0.00,null]
`)
	}))
}

func ExampleClient_Pull() {
	server := exampleServer()
	defer server.Close()
	client, err := ksqlclient.New(ksqlclient.Config{URL: server.URL, Timeout: 5 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	since := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	rows := client.Pull(context.Background(),
		`SELECT bet_id, payout, settled_at FROM settled_bets WHERE customer_id = :customer AND ROWTIME >= :since`,
		ksqlclient.Params{"customer": "c9", "since": since})
	for row, err := range rows {
		if err != nil {
			fmt.Println("the rows so far are not all:", err)
			return
		}
		id, _ := row.Get("bet_id")
		payout, _ := row.Get("payout")
		fmt.Println(id, payout)
	}
	// Output:
	// b-1 12.50
	// b-2 0.00
}

func ExampleCollect() {
	server := exampleServer()
	defer server.Close()
	client, err := ksqlclient.New(ksqlclient.Config{URL: server.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	type bet struct {
		ID      string             `ksql:"bet_id"`
		Payout  ksqlclient.Decimal `ksql:"payout"`
		Settled *time.Time         `ksql:"settled_at"`
	}
	bets, err := ksqlclient.Collect[bet](client.Pull(context.Background(), "SELECT * FROM settled_bets;", nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, b := range bets {
		fmt.Println(b.ID, b.Payout, b.Settled != nil)
	}
	// Output:
	// b-1 12.50 true
	// b-2 0.00 false
}

func ExampleBind() {
	since := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	sql, err := ksqlclient.Bind(
		"SELECT * FROM races WHERE course = :course AND ROWTIME >= :since AND starts_at > :since; -- :since",
		ksqlclient.Params{"course": "Prince's Park", "since": since})
	fmt.Println(sql, err)
	// Output:
	// SELECT * FROM races WHERE course = 'Prince''s Park' AND ROWTIME >= 1788264000000 AND starts_at > '2026-09-01T12:00:00.000'; -- :since <nil>
}
