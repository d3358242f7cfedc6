package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// deadlines is a writer that keeps what its connection was given.
type deadlines struct {
	http.ResponseWriter
	read []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}

// The minutes of an upload, which no test can wait for.
func TestAnUploadWaitsForItsEndAndNoLonger(t *testing.T) {
	t.Parallel()
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	far, near := time.Now().Add(time.Hour), time.Now().Add(time.Second)
	for _, end := range []time.Time{far, near} {
		_, err := io.ReadAll(patient{io.NopCloser(strings.NewReader("x")), http.NewResponseController(w), end})
		require.NoError(t, err)
		last := w.read[len(w.read)-1]
		if end.Equal(near) {
			require.Equal(t, near, last, "a byte now and then must not go on for ever")
			continue
		}
		require.WithinDuration(t, time.Now().Add(uploadRead), last, 10*time.Second)
	}
}
