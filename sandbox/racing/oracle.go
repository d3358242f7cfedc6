package racing

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Strikes counts the faults that stand-ins have injected so far.
type Strikes struct {
	// Provider counts sends that a provider refused or dropped without
	// accepting the message.
	Provider uint64
	// Source counts pull queries that failed.
	Source uint64
}

// OracleConfig configures an Oracle.
type OracleConfig struct {
	// Patience is how long after an announcement fell due a change of the
	// world still excuses its absence: a provider's longest backoff and some
	// ticks. It is also how long after a provider reported that a target is
	// dead messages may still be sent there. Zero means 30 s.
	Patience time.Duration
	// Grace is how long after the acknowledgement of a deactivation or a mute
	// a message may still be accepted. Zero means 1 s.
	Grace time.Duration
	// Slack is how long after a race's start an accepted message still counts
	// as begun before it: the time that a request takes. Zero means 250 ms.
	Slack time.Duration
	// Strikes tells the faults injected so far. Nil means that there are none,
	// and nothing is excused by a fault.
	Strikes func() Strikes
}

// what is the kind of an announcement.
type what string

const (
	whatSettled what = "bet-settled"
	whatReject  what = "bet-rejected"
	whatSoon    what = "race-soon"
	whatChanged what = "race-changed"
)

// revision is one state of a subject that has to be announced.
type revision struct {
	what     what
	category string
	due      time.Time
	expires  time.Time // zero: not within a run
	outcome  Outcome
	payout   Money
	status   RaceStatus
	startsAt time.Time
	reason   string // of a rejection
	// source is the number of failed queries when it fell due, and ended the
	// same when it expired; ended is 0 until then.
	source, ended uint64
}

// arrival is one accepted message about a revision on a device.
type arrival struct {
	push Push
	rev  int
}

// subject is one bet or race.
type subject struct {
	key      subjectKey
	user     UserID // of a bet; empty for a race
	revs     []*revision
	arrivals map[DeviceID][]*arrival
}

// Oracle knows what had to be announced to whom, and judges what providers
// accepted. It is safe for concurrent use.
type Oracle struct {
	cfg OracleConfig

	mu       sync.Mutex
	holders  map[DeviceID]*holder
	order    []*holder // in order of appearance, so that reports are repeatable
	byUser   map[UserID][]*holder
	byToken  map[string]*holder
	wishes   map[UserID]wishes
	subjects map[subjectKey]*subject
	history  []*subject // in order of appearance
	bySeq    map[seqKey]*arrival
	received map[string]int
	toDead   int            // accepted messages for targets that were dead
	refused  map[string]int // requests that were not accepted, per message that was
	accepts  map[string]int // acceptances per message
	stray    []Problem      // messages that belong to nothing
	lastPush time.Time
}

// seqKey names an acceptance.
type seqKey struct {
	provider string
	seq      uint64
}

// NewOracle returns an oracle that knows nothing yet.
func NewOracle(cfg OracleConfig) *Oracle {
	cfg.Patience = cmp.Or(cfg.Patience, 30*time.Second)
	cfg.Grace = cmp.Or(cfg.Grace, time.Second)
	cfg.Slack = cmp.Or(cfg.Slack, 250*time.Millisecond)
	if cfg.Strikes == nil {
		cfg.Strikes = func() Strikes { return Strikes{} }
	}
	return &Oracle{
		cfg:     cfg,
		holders: map[DeviceID]*holder{}, byUser: map[UserID][]*holder{}, byToken: map[string]*holder{},
		wishes: map[UserID]wishes{}, subjects: map[subjectKey]*subject{}, bySeq: map[seqKey]*arrival{},
		received: map[string]int{}, refused: map[string]int{}, accepts: map[string]int{},
	}
}

// Activating says that a device is about to be activated for a user with a
// target, whatever it was before: for another user, it changes hands, with
// another target, the target is rotated. Call the returned function when the
// service has acknowledged it.
func (o *Oracle) Activating(id DeviceID, user UserID, token string) (acknowledged func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	h := o.holders[id]
	if h == nil {
		h = &holder{id: id}
		o.holders[id] = h
		o.order = append(o.order, h)
	}
	if !slices.Contains(o.byUser[user], h) {
		o.byUser[user] = append(o.byUser[user], h)
	}
	if n := len(h.tokens); n == 0 || h.tokens[n-1].token != token {
		h.tokens = append(h.tokens, tokenUse{token: token, asked: now})
		o.byToken[token] = h
	}
	taken, opened := -1, -1
	if n := len(h.spans); n > 0 && h.spans[n-1].toAsked.IsZero() {
		if h.spans[n-1].user == user {
			return func() {} // active already: only the target changes
		}
		taken = n - 1
		h.spans[taken].toAsked = now
	}
	opened = len(h.spans)
	h.spans = append(h.spans, span{user: user, fromAsked: now, fromAcked: never()})
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		now := time.Now()
		h.spans[opened].fromAcked = now
		if taken >= 0 {
			h.spans[taken].toAcked = now
		}
	}
}

// Deactivating says that a device is about to be deactivated. Call the returned
// function when the service has acknowledged it.
func (o *Oracle) Deactivating(id DeviceID) (acknowledged func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.holders[id]
	if h == nil || len(h.spans) == 0 {
		return func() {}
	}
	last := len(h.spans) - 1
	h.spans[last].toAsked = time.Now()
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		h.spans[last].toAcked = time.Now()
	}
}

// Muting says that a user is about to mute exactly these categories. Call the
// returned function when the service has acknowledged it.
func (o *Oracle) Muting(user UserID, categories []string) (acknowledged func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wishes[user] = append(o.wishes[user], wish{muted: slices.Clone(categories), asked: time.Now(), acked: never()})
	last := len(o.wishes[user]) - 1
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.wishes[user][last].acked = time.Now()
	}
}

