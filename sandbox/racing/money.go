package racing

import "github.com/bugle-push/bugle/sandbox/book"

// Money is an amount in hundredths of its currency's unit.
type Money = book.Money

// Odds is the profit per unit staked, in thousandths.
type Odds = book.Odds

// ParseMoney reads a decimal amount however many zeros it ends with. It reports
// false for what is not an exact number of hundredths.
func ParseMoney(s string) (Money, bool) {
	m, err := book.ParseMoney(s)
	return m, err == nil
}
