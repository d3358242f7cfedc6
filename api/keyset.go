package api

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	// minRSABits is what RFC 7518, section 3.3, demands.
	minRSABits = 2048
	// maxRSABits bounds the work that a signature can make.
	maxRSABits = 8192
	// maxKeys bounds a set; issuers publish two or three.
	maxKeys = 100
)

var (
	errUnknownKey = errors.New("no key of the issuer has this key id")
	errNeedsKid   = errors.New("a key id is needed, because the issuer has several keys")
	// errNoUsableKey: the issuer has answered, and stands by no key that may be used.
	errNoUsableKey = errors.New("there is no key that can be used")
	errAlgorithm   = errors.New("the key is not for this algorithm")
)

// jwksMethods are the algorithms by which a published key may sign.
func jwksMethods() []string {
	return []string{
		jwt.SigningMethodRS256.Alg(), jwt.SigningMethodPS256.Alg(),
		jwt.SigningMethodES256.Alg(), jwt.SigningMethodEdDSA.Alg(),
	}
}

// publicKey is a key with the algorithms that it may be used for.
type publicKey struct {
	key        any
	algorithms []string
}

// refusedKey is a key that is never used.
type refusedKey struct{ kid, reason string }

// keySet is what an issuer has published. It never changes.
type keySet struct {
	byKid   map[string]publicKey
	refused []refusedKey
	digest  [sha256.Size]byte
}

// find returns the key of that id, or the only one when the token names none.
// The algorithm is the token's: it must be one that the key is for, so that no
// key is taken for the secret of another algorithm.
func (s *keySet) find(kid string, named bool, algorithm string) (any, error) {
	k, ok := s.byKid[kid]
	if !named {
		if len(s.byKid) != 1 {
			return nil, errNeedsKid
		}
		for _, k = range s.byKid {
			ok = true
		}
	}
	if !ok {
		return nil, errUnknownKey
	}
	if !slices.Contains(k.algorithms, algorithm) {
		return nil, errAlgorithm
	}
	return k.key, nil
}

func (s *keySet) names() []string { return slices.Sorted(maps.Keys(s.byKid)) }

// parseKeys reads a JSON Web Key Set. Keys that cannot be used are set aside,
// as RFC 7517, section 5, wants it; a set without any other is errNoUsableKey.
func parseKeys(body []byte) (*keySet, error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, errors.New("the answer is no JSON Web Key Set") // the cause repeats what stands there
	}
	if doc.Keys == nil {
		return nil, errors.New("the answer is no JSON Web Key Set")
	}
	if len(doc.Keys) > maxKeys {
		return nil, fmt.Errorf("more than %d keys", maxKeys)
	}
	set := &keySet{byKid: make(map[string]publicKey, len(doc.Keys)), digest: sha256.Sum256(body)}
	taken := make(map[string]bool, len(doc.Keys))
	for _, raw := range doc.Keys {
		var m jwkset.JWKMarshal
		if json.Unmarshal(raw, &m) != nil {
			set.refused = append(set.refused, refusedKey{reason: "it is malformed"})
			continue
		}
		k, reason := usableKey(m)
		if reason == "" && taken[m.KID] {
			reason = "another key has its id"
		}
		if reason != "" {
			set.refused = append(set.refused, refusedKey{kid: m.KID, reason: reason})
			continue
		}
		taken[m.KID] = true
		set.byKid[m.KID] = k
	}
	if len(set.byKid) == 0 {
		if len(set.refused) > 0 {
			return nil, fmt.Errorf("%w: of the first of %d, %s", errNoUsableKey, len(set.refused), set.refused[0].reason)
		}
		return nil, fmt.Errorf("%w: the set is empty", errNoUsableKey)
	}
	return set, nil
}

// usableKey returns a key that may verify tokens, or why there is none.
func usableKey(m jwkset.JWKMarshal) (k publicKey, reason string) {
	switch {
	case m.D != "" || m.P != "" || m.Q != "" || m.DP != "" || m.DQ != "" || m.QI != "" || m.K != "" || len(m.OTH) > 0:
		return k, "its private half is public, so anybody can sign with it"
	case m.USE != "" && m.USE != jwkset.UseSig:
		return k, "it is not for signatures"
	case len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return k, "it is not for verifying"
	case len(m.KID) > maxKidLen:
		return k, "its id is too long"
	}
	// Certificates say nothing that counts here, and their address must not be followed.
	m.X5U, m.X5C, m.X5T, m.X5TS256 = "", nil, "", ""
	parsed, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return k, "it is malformed or of an unknown kind"
	}
	switch key := parsed.Key().(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return k, fmt.Sprintf("RSA wants %d to %d bits", minRSABits, maxRSABits)
		}
		k = publicKey{key: key, algorithms: []string{jwt.SigningMethodRS256.Alg(), jwt.SigningMethodPS256.Alg()}}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return k, "only the curve P-256 is used"
		}
		k = publicKey{key: key, algorithms: []string{jwt.SigningMethodES256.Alg()}}
	case ed25519.PublicKey:
		k = publicKey{key: key, algorithms: []string{jwt.SigningMethodEdDSA.Alg()}}
	default:
		return k, "it is of a kind that is not used"
	}
	if m.ALG != "" {
		if !slices.Contains(k.algorithms, m.ALG.String()) {
			return publicKey{}, "it is for an algorithm that is not used"
		}
		k.algorithms = []string{m.ALG.String()}
	}
	return k, ""
}
