package api

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/fault"
)

const (
	// tokensLook is how often the tokens file is looked at, when requests come.
	tokensLook = time.Second
	// tokensSettle is how old a file's last change must be to be taken for its
	// last: file systems count time in steps, and two changes may fall into one.
	tokensSettle = 2 * time.Second
)

// AdminTokens are the tokens of a file, read again when it changes: a new token
// works, and a removed one ends, within about a second and without a restart.
//
// A file that is not there has no tokens. A file that has become unreadable or
// wrong is refused as a whole: the tokens read before stay good, and the log
// tells it once.
type AdminTokens struct {
	file string
	log  zerolog.Logger

	mu     sync.Mutex
	looked time.Time
	stat   fs.FileInfo // of the file that was read; nil when there was none
	fresh  bool        // it had just been changed when it was read
	failed string      // the last failure that was logged
	tokens []AdminToken
}

// NewAdminTokens reads a tokens file, which need not exist yet. An empty name is
// a file that never will. It returns an error when the file is there and cannot
// be used.
func NewAdminTokens(file string, log zerolog.Logger) (*AdminTokens, error) {
	t := &AdminTokens{file: file, log: log.With().Str("component", "admin").Logger()}
	if file == "" {
		return t, nil
	}
	if err := t.read(); err != nil {
		return nil, err
	}
	t.looked = time.Now()
	return t, nil
}

// current returns the tokens that are good now, as far as the file says.
func (t *AdminTokens) current(now time.Time) []AdminToken {
	t.mu.Lock()
	defer t.mu.Unlock()
	// A clock that went back must not keep a removed token good.
	if since := now.Sub(t.looked); t.file == "" || since >= 0 && since < tokensLook {
		return t.tokens
	}
	t.looked = now
	before := t.tokens
	if err := t.refresh(); err != nil {
		if text := err.Error(); text != t.failed {
			t.failed = text
			t.log.Error().Err(err).Msg("admin tokens not reloaded; those read before stay good")
		}
		return t.tokens
	}
	t.failed = ""
	if !slices.EqualFunc(before, t.tokens, func(a, b AdminToken) bool { return a.Line() == b.Line() }) {
		t.log.Info().Int("count", len(t.tokens)).Int("before", len(before)).Msg("admin tokens reloaded")
	}
	return t.tokens
}

// refresh reads the file when it is not, or may not be, the one that was read.
func (t *AdminTokens) refresh() error {
	stat, err := os.Stat(t.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		stat = nil
	case err != nil:
		return fmt.Errorf("look at admin tokens: %w", err)
	}
	if same(stat, t.stat) && !t.fresh && t.failed == "" {
		return nil
	}
	return t.read()
}

// same tells whether nothing points at a change. A mounted secret is replaced by
// another file of the same name, an edited one grows or gets a new time.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

func (t *AdminTokens) read() error {
	f, err := os.Open(t.file)
	if errors.Is(err, fs.ErrNotExist) {
		t.tokens, t.stat, t.fresh = nil, nil, false
		return nil
	}
	if err != nil {
		return fmt.Errorf("read admin tokens: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	// The state of what is read, and not of a file that may have come since.
	stat, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read admin tokens: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxAdminTokensFile+1))
	if err != nil {
		return fmt.Errorf("read admin tokens: %w", err)
	}
	tokens, err := ParseAdminTokens(text)
	if err != nil {
		return fmt.Errorf("read admin tokens from %s: %w", t.file, err)
	}
	t.tokens, t.stat, t.fresh = tokens, stat, time.Since(stat.ModTime()) < tokensSettle
	return nil
}

// actor finds out whose token it is, see Admit.
func (t *AdminTokens) actor(token string, now time.Time) (string, error) {
	found, err := t.Admit(token, now)
	return found.Name, err
}

// Admit finds out which token is presented. It returns a Forbidden fault when
// there are no tokens at all, and an Unauthorized one for a token that is not good.
func (t *AdminTokens) Admit(token string, now time.Time) (AdminToken, error) {
	return t.good(now, func(tokens []AdminToken) (AdminToken, bool) { return matchAdminToken(tokens, token) })
}

// Still finds the token of a hash, for a session that was begun with it. It
// returns the errors of Admit once the token has been removed or has expired.
func (t *AdminTokens) Still(hash [sha256.Size]byte, now time.Time) (AdminToken, error) {
	return t.good(now, func(tokens []AdminToken) (AdminToken, bool) {
		i := slices.IndexFunc(tokens, func(a AdminToken) bool { return a.Hash == hash })
		if i < 0 {
			return AdminToken{}, false
		}
		return tokens[i], true
	})
}

func (t *AdminTokens) good(now time.Time, find func([]AdminToken) (AdminToken, bool)) (AdminToken, error) {
	tokens := t.current(now)
	if len(tokens) == 0 {
		return AdminToken{}, fault.New(fault.Forbidden, "nobody may come in yet: make a token with `bugle admin-token` and name its file by admin.tokens_file")
	}
	found, ok := find(tokens)
	switch {
	case !ok:
		return AdminToken{}, fault.New(fault.Unauthorized, "the token is not valid")
	case !found.Expires.IsZero() && !now.Before(found.Expires):
		return AdminToken{}, fault.New(fault.Unauthorized, "the token has expired")
	}
	return found, nil
}
