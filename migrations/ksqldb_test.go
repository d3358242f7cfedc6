package migrations_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/ksqlclient/ksqlmigrate"
	"github.com/bugle-push/bugle/migrations"
	"github.com/bugle-push/bugle/notifier"
	relaybets "github.com/bugle-push/bugle/relay/bets"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
	"github.com/bugle-push/bugle/sandbox/racing"
)

// load returns the files.
func load(t *testing.T) []ksqlmigrate.Migration {
	t.Helper()
	list, err := ksqlmigrate.Load(migrations.KSQLDB())
	require.NoError(t, err)
	require.NotEmpty(t, list)
	return list
}

// define runs all files and returns what they make.
func define(t *testing.T) map[string]ksqldb.Source {
	t.Helper()
	var sql strings.Builder
	for _, m := range load(t) {
		statements, err := m.Statements(nil)
		require.NoError(t, err)
		for _, s := range statements {
			sql.WriteString(s.SQL + "\n")
		}
	}
	made, err := ksqldb.Define(sql.String())
	require.NoError(t, err)
	return made
}

// Every statement is of a kind that ksql-migrations takes, and can be run again
// after a failure.
func TestKSQLFilesAreForKsqlMigrations(t *testing.T) {
	t.Parallel()
	for i, m := range load(t) {
		require.Equal(t, i+1, m.Version, "ksql-migrations applies files in order, and so do we: no gaps")
		require.Contains(t, []string{"\n"}, m.SQL[len(m.SQL)-1:], "it refuses a comment without line end")
		statements, err := m.Statements(nil)
		require.NoError(t, err)
		require.NotEmpty(t, statements)
		for _, s := range statements {
			require.Regexp(t, `^CREATE (STREAM|TABLE) IF NOT EXISTS `, s.SQL)
		}
		// It joins what stands before and after a comment, line end and all.
		for line := range strings.SplitSeq(m.SQL, "\n") {
			if before, _, found := strings.Cut(line, "--"); found {
				require.Empty(t, strings.TrimSpace(before), "%s: a comment has its line for itself: %s", m.File, line)
			}
		}
	}
}

// What the rules and the sandbox believe of the views is what the files make.
func TestKSQLFilesMakeTheViewsOfTheSandbox(t *testing.T) {
	t.Parallel()
	made := define(t)
	for _, view := range []*ksqldb.Table{racing.NewSettledBets(), racing.NewSettledBetsWithStatus(), racing.NewRejectedBets(), racing.NewUpcomingRaces()} {
		got, ok := made[view.Name()]
		require.True(t, ok, view.Name())
		require.Equal(t, ksqldb.KindTable, got.Kind, "a plain CREATE TABLE cannot be queried")
		require.Equal(t, view.Columns(), got.Columns, view.Name())
	}
}

func TestBuiltinRulesReadWhatTheKSQLFilesMake(t *testing.T) {
	t.Parallel()
	var views []ksqldb.View
	for _, s := range define(t) {
		if s.Kind == ksqldb.KindTable {
			views = append(views, ksqldb.NewTable(s.Name, s.Columns...))
		}
	}
	set, err := notifier.CompileRules(notifier.BuiltinRules())
	require.NoError(t, err)
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	for _, rule := range set.All() {
		sql, err := ksqlclient.Bind(rule.Query, ksqlclient.Params(rule.Params(notifier.Window{Now: now, Since: now, Until: now})))
		require.NoError(t, err)
		columns, err := ksqldb.Check(sql, views...)
		require.NoError(t, err, rule.ID)
		for _, use := range rule.Columns() {
			require.True(t, slices.ContainsFunc(columns, func(c ksqldb.Column) bool { return strings.EqualFold(c.Name, use.Column) }), "%s reads %s", rule.ID, use.Column)
		}
	}
}

