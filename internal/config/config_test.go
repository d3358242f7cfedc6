package config_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/fault"
)

var update = flag.Bool("update", false, "rewrite generated files")

const (
	longSecret  = "correct horse battery staple, twice over"
	credentials = `{"type":"service_account","private_key":"hunter2-in-a-key"}`
)

// fields returns what an error says of each path.
func fields(t *testing.T, err error) map[string]string {
	t.Helper()
	require.Error(t, err)
	var fe *fault.Error
	require.ErrorAs(t, err, &fe)
	require.Equal(t, fault.Invalid, fe.Kind)
	out := map[string]string{}
	for _, f := range fe.Fields {
		_, twice := out[f.Path]
		require.False(t, twice, "%s is reported twice", f.Path)
		out[f.Path] = f.Message
	}
	return out
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestNothingSaidNamesEverythingThatServeNeeds(t *testing.T) {
	t.Parallel()
	_, err := config.Load(config.Options{Needs: config.Service()})
	got := fields(t, err)
	require.Len(t, got, 5)
	require.Contains(t, got["database.url (BUGLE_DATABASE_URL)"], "for example sqlite:/var/lib/bugle/bugle.db")
	require.Contains(t, got["ksqldb.url (BUGLE_KSQLDB_URL)"], "missing: URL of the ksqlDB server")
	require.Contains(t, got["auth.secret_file (BUGLE_AUTH_SECRET_FILE)"], "or set BUGLE_AUTH_SECRET")
	require.Contains(t, got["fcm.project_id (BUGLE_FCM_PROJECT_ID)"], "missing")
	require.Contains(t, got["fcm.credentials_file (BUGLE_FCM_CREDENTIALS_FILE)"], "or set BUGLE_FCM_CREDENTIALS")

	c, err := config.Load(config.Options{})
	require.NoError(t, err, "a caller who needs nothing is given the defaults")
	require.Equal(t, config.Default(), c)
}

func TestFileAndEnvironmentAreMerged(t *testing.T) {
	t.Parallel()
	secret := write(t, "secret", longSecret+"\n")
	file := write(t, "bugle.yaml", `
env: prod
listen: 0.0.0.0:80
database: {url: "sqlite:/tmp/x.db"}
ksqldb: {url: "https://ksql.example", username: KEY}
auth: {secret_file: `+secret+`, audience: bugle}
fcm: {project_id: p, rate: 5}
categories: {race: {opt_in: true}}
log: {level: debug}
`)
	c, err := config.Load(config.Options{Needs: config.Service(), Environ: []string{
		"BUGLE_CONFIG=" + file, "PATH=/bin", "BUGLE_LISTEN=127.0.0.1:81", "BUGLE_FCM_PROJECT_ID=q", "BUGLE_FCM_RATE=2.5",
		"BUGLE_FCM_IN_FLIGHT=7", "BUGLE_KSQLDB_PASSWORD=sesame", "BUGLE_FCM_CREDENTIALS=" + credentials,
		"BUGLE_CATEGORIES={win: {opt_in: false}}", "BUGLE_LOG_FORMAT=",
	}})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:81", c.Listen)
	require.Equal(t, config.FCM{
		ProjectID: "q", Rate: 2.5, InFlight: 7, Credentials: credentials,
	}, c.FCM)
	require.Equal(t, "sesame", c.KSQLDB.Password.Reveal())
	require.Equal(t, longSecret, c.Auth.Secret.Reveal(), "the line break at the end of the file is no part of it")
	require.Equal(t, map[string]config.Category{"race": {OptIn: true}, "win": {}}, c.Categories)
	require.Equal(t, zerolog.DebugLevel, c.Log.Level)
	require.Equal(t, config.FormatJSON, c.Log.Format)
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Parse([]byte(`
env: staging
listen: 8080
admin: {listen: "nonsense"}
databse: {url: "sqlite:x"}
fcm.rate: 5
ksqldb: {url: "http://user:hunter2@h", pasword: hunter2}
auth: {secret: hunter2}
fcm: {rate: fast, in_flight: 2.5, url: "https://elsewhere"}
categories: {"No Good": {opt_in: "yes"}}
retention: {deliveries: 720, runs: soon}
log: {level: loud, format: xml}
rules_file: a.yaml
rules: [{id: x}]
`), []string{"BUGLE_FCM_PROJEKT_ID=hunter2", "BUGLE_FCM__PROJECT_ID=x", "BUGLE_UNHEARD_OF=hunter2"}, config.Service()...)
	got := fields(t, err)
	for path, part := range map[string]string{
		"env (BUGLE_ENV)":                                   "prod or dev",
		"listen (BUGLE_LISTEN)":                             "wants text, got a whole number",
		"admin.listen (BUGLE_ADMIN_LISTEN)":                 "host:port",
		"databse":                                           "unknown key",
		"fcm.rate":                                          "write it as fcm: {rate: …}",
		"ksqldb.url (BUGLE_KSQLDB_URL)":                     "must not contain credentials",
		"ksqldb.pasword":                                    "did you mean ksqldb.password?",
		"auth.secret (BUGLE_AUTH_SECRET)":                   "is not accepted in the file",
		"fcm.rate (BUGLE_FCM_RATE)":                         "wants a number, got text",
		"fcm.in_flight (BUGLE_FCM_IN_FLIGHT)":               "wants a whole number, got a number",
		"fcm.url (BUGLE_FCM_URL)":                           "only with env: dev",
		"categories.No Good.opt_in":                         "wants true or false, got text",
		"retention.deliveries (BUGLE_RETENTION_DELIVERIES)": "wants a duration such as 30d, got a whole number",
		"retention.runs (BUGLE_RETENTION_RUNS)":             `must be a duration such as "90s", "2m", "1h30m" or "28d"`,
		"log.level (BUGLE_LOG_LEVEL)":                       "none of the known words",
		"log.format (BUGLE_LOG_FORMAT)":                     "json or console",
		"rules (BUGLE_RULES)":                               "excludes rules_file",
		"BUGLE_FCM_PROJEKT_ID":                              "did you mean BUGLE_FCM_PROJECT_ID?",
		"BUGLE_FCM__PROJECT_ID":                             "did you mean BUGLE_FCM_PROJECT_ID?",
		"BUGLE_UNHEARD_OF":                                  "unknown variable",
		"database.url (BUGLE_DATABASE_URL)":                 "missing",
		"fcm.project_id (BUGLE_FCM_PROJECT_ID)":             "missing",
		"fcm.credentials_file (BUGLE_FCM_CREDENTIALS_FILE)": "missing",
	} {
		require.Contains(t, got[path], part, path)
		delete(got, path)
	}
	delete(got, "categories.No Good")
	require.Empty(t, got, "nothing else is reported")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"two documents":  {"env: dev\n---\nenv: prod\n", "more than one YAML document"},
		"duplicate key":  {"env: dev\nenv: prod\n", "already defined"},
		"a list":         {"- env\n", "a group of keys is wanted here"},
		"no YAML":        {"env: [\n", "is not YAML"},
		"section a list": {"fcm: [hunter2]\n", "wants a group of keys, got a list"},
		"section a text": {"fcm: hunter2\n", "wants a group of keys, got text"},
		"list a section": {"rules: {id: x}\n", "wants a list, got a group of keys"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse([]byte(test.text), nil)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err := config.Load(config.Options{File: filepath.Join(t.TempDir(), "none.yaml")})
	require.ErrorContains(t, err, "no such file")
}

func TestInsecureOptionsNeedDev(t *testing.T) {
	t.Parallel()
	const text = "{ksqldb: {url: 'http://127.0.0.1:17082'}, fcm: {url: 'http://127.0.0.1:17083/v1'}, env: %s}"
	environ := []string{"BUGLE_AUTH_SECRET=short"}

	_, err := config.Parse(fmt.Appendf(nil, text, "prod"), environ)
	got := fields(t, err)
	require.Len(t, got, 3)
	require.Contains(t, got["ksqldb.url (BUGLE_KSQLDB_URL)"], "unless env is dev")
	require.Contains(t, got["fcm.url (BUGLE_FCM_URL)"], "only with env: dev")
	require.Contains(t, got["auth.secret (BUGLE_AUTH_SECRET)"], "has 5 bytes")

	c, err := config.Parse(fmt.Appendf(nil, text, "dev"), nil)
	require.NoError(t, err)
	require.Equal(t, config.Dev, c.Env)
}

func TestSecretFilesAreChecked(t *testing.T) {
	t.Parallel()
	empty, text := write(t, "empty", "\n"), write(t, "text", "not json and not pem")
	_, err := config.Parse(nil, []string{
		"BUGLE_AUTH_SECRET_FILE=/does/not/exist", "BUGLE_KSQLDB_PASSWORD_FILE=" + empty, "BUGLE_KSQLDB_CA_FILE=" + text,
		"BUGLE_FCM_CREDENTIALS_FILE=" + text, "BUGLE_DATABASE_URL=mysql://u:hunter2@h/db",
	}, config.NeedAuth)
	got := fields(t, err)
	require.Contains(t, got["auth.secret_file (BUGLE_AUTH_SECRET_FILE)"], "no such file")
	require.Contains(t, got["ksqldb.password_file (BUGLE_KSQLDB_PASSWORD_FILE)"], "is empty")
	require.Contains(t, got["ksqldb.username (BUGLE_KSQLDB_USERNAME)"], "missing")
	require.Contains(t, got["ksqldb.ca_file (BUGLE_KSQLDB_CA_FILE)"], "no PEM certificate")
	require.Contains(t, got["fcm.credentials_file (BUGLE_FCM_CREDENTIALS_FILE)"], "is not JSON")
	require.Contains(t, got["database.url (BUGLE_DATABASE_URL)"], "sqlite:FILE")
	require.Len(t, got, 6)
	require.NotContains(t, err.Error(), "hunter2")

	_, err = config.Parse(nil, []string{"BUGLE_AUTH_SECRET=" + longSecret, "BUGLE_AUTH_SECRET_FILE=" + text})
	require.Contains(t, fields(t, err)["auth.secret_file (BUGLE_AUTH_SECRET_FILE)"], "excludes BUGLE_AUTH_SECRET")
}

func TestNoFormShowsASecret(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Auth.Secret = "hunter2-of-the-apps"
	c.KSQLDB.Username, c.KSQLDB.Password, c.KSQLDB.PasswordFile = "KEY", "hunter2-of-ksqldb", "/run/secrets/k"
	c.KSQLDB.URL = "https://u:hunter2@h"
	c.Database.URL = "postgres://u:hunter2@h/db?sslpassword=hunter2"
	c.FCM.Credentials = credentials
	c.Rules = []any{map[string]any{"id": "x"}}
	text, err := c.YAML()
	require.NoError(t, err)
	direct, err := yaml.Marshal(c.Auth)
	require.NoError(t, err)
	asJSON, err := json.Marshal(c.FCM)
	require.NoError(t, err)
	for _, out := range []string{
		text, c.String(), fmt.Sprintf("%v %+v %#v %s %q %x", c, c, c, c, c.Auth, c.FCM), string(direct), string(asJSON),
	} {
		require.NotContains(t, out, "hunter2")
		require.NotContains(t, out, fmt.Sprintf("%x", "hunter2"))
	}
	require.Contains(t, text, "password_file: /run/secrets/k")
	require.Contains(t, text, "secret: '[hidden]'")
	require.Contains(t, text, "id: x")
}

func TestThePrintedFormIsAFile(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Env = config.Dev
	c.Database.URL = "sqlite:x.db"
	c.KSQLDB.URL = "http://127.0.0.1:1"
	c.Categories = map[string]config.Category{"race": {OptIn: true}}
	c.Rules = []any{map[string]any{"id": "x", "key": []any{"a"}}}
	c.Kafka.Brokers = []string{"127.0.0.1:9092"}
	c.Kafka.TLS = false
	c.Ably.KeyFile = write(t, "key", ablyKey)
	c.Ably.Key = ablyKey
	all := false
	c.Relay = []config.Relay{{Topic: "odds", Channel: "outbound:odds:#{key}", DeadLetter: "dead", Conflate: &all, MaxAge: config.Duration(time.Minute)}}
	text, err := c.YAML()
	require.NoError(t, err)
	again, err := config.Parse([]byte(text), nil)
	require.NoError(t, err)
	require.Equal(t, c, again)

	rules, err := c.RulesYAML()
	require.NoError(t, err)
	require.YAMLEq(t, "rules: [{id: x, key: [a]}]", string(rules))
}

func TestKeysAreUniqueAndExplained(t *testing.T) {
	t.Parallel()
	paths, variables := map[string]bool{}, map[string]bool{"BUGLE_CONFIG": true}
	for _, k := range config.Keys() {
		require.False(t, paths[k.Path], k.Path)
		require.False(t, variables[k.Env], "%s stands for two keys", k.Env)
		require.NotEmpty(t, k.Doc, k.Path)
		paths[k.Path], variables[k.Env] = true, true
	}
	require.True(t, paths["fcm.project_id"])
	require.True(t, variables["BUGLE_FCM_PROJECT_ID"])
}

func TestReferenceIsDocumented(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- begin: written by make generate -->\n", "<!-- end -->"
	file := filepath.Join("..", "..", "docs", "configuration.md")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), begin)
	require.True(t, ok, "docs/configuration.md has lost its marker")
	table, after, ok := strings.Cut(rest, end)
	require.True(t, ok, "docs/configuration.md has lost its marker")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+config.Reference()+end+after), 0o644))
		return
	}
	require.Equal(t, config.Reference(), table, "run make generate")
	for _, k := range config.Keys() {
		require.Contains(t, config.Help(), k.Env)
	}
}

