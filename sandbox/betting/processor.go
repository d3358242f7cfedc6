package betting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/sandbox/book"
)

// suspendedHeader marks the snapshots of a race that takes no bets.
const suspendedHeader = "suspended"

// Race is a race as whoever enters the races tells of it.
type Race struct {
	book.Event
	Name, Course string
}

// Decided is what became of a bet from Kafka, the first time that it was read.
type Decided struct {
	book.Bet
	book.Decision
	// EventName is empty for an unknown race.
	EventName string
	// PlacedAt is when Ably took the bet.
	PlacedAt time.Time
	// Place is where the snapshot of the odds stands that an accepted bet made.
	Place Place
}

// ProcessorConfig configures a Processor.
type ProcessorConfig struct {
	// Broker is host:port of a Kafka with the topics of the loop.
	Broker string
	Book   book.Config
	// OnBet is called for every bet when it has been decided for the first time;
	// for an accepted one, when its odds stand in Kafka. It must not call the
	// processor. Nil is nobody.
	OnBet func(Decided)
}

// Processor stands in for ksqlDB's persistent queries of migrations/ksqldb: it
// reads the topic bets from its beginning, keeps a book, and writes the topic
// odds. What the owner of the races knows comes by Race and Write.
type Processor struct {
	cfg    ProcessorConfig
	client *kgo.Client

	mu   sync.Mutex
	book *book.Book
	name map[string]string // of races
	last map[string]book.Status

	progress progress

	// failed is the first record that could not be written. Not under mu, which
	// whoever produces holds.
	failed failure
}

// progress is how far the processor has come. It has a mutex of its own, because
// the Kafka client tells of what it wrote while somebody else holds the book.
type progress struct {
	mu      sync.Mutex
	bets    int              // records of bets that are done with
	pending int              // snapshots on their way to Kafka
	newest  map[string]Place // the newest snapshot in Kafka, by event
}

func (p *progress) change(do func(*progress)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do(p)
}

// failure keeps the first error.
type failure struct {
	mu  sync.Mutex
	err error
}

func (f *failure) keep(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// NewProcessor returns a processor with an empty book; it asks nothing yet. Close
// it.
func NewProcessor(cfg ProcessorConfig) (*Processor, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Broker), kgo.ClientID("sandbox-processor"), kgo.ProducerLinger(0), kgo.MetadataMinAge(metadataAge))
	if err != nil {
		return nil, fmt.Errorf("make producer: %w", err)
	}
	if cfg.OnBet == nil {
		cfg.OnBet = func(Decided) {}
	}
	return &Processor{cfg: cfg, client: client, book: book.New(cfg.Book), name: map[string]string{}, last: map[string]book.Status{}, progress: progress{newest: map[string]Place{}}}, nil
}

// Close gives up what has not been written. Call it when Run has returned.
func (p *Processor) Close() { p.client.Close() }

// Run reads bets until ctx ends, which is not an error.
func (p *Processor) Run(ctx context.Context) error {
	err := read(ctx, p.cfg.Broker, func(r *kgo.Record) { p.take(ctx, r) }, TopicBets)
	return errors.Join(err, p.failed.get())
}

// betRecord is the value of a record of the topic bets, as docs/relay.md has it.
type betRecord struct {
	ID            string      `json:"bet_id"`
	Event         string      `json:"event_id"`
	Runner        string      `json:"runner"`
	User          string      `json:"user_id"`
	Authenticated bool        `json:"authenticated"`
	Stake         json.Number `json:"stake"`
	Odds          json.Number `json:"odds"`
	PlacedAt      int64       `json:"placed_at"`
}

// readBet reads a record of the topic bets.
func readBet(r *kgo.Record) (book.Bet, time.Time, error) {
	var v betRecord
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return book.Bet{}, time.Time{}, fmt.Errorf("read bet: %w", err)
	}
	if v.ID == "" {
		return book.Bet{}, time.Time{}, errors.New("read bet: no id")
	}
	stake, err := book.ParseMoney(v.Stake.String())
	if err != nil {
		return book.Bet{}, time.Time{}, fmt.Errorf("read stake of bet %s: %w", v.ID, err)
	}
	odds, err := v.Odds.Float64()
	if err != nil {
		return book.Bet{}, time.Time{}, fmt.Errorf("read odds of bet %s: %w", v.ID, err)
	}
	return book.Bet{
		ID: v.ID, Event: v.Event, Runner: v.Runner, User: v.User, Stake: stake, Odds: book.RoundOdds(odds), Arrived: r.Timestamp,
	}, time.UnixMilli(v.PlacedAt), nil
}

