package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ksqlsource"
	"github.com/bugle-push/bugle/notifier/sqlledger"
)

// PreviewOptions say what to preview.
type PreviewOptions struct {
	// Rule is the rule's id.
	Rule string
	// Window is how far back a rule with a watermark reads. 0 means one hour.
	Window time.Duration
	// Limit is how many notifications are rendered; the others are counted. 0 means 10.
	Limit int
}

// PreviewRule runs a rule's query now and renders what it finds, without a
// running service. It sends nothing and writes nothing. What is known and whom
// it would reach is told where the configuration names a database that exists.
func PreviewRule(ctx context.Context, cfg config.Config, o PreviewOptions) (*notifier.Rule, notifier.Preview, error) {
	if o.Window == 0 {
		o.Window = time.Hour
	}
	rules, err := Rules(cfg)
	if err != nil {
		return nil, notifier.Preview{}, err
	}
	rule, ok := rules.Get(o.Rule)
	if !ok {
		var ids []string
		for _, r := range rules.All() {
			ids = append(ids, r.ID)
		}
		return nil, notifier.Preview{}, fault.Newf(fault.NotFound, "there is no rule %q, only %s", o.Rule, strings.Join(ids, ", "))
	}
	client, err := NewKSQLClient(cfg)
	if err != nil {
		return nil, notifier.Preview{}, err
	}
	defer client.Close()
	v := notifier.Previewer{Source: ksqlsource.New(client), OptIn: optIn(cfg)}
	db, err := existingDatabase(ctx, cfg)
	if err != nil {
		return nil, notifier.Preview{}, err
	}
	if db != nil {
		defer func() { _ = db.Close() }() // it was only read
		v.Ledger = sqlledger.New(db)
	}
	p, err := v.Preview(ctx, rule, notifier.PreviewRequest{Since: time.Now().Add(-o.Window), Limit: o.Limit})
	if err != nil && db != nil {
		err = fmt.Errorf("%w (is the database migrated? see bugle migrate status)", err)
	}
	return rule, p, err
}

// existingDatabase opens the database if one is configured and exists, else it
// returns nil: a preview creates nothing.
func existingDatabase(ctx context.Context, cfg config.Config) (*sqldb.DB, error) {
	file, ok := strings.CutPrefix(cfg.Database.URL, "sqlite:")
	if cfg.Database.URL == "" {
		return nil, nil
	}
	if !ok {
		return OpenDatabase(ctx, cfg)
	}
	if _, err := os.Stat(strings.TrimPrefix(file, "//")); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("open database: %w", err)
	}
	return OpenDatabase(ctx, cfg)
}