func TestTheExampleIsValid(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "bugle.example.yaml"))
	require.NoError(t, err)
	// Its secrets are mounted files; here the variables stand for them.
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if strings.Contains(line, "/run/secrets/") {
			lines[i] = ""
		}
	}
	c, err := config.Parse([]byte(strings.Join(lines, "\n")), []string{
		"BUGLE_KSQLDB_PASSWORD=x", "BUGLE_FCM_CREDENTIALS=" + credentials, "BUGLE_ABLY_KEY=" + ablyKey, "BUGLE_KAFKA_PASSWORD=x",
	}, config.Service()...)
	require.NoError(t, err)
	require.Equal(t, config.Prod, c.Env)
	require.True(t, c.Ably.Enabled())
	require.NotEmpty(t, c.Auth.JWKSURL)
	require.Len(t, c.Limits.Proxies, 1)
}

func FuzzParseGivesConfigOrError(f *testing.F) {
	f.Add("env: dev\nfcm: {rate: 5}\n", "")
	f.Add("categories: {a.b: {opt_in: true}}\nrules: [1, {a: [b]}]\n", "x")
	f.Add("fcm:\nlog: {level: 3}\n? [a]\n: b\n", "{a: b}")
	f.Add("a: &a [*a]", "1e999")
	f.Add("<<: {env: dev}\nlisten: !!binary aGk=\n", "[1")
	f.Fuzz(func(t *testing.T, text, value string) {
		c, err := config.Parse([]byte(text), []string{"BUGLE_CATEGORIES=" + value, "BUGLE_FCM_RATE=" + value, "BUGLE_LOG_LEVEL=" + value})
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.Equal(t, config.Config{}, c)
			require.NotEmpty(t, fields(t, err))
			return
		}
		printed, err := c.YAML()
		require.NoError(t, err)
		again, err := config.Parse([]byte(printed), nil)
		require.NoError(t, err, printed)
		require.Equal(t, c.String(), again.String())
	})
}

