package app

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/relay"
)

// decoder makes what decodes values in Confluent's wire format, or nil without
// a Schema Registry.
func (a *App) decoder(cfg config.Config, metrics prometheus.Registerer) (relay.Decoder, error) {
	s := cfg.Kafka.SchemaRegistry
	if !s.Enabled() {
		return nil, nil //nolint:nilnil // none is what a relay without a registry takes
	}
	registry, err := relay.NewRegistry(relay.RegistryConfig{
		URL: s.URL, Username: s.Username, Password: s.Password.Reveal(), TLS: trusting(s.CA), Registerer: metrics,
	})
	if err != nil {
		return nil, err
	}
	a.onStop("schema registry", func(context.Context) error { registry.Close(); return nil })
	return registry, nil
}

// odds makes the board and what fills it, when there is a topic. What it returns
// are the API's part of it, and checks for operators: a replica that is behind
// still activates devices.
func (a *App) odds(cfg config.Config, decoder relay.Decoder, metrics prometheus.Registerer, log zerolog.Logger) (api.OddsConfig, []api.Check, error) {
	if !cfg.Odds.Enabled() {
		return api.OddsConfig{}, nil, nil
	}
	var err error
	a.board, err = relay.NewBoard(relay.BoardConfig{
		MaxEvents: cfg.Odds.MaxEvents, MaxStreams: cfg.Odds.MaxStreams, ExpireAfter: time.Duration(cfg.Odds.ExpireAfter), Registerer: metrics,
	})
	if err != nil {
		return api.OddsConfig{}, nil, fmt.Errorf("make board of odds: %w", err)
	}
	watch, err := relay.NewWatch(relay.WatchConfig{
		Cluster: kafkaCluster(cfg), Topic: cfg.Odds.Topic, Board: a.board, Decoder: decoder, Log: log, Registerer: metrics,
	})
	if err != nil {
		return api.OddsConfig{}, nil, fmt.Errorf("make watch of odds: %w", err)
	}
	a.beside["odds"] = watch.Run
	perAddress := max(api.DefaultStreamsPerAddress, cfg.Odds.MaxStreams/10)
	return api.OddsConfig{Board: a.board, Public: cfg.Odds.Public, PerAddress: perAddress}, []api.Check{{Name: "odds", Do: watch.Check}}, nil
}
