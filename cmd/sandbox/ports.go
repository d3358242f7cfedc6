package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/bugle-push/bugle/internal/freeport"
)

// pageAddr is where the betting page is.
const pageAddr = "127.0.0.1:17085"

// ports are the addresses that the sandbox listens on.
type ports struct {
	api, admin, ksqldb, fcm, ably, kafka, page string
}

func pickPorts(ctx context.Context, choice string) (ports, error) {
	if choice == "auto" {
		const free = "127.0.0.1:0"
		// Ably has to know beforehand where to post what is published.
		api, err := freeport.Find(1)
		return ports{net.JoinHostPort("127.0.0.1", strconv.Itoa(api)), free, free, free, free, free, free}, err
	}
	p := ports{
		api: "127.0.0.1:17080", admin: "127.0.0.1:17081", ksqldb: "127.0.0.1:17082", fcm: "127.0.0.1:17083",
		ably: "127.0.0.1:17084", kafka: "127.0.0.1:17092", page: pageAddr,
	}
	var taken []string
	for _, a := range []struct{ name, addr string }{
		{"API", p.api}, {"admin", p.admin}, {"ksqlDB", p.ksqldb}, {"FCM", p.fcm}, {"Ably", p.ably}, {"Kafka", p.kafka}, {"betting page", p.page},
	} {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.addr)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			_, port, _ := net.SplitHostPort(a.addr)
			taken = append(taken, fmt.Sprintf("%s (%s)", port, a.name))
		case err != nil:
			return p, fmt.Errorf("listen on %s for %s: %w", a.addr, a.name, err)
		default:
			if err := l.Close(); err != nil {
				return p, fmt.Errorf("close listener on %s: %w", a.addr, err)
			}
		}
	}
	if len(taken) > 0 {
		return p, fmt.Errorf("taken by another process: port %s; stop it (another sandbox?), or use -ports auto", strings.Join(taken, ", port "))
	}
	return p, nil
}
