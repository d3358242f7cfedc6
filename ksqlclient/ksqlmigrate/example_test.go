package ksqlmigrate_test

import (
	"context"
	"fmt"
	"testing/fstest"

	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/ksqlclient/ksqlmigrate"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

func Example() {
	ctx := context.Background()
	server, err := ksqldb.Start(ctx, ksqldb.Config{DDL: true}) // or your own
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client, err := ksqlclient.New(ksqlclient.Config{URL: server.URL()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	migrator, err := ksqlmigrate.New(ksqlmigrate.Config{
		Client: client,
		Files: fstest.MapFS{"V000001__goals.sql": {Data: []byte(
			"CREATE STREAM IF NOT EXISTS goals (id STRING KEY, player STRING) WITH (KAFKA_TOPIC='goals', VALUE_FORMAT='JSON', PARTITIONS=1);\n")}},
		Report: func(e ksqlmigrate.Event) {
			if e.Number > 0 {
				fmt.Println(e.Headline())
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	applied, err := migrator.Apply(ctx, ksqlmigrate.Options{})
	fmt.Println(applied, err)
	// Output:
	// CREATE STREAM IF NOT EXISTS goals
	// [1] <nil>
}
