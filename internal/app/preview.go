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
)

// PreviewOptions say what to preview.
type PreviewOptions struct {
	// Rule is the rule's id.
	Rule string
	// Window is how far back a rule with a watermark reads. 0 means one hour.
	Window time.Duration
	// Limit is how many notifications are rendered; the others are counted. 0 means 10.
	Limit int
	// Now is the time of the imagined tick.
	Now time.Time
}

// Preview is what a rule would announce now.
type Preview struct {
	Rule    *notifier.Rule
	Window  notifier.Window
	Rows    int
	Shown   []PreviewNotification
	Bad     []string
	Expired int
	// Counted is false when no database was at hand to count devices in.
	Counted bool
}

// PreviewNotification is one notification as most devices would show it.
type PreviewNotification struct {
	Key, User, Variant, Category string
	Text                         notifier.Text
	ExpiresAt                    time.Time
	// Devices is how many active devices would get it, mutes and opt-ins considered.
	Devices int
}

// PreviewRule runs a rule's query now and renders what it finds. It sends
// nothing and writes nothing. Rows that were announced long ago are shown too:
// whether a row is news is known to the running service alone.
func PreviewRule(ctx context.Context, cfg config.Config, o PreviewOptions) (Preview, error) {
	if o.Window == 0 {
		o.Window = time.Hour
	}
	if o.Limit == 0 {
		o.Limit = 10
	}
	rules, err := Rules(cfg)
	if err != nil {
		return Preview{}, err
	}
	rule, ok := rules.Get(o.Rule)
	if !ok {
		var ids []string
		for _, r := range rules.All() {
			ids = append(ids, r.ID)
		}
		return Preview{}, fault.Newf(fault.NotFound, "there is no rule %q, only %s", o.Rule, strings.Join(ids, ", "))
	}
	client, err := newKSQLClient(cfg)
	if err != nil {
		return Preview{}, err
	}
	defer client.Close()
	audience, err := openAudience(ctx, cfg)
	if err != nil {
		return Preview{}, err
	}
	defer audience.close()

	p := Preview{
		Rule: rule, Counted: audience.db != nil,
		Window: notifier.Window{Now: o.Now, Since: o.Now.Add(-o.Window), Until: o.Now},
	}
	for row, err := range ksqlsource.New(client).Read(ctx, rule.Query, rule.Params(p.Window)) {
		if err != nil {
			return Preview{}, fmt.Errorf("preview rule %s: %w", rule.ID, err)
		}
		p.Rows++
		if err := p.add(ctx, row, o, audience); err != nil {
			return Preview{}, err
		}
	}
	return p, nil
}

// add renders one row. What is wrong with the row belongs to the preview.
func (p *Preview) add(ctx context.Context, row notifier.Row, o PreviewOptions, audience *audience) error {
	draft, err := p.Rule.Draft(row)
	if err == nil {
		err = p.Rule.Check(draft)
	}
	if err != nil {
		p.Bad = append(p.Bad, err.Error())
		return nil
	}
	expires := p.Rule.Expiry(draft, o.Now)
	if !expires.After(o.Now) {
		p.Expired++
		return nil
	}
	if len(p.Shown) >= o.Limit {
		return nil
	}
	text, err := p.Rule.Render(draft, notifier.RenderContext{Now: o.Now})
	if err != nil {
		p.Bad = append(p.Bad, err.Error())
		return nil
	}
	n := PreviewNotification{
		Key: draft.Key, User: string(draft.User), Variant: draft.Variant, Category: draft.Category, Text: text, ExpiresAt: expires,
	}
	if n.Devices, err = audience.count(ctx, p.Rule, draft); err != nil {
		return err
	}
	p.Shown = append(p.Shown, n)
	return nil
}

// audience counts devices, when there is a database to count in.
type audience struct {
	db    *sqldb.DB
	optIn map[string]bool
}

// openAudience opens the database if one is configured and exists: a preview
// creates nothing.
func openAudience(ctx context.Context, cfg config.Config) (*audience, error) {
	a := &audience{optIn: optIn(cfg)}
	file := strings.TrimPrefix(strings.TrimPrefix(cfg.Database.URL, "sqlite:"), "//")
	if file == "" {
		return a, nil
	}
	if _, err := os.Stat(file); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return a, nil
		}
		return nil, fmt.Errorf("open database: %w", err)
	}
	var err error
	if a.db, err = sqldb.Open(ctx, cfg.Database.URL); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *audience) close() {
	if a.db != nil {
		_ = a.db.Close() // it was only read
	}
}

// count returns how many devices would get a notification.
func (a *audience) count(ctx context.Context, rule *notifier.Rule, d notifier.Draft) (int, error) {
	if a.db == nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var (
		n     int
		query string
		args  []any
	)
	if rule.Audience.Kind == notifier.AudienceFollows {
		query = `SELECT COUNT(DISTINCT dl.device_id) FROM notifications n
			JOIN deliveries dl ON dl.notification_id = n.id JOIN devices d ON d.id = dl.device_id AND d.user_id = dl.user_id
			WHERE n.thread = $1 AND n.rule_id = $2 AND d.state = 'active' AND (dl.state IN ('sent', 'unconfirmed') OR dl.unknowns > 0)`
		args = []any{rule.Thread(d.Key), rule.Audience.Rule}
	} else {
		has := func(list string) string {
			return `EXISTS (SELECT 1 FROM ` + a.db.Dialect().Each("p."+list) + ` WHERE j.value = $2)`
		}
		query = `SELECT COUNT(*) FROM devices d LEFT JOIN preferences p ON p.user_id = d.user_id
			WHERE d.state = 'active' AND ($1 = '' OR d.user_id = $1) AND NOT ` + has("muted")
		if a.optIn[d.Category] {
			query += ` AND ` + has("opted_in")
		}
		args = []any{string(d.User), d.Category}
	}
	if err := a.db.SQL().QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count devices (is the database migrated? see bugle migrate status): %w", err)
	}
	return n, nil
}
