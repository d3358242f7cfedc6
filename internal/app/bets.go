package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/relay/ablytoken"
	"github.com/bugle-push/bugle/relay/bets"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

// ablyTokens makes what mints the apps' tokens for Ably; nil without a key.
func ablyTokens(cfg config.Config, metrics prometheus.Registerer) (api.AblyTokens, error) {
	key := cfg.Ably.TokenSecret()
	if key == "" {
		return nil, nil //nolint:nilnil // no tokens are what a service without a key has
	}
	issuer, err := ablytoken.New(ablytoken.Config{
		Key: key.Reveal(), TTL: time.Duration(cfg.Ably.TokenTTL), Odds: cfg.Ably.TokenOdds, Registerer: metrics,
	})
	if err != nil {
		return nil, err
	}
	return issuer, nil
}

// bets makes what takes bets in, when it is enabled: what takes webhooks, what
// knows who is in the app, and the checks for operators. An app's readiness does
// not ask for Kafka: without it bets wait in the database.
func (a *App) bets(
	cfg config.Config, db *sqldb.DB, owner string, registerer prometheus.Registerer, log zerolog.Logger,
) (api.Hook, api.PresenceReader, []api.Check, error) {
	if !cfg.Bets.Enabled {
		return nil, nil, nil, nil
	}
	signing := cfg.Bets.SigningKeys
	if signing == "" {
		signing = cfg.Ably.Key
	}
	keys, err := bets.ParseKeys(signing.Reveal())
	if err != nil {
		return nil, nil, nil, err
	}
	metrics, err := bets.NewMetrics(registerer)
	if err != nil {
		return nil, nil, nil, err
	}
	books := sqlrelay.NewBets(db)
	forwarder, err := bets.NewForwarder(bets.ForwarderConfig{
		Outbox: books, Cluster: kafkaCluster(cfg), Topic: cfg.Bets.Topic, DeadLetterTopic: cfg.Bets.DeadLetterTopic,
		Owner: owner, Metrics: metrics, Log: log,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	a.onStop("bets", forwarder.Close)
	receiver, err := bets.NewReceiver(bets.ReceiverConfig{
		Book: books, Keys: keys, DefaultStake: cfg.Bets.DefaultStake, AllowAnonymous: cfg.Bets.AllowAnonymous,
		Wake: forwarder.Wake, Metrics: metrics, Log: log,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	a.beside["bets forwarder"] = forwarder.Run
	a.beside["bets sweeper"] = bets.NewSweeper(books, metrics, log).Run
	return receiver, books, []api.Check{{Name: "bets", Do: forwarder.Check}}, nil
}
