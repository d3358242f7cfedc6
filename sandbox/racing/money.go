package racing

import (
	"fmt"
	"math/big"
)

// Money is an amount in hundredths of its currency's unit.
type Money int64

// String returns the amount as ksqlDB's DECIMAL(18, 2) is written, "12.50".
func (m Money) String() string { return fmt.Sprintf("%d.%02d", m/100, m%100) }

// ParseMoney reads a decimal amount however many zeros it ends with. It reports
// false for what is not an exact number of hundredths.
func ParseMoney(s string) (Money, bool) {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, false
	}
	r.Mul(r, big.NewRat(100, 1))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	return Money(r.Num().Int64()), true
}

// Odds is the profit per unit staked, in eighths: Odds(1) is 1/8 or 0.125. In
// eighths every payout of an even number of units is exact in hundredths.
type Odds int64

// Float returns the odds as the odds topic carries them.
func (o Odds) Float() float64 { return float64(o) / 8 }

// String returns the odds as a fraction in lowest terms, "5/2".
func (o Odds) String() string {
	r := big.NewRat(int64(o), 8)
	return r.Num().String() + "/" + r.Denom().String()
}

// payout returns stake × (1 + odds).
func (o Odds) payout(stake Money) Money { return stake * Money(8+o) / 8 }
