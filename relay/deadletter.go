package relay

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers of a dead letter, beside those of the record itself.
const (
	deadCode      = "bugle-code"
	deadReason    = "bugle-reason"
	deadTopic     = "bugle-topic"
	deadPartition = "bugle-partition"
	deadOffset    = "bugle-offset"
	deadTime      = "bugle-timestamp"
	deadChannel   = "bugle-channel"
	deadOmitted   = "bugle-value-omitted"
)

// refuse sends a record to its dead-letter topic; it is done when all replicas of
// that topic have it. f.mu is held.
func (f *Feed) refuse(it *item, code, reason string) {
	f.metrics.deadLetters.WithLabelValues(it.from.topic, codeLabel(code)).Inc()
	if !it.counted { // from now on it waits without giving way
		it.counted = true
		it.from.load++
		it.from.loadBytes += len(it.record.Value)
	}
	it.from.takeOff()
	f.workers.Go(func() { f.bury(it, deadLetter(it, code, reason)) })
}

// codeLabel bounds a metric's label: a code of ours, or one of Ably's by its
// number, of which there are some hundred.
func codeLabel(code string) string {
	if n, err := strconv.Atoi(code); err == nil && (n < 10_000 || n > 199_999) {
		return "other"
	}
	return code
}

func deadLetter(it *item, code, reason string) *kgo.Record {
	r := it.record
	dead := &kgo.Record{Topic: it.from.route.DeadLetter, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Key, "bugle-") {
			dead.Headers = append(dead.Headers, h)
		}
	}
	add := func(key, value string) {
		dead.Headers = append(dead.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	add(deadCode, code)
	add(deadReason, reason)
	add(deadTopic, r.Topic)
	add(deadPartition, strconv.Itoa(int(r.Partition)))
	add(deadOffset, strconv.FormatInt(r.Offset, 10))
	add(deadTime, r.Timestamp.UTC().Format(time.RFC3339Nano))
	if it.message.Channel != "" {
		add(deadChannel, it.message.Channel)
	}
	return dead
}

// bury produces a dead letter until it is acknowledged, or its partition is given
// away: then whoever has that reads the record again.
func (f *Feed) bury(it *item, dead *kgo.Record) {
	done := f.produce(it.from.send, dead)
	f.mu.Lock()
	defer f.mu.Unlock()
	defer it.from.land()
	if done {
		f.finish(it, buried)
	}
}

func (f *Feed) produce(ctx context.Context, dead *kgo.Record) bool {
	for n := 1; ; n++ {
		err := f.client.ProduceSync(ctx, dead).FirstErr()
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, kerr.MessageTooLarge) && len(dead.Value) > 0:
			// The record that was too large for Ably, with our headers, is too large
			// for this topic: where it stands is still told.
			dead = &kgo.Record{Topic: dead.Topic, Key: dead.Key, Headers: append(dead.Headers, kgo.RecordHeader{Key: deadOmitted, Value: []byte("true")})}
			continue
		case errors.Is(err, kerr.UnknownTopicID):
			// The topic was made anew, and the client would hold on to the old one for ever.
			f.client.PurgeTopicsFromProducing(dead.Topic)
		}
		if n == 1 {
			f.log.Error().Err(err).Str("topic", dead.Topic).Msg("dead letter could not be produced; offsets are not committed past it")
		}
		if pause(ctx, f.cfg.Backoff(n)) != nil {
			return false
		}
	}
}
