package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/terminal"
)

// suppressionReasons are what --reason takes.
func suppressionReasons() []string {
	return []string{"self_exclusion", "cool_off", "account_closed", "jurisdiction"}
}

// The forms of a list of suppressions.
const (
	listCSV    = "csv"
	listNDJSON = "ndjson"
)

func (c *cli) suppressions() *cobra.Command {
	return group(&cobra.Command{
		Use:   "suppressions",
		Short: "See and change who must not be sent to",
		Long: strings.TrimSpace(`
A suppression says that nothing may be sent to a user, for a reason: self_exclusion, cool_off,
account_closed or jurisdiction. It holds on every replica within a second.

These ask the admin API of a running service.`),
		Example: `  bugle suppressions show ann
  bugle suppressions set ann --reason self_exclusion --until 2027-03-01T00:00:00Z
  bugle suppressions import exclusions.csv
  bugle suppressions export > exclusions.csv`,
	}, c.suppressionsList(), c.suppressionsShow(), c.suppressionsSet(), c.suppressionsRemove(), c.suppressionsImport(), c.suppressionsExport())
}

func (c *cli) suppressionsList() *cobra.Command {
	var (
		form                outputForm
		user, reason, after string
		limit               int
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List suppressions, by user and reason",
		Example: `  bugle suppressions list --user ann
  bugle suppressions list --reason self_exclusion --limit 500 --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			setUnlessEmpty(query, "user", user)
			setUnlessEmpty(query, "reason", reason)
			setUnlessEmpty(query, "after", after)
			var list api.AdminSuppressionList
			if err := client.get(cmd.Context(), "/admin/v1/suppressions", query, &list); err != nil {
				return err
			}
			return c.print(form, list, func(s *terminal.Screen) error {
				if err := writeSuppressions(s, list.Suppressions); err != nil || list.Next == "" {
					return err
				}
				fmt.Fprintf(c.stderr, "There are more: --after %s\n", list.Next)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "only this user's")
	cmd.Flags().StringVar(&reason, "reason", "", "only those for this reason")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many to list, at most 500")
	cmd.Flags().StringVar(&after, "after", "", "list what comes behind the page before")
	complete(cmd, "reason", suppressionReasons()...)
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

func writeSuppressions(s *terminal.Screen, list []api.AdminSuppression) error {
	t := terminal.NewTable(s, "USER", "REASON", "STOPS", "NOW", "FROM", "UNTIL", "SET BY", "SET AT", "NOTE")
	for _, p := range list {
		now, style := "active", terminal.Red
		if !p.Active {
			now, style = "not active", terminal.Faint
		}
		t.Row(p.User, p.Reason, p.Class, now, maybeAt(p.From), maybeAt(p.Until), p.SetBy, at(p.SetAt), p.Note)
		t.Style(3, style)
	}
	return t.Write()
}

func (c *cli) suppressionsImport() *cobra.Command {
	var (
		form   outputForm
		format string
	)
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Suppress many users, from a file or standard input",
		Long: strings.TrimSpace(`
Takes CSV with a first line that names the columns (user and reason, and where wanted class,
from, until, note), or NDJSON with the same members. The form is told by the file's ending
(.csv, .ndjson, .jsonl), or by --format.

The file is worked on as it arrives, in chunks of 1000 lines: each is set as a whole, or left
out as a whole when a line of it is wrong. Then the wrong lines are listed and the exit code
is 1: mend the file and import it again; what is known already changes nothing. Nobody is
taken off the list by an import, and nothing is shortened: where a line says less than what is
in force, the longer and the stricter is kept, and standard error names the line.`),
		Example: `  bugle suppressions import exclusions.csv
  bugle suppressions import exclusions.ndjson --output json
  printf 'user,reason\nann,cool_off\n' | bugle suppressions import - --format csv`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := c.importSuppressions(cmd.Context(), client, args[0], format)
			if err != nil {
				return err
			}
			if done.Kept > 0 {
				fmt.Fprintf(c.stderr, "%s less than what is in force, which was kept: %s\n",
					plural(done.Kept, "line says", "lines say"), strings.Trim(fmt.Sprint(done.KeptLines), "[]"))
			}
			return c.print(form, done, func(s *terminal.Screen) error {
				t := terminal.NewTable(s, "LINES", "CHANGED", "UNCHANGED")
				t.Row(strconv.Itoa(done.Lines), strconv.Itoa(done.Changed), strconv.Itoa(done.Unchanged))
				return t.Write()
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "csv or ndjson, where the file's name does not say it")
	complete(cmd, "format", listCSV, listNDJSON)
	client.flags(cmd.Flags())
	form.flag(cmd)
	return cmd
}

// listMedia tells the media type of a list by the flag, or by the name of its file.
func listMedia(format, file string) (string, error) {
	lower := strings.ToLower(file)
	switch {
	case format == listCSV, format == "" && strings.HasSuffix(lower, ".csv"):
		return "text/csv", nil
	case format == listNDJSON, format == "" && (strings.HasSuffix(lower, ".ndjson") || strings.HasSuffix(lower, ".jsonl")):
		return "application/x-ndjson", nil
	case format == "":
		return "", usagef("the name %q does not tell the form: give --format csv or --format ndjson", file)
	}
	return "", usagef("--format wants csv or ndjson, and not %q", format)
}

func (c *cli) importSuppressions(ctx context.Context, client *adminClient, file, format string) (done api.AdminImport, err error) {
	media, err := listMedia(format, file)
	if err != nil {
		return done, err
	}
	body, total := c.stdin, int64(0)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return done, err // says "open NAME: reason" already
		}
		defer func() { _ = f.Close() }() // it was only read
		if stat, err := f.Stat(); err == nil && stat.Mode().IsRegular() {
			total = stat.Size()
		}
		body = f
	}
	bar := terminal.NewProgress(terminal.ProgressConfig{Screen: c.errs(), Title: "importing", Total: total, Bytes: true})
	defer bar.End()
	return done, client.exchange(ctx, adminCall{
		method: http.MethodPost, path: "/admin/v1/suppressions/import", body: bar.Reader(body), media: media,
	}, &done)
}

func (c *cli) suppressionsExport() *cobra.Command {
	var format, user, reason string
	client := c.admin()
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the list to standard output, as an import reads it",
		Long: strings.TrimSpace(`
It is in the audit, with what was chosen and how many there were. Exits with 1 when the list was cut off: then what was written is not all of it.`),
		Example: `  bugle suppressions export > exclusions.csv
  bugle suppressions export --format ndjson | gzip > exclusions.ndjson.gz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := listMedia(format, ""); err != nil {
				return err
			}
			query := url.Values{"format": {format}}
			setUnlessEmpty(query, "user", user)
			setUnlessEmpty(query, "reason", reason)
			return c.stream(cmd.Context(), client, adminCall{
				method: http.MethodGet, path: "/admin/v1/suppressions/export", query: query,
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", listCSV, "csv or ndjson")
	cmd.Flags().StringVar(&user, "user", "", "only this user's")
	cmd.Flags().StringVar(&reason, "reason", "", "only those for this reason")
	complete(cmd, "reason", suppressionReasons()...)
	complete(cmd, "format", listCSV, listNDJSON)
	client.flags(cmd.Flags())
	return cmd
}

// stream copies an answer to standard output. Where that is a terminal, the text itself is the progress.
func (c *cli) stream(ctx context.Context, client *adminClient, call adminCall) error {
	body, err := client.open(ctx, call)
	if err != nil {
		return err
	}
	defer body.Close()
	var from io.Reader = body
	if !c.out().IsTerminal() {
		bar := terminal.NewProgress(terminal.ProgressConfig{Screen: c.errs(), Title: "exporting", Bytes: true})
		defer bar.End()
		from = bar.Reader(body)
	}
	if _, err := io.Copy(c.stdout, from); err != nil {
		return fmt.Errorf("the export was cut off: %w", err)
	}
	return nil
}
