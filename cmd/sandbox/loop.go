package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/book"
	"github.com/bugle-push/bugle/sandbox/page"
	"github.com/bugle-push/bugle/sandbox/racing"
	"github.com/bugle-push/bugle/sandbox/setup"
)

// How many users keep the app open: watchers watch odds all the time, as a page
// without an SDK does; seated ones are connected by Ably's SDK, and bet that way.
const (
	watchers = 12
	seated   = 6
)

// defaultStake is what a bet without a stake is taken for.
const defaultStake = "2.00"

// loop is where the racing world bets: on Ably, through the service into Kafka and
// the order book, whose odds come back on Ably.
type loop struct {
	kafka  *betting.Cluster
	market *betting.Market
	odds   *betting.OddsOracle
	bets   *betting.BetsOracle
	// world hears of the bets that the order book has decided. Set it before the
	// market runs.
	world *racing.World
	// cast sees the races, and hears what became of its bets. Set it before the
	// market runs.
	cast *cast
	// page shows the races to guests. Set it before the world runs.
	page *page.Server

	mu    sync.Mutex
	names map[string]string // of races
}

// newLoop starts a Kafka. Close it.
func newLoop(ctx context.Context, o options, kafkaAddr string) (*loop, error) {
	port, err := betting.PortOf(kafkaAddr)
	if err != nil {
		return nil, err
	}
	kafka, err := betting.StartCluster(ctx, betting.ClusterConfig{Port: port, Seed: o.seed, Faults: o.kafkaFaults()})
	if err != nil {
		return nil, err
	}
	return &loop{
		kafka: kafka, names: map[string]string{},
		odds: betting.NewOddsOracle(betting.OddsConfig{MaxAge: setup.OddsMaxAge}),
		bets: betting.NewBetsOracle(betting.BetsConfig{}),
	}, nil
}

// open opens the market on a running stand-in of Ably.
func (l *loop) open(o options, ablyURL string) error {
	stake, err := book.ParseMoney(defaultStake)
	if err != nil {
		return fmt.Errorf("default stake: %w", err)
	}
	cfg := betting.MarketConfig{
		Seed: o.seed, Broker: l.kafka.Broker(), AblyURL: ablyURL, DefaultStake: stake,
		Odds: l.odds, Bets: l.bets, OnBet: l.decided,
	}
	for i := range min(watchers, o.users) {
		user := fmt.Sprintf("user-%03d", i+1)
		cfg.Watchers = append(cfg.Watchers, user)
		if i < seated {
			cfg.Seated = append(cfg.Seated, user)
		}
	}
	l.market, err = betting.NewMarket(cfg)
	return err
}

// close ends what newLoop and open began.
func (l *loop) close() {
	if l.market != nil {
		l.market.Close()
	}
	l.kafka.Close()
}

// accepted takes what the Ably stand-in accepted to the oracles.
func (l *loop) accepted(m ably.Message) {
	got := betting.Message{Channel: m.Channel, ID: m.ID, Name: m.Name, ClientID: m.ClientID, Data: m.Data, At: m.At}
	l.odds.Accepted(got)
	l.bets.Accepted(got)
}

// decided takes what became of a bet to the world.
func (l *loop) decided(d betting.Decided) {
	l.cast.decided(d)
	p := racing.Placed{
		ID: d.ID, User: racing.UserID(d.User), Event: d.Event, Runner: d.Runner, Stake: d.Stake, Odds: d.Odds,
	}
	if d.Verdict == book.Accepted {
		l.world.Accepted(p)
		return
	}
	l.world.Rejected(racing.Rejection{
		Placed: p, EventName: d.EventName, Known: d.Known, OddsNow: d.Now, Reason: string(d.Reason), PlacedAt: d.PlacedAt,
	})
}

// Show implements racing.Market.
func (l *loop) Show(c racing.Card) {
	l.cast.shown(c)
	l.mu.Lock()
	l.names[c.ID] = c.Name
	l.mu.Unlock()
	r := betting.Race{Name: c.Name, Course: c.Course, Event: book.Event{ID: c.ID, Status: book.Status(c.Status), StartsAt: c.StartsAt}}
	for _, runner := range c.Runners {
		r.Runners = append(r.Runners, book.Runner{Name: runner.Name, Seed: seedOf(runner.Odds)})
	}
	l.market.Race(r)
	l.page.Show(onPage(c))
}

// seedOf is what the house stakes on a runner: the shorter its odds, the more.
func seedOf(o racing.Odds) book.Money { return book.Money(200_00 * 1000 / (1000 + int64(o))) }

// Bet implements racing.Market.
func (l *loop) Bet(user racing.UserID, event string, stake racing.Money, dice uint64) {
	l.market.Bet(betting.Intent{User: string(user), Event: event, Stake: stake, Dice: dice})
}

// Result implements racing.Market.
func (l *loop) Result(r racing.Result) {
	withdrawn := []string{}
	if r.Withdrawn != "" {
		withdrawn = append(withdrawn, r.Withdrawn)
	}
	l.market.Write(betting.TopicResults, r.Event, map[string]any{
		"winner": r.Winner, "withdrawn": withdrawn, "void": r.Void, "settled_at": r.At.UnixMilli(),
	}, time.Now())
	l.page.Result(r.Event, winners(r))
}

// Settled implements racing.Market.
func (l *loop) Settled(s racing.Settlement) {
	l.market.Write(betting.TopicSettlements, s.BetID, map[string]any{
		"user_id": s.User, "event_id": s.Event, "event_name": s.EventName, "runner": s.Runner,
		"stake": json.Number(s.Stake.String()), "odds": s.Odds.Float(), "payout": json.Number(s.Payout.String()),
		"currency": s.Currency, "outcome": s.Outcome, "settled_at": s.SettledAt.UnixMilli(),
	}, s.Recorded)
}

// Story implements racing.Market.
func (l *loop) Story(event string) []string {
	l.mu.Lock()
	name := l.names[event]
	l.mu.Unlock()
	if line := l.market.Story(event, name); line != "" {
		return []string{line}
	}
	return nil
}

// Forget implements racing.Market.
func (l *loop) Forget(event string) {
	l.market.Forget(event)
	l.kafka.Tidy()
	l.page.Forget(event)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.names, event)
}

// tokens are the users' tokens for Ably, from the service.
type tokens struct{ client *racing.Client }

// AblyToken implements betting.Tokens.
func (t tokens) AblyToken(ctx context.Context, user string) (string, error) {
	return t.client.AblyToken(ctx, racing.UserID(user))
}
