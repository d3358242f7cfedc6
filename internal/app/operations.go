package app

import (
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/sqlledger"
	"github.com/bugle-push/bugle/relay/sqlrelay"
)

// operations are what operators work with on the admin listener.
func (a *App) operations(
	cfg config.Config, db *sqldb.DB, ledger *sqlledger.Ledger, registry *sqldevices.Registry,
	senders map[devices.Provider]notifier.SenderConfig, log zerolog.Logger,
) (*api.Operations, error) {
	tokens, err := api.NewAdminTokens(cfg.Admin.TokensFile, log)
	if err != nil {
		return nil, err
	}
	control, err := notifier.NewControl(notifier.ControlConfig{Notifier: a.notifier, Ledger: ledger, Log: log})
	if err != nil {
		return nil, err
	}
	bare := make(map[devices.Provider]notifier.Sender, len(senders))
	for name, s := range senders {
		bare[name] = s.Sender
	}
	trial := notifier.TesterConfig{Devices: registry, Senders: bare, Audit: ledger, Suppressions: ledger, Stops: ledger, Log: log}
	if cfg.Suppressions.Import.Enabled() {
		trial.Imports = ledger
	}
	tester, err := notifier.NewTester(trial)
	if err != nil {
		return nil, err
	}
	explainer, err := a.notifier.Explainer(ledger, registry)
	if err != nil {
		return nil, err
	}
	return &api.Operations{
		Tokens: tokens, Rules: control, RuleControl: control, Runs: ledger, RunControl: control, Deliveries: ledger,
		Requeue: control, BadRows: ledger, Explain: explainer,
		// What stands in the books of bets is there whether or not bets are still taken.
		Users:   notifier.UserData{Devices: registry, Stores: []notifier.UserStore{ledger, registry, sqlrelay.NewBets(db)}, Audit: ledger},
		Devices: registry, DeviceControl: registry, TestSend: tester, Audit: ledger, Replicas: ledger,
		Suppressions: ledger, Sending: control,
	}, nil
}
