package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/terminal"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// tty is a terminal: what is typed there, and what it shows.
type tty struct {
	io.Reader
	bytes.Buffer
}

// IsTerminal tells that a person is there.
func (*tty) IsTerminal() bool { return true }

// Read returns what was typed.
func (t *tty) Read(b []byte) (int, error) { return t.Reader.Read(b) }

func typed(text string) *tty { return &tty{Reader: strings.NewReader(text)} }

// inOffice is a theatre in which nothing plays: all that is on record was put there, at noon of
// the first of January 2000.
func inOffice(t *testing.T, test func(w *theatre)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(12 * time.Hour)
		w, _ := newTheatre(t, storyRules)
		w.file()
		test(w)
	})
}

// file puts on record: run 12 of bet-settled is held with a notification for ann, run 14 failed;
// of notification 41 delivery 7 was refused, 8 sent, and 9 has expired. eve cools off.
func (w *theatre) file() {
	w.t.Helper()
	w.device("ann", "en-GB")
	now := time.Now().UnixMicro()
	later, tick := now+int64(12*time.Hour/time.Microsecond), int64(time.Second/time.Microsecond)
	for id, state := range map[int64]string{12: "held", 14: "failed", 15: "released"} {
		w.exec(`INSERT INTO runs (id, rule_id, tick_at, state, baseline, since_at, until_at, generation, owner, lease_until, error, rows_read, staged, planned, planned_limit, started_at, finished_at)
			VALUES ($1, 'bet-settled', $2, $3, FALSE, $4, $4, 'g', 'replica-1', 0, $5, 7, 1, $6, $7, $4, $4)`, id, now-(100-id)*tick, state, now,
			map[string]string{"failed": "the body was cut"}[state], map[string]int{"held": 101}[state], map[string]int{"held": 100}[state])
	}
	for id, run := range map[int]int{41: 15, 42: 12} {
		w.exec(`INSERT INTO notifications (id, rule_id, key, version, version_hash, order_value, latest, thread, follow_up, audience, user_id, category, variant,
			class, urgency, state, run_id, source_row, expires_at, created_at)
			VALUES ($1, 'bet-settled', 'key-' || $1, 1, 'h', 1, TRUE, 'th-' || $1, FALSE, 'user', 'ann', 'win', 'WON', 'transactional', 'high',
			(SELECT state FROM runs WHERE id = $2), $2, '{"bet_id":"b1","user_id":"ann","outcome":"WON","rowtime":1}', $3, $4)`, id, run, later, now)
	}
	w.exec(`INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, attempts, due_at, expires_at, created_at, finished_at)
		VALUES (7, 41, 'ann-phone', 'ann', 'bet-settled', 'fcm', 'high', FALSE, 'rejected', 'INVALID_ARGUMENT', 1, $1, $2, $1, $1),
		       (8, 41, 'ann-watch', 'ann', 'bet-settled', 'fcm', 'high', FALSE, 'sent', '', 1, $1, $2, $1, $1),
		       (9, 41, 'ann-tablet', 'ann', 'bet-settled', 'fcm', 'high', FALSE, 'rejected', 'INVALID_ARGUMENT', 1, $1, $1, $1, $1)`, now, later)
	w.exec(`INSERT INTO suppressions (user_id, reason, class, set_by, set_at, note) VALUES ('eve', 'cool_off', 'service', 'bob', $1, 'asked by mail')`, now)
	w.exec(`INSERT INTO audit (at, actor, action, subject, before_state, after_state, request_id)
		VALUES ($1, 'bob', 'release', 'run/15', '{"state":"held"}', '{"state":"released","notifications":1}', 'q')`, now)
	w.exec(`INSERT INTO presence (client_id, channel, connection_id, page, here, since, seen_at, serial, expires_at)
		VALUES ('ann', 'inbound:betting:cars:ann', 'c1', 'Car Racing Page', TRUE, $1, $1, 1, $2)`, now, later)
	w.exec(`INSERT INTO bets (message_id, channel, kind, value, size, state, received_at) VALUES ('m1', 'inbound:betting:cars:ann', 'bet', '', 3, 'produced', $1)`, now)
}

