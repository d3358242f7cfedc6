package bets

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers of dead letters.
const (
	headerReason  = "bugle-reason"
	headerChannel = "bugle-channel"
	headerMessage = "bugle-message-id"
	headerSize    = "bugle-size"
)

// lane produces the rows of one kind, one batch after the other.
type lane struct {
	kind    Kind
	topic   string
	client  *kgo.Client
	outbox  Outbox
	owner   string
	lease   time.Duration
	poll    time.Duration
	woken   chan struct{}
	metrics *Metrics
	log     zerolog.Logger

	mu      sync.Mutex
	since   time.Time // when the batch that is on its way began; zero for none
	failing error     // of the last batch
}

func (l *lane) run(ctx context.Context) {
	pause := leastPause
	for ctx.Err() == nil {
		n, err := l.step(ctx)
		l.note(ctx, err)
		wait := l.poll
		switch {
		case err != nil:
			wait = pause/2 + rand.N(pause/2)
			pause = min(2*pause, mostPause)
		case n > 0:
			pause = leastPause
			continue
		default:
			pause = leastPause
		}
		woken := l.woken
		if err != nil {
			woken = nil // news does not mend a failure
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-woken:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// note keeps what is wrong for the check, and logs each change of it.
func (l *lane) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	before := l.failing
	l.failing = err
	l.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		l.log.Warn().Err(err).Msg("bets do not get to Kafka; they wait in the database")
	case err == nil && before != nil:
		l.log.Info().Msg("bets get to Kafka again")
	}
}

// trouble is why nothing gets to Kafka, empty when it does.
func (l *lane) trouble(now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.failing != nil:
		return fmt.Sprintf("topic %s: %s", l.topic, l.failing)
	case !l.since.IsZero() && now.Sub(l.since) > slowAfter:
		return fmt.Sprintf("topic %s: Kafka has not acknowledged a record for %s", l.topic, now.Sub(l.since).Truncate(time.Second))
	}
	return ""
}

// step claims, produces and notes one batch. It returns how many rows it claimed.
func (l *lane) step(ctx context.Context) (int, error) {
	ask, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	waiting, err := l.outbox.Waiting(ask, l.kind)
	if err != nil || !waiting {
		return 0, err
	}
	claims, err := l.outbox.Claim(ask, ClaimRequest{Kind: l.kind, Owner: l.owner, Limit: batchRows, Lease: l.lease})
	if err != nil || len(claims) == 0 {
		return 0, err
	}
	l.underWay(time.Now())
	defer l.underWay(time.Time{})
	return len(claims), l.forward(ctx, claims)
}

func (l *lane) underWay(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = since
}

// result is what became of the record of one claim.
type result struct {
	at  int
	err error
}

// forward produces the claims in their order and notes the results.
func (l *lane) forward(ctx context.Context, claims []Claimed) error {
	began := time.Now()
	results := make(chan result, len(claims)) // a promise never waits, even after nobody listens
	// Not ctx: a record that is taken back may be in Kafka all the same.
	hold := context.WithoutCancel(ctx)
	for i, c := range claims {
		l.client.Produce(hold, l.record(c), func(_ *kgo.Record, err error) { results <- result{i, err} })
	}
	var done, again, poison []Claimed
	var failure error
	renew := time.NewTicker(l.lease / 3)
	defer renew.Stop()
	end := ctx.Done()
	var giveUp <-chan time.Time
	for open := len(claims); open > 0; {
		select {
		case r := <-results:
			open--
			c := claims[r.at]
			switch {
			case r.err == nil:
				done = append(done, c)
				l.metrics.latency.WithLabelValues(string(l.kind)).Observe((c.Waited + time.Since(began)).Seconds())
			case isPoison(r.err):
				poison = append(poison, c)
			default:
				again = append(again, c)
				failure = r.err
			}
		case <-renew.C:
			l.renew(hold)
		case <-end:
			end = nil
			giveUp = time.After(flightTimeout)
		case <-giveUp:
			open = 0
			failure = errEnding
		}
	}
	if errors.Is(failure, kerr.UnknownTopicID) {
		// The topic was made anew, and the client would hold on to the old one for ever.
		l.client.PurgeTopicsFromProducing(l.topic)
	}
	l.metrics.produced.WithLabelValues(string(l.kind)).Add(float64(len(done)))
	l.metrics.failures.WithLabelValues(string(l.kind)).Add(float64(len(again) + len(poison)))
	l.keep(ctx, done, again, poison)
	return failure
}

func (l *lane) renew(ctx context.Context) {
	ask, cancel := context.WithTimeout(ctx, l.lease/3)
	defer cancel()
	if err := l.outbox.Renew(ask, l.kind, l.owner, l.lease); err != nil {
		l.log.Debug().Err(err).Msg("leases not renewed")
	}
}

// keep notes results until the database takes them: as long as it does not,
// nothing else can be done either.
func (l *lane) keep(ctx context.Context, done, again, poison []Claimed) {
	hold := context.WithoutCancel(ctx)
	pause := leastPause
	var ended time.Time
	for {
		err := l.write(hold, done, again, poison)
		if err == nil {
			return
		}
		l.log.Debug().Err(err).Msg("results not noted yet")
		l.mu.Lock()
		l.failing = fmt.Errorf("note what was produced: %w", err)
		l.mu.Unlock()
		if ctx.Err() != nil {
			if ended.IsZero() {
				ended = time.Now()
			}
			if time.Since(ended) > endTimeout {
				l.log.Warn().Err(err).Int("count", len(done)).Msg("records were produced and could not be noted: they will be produced again")
				return
			}
		}
		time.Sleep(pause/2 + rand.N(pause/2))
		pause = min(2*pause, mostPause, l.lease/3)
	}
}

func (l *lane) write(ctx context.Context, done, again, poison []Claimed) error {
	ask, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if len(done) > 0 {
		lost, err := l.outbox.Produced(ask, done)
		if err != nil {
			return err
		}
		l.metrics.lost.Add(float64(lost))
	}
	if len(poison) > 0 {
		var err error
		if l.kind == KindBet {
			err = l.outbox.Bury(ask, poison, ReasonKafka)
		} else {
			// Its own data is what Kafka does not take: the rest of it must do.
			_, err = l.outbox.Produced(ask, poison)
			l.log.Error().Int("count", len(poison)).Msg("dead letters dropped that Kafka never takes")
		}
		if err != nil {
			return err
		}
	}
	if len(again) > 0 {
		return l.outbox.Release(ask, again)
	}
	return nil
}

// isPoison tells an error that a record will meet each time. Everything else is
// about the topic or the cluster, and passes when that is mended.
func isPoison(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) || errors.Is(err, kerr.InvalidRecord)
}

func (l *lane) record(c Claimed) *kgo.Record {
	r := &kgo.Record{Topic: l.topic, Key: []byte(c.MessageID), Value: c.Value}
	if l.kind == KindDead {
		r.Headers = []kgo.RecordHeader{
			{Key: headerReason, Value: []byte(c.Reason)},
			{Key: headerChannel, Value: []byte(c.Channel)},
			{Key: headerMessage, Value: []byte(c.MessageID)},
			{Key: headerSize, Value: strconv.AppendInt(nil, int64(c.Size), 10)},
		}
	}
	return r
}
