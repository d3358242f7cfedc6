package ksqlmigrate_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/ksqlclient/ksqlmigrate"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// three are the files of most tests.
func three() fstest.MapFS {
	return files(map[string]string{
		"V000001__bets.sql": "CREATE STREAM IF NOT EXISTS bets (id STRING KEY, runner STRING, stake DOUBLE) WITH (KAFKA_TOPIC='bets', VALUE_FORMAT='JSON', PARTITIONS=2);\n",
		"V000002__totals.sql": "SET 'auto.offset.reset' = 'earliest';\nDEFINE least = '1';\n" +
			"CREATE TABLE IF NOT EXISTS totals AS SELECT runner, COUNT(*) AS n FROM bets WHERE stake > ${least} GROUP BY runner EMIT CHANGES;\n" +
			"CREATE TABLE IF NOT EXISTS popular AS SELECT runner, n FROM totals WHERE n > 10 EMIT CHANGES;\n",
		"V000005__last_one.sql": "CREATE TABLE IF NOT EXISTS sums AS SELECT runner, SUM(stake) AS s FROM bets GROUP BY runner EMIT CHANGES;\n",
	})
}

// server starts a stand-in; a client of it speaks through wire, if there is one.
func server(t *testing.T, cfg ksqldb.Config, wire func(http.RoundTripper) http.RoundTripper) *ksqlclient.Client {
	t.Helper()
	cfg.DDL = true
	s, err := ksqldb.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	var rt http.RoundTripper = transport
	if wire != nil {
		rt = wire(transport)
	}
	client, err := ksqlclient.New(ksqlclient.Config{URL: s.URL(), PollInterval: time.Millisecond, Transport: rt})
	require.NoError(t, err)
	return client
}

// migrator is impatient, so that tests are not slow.
func migrator(t *testing.T, client ksqlmigrate.Client, files fstest.MapFS, change ...func(*ksqlmigrate.Config)) *ksqlmigrate.Migrator {
	t.Helper()
	cfg := ksqlmigrate.Config{Client: client, Files: files, Poll: 2 * time.Millisecond, Tries: 50}
	for _, c := range change {
		c(&cfg)
	}
	m, err := ksqlmigrate.New(cfg)
	require.NoError(t, err)
	return m
}

// row is what ksql-migrations would read of a version.
func row(t *testing.T, client *ksqlclient.Client, key string) map[string]any {
	t.Helper()
	rows, err := client.PullAll(t.Context(), "SELECT * FROM migration_schema_versions WHERE version_key = :key;", ksqlclient.Params{"key": key})
	require.NoError(t, err)
	require.Len(t, rows, 1)
	return rows[0].Map()
}

func states(t *testing.T, m *ksqlmigrate.Migrator) map[int]ksqlmigrate.State {
	t.Helper()
	list, err := m.Status(t.Context())
	require.NoError(t, err)
	out := map[int]ksqlmigrate.State{}
	for _, s := range list {
		out[s.Version] = s.State
	}
	return out
}

func TestApply(t *testing.T) {
	t.Parallel()
	client := server(t, ksqldb.Config{QueuedPolls: 2, TableLag: 20 * time.Millisecond}, nil)
	var events []ksqlmigrate.Event
	m := migrator(t, client, three(), func(c *ksqlmigrate.Config) {
		c.Report = func(e ksqlmigrate.Event) { events = append(events, e) }
	})
	require.Equal(t, map[int]ksqlmigrate.State{1: "PENDING", 2: "PENDING", 5: "PENDING"}, states(t, m))
	_, err := client.Describe(t.Context(), "migration_events")
	require.Error(t, err, "looking creates nothing")

	applied, err := m.Apply(t.Context(), ksqlmigrate.Options{})
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 5}, applied)
	require.Equal(t, map[int]ksqlmigrate.State{1: "MIGRATED", 2: "MIGRATED", 5: "MIGRATED"}, states(t, m))
	for _, made := range []string{"bets", "totals", "popular", "sums"} {
		_, err := client.Describe(t.Context(), made)
		require.NoError(t, err)
	}
	require.Len(t, events, 3+4+3, "each version begins, each statement is done, each version is done")
	require.True(t, events[9].Done)

	// The books are those of ksql-migrations.
	current, five, two := row(t, client, "CURRENT"), row(t, client, "5"), row(t, client, "2")
	for column, want := range map[string]string{"version": "5", "name": "last one", "state": "MIGRATED", "previous": "2", "error_reason": "N/A"} {
		require.Equal(t, want, current[column])
		require.Equal(t, want, five[column])
	}
	require.Equal(t, "1", two["previous"])
	require.Equal(t, "<none>", row(t, client, "1")["previous"])
	require.Regexp(t, `^[0-9a-f]{32}$`, two["checksum"])
	require.Regexp(t, `^[0-9]{13}$`, two["started_on"])
	require.Regexp(t, `^[0-9]{13}$`, two["completed_on"])
	stream, err := client.Exec(t.Context(), "DESCRIBE migration_events;", nil)
	require.NoError(t, err)
	require.Contains(t, string(stream[0].Raw), `"topic":"default_ksql_MIGRATION_EVENTS"`)

	again, err := m.Apply(t.Context(), ksqlmigrate.Options{})
	require.NoError(t, err)
	require.Empty(t, again)
}

