package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/book"
	"github.com/bugle-push/bugle/sandbox/racing"
)

const (
	// oddsMaxAge is how old odds may be when they are published: longer than any
	// fault keeps them.
	oddsMaxAge = 5 * time.Minute
	// defaultStake is what a bet without a stake is taken for.
	defaultStake = "2.00"
	// seats is how many users are connected to Ably by its SDK all the time.
	seats = 3
	// The webhook of the Ably stand-in: what signs it, how often it posts, and how
	// long it waits for an answer. Ably itself posts once a second.
	hookKey     = "root"
	hookEvery   = 250 * time.Millisecond
	hookTimeout = 5 * time.Second
)

// loop is the way between Ably and Kafka: users bet on Ably, the replicas bring
// the bets to Kafka, a processor makes odds of them, and the replicas relay these
// to Ably. Two oracles hear what went in and what came out.
type loop struct {
	kafka  *betting.Cluster
	market *betting.Market
	odds   *betting.OddsOracle
	bets   *betting.BetsOracle
	// counted are the bets that the processor has decided for the first time: what
	// bets_unique would hold.
	counted atomic.Int64

	stop    context.CancelFunc
	ended   chan error
	stopped bool
}

// newLoop starts a Kafka. Close it.
func newLoop(ctx context.Context, seed uint64) (*loop, error) {
	kafka, err := betting.StartCluster(ctx, betting.ClusterConfig{Seed: seed})
	if err != nil {
		return nil, err
	}
	return &loop{
		kafka: kafka,
		odds:  betting.NewOddsOracle(betting.OddsConfig{MaxAge: oddsMaxAge}),
		bets:  betting.NewBetsOracle(betting.BetsConfig{}),
	}, nil
}

// accepted takes what the Ably stand-in accepted to the oracles.
func (l *loop) accepted(m ably.Message) {
	got := betting.Message{Channel: m.Channel, ID: m.ID, Name: m.Name, ClientID: m.ClientID, Data: m.Data, At: m.At}
	l.odds.Accepted(got)
	l.bets.Accepted(got)
}

// open opens the market, when the replicas can be reached.
func (l *loop) open(ctx context.Context, seed uint64, ablyURL string, users []racing.UserID, client *racing.Client) error {
	stake, err := book.ParseMoney(defaultStake)
	if err != nil {
		return fmt.Errorf("default stake: %w", err)
	}
	cfg := betting.MarketConfig{
		Seed: seed, Broker: l.kafka.Broker(), AblyURL: ablyURL, DefaultStake: stake, Odds: l.odds, Bets: l.bets,
		OnBet: func(betting.Decided) { l.counted.Add(1) },
	}
	for _, user := range users[:seats] {
		cfg.Seated = append(cfg.Seated, string(user))
	}
	if l.market, err = betting.NewMarket(cfg); err != nil {
		return err
	}
	trading, stop := context.WithCancel(ctx)
	l.stop, l.ended = stop, make(chan error, 1)
	go func() { l.ended <- l.market.Run(trading, tokens{client}) }()
	return nil
}

// end ends the market, and returns what went wrong with it.
func (l *loop) end() error {
	if l.stop == nil || l.stopped {
		return nil
	}
	l.stopped = true
	l.stop()
	if err := <-l.ended; err != nil {
		return fmt.Errorf("run market: %w", err)
	}
	return nil
}

// close ends everything.
func (l *loop) close() error {
	err := l.end()
	if l.market != nil {
		l.market.Close()
	}
	l.kafka.Close()
	return err
}

// outstanding counts what is on its way between Ably and Kafka.
func (l *loop) outstanding() int {
	select {
	case err := <-l.ended: // nobody reads or decides any more
		l.ended <- errors.Join(errors.New("the market ended before its time"), err)
		return 0
	default:
		return l.market.Outstanding()
	}
}

// tokens are the users' tokens for Ably, from the replicas.
type tokens struct{ client *racing.Client }

// AblyToken implements betting.Tokens.
func (t tokens) AblyToken(ctx context.Context, user string) (string, error) {
	return t.client.AblyToken(ctx, racing.UserID(user))
}
