package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// command runs the program and returns its exit code and what it wrote.
func command(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, args, environ, stdio{in: strings.NewReader(""), out: &out, err: &errs})
	return code, out.String(), errs.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestServeWithoutConfigurationSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := command(t, nil, "serve")
	require.Equal(t, exitFailure, code)
	require.Empty(t, stdout)
	require.Equal(t, `bugle: the configuration cannot be used:

  database.url (BUGLE_DATABASE_URL): missing: the database: sqlite:FILE, or postgres://USER@HOST/NAME (14 or newer) for several replicas, for example sqlite:/var/lib/bugle/bugle.db
  ksqldb.url (BUGLE_KSQLDB_URL): missing: URL of the ksqlDB server, for example https://pksqlc-xxxxx.europe-west1.gcp.confluent.cloud:443
  auth.secret_file (BUGLE_AUTH_SECRET_FILE): missing: file with the secret, for example /run/secrets/auth-secret; or set BUGLE_AUTH_SECRET or BUGLE_AUTH_JWKS_URL
  fcm.project_id (BUGLE_FCM_PROJECT_ID): missing: id of the Firebase project, for example my-firebase-project
  fcm.credentials_file (BUGLE_FCM_CREDENTIALS_FILE): missing: JSON file with the key of the service account, for example /run/secrets/firebase.json; or set BUGLE_FCM_CREDENTIALS

Give them in a YAML file (--config FILE) or as environment variables;
'bugle help config' explains every key. No account at hand? go run ./cmd/sandbox
`, stderr)
}

func TestServePrintsWhatIsInForce(t *testing.T) {
	t.Parallel()
	environ := []string{
		"BUGLE_DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "bugle.db"), "BUGLE_KSQLDB_URL=https://ksql.example",
		"BUGLE_AUTH_SECRET=hunter2 hunter2 hunter2 hunter2 hunter2", "BUGLE_FCM_PROJECT_ID=p", `BUGLE_FCM_CREDENTIALS={"key":"hunter2"}`,
	}
	code, stdout, stderr := command(t, environ, "serve", "--print-config")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, "url: https://ksql.example")
	require.Contains(t, stdout, "in_flight: 128")
	require.NotContains(t, stdout+stderr, "hunter2")
	require.Contains(t, stderr, "4 rules")
	require.NoFileExists(t, strings.TrimPrefix(environ[0], "BUGLE_DATABASE_URL=sqlite:"), "nothing is opened")

	code, _, stderr = command(t, append(environ, "BUGLE_CATEGORIES={rcae: {opt_in: true}}"), "serve", "--print-config")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "categories.rcae")
}

func TestUsageErrorsExitWithTwo(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"unknown command":    {"sever"},
		"unknown flag":       {"serve", "--nope"},
		"unknown subcommand": {"migrate", "--down"},
		"superfluous":        {"serve", "now"},
		"argument missing":   {"rules", "preview"},
		"bad duration":       {"rules", "preview", "x", "--window", "soon"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := command(t, nil, args...)
			require.Equal(t, exitUsage, code)
			require.Empty(t, stdout)
			require.Contains(t, stderr, "bugle help")
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"help"}, {"help", "serve"}, {"help", "config"}, {"rules", "preview", "--help"}, {"migrate"}} {
		code, stdout, _ := command(t, nil, args...)
		require.Equal(t, exitOK, code, "%v", args)
		require.NotEmpty(t, stdout, "%v", args)
	}
	_, stdout, _ := command(t, nil, "help", "config")
	require.Contains(t, stdout, "BUGLE_FCM_PROJECT_ID")
	code, stdout, _ := command(t, nil, "version")
	require.Equal(t, exitOK, code)
	require.Contains(t, stdout, "bugle ")
}

func TestRulesPrintsTheBuiltInOnesAndTheyAreValid(t *testing.T) {
	t.Parallel()
	code, stdout, _ := command(t, nil, "rules")
	require.Equal(t, exitOK, code)
	require.Equal(t, string(notifier.BuiltinRules().YAML), stdout)

	code, stdout, stderr := command(t, nil, "rules", "check", write(t, "rules.yaml", stdout))
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, "4 rules are valid")
	_, configured, _ := command(t, nil, "rules", "check")
	require.Equal(t, stdout, configured, "without a file and a configuration these are the built-in rules")
}

