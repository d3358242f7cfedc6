package notifier

import (
	"errors"
	"fmt"

	"github.com/bojanz/currency"
	"golang.org/x/text/language"
)

// maxMoneyExp bounds an amount: 10^30 of anything is a broken row, not a payout.
const maxMoneyExp = 30

var (
	errAmountNull   = errors.New("the amount is null")
	errAmount       = errors.New("the amount is not a number")
	errCurrencyNull = errors.New("the currency is null or empty")
)

// formatMoney writes an exact decimal amount as the locale does: £12.50, 12,50 €, CHF 12.50.
// It never goes through floating point, and shows every digit up to the sixth.
func formatMoney(amount, code any, locale language.Tag) (string, error) {
	if amount == nil {
		return "", errAmountNull
	}
	text, ok := numberText(amount)
	if !ok {
		// DECIMAL may arrive as a string.
		if text, ok = amount.(string); !ok {
			return "", errAmount
		}
	}
	d, err := parseDecimal(text)
	if err != nil || len(d.digits)+d.exp > maxMoneyExp || d.exp < -maxMoneyExp {
		return "", errAmount
	}
	name, ok := code.(string)
	if !ok || name == "" {
		return "", errCurrencyNull
	}
	a, err := currency.NewAmount(d.String(), name)
	if err != nil {
		return "", fmt.Errorf("%.8q is no ISO 4217 currency code", name)
	}
	return currency.NewFormatter(currencyLocale(locale)).Format(a), nil
}
