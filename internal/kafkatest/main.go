package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/internal/apachekafka"
)

// shared is the broker that the tests of a binary have in common, started by the
// first that asks. Main ends it.
var shared struct {
	sync.Mutex
	watched bool // Main will end it
	tried   bool
	broker  *apachekafka.Broker
	err     error
}

// Main runs a package's tests and then ends the broker that they shared. A
// package that uses Brokers or Apache says so once:
//
//	func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m).Run()) }
//
// or, as it has Run too, with goleak.VerifyTestMain(kafkatest.Main(m)).
func Main(m *testing.M) goleak.TestingM { return runner{m} }

type runner struct{ m *testing.M }

func (r runner) Run() int {
	shared.Lock()
	shared.watched = true
	shared.Unlock()
	code := r.m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.broker == nil {
		return code
	}
	if err := shared.broker.Close(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "end Apache Kafka:", err)
		return max(code, 1)
	}
	return code
}

// IgnoreShared tells goleak, when it looks before the end of the whole binary,
// of the goroutine that waits for the shared broker.
func IgnoreShared() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/bugle-push/bugle/internal/apachekafka.(*process).hold")
}

// sharedApache returns the shared broker. What could not be started once is not
// tried again.
func sharedApache(t testing.TB) *apachekafka.Broker {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.watched {
		t.Fatal("nobody would end the shared broker: the package needs a TestMain with kafkatest.Main")
	}
	if !shared.tried {
		shared.tried = true
		shared.broker, shared.err = startApache()
	}
	return atHand(t, shared.broker, shared.err)
}

// atHand skips the test where Apache Kafka cannot be had, with the reason.
func atHand(t testing.TB, b *apachekafka.Broker, err error) *apachekafka.Broker {
	t.Helper()
	if missing, ok := errors.AsType[missingError](err); ok {
		t.Skip("no Apache Kafka: " + missing.Error())
	}
	if err != nil {
		t.Fatal("start Apache Kafka:", err)
	}
	return b
}

// missingError says why there is no Apache Kafka to start: it could not be
// fetched, for want of Java, Maven or the registry.
type missingError struct{ error }

func (e missingError) Unwrap() error { return e.error }

func startApache() (*apachekafka.Broker, error) {
	// The broker is not one test's: it outlives the test that is the first to ask.
	ctx := context.Background()
	jars, err := apachekafka.Fetch(ctx, os.Stderr)
	if err != nil {
		return nil, missingError{err}
	}
	dir, err := os.MkdirTemp("", "bugle-kafka-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	return apachekafka.Start(ctx, apachekafka.Config{Jars: jars, Dir: dir})
}
