package terminal

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"
)

// Color says when to colour.
type Color string

// When to colour.
const (
	// ColorAuto colours on a terminal, unless NO_COLOR is set (no-color.org) or TERM is dumb.
	ColorAuto Color = "auto"
	// ColorAlways colours whatever is written to.
	ColorAlways Color = "always"
	// ColorNever does not colour.
	ColorNever Color = "never"
)

// Colors lists them.
func Colors() []string { return []string{string(ColorAuto), string(ColorAlways), string(ColorNever)} }

// Set reads a flag. It fails for a text that is none of the colors.
func (c *Color) Set(text string) error {
	if !slices.Contains(Colors(), text) {
		return fmt.Errorf("wants %s", strings.Join(Colors(), ", "))
	}
	*c = Color(text)
	return nil
}

// String is what Set reads.
func (c *Color) String() string { return string(*c) }

// Type names the flag's value in help texts.
func (c *Color) Type() string { return "when" }

// Style is how a text looks where colours are wanted.
type Style string

// The styles, as SGR parameters (ECMA-48).
const (
	Plain  Style = ""
	Bold   Style = "1"
	Faint  Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
)

// Terminal is what a writer is asked that wraps a terminal and is no file itself.
type Terminal interface{ IsTerminal() bool }

// IsTerminal tells whether what is read from, or written to, is a terminal.
func IsTerminal(v any) bool {
	switch f := v.(type) {
	case *os.File:
		return term.IsTerminal(int(f.Fd()))
	case Terminal:
		return f.IsTerminal()
	}
	return false
}

// Screen is a place to write to. It is safe for as many goroutines as its writer is.
type Screen struct {
	io.Writer
	terminal, colored bool
}

// NewScreen makes a Screen of a writer. The environment is that of the process, NAME=value each;
// an empty color is ColorAuto.
func NewScreen(w io.Writer, color Color, environ []string) *Screen {
	s := &Screen{Writer: w, terminal: IsTerminal(w)}
	s.colored = color == ColorAlways || color != ColorNever && s.terminal && !plain(environ)
	return s
}

func plain(environ []string) bool {
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if name == "NO_COLOR" && value != "" || name == "TERM" && value == "dumb" {
			return true
		}
	}
	return false
}

// IsTerminal tells whether a person looks.
func (s *Screen) IsTerminal() bool { return s.terminal }

// Paint gives a text a style, where colours are wanted.
func (s *Screen) Paint(style Style, text string) string {
	if !s.colored || style == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}
