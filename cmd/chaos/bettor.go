package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/book"
	"github.com/bugle-push/bugle/sandbox/racing"
)

const (
	// betRate is how many bets are placed a second.
	betRate = 5
	// bookEvery is how often a race begins to take bets, and bookLasts for how long
	// it does: about as long as a killed replica's partitions and bets have nobody.
	bookEvery = 15 * time.Second
	bookLasts = 50 * time.Second
)

// bettor lets users bet on races while the faults strike. What is bet on is not
// announced by any rule: these races are in Kafka alone.
type bettor struct {
	market *betting.Market
	// shown tells whether anybody can have seen odds of an event.
	shown func(event string) bool
	users []racing.UserID
	dice  *rand.Rand

	races []book.Event // that take bets, oldest first
	count int
	bets  int
}

func newBettor(l *loop, seed uint64, users []racing.UserID) *bettor {
	return &bettor{
		market: l.market, users: users, dice: rand.New(rand.NewPCG(seed, 0x6c6f6f70)),
		shown: func(event string) bool { return l.odds.Progress(event).Published > 0 },
	}
}

// run lets them bet until ctx ends. Then all races start, which suspends their
// odds: so the last snapshot of each event is one that must arrive.
func (b *bettor) run(ctx context.Context) {
	ticker := time.NewTicker(feedStep)
	defer ticker.Stop()
	began := time.Now()
	last, owed := began, 0.0
	for {
		now := time.Now()
		for len(b.races) > 0 && !b.races[0].StartsAt.After(now) {
			b.off()
		}
		if now.Sub(began) >= time.Duration(b.count)*bookEvery {
			b.enter(now)
		}
		for owed += betRate * now.Sub(last).Seconds(); owed >= 1; owed-- {
			b.bet()
		}
		last = now
		select {
		case <-ctx.Done():
			for len(b.races) > 0 {
				b.off()
			}
			return
		case <-ticker.C:
		}
	}
}

// enter opens a race for bets.
func (b *bettor) enter(now time.Time) {
	b.count++
	e := book.Event{ID: fmt.Sprintf("book-%03d", b.count), Status: book.Scheduled, StartsAt: now.Add(bookLasts).Truncate(time.Millisecond)}
	for n := range 4 {
		e.Runners = append(e.Runners, book.Runner{Name: fmt.Sprintf("Car %d", n+1), Seed: book.Money(50_00 * (n + 1))})
	}
	b.races = append(b.races, e)
	b.market.Race(race(e))
}

// off starts the oldest race.
func (b *bettor) off() {
	e := b.races[0]
	b.races = b.races[1:]
	e.Status = book.Off
	b.market.Race(race(e))
}

func race(e book.Event) betting.Race {
	return betting.Race{Event: e, Name: "Chaos Stakes", Course: "Kempton Park"}
}

// bet lets somebody bet on a race whose odds can be seen.
func (b *bettor) bet() {
	user := b.users[b.dice.IntN(len(b.users))]
	stake, pick, dice := book.Money(200+100*b.dice.IntN(50)), b.dice.Uint64(), b.dice.Uint64()
	open := slices.DeleteFunc(slices.Clone(b.races), func(e book.Event) bool { return !b.shown(e.ID) })
	if len(open) == 0 {
		return
	}
	b.bets++
	b.market.Bet(betting.Intent{User: string(user), Event: open[pick%uint64(len(open))].ID, Stake: stake, Dice: dice})
}