func (w *theatre) exec(query string, args ...any) {
	w.t.Helper()
	require.NoError(w.t, w.db.Tx(w.t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}))
}

// state is what has become of a row.
func (w *theatre) state(query string) (state string) {
	w.t.Helper()
	require.NoError(w.t, w.db.SQL().QueryRowContext(w.t.Context(), query).Scan(&state))
	return state
}

// bugle runs a command with a token in the home folder.
func (w *theatre) bugle(std stdio, args ...string) int {
	w.t.Helper()
	return w.bugleOver(w, std, args...)
}

func (w *theatre) bugleOver(transport http.RoundTripper, std stdio, args ...string) int {
	w.t.Helper()
	home := w.t.TempDir()
	token, err := os.ReadFile(w.token)
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(filepath.Join(home, tokenFileName), token, 0o600))
	c := &cli{environ: []string{"HOME=" + home}, stdin: std.in, stdout: std.out, stderr: std.err, transport: transport}
	return c.execute(w.t.Context(), args)
}

// prints runs a command without a terminal, which must end well.
func (w *theatre) prints(args ...string) string {
	w.t.Helper()
	return w.through(w, args...)
}

// through is prints with what answers for the service.
func (w *theatre) through(transport http.RoundTripper, args ...string) string {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	require.Equal(w.t, exitOK, w.bugleOver(transport, stdio{in: strings.NewReader(""), out: &stdout, err: &stderr}, args...), stderr.String())
	require.Empty(w.t, stderr.String(), "nothing is told beside the data")
	return stdout.String()
}

// goldenOutput compares what a command prints with testdata/output.
func goldenOutput(t *testing.T, name, got string) {
	t.Helper()
	got = regexp.MustCompile(`"request_id": "[^"]*"`).ReplaceAllString(got, `"request_id": "R"`)
	file := filepath.Join("testdata", "output", name)
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestWhatIsPrintedForPeopleAndForPrograms(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"rules_list":          {"rules", "list"},
		"rules_pause":         {"rules", "pause", "bet-settled", "--reason", "wrong text"},
		"rules_stop":          {"rules", "stop", "bet-settled", "--reason", "wrong text"},
		"rules_run":           {"rules", "run", "race-soon"},
		"runs_list":           {"runs", "list"},
		"runs_held":           {"runs", "list", "--state", "held", "--rule", "bet-settled"},
		"runs_show":           {"runs", "show", "12"},
		"runs_sample":         {"runs", "sample", "12"},
		"runs_release":        {"runs", "release", "12", "--yes"},
		"runs_discard":        {"runs", "discard", "12", "--yes"},
		"sending_status":      {"sending", "status"},
		"sending_stop":        {"sending", "stop", "--reason", "wrong texts"},
		"suppressions_list":   {"suppressions", "list"},
		"requeue_preview":     {"requeue", "--rule", "bet-settled", "--dry-run"},
		"requeue_one":         {"requeue", "7"},
		"requeue_all":         {"requeue", "--state", "rejected", "--yes"},
		"suppressions_show":   {"suppressions", "show", "eve"},
		"suppressions_set":    {"suppressions", "set", "ann", "--reason", "self_exclusion", "--class", "all", "--from", "24h", "--until", "2027-03-01T00:00:00Z", "--note", "by phone"},
		"suppressions_remove": {"suppressions", "remove", "eve", "--reason", "cool_off", "--yes"},
		"audit_list":          {"audit", "list", "--action", "release"},
		"presence":            {"presence", "--client", "ann"},
		"devices_list":        {"devices", "list", "ann"},
		"devices_show":        {"devices", "show", "ann-phone"},
		"devices_deactivate":  {"devices", "deactivate", "ann-phone", "--reason", "request 4711", "--yes"},
		"user_erase":          {"user", "erase", "ann", "--reason", "request 4711", "--yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inOffice(t, func(w *theatre) {
				text := w.prints(args...)
				require.NotContains(t, text, "\x1b")
				for line := range strings.Lines(text) {
					require.Equal(t, strings.TrimRight(line, " \n")+"\n", line, "no space at the end")
				}
				goldenOutput(t, name+".txt", text)
			})
			inOffice(t, func(w *theatre) {
				text := w.prints(append(args, "--output", "json")...)
				require.True(t, json.Valid([]byte(text)), text)
				goldenOutput(t, name+".json", text)
			})
		})
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	t.Parallel()
	inOffice(t, func(w *theatre) {
		screen := typed("")
		require.Equal(t, exitOK, w.bugle(stdio{in: screen, out: screen, err: screen}, "runs", "list"))
		require.Contains(t, screen.String(), "\x1b[31mfailed\x1b[0m")
		plain := regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(screen.String(), "")
		require.Equal(t, w.prints("runs", "list"), plain, "a colour takes no room")

		never := typed("")
		require.Equal(t, exitOK, w.bugle(stdio{in: never, out: never, err: never}, "runs", "list", "--color", "never"))
		require.Equal(t, plain, never.String())
		require.Contains(t, w.prints("runs", "list", "--color", "always"), "\x1b[31m")
		require.NotContains(t, w.prints("runs", "list", "--color", "always", "--output", "json"), "\x1b")
	})
}

