package ably

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// tokenSkew is how far the timestamp of a token request may be off. Source:
// Ably, "Token requests".
const tokenSkew = 2 * time.Minute

// tokenDetails is the answer to a token request.
type tokenDetails struct {
	Token      string `json:"token"`
	KeyName    string `json:"keyName"`
	Issued     int64  `json:"issued"`
	Expires    int64  `json:"expires"`
	Capability string `json:"capability"`
	ClientID   string `json:"clientId,omitempty"`
}

// requestToken is POST /keys/{keyName}/requestToken: signed, or unsigned with
// basic authorization.
func (x *request) requestToken(keyName string) *answer {
	s := x.s
	k, e := s.keyNamed(keyName)
	if e != nil {
		return refuse(e)
	}
	body, e := x.object(s.cfg.MaxMessageSize)
	if e != nil {
		return refuse(e)
	}
	if name := body.str("keyName"); name != "" && name != keyName {
		return refuse(fail(codeIncompatible, "keyName differs from the path"))
	}
	now := s.cfg.Now()
	if body.str("mac") == "" {
		p, e := s.authorize(x.r)
		if e != nil {
			return refuse(e)
		}
		if p.key != k || p.token {
			return refuse(fail(codeIncompatible, "credentials are not those of the key"))
		}
	} else if e := s.verifyTokenRequest(k, body, now); e != nil {
		return refuse(e)
	}
	return s.issue(k, body, now)
}

// verifyTokenRequest checks signature, time and nonce.
func (s *Server) verifyTokenRequest(k *appKey, body object, now time.Time) *errorInfo {
	number := func(name string) string {
		if n := body.int(name); n != 0 {
			return strconv.FormatInt(n, 10)
		}
		return ""
	}
	text := strings.Join([]string{
		k.name, number("ttl"), body.str("capability"), body.str("clientId"), number("timestamp"), body.str("nonce"), "",
	}, "\n")
	mac := hmac.New(sha256.New, []byte(k.secret))
	fmt.Fprint(mac, text)
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if !hmac.Equal([]byte(want), []byte(body.str("mac"))) {
		return fail(codeInvalidCreds, "invalid mac")
	}
	at := time.UnixMilli(body.int("timestamp"))
	if off := now.Sub(at); off > tokenSkew || off < -tokenSkew {
		return fail(codeBadTimestamp, "timestamp not current")
	}
	nonce := body.str("nonce")
	if len(nonce) < 16 {
		return fail(codeBadRequest, "nonce is shorter than 16 characters")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, used := s.nonces[nonce]; used {
		return fail(codeNonceReused, "nonce value replayed")
	}
	s.nonces[nonce] = now
	return nil
}

func (s *Server) issue(k *appKey, body object, now time.Time) *answer {
	life := time.Duration(body.int("ttl")) * time.Millisecond
	switch {
	case life == 0:
		life = DefaultTokenLifetime
	case life < 0 || life > MaxTokenLifetime:
		return refuse(fail(codeBadParam, "invalid ttl"))
	}
	caps := k.caps
	if text := body.str("capability"); text != "" {
		asked, err := parseCapability(text)
		if err != nil {
			return refuse(fail(codeBadRequest, "capability is not JSON"))
		}
		// A key without qualified resources gives none of them; see and.
		if caps = asked.and(k.caps); len(caps) == 0 {
			return refuse(fail(codeCapability, "the intersection of the requested capability and the key's is empty"))
		}
	}
	clientID := body.str("clientId")
	s.mu.Lock()
	nonce := s.newID(12)
	s.stats.Tokens++
	s.mu.Unlock()
	t := ablyToken{Key: k.name, Caps: caps.text(), Client: clientID, Expires: now.Add(life).UnixMilli(), Nonce: nonce}
	return ok(tokenDetails{
		Token: s.seal(t), KeyName: k.name, Issued: now.UnixMilli(), Expires: t.Expires,
		Capability: t.Caps, ClientID: clientID,
	})
}
