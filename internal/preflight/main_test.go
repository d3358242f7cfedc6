package preflight_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/internal/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Main(m)) }
