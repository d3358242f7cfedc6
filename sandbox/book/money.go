package book

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
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

// Odds is the profit per unit staked, in thousandths: Odds(125) is 1/8 or 0.125.
type Odds int64

// RoundOdds returns the odds nearest to f, halves up; nothing below 0.
func RoundOdds(f float64) Odds {
	// Not a number is not above anything.
	if !(f > 0) {
		return 0
	}
	return Odds(math.Floor(min(f, 1e9)*1000 + 0.5))
}

// Float returns the odds as the topic odds carries them.
func (o Odds) Float() float64 { return float64(o) / 1000 }

// String returns whole eighths as a fraction in lowest terms, "5/2", and other
// odds as a decimal, "1.873".
func (o Odds) String() string {
	if o%125 != 0 {
		return strconv.FormatFloat(o.Float(), 'f', -1, 64)
	}
	r := big.NewRat(int64(o), 1000)
	return r.Num().String() + "/" + r.Denom().String()
}

// Payout returns stake × (1 + odds), halves of a hundredth up.
func (o Odds) Payout(stake Money) Money { return (stake*Money(1000+o) + 500) / 1000 }
