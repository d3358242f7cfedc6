// Command chaos proves under fire that the service loses nothing. It runs
// replicas of `bugle serve` as processes against stand-ins for ksqlDB, FCM and
// Ably, kills, stops and replaces them, takes the database away, lets the
// providers and the source fail, and compares what the providers accepted with
// what had to be announced.
//
//	make chaos
//	go run ./cmd/chaos -bugle bin/bugle -rounds 20 -db sqlite -seed 7
//
// It ends with one line of JSON on standard output, and with 0 only if nothing
// was lost, late, wrong or repeated without an excuse. docs/chaos.md explains it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
