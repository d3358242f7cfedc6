package ksqlclient

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// maxDecimalDigits bounds what an exponent may expand to. ksqlDB's DECIMAL has
// at most 38 digits; a DOUBLE written out has 309 before the point.
const maxDecimalDigits = 1100

// Decimal is an exact decimal number with a scale: 12.50 is not 12.5 for ==, but
// Cmp says that they are equal. The zero value is 0. It is immutable and can be
// a map key.
type Decimal struct{ text string } // canonical: -?digits[.digits], empty for 0

// ParseDecimal reads digits with an optional sign, point and exponent. The scale
// is kept, "-0.00" becomes "0.00".
func ParseDecimal(s string) (Decimal, error) {
	if isCanonical(s) {
		return Decimal{s}, nil
	}
	bad := func() (Decimal, error) { return Decimal{}, errors.New("parse decimal: not a decimal number") }
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(s[i+1:])
		if err != nil {
			return bad()
		}
		if n > maxDecimalDigits || n < -maxDecimalDigits {
			return Decimal{}, errors.New("parse decimal: exponent out of range")
		}
		mantissa, exponent = s[:i], n
	}
	negative := strings.HasPrefix(mantissa, "-")
	if negative || strings.HasPrefix(mantissa, "+") {
		mantissa = mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if whole+fraction == "" || span(whole, isDigit) != len(whole) || span(fraction, isDigit) != len(fraction) {
		return bad()
	}
	if len(mantissa) > maxDecimalDigits {
		return Decimal{}, errors.New("parse decimal: too many digits")
	}
	switch {
	case exponent > 0:
		moved := min(exponent, len(fraction))
		whole += fraction[:moved] + strings.Repeat("0", exponent-moved)
		fraction = fraction[moved:]
	case exponent < 0:
		whole = strings.Repeat("0", max(0, -exponent-len(whole))) + whole
		cut := len(whole) + exponent
		whole, fraction = whole[:cut], whole[cut:]+fraction
	}
	return newDecimal(negative, whole, fraction), nil
}

// isCanonical reports whether s needs no rewriting, as nearly every number from
// the server.
func isCanonical(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	whole := span(digits, isDigit)
	if whole == 0 || len(s) > maxDecimalDigits || digits[0] == '0' {
		return false
	}
	if whole == len(digits) {
		return true
	}
	fraction := digits[whole+1:]
	return digits[whole] == '.' && fraction != "" && span(fraction, isDigit) == len(fraction)
}

func newDecimal(negative bool, whole, fraction string) Decimal {
	whole = strings.TrimLeft(whole, "0")
	if whole == "" && strings.Trim(fraction, "0") == "" {
		negative = false
	}
	if whole == "" {
		whole = "0"
	}
	text := whole
	if fraction != "" {
		text += "." + fraction
	}
	if negative {
		text = "-" + text
	}
	if text == "0" {
		text = ""
	}
	return Decimal{text}
}

// String returns digits with a point if the scale is not 0, and no exponent.
func (d Decimal) String() string {
	if d.text == "" {
		return "0"
	}
	return d.text
}

// Scale is the number of digits after the point.
func (d Decimal) Scale() int {
	_, fraction, _ := strings.Cut(d.text, ".")
	return len(fraction)
}

// Rat returns the exact value.
func (d Decimal) Rat() *big.Rat {
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		// Only a Decimal that ParseDecimal did not make could get here.
		panic("ksqlclient: invalid Decimal")
	}
	return r
}

// Cmp compares the values and returns -1, 0 or 1.
func (d Decimal) Cmp(other Decimal) int { return d.Rat().Cmp(other.Rat()) }

// Sign returns -1, 0 or 1.
func (d Decimal) Sign() int {
	switch {
	case strings.HasPrefix(d.text, "-"):
		return -1
	case strings.Trim(d.text, "0.") == "":
		return 0
	}
	return 1
}

// Float64 returns the nearest float64, an infinity beyond its range.
func (d Decimal) Float64() float64 {
	f, _ := d.Rat().Float64()
	return f
}

// MarshalText returns what String returns; JSON gets a string, which no reader
// rounds.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDecimal reads.
func (d *Decimal) UnmarshalText(text []byte) error {
	parsed, err := ParseDecimal(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// withScale pads with zeros up to the scale and drops zeros beyond it. Digits
// that are not zero stay: they come from the server's detour through DOUBLE for
// decimals inside a STRUCT, and rounding is for the caller.
func (d Decimal) withScale(scale int) Decimal {
	if d.Scale() == scale {
		return d
	}
	whole, fraction, _ := strings.Cut(d.String(), ".")
	for len(fraction) > scale && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	if n := scale - len(fraction); n > 0 {
		fraction += strings.Repeat("0", n)
	}
	negative := strings.HasPrefix(whole, "-")
	return newDecimal(negative, strings.TrimPrefix(whole, "-"), fraction)
}

// GoString returns the value in the form of Go source.
func (d Decimal) GoString() string { return fmt.Sprintf("ksqlclient.Decimal(%s)", d) }
