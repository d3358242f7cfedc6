package betting

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/bugle-push/bugle/sandbox/book"
)

// MarketConfig configures a Market.
type MarketConfig struct {
	Seed uint64
	// Broker is host:port of a Kafka with the topics of the loop.
	Broker string
	// AblyURL is the base URL of Ably's REST API.
	AblyURL string
	// Watchers are the users who keep the app open: they watch the odds of every
	// race as a stream. The others look once, just before they bet.
	Watchers []string
	// Seated are the users whose app is connected to Ably all the time and bets
	// that way, by Ably's SDK. The others bet by plain HTTP.
	Seated []string
	// DefaultStake is what the service takes a bet without a stake for.
	DefaultStake book.Money
	// Odds and Bets hear everything. Required.
	Odds *OddsOracle
	Bets *BetsOracle
	// OnBet is called for every bet that was decided, from many goroutines.
	// Required.
	OnBet func(Decided)
}

// Intent is a user who is about to bet.
type Intent struct {
	User  string
	Event string
	Stake book.Money
	// Dice decides what the user makes of the odds.
	Dice uint64
}

// Form is how a bet is written.
type Form string

// The forms. Wrong ones are what a service must refuse.
const (
	// FormFull names event and stake.
	FormFull Form = "full"
	// FormTile is the bare tile of the demo's app: the event is the channel's.
	FormTile Form = "tile"
	// FormDrifted is full, at odds that were never offered.
	FormDrifted Form = "drifted"
	// FormMalformed is no bet.
	FormMalformed Form = "malformed"
	// FormForeignClient says that somebody else published it, which Ably refuses.
	FormForeignClient Form = "foreign_client"
	// FormForeignChannel goes to somebody else's channel, which Ably refuses.
	FormForeignChannel Form = "foreign_channel"
)

// Market is the world between the users and the order book. Run it once.
type Market struct {
	cfg       MarketConfig
	apps      *apps
	processor *Processor

	// Run sets these, and closes begun.
	begun chan struct{}
	ctx   context.Context //nolint:containedctx // for the goroutines that intents and races start

	mu       sync.Mutex
	going    sync.WaitGroup
	dice     *rand.Rand
	watching map[string]context.CancelFunc // by event
	screens  map[screen][]book.Tile
	seats    map[string]*seat // by user
	forms    map[Form]int
	unable   int // bets that could not be placed
	busy     int // bets that are being placed
	intents  int
	picks    uint64
	accepted map[string][]Decided // by event
	over     int                  // bets that were accepted on races that are over
	rejected map[book.Reason]int
	rounds   []time.Duration // from placed to shown, of races that are over
}

// screen is what a user sees of an event.
type screen struct{ user, event string }

// NewMarket returns a market; it asks nothing yet. Close it.
func NewMarket(cfg MarketConfig) (*Market, error) {
	if cfg.Odds == nil || cfg.Bets == nil || cfg.OnBet == nil {
		return nil, errors.New("a market needs both oracles and somebody who hears of bets")
	}
	m := &Market{
		cfg: cfg, begun: make(chan struct{}), dice: rand.New(rand.NewPCG(cfg.Seed, 0x6d61726b6574)),
		watching: map[string]context.CancelFunc{}, screens: map[screen][]book.Tile{}, seats: map[string]*seat{}, forms: map[Form]int{},
		accepted: map[string][]Decided{}, rejected: map[book.Reason]int{},
	}
	p, err := NewProcessor(ProcessorConfig{Broker: cfg.Broker, OnBet: m.decided})
	if err != nil {
		return nil, err
	}
	m.processor = p
	return m, nil
}

// Close ends what New began. Call it when Run has returned.
func (m *Market) Close() {
	m.processor.Close()
	if m.apps != nil {
		m.apps.close()
	}
}

// Run lets the market live until ctx ends, which is not an error. Until it has
// begun, everything else waits for it.
func (m *Market) Run(ctx context.Context, tokens Tokens) error {
	g, ctx := errgroup.WithContext(ctx)
	m.ctx, m.apps = ctx, newApps(m.cfg.AblyURL, tokens)
	close(m.begun)
	for _, user := range m.cfg.Seated {
		g.Go(func() error { return m.seat(ctx, user) })
	}
	g.Go(func() error { return m.processor.Run(ctx) })
	g.Go(func() error { return Observe(ctx, m.cfg.Broker, m.cfg.Odds, m.cfg.Bets) })
	err := g.Wait()
	m.going.Wait()
	return err
}