func TestRetentionIsReadAndBounded(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]byte("retention: {deliveries: 1d12h}"), []string{"BUGLE_RETENTION_RUNS=2160h"})
	require.NoError(t, err)
	require.Equal(t, config.Retention{Deliveries: config.Duration(36 * time.Hour), Runs: config.Duration(90 * 24 * time.Hour)}, c.Retention)
	text, err := c.YAML()
	require.NoError(t, err)
	require.Contains(t, text, "runs: 90d\n")
	again, err := config.Parse([]byte(text), nil)
	require.NoError(t, err)
	require.Equal(t, c.Retention, again.Retention)

	_, err = config.Parse([]byte("retention: {deliveries: 23h, runs: 3651d}"), nil)
	require.Equal(t, map[string]string{
		"retention.deliveries (BUGLE_RETENTION_DELIVERIES)": "wants 1d to 3650d", "retention.runs (BUGLE_RETENTION_RUNS)": "wants 1d to 3650d",
	}, fields(t, err))
}

func TestTheGatesAreReadAndChecked(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]byte(`
quiet_hours: {loud: [transactional], spread: 0s}
frequency_caps:
  - {category: race, limit: 3, per: 1h, over: drop}
  - {classes: [marketing, service], limit: 10, per: 1d, over: delay}
`), nil)
	require.NoError(t, err)
	require.Equal(t, config.QuietHours{Loud: []string{"transactional"}}, c.QuietHours)
	require.Equal(t, []config.FrequencyCap{
		{Category: "race", Limit: 3, Per: config.Duration(time.Hour), Over: "drop"},
		{Classes: []string{"marketing", "service"}, Limit: 10, Per: config.Duration(24 * time.Hour), Over: "delay"},
	}, c.FrequencyCaps)
	_, err = config.Parse([]byte(`
quiet_hours: {loud: [silent], spread: 2h}
frequency_caps:
  - {category: "No Good", classes: [money], limit: 0, per: 40d, over: wait}
  - {limit: 1, per: 1h, over: drop, window: 1h}
`), nil)
	got := fields(t, err)
	for path, part := range map[string]string{
		"quiet_hours.loud[0]":          "transactional",
		"quiet_hours.spread":           "1h",
		"frequency_caps[0].category":   "a-z",
		"frequency_caps[0].classes[0]": "marketing",
		"frequency_caps[0].limit":      "1 to 1000",
		"frequency_caps[0].per":        "28d",
		"frequency_caps[0].over":       "delay",
		"frequency_caps[1].window":     "unknown key",
	} {
		found := false
		for p, message := range got {
			if p == path || len(p) > len(path) && p[:len(path)+1] == path+" " {
				found = true
				require.Contains(t, message, part, path)
			}
		}
		require.True(t, found, "%s in %v", path, got)
	}
}
