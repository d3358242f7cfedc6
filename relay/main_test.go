package relay_test

import (
	"os"
	"testing"

	"github.com/bugle-push/bugle/internal/kafkatest"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m).Run()) }
