package preflight_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/preflight"
	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/fcm"
)

func TestRunMakesAllChecksAtOnceAndBoundsEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := preflight.Check{Name: "slow", Do: func(ctx context.Context) []preflight.Finding {
			<-ctx.Done()
			return []preflight.Finding{{Severity: preflight.Error, Path: "a.b", What: "hangs", Mend: "wait"}}
		}}
		fine := preflight.Check{Name: "fine", Do: func(context.Context) []preflight.Finding { return nil }}
		odd := preflight.Check{Name: "odd", Do: func(context.Context) []preflight.Finding {
			return []preflight.Finding{{Severity: preflight.Warning, Path: "c", What: "is odd"}}
		}}
		began := time.Now()
		r := preflight.Run(t.Context(), []preflight.Check{slow, fine, slow, odd})
		require.Equal(t, 30*time.Second, time.Since(began), "the two slow ones ran together")
		require.False(t, r.OK)
		require.Equal(t, 2, r.Count(preflight.Error))
		require.Equal(t, 1, r.Count(preflight.Warning))

		var text, js bytes.Buffer
		require.NoError(t, r.WriteText(&text))
		require.Equal(t, `slow  FAILED   30000 ms
fine  ok       0 ms
slow  FAILED   30000 ms
odd   warning  0 ms

ERROR: a.b: hangs
  to mend: wait

ERROR: a.b: hangs
  to mend: wait

WARNING: c: is odd

2 errors, 1 warning
`, text.String())
		require.NoError(t, preflight.Run(t.Context(), []preflight.Check{fine, odd}).WriteJSON(&js))
		require.JSONEq(t, `{"ok": true, "checks": [
			{"name": "fine", "ok": true, "took_ms": 0, "findings": []},
			{"name": "odd", "ok": true, "took_ms": 0, "findings": [{"severity": "warning", "path": "c", "what": "is odd", "mend": ""}]}]}`, js.String())
	})
}

// server is a ksqlDB that says what a test wants.
type server struct {
	info, health, columnsErr, describeErr error
	columns                               []ksqlclient.Column
	source                                ksqlclient.Source
	asked                                 *ksqlclient.Params
}

func (s server) Info(context.Context) (ksqlclient.Info, error) { return ksqlclient.Info{}, s.info }
func (s server) Health(context.Context) (ksqlclient.Health, error) {
	return ksqlclient.Health{}, s.health
}

func (s server) Columns(_ context.Context, _ string, p ksqlclient.Params, _ ...ksqlclient.Option) ([]ksqlclient.Column, error) {
	if s.asked != nil {
		*s.asked = p
	}
	return s.columns, s.columnsErr
}

func (s server) Describe(context.Context, string) (ksqlclient.Source, error) {
	return s.source, s.describeErr
}

func rule(t *testing.T) *notifier.Rule {
	t.Helper()
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(`
rules:
  - id: r
    schedule: "@every 1m"
    class: service
    query: SELECT k, o, ROWTIME AS arrived FROM things WHERE ROWTIME >= :since AND ROWTIME < :until
    watermark: {column: arrived}
    key: [k]
    version: [o]
    order: o
    audience: {user: k}
    notification: {category: c, title: "{{.k}}"}
`)})
	require.NoError(t, err)
	return set.All()[0]
}

func columns(kinds map[string]string) []ksqlclient.Column {
	var out []ksqlclient.Column
	for name, kind := range kinds {
		typ, err := ksqlclient.ParseType(kind)
		if err != nil {
			panic(err)
		}
		out = append(out, ksqlclient.Column{Name: name, Original: strings.ToUpper(name), Type: typ})
	}
	return out
}

func lines(findings []preflight.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%s %s: %s", f.Severity, f.Path, f.What))
	}
	return out
}