// take decides about one bet, and writes the odds that it makes. What is no bet
// is passed over, as ksqlDB does; the oracle has seen it too.
func (p *Processor) take(ctx context.Context, r *kgo.Record) {
	done := func() { p.progress.change(func(p *progress) { p.bets++ }) }
	bet, placed, err := readBet(r)
	if err != nil {
		done()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := Decided{Bet: bet, Decision: p.book.Take(bet), EventName: p.name[bet.Event], PlacedAt: placed}
	switch d.Verdict {
	case book.Repeated:
		done()
	case book.Rejected:
		p.cfg.OnBet(d)
		done()
	case book.Accepted:
		p.snapshot(ctx, bet.Event, func(at Place) {
			d.Place = at
			p.cfg.OnBet(d)
			done()
		})
	}
}

// Race enters a race, or tells how it stands. The odds of one that takes no bets
// are marked as suspended.
func (p *Processor) Race(ctx context.Context, r Race) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.name[r.ID]
	p.name[r.ID] = r.Name
	p.book.Put(r.Event)
	now := time.Now()
	p.write(ctx, TopicRaces, r.ID, map[string]any{
		"name": r.Name, "course": r.Course, "starts_at": r.StartsAt.UnixMilli(), "status": r.Status,
	}, now)
	if !known {
		for _, runner := range r.Runners {
			p.write(ctx, TopicRunners, r.ID+"|"+runner.Name, map[string]any{
				"event_id": r.ID, "runner": runner.Name, "image_url": runner.ImageURL, "seed": json.Number(runner.Seed.String()),
			}, now)
		}
	}
	if p.last[r.ID] != r.Status {
		p.last[r.ID] = r.Status
		p.snapshot(ctx, r.ID, nil)
	}
}

// Forget removes a race from the book.
func (p *Processor) Forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.book.Forget(id)
	delete(p.name, id)
	delete(p.last, id)
	p.progress.change(func(p *progress) { delete(p.newest, id) })
}

// Write writes a record as JSON, in the order of the calls for one key. What
// cannot be written fails Run in the end.
func (p *Processor) Write(ctx context.Context, topic, key string, value any, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(ctx, topic, key, value, at)
}

// write is Write with p.mu held.
func (p *Processor) write(ctx context.Context, topic, key string, value any, at time.Time) {
	text, err := json.Marshal(value)
	if err != nil {
		p.failed.keep(fmt.Errorf("marshal record of %s: %w", topic, err))
		return
	}
	p.produce(ctx, &kgo.Record{Topic: topic, Key: []byte(key), Value: text, Timestamp: at}, nil)
}

// snapshot writes the odds of a race as they are. p.mu must be held, so that the
// order of the records is that of the book. done may be nil.
func (p *Processor) snapshot(ctx context.Context, event string, done func(Place)) {
	value, err := book.Encode(p.book.Snapshot(event))
	if err != nil {
		p.failed.keep(err)
		return
	}
	r := &kgo.Record{Topic: TopicOdds, Key: []byte(event), Value: value}
	if p.last[event] != book.Scheduled {
		r.Headers = []kgo.RecordHeader{{Key: suspendedHeader, Value: []byte("true")}}
	}
	p.progress.change(func(p *progress) { p.pending++ })
	p.produce(ctx, r, func(at Place) {
		if done != nil {
			done(at)
		}
		p.progress.change(func(p *progress) {
			p.pending--
			p.newest[event] = at
		})
	})
}

// produce writes a record, and calls done with its place. p.mu must be held.
func (p *Processor) produce(ctx context.Context, r *kgo.Record, done func(Place)) {
	p.client.Produce(context.WithoutCancel(ctx), r, func(r *kgo.Record, err error) {
		switch {
		case err != nil && !errors.Is(err, kgo.ErrClientClosed):
			p.failed.keep(fmt.Errorf("write record of %s: %w", r.Topic, err))
		case err == nil && done != nil:
			done(Place{r.Partition, r.Offset})
		}
	})
}
