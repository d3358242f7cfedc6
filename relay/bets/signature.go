package bets

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"github.com/bugle-push/bugle/internal/fault"
)

// signingKey is "appId.keyId:secret" or "keyId:secret" (Ably: "API keys").
var signingKey = regexp.MustCompile(`^(?:[A-Za-z0-9_-]+\.)?([A-Za-z0-9_-]+):([^\s:]+)$`)

// otherText begins what the same keys sign elsewhere, by the same HMAC: the two parts
// of a JSON Web Token (RFC 7515, section 7.1), and a TokenRequest, which begins with
// the key's name (Ably: "Token requests"). Users are given both, with the signature.
// No webhook begins so, neither in JSON nor in MessagePack.
var otherText = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\n|\z)`)

// Keys are the keys that webhooks may be signed with. Several are accepted at
// once, so that they can be replaced without a gap.
type Keys struct {
	byName map[string][][]byte // by appId.keyId and by keyId
}

// ParseKeys reads keys, one on each line: appId.keyId:secret as Ably's dashboard
// shows them, or keyId:secret. The error names a line, never what stands there.
func ParseKeys(text string) (Keys, error) {
	k := Keys{byName: map[string][][]byte{}}
	no := 0
	for line := range strings.Lines(text) {
		no++
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		m := signingKey.FindStringSubmatch(line)
		if m == nil {
			return Keys{}, fault.Newf(fault.Invalid, "line %d is no key: wants appId.keyId:secret", no)
		}
		name, _, _ := strings.Cut(line, ":")
		secret := []byte(m[2])
		k.byName[name] = append(k.byName[name], secret)
		if m[1] != name {
			k.byName[m[1]] = append(k.byName[m[1]], secret)
		}
	}
	if len(k.byName) == 0 {
		return Keys{}, fault.New(fault.Invalid, "there is no key")
	}
	return k, nil
}

// String keeps secrets out of every text.
func (k Keys) String() string { return fmt.Sprintf("%d signing keys", len(k.byName)) }

// GoString keeps secrets out of %#v.
func (k Keys) GoString() string { return k.String() }

// Knows tells whether a webhook that names this key can be verified. Ably's
// documents show both the whole name (appId.keyId) and its second part.
func (k Keys) Knows(name string) bool { return len(k.byName[strings.TrimSpace(name)]) > 0 }

// verify tells whether a body was signed with the key of that name: the signature
// is the base64 of the HMAC-SHA256 over the raw bytes (Ably: "Webhooks, security").
func (k Keys) verify(name, signature string, body []byte) bool {
	shown, err := base64.StdEncoding.DecodeString(strings.TrimSpace(signature))
	if err != nil || otherText.Match(body) {
		return false
	}
	good := false
	for _, secret := range k.byName[strings.TrimSpace(name)] {
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		if hmac.Equal(mac.Sum(nil), shown) {
			good = true
		}
	}
	return good
}