func TestRulesCheckListsEveryMistakeWithItsPath(t *testing.T) {
	t.Parallel()
	file := write(t, "rules.yaml", `
rules:
  - id: "Not An Id"
    schedule: "every now and then"
    class: important
    query: SELECT id FROM things WHERE id > :nonsense;
    key: [id]
    version: [id]
    audience: all
    expires: at
    notification: {category: race, title: "{{.name", body: "x"}
    colour: red
`)
	code, stdout, stderr := command(t, nil, "rules", "check", file)
	require.Equal(t, exitFailure, code)
	require.Empty(t, stdout)
	for _, path := range []string{
		"rules[0].id", "rules[0].schedule", "rules[0].class", "rules[0].query", "rules[0].notification.title", "rules[0].colour",
	} {
		require.Contains(t, stderr, path)
	}
	code, _, stderr = command(t, nil, "rules", "check", filepath.Join(t.TempDir(), "none.yaml"))
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "no such file")
}

func TestRulesPreview(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	races := ksqldb.NewTable("UPCOMING_RACES",
		ksqldb.Column{Name: "EVENT_ID", Type: "STRING", Key: true},
		ksqldb.Column{Name: "NAME", Type: "STRING"},
		ksqldb.Column{Name: "COURSE", Type: "STRING"},
		ksqldb.Column{Name: "STARTS_AT", Type: "TIMESTAMP"},
		ksqldb.Column{Name: "STATUS", Type: "STRING"},
	)
	require.NoError(t, races.Put(now, "r-1", "The Oaks", "Epsom", now.Add(3*time.Minute), "SCHEDULED"))
	require.NoError(t, races.Put(now, "r-2", "Later", "Epsom", now.Add(time.Hour), "SCHEDULED"))
	server, err := ksqldb.Start(t.Context(), ksqldb.Config{Views: []ksqldb.View{races}})
	require.NoError(t, err)
	defer server.Close()
	environ := []string{"BUGLE_ENV=dev", "BUGLE_KSQLDB_URL=" + server.URL()}

	code, stdout, stderr := command(t, environ, "rules", "preview", "race-soon")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, "(race, new) to all users")
	require.Contains(t, stdout, "The Oaks in")
	require.NotContains(t, stdout, "Later")
	require.Contains(t, stdout, "1 rows: 1 shown, 0 not shown, 0 bad, 0 expired. Nothing was sent.")

	code, _, stderr = command(t, environ, "rules", "preview", "race-son")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, `there is no rule "race-son", only`)

	code, _, stderr = command(t, nil, "rules", "preview", "race-soon")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "ksqldb.url (BUGLE_KSQLDB_URL): missing")
	require.NotContains(t, stderr, "fcm", "a preview needs no FCM")
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	environ := []string{"BUGLE_DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "bugle.db")}
	_, stdout, _ := command(t, environ, "migrate", "status")
	require.Regexp(t, `(?m)^missing +00001 `, stdout)
	code, stdout, stderr := command(t, environ, "migrate", "up")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, "applied 00001")
	_, stdout, _ = command(t, environ, "migrate", "up")
	require.Equal(t, "nothing to do\n", stdout)
	_, stdout, _ = command(t, environ, "migrate", "status")
	require.NotContains(t, stdout, "missing")
}

// The service must not carry what only tests and the sandbox need.
func TestTheBinaryHasNoTestCode(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").CombinedOutput()
	require.NoError(t, err, string(out))
	deps := strings.Fields(string(out))
	require.Contains(t, deps, "github.com/bugle-push/bugle/notifier", "the list is one of packages")
	for _, dep := range deps {
		for _, banned := range []string{
			"github.com/bugle-push/bugle/sandbox", "github.com/stretchr/testify", "go.uber.org/goleak", "pgregory.net/rapid",
			"github.com/twmb/franz-go/pkg/kfake", "net/http/httptest", "github.com/bugle-push/bugle/internal/sqldb/sqldbtest",
		} {
			require.False(t, dep == banned || strings.HasPrefix(dep, banned+"/"), "the binary contains %s", dep)
		}
		require.NotEqual(t, "testing", dep)
	}
}
