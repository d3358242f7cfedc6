package relay_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/internal/kafkatest"
)

// TestMain runs the tests, or a relay for one of them in a process of its own.
func TestMain(m *testing.M) {
	if settings := os.Getenv(relayVariable); settings != "" {
		os.Exit(relayMain(settings))
	}
	goleak.VerifyTestMain(kafkatest.Main(m))
}
