package terminal_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/terminal"
)

// tty is a terminal that keeps what it is told.
type tty struct {
	mu    sync.Mutex
	shown strings.Builder
}

// Write shows something.
func (t *tty) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shown.Write(b)
}

// String is all that was shown.
func (t *tty) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shown.String()
}

// IsTerminal tells that somebody looks.
func (*tty) IsTerminal() bool { return true }

func TestWhatIsColoured(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		to      io.Writer
		color   terminal.Color
		environ []string
		want    bool
	}{
		"a terminal":          {&tty{}, terminal.ColorAuto, []string{"TERM=xterm", "NO_COLOR="}, true},
		"nothing said":        {&tty{}, "", nil, true},
		"a pipe":              {&bytes.Buffer{}, terminal.ColorAuto, nil, false},
		"NO_COLOR":            {&tty{}, terminal.ColorAuto, []string{"NO_COLOR=1"}, false},
		"dumb":                {&tty{}, terminal.ColorAuto, []string{"TERM=dumb"}, false},
		"never":               {&tty{}, terminal.ColorNever, nil, false},
		"always":              {&bytes.Buffer{}, terminal.ColorAlways, nil, true},
		"always beats it all": {&bytes.Buffer{}, terminal.ColorAlways, []string{"NO_COLOR=1", "TERM=dumb"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := terminal.NewScreen(tc.to, tc.color, tc.environ)
			want := "no"
			if tc.want {
				want = "\x1b[31mno\x1b[0m"
			}
			require.Equal(t, want, s.Paint(terminal.Red, "no"))
			require.Equal(t, "no", s.Paint(terminal.Plain, "no"))
			require.Empty(t, s.Paint(terminal.Red, ""))
		})
	}
	var c terminal.Color
	require.NoError(t, c.Set("always"))
	require.Equal(t, terminal.ColorAlways, c)
	require.ErrorContains(t, c.Set("red"), "auto, always, never")
}

func TestAFileIsNoTerminal(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	defer f.Close()
	require.False(t, terminal.IsTerminal(f))
	require.False(t, terminal.IsTerminal(&bytes.Buffer{}))
	require.False(t, terminal.IsTerminal(nil))
	require.True(t, terminal.IsTerminal(&tty{}))
}

func TestColumnsAreAlignedByWhatIsSeen(t *testing.T) {
	t.Parallel()
	write := func(color terminal.Color) string {
		var b bytes.Buffer
		table := terminal.NewTable(terminal.NewScreen(&b, color, nil), "NAME", "STATE", "NOTE")
		table.Row("騎手", "ok", "wide")
		table.Row("é", "broken", "narrow", "left out")
		table.Style(1, terminal.Red)
		table.Row("a\nb\x1b[2Jc", "", "")
		require.NoError(t, table.Write())
		return b.String()
	}
	require.Equal(t, strings.Join([]string{
		"NAME      STATE   NOTE",
		"騎手      ok      wide",
		"é         broken  narrow",
		"a b [2Jc  -       -",
		"",
	}, "\n"), write(terminal.ColorNever))
	require.Equal(t, strings.Join([]string{
		"\x1b[1mNAME\x1b[0m      \x1b[1mSTATE\x1b[0m   \x1b[1mNOTE\x1b[0m",
		"騎手      ok      wide",
		"é         \x1b[31mbroken\x1b[0m  narrow",
		"a b [2Jc  -       -",
		"",
	}, "\n"), write(terminal.ColorAlways))
}

func TestWithoutATerminalALineIsWrittenNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		screen := terminal.NewScreen(&b, terminal.ColorAlways, nil)
		p := terminal.NewProgress(terminal.ProgressConfig{Screen: screen, Title: "requeueing", Total: 400, Noun: "deliveries"})
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			p.Add(1)
		}
		p.Beside(func() { b.WriteString("beside\n") })
		p.Describe("still requeueing")
		time.Sleep(10 * time.Second)
		p.Add(1)
		p.End()
		p.End()
		time.Sleep(10 * time.Second)
		p.Add(1)
		require.Equal(t, strings.Join([]string{
			"requeueing: 100 of 400 deliveries (25 %)",
			"requeueing: 200 of 400 deliveries (50 %)",
			"requeueing: 300 of 400 deliveries (75 %)",
			"beside",
			"still requeueing: 301 of 400 deliveries (75 %)",
			"",
		}, "\n"), b.String())
	})
}

func TestBytesOfUnknownLengthAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		p := terminal.NewProgress(terminal.ProgressConfig{Screen: terminal.NewScreen(&b, "", nil), Title: "importing", Bytes: true})
		r := p.Reader(strings.NewReader(strings.Repeat("x", 2_500_000)))
		buf := make([]byte, 500_000)
		for {
			time.Sleep(5 * time.Second)
			if _, err := r.Read(buf); err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
		}
		p.End()
		require.Equal(t, "importing: 1.0 MB so far\nimporting: 2.0 MB so far\nimporting: 2.5 MB so far\n", b.String())
	})
}

func TestATerminalGetsABarThatGoesAway(t *testing.T) {
	t.Parallel()
	for name, total := range map[string]int64{"known": 4, "unknown": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				screen := &tty{}
				p := terminal.NewProgress(terminal.ProgressConfig{Screen: terminal.NewScreen(screen, "", nil), Title: "migrating", Total: total, Noun: "steps"})
				require.Contains(t, screen.String(), "migrating")
				before := len(screen.String())
				time.Sleep(time.Second)
				p.Add(2)
				time.Sleep(time.Second) // a bar is not drawn with each of many
				require.Greater(t, len(screen.String()), before, "it moves")
				if total > 0 {
					require.Contains(t, screen.String(), "50%")
					require.Contains(t, screen.String(), "2/4")
				}
				at := len(screen.String())
				p.Beside(func() { _, _ = io.WriteString(screen, "applied 00001\n") })
				drawn := screen.String()[at:]
				room, _, written := strings.Cut(drawn, "applied 00001\n")
				require.True(t, written)
				require.Contains(t, room, "\x1b[2K", "the bar makes room")
				time.Sleep(time.Second)
				_, after, _ := strings.Cut(screen.String()[at:], "applied 00001\n")
				require.Contains(t, after, "migrating", "and comes back, though nothing more is done")
				require.NotContains(t, screen.String(), "\n\n")
				time.Sleep(time.Second)
				p.Add(2)
				p.End()
				end := screen.String()
				time.Sleep(time.Second)
				p.Add(1)
				p.Beside(func() {})
				p.End()
				require.Equal(t, end, screen.String(), "nothing is drawn after the end")
			})
		})
	}
}
