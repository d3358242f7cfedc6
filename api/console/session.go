package console

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"time"

	"github.com/bugle-push/bugle/api"
)

const (
	// sessionRest is how long a session lasts without a request of its operator;
	// a page that renews itself is none.
	sessionRest = time.Hour
	// sessionLife is how long a session lasts in any case: a working day.
	sessionLife = 12 * time.Hour
	// sessionsOfToken bounds the sessions of one token: the one that has rested
	// longest makes room, so that all of them together are bounded too.
	sessionsOfToken = 20
	// noticesKept bounds what a session has to tell on its next page.
	noticesKept = 5
)

// notice is what the next page of a session tells once.
type notice struct {
	// Bad says that something was refused or failed.
	Bad bool
	// Unsure says that it may have been done all the same.
	Unsure bool
	Text   string
}

// session is one signed-in browser.
type session struct {
	// token is the hash of the one that it was begun with.
	token [sha256.Size]byte
	// proof stands in every form: a page of another site cannot know it.
	proof   string
	began   time.Time
	used    time.Time
	notices []notice
}

// sessions are kept in memory, under the hashes of what the browsers hold. A
// restart signs everybody out, and each replica has its own.
type sessions struct {
	mu   sync.Mutex
	byID map[[sha256.Size]byte]*session
}

func newSessions() *sessions { return &sessions{byID: map[[sha256.Size]byte]*session{}} }

// begin makes a session and returns the secret for its cookie.
func (s *sessions) begin(token api.AdminToken, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var (
		oldest [sha256.Size]byte
		same   int
	)
	for id, other := range s.byID {
		if other.over(now) {
			delete(s.byID, id)
			continue
		}
		if other.token != token.Hash {
			continue
		}
		if same == 0 || other.used.Before(s.byID[oldest].used) {
			oldest = id
		}
		same++
	}
	if same >= sessionsOfToken {
		delete(s.byID, oldest)
	}
	secret := rand.Text() + rand.Text()
	s.byID[sha256.Sum256([]byte(secret))] = &session{token: token.Hash, proof: rand.Text(), began: now, used: now}
	return secret
}

func (s *session) over(now time.Time) bool {
	// A clock that went back must not keep a session alive.
	return now.Sub(s.used) >= sessionRest || now.Sub(s.began) >= sessionLife || now.Before(s.began)
}

// find returns the token and the proof of a session that lasts. touch says that
// its operator did something.
func (s *sessions) find(secret string, now time.Time, touch bool) (token [sha256.Size]byte, proof string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := sha256.Sum256([]byte(secret))
	found := s.byID[id]
	if found == nil {
		return token, "", false
	}
	if found.over(now) {
		delete(s.byID, id)
		return token, "", false
	}
	if touch {
		found.used = now
	}
	return found.token, found.proof, true
}

func (s *sessions) end(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, sha256.Sum256([]byte(secret)))
}

// tell keeps a notice for the session's next page.
func (s *sessions) tell(secret string, n notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.byID[sha256.Sum256([]byte(secret))]; found != nil && len(found.notices) < noticesKept {
		found.notices = append(found.notices, n)
	}
}

// told hands the notices over: they are shown once.
func (s *sessions) told(secret string) []notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.byID[sha256.Sum256([]byte(secret))]
	if found == nil {
		return nil
	}
	out := found.notices
	found.notices = nil
	return out
}

func sameProof(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
