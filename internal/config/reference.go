package config

import (
	"fmt"
	"strings"
)

// Reference returns the table of all keys in Markdown, for docs/configuration.md.
func Reference() string {
	var b strings.Builder
	b.WriteString("| Key | Environment | Value | Default | Meaning |\n|---|---|---|---|---|\n")
	for _, k := range Keys() {
		path, def := "`"+k.Path+"`", ""
		if k.Secret {
			path += " (not in the file)"
		}
		if k.Default != "" {
			def = "`" + k.Default + "`"
		}
		doc := k.Doc
		if k.Example != "" {
			doc += ". Example: `" + k.Example + "`"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", path, k.Env, k.Type, def, doc)
	}
	return b.String()
}

// Help returns all keys as plain text for a terminal.
func Help() string {
	var b strings.Builder
	for _, k := range Keys() {
		fmt.Fprintf(&b, "  %s\n      %s", k.Path+" ("+k.Env+")", k.Doc)
		switch {
		case k.Default != "":
			fmt.Fprintf(&b, " [%s]", k.Default)
		case k.Secret:
			b.WriteString(" [not accepted in the file]")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
