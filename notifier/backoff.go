package notifier

import (
	"math/rand/v2"
	"time"
)

// Waiting times between attempts. Google: never retry at once, the first retry
// after 10 seconds at the earliest, exponential with jitter; obey Retry-After
// ("Best practices when sending FCM messages at scale").
const (
	firstRetry         = 10 * time.Second
	longestWaitBetween = 10 * time.Minute
)

// Backoff returns how long to wait after the n-th counted attempt (from 1).
// asked is the provider's Retry-After, 0 for none. The jitter only ever adds.
func Backoff(n int, asked time.Duration) time.Duration {
	if asked > 0 {
		return asked + rand.N(asked/10+250*time.Millisecond)
	}
	d := firstRetry
	for range min(max(n, 1), 16) - 1 {
		d = min(2*d, longestWaitBetween)
	}
	return d + rand.N(d/5)
}