// Whatever the decision of a bet can be, the rule has a text for it.
func TestEveryDecisionHasAText(t *testing.T) {
	t.Parallel()
	set, err := notifier.CompileRules(notifier.BuiltinRules())
	require.NoError(t, err)
	rule, ok := set.Get("bet-rejected")
	require.True(t, ok)
	var reasons []string
	for _, m := range load(t) {
		for _, part := range strings.Split(m.SQL, " THEN '")[1:] {
			if reason, _, _ := strings.Cut(part, "'"); strings.Contains(m.SQL, "AS decision") && !slices.Contains(reasons, reason) {
				reasons = append(reasons, reason)
			}
		}
	}
	require.ElementsMatch(t, []string{"NOT_OFFERED", "RACE_STARTED", "ODDS_MOVED"}, reasons)
	for _, reason := range reasons {
		d, err := rule.Draft(notifier.Row{
			"bet_id": "b", "user_id": "u", "event_id": "e", "event_name": "The Oaks", "runner": "Car 1", "odds": 0.5, "odds_now": 0.25,
			"reason": reason, "placed_at": "2026-09-01T12:00:00Z", "rowtime": json.Number("1788264000000"),
		})
		require.NoError(t, err, reason)
		require.NoError(t, rule.Check(d), reason)
	}
}

// The contract of the topics that Bugle writes and relays.
func TestKSQLFilesKeepTheContractOfTheTopics(t *testing.T) {
	t.Parallel()
	made := define(t)
	column := func(name, kind string) ksqldb.Column { return ksqldb.Column{Name: name, Type: kind} }
	key := func(name string) ksqldb.Column { return ksqldb.Column{Name: name, Type: "STRING", Key: true} }

	bets := made["BETS"]
	require.Equal(t, "bets", bets.Topic)
	require.Equal(t, []ksqldb.Column{
		key("BET_ID"), column("EVENT_ID", "STRING"), column("RUNNER", "STRING"), column("USER_ID", "STRING"), column("AUTHENTICATED", "BOOLEAN"),
		column("STAKE", "DECIMAL(18, 2)"), column("ODDS", "DOUBLE"), column("PLACED_AT", "TIMESTAMP"),
	}, bets.Columns)

	// The fields of the record that Bugle writes are these columns.
	var fields []string
	for f := range reflect.TypeFor[relaybets.Bet]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields = append(fields, strings.ToUpper(name))
	}
	for _, c := range bets.Columns {
		require.Contains(t, fields, c.Name)
	}
	require.Len(t, fields, len(bets.Columns))

	odds := made["ODDS"]
	require.Equal(t, "odds", odds.Topic)
	require.Equal(t, "KAFKA", odds.KeyFormat, "the event id as plain text")
	require.Equal(t, "JSON", odds.ValueFormat)
	require.Equal(t, []ksqldb.Column{key("EVENT_ID"), column("TILES", "ARRAY<STRUCT<`name` STRING, `imageURL` STRING, `odds` DOUBLE>>")}, odds.Columns)

	// What settles the bets writes what the stream of settlements reads.
	written, read := made["SETTLING"], made["SETTLEMENTS"]
	require.Equal(t, read.Topic, written.Topic)
	require.Equal(t, read.Partitions, written.Partitions)
	require.Len(t, written.Columns, len(read.Columns))
	for i, c := range read.Columns {
		require.Equal(t, c.Type, written.Columns[i].Type)
		if !c.Key {
			require.Equal(t, strings.ToLower(c.Name), written.Columns[i].Name, "the fields of the topic are in lower case")
		}
	}
	// The odds in force are read from what the odds of the runners are written to.
	require.Equal(t, made["RUNNER_ODDS"].Topic, made["ODDS_IN_FORCE"].Topic)
	require.Equal(t, made["RUNNER_ODDS"].Partitions, made["ODDS_IN_FORCE"].Partitions)

	// ROWTIME is the time of arrival, so nothing may set it.
	for _, m := range load(t) {
		statements, err := m.Statements(nil)
		require.NoError(t, err)
		for _, s := range statements {
			require.NotRegexp(t, `\bTIMESTAMP\s*=`, s.SQL)
		}
	}
}