func TestApplyInSteps(t *testing.T) {
	t.Parallel()
	client := server(t, ksqldb.Config{}, nil)
	m := migrator(t, client, three())
	plan, err := m.Plan(t.Context(), ksqlmigrate.Options{Until: 2})
	require.NoError(t, err)
	require.Len(t, plan, 2)
	require.Equal(t, ksqlmigrate.Pending, states(t, m)[1], "a plan changes nothing")
	applied, err := m.Apply(t.Context(), ksqlmigrate.Options{Next: true})
	require.NoError(t, err)
	require.Equal(t, []int{1}, applied)
	applied, err = m.Apply(t.Context(), ksqlmigrate.Options{Until: 4})
	require.NoError(t, err)
	require.Equal(t, []int{2}, applied)
	require.Equal(t, map[int]ksqlmigrate.State{1: "MIGRATED", 2: "MIGRATED", 5: "PENDING"}, states(t, m))

	// A file below the latest version that comes later is never applied.
	late := three()
	_, err = migrator(t, client, late).Apply(t.Context(), ksqlmigrate.Options{})
	require.NoError(t, err)
	late["V000003__late.sql"] = &fstest.MapFile{Data: []byte("DROP TABLE popular;\n")}
	list, err := migrator(t, client, late).Status(t.Context())
	require.NoError(t, err)
	require.True(t, list[2].Skipped)
	applied, err = migrator(t, client, late).Apply(t.Context(), ksqlmigrate.Options{})
	require.NoError(t, err)
	require.Empty(t, applied)
}

func TestApplyGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	var broken sync.Map
	broken.Store("on", true)
	client := server(t, ksqldb.Config{QueuedPolls: 1, FailCommand: func(sql string) bool {
		on, _ := broken.Load("on")
		return on == true && strings.Contains(sql, "popular")
	}}, nil)
	m := migrator(t, client, three())
	applied, err := m.Apply(t.Context(), ksqlmigrate.Options{})
	require.Equal(t, []int{1}, applied)
	failed, ok := errors.AsType[*ksqlmigrate.StatementError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, 2, failed.Number)
	require.Equal(t, 2, failed.Of)
	require.ErrorContains(t, err, "apply version 2: statement 2 of 2 (CREATE TABLE IF NOT EXISTS popular): ")
	list, err := m.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, ksqlmigrate.Failed, list[1].State)
	require.Contains(t, list[1].Record.Reason, "popular")
	require.Equal(t, 1, list[1].Record.Previous)

	broken.Store("on", false)
	existed := 0
	m = migrator(t, client, three(), func(c *ksqlmigrate.Config) {
		c.Report = func(e ksqlmigrate.Event) {
			if e.Existed {
				existed++
			}
		}
	})
	applied, err = m.Apply(t.Context(), ksqlmigrate.Options{})
	require.NoError(t, err)
	require.Equal(t, []int{2, 5}, applied)
	require.Equal(t, 1, existed, "totals had been made before")
	require.Equal(t, "1", row(t, client, "2")["previous"])
}

