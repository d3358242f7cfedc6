package api_test

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
)

// The minutes of an upload, which no test can wait for.
func TestAnUploadWaitsForItsEndAndNoLonger(t *testing.T) {
	t.Parallel()
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	far, near := time.Now().Add(time.Hour), time.Now().Add(time.Second)
	for _, end := range []time.Time{far, near} {
		_, err := io.ReadAll(api.PatientBody(w, io.NopCloser(strings.NewReader("x")), end))
		require.NoError(t, err)
		if end.Equal(near) {
			require.Equal(t, near, w.read, "a byte now and then must not go on for ever")
			continue
		}
		require.WithinDuration(t, time.Now().Add(api.PatientRead), w.read, 10*time.Second)
	}
}
