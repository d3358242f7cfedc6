package page

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errFull says that there is no room for another guest.
var errFull = errors.New("no room for another guest")

// visit is a guest's stay.
type visit struct {
	Guest
	key     string // what the page shows to be known again
	pushes  []numbered
	streams int
	left    time.Time // when the last stream ended
}

// numbered is a push with its place among those of all phones.
type numbered struct {
	seq uint64
	Push
}

// after returns the pushes later than a place.
func (v *visit) after(seq uint64) []numbered {
	for i, p := range v.pushes {
		if p.seq > seq {
			return append([]numbered(nil), v.pushes[i:]...)
		}
	}
	return nil
}

// parlour is where guests and races are.
type parlour struct {
	host  Host
	most  int
	away  time.Duration
	now   func() time.Time
	admit sync.Mutex // held while the host is asked; locked before mu

	mu      sync.Mutex // guards everything below
	visits  map[string]*visit
	targets map[string]*visit // by the phone's address; nil for one who has lost the place
	welcome int               // guests so far
	seq     uint64
	races   []Race
	edition uint64        // of races
	changed chan struct{} // closed at the next change
}

func newParlour(cfg Config) *parlour {
	return &parlour{
		host: cfg.Host, most: cfg.Guests, away: cfg.Away, now: cfg.Now,
		visits: map[string]*visit{}, targets: map[string]*visit{}, changed: make(chan struct{}),
	}
}

// wake tells all streams that something has changed. p.mu must be held.
func (p *parlour) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// enter returns the stay that the key is of, or else begins one. It returns
// errFull when there is no room.
func (p *parlour) enter(key string) (visit, error) {
	p.admit.Lock()
	defer p.admit.Unlock()
	p.mu.Lock()
	if v := p.visits[key]; v != nil {
		defer p.mu.Unlock()
		return *v, nil
	}
	var gone *visit
	if len(p.visits) >= p.most {
		if gone = p.longestAway(); gone == nil {
			p.mu.Unlock()
			return visit{}, errFull
		}
		delete(p.visits, gone.key)
		p.targets[gone.Device.Target.Value] = nil
	}
	p.welcome++
	n := p.welcome
	p.mu.Unlock()

	if gone != nil {
		p.host.Farewell(gone.Guest)
	}
	g, err := p.host.Welcome(n)
	if err != nil {
		return visit{}, fmt.Errorf("welcome guest %d: %w", n, err)
	}
	v := &visit{Guest: g, key: rand.Text(), left: p.now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.visits[v.key], p.targets[g.Device.Target.Value] = v, v
	return *v, nil
}

// longestAway returns the guest who may lose the place, nil if nobody may. p.mu
// must be held.
func (p *parlour) longestAway() *visit {
	var found *visit
	for _, v := range p.visits {
		if v.streams == 0 && p.now().Sub(v.left) >= p.away && (found == nil || v.left.Before(found.left)) {
			found = v
		}
	}
	return found
}

// follow counts a stream of a guest, or returns false: the key is nobody's, or
// there are too many.
func (p *parlour) follow(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.visits[key]
	if v == nil || v.streams >= maxStreams {
		return false
	}
	v.streams++
	return true
}

func (p *parlour) unfollow(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.visits[key]; v != nil { // who has a stream keeps the place
		v.streams--
		v.left = p.now()
	}
}

// news is what a stream has to say.
type news struct {
	races   []Race // nil: as before
	edition uint64
	pushes  []numbered
	changed <-chan struct{}
}

// since returns what is new after an edition of the races and a push.
func (p *parlour) since(key string, edition, seq uint64) news {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := news{edition: p.edition, changed: p.changed}
	if edition != p.edition {
		n.races = append([]Race{}, p.races...)
	}
	if v := p.visits[key]; v != nil {
		n.pushes = v.after(seq)
	}
	return n
}

// push puts a push onto a guest's phone. It reports whether the address is, or
// was, a guest's.
func (p *parlour) push(target string, push Push) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, known := p.targets[target]
	if v == nil {
		return known
	}
	p.seq++
	v.pushes = append(v.pushes, numbered{p.seq, push})
	if len(v.pushes) > keptPushes {
		v.pushes = append([]numbered(nil), v.pushes[1:]...)
	}
	p.wake()
	return true
}

// race enters a race or changes one; do gets it as it is, or empty.
func (p *parlour) race(id string, do func(*Race)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.wake()
	p.edition++
	for i := range p.races {
		if p.races[i].ID == id {
			do(&p.races[i])
			return
		}
	}
	r := Race{ID: id}
	do(&r)
	p.races = append(p.races, r)
	if len(p.races) > keptRaces {
		p.races = append([]Race(nil), p.races[1:]...)
	}
}

// forget removes a race.
func (p *parlour) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.races {
		if p.races[i].ID == id {
			p.races = append(append([]Race(nil), p.races[:i]...), p.races[i+1:]...)
			p.edition++
			p.wake()
			return
		}
	}
}
