package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/terminal"
	"github.com/bugle-push/bugle/notifier"
)

func (c *cli) rules() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Rules: print, check and preview them; list, pause, stop and run those of a service",
		Long: strings.TrimSpace(`
Rules say what is asked of ksqlDB, when, and what each row announces to whom.
They are data: write them in a file, and name it by rules_file. docs/rules.md
explains them.

Without a subcommand this prints the built-in rules. check and preview need no running
service; the others ask its admin API.`),
		Example: `  bugle rules > rules.yaml
  bugle rules check rules.yaml
  bugle rules preview bet-settled --config bugle.yaml
  bugle rules list
  bugle rules pause bet-settled --reason "wrong text"`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := c.stdout.Write(notifier.BuiltinRules().YAML)
			return err
		},
	}
	cmd.AddCommand(c.rulesCheck(), c.rulesPreview())
	cmd.AddCommand(c.rulesOfService()...)
	return cmd
}

// checkedRule is a rule as rules check prints it for programs.
type checkedRule struct {
	ID         string   `json:"id"`
	Schedule   string   `json:"schedule"`
	Mode       string   `json:"mode"`
	Class      string   `json:"class"`
	Categories []string `json:"categories"`
}

// checkedRules is what rules check prints for programs.
type checkedRules struct {
	Valid    bool          `json:"valid"`
	Rules    []checkedRule `json:"rules"`
	Mistakes []mistake     `json:"mistakes"`
}

// mistake is one thing that is wrong.
type mistake struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

func (c *cli) rulesCheck() *cobra.Command {
	var form outputForm
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Tell everything that is wrong with rules",
		Long: strings.TrimSpace(`
Compiles the rules of a file as the service would, and lists every mistake with
its path. It asks no server. Without a file it checks the rules that the
configuration names, or else the built-in ones.`),
		Example: "  bugle rules check rules.yaml\n  bugle rules check --config bugle.yaml\n  bugle rules check rules.yaml --output json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			rules, err := c.compile(args)
			if err != nil {
				if fe, ok := errors.AsType[*fault.Error](err); ok && form == outputJSON && len(fe.Fields) > 0 {
					return errors.Join(err, c.print(form, mistaken(fe), nil))
				}
				return err
			}
			found := checkedRules{Valid: true, Rules: []checkedRule{}, Mistakes: []mistake{}}
			for _, r := range rules.All() {
				found.Rules = append(found.Rules, checkedRule{
					ID: r.ID, Schedule: r.ScheduleText, Mode: string(r.Mode), Class: string(r.Class), Categories: r.Categories(),
				})
			}
			return c.print(form, found, func(s *terminal.Screen) error { return writeChecked(s, found.Rules) })
		},
	}
	form.flag(cmd)
	return cmd
}

func mistaken(fe *fault.Error) checkedRules {
	out := checkedRules{Rules: []checkedRule{}}
	for _, f := range fe.Fields {
		out.Mistakes = append(out.Mistakes, mistake{Path: f.Path, Message: f.Message})
	}
	return out
}

func writeChecked(s *terminal.Screen, rules []checkedRule) error {
	t := terminal.NewTable(s, "RULE", "SCHEDULE", "MODE", "CLASS", "CATEGORIES")
	for _, r := range rules {
		t.Row(r.ID, r.Schedule, r.Mode, r.Class, strings.Join(r.Categories, " "))
	}
	if err := t.Write(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s, "\n%s\n", s.Paint(terminal.Green, fmt.Sprintf("%d rules are valid", len(rules))))
	return err
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
	var form outputForm
	cmd := &cobra.Command{
		Use:   "preview RULE",
		Short: "Run a rule's query now and show what it would announce; nothing is sent",
		Long: strings.TrimSpace(`
Runs the rule's query against the configured ksqlDB as if a tick were due now,
and shows the notifications in their default language and how many devices
would get each. It sends nothing and writes nothing.

Where database.url names a database that exists, each is marked as new, changed,
confirmed, renewed, known or stale by what the service has on record, and its
devices are counted.`),
		Example: `  bugle rules preview bet-settled --config bugle.yaml
  bugle rules preview bet-settled --window 24h --limit 3 --config bugle.yaml
  bugle rules preview bet-settled --config bugle.yaml --output json`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: c.configuredRules(),
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
			shown := preview{AdminPreview: api.NewAdminPreview(rule.ID, p), Counted: p.Counted}
			return c.print(form, shown, func(*terminal.Screen) error { c.printPreview(rule, p); return nil })
		},
	}
	cmd.Flags().DurationVar(&o.Window, "window", time.Hour, "how far back a rule with a watermark reads")
	cmd.Flags().IntVar(&o.Limit, "limit", 10, "how many notifications to show")
	form.flag(cmd)
	return cmd
}

// preview is what rules preview prints for programs: what the admin API answers, and whether
// devices were counted, for which there must be a database.
type preview struct {
	api.AdminPreview
	Counted bool `json:"counted"`
}

// configuredRules completes a rule of the configuration, which asks no server.
func (c *cli) configuredRules() cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) (out []string, _ cobra.ShellCompDirective) {
		if len(args) == 0 {
			if rules, err := c.compile(nil); err == nil {
				for _, r := range rules.All() {
					out = append(out, cobra.CompletionWithDesc(r.ID, r.ScheduleText))
				}
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func (c *cli) printPreview(rule *notifier.Rule, p notifier.Preview) {
	out := terminal.Harmless(c.stdout)
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
		fmt.Fprintf(out, "%s%s (%s, %s) to %s, until %s\n", n.Key, variant, n.Category, n.News, to, n.ExpiresAt.UTC().Format(time.DateTime+" MST"))
		if !n.HeldUntil.IsZero() {
			fmt.Fprintf(out, "    provisional: held until a row confirms it, or %s\n", n.HeldUntil.UTC().Format(time.DateTime+" MST"))
		}
		text := n.Texts[""]
		fmt.Fprintf(out, "    %s\n    %s\n", text.Title, text.Body)
		if text.Link != "" {
			fmt.Fprintf(out, "    %s\n", text.Link)
		}
		if p.Counted {
			fmt.Fprintf(out, "    %d devices\n", n.Devices)
		}
		fmt.Fprintln(out)
	}
	for _, bad := range p.Bad {
		fmt.Fprintf(out, "bad row: %s\n", bad)
	}
	found := 0
	for _, n := range p.News {
		found += n
	}
	fmt.Fprintf(out, "%d rows: %d shown, %d not shown, %d bad, %d expired. Nothing was sent.\n",
		p.Rows, len(p.Notifications), found-len(p.Notifications), p.BadRows, p.Expired)
	if p.Truncated {
		fmt.Fprintln(out, "There are more rows than a preview reads.")
	}
	if !p.Counted {
		fmt.Fprintln(out, "Devices were not counted: database.url names no database that exists.")
	}
}