func TestWhatCannotBeTakenBackIsAskedFirst(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args       []string
		word       string
		look       string
		before, by string // what look finds before, and after yes
	}{
		"release": {[]string{"runs", "release", "12"}, "yes", `SELECT state FROM runs WHERE id = 12`, "held", "released"},
		"discard": {[]string{"runs", "discard", "12"}, "yes", `SELECT state FROM runs WHERE id = 12`, "held", "discarded"},
		"requeue": {[]string{"requeue", "--state", "rejected"}, "yes", `SELECT state FROM deliveries WHERE id = 7`, "rejected", "queued"},
		"remove":  {[]string{"suppressions", "remove", "eve", "--reason", "cool_off"}, "eve", `SELECT CAST(COUNT(*) AS TEXT) FROM suppressions`, "1", "0"},
		"shorten": {[]string{"suppressions", "set", "eve", "--reason", "cool_off", "--until", "1h", "--shorten"}, "eve", `SELECT CASE until_at WHEN 0 THEN 'for good' ELSE 'ends' END FROM suppressions`, "for good", "ends"},
		"device":  {[]string{"devices", "deactivate", "ann-phone"}, "yes", `SELECT state FROM devices WHERE id = 'ann-phone'`, "active", "inactive"},
		"erase":   {[]string{"user", "erase", "ann", "--reason", "r"}, "ann", `SELECT user_id FROM notifications WHERE id = 41`, "ann", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inOffice(t, func(w *theatre) {
				var stdout, stderr bytes.Buffer
				require.Equal(t, exitUsage, w.bugle(stdio{in: strings.NewReader(tc.word + "\n"), out: &stdout, err: &stderr}, tc.args...))
				require.Contains(t, stderr.String(), "give --yes")
				require.Empty(t, stdout.String())
				for _, answer := range []string{"no\n", "\n", ""} {
					screen := typed(answer)
					require.Equal(t, exitFailure, w.bugle(stdio{in: screen, out: &stdout, err: screen}, tc.args...))
					require.Contains(t, screen.String(), "Type "+tc.word+" to go on: ")
					require.Contains(t, screen.String(), "nothing was done")
				}
				require.Empty(t, stdout.String())
				require.Equal(t, tc.before, w.state(tc.look))

				screen := typed(tc.word + "\n")
				require.Equal(t, exitOK, w.bugle(stdio{in: screen, out: &stdout, err: screen}, tc.args...), screen.String())
				require.Equal(t, tc.by, w.state(tc.look))
			})
		})
	}
}

