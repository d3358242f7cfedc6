package app_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/sandbox/fcm"
)

// rulesText is the test's rule with its title and as a file.
func rulesText(title string) string {
	indented := strings.ReplaceAll(fmt.Sprintf(rules, time.Now().Add(-10*time.Minute).UTC().Format(time.RFC3339)), "\n", "\n  ")
	return "rules:" + strings.Replace(indented, "Bet {{.bet_id}}", title, 1) + "\n"
}

// replaceFile puts a file in another one's place, as editors do.
func replaceFile(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(name+".new", name))
}

// reloads reads bugle_rules_reloads_total.
func reloads(t *testing.T, service *app.App) map[string]string {
	t.Helper()
	_, body := call(t, http.MethodGet, "http://"+service.AdminAddr()+"/metrics", "", "")
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`bugle_rules_reloads_total\{outcome="(\w+)"\} (\d+)`).FindAllStringSubmatch(body, -1) {
		out[m[1]] = m[2]
	}
	return out
}

func TestAChangedRuleFileTakesEffectAndAWrongOneIsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "rules.yaml")
	replaceFile(t, file, rulesText("Old {{.bet_id}}"))
	w.cfg.Rules, w.cfg.RulesFile = nil, file
	service, _ := w.start(t)
	require.Equal(t, map[string]string{"replaced": "0", "unchanged": "0", "refused": "0"}, reloads(t, service))

	target := w.fcm.MintToken(fcm.Android)
	status, body := call(t, http.MethodPost, "http://"+service.Addr()+"/v1/devices/phone-1/activate", token(t, "ann"), activation(target))
	require.Equal(t, http.StatusOK, status, body)
	shown := func(bet, title string) {
		t.Helper()
		require.NoError(t, w.bets.Put(time.Now(), bet, "ann", "WON"))
		require.Eventually(t, func() bool {
			accepted := w.fcm.Accepted()
			return len(accepted) > 0 && accepted[len(accepted)-1].Title == title
		}, time.Minute, 20*time.Millisecond)
	}
	shown("b-1", "Old b-1")

	replaceFile(t, file, rulesText("New {{.bet_id}}"))
	require.Eventually(t, func() bool { return reloads(t, service)["replaced"] == "1" }, time.Minute, 50*time.Millisecond)
	shown("b-2", "New b-2")

	// One rule is fine and one is not: neither is taken.
	replaceFile(t, file, rulesText("Newest {{.bet_id}}")+"  - {id: half}\n")
	require.Eventually(t, func() bool { return reloads(t, service)["refused"] == "1" }, time.Minute, 50*time.Millisecond)
	shown("b-3", "New b-3")
	require.Len(t, w.fcm.Accepted(), 3)

	// Written in place, and asked for by hand as SIGHUP does.
	require.NoError(t, os.WriteFile(file, []byte(rulesText("Hand {{.bet_id}}")), 0o600))
	require.NoError(t, service.Reload(t.Context()))
	require.Equal(t, "2", reloads(t, service)["replaced"])
	shown("b-4", "Hand b-4")
	require.NoError(t, service.Reload(t.Context()))
	require.Contains(t, []string{"1", "2"}, reloads(t, service)["unchanged"], "the watcher may have looked as well")
}

func TestRulesInTheConfigurationFileAreReloadedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "bugle.yaml")
	text := func(extra, title string) string {
		return fmt.Sprintf("env: dev\nlisten: 127.0.0.1:0\nadmin: {listen: '127.0.0.1:0'}\ndatabase: {url: '%s'}\nksqldb: {url: %s}\nfcm: {project_id: %s, url: '%s'}\n%s%s",
			w.cfg.Database.URL, w.ksql.URL(), w.fcm.ProjectID(), w.fcm.URL(), extra, rulesText(title))
	}
	replaceFile(t, file, text("", "One"))
	cfg, err := config.Load(config.Options{
		File: file, Needs: config.Service(),
		Environ: []string{"BUGLE_AUTH_SECRET=" + secret, "BUGLE_FCM_CREDENTIALS=" + string(w.fcm.CredentialsJSON())},
	})
	require.NoError(t, err)
	var log logtest.Buffer
	service, err := app.New(t.Context(), cfg, zerolog.New(&log))
	require.NoError(t, err)
	defer func() { require.NoError(t, service.Close(t.Context())) }()
	require.NoError(t, service.Reload(t.Context()), "the same rules")

	replaceFile(t, file, text("", "Two"))
	require.NoError(t, service.Reload(t.Context()))
	require.Equal(t, 1, strings.Count(log.String(), "rules replaced"))

	for extra, want := range map[string]string{
		"categories: {win: {opt_in: true}}\n": "categories (BUGLE_CATEGORIES)",
		"listne: x\nfcm.rate: 7\n":            "listne",
		"rules_file: elsewhere.yaml\n":        "rules (BUGLE_RULES)",
	} {
		replaceFile(t, file, text(extra, "Three"))
		require.ErrorContains(t, service.Reload(t.Context()), want)
		require.Contains(t, log.String(), want, "every field is logged")
	}
	require.Contains(t, log.String(), "fcm.rate: write it as")
	replaceFile(t, file, "rules: [")
	require.Error(t, service.Reload(t.Context()))
	require.NoError(t, os.Remove(file))
	require.ErrorContains(t, service.Reload(t.Context()), "no such file")
	require.Equal(t, 1, strings.Count(log.String(), "rules replaced"))
	require.NotContains(t, log.String(), secret)
}
