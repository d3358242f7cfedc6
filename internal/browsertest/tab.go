package browsertest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// Tab is a tab of a browser, and what the browser had to complain about.
type Tab struct {
	ctx context.Context //nolint:containedctx // chromedp's name for a tab

	mu       sync.Mutex
	allowed  []string
	problems []string
	bytes    float64
}

// Look watches the tab of a browser context. Requests to other addresses than those
// that begin with an allowed one are complaints.
func Look(ctx context.Context, t testing.TB, allowed ...string) *Tab {
	t.Helper()
	b := &Tab{ctx: ctx, allowed: allowed}
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	listen, stop := context.WithCancel(ctx)
	t.Cleanup(stop)
	require.NoError(t, chromedp.Listen(listen, b.hear))
	// A page that is left open would complain about servers that end after this test.
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_ = chromedp.Do(end, chromedp.Navigate("about:blank"))
	})
	return b
}

// Another opens one more tab of the same browser.
func (b *Tab) Another(t testing.TB) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx))
	return Look(ctx, t, b.allowed...)
}

func (b *Tab) hear(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *log.EventEntryAdded:
		if ev.Entry.Level == log.EntryLevelError {
			b.problems = append(b.problems, ev.Entry.Text+" "+ev.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		text := ev.ExceptionDetails.Text
		if e := ev.ExceptionDetails.Exception; e != nil {
			text += " " + e.Description
		}
		b.problems = append(b.problems, text)
	case *network.EventRequestWillBeSent:
		for _, allowed := range b.allowed {
			if strings.HasPrefix(ev.Request.URL, allowed) {
				return
			}
		}
		b.problems = append(b.problems, "a request to "+ev.Request.URL)
	case *network.EventLoadingFinished:
		b.bytes += ev.EncodedDataLength
	}
}

// Quiet demands that the browser had nothing to complain about: no script that
// failed, nothing that the policy refused, no request to another address.
func (b *Tab) Quiet(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(t, b.problems)
}

// Forgive forgets that answers had the status of a refusal, which the browser takes
// for an error, and nothing else.
func (b *Tab) Forgive() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = slices.DeleteFunc(b.problems, func(p string) bool {
		return strings.HasPrefix(p, "Failed to load resource: the server responded with a status of 4")
	})
}

// Bytes returns what has come over the wire.
func (b *Tab) Bytes() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// slowest is how long a browser may take for one thing on a busy machine.
const slowest = time.Minute

// Do runs steps, for at most a minute.
func (b *Tab) Do(t testing.TB, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, slowest)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		text, _ := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("body")))
		require.NoError(t, err, text)
	}
}

// Open loads a page.
func (b *Tab) Open(t testing.TB, url string) {
	t.Helper()
	b.Do(t, chromedp.Navigate(url))
}

// Click clicks what is there and visible. A page that renews itself may replace it
// between the search and the click, for which Chromium has one code; then it is
// looked for again.
func (b *Tab) Click(t testing.TB, css string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, slowest)
	defer cancel()
	for {
		err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(css)))
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "(-32000)") {
			text, _ := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("body")))
			require.NoError(t, err, text)
		}
	}
}

// Type types into a field, or with "\r" at the end into a form.
func (b *Tab) Type(t testing.TB, css, text string) {
	t.Helper()
	b.Do(t, chromedp.SendKeys(chromedp.CSS(css), text))
}

// See waits until what is visible of some elements contains a text, and returns it.
func (b *Tab) See(t testing.TB, css, text string, most time.Duration) string {
	t.Helper()
	return b.Until(t, `Array.from(document.querySelectorAll(`+strconv.Quote(css)+`)).filter(e => e.checkVisibility()).map(e => e.innerText).join("\n")`,
		func(got string) bool { return strings.Contains(got, text) }, most)
}

// Until asks a script until its answer is wanted, and returns that.
func (b *Tab) Until(t testing.TB, script string, wanted func(string) bool, most time.Duration) string {
	t.Helper()
	deadline := time.Now().Add(most)
	for {
		got, err := b.eval(script)
		if err == nil && wanted(got) {
			return got
		}
		require.True(t, time.Now().Before(deadline), "%s\nis %q in the end (%v)", script, got, err)
		time.Sleep(50 * time.Millisecond) // a page that is loading has nobody to wait for
	}
}

// Ask returns the text that a script comes to, or its promise.
func (b *Tab) Ask(t testing.TB, script string) string {
	t.Helper()
	got, err := b.eval(script)
	require.NoError(t, err)
	return got
}

func (b *Tab) eval(script string) (string, error) {
	ctx, cancel := context.WithTimeout(b.ctx, slowest)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise)) //nolint:wrapcheck // for tests
}

// ways are how each page is looked at.
var ways = []struct {
	name, scheme  string
	width, height int64
}{{"desktop-light", "light", 1280, 900}, {"desktop-dark", "dark", 1280, 900}, {"phone-light", "light", 390, 844}, {"phone-dark", "dark", 390, 844}}

// As shows the page as "desktop-light", "desktop-dark", "phone-light" or
// "phone-dark" does.
func (b *Tab) As(t testing.TB, name string) {
	t.Helper()
	for _, way := range ways {
		if way.name != name {
			continue
		}
		_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: way.scheme}},
		})
		require.NoError(t, err)
		b.Do(t, chromedp.EmulateViewport(way.width, way.height))
		return
	}
	require.Fail(t, "there is no such way to look at a page", name)
}

// Shots looks at the page in each way, and demands that nothing makes it scroll
// sideways. It writes what it sees into the folder, unless that is empty.
func (b *Tab) Shots(t testing.TB, folder, name string) {
	t.Helper()
	for _, way := range ways {
		b.As(t, way.name)
		require.Equal(t, "fits", b.Ask(t, `document.documentElement.scrollWidth <= innerWidth ? "fits" : Array.from(document.querySelectorAll("body *")).filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 120)).join("\n")`), "%s %s", name, way.name)
		if folder == "" {
			continue
		}
		image, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(folder, 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(folder, name+"-"+way.name+".png"), image, 0o600))
	}
}
