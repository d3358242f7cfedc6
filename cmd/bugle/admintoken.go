package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/terminal"
)

// tokenOptions are the flags of admin-token.
type tokenOptions struct {
	name, file, expires string
	form                outputForm
}

// newToken is what admin-token prints for programs.
type newToken struct {
	Name      string     `json:"name"`
	Token     string     `json:"token"`
	ExpiresAt *time.Time `json:"expires_at"` // null: never
}

func (c *cli) adminToken() *cobra.Command {
	var o tokenOptions
	cmd := &cobra.Command{
		Use:   "admin-token --name NAME",
		Short: "Make a token for an operator of the admin API",
		Long: strings.TrimSpace(`
Makes a token for the admin API, prints it once, and appends its hash to the
tokens file (admin.tokens_file, or --file). The token itself is kept nowhere:
give it to its owner, and make a new one when it is lost.

A running service takes a new token within a second or two; so does it forget
one whose line is removed from the file. Give every person and every program a
token with a name of its own: the audit says who did what by that name.

The token goes to standard output and the explanation to standard error, so
that it can be piped into a secret store.`),
		Example: `  bugle admin-token --name alice --config bugle.yaml
  bugle admin-token --name ci --expires 24h --file /var/lib/bugle/admin-tokens
  (umask 077; bugle admin-token --name alice --config bugle.yaml > ~/.bugle-token)  # where the other commands look
  TOKEN=$(bugle admin-token --name alice --config bugle.yaml)
  curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8081/admin/v1/rules`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.makeAdminToken(o, time.Now()) },
	}
	cmd.Flags().StringVar(&o.name, "name", "", "whose token it is: 1 to 64 of A-Z a-z 0-9 . _ @ - (required)")
	cmd.Flags().StringVar(&o.expires, "expires", "90d", "how long it is good: 90d, 12h, or never")
	cmd.Flags().StringVar(&o.file, "file", "", "the tokens file, instead of admin.tokens_file")
	o.form.flag(cmd)
	return cmd
}

func (c *cli) makeAdminToken(o tokenOptions, now time.Time) error {
	ttl, err := parseTTL(o.expires)
	if err != nil {
		return err
	}
	plain, token, err := api.NewAdminToken(o.name, now, ttl)
	if err != nil {
		return err
	}
	if o.file == "" {
		cfg, err := c.load()
		if err != nil {
			return err
		}
		if o.file = cfg.Admin.TokensFile; o.file == "" {
			return fault.InvalidFields("there is no tokens file", fault.Field{
				Path: "admin.tokens_file (BUGLE_ADMIN_TOKENS_FILE)", Message: "missing: name the file that the service reads, or give --file",
			})
		}
	}
	if err := appendToken(o.file, token); err != nil {
		return err
	}
	until := "never expires"
	if !token.Expires.IsZero() {
		until = "expires " + token.Expires.Format(time.RFC3339)
	}
	fmt.Fprintf(c.stderr, "A token for %s was added to %s; it %s.\nIt is shown this once:\n\n", token.Name, o.file, until)
	made := newToken{Name: token.Name, Token: plain.Reveal()}
	if !token.Expires.IsZero() {
		made.ExpiresAt = &token.Expires
	}
	return c.print(o.form, made, func(s *terminal.Screen) error {
		_, err := fmt.Fprintln(s, made.Token)
		return err
	})
}

// appendToken adds a line to a tokens file that is valid so far; a new file can
// be read by its owner only. The line is written at once, so that a service that
// reads meanwhile sees all of it or nothing.
func appendToken(file string, token api.AdminToken) (err error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read tokens file: %w", err)
	}
	line := token.Line()
	if len(text) > 0 && text[len(text)-1] != '\n' {
		line = "\n" + line
	}
	if _, err := api.ParseAdminTokens(append(text, line...)); err != nil {
		return fmt.Errorf("read tokens file %s: %w", file, err)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write tokens file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString(line); err != nil {
		return fmt.Errorf("write tokens file: %w", err)
	}
	return f.Sync()
}

// parseTTL reads "90d", "12h" and "never", which is 0.
func parseTTL(text string) (time.Duration, error) {
	const maxDays = 3650
	wrong := fault.InvalidFields("the token cannot be made", fault.Field{
		Path: "--expires", Message: "wants a time such as 90d or 12h, at most 3650d, or never",
	})
	if text == "never" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > maxDays {
			return 0, wrong
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > maxDays*24*time.Hour {
		return 0, wrong
	}
	return d, nil
}
