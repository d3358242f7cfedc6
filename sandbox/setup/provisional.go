package setup

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Hold is how long a sandbox holds a provisional result that nothing confirms:
// longer than any is provisional in it, faults considered.
const Hold = "45s"

// HoldProvisional changes bet-settled in rules that Rules made as docs/rules.md
// says: it reads SETTLED_BETS_WITH_STATUS and holds what is provisional.
func HoldProvisional(rules []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(rules, &doc); err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	for _, rule := range child(doc.Content[0], "rules").Content {
		if child(rule, "id").Value != "bet-settled" {
			continue
		}
		query := child(rule, "query")
		query.Value = strings.NewReplacer("FROM settled_bets", "FROM settled_bets_with_status", "settled_at, ROWTIME", "settled_at, status, ROWTIME").Replace(query.Value)
		var hold yaml.Node
		if err := yaml.Unmarshal([]byte("{column: status, values: [PROVISIONAL], hold: "+Hold+"}"), &hold); err != nil {
			return nil, fmt.Errorf("read hold: %w", err)
		}
		rule.Content = append(rule.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "provisional"}, hold.Content[0])
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, fmt.Errorf("write rules: %w", err)
	}
	return b.Bytes(), nil
}
