package setup

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/bugle-push/bugle/notifier"
)

// What a sandbox changes in the built-in rules, so that there is something to
// see within seconds.
const (
	// Schedule is that of every rule.
	Schedule = "@every 1s"
	// Jitter is that of the rules that have one.
	Jitter = "0s"
	// SweepEvery is how often rules sweep that do.
	SweepEvery = "10s"
)

// Rules returns the built-in rules with the sandbox's schedules, as the text of
// a rule file.
func Rules() ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(notifier.BuiltinRules().YAML, &doc); err != nil {
		return nil, fmt.Errorf("read built-in rules: %w", err)
	}
	rules := child(doc.Content[0], "rules")
	for _, rule := range rules.Content {
		child(rule, "schedule").Value = Schedule
		if jitter := child(rule, "jitter"); jitter != nil {
			jitter.Value = Jitter
		}
		if sweep := child(rule, "sweep"); sweep != nil {
			child(sweep, "every").Value = SweepEvery
		}
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, fmt.Errorf("write rules: %w", err)
	}
	return b.Bytes(), nil
}

// child returns a mapping's value, nil if it has none of that name.
func child(mapping *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i+1]
		}
	}
	return nil
}
