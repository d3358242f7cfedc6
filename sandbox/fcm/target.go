package fcm

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
)

// Kinds of a minted instance, as stored in its id.
const (
	ofToken   = 0      // reached by registration token
	ofFID     = 1      // reached by Firebase installation id
	ofForeign = 1 << 1 // belongs to another project
)

// instance is one installation of an app. Everything about it is in its id,
// under a MAC, so that the server knows millions of targets and stores none.
type instance struct {
	platform string
	kind     byte
	serial   uint64 // 40 bits
}

// maxTarget is the length beyond which nothing is a target; none is documented.
const maxTarget = 4096

// shaped reports whether a registration token, or an installation id in its
// place, could be one.
func (k *targetKeys) shaped(target string) bool {
	return len(target) <= maxTarget && (k.shape.MatchString(target) || k.fidShape.MatchString(target))
}

// targetKeys mints and recognises targets of one project and seed.
type targetKeys struct {
	key      []byte
	shape    *regexp.Regexp
	fidShape *regexp.Regexp
}

func newTargetKeys(project string, seed uint64) *targetKeys {
	h := sha256.New()
	fmt.Fprintf(h, "fcm stand-in targets\x00%s\x00%d", project, seed)
	return &targetKeys{
		key: h.Sum(nil),
		// Observed: 22 url-safe characters, a colon, then at least 100 more.
		// A target without a colon is answered as invalid by the live service.
		shape: regexp.MustCompile(`^[A-Za-z0-9_-]{8,}:[A-Za-z0-9_:-]{32,}$`),
		// The first four bits of an installation id are 0111.
		fidShape: regexp.MustCompile(`^[c-f][A-Za-z0-9_-]{21}$`),
	}
}

func (k *targetKeys) mac(label string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, k.key)
	h.Write([]byte(label))
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// fid returns the 22-character installation id. Its first four bits are 0111,
// as in real ones; 48 bits hold the instance, masked, and the rest a MAC.
func (k *targetKeys) fid(in instance) string {
	var head [6]byte
	head[0] = platformCode(in.platform)<<4 | in.kind
	for i := range 5 {
		head[5-i] = byte(in.serial >> (8 * i))
	}
	mac := k.mac("fid", head[:])
	var b [16]byte
	b[0] = 0x70 | mac[0]&0x0f
	copy(b[7:], mac[1:10])
	mask := k.mac("mask", b[7:])
	for i := range head {
		b[1+i] = head[i] ^ mask[i]
	}
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// token returns the 142-character registration token of an instance:
// 22 characters, ":APA91b" and 113 more, the shape seen in 2026.
func (k *targetKeys) token(fid string) string {
	tail := make([]byte, 0, 96)
	for i := range byte(3) {
		tail = append(tail, k.mac("tail", []byte{i}, []byte(fid))...)
	}
	return fid + ":APA91b" + base64.RawURLEncoding.EncodeToString(tail[:85])[:113]
}

// parseFID recognises an installation id minted with these keys.
func (k *targetKeys) parseFID(fid string) (instance, bool) {
	if len(fid) != 22 {
		return instance{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(fid)
	if err != nil {
		return instance{}, false
	}
	mask := k.mac("mask", b[7:])
	var head [6]byte
	for i := range head {
		head[i] = b[1+i] ^ mask[i]
	}
	in := instance{platform: platformOf(head[0] >> 4), kind: head[0] & 0x0f}
	for _, c := range head[1:] {
		in.serial = in.serial<<8 | uint64(c)
	}
	if in.platform == "" || k.fid(in) != fid {
		return instance{}, false
	}
	return in, true
}

// parseToken recognises a registration token minted with these keys.
func (k *targetKeys) parseToken(token string) (instance, bool) {
	if len(token) != 142 {
		return instance{}, false
	}
	in, ok := k.parseFID(token[:22])
	if !ok || k.token(token[:22]) != token {
		return instance{}, false
	}
	return in, true
}

func platformCode(platform string) byte {
	switch platform {
	case Android:
		return 1
	case IOS:
		return 2
	case Web:
		return 3
	}
	panic(fmt.Sprintf("fcm: unknown platform %q", platform))
}

func platformOf(code byte) string {
	switch code {
	case 1:
		return Android
	case 2:
		return IOS
	case 3:
		return Web
	}
	return ""
}

func (s *Server) mint(platform string, kind byte) string {
	return s.keys.fid(instance{platform: platform, kind: kind, serial: s.serial.Add(1)})
}

// MintToken returns a new registration token of the project for a device of
// the platform [Android], [IOS] or [Web], and panics for any other. The n-th
// mint of a server is the same for the same project, seed and platform.
func (s *Server) MintToken(platform string) string {
	return s.keys.token(s.mint(platform, ofToken))
}

// TokenAt returns the n-th registration token of a platform, the same at each
// call and after a restart with the same seed, and independent of MintToken.
func (s *Server) TokenAt(platform string, n uint32) string {
	// The high bit keeps these apart from the minted serials.
	return s.keys.token(s.keys.fid(instance{platform: platform, kind: ofToken, serial: 1<<39 | uint64(n)}))
}

// MintFID returns a new Firebase installation id for a message's "fid". An
// installation is reached either by token or by id, never by both.
func (s *Server) MintFID(platform string) string { return s.mint(platform, ofFID) }

// MintForeignToken returns a token that another sender's project issued:
// sending to it is answered 403 SENDER_ID_MISMATCH.
func (s *Server) MintForeignToken(platform string) string {
	return s.keys.token(s.mint(platform, ofToken|ofForeign))
}
