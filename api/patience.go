package api

import (
	"io"
	"net/http"
	"time"
)

// PatientRead is how long a PatientBody waits for more.
const PatientRead = 30 * time.Second

// PatientBody moves the read deadline of its connection on with each read: a long
// body is fine, a silent client is not, and neither is one that sends a byte now and
// then for days: at end, the body must have arrived in any case.
func PatientBody(w http.ResponseWriter, body io.ReadCloser, end time.Time) io.ReadCloser {
	return patientBody{ReadCloser: body, control: http.NewResponseController(w), end: end}
}

type patientBody struct {
	io.ReadCloser

	control *http.ResponseController
	end     time.Time
}

// Read reads on.
func (p patientBody) Read(b []byte) (int, error) {
	until := time.Now().Add(PatientRead)
	if p.end.Before(until) {
		until = p.end
	}
	_ = p.control.SetReadDeadline(until) // writers in tests have none
	return p.ReadCloser.Read(b)
}