func TestApplyRefusesAChangedFile(t *testing.T) {
	t.Parallel()
	client := server(t, ksqldb.Config{}, nil)
	_, err := migrator(t, client, three()).Apply(t.Context(), ksqlmigrate.Options{Until: 2})
	require.NoError(t, err)

	changed := three()
	changed["V000001__bets.sql"].Data = append(changed["V000001__bets.sql"].Data, "-- more\n"...)
	m := migrator(t, client, changed)
	_, err = m.Apply(t.Context(), ksqlmigrate.Options{})
	require.ErrorIs(t, err, ksqlmigrate.ErrChanged)
	require.ErrorContains(t, err, "V000001__bets.sql is not the file that was applied on 2")
	_, err = m.Plan(t.Context(), ksqlmigrate.Options{})
	require.ErrorIs(t, err, ksqlmigrate.ErrChanged)
	list, err := m.Status(t.Context())
	require.NoError(t, err)
	require.True(t, list[0].Changed)
	require.False(t, list[1].Changed)

	gone := three()
	delete(gone, "V000002__totals.sql")
	_, err = migrator(t, client, gone).Apply(t.Context(), ksqlmigrate.Options{})
	require.ErrorIs(t, err, ksqlmigrate.ErrChanged)
	require.ErrorContains(t, err, "version 2 (totals) has no file")
}

// mark writes what a run of somebody else writes when it begins.
func mark(ctx context.Context, client *ksqlclient.Client, version string) error {
	for _, key := range []string{"CURRENT", version} {
		_, err := client.Exec(ctx, "INSERT INTO migration_events VALUES (:key, :version, 'theirs', 'RUNNING', 'c', '1700000000000', '', '<none>', 'N/A');",
			ksqlclient.Params{"key": key, "version": version})
		if err != nil {
			return err
		}
	}
	return nil
}

func TestAStuckRunIsTakenOverWhenAsked(t *testing.T) {
	t.Parallel()
	client := server(t, ksqldb.Config{}, nil)
	// A run that is stopped in the middle of version 1 can write down nothing more.
	ctx, stop := context.WithCancel(t.Context())
	fails := &cutting{Client: client, stop: stop}
	_, err := migrator(t, fails, three()).Apply(ctx, ksqlmigrate.Options{})
	require.Error(t, err)
	require.Equal(t, "RUNNING", row(t, client, "CURRENT")["state"])

	m := migrator(t, client, three())
	_, err = m.Apply(t.Context(), ksqlmigrate.Options{})
	require.ErrorIs(t, err, ksqlmigrate.ErrRunning)
	require.ErrorContains(t, err, "version 1 since 2")
	applied, err := m.Apply(t.Context(), ksqlmigrate.Options{TakeOver: true})
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 5}, applied)
	require.Equal(t, "<none>", row(t, client, "1")["previous"])
}

// cutting is a client whose process is killed at its first statement.
type cutting struct {
	*ksqlclient.Client
	stop context.CancelFunc
	dead bool
}

func (c *cutting) Exec(ctx context.Context, sql string, params ksqlclient.Params, options ...ksqlclient.Option) ([]ksqlclient.Result, error) {
	if c.dead || strings.Contains(sql, "bets") {
		c.dead = true
		c.stop()
		return nil, context.Canceled
	}
	return c.Client.Exec(ctx, sql, params, options...)
}

func TestOfTwoRunsTheFormerStops(t *testing.T) {
	t.Parallel()
	client := server(t, ksqldb.Config{}, nil)
	m := migrator(t, client, three(), func(c *ksqlmigrate.Config) {
		c.Report = func(e ksqlmigrate.Event) {
			if e.Migration.Version == 2 && e.Number == 1 {
				require.NoError(t, mark(t.Context(), client, "2"))
			}
		}
	})
	applied, err := m.Apply(t.Context(), ksqlmigrate.Options{})
	require.ErrorIs(t, err, ksqlmigrate.ErrConcurrent)
	require.Equal(t, []int{1}, applied)
	require.Equal(t, "theirs", row(t, client, "CURRENT")["name"], "their mark is left alone")
	_, err = client.Describe(t.Context(), "popular")
	require.Error(t, err, "the second statement did not run")
}

