// Package freeport finds ports for listeners whose address has to be known before
// they listen, or has to be the same after a restart.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below those that systems give out by themselves (Linux: 32768
// and up, others: 49152 and up). One of those could go to a client's connection
// before anybody listens on it, even to one that tries to reach that very port and
// then talks to itself.
const (
	lowest  = 20000
	highest = 32000
)

// Find finds n consecutive ports on 127.0.0.1 that nobody listens on and returns the
// first. Somebody may take one before the caller does: try again then.
func Find(n int) (int, error) {
	for range 100 {
		first := lowest + rand.IntN(highest-lowest-n)
		if err := Taken(first, n); err == nil {
			return first, nil
		}
	}
	return 0, errors.New("found no free ports")
}

// Taken tells which of n ports on 127.0.0.1 from first on somebody listens on; nil for none.
func Taken(first, n int) error {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // a listener that is closed at once
		if err != nil {
			return fmt.Errorf("port %d: %w", port, err)
		}
		if err := l.Close(); err != nil {
			return fmt.Errorf("port %d: %w", port, err)
		}
	}
	return nil
}
