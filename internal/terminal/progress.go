package terminal

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	// drawEvery is how often a bar is drawn anew.
	drawEvery = 100 * time.Millisecond
	// tellEvery is how often a line is written where there is no bar.
	tellEvery = 10 * time.Second
	// barWidth is that of the bar alone, so that it fits beside its text into 80 columns.
	barWidth = 24
)

// ProgressConfig says what to show.
type ProgressConfig struct {
	// Screen is where to; required. On a terminal it is a bar, elsewhere a line now and then.
	Screen *Screen
	// Title is what is being done: "importing".
	Title string
	// Total is how much there is to do; 0 when nobody knows, which shows how much was done.
	Total int64
	// Bytes shows amounts as KB and MB.
	Bytes bool
	// Noun is what is counted, where it is not bytes: "deliveries".
	Noun string
}

// Progress shows how far a long work is. Its methods may be called from several goroutines.
type Progress struct {
	cfg ProgressConfig

	mu    sync.Mutex
	bar   *progressbar.ProgressBar // nil where there is no terminal
	done  int64
	told  time.Time
	ended bool

	stop chan struct{} // nil where there is no bar
	turn sync.WaitGroup
}

// NewProgress shows the start. Whoever makes one ends it with End, which waits for what it has started.
func NewProgress(cfg ProgressConfig) *Progress {
	p := &Progress{cfg: cfg, told: time.Now()}
	if !cfg.Screen.IsTerminal() {
		return p
	}
	total := cfg.Total
	if total <= 0 {
		total = -1
	}
	p.bar = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(cfg.Screen), progressbar.OptionSetDescription(cfg.Title), progressbar.OptionShowBytes(cfg.Bytes),
		progressbar.OptionShowCount(), progressbar.OptionSetWidth(barWidth), progressbar.OptionThrottle(drawEvery),
		progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true), progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionSetItsString(cfg.Noun), progressbar.OptionEnableColorCodes(false),
		progressbar.OptionSetSpinnerChangeInterval(0), // the library's own would turn for ever after a failure
	)
	p.stop = make(chan struct{})
	p.turn.Go(p.turnAround)
	return p
}

// turnAround shows that something goes on: the time, and a bar that has made room for a line.
func (p *Progress) turnAround() {
	ticker := time.NewTicker(drawEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		_ = p.bar.RenderBlank()
		p.mu.Unlock()
	}
}

// Add says that n more are done.
func (p *Progress) Add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	switch {
	case p.ended:
	case p.bar != nil:
		_ = p.bar.Set64(p.done) // a terminal that cannot be written to shows nothing
	case time.Since(p.told) >= tellEvery:
		p.told = time.Now()
		fmt.Fprintln(p.cfg.Screen, p.line())
	}
}

// line tells the state where there is no bar.
func (p *Progress) line() string {
	noun := ""
	if p.cfg.Noun != "" {
		noun = " " + p.cfg.Noun
	}
	amount := func(n int64) string { return fmt.Sprint(n) }
	if p.cfg.Bytes {
		noun, amount = "", size
	}
	if p.cfg.Total <= 0 {
		return fmt.Sprintf("%s: %s%s so far", p.cfg.Title, amount(p.done), noun)
	}
	return fmt.Sprintf("%s: %s of %s%s (%d %%)", p.cfg.Title, amount(p.done), amount(p.cfg.Total), noun, min(100, p.done*100/p.cfg.Total))
}

// size writes bytes for people.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000*1000:
		return fmt.Sprintf("%.1f KB", float64(n)/1000)
	case n < 1000*1000*1000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// Beside runs what writes to the same terminal: the bar makes room and comes back.
func (p *Progress) Beside(write func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil || p.ended {
		write()
		return
	}
	_ = p.bar.Clear()
	write()
	_ = p.bar.RenderBlank()
}

// Describe changes what is being done, in a bar.
func (p *Progress) Describe(title string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Title = title; p.bar != nil && !p.ended {
		p.bar.Describe(title)
	}
}

// Reader counts what is read.
func (p *Progress) Reader(r io.Reader) io.Reader { return &countedReader{r: r, p: p} }

type countedReader struct {
	r io.Reader
	p *Progress
}

// Read reads on.
func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.p.Add(int64(n))
	return n, err
}

// End takes the bar away: what has come of the work is said elsewhere. A second End does nothing.
func (p *Progress) End() {
	p.mu.Lock()
	first := !p.ended
	p.ended = true
	p.mu.Unlock()
	if !first || p.bar == nil {
		return
	}
	close(p.stop)
	p.turn.Wait()
	_ = p.bar.Clear()
}
