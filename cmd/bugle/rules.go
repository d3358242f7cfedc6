package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/notifier"
)

func (c *cli) rules() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Print the built-in rules; check or preview rules",
		Long: strings.TrimSpace(`
Rules say what is asked of ksqlDB, when, and what each row announces to whom.
They are data: write them in a file, and name it by rules_file. docs/rules.md
explains them.

Without a subcommand this prints the built-in rules.`),
		Example: `  bugle rules > rules.yaml
  bugle rules check rules.yaml
  bugle rules preview bet-settled --config bugle.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := c.stdout.Write(notifier.BuiltinRules().YAML)
			return err
		},
	}
	cmd.AddCommand(c.rulesCheck(), c.rulesPreview())
	return cmd
}

func (c *cli) rulesCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Tell everything that is wrong with rules",
		Long: strings.TrimSpace(`
Compiles the rules of a file as the service would, and lists every mistake with
its path. It asks no server. Without a file it checks the rules that the
configuration names, or else the built-in ones.`),
		Example: "  bugle rules check rules.yaml\n  bugle rules check --config bugle.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			rules, err := c.compile(args)
			if err != nil {
				return err
			}
			for _, r := range rules.All() {
				fmt.Fprintf(c.stdout, "%-24s %s, %s, categories %s\n", r.ID, r.ScheduleText, r.Class, strings.Join(r.Categories(), " "))
			}
			fmt.Fprintf(c.stdout, "%d rules are valid\n", len(rules.All()))
			return nil
		},
	}
}

// compile reads the rules of the file in args, or of the configuration.
func (c *cli) compile(args []string) (*notifier.RuleSet, error) {
	if len(args) == 0 {
		cfg, err := c.load()
		if err != nil {
			return nil, err
		}
		return app.Rules(cfg)
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return nil, err // says "open NAME: reason" already
	}
	return notifier.CompileRules(notifier.RuleSource{Name: args[0], YAML: text})
}

func (c *cli) rulesPreview() *cobra.Command {
	o := app.PreviewOptions{}
	cmd := &cobra.Command{
		Use:   "preview RULE",
		Short: "Run a rule's query now and show what it would announce; nothing is sent",
		Long: strings.TrimSpace(`
Runs the rule's query against the configured ksqlDB as if a tick were due now,
and shows the notifications in their default language and how many devices
would get each. It sends nothing and writes nothing.

Where database.url names a database that exists, each is marked as new, changed,
known or stale by what the service has on record, and its devices are counted.`),
		Example: `  bugle rules preview bet-settled --config bugle.yaml
  bugle rules preview bet-settled --window 24h --limit 3 --config bugle.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.load(config.NeedKSQLDB)
			if err != nil {
				return err
			}
			o.Rule = args[0]
			rule, p, err := app.PreviewRule(cmd.Context(), cfg, o)
			if err != nil {
				return err
			}
			c.printPreview(rule, p)
			return nil
		},
	}
	cmd.Flags().DurationVar(&o.Window, "window", time.Hour, "how far back a rule with a watermark reads")
	cmd.Flags().IntVar(&o.Limit, "limit", 10, "how many notifications to show")
	return cmd
}

func (c *cli) printPreview(rule *notifier.Rule, p notifier.Preview) {
	for _, n := range p.Notifications {
		to := "all users"
		switch rule.Audience.Kind {
		case notifier.AudienceUser:
			to = "user " + string(n.User)
		case notifier.AudienceFollows:
			to = "who was told by " + rule.Audience.Rule
		case notifier.AudienceAll:
		}
		variant := ""
		if n.Variant != "" {
			variant = " " + n.Variant
		}
		fmt.Fprintf(c.stdout, "%s%s (%s, %s) to %s, until %s\n", n.Key, variant, n.Category, n.News, to, n.ExpiresAt.UTC().Format(time.DateTime+" MST"))
		if !n.HeldUntil.IsZero() {
			fmt.Fprintf(c.stdout, "    provisional: held until a row confirms it, or %s\n", n.HeldUntil.UTC().Format(time.DateTime+" MST"))
		}
		text := n.Texts[""]
		fmt.Fprintf(c.stdout, "    %s\n    %s\n", text.Title, text.Body)
		if text.Link != "" {
			fmt.Fprintf(c.stdout, "    %s\n", text.Link)
		}
		if p.Counted {
			fmt.Fprintf(c.stdout, "    %d devices\n", n.Devices)
		}
		fmt.Fprintln(c.stdout)
	}
	for _, bad := range p.Bad {
		fmt.Fprintf(c.stdout, "bad row: %s\n", bad)
	}
	found := 0
	for _, n := range p.News {
		found += n
	}
	fmt.Fprintf(c.stdout, "%d rows: %d shown, %d not shown, %d bad, %d expired. Nothing was sent.\n",
		p.Rows, len(p.Notifications), found-len(p.Notifications), p.BadRows, p.Expired)
	if p.Truncated {
		fmt.Fprintln(c.stdout, "There are more rows than a preview reads.")
	}
	if !p.Counted {
		fmt.Fprintln(c.stdout, "Devices were not counted: database.url names no database that exists.")
	}
}
