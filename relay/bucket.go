package relay

import "time"

// bucket is a token bucket that stores nothing but the time at which it will be
// full (GCRA). Within any second it lets through at most rate + burst.
type bucket struct {
	every time.Duration // between two tokens; 0 for no limit
	burst int
	full  time.Time
}

// newBucket makes a full bucket; rate is tokens a second, 0 for no limit.
func newBucket(rate float64, burst int) bucket {
	if rate <= 0 {
		return bucket{}
	}
	return bucket{every: time.Duration(float64(time.Second) / rate), burst: max(burst, 1)}
}

// at is the earliest time, not before now, at which there is a token.
func (b *bucket) at(now time.Time) time.Time {
	if t := b.full.Add(-time.Duration(b.burst-1) * b.every); b.every > 0 && t.After(now) {
		return t
	}
	return now
}

// take takes a token, which at has said is there.
func (b *bucket) take(now time.Time) {
	if b.every == 0 {
		return
	}
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(b.every)
}
