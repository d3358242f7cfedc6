package preflight

import (
	"context"
	"net/http"
	"sync"
	"time"
)

const (
	// skewWarns is off by more than any network explains.
	skewWarns = 5 * time.Second
	// skewFails breaks what depends on two clocks: ticks that read rows before they
	// arrive, tokens that are not valid yet, messages that expire too early.
	skewFails = 30 * time.Second
	// dateTimeout bounds one request for the time.
	dateTimeout = 10 * time.Second
)

// Dated is a backend whose answers tell the time.
type Dated struct {
	// Path is the key of its address in the configuration.
	Path string
	URL  string
	// Transport makes the request; nil means http.DefaultTransport.
	Transport http.RoundTripper
}

// Clock compares this machine's clock with the Date of the backends' answers,
// whatever those say otherwise. A backend that cannot be reached, or sends no
// Date, tells nothing: others look after that. now is this machine's clock.
func Clock(backends []Dated, now func() time.Time) Check {
	return Check{Name: "clock", Do: func(ctx context.Context) []Finding {
		skews := make([]*time.Duration, len(backends))
		var all sync.WaitGroup
		for i, b := range backends {
			all.Go(func() { skews[i] = b.skew(ctx, now) })
		}
		all.Wait()
		var found []Finding
		for i, skew := range skews {
			if skew == nil {
				continue
			}
			const mend = "set this machine's clock by NTP (chrony or systemd-timesyncd)"
			word := "ahead of"
			if *skew < 0 {
				word = "behind"
			}
			switch away := skew.Abs(); {
			case away > skewFails:
				found = append(found, errorf(backends[i].Path, mend, "this machine's clock is %s %s that of the server", away.Round(time.Second), word))
			case away > skewWarns:
				found = append(found, warningf(backends[i].Path, mend, "this machine's clock is %s %s that of the server", away.Round(time.Second), word))
			}
		}
		return found
	}}
}

// skew returns by how much our clock is ahead, nil when nobody tells.
func (d Dated) skew(ctx context.Context, now func() time.Time) *time.Duration {
	ctx, cancel := context.WithTimeout(ctx, dateTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, http.NoBody)
	if err != nil {
		return nil
	}
	transport := d.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	before := now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil
	}
	after := now()
	_ = resp.Body.Close() // its headers are all that is wanted
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return nil
	}
	// The answer was made some time between, in some part of its second: the
	// benefit of that doubt is ours.
	switch {
	case before.After(date.Add(time.Second)):
		return new(before.Sub(date.Add(time.Second)))
	case after.Before(date):
		return new(after.Sub(date))
	}
	return new(time.Duration(0))
}
