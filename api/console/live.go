package console

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"regexp"
	"sync"

	"github.com/rs/zerolog"
)

// livePath is where the part of the overview that changes is once, and
// streamPath where it is followed. Neither keeps a session alive.
const (
	livePath   = "/live"
	streamPath = "/live/stream"
)

// livePart is one part of the overview, drawn. It is replaced as a whole.
type livePart struct {
	// ID is that of its element, without the prefix "live-".
	ID string `json:"id"`
	// Class is how it stands in the grid.
	Class string        `json:"class"`
	HTML  template.HTML `json:"html"`
	// same is equal for parts that differ in nothing but what the script keeps true by itself.
	same string
}

// relativeText is what the script renews every second.
var relativeText = regexp.MustCompile(` data-rel>[^<]*<`)

// parts draws all that changes, in the order of the page.
func (c *Console) parts(view overviewView) ([]livePart, error) {
	var out []livePart
	draw := func(id, class, name string, data any) error {
		var buf bytes.Buffer
		if err := c.pages["overview"].ExecuteTemplate(&buf, "live-"+name, data); err != nil {
			return fmt.Errorf("draw %s: %w", id, err)
		}
		html := buf.String()
		out = append(out, livePart{
			ID: id, Class: class, HTML: template.HTML(html), //nolint:gosec // made by a template of ours, which has escaped what is in it
			same: relativeText.ReplaceAllString(html, ">"),
		})
		return nil
	}
	err := draw("notices", "wide", "notices", view)
	if err == nil {
		err = draw("tiles", "half tiles two", "tiles", view)
	}
	if err == nil {
		err = draw("troubles", "half card troubles", "troubles", view)
	}
	for _, chart := range view.Charts {
		if err == nil {
			err = draw("chart-"+chart.ID, "third card chart chart-"+chart.ID, "chart", chart)
		}
	}
	for _, p := range []struct{ name, class string }{
		{"providers", "half card"}, {"checks", "half card"}, {"queue", "half card"}, {"held", "half card"}, {"rules", "wide card"}, {"replicas", "wide card"},
	} {
		if err == nil {
			err = draw(p.name, p.class, p.name, view)
		}
	}
	return out, err
}

// picture is how everything stood at one moment. It is not changed any more.
type picture struct{ parts []livePart }

// watch is a picture that is drawn again and again, once for all who look, while
// anybody does.
type watch struct {
	// wanted says that a picture should be drawn.
	wanted chan struct{}

	mu      sync.Mutex
	running bool
	lookers int
	newest  *picture
	// changed is closed when there is a newer picture, or no more.
	changed chan struct{}
}

func newWatch() *watch {
	return &watch{wanted: make(chan struct{}, 1), changed: make(chan struct{})}
}

// due asks for a picture.
func (w *watch) due() {
	select {
	case w.wanted <- struct{}{}:
	default: // it is wanted already
	}
}

// enter counts somebody who looks until leave is called. ok is false when no
// pictures are drawn.
func (w *watch) enter() (leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		return nil, false
	}
	w.lookers++
	if w.newest == nil {
		w.due()
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.lookers--; w.lookers == 0 {
			w.newest = nil // the next to come is not shown an old one
		}
	}, true
}

// look returns the newest picture, nil when there is none yet, and what is closed
// when that is not true any more. running is false when it was the last.
func (w *watch) look() (newest *picture, changed <-chan struct{}, running bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest, w.changed, w.running
}

func (w *watch) watched() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lookers > 0
}

func (w *watch) show(p *picture) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lookers > 0 {
		w.newest = p
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *watch) run(running bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = running
	close(w.changed)
	w.changed = make(chan struct{})
}

// Run takes the samples that charts are made of, and renews the overview of those
// who follow it, until ctx ends; then it ends their streams. Without it pages
// have no charts and are renewed by asking. It returns nil. It must run once.
func (c *Console) Run(ctx context.Context) error {
	c.watch.run(true)
	defer c.watch.run(false)
	var wg sync.WaitGroup
	wg.Go(func() { c.keepSampling(ctx) })
	wg.Go(func() { c.keepDrawing(ctx) })
	<-ctx.Done()
	c.watch.run(false) // nobody who looks waits for a database that does not answer
	wg.Wait()
	return nil
}

// keepDrawing draws pictures while they are wanted and somebody looks.
func (c *Console) keepDrawing(ctx context.Context) {
	told := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.watch.wanted:
		}
		if !c.watch.watched() {
			continue
		}
		told = c.drawOnce(ctx, told)
	}
}

// drawOnce draws a picture. What failed already the time before is not logged again.
func (c *Console) drawOnce(ctx context.Context, told map[string]bool) map[string]bool {
	bounded, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	var (
		mu  sync.Mutex
		now = map[string]bool{}
	)
	view := c.lookAt(bounded, func(err error) zerolog.Logger {
		mu.Lock()
		defer mu.Unlock()
		now[err.Error()] = true
		if told[err.Error()] || ctx.Err() != nil { // a stop is no failure
			return zerolog.Nop()
		}
		return c.log
	})
	parts, err := c.parts(view)
	if err != nil {
		if !told[err.Error()] {
			c.log.Error().Err(err).Msg("overview not drawn")
		}
		now[err.Error()] = true
		return now
	}
	c.watch.show(&picture{parts: parts})
	return now
}