func TestEachTypeOfColumn(t *testing.T) {
	t.Parallel()
	r := rule(t)
	for kind, want := range map[string]string{
		"BIGINT": "", "INTEGER": "", "TIMESTAMP": "", "DECIMAL(18, 0)": "",
		"STRING": "warning", "DECIMAL(18, 2)": "error", "DOUBLE": "error", "BOOLEAN": "error", "DATE": "error",
		"TIME": "error", "BYTES": "error", "ARRAY<BIGINT>": "error", "STRUCT<A BIGINT>": "error",
	} {
		s := server{columns: columns(map[string]string{"k": "STRING", "o": kind, "arrived": "BIGINT"})}
		found := preflight.KSQL(s, []*notifier.Rule{r}, time.Now()).Do(t.Context())
		if want == "" {
			require.Empty(t, found, kind)
			continue
		}
		require.Len(t, found, 1, kind)
		require.Equal(t, "rules[r].order", found[0].Path)
		require.EqualValues(t, want, found[0].Severity, kind)
	}
	for kind, want := range map[string]int{"BIGINT": 0, "TIMESTAMP": 0, "INTEGER": 1, "DOUBLE": 1, "DATE": 1} {
		s := server{columns: columns(map[string]string{"k": "STRING", "o": "BIGINT", "arrived": kind})}
		require.Len(t, preflight.KSQL(s, []*notifier.Rule{r}, time.Now()).Do(t.Context()), want, kind)
	}
}

func TestAnAmountMustBeANumber(t *testing.T) {
	t.Parallel()
	set, err := notifier.CompileRules(notifier.RuleSource{YAML: []byte(`
rules:
  - id: r
    schedule: "@every 1m"
    class: service
    query: SELECT 1 FROM x
    key: [k]
    forget_after: 1h
    audience: {user: k}
    notification: {category: c, title: "{{money .payout .currency}}", body: "{{odds .price}}"}
`)})
	require.NoError(t, err)
	for kind, want := range map[string]string{
		"BIGINT": "", "INTEGER": "", "DOUBLE": "", "DECIMAL(18, 2)": "", "STRING": "warning",
		"BOOLEAN": "error", "TIMESTAMP": "error", "BYTES": "error", "ARRAY<DOUBLE>": "error",
	} {
		s := server{columns: columns(map[string]string{"k": "STRING", "payout": kind, "currency": "STRING", "price": kind})}
		found := preflight.KSQL(s, set.All(), time.Now()).Do(t.Context())
		if want == "" {
			require.Empty(t, found, kind)
			continue
		}
		require.Len(t, found, 2, kind)
		for _, f := range found {
			require.EqualValues(t, want, f.Severity, kind)
		}
	}
}

func TestAQueryIsAskedOverAnEmptyWindow(t *testing.T) {
	t.Parallel()
	var asked ksqlclient.Params
	s := server{asked: &asked, columns: columns(map[string]string{"k": "STRING", "o": "BIGINT", "arrived": "BIGINT"})}
	require.Empty(t, preflight.KSQL(s, []*notifier.Rule{rule(t)}, time.Now()).Do(t.Context()))
	require.Len(t, asked, 2)
	require.Equal(t, asked["since"], asked["until"])
}

