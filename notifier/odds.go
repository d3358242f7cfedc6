package notifier

import (
	"errors"
	"math/big"
)

var (
	errOddsNull = errors.New("the odds are null")
	errOdds     = errors.New("the odds are not a positive number")
)

// maxOddsDenominator is the largest denominator that is shown. Bookmakers'
// ladders stay below it (8/15, 4/11, 13/8, 10/11).
const maxOddsDenominator = 20

// maxOddsDigits bounds the arithmetic; odds have a handful of digits.
const maxOddsDigits = 18

// formatOdds writes odds, the profit per unit staked, as the fraction that a
// bookmaker would write: 0.125 is 1/8, 2.5 is 5/2, 1 is 1/1 (evens).
//
// A value that is a fraction with a small denominator is shown exactly. Any
// other is taken for a rounded one: shown is the simplest fraction that rounds
// to it, 0.33 as 1/3 and 0.36 as 4/11, or else the simplest within one percent.
func formatOdds(odds any) (string, error) {
	if odds == nil {
		return "", errOddsNull
	}
	text, ok := numberText(odds)
	if !ok {
		if text, ok = odds.(string); !ok {
			return "", errOdds
		}
	}
	d, err := parseDecimal(text)
	if err != nil || d.negative || d.digits == "" || len(d.digits) > maxOddsDigits ||
		d.exp > maxOddsDigits || d.exp < -maxOddsDigits {
		return "", errOdds
	}
	value, ok := new(big.Rat).SetString(d.String())
	if !ok {
		return "", errOdds
	}
	if isSmall(value) {
		return fraction(value), nil
	}
	// Half a unit of the last digit given; what is small has left already, so digits follow the point.
	half := big.NewRat(5, 1)
	unit := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(1-d.exp)), nil))
	half.Mul(half, unit)
	if f := simplestWithin(value, half); isSmall(f) {
		return fraction(f), nil
	}
	return fraction(simplestWithin(value, new(big.Rat).Mul(value, big.NewRat(1, 100)))), nil
}

func isSmall(r *big.Rat) bool {
	return r.Denom().IsInt64() && r.Denom().Int64() <= maxOddsDenominator
}

func fraction(r *big.Rat) string {
	return r.Num().String() + "/" + r.Denom().String()
}

// simplestWithin returns the fraction with the smallest denominator in
// [value - radius, value + radius), by descending the continued fraction that
// the two bounds share. Rounding half up is why the upper bound is open.
func simplestWithin(value, radius *big.Rat) *big.Rat {
	low := new(big.Rat).Sub(value, radius)
	high := new(big.Rat).Add(value, radius)
	return simplestBetween(low, true, high, false)
}

// simplestBetween wants 0 <= low < high; the flags say which bound belongs to the interval.
func simplestBetween(low *big.Rat, lowIn bool, high *big.Rat, highIn bool) *big.Rat {
	floor := new(big.Int).Quo(low.Num(), low.Denom())
	whole := new(big.Rat).SetInt(floor)
	if low.IsInt() && lowIn {
		return whole
	}
	next := new(big.Rat).Add(whole, big.NewRat(1, 1))
	if c := next.Cmp(high); c < 0 || (c == 0 && highIn) {
		return next
	}
	// Both bounds share the whole part: go on with the reciprocals of what is left, which swap sides.
	rest := new(big.Rat).Sub(high, whole)
	inverseLow := new(big.Rat).Inv(rest)
	lowRest := new(big.Rat).Sub(low, whole)
	if lowRest.Sign() == 0 {
		// low is whole itself but not in the interval: the reciprocal has no upper bound.
		n := new(big.Int).Quo(inverseLow.Num(), inverseLow.Denom())
		if !inverseLow.IsInt() || !highIn {
			n.Add(n, big.NewInt(1))
		}
		return whole.Add(whole, new(big.Rat).Inv(new(big.Rat).SetInt(n)))
	}
	inverseHigh := new(big.Rat).Inv(lowRest)
	inner := simplestBetween(inverseLow, highIn, inverseHigh, lowIn)
	return whole.Add(whole, new(big.Rat).Inv(inner))
}
