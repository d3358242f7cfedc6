package apachekafka

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports of listeners that have to be the same after a restart are taken from
// below those that systems give out by themselves (Linux: 32768 and up). One of
// those could go to a client's connection while the broker is down, even to one
// that tries to reach that very port and then talks to itself.
const (
	lowestPort  = 20000
	highestPort = 32000
)

// FreePorts finds n consecutive ports on 127.0.0.1 that nobody listens on and
// returns the first. Somebody may take one before the caller does: try again then.
func FreePorts(n int) (int, error) {
	for range 100 {
		first := lowestPort + rand.IntN(highestPort-lowestPort-n)
		if err := portsAreFree(first, n); err == nil {
			return first, nil
		}
	}
	return 0, errors.New("found no free ports")
}

func portsAreFree(first, n int) error {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", address(port)) //nolint:noctx // a listener that is closed at once
		if err != nil {
			return fmt.Errorf("port %d: %w", port, err)
		}
		if err := l.Close(); err != nil {
			return fmt.Errorf("port %d: %w", port, err)
		}
	}
	return nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