// seat keeps a user's app connected until ctx ends.
func (m *Market) seat(ctx context.Context, user string) error {
	s, err := m.apps.sit(ctx, user)
	if err != nil {
		return err
	}
	defer s.stand()
	m.mu.Lock()
	m.seats[user] = s
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	delete(m.seats, user)
	m.mu.Unlock()
	return nil
}

// Observe reads the topics for the oracles, as a consumer of its own, until ctx
// ends.
func Observe(ctx context.Context, broker string, odds *OddsOracle, bets *BetsOracle) error {
	return read(ctx, broker, func(r *kgo.Record) {
		switch r.Topic {
		case TopicOdds:
			odds.Recorded(Snapshot{
				Place: Place{r.Partition, r.Offset}, Event: string(r.Key), Value: r.Value, At: r.Timestamp,
				Suspended: header(r, suspendedHeader) == "true",
			})
		case TopicBets:
			bet, _, err := readBet(r)
			if err != nil {
				bet.ID = fmt.Sprintf("unreadable at %d/%d", r.Partition, r.Offset)
			}
			bets.Recorded(TopicBet{ID: bet.ID, At: time.Now(), Wish: Wish{
				User: bet.User, Event: bet.Event, Runner: bet.Runner, Stake: bet.Stake, Odds: bet.Odds,
			}})
		case TopicDeadBets:
			bets.Buried(DeadLetter{ID: header(r, "bugle-message-id"), Reason: header(r, "bugle-reason")})
		}
	}, TopicOdds, TopicBets, TopicDeadBets)
}

// header returns a header's value, empty if there is none.
func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// Race tells how a race stands, also for the first time. While it is open for
// bets, watchers watch its odds.
func (m *Market) Race(r Race) {
	<-m.begun
	m.processor.Race(m.ctx, r) // not under mu, which it takes to tell of bets
	m.mu.Lock()
	defer m.mu.Unlock()
	stop, watched := m.watching[r.ID]
	switch {
	case r.Status == book.Scheduled && !watched:
		ctx, cancel := context.WithCancel(m.ctx)
		m.watching[r.ID] = cancel
		for _, user := range m.cfg.Watchers {
			m.going.Go(func() {
				m.apps.watch(ctx, user, oddsChannel(r.ID), func(got message) { m.show(screen{user, r.ID}, got) })
			})
		}
	case r.Status != book.Scheduled && watched:
		stop()
		delete(m.watching, r.ID)
	}
}

// Forget removes a race that is over.
func (m *Market) Forget(event string) {
	m.processor.Forget(event)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rounds = append(m.rounds, m.roundsOf(event)...)
	m.over += len(m.accepted[event])
	delete(m.accepted, event)
	for s := range m.screens {
		if s.event == event {
			delete(m.screens, s)
		}
	}
}

// Write writes a record of what the owner of the races knows.
func (m *Market) Write(topic, key string, value any, at time.Time) {
	<-m.begun
	m.processor.Write(m.ctx, topic, key, value, at)
}

func oddsChannel(event string) string { return "outbound:odds:" + event }

