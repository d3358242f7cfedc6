package notifier

import (
	_ "embed"
	"slices"
)

//go:embed builtin.yaml
var builtinYAML []byte

// BuiltinRules returns the rules that Bugle brings along: bet-settled,
// bet-rejected, race-soon and race-changed. They read the views settled_bets,
// rejected_bets and upcoming_races of the contract.
func BuiltinRules() RuleSource {
	return RuleSource{Name: "builtin.yaml", YAML: slices.Clone(builtinYAML)}
}