func TestARefusedQueryIsExplained(t *testing.T) {
	t.Parallel()
	refused := &ksqlclient.Error{Kind: ksqlclient.KindPull, Status: 400, Code: ksqlclient.CodeBadStatement, Message: "no good"}
	things := ksqlclient.Source{Name: "THINGS", Columns: columns(map[string]string{"k": "STRING", "o": "BIGINT"})}
	for name, tc := range map[string]struct {
		server server
		want   string
	}{
		"no source":        {server{columnsErr: refused, describeErr: refused}, "error rules[r].query: the view things does not exist"},
		"no column":        {server{columnsErr: refused, source: ksqlclient.Source{Name: "THINGS", Columns: things.Columns[:0]}}, "has no column"},
		"all there":        {server{columnsErr: refused, source: things}, "error rules[r].query: ksqlDB refuses the query: no good"},
		"cannot describe":  {server{columnsErr: refused, describeErr: errors.New("forbidden")}, "ksqlDB refuses the query: no good"},
		"another trouble":  {server{columnsErr: errors.New("cut")}, "error rules[r].query: the query fails: cut"},
		"unhealthy":        {server{health: ksqlclient.ErrUnhealthy, columns: columns(map[string]string{"k": "STRING", "o": "BIGINT", "arrived": "BIGINT"})}, "warning ksqldb.url: the server is not healthy"},
		"starting":         {server{info: &ksqlclient.Error{Status: 503, Code: ksqlclient.CodeNotReady}}, "error ksqldb.url: the server is not ready"},
		"forbidden":        {server{info: &ksqlclient.Error{Status: 403}}, "error ksqldb.username: the server knows us"},
		"name not known":   {server{info: &net.DNSError{Name: "h", IsNotFound: true}}, "error ksqldb.url: the host's name cannot be resolved"},
		"not ksqlDB":       {server{info: ksqlclient.ErrMalformed}, "error ksqldb.url: whatever answers there is no ksqlDB"},
		"TLS on one side":  {server{info: http.ErrSchemeMismatch}, "error ksqldb.url: the server does not speak TLS"},
		"whatever else":    {server{info: errors.New("boom")}, "error ksqldb.url: the server cannot be reached"},
		"wrong key":        {server{info: &ksqlclient.Error{Status: 401}}, "error ksqldb.username: the server refuses our credentials"},
		"column in result": {server{columns: columns(map[string]string{"k": "STRING", "arrived": "BIGINT"})}, "error rules[r].version[0]: the query's result has no column o"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := lines(preflight.KSQL(tc.server, []*notifier.Rule{rule(t)}, time.Now()).Do(t.Context()))
			require.NotEmpty(t, found)
			require.Contains(t, strings.Join(found, "\n"), tc.want)
			if name != "no column" {
				require.Len(t, found, 1, "one trouble is told once")
			}
		})
	}
}

type prober struct{ err error }

func (p prober) Probe(context.Context) error { return p.err }

// Every code that a probe can end with leads to a finding that says more than
// that the answer is not understood, but for those that cannot come.
func TestEveryCodeOfFCMIsExplained(t *testing.T) {
	t.Parallel()
	never := map[string]bool{
		fcm.CodeAccepted: true, fcm.CodeUnregistered: true, fcm.CodeInvalidToken: true, fcm.CodeInvalidArgument: true,
		fcm.CodeSenderIDMismatch: true, fcm.CodeThirdPartyAuth: true, // a probe takes them for fine
		fcm.CodeAPNsUnregistered: true, fcm.CodeAPNsBadDeviceToken: true, fcm.CodeAPNsWrongTopic: true,
		fcm.CodeExpired: true, fcm.CodeReservedDataKey: true, fcm.CodePayloadTooLarge: true, fcm.CodeInvalidMessage: true,
		fcm.CodeUnsupportedTarget: true, fcm.CodeBadRequest: true, fcm.CodeUnexpectedAnswer: true,
	}
	for _, code := range fcm.Codes() {
		found := preflight.FCM(prober{&fcm.Error{Code: code}}, "p", []byte(`{"project_id":"p"}`), "fcm.credentials_file").Do(t.Context())
		require.Len(t, found, 1, code)
		require.Equal(t, never[code], strings.Contains(found[0].What, "is not understood"), code)
		require.NotEmpty(t, found[0].Mend)
	}
}

func TestAnotherProjectIsAWarningAsLongAsGoogleTakesIt(t *testing.T) {
	t.Parallel()
	key := []byte(`{"project_id":"other"}`)
	require.Equal(t, []string{"warning fcm.project_id: is p, but the credentials belong to the project other"},
		lines(preflight.FCM(prober{}, "p", key, "x").Do(t.Context())))
	found := lines(preflight.FCM(prober{&fcm.Error{Code: fcm.CodePermissionDenied}}, "p", key, "x").Do(t.Context()))
	require.Len(t, found, 2)
	require.Contains(t, found[1], "error fcm.project_id: is p, but")
	require.Empty(t, preflight.FCM(prober{}, "p", nil, "x").Do(t.Context()))
}