// never is later than any run.
func never() time.Time { return time.Unix(1<<40, 0) }

// Died says that a provider is about to forget a target.
func (o *Oracle) Died(token string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.byToken[token]
	if h == nil {
		return
	}
	if u := h.use(token); u.deadAt.IsZero() {
		u.deadAt = time.Now()
	}
}

// RaceSeen says that a race is about to become visible in UPCOMING_RACES with
// this start and status.
func (o *Oracle) RaceSeen(id string, startsAt time.Time, status RaceStatus) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.subject(subjectKey{aboutRace, id}, "")
	now := time.Now()
	source := o.cfg.Strikes().Source
	for _, r := range s.revs {
		if r.ended == 0 {
			r.ended = source + 1
		}
	}
	r := &revision{category: CategoryRace, due: now, status: status, startsAt: startsAt, source: source}
	switch status {
	case Scheduled:
		// Five minutes before the start, says the built-in rule race-soon.
		if soon := startsAt.Add(-5 * time.Minute); soon.After(now) {
			r.due = soon
		}
		r.what, r.expires = whatSoon, startsAt
	case Postponed, Abandoned:
		r.what = whatChanged
	default:
		return // a race that is off is not announced
	}
	if n := len(s.revs); n > 0 && s.revs[n-1].status == status && s.revs[n-1].startsAt.Equal(startsAt) {
		return // the same row again is no news
	}
	s.revs = append(s.revs, r)
}

// BetSeen says that a settlement of a bet is about to become visible in
// SETTLED_BETS.
func (o *Oracle) BetSeen(id string, user UserID, outcome Outcome, payout Money) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.subject(subjectKey{aboutBet, id}, user)
	if n := len(s.revs); n > 0 && s.revs[n-1].outcome == outcome && s.revs[n-1].payout == payout {
		return // the same row again is no news
	}
	category := CategoryWin
	if outcome == Lost {
		category = CategoryLoss
	}
	s.revs = append(s.revs, &revision{
		what: whatSettled, category: category, due: time.Now(), outcome: outcome, payout: payout,
		source: o.cfg.Strikes().Source,
	})
}

// BetRejected says that the rejection of a bet is about to become visible in
// REJECTED_BETS.
func (o *Oracle) BetRejected(id string, user UserID, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.subject(subjectKey{aboutBet, id}, user)
	if len(s.revs) > 0 {
		return // a bet is decided once
	}
	s.revs = append(s.revs, &revision{
		what: whatReject, category: CategoryBet, due: time.Now(), reason: reason, source: o.cfg.Strikes().Source,
	})
}

func (o *Oracle) subject(key subjectKey, user UserID) *subject {
	s := o.subjects[key]
	if s == nil {
		s = &subject{key: key, user: user, arrivals: map[DeviceID][]*arrival{}}
		o.subjects[key] = s
		o.history = append(o.history, s)
	}
	return s
}

// Accepted takes a message that a provider accepted.
func (o *Oracle) Accepted(p Push) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lastPush = time.Now()
	if p.Code == 0 {
		o.received[p.Provider]++
	}
	message := p.Provider + " " + p.NID + " " + p.Token
	o.accepts[message]++
	o.refused[message] = max(o.refused[message], p.Attempt-o.accepts[message])
	key, c, ok := p.read()
	problem := Problem{Kind: Unexpected, At: p.At, Subject: key.id, Title: p.Title}
	h := o.byToken[p.Token]
	if h == nil {
		problem.Name = "unknown_target"
		o.stray = append(o.stray, problem)
		return
	}
	problem.Device = h.id
	if p.Code != 0 {
		o.failed(p, h.use(p.Token), problem)
		return
	}
	s := o.subjects[key]
	if !ok || s == nil {
		problem.Name = "unknown_subject"
		o.stray = append(o.stray, problem)
		return
	}
	for i, r := range slices.Backward(s.revs) {
		if c.matches(r) && !p.At.Before(r.due) {
			a := &arrival{push: p, rev: i}
			s.arrivals[h.id] = append(s.arrivals[h.id], a)
			slices.SortStableFunc(s.arrivals[h.id], func(a, b *arrival) int { return a.push.compare(b.push) })
			o.bySeq[seqKey{p.Provider, p.Seq}] = a
			return
		}
	}
	problem.Name = "unknown_content"
	o.stray = append(o.stray, problem)
}

// failed takes a message that a provider accepted and then reported to have
// failed. Nobody saw it, so it is neither an arrival nor a repeat. Only a target
// that is dead may cause that, and only until the sender has had the time to
// hear of it. o.mu must be held.
func (o *Oracle) failed(p Push, u *tokenUse, problem Problem) {
	if p.Code != codeTargetDead || u.deadAt.IsZero() || p.At.Add(o.cfg.Slack).Before(u.deadAt) {
		problem.Name = "failed_after_acceptance"
		o.stray = append(o.stray, problem)
		return
	}
	o.toDead++
	switch {
	case u.reportedAt.IsZero():
		u.reportedAt = p.At
	case p.At.Sub(u.reportedAt) > o.cfg.Patience:
		problem.Name = "dead_target"
		o.stray = append(o.stray, problem)
	}
}

// reportedDead says whether a provider has reported that the target is dead.
func (o *Oracle) reportedDead(token string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.byToken[token]
	return h != nil && !h.use(token).reportedAt.IsZero()
}

// AnswerLost says that an accepted message turned out to be answered to nobody.
func (o *Oracle) AnswerLost(provider string, seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.bySeq[seqKey{provider, seq}]; a != nil {
		a.push.AnswerLost = true
	}
}
