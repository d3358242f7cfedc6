// Command sandbox is the whole world on one machine, without any account: a
// racing world that bets, stand-ins for Kafka, ksqlDB, FCM and Ably that speak
// the real wire and fail now and then, and the very same service as `bugle
// serve`. It tells what happens, and at the end whether anything was lost,
// repeated, late or out of order.
//
//	go run ./cmd/sandbox                      until Ctrl-C
//	go run ./cmd/sandbox -for 60s -report -   JSON on standard output
//	go run ./cmd/sandbox -page page.json      the betting page alone, for real services
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	// Time zones are compiled in, as in the service.
	_ "time/tzdata"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the world and drains; the second one ends the process.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