// Two that begin together: whatever they do to each other, an error says so, and
// one more run leaves all of it applied.
func TestTwoRunsAtOnce(t *testing.T) {
	t.Parallel()
	for range 10 {
		client := server(t, ksqldb.Config{QueuedPolls: 1, TableLag: 3 * time.Millisecond}, nil)
		errs := make([]error, 2)
		var both sync.WaitGroup
		for i := range errs {
			m := migrator(t, client, three())
			both.Go(func() { _, errs[i] = m.Apply(t.Context(), ksqlmigrate.Options{}) })
		}
		both.Wait()
		for _, err := range errs {
			if err != nil {
				told := errors.Is(err, ksqlmigrate.ErrConcurrent) || errors.Is(err, ksqlmigrate.ErrRunning)
				require.True(t, told, "%v", err)
			}
		}
		m := migrator(t, client, three())
		_, err := m.Apply(t.Context(), ksqlmigrate.Options{TakeOver: true})
		require.NoError(t, err)
		require.Equal(t, map[int]ksqlmigrate.State{1: "MIGRATED", 2: "MIGRATED", 5: "MIGRATED"}, states(t, m))
		require.Equal(t, "2", row(t, client, "5")["previous"])
	}
}

func TestALaggingTableIsAnError(t *testing.T) {
	t.Parallel()
	client := server(t, ksqldb.Config{TableLag: time.Hour}, nil)
	_, err := migrator(t, client, three(), func(c *ksqlmigrate.Config) { c.Tries = 3 }).Apply(t.Context(), ksqlmigrate.Options{})
	require.ErrorIs(t, err, ksqlmigrate.ErrLag)
	_, err = client.Describe(t.Context(), "bets")
	require.Error(t, err, "nothing runs before the mark is seen")
}

func TestHalfOfTheMetadataIsCompleted(t *testing.T) {
	t.Parallel()
	client := server(t, ksqldb.Config{}, nil)
	_, err := migrator(t, client, files(nil)).Apply(t.Context(), ksqlmigrate.Options{})
	require.NoError(t, err)
	_, err = client.Exec(t.Context(), "DROP TABLE migration_schema_versions;", nil)
	require.NoError(t, err)
	applied, err := migrator(t, client, three()).Apply(t.Context(), ksqlmigrate.Options{})
	require.NoError(t, err)
	require.Len(t, applied, 3)
}

func TestNewTellsEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := ksqlmigrate.New(ksqlmigrate.Config{Files: files(map[string]string{"V000001__a.sql": "SELECT 1;", "V000002__b.sql": "DROP STREAM a"})})
	require.ErrorContains(t, err, "V000001__a.sql: line 1: ksql-migrations takes no statement")
	require.ErrorContains(t, err, "V000002__b.sql: line 1: the last statement has no semicolon")
	_, err = ksqlmigrate.New(ksqlmigrate.Config{Files: three(), Defines: map[string]string{"least": "2", "most": "3"}})
	require.EqualError(t, err, "no file uses the variable most")
	_, err = ksqlmigrate.New(ksqlmigrate.Config{Files: files(nil), Table: "x; DROP STREAM y"})
	require.ErrorContains(t, err, "plain identifiers")
}

// wire records what goes to /ksql and refuses the first statements as a busy
// server does.
type wire struct {
	http.RoundTripper
	mu     sync.Mutex
	bodies []string
	busy   int
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/ksql" {
		return w.RoundTripper.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.Contains(string(body), "totals AS") && w.busy > 0 {
		w.busy--
		return &http.Response{
			StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Request: r, ProtoMajor: 1, ProtoMinor: 1,
			Body: io.NopCloser(strings.NewReader(`{"@type":"generic_error","error_code":50301,"message":"Timed out while waiting for a previous command to execute"}`)),
		}, nil
	}
	w.bodies = append(w.bodies, string(body))
	return w.RoundTripper.RoundTrip(r)
}

func TestStatementsCarryPropertiesAndFollowEachOther(t *testing.T) {
	t.Parallel()
	w := &wire{busy: 3}
	client := server(t, ksqldb.Config{}, func(rt http.RoundTripper) http.RoundTripper {
		w.RoundTripper = rt
		return w
	})
	_, err := migrator(t, client, three()).Apply(t.Context(), ksqlmigrate.Options{})
	require.NoError(t, err, "a busy server is asked again")
	require.Zero(t, w.busy)
	find := func(part string) string {
		for _, b := range w.bodies {
			if strings.Contains(b, part) {
				return b
			}
		}
		t.Fatalf("no statement with %q", part)
		return ""
	}
	require.Contains(t, find("totals AS"), `"streamsProperties":{"auto.offset.reset":"earliest"}`)
	require.Contains(t, find("totals AS"), `"commandSequenceNumber":2`, "after stream, table and bets")
	require.Contains(t, find("totals AS"), `stake \u003e 1 GROUP`)
	require.Contains(t, find("sums AS"), `"streamsProperties":{}`, "SET ends with its file")
}