// show puts odds on a user's screen.
func (m *Market) show(s screen, got message) {
	tiles, err := tilesOf(got)
	if err != nil {
		return // the oracle compares what was published with the topic
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.screens[s] = tiles
}

// Bet lets a user look at the odds and bet on what seems best, by the form that is
// due. It returns at once.
func (m *Market) Bet(i Intent) {
	<-m.begun
	m.mu.Lock()
	defer m.mu.Unlock()
	form := m.form()
	m.placing(form, func() error { return m.bet(m.ctx, i, form) })
}

// placing places a bet meanwhile, and counts it. m.mu must be held.
func (m *Market) placing(form Form, place func() error) {
	m.busy++
	m.going.Go(func() {
		err := place()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.busy--
		var refusal *Refusal
		switch {
		case err == nil || errors.As(err, &refusal):
			m.forms[form]++
		default:
			m.unable++
		}
	})
}

// form decides how the next bet is written: each form soon, and most of them
// full. m.mu must be held.
func (m *Market) form() Form {
	m.intents++
	switch n := m.intents % 20; {
	case n == 3:
		return FormMalformed
	case n == 6:
		return FormForeignClient
	case n == 9:
		return FormForeignChannel
	case n == 12:
		return FormDrifted
	case n%5 == 0:
		return FormTile
	}
	return FormFull
}

// seen returns the odds on the user's screen, or looks them up.
func (m *Market) seen(ctx context.Context, i Intent) ([]book.Tile, error) {
	// The first snapshot of a race takes a moment to come.
	for range 20 {
		m.mu.Lock()
		tiles := m.screens[screen{i.User, i.Event}]
		m.mu.Unlock()
		if tiles != nil {
			return tiles, nil
		}
		latest, err := m.apps.latest(ctx, i.User, oddsChannel(i.Event))
		if err != nil {
			return nil, err
		}
		if latest != nil {
			return tilesOf(*latest)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
	return nil, fmt.Errorf("no odds of %s", i.Event)
}

// Choose returns the tile that a user bets on: everybody has another opinion of
// the runners, and goes by what odds promise with it.
func Choose(tiles []book.Tile, dice uint64) book.Tile {
	r := rand.New(rand.NewPCG(dice, 0))
	return slices.MaxFunc(tiles, func() func(a, b book.Tile) int {
		worth := map[string]float64{}
		for _, t := range tiles {
			worth[t.Name] = r.ExpFloat64() * (1 + t.Odds) / (1 + t.Odds*t.Odds/4)
		}
		return func(a, b book.Tile) int { return cmp.Compare(worth[a.Name], worth[b.Name]) }
	}())
}

// bet places one bet.
func (m *Market) bet(ctx context.Context, i Intent, form Form) error {
	tiles, err := m.seen(ctx, i)
	if err != nil {
		return err
	}
	if len(tiles) == 0 {
		return errors.New("no runners")
	}
	return m.place(ctx, i, form, Choose(tiles, i.Dice))
}

// place writes a bet and publishes it.
func (m *Market) place(ctx context.Context, i Intent, form Form, tile book.Tile) error {
	p := m.compose(i, form, tile)
	m.cfg.Bets.Placing(p.channel, p.clientID, p.data, p.want, p.wish)
	data, err := json.Marshal(p.data)
	if err != nil {
		return fmt.Errorf("marshal bet: %w", err)
	}
	post := message{ID: fmt.Sprintf("%s-%x", i.User, i.Dice), Name: i.User, ClientID: p.clientID, Data: data}
	m.mu.Lock()
	seat := m.seats[i.User]
	m.mu.Unlock()
	if seat != nil && p.want == Taken { // an SDK does not let a user pretend
		err = seat.publish(ctx, m.apps, p.channel, post)
	} else {
		err = m.apps.publish(ctx, i.User, p.channel, post)
	}
	if _, refused := errors.AsType[*Refusal](err); refused {
		m.cfg.Bets.AblyRefused()
	}
	return err
}

// post is a bet as it is published.
type post struct {
	channel, clientID, data string
	want                    Want
	wish                    Wish
}

// compose writes a bet.
func (m *Market) compose(i Intent, form Form, tile book.Tile) post {
	p := post{channel: BetsChannel("cars", i.User), want: Taken, wish: Wish{
		User: i.User, Event: i.Event, Runner: tile.Name, Stake: i.Stake, Odds: book.RoundOdds(tile.Odds),
	}}
	if form == FormDrifted {
		tile.Odds += 5 // of another day
		p.wish.Odds = book.RoundOdds(tile.Odds)
	}
	full := map[string]any{"name": tile.Name, "event": i.Event, "stake": json.Number(i.Stake.String()), "odds": tile.Odds}
	switch form {
	case FormFull, FormDrifted:
	case FormTile:
		p.channel = BetsChannel(i.Event, i.User)
		p.wish.Stake = m.cfg.DefaultStake
		full = map[string]any{"name": tile.Name, "odds": tile.Odds}
		if tile.ImageURL != nil {
			full["imageURL"] = *tile.ImageURL
		}
	case FormMalformed:
		p.want = Refused
		switch i.Dice % 4 {
		case 0:
			p.data = "ten on " + tile.Name
		case 1:
			full["stake"] = -5
		case 2:
			full["name"] = ""
		case 3:
			full["odds"] = "evens"
		}
	case FormForeignClient:
		p.clientID, p.want = "somebody-else", Refused
	case FormForeignChannel:
		p.channel, p.want = BetsChannel("cars", "somebody-else"), Refused
	}
	if p.data == "" {
		text, _ := json.Marshal(full) //nolint:errchkjson // texts and numbers
		p.data = string(text)
	}
	return p
}

// BetsChannel is where a user places bets.
func BetsChannel(category, user string) string {
	return strings.Join([]string{"inbound", "betting", category, user}, ":")
}

// decided counts a bet and passes it on.
func (m *Market) decided(d Decided) {
	m.mu.Lock()
	if d.Verdict == book.Accepted {
		m.accepted[d.Event] = append(m.accepted[d.Event], d)
	} else {
		m.rejected[d.Reason]++
	}
	m.mu.Unlock()
	m.cfg.OnBet(d)
}

// roundsOf returns how long each accepted bet on a race took from Ably through
// everything until the odds that it made were on Ably. m.mu must be held.
func (m *Market) roundsOf(event string) []time.Duration {
	var rounds []time.Duration
	for _, d := range m.accepted[event] {
		placed, ok1 := m.cfg.Bets.PlacedAt(d.ID)
		shown, ok2 := m.cfg.Odds.ShownAt(event, d.Place)
		if ok1 && ok2 {
			rounds = append(rounds, shown.Sub(placed))
		}
	}
	return rounds
}

// Outstanding counts what is still on its way: bets that are being placed, have
// not come to Kafka or have not been decided, and races whose newest odds have
// not come to Ably.
func (m *Market) Outstanding() int {
	// In the order of the way, so that nothing passes unseen.
	m.mu.Lock()
	n := m.busy
	m.mu.Unlock()
	n += m.cfg.Bets.Outstanding()
	records := m.cfg.Bets.Records()
	var newest map[string]Place
	m.processor.progress.change(func(p *progress) {
		n += max(0, records-p.bets) + p.pending
		newest = maps.Clone(p.newest)
	})
	for event, at := range newest {
		if _, shown := m.cfg.Odds.ShownAt(event, at); !shown {
			n++
		}
	}
	return n + m.cfg.Odds.Outstanding()
}

// Going is what the users have done, and the order book, so far.
type Going struct {
	// Forms counts the bets that Ably answered, by form.
	Forms map[Form]int
	// Unable counts the bets that could not be placed: no odds, no token, or no
	// answer of Ably.
	Unable int
	// Seated counts the users whose apps are connected.
	Seated int
	// Accepted and Rejected are what the order book decided.
	Accepted int
	Rejected map[book.Reason]int
	// Rounds is how long each accepted bet took from Ably through Kafka until
	// the odds that it made were on Ably, shortest first.
	Rounds []time.Duration
}

// Going returns the counts.
func (m *Market) Going() Going {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := Going{Forms: maps.Clone(m.forms), Rejected: maps.Clone(m.rejected), Unable: m.unable, Seated: len(m.seats), Rounds: slices.Clone(m.rounds)}
	for event, list := range m.accepted {
		g.Accepted += len(list)
		g.Rounds = append(g.Rounds, m.roundsOf(event)...)
	}
	g.Accepted += m.over
	slices.Sort(g.Rounds)
	return g
}

// Story tells in a line how bets have moved the odds of a race, and how far that
// has come; empty if there were none.
func (m *Market) Story(event, name string) string {
	m.mu.Lock()
	bets := len(m.accepted[event])
	rounds := m.roundsOf(event)
	m.mu.Unlock()
	p := m.cfg.Odds.Progress(event)
	first, err1 := book.Decode(p.First)
	last, err2 := book.Decode(p.Last)
	if bets == 0 || err1 != nil || err2 != nil || len(first) != len(last) || len(rounds) == 0 {
		return ""
	}
	slices.Sort(rounds)
	moved := 0 // the runner that most was bet on
	for i := range first {
		if shortened(first[i], last[i]) > shortened(first[moved], last[moved]) {
			moved = i
		}
	}
	return fmt.Sprintf("%d bets on %s moved its odds, %s from %s to %s: %d updates in Kafka, %d published on %s, %d overtaken; from a bet to its odds on Ably p50 %d ms",
		bets, name, first[moved].Name, book.RoundOdds(first[moved].Odds), book.RoundOdds(last[moved].Odds),
		p.Updates, p.Published, oddsChannel(event), p.Conflated, rounds[len(rounds)/2].Milliseconds())
}

// shortened is how much less a runner pays than before.
func shortened(before, now book.Tile) float64 { return (1 + before.Odds) / (1 + now.Odds) }