// refuser answers for the theatre, and refuses anew at once what a requeue has queued.
type refuser struct{ w *theatre }

func (r refuser) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.w.RoundTrip(req)
	r.w.exec(`INSERT INTO tried SELECT id FROM deliveries WHERE state = 'queued'`)
	r.w.exec(`UPDATE deliveries SET state = 'rejected', reason = 'QUOTA' WHERE state = 'queued'`)
	return resp, err
}

// A requeue of many goes on behind what it has tried, or what is refused anew would be tried again
// in the place of the others.
func TestARequeueOfManyTriesEachOnce(t *testing.T) {
	t.Parallel()
	inOffice(t, func(w *theatre) {
		const many = 2*requeueStep + 7
		w.exec(`CREATE TABLE tried (id BIGINT NOT NULL)`)
		w.exec(`DELETE FROM deliveries`)
		w.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			INSERT INTO deliveries (id, notification_id, device_id, user_id, rule_id, provider, urgency, follow_up, state, reason, due_at, expires_at, created_at, finished_at)
			SELECT i, 41, 'd' || i, 'ann', 'bet-settled', 'fcm', 'high', FALSE, CASE WHEN i <= 3 THEN 'unconfirmed' ELSE 'rejected' END, 'QUOTA', 1, $2, $3 - i % 100, 1 FROM n`,
			many+3, time.Now().Add(time.Hour).UnixMicro(), time.Now().UnixMicro())
		text := w.through(refuser{w}, "requeue", "--reason", "QUOTA", "--yes", "--output", "json")
		require.JSONEq(t, fmt.Sprintf(`{"matching":%d,"expired":0,"unconfirmed":3,"requeued":%d,"next":null}`, many, many), text)
		require.Equal(t, fmt.Sprint(many), w.state(`SELECT CAST(COUNT(*) AS TEXT) FROM tried`))
		require.Equal(t, fmt.Sprint(many), w.state(`SELECT CAST(COUNT(DISTINCT id) AS TEXT) FROM tried`))

		screen := typed("no\n")
		require.Equal(t, exitFailure, w.bugle(stdio{in: screen, out: screen, err: screen}, "requeue", "--reason", "QUOTA"))
		require.Contains(t, screen.String(), "3 unconfirmed ones may have been shown already and left out (--state unconfirmed names them).")
	})
}

func TestAnErasureThatWaitsSaysSo(t *testing.T) {
	t.Parallel()
	inOffice(t, func(w *theatre) {
		w.exec(`UPDATE bets SET state = 'queued', value = 'e30='`)
		var stdout, stderr bytes.Buffer
		std := stdio{in: strings.NewReader(""), out: &stdout, err: &stderr}
		require.Equal(t, exitFailure, w.bugle(std, "user", "erase", "ann", "--reason", "r", "--yes"))
		require.Contains(t, stderr.String(), "1 rows have to wait")
		require.Equal(t, "inbound:betting:cars:ann", w.state(`SELECT channel FROM bets`), "no bet is dropped")
		w.exec(`UPDATE bets SET state = 'produced', value = ''`)
		require.Equal(t, exitOK, w.bugle(std, "user", "erase", "ann", "--reason", "r", "--yes"))
		require.NotContains(t, w.state(`SELECT channel FROM bets`), "ann")
		require.Contains(t, w.state(`SELECT after_state FROM audit WHERE action = 'erase' ORDER BY id DESC LIMIT 1`), `"reason":"r"`)
	})
}

func TestAUserIsExportedToAFile(t *testing.T) {
	t.Parallel()
	inOffice(t, func(w *theatre) {
		text := w.prints("user", "export", "ann")
		require.Contains(t, text, `"kind":"bet"`)
		require.NotContains(t, text, target("ann"))
		screen := typed("")
		var stdout bytes.Buffer
		require.Equal(t, exitOK, w.bugle(stdio{in: screen, out: &stdout, err: screen}, "user", "export", "ann"))
		require.Contains(t, screen.String(), "exporting", "a bar beside the file")
		require.Equal(t, strings.Count(text, "\n")+1, strings.Count(stdout.String(), "\n"), "the second export tells of the first")
		require.NotContains(t, stdout.String(), "\x1b")
	})
}

func TestASuppressionIsShortenedByAFlag(t *testing.T) {
	t.Parallel()
	inOffice(t, func(w *theatre) {
		var stdout, stderr bytes.Buffer
		std := stdio{in: strings.NewReader(""), out: &stdout, err: &stderr}
		require.Equal(t, exitFailure, w.bugle(std, "suppressions", "set", "eve", "--reason", "cool_off", "--until", "1h"))
		require.Contains(t, stderr.String(), "answered 409: cool_off is set for good")
		require.Empty(t, stdout.String())
		require.Equal(t, exitOK, w.bugle(std, "suppressions", "set", "eve", "--reason", "cool_off", "--until", "1h", "--shorten", "--yes"), stderr.String())

		list := write(t, "list.csv", "user,reason,until\neve,cool_off,2000-01-01T12:30:00Z\n")
		stderr.Reset()
		stdout.Reset()
		require.Equal(t, exitOK, w.bugle(std, "suppressions", "import", list))
		require.Equal(t, "1 line says less than what is in force, which was kept: 2\n", stderr.String())
	})
}

func TestTheAuditIsTakenAway(t *testing.T) {
	t.Parallel()
	inOffice(t, func(w *theatre) {
		w.prints("rules", "pause", "bet-settled", "--reason", "wrong text")
		require.Contains(t, w.prints("suppressions", "export", "--reason", "cool_off"), "eve,cool_off")
		require.NotContains(t, w.prints("suppressions", "export", "--user", "ann"), "eve")
		all := w.prints("audit", "export")
		require.Equal(t, 4, strings.Count(all, "\n"))
		require.Contains(t, all, `{"reason":"cool_off","rows":{"imported_suppressions":0,"suppressions":1}}`)
		require.Equal(t, 1, strings.Count(w.prints("audit", "export", "--action", "pause", "--since", "1h"), "\n"))
		require.Equal(t, 3, strings.Count(w.prints("audit", "export", "--after", "1"), "\n"))
		require.Empty(t, w.prints("audit", "export", "--actor", "nobody"))

		var stdout, stderr bytes.Buffer
		require.Equal(t, exitOK, w.bugle(stdio{in: strings.NewReader(""), out: &stdout, err: &stderr}, "audit", "list", "--limit", "2"))
		require.Contains(t, stderr.String(), "--before 3")
		require.Contains(t, w.prints("audit", "list", "--before", "3"), "rule/bet-settled")
		require.NotContains(t, w.prints("audit", "list", "--subject", "suppressions"), "rule/bet-settled")
	})
}

func TestSuppressionsGoInAndOut(t *testing.T) {
	t.Parallel()
	inOffice(t, func(w *theatre) {
		list := w.prints("suppressions", "export")
		require.Contains(t, list, "eve,cool_off")
		file := write(t, "list.csv", list+"dan,account_closed,all,,,,,\n")
		screen := typed("")
		var stdout bytes.Buffer
		require.Equal(t, exitOK, w.bugle(stdio{in: screen, out: &stdout, err: screen}, "suppressions", "import", file), screen.String())
		require.Contains(t, screen.String(), "importing", "a bar beside the data")
		require.Equal(t, "LINES  CHANGED  UNCHANGED\n2      1        1\n", stdout.String())
		require.Contains(t, w.prints("suppressions", "list", "--user", "dan"), "account_closed")

		stdout.Reset()
		lines := strings.NewReader(`{"user":"fay","reason":"cool_off"}` + "\n")
		require.Equal(t, exitOK, w.bugle(stdio{in: lines, out: &stdout, err: io.Discard}, "suppressions", "import", "-", "--format", "ndjson", "-o", "json"))
		require.JSONEq(t, `{"lines":1,"changed":1,"unchanged":0,"kept":0}`, stdout.String())

		var stderr bytes.Buffer
		wrong := write(t, "wrong.csv", "user,reason\nann,because\n,cool_off\n")
		require.Equal(t, exitFailure, w.bugle(stdio{in: lines, out: io.Discard, err: &stderr}, "suppressions", "import", wrong))
		require.Contains(t, stderr.String(), "\n  line 2: ")
		require.Contains(t, stderr.String(), "\n  line 3: ")
		require.NotContains(t, w.prints("suppressions", "list"), "because")
	})
}

func TestAPageSaysHowToGoOn(t *testing.T) {
	t.Parallel()
	inOffice(t, func(w *theatre) {
		var stdout, stderr bytes.Buffer
		require.Equal(t, exitOK, w.bugle(stdio{in: strings.NewReader(""), out: &stdout, err: &stderr}, "runs", "list", "--limit", "2"))
		require.Contains(t, stderr.String(), "--before 14")
		require.NotContains(t, w.prints("runs", "list", "--before", "14"), "failed")
	})
}

func TestTheShellIsOfferedWhatThereIs(t *testing.T) {
	t.Parallel()
	inOffice(t, func(w *theatre) {
		for _, tc := range []struct {
			args       []string
			want, none string
		}{
			{[]string{"rules", "pause", ""}, "bet-settled\t@every 1s", "run"},
			{[]string{"rules", "preview", ""}, "race-soon", "yaml"},
			{[]string{"runs", "release", ""}, "12\tbet-settled, held", "14"},
			{[]string{"runs", "show", ""}, "14\tbet-settled, failed", "rules"},
			{[]string{"runs", "list", "--state", ""}, "held", "bet-settled"},
			{[]string{"runs", "list", "--output", ""}, "json", "text"},
			{[]string{"--color", ""}, "always", "json"},
			{[]string{"suppressions", "list", "--reason", ""}, "cool_off", "held"},
			{[]string{"requeue", "--state", ""}, "rejected", "sent"},
		} {
			var stdout bytes.Buffer
			require.Equal(t, exitOK, w.bugle(stdio{in: strings.NewReader(""), out: &stdout, err: io.Discard}, append([]string{"__complete"}, tc.args...)...))
			require.Contains(t, stdout.String(), tc.want, "%v", tc.args)
			require.NotContains(t, stdout.String(), tc.none, "%v", tc.args)
		}
	})
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, stdout, stderr := command(t, nil, "completion", shell)
		require.Equal(t, exitOK, code, stderr)
		require.Contains(t, stdout, "bugle")
	}
	code, stdout, _ := command(t, []string{"HOME=/nowhere"}, "__complete", "rules", "pause", "")
	require.Equal(t, exitOK, code)
	require.Equal(t, ":4\n", stdout, "without a token nothing is offered, and nothing said")
}

func TestWrongCallsExitWithTwoAndTeach(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"unknown word":      {[]string{"runs", "lst"}, []string{`unknown command "lst" for "bugle runs"`, "did you mean list?", "bugle runs list --state held"}},
		"unknown rule word": {[]string{"rules", "pauze"}, []string{`unknown command "pauze"`, "bugle help rules"}},
		"no word":           {[]string{"user", "export"}, []string{"accepts 1 arg", "bugle user export ann > ann.ndjson"}},
		"no reason":         {[]string{"user", "erase", "ann"}, []string{`"reason"`, "request 4711"}},
		"no number":         {[]string{"runs", "show", "x"}, []string{`"x"`, "such as 12"}},
		"no delivery":       {[]string{"requeue", "x"}, []string{`"x"`, "such as 7"}},
		"no filter":         {[]string{"requeue"}, []string{"--rule", "bugle help requeue"}},
		"no time":           {[]string{"requeue", "--since", "yesterday"}, []string{"2h", "2026-09-01T12:00:00Z"}},
		"no form":           {[]string{"runs", "list", "-o", "yaml"}, []string{"wants table or json"}},
		"no colour":         {[]string{"version", "--color", "blue"}, []string{"wants auto, always, never"}},
		"no media":          {[]string{"suppressions", "import", "list.txt"}, []string{"--format csv"}},
		"no such media":     {[]string{"suppressions", "export", "--format", "xml"}, []string{"csv or ndjson"}},
		"no server":         {[]string{"rules", "list", "--server", "localhost", "--token-file", "office_test.go"}, []string{"--server wants a URL"}},
		"no token":          {[]string{"rules", "list"}, []string{"--token-file"}},
		"two ends":          {[]string{"migrate", "ksqldb", "apply", "--until", "2", "--next"}, []string{"until", "next"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := command(t, nil, tc.args...)
			require.Equal(t, exitUsage, code, stderr)
			require.Empty(t, stdout)
			require.Contains(t, stderr, "Run 'bugle help ")
			require.Contains(t, stderr, "Usage:\n  bugle ")
			for _, want := range tc.want {
				require.Contains(t, stderr, want)
			}
		})
	}
	code, _, stderr := command(t, []string{"HOME=/nowhere"}, "rules", "list")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "/nowhere/.bugle-token")
}

func TestWhatNeedsNoServiceIsPrintedForProgramsToo(t *testing.T) {
	t.Parallel()
	environ := []string{"BUGLE_DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "bugle.db")}
	decode := func(into any, environ []string, want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := command(t, environ, append(args, "--output", "json")...)
		require.Equal(t, want, code, stderr)
		require.NoError(t, json.Unmarshal([]byte(stdout), into), stdout)
		return stderr
	}
	var steps struct{ Steps []schemaStep }
	decode(&steps, environ, exitOK, "migrate", "status")
	require.False(t, steps.Steps[0].Applied)
	var applied appliedSteps
	decode(&applied, environ, exitOK, "migrate", "up")
	require.Len(t, applied.Applied, len(steps.Steps))
	decode(&applied, environ, exitOK, "migrate", "up")
	require.Empty(t, applied.Applied)
	require.NotNil(t, applied.Applied)
	decode(&steps, environ, exitOK, "migrate", "status")
	require.True(t, steps.Steps[len(steps.Steps)-1].Applied)

	var files struct{ Files []ksqlFile }
	decode(&files, ksqlServer(t, ksqldb.Config{}), exitOK, "migrate", "ksqldb", "status")
	require.Equal(t, "pending", files.Files[0].State)
	require.Equal(t, 1, files.Files[0].Version)

	var rules checkedRules
	decode(&rules, nil, exitOK, "rules", "check")
	require.True(t, rules.Valid)
	require.Len(t, rules.Rules, 4)
	stderr := decode(&rules, nil, exitFailure, "rules", "check", write(t, "rules.yaml", "rules: [{id: a, colour: red}]"))
	require.False(t, rules.Valid)
	require.NotEmpty(t, rules.Mistakes)
	require.Contains(t, stderr, rules.Mistakes[0].Path)

	var token newToken
	decode(&token, nil, exitOK, "admin-token", "--name", "ci", "--file", filepath.Join(t.TempDir(), "tokens"))
	require.Equal(t, "ci", token.Name)
	require.NotNil(t, token.ExpiresAt)
	var b build
	decode(&b, nil, exitOK, "version")
	require.NotEmpty(t, b.Version)
}

var _ terminal.Terminal = (*tty)(nil)
