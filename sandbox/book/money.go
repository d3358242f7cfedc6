package book

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
)

// Money is an amount in hundredths of its currency's unit.
type Money int64

// ErrAmount is returned for a text that is no exact number of hundredths.
var ErrAmount = errors.New("not an amount in hundredths")

// ParseMoney reads a decimal amount such as 5, 5.5 or 5.50.
func ParseMoney(text string) (Money, error) {
	// An exponent could ask for more digits than fit into memory.
	if len(text) > 20 || strings.ContainsAny(text, "eEpPxX/_") {
		return 0, ErrAmount
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, ErrAmount
	}
	r.Mul(r, big.NewRat(100, 1))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, ErrAmount
	}
	return Money(r.Num().Int64()), nil
}

// String returns the amount as ksqlDB's DECIMAL(18, 2) is written, "12.50".
func (m Money) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	return fmt.Sprintf("%s%d.%02d", sign, m/100, m%100)
}

// Odds is the profit per unit staked, in eighths: Odds(1) is 1/8 or 0.125.
type Odds int64

// floorOdds returns the largest odds that are not above f, 0 at least.
func floorOdds(f float64) Odds {
	// Not a number is not above anything.
	if !(f > 0) {
		return 0
	}
	return Odds(math.Floor(min(f, 1<<20) * 8))
}

// Float returns the odds as the topic odds carries them.
func (o Odds) Float() float64 { return float64(o) / 8 }

// String returns the odds as a fraction in lowest terms, "5/2".
func (o Odds) String() string {
	r := big.NewRat(int64(o), 8)
	return r.Num().String() + "/" + r.Denom().String()
}

// Payout returns stake × (1 + odds), rounded down. In eighths every payout of an
// even number of units is exact in hundredths.
func (o Odds) Payout(stake Money) Money { return stake * Money(8+o) / 8 }