// dated answers with a Date and takes its time.
type dated struct {
	date string
	took time.Duration
	err  error
}

func (d dated) RoundTrip(*http.Request) (*http.Response, error) {
	time.Sleep(d.took)
	if d.err != nil {
		return nil, d.err
	}
	return &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{"Date": {d.date}}, Body: http.NoBody}, nil
}

func TestClock(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		off  time.Duration // of the server
		took time.Duration
		want string
	}{
		"exact":                 {0, 0, ""},
		"within bounds, behind": {-5 * time.Second, 0, ""},
		"within bounds, ahead":  {5 * time.Second, 0, ""},
		"a slow answer":         {4 * time.Second, 9 * time.Second, ""},
		"we are behind":         {7 * time.Second, 0, "warning p: this machine's clock is 7s behind"},
		"we are ahead":          {-10 * time.Second, 0, "warning p: this machine's clock is 9s ahead of"},
		"we are far behind":     {time.Minute, 0, "error p: this machine's clock is 1m0s behind"},
		"we are far ahead":      {-time.Minute, 0, "error p: this machine's clock is 59s ahead of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := dated{date: time.Now().Add(tc.off).UTC().Format(http.TimeFormat), took: tc.took}
				check := preflight.Clock([]preflight.Dated{{Path: "p", URL: "http://h", Transport: d}}, time.Now)
				found := strings.Join(lines(check.Do(t.Context())), "\n")
				if tc.want == "" {
					require.Empty(t, found)
					return
				}
				require.Contains(t, found, tc.want)
			})
		})
	}
	silent := []preflight.Dated{
		{Path: "a", URL: "http://h", Transport: dated{}},
		{Path: "b", URL: "http://h", Transport: dated{err: errors.New("down")}},
		{Path: "c", URL: "://", Transport: dated{}},
		{Path: "d", URL: "http://h", Transport: dated{date: "yesterday"}},
	}
	require.Empty(t, preflight.Clock(silent, time.Now).Do(t.Context()), "others look after that")
}

func TestTheQueryOfAnImportMustNameWhoAndWhy(t *testing.T) {
	t.Parallel()
	q, err := notifier.CompileImport("@every 5m", "SELECT user_id, reason FROM exclusions;", 1)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		columns map[string]string
		want    []string
	}{
		"right":   {map[string]string{"user_id": "STRING", "reason": "STRING", "class": "STRING", "from": "TIMESTAMP", "until": "BIGINT"}, nil},
		"least":   {map[string]string{"user_id": "BIGINT", "reason": "STRING"}, nil},
		"nobody":  {map[string]string{"reason": "STRING"}, []string{"error suppressions.import.query: the query's result has no column user_id"}},
		"no time": {map[string]string{"user_id": "STRING", "reason": "STRING", "until": "BOOLEAN"}, []string{"error suppressions.import.query: the column until is BOOLEAN, which is not a time (TIMESTAMP, or BIGINT with epoch milliseconds)"}},
		"misspelt": {map[string]string{"user_id": "STRING", "reason": "STRING", "until_at": "TIMESTAMP"}, []string{
			"warning suppressions.import.query: nothing reads the column until_at: without until a suppression is for good",
		}},
	} {
		require.Equal(t, tc.want, lines(preflight.SuppressionImport(server{columns: columns(tc.columns)}, q).Do(t.Context())), name)
	}
	refused := server{columnsErr: &ksqlclient.Error{Code: ksqlclient.CodeBadStatement, Message: "no such source"}}
	require.Equal(t, []string{"error suppressions.import.query: ksqlDB refuses the query: no such source"}, lines(preflight.SuppressionImport(refused, q).Do(t.Context())))
}
