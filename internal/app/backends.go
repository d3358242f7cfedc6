package app

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ablypush"
	"github.com/bugle-push/bugle/notifier/fcm"
)

// senders makes what sends pushes: FCM, and Ably when it has a key. With Ably
// comes the watcher of its push log, which retires dead targets.
func (a *App) senders(
	ctx context.Context, cfg config.Config, retirer ablypush.Retirer, metrics prometheus.Registerer, log zerolog.Logger,
) (map[devices.Provider]notifier.SenderConfig, error) {
	google, err := fcm.New(ctx, fcmConfig(cfg, metrics, log))
	if err != nil {
		return nil, err
	}
	a.onStop("fcm", google.Close)
	senders := map[devices.Provider]notifier.SenderConfig{
		devices.FCM: {Sender: google, RatePerSecond: cfg.FCM.Rate, InFlight: cfg.FCM.InFlight},
	}
	if !cfg.Ably.Enabled() {
		return senders, nil
	}
	key := devices.Secret(cfg.Ably.Key.Reveal())
	sender, err := ablypush.New(ctx, ablypush.Config{
		Key: key, URL: cfg.Ably.URL, MaxInFlight: 2 * cfg.Ably.InFlight, Registerer: metrics, Log: log,
	})
	if err != nil {
		return nil, err
	}
	a.onStop("ably", sender.Close)
	watcher, err := ablypush.NewWatcher(ablypush.WatcherConfig{
		Key: key, URL: cfg.Ably.URL, Retirer: retirer, Registerer: metrics, Log: log,
	})
	if err != nil {
		return nil, err
	}
	a.beside["ably push log"] = watcher.Run
	senders[devices.Ably] = notifier.SenderConfig{Sender: sender, RatePerSecond: cfg.Ably.Rate, InFlight: cfg.Ably.InFlight}
	return senders, nil
}

// authenticator makes what verifies the apps' tokens, with the checks of what it
// depends on. Those are the operators' to see: without an issuer the keys that
// are known go on.
func (a *App) authenticator(cfg config.Config, log zerolog.Logger) (api.Authenticator, []api.Check, error) {
	if cfg.Auth.JWKSURL == "" {
		auth, err := api.NewHS256(api.HS256Config{
			Secret: []byte(cfg.Auth.Secret.Reveal()), Issuer: cfg.Auth.Issuer, Audience: cfg.Auth.Audience,
		})
		return auth, nil, err
	}
	auth, err := newJWKS(cfg, log)
	if err != nil {
		return nil, nil, err
	}
	a.beside["jwks"] = auth.Run
	return auth, []api.Check{{Name: "jwks", Do: auth.Check}}, nil
}

func newJWKS(cfg config.Config, log zerolog.Logger) (*api.JWKS, error) {
	return api.NewJWKS(api.JWKSConfig{
		URL: cfg.Auth.JWKSURL, Issuer: cfg.Auth.Issuer, Audience: cfg.Auth.Audience, AllowInsecure: cfg.Env == config.Dev, Log: log,
	})
}

// limit is a limit of the configuration, where 0 means none, as the API takes it.
func limit(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// NewKSQLClient returns a client of the configured ksqlDB. It does not connect.
func NewKSQLClient(cfg config.Config) (*ksqlclient.Client, error) {
	client, err := ksqlclient.New(ksqlclient.Config{
		URL: cfg.KSQLDB.URL, Username: cfg.KSQLDB.Username, Password: ksqlclient.Secret(cfg.KSQLDB.Password.Reveal()),
		CA: cfg.KSQLDB.CA, UserAgent: "bugle/" + Version(),
	})
	if err != nil {
		return nil, fmt.Errorf("make ksqldb client: %w", err)
	}
	return client, nil
}

func fcmConfig(cfg config.Config, metrics prometheus.Registerer, log zerolog.Logger) fcm.Config {
	c := fcm.Config{
		ProjectID: cfg.FCM.ProjectID, URL: cfg.FCM.URL, Registerer: metrics, Log: log,
		// The lanes of both urgencies share the sender.
		MaxInFlight: 2 * cfg.FCM.InFlight,
	}
	if cfg.FCM.CredentialsFile != "" {
		c.CredentialsFile = cfg.FCM.CredentialsFile // read again at each token, so that a rotated key is taken
	} else {
		c.CredentialsJSON = []byte(cfg.FCM.Credentials.Reveal())
	}
	return c
}

func optIn(cfg config.Config) map[string]bool {
	out := make(map[string]bool, len(cfg.Categories))
	for name, c := range cfg.Categories {
		out[name] = c.OptIn
	}
	return out
}

// loud lists the classes that do not care for quiet hours.
func loud(cfg config.Config) map[notifier.Class]bool {
	out := make(map[notifier.Class]bool, len(cfg.QuietHours.Loud))
	for _, class := range cfg.QuietHours.Loud {
		out[notifier.Class(class)] = true
	}
	return out
}

// spread is that of quiet hours; for the notifier zero means the default.
func spread(cfg config.Config) time.Duration {
	if cfg.QuietHours.Spread == 0 {
		return -1
	}
	return time.Duration(cfg.QuietHours.Spread)
}

// frequencyCaps are the caps as the notifier knows them.
func frequencyCaps(cfg config.Config) notifier.FrequencyCaps {
	out := make(notifier.FrequencyCaps, len(cfg.FrequencyCaps))
	for i, f := range cfg.FrequencyCaps {
		out[i] = notifier.FrequencyCap{Category: f.Category, Limit: f.Limit, Window: time.Duration(f.Per), Over: notifier.FrequencyOver(f.Over)}
		for _, class := range f.Classes {
			out[i].Classes = append(out[i].Classes, notifier.Class(class))
		}
	}
	return out
}

// suppressionImport is the import as the notifier knows it; nil when there is none.
func suppressionImport(cfg config.Config) (*notifier.ImportQuery, error) {
	c := cfg.Suppressions.Import
	if !c.Enabled() {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	q, err := notifier.CompileImport(c.Schedule, c.Query, c.MaxLifted)
	if err != nil {
		return nil, fmt.Errorf("suppressions.import: %w", err)
	}
	return q, nil
}

// importer makes what imports suppressions, with its check: operators must see
// when the list is not kept up to date.
func (a *App) importer(
	cfg config.Config, source notifier.Source, ledger notifier.ImportLedger, owner string, metrics prometheus.Registerer, log zerolog.Logger,
) ([]api.Check, error) {
	q, err := suppressionImport(cfg)
	if err != nil || q == nil {
		return nil, err
	}
	i := notifier.NewImporter(q, source, ledger, owner, metrics, log)
	a.beside["suppression import"] = i.Run
	return []api.Check{{Name: "suppression import", Do: i.Check}}, nil
}
