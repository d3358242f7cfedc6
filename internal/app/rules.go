package app

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// Rules compiles the rules that the configuration asks for: those of
// rules_file, or of rules, or else the built-in ones. A category that is
// configured and that no rule uses is an error, because it is a misspelt one.
func Rules(cfg config.Config) (*notifier.RuleSet, error) {
	source, err := ruleSource(cfg)
	if err != nil {
		return nil, err
	}
	rules, err := notifier.CompileRules(source)
	if err != nil {
		return nil, err
	}
	known := rules.Categories()
	var unknown []fault.Field
	for _, name := range slices.Sorted(maps.Keys(cfg.Categories)) {
		if !slices.Contains(known, name) {
			unknown = append(unknown, fault.Field{
				Path: "categories." + name, Message: "no rule has this category, only " + strings.Join(known, ", "),
			})
		}
	}
	if len(unknown) > 0 {
		return nil, fault.InvalidFields("the configuration does not fit the rules", unknown...)
	}
	return rules, nil
}

func ruleSource(cfg config.Config) (notifier.RuleSource, error) {
	switch {
	case cfg.RulesFile != "":
		text, err := os.ReadFile(cfg.RulesFile)
		if err != nil {
			return notifier.RuleSource{}, fault.InvalidFields("the rules cannot be read",
				fault.Field{Path: "rules_file (BUGLE_RULES_FILE)", Message: err.Error()})
		}
		return notifier.RuleSource{Name: cfg.RulesFile, YAML: text}, nil
	case len(cfg.Rules) > 0:
		text, err := cfg.RulesYAML()
		if err != nil {
			return notifier.RuleSource{}, fmt.Errorf("read rules: %w", err)
		}
		return notifier.RuleSource{YAML: text}, nil
	default:
		return notifier.BuiltinRules(), nil
	}
}
