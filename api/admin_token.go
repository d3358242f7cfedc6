package api

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

const (
	// AdminTokenPrefix begins every admin token, so that scanners for leaked
	// secrets, and people, can tell what it is.
	AdminTokenPrefix = "bga_"
	// adminTokenBytes is how much randomness a token has.
	adminTokenBytes = 32
	// maxAdminTokens bounds a tokens file, whose every line costs each request a comparison.
	maxAdminTokens = 1000
	// MaxAdminTokensFile bounds a tokens file, in bytes.
	MaxAdminTokensFile = 1 << 20
	// maxActorLen bounds the name of an operator, in bytes.
	maxActorLen = 64

	hashPrefix = "sha256:"
	noExpiry   = "never"
)

// AdminToken is one line of a tokens file: who may come in, by which token's
// hash. The token itself is nowhere but with its owner. A plain SHA-256 is
// enough, because a token is 32 random bytes and no password that could be guessed.
type AdminToken struct {
	// Name is the actor that the audit names: 1 to 64 of A-Z a-z 0-9 . _ @ -
	Name string
	// Hash is the SHA-256 of the whole token.
	Hash    [sha256.Size]byte
	Created time.Time
	// Expires is when the token is good no more; zero means never.
	Expires time.Time
}

// NewAdminToken makes a token for an actor and the line that stands for it in
// the tokens file. ttl 0 means that it never expires. It returns an Invalid
// fault for a name that is not valid and a negative ttl.
func NewAdminToken(name string, now time.Time, ttl time.Duration) (devices.Secret, AdminToken, error) {
	if !validActor(name) {
		return "", AdminToken{}, fault.InvalidFields("the token cannot be made", fault.Field{
			Path: "name", Message: "wants 1 to 64 of A-Z a-z 0-9 . _ @ -",
		})
	}
	if ttl < 0 {
		return "", AdminToken{}, fault.InvalidFields("the token cannot be made", fault.Field{Path: "expires", Message: "lies in the past"})
	}
	var random [adminTokenBytes]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	plain := AdminTokenPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	t := AdminToken{Name: name, Hash: sha256.Sum256([]byte(plain)), Created: now.UTC().Truncate(time.Second)}
	if ttl > 0 {
		t.Expires = t.Created.Add(ttl)
	}
	return devices.Secret(plain), t, nil
}

// Line returns the token's line for the tokens file, with its line break.
func (t AdminToken) Line() string {
	expires := noExpiry
	if !t.Expires.IsZero() {
		expires = t.Expires.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s %s%s %s %s\n", t.Name, hashPrefix, hex.EncodeToString(t.Hash[:]), t.Created.UTC().Format(time.RFC3339), expires)
}

// ParseAdminTokens reads a tokens file: one token a line, "NAME sha256:HASH
// CREATED EXPIRES", times in RFC 3339, "never" for no expiry; empty lines and
// lines that begin with # count for nothing. It returns an Invalid fault that
// names every bad line by its number and repeats nothing of it, for it may hold
// a token by mistake.
func ParseAdminTokens(text []byte) ([]AdminToken, error) {
	if len(text) > MaxAdminTokensFile {
		return nil, fault.Newf(fault.Invalid, "the tokens file is larger than %d bytes", MaxAdminTokensFile)
	}
	var (
		tokens []AdminToken
		bad    []fault.Field
		seen   = map[[sha256.Size]byte]bool{}
		lines  = bufio.NewScanner(bytes.NewReader(text))
	)
	lines.Buffer(nil, MaxAdminTokensFile+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		t, problem := parseAdminToken(line)
		if problem == "" && seen[t.Hash] {
			problem = "has a hash that stands in the file already"
		}
		if problem != "" {
			bad = append(bad, fault.Field{Path: fmt.Sprintf("line %d", n), Message: problem})
			continue
		}
		seen[t.Hash] = true
		tokens = append(tokens, t)
	}
	if err := lines.Err(); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the tokens file cannot be read")
	}
	if len(tokens) > maxAdminTokens {
		bad = append(bad, fault.Field{Path: "file", Message: fmt.Sprintf("has %d tokens, at most %d are wanted", len(tokens), maxAdminTokens)})
	}
	if len(bad) > 0 {
		return nil, fault.InvalidFields("the tokens file is not valid", bad...)
	}
	return tokens, nil
}

func parseAdminToken(line string) (t AdminToken, problem string) {
	fields := strings.Fields(line)
	if len(fields) != 4 {
		return t, "wants four words: NAME sha256:HASH CREATED EXPIRES"
	}
	if !validActor(fields[0]) {
		return t, "wants a name of 1 to 64 of A-Z a-z 0-9 . _ @ -"
	}
	digits, ok := strings.CutPrefix(fields[1], hashPrefix)
	if n, err := hex.Decode(t.Hash[:], []byte(digits[:min(len(digits), 2*sha256.Size)])); !ok || err != nil || n != sha256.Size || len(digits) != 2*sha256.Size {
		return AdminToken{}, "wants sha256: and 64 hexadecimal digits, not the token itself"
	}
	var err error
	if t.Created, err = parseTokenTime(fields[2]); err != nil {
		return AdminToken{}, "wants the time of creation in RFC 3339, such as 2026-09-01T12:00:00Z"
	}
	if fields[3] != noExpiry {
		if t.Expires, err = parseTokenTime(fields[3]); err != nil {
			return AdminToken{}, "wants the end in RFC 3339, such as 2026-12-01T12:00:00Z, or never"
		}
	}
	t.Name = fields[0]
	return t, ""
}

func parseTokenTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err == nil && (t.IsZero() || t.UTC().Year() < 1970 || t.UTC().Year() > 9999) {
		return t, fmt.Errorf("year %d is out of range", t.Year())
	}
	return t.UTC(), err
}

func validActor(name string) bool {
	if name == "" || len(name) > maxActorLen {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("._@-", rune(c)) {
			return false
		}
	}
	return true
}

// matchAdminToken returns the token that is presented. It compares with every
// one, in constant time, so that the time it takes tells nothing.
func matchAdminToken(tokens []AdminToken, presented string) (AdminToken, bool) {
	hash := sha256.Sum256([]byte(presented))
	found := -1
	for i := range tokens {
		if subtle.ConstantTimeCompare(tokens[i].Hash[:], hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return AdminToken{}, false
	}
	return tokens[found], true
}
