package betting

import (
	"fmt"
	"slices"

	"github.com/bugle-push/bugle/sandbox/book"
)

// Pick is a user who bets on one runner, whatever its odds are.
type Pick struct {
	User, Event, Runner string
	Stake               book.Money
}

// Back places a pick, full and at the odds that its user sees. It returns at
// once. Whether the order book has taken it MarketConfig.OnBet hears; of one that
// could not be placed it never does.
func (m *Market) Back(p Pick) {
	<-m.begun
	m.mu.Lock()
	defer m.mu.Unlock()
	m.picks++
	i := Intent{User: p.User, Event: p.Event, Stake: p.Stake, Dice: m.picks}
	m.placing(FormFull, func() error {
		tiles, err := m.seen(m.ctx, i)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(tiles, func(t book.Tile) bool { return t.Name == p.Runner })
		if at < 0 {
			return fmt.Errorf("no odds of %s in %s", p.Runner, p.Event)
		}
		return m.place(m.ctx, i, FormFull, tiles[at])
	})
}
