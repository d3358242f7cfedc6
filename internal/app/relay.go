package app

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/relay"
	"github.com/bugle-push/bugle/relay/ablyfeed"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

// feed makes what relays odds from Kafka to Ably, when there are topics to
// relay. What it returns are checks for operators.
func (a *App) feed(cfg config.Config, db *sqldb.DB, decoder relay.Decoder, metrics prometheus.Registerer, log zerolog.Logger) ([]api.Check, error) {
	if len(cfg.Relay) == 0 {
		return nil, nil
	}
	routes, err := routes(cfg)
	if err != nil {
		return nil, err
	}
	// Enough that a request that takes a quarter of a second does not keep the rate down.
	inFlight := max(64, int(cfg.Ably.RequestRate/4))
	publisher, err := ablyfeed.New(ablyfeed.Config{Key: cfg.Ably.Key.Reveal(), URL: cfg.Ably.URL, MaxInFlight: inFlight})
	if err != nil {
		return nil, err
	}
	a.onStop("ably feed", publisher.Close)
	progress := sqlrelay.NewProgress(db)
	feed, err := relay.NewFeed(relay.FeedConfig{
		Cluster: kafkaCluster(cfg), Group: cfg.Kafka.Group, Routes: routes,
		Publisher: publisher, Progress: progress, Decoder: decoder,
		ChannelRate: cfg.Ably.ChannelRate, MessageRate: cfg.Ably.MessageRate, RequestRate: cfg.Ably.RequestRate,
		InFlight: inFlight, MaxMessageBytes: cfg.Ably.MaxMessageBytes, Log: log, Registerer: metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("make relay: %w", err)
	}
	a.beside["relay"] = feed.Run
	a.beside["relay sweeper"] = relay.NewSweeper(progress, log).Run
	return []api.Check{{Name: "relay", Do: feed.Check}}, nil
}

func routes(cfg config.Config) ([]relay.Route, error) {
	out := make([]relay.Route, 0, len(cfg.Relay))
	for i, r := range cfg.Relay {
		channel, err := relay.ParseChannelTemplate(r.Channel)
		if err != nil {
			return nil, fmt.Errorf("relay[%d].channel: %w", i, err)
		}
		name, err := relay.ParseTemplate(r.Name)
		if err != nil {
			return nil, fmt.Errorf("relay[%d].name: %w", i, err)
		}
		suspended, err := relay.ParseSuspension(r.Suspended)
		if err != nil {
			return nil, fmt.Errorf("relay[%d].suspended: %w", i, err)
		}
		out = append(out, relay.Route{
			Topic: r.Topic, Channel: channel, Name: name, Conflate: r.Conflates(), MaxAge: time.Duration(r.MaxAge),
			Headers: r.Headers, Suspended: suspended, DeadLetter: r.DeadLetter,
		})
	}
	return out, nil
}
