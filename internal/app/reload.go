package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

const (
	// settleFor is how long a file must be left alone before it is read: whoever
	// writes in place has then finished.
	settleFor = 500 * time.Millisecond
	// lookEvery is how often files are compared without being told: not every
	// file system tells.
	lookEvery = time.Minute
)

// The outcomes of a reload.
const (
	reloadReplaced  = "replaced"
	reloadUnchanged = "unchanged"
	reloadRefused   = "refused"
)

// reloader puts changed rules in force: all of them, or none when anything about
// them is wrong.
type reloader struct {
	cfg     config.Config                // as the service was started with
	replace func(*notifier.RuleSet) bool // set before the first reload
	count   *prometheus.CounterVec
	log     zerolog.Logger
	files   []string // that the rules come from
	last    []byte   // the fingerprint of the files when they were last looked at

	mu sync.Mutex // one reload at a time
}

func newReloader(cfg config.Config, metrics prometheus.Registerer, log zerolog.Logger) (*reloader, error) {
	r := &reloader{
		cfg: cfg, log: log.With().Str("component", "reloader").Logger(),
		count: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_rules_reloads_total", Help: "Reloads of the rules by outcome: replaced, unchanged, refused (something is wrong with them; the old ones go on).",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{reloadReplaced, reloadUnchanged, reloadRefused} {
		r.count.WithLabelValues(outcome)
	}
	if err := metrics.Register(r.count); err != nil {
		return nil, fmt.Errorf("register metrics of reloads: %w", err)
	}
	if cfg.RulesFile != "" {
		r.files = append(r.files, cfg.RulesFile)
	}
	if cfg.Origin != nil {
		r.files = append(r.files, cfg.Origin.File)
	}
	r.last = r.fingerprint()
	return r, nil
}

// Reload reads the rules again, with the configuration file when there is one,
// and puts them in force as a whole. When anything is wrong with them, or when
// they need more than rules to change, the error says so and the old ones go on.
func (a *App) Reload(context.Context) error { return a.reloader.reload() }

func (r *reloader) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	set, err := r.read()
	if err != nil {
		r.count.WithLabelValues(reloadRefused).Inc()
		event := r.log.Error().Err(err)
		if fe, ok := errors.AsType[*fault.Error](err); ok {
			fields := make([]string, len(fe.Fields))
			for i, f := range fe.Fields {
				fields[i] = f.Path + ": " + f.Message
			}
			event = r.log.Error().Str("error", fe.Message).Strs("fields", fields)
		}
		event.Msg("rules refused; the old ones go on")
		return fmt.Errorf("reload rules: %w", err)
	}
	if !r.replace(set) {
		r.count.WithLabelValues(reloadUnchanged).Inc()
		r.log.Info().Str("generation", set.Generation()).Msg("rules read again; nothing has changed")
		return nil
	}
	r.count.WithLabelValues(reloadReplaced).Inc()
	r.log.Info().Int("rules", len(set.All())).Str("generation", set.Generation()).Msg("rules replaced")
	return nil
}

// read compiles the rules as they stand now.
func (r *reloader) read() (*notifier.RuleSet, error) {
	cfg := r.cfg
	if cfg.Origin != nil {
		var err error
		if cfg, err = config.Load(*cfg.Origin); err != nil {
			return nil, err
		}
	}
	set, err := Rules(cfg)
	if err != nil {
		return nil, err
	}
	// The gates keep the categories that the service was started with. A rule must
	// not begin before the opt-in that it was written with.
	if !maps.Equal(cfg.Categories, r.cfg.Categories) {
		return nil, fault.InvalidFields("the rules cannot be replaced without a restart", fault.Field{
			Path: "categories (BUGLE_CATEGORIES)", Message: "have changed since the start: restart to put them in force",
		})
	}
	if cfg.RulesFile != r.cfg.RulesFile {
		return nil, fault.InvalidFields("the rules cannot be replaced without a restart", fault.Field{
			Path: "rules_file (BUGLE_RULES_FILE)", Message: "names another file since the start: restart to put it in force",
		})
	}
	return set, nil
}

// run reloads when a file that the rules come from has changed, until ctx ends.
// Whole folders are watched, because editors and Kubernetes replace files
// instead of writing them.
func (r *reloader) run(ctx context.Context) error {
	if len(r.files) == 0 {
		return nil
	}
	var (
		events chan fsnotify.Event // nil when nobody tells
		errs   chan error
	)
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		r.log.Warn().Err(err).Msg("files cannot be watched; they are compared every minute")
	} else {
		defer watcher.Close() //nolint:errcheck // nothing depends on it any more
		events, errs = watcher.Events, watcher.Errors
		for _, folder := range folders(r.files) {
			if err := watcher.Add(folder); err != nil {
				r.log.Warn().Err(err).Str("folder", folder).Msg("folder cannot be watched; its files are compared every minute")
			}
		}
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	settled := time.NewTimer(0)
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			settled.Reset(settleFor)
			continue
		case err := <-errs:
			r.log.Debug().Err(err).Msg("file watcher")
			settled.Reset(settleFor)
			continue
		case <-look.C:
		case <-settled.C:
		}
		if now := r.fingerprint(); !bytes.Equal(now, r.last) {
			r.last = now
			_ = r.reload() // it has logged and counted what came of it
		}
	}
}

// fingerprint is a hash over what the files contain; one that cannot be read
// counts as what keeps it from being read.
func (r *reloader) fingerprint() []byte {
	h := sha256.New()
	for _, name := range r.files {
		text, err := os.ReadFile(name)
		fmt.Fprintf(h, "%d %v\n", len(text), err)
		h.Write(text)
	}
	return h.Sum(nil)
}

func folders(files []string) []string {
	var out []string
	for _, f := range files {
		out = append(out, filepath.Dir(f))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
