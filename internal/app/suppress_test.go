package app_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/devices/sqldevices"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/internal/sqldb/sqldbtest"
	"github.com/bugle-push/bugle/sandbox/fcm"
)

// suppressVariable says how many deliveries the run of
// TestASuppressedUserIsLeftAloneWithinASecond has.
const suppressVariable = "BUGLE_TEST_SUPPRESS_DELIVERIES"

const (
	// suppressDefault takes some seconds.
	suppressDefault = 8000
	// perUser is how many deliveries each user has, spread over the whole run.
	perUser = 20
	// suppressedUsers are suppressed while the run is sent, and each fifth of them is let go again.
	suppressedUsers = 200
	letGo           = 5
)

// spell is a time in which a user was suppressed: from the answer to the one change until the other was asked for.
type spell struct {
	answered time.Time
	liftedAt time.Time // zero: not lifted
}

// One run is sent by two replicas on one PostgreSQL, and users are suppressed through the admin API
// of both, at moments that are spread over all of it. Each of them has something to be sent at any
// time, so that a replica that goes by an old list, or by none, cannot pass.
func TestASuppressedUserIsLeftAloneWithinASecond(t *testing.T) {
	database := sqldbtest.PostgresURL(t)
	total := suppressDefault
	if text := os.Getenv(suppressVariable); text != "" {
		var err error
		total, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	users := total / perUser
	require.GreaterOrEqual(t, users, 2*suppressedUsers, "the run must go on while they are suppressed")
	total = users * perUser

	w := newWorld(t)
	w.cfg.Database = config.Database{URL: database, MaxConnections: 12}
	w.cfg.FCM.Rate, w.cfg.FCM.InFlight = 5000, 16
	rule, ok := w.cfg.Rules[0].(map[string]any)
	require.True(t, ok)
	rule["ttl"] = map[string]any{"for": "2h"}
	rule["watermark"] = map[string]any{"column": "rowtime", "lookback": "1m", "max_window": "10s"}
	admin, line, err := api.NewAdminToken("alice", time.Now(), time.Hour)
	require.NoError(t, err)
	w.cfg.Admin.TokensFile = filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(w.cfg.Admin.TokensFile, []byte(line.Line()), 0o600))

	tokens := w.activateAll(t, database, users)
	began, spread := time.Now().Add(-9*time.Minute), 7*time.Minute // one run reads them in slices, and no later one again
	for i := range total {
		require.NoError(t, w.bets.Put(began.Add(spread*time.Duration(i)/time.Duration(total)), fmt.Sprintf("b-%d", i), userName(i%users), "WON"))
	}
	var admins []string
	for range 2 {
		service, _ := w.start(t)
		admins = append(admins, "http://"+service.AdminAddr()+"/admin/v1/suppressions")
	}

	spells := w.suppressAll(t, admins, admin.Reveal(), total, users)
	db, err := sqldb.Open(t.Context(), database, sqldb.Options{MaxConnections: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	queued := func() (n int) {
		require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT count(*) FROM deliveries WHERE state IN ('queued', 'leased')`).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return queued() == 0 }, 5*time.Minute+time.Duration(total)*5*time.Millisecond, 200*time.Millisecond)

	judge(t, w.fcm.Accepted(), tokens, spells)
	rows, err := db.SQL().QueryContext(t.Context(), `SELECT count(*) FROM attempts GROUP BY owner`)
	require.NoError(t, err)
	defer rows.Close()
	var parts []int
	for rows.Next() {
		var n int
		require.NoError(t, rows.Scan(&n))
		parts = append(parts, n)
	}
	require.NoError(t, rows.Err())
	require.Len(t, parts, 2, "both replicas send")
	require.Greater(t, min(parts[0], parts[1]), total/20, "each a good part of it")
	var stopped, audited int
	require.NoError(t, db.SQL().QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM deliveries WHERE state = 'suppressed'),
		(SELECT count(*) FROM audit WHERE action = 'stopped')`).Scan(&stopped, &audited))
	require.Equal(t, stopped, audited, "each that was stopped is in the audit")
	require.Equal(t, total, stopped+len(w.fcm.Accepted()), "each was sent or stopped, once")
	t.Logf("%d deliveries: %d sent (%v by replica), %d stopped", total, len(w.fcm.Accepted()), parts, stopped)
}

func userName(i int) string { return fmt.Sprintf("u%05d", i) }

// activateAll gives each user a device, and returns the user of each token.
func (w *world) activateAll(t *testing.T, database string, users int) map[string]int {
	t.Helper()
	db, err := sqldb.Open(t.Context(), database, sqldb.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	registry, tokens := sqldevices.New(db, sqldevices.Config{}), map[string]int{}
	for i := range users {
		target := w.fcm.MintToken(fcm.Android)
		tokens[target] = i
		_, err := registry.Activate(t.Context(), devices.UserID(userName(i)), devices.ID("phone-"+userName(i)), devices.Activation{
			Platform: devices.Android, Target: devices.Target{Kind: devices.FCMToken, Value: devices.Secret(target)}, Locale: "en-GB", TimeZone: "Europe/London",
		})
		require.NoError(t, err)
	}
	return tokens
}

// suppressAll suppresses users as the run goes on, and lets some of them go again.
func (w *world) suppressAll(t *testing.T, admins []string, bearer string, total, users int) map[int]spell {
	t.Helper()
	chosen := rand.Perm(users)[:suppressedUsers]
	spells := make(map[int]spell, len(chosen))
	reach := func(part float64) { // most of what the suppressed users have is not accepted
		t.Helper()
		want := uint64(part * 0.5 * float64(total))
		require.Eventually(t, func() bool { return w.fcm.Stats().Accepted >= want }, 5*time.Minute, 5*time.Millisecond)
	}
	var waiting sync.WaitGroup
	var mu sync.Mutex
	for n, user := range chosen {
		reach(float64(n) / suppressedUsers)
		at := admins[n%len(admins)]
		status, body := call(t, http.MethodPut, at, bearer, fmt.Sprintf(`{"user":%q,"reason":"self_exclusion","class":"all"}`, userName(user)))
		s := spell{answered: time.Now()}
		require.Equal(t, http.StatusOK, status, body)
		mu.Lock()
		spells[user] = s
		mu.Unlock()
		if n%letGo != 0 || n > suppressedUsers/2 {
			continue
		}
		waiting.Go(func() {
			time.Sleep(1500 * time.Millisecond) // long enough to see that nothing comes
			s.liftedAt = time.Now()
			other := admins[(n+1)%len(admins)]
			q := url.Values{"user": {userName(user)}, "reason": {"self_exclusion"}}
			if status, body := call(t, http.MethodDelete, other+"?"+q.Encode(), bearer, ""); status != http.StatusNoContent {
				t.Errorf("lifting: %d %s", status, body)
			}
			mu.Lock()
			spells[user] = s
			mu.Unlock()
		})
	}
	waiting.Wait()
	return spells
}

// judge holds what was accepted to the spells.
func judge(t *testing.T, accepted []fcm.Accepted, tokens map[string]int, spells map[int]spell) {
	t.Helper()
	latest, late := time.Duration(0), 0
	count, after := map[int]int{}, map[int]int{}
	for _, a := range accepted {
		user := tokens[a.Token]
		count[user]++
		s, ok := spells[user]
		switch {
		case !ok || a.At.Before(s.answered):
			continue
		case !s.liftedAt.IsZero() && !a.At.Before(s.liftedAt):
			after[user]++
			continue
		}
		d := a.At.Sub(s.answered)
		latest = max(latest, d)
		if d > time.Second {
			late++
			text, _ := json.Marshal(a.Title)
			t.Logf("%s for %s was accepted %s after the answer", text, userName(user), d)
		}
	}
	require.Zero(t, late, "accepted more than a second after the answer")
	held, again := 0, 0
	for user, s := range spells {
		if s.liftedAt.IsZero() && count[user] < perUser {
			held++
		}
		if after[user] > 0 {
			again++
		}
	}
	require.Greater(t, held, suppressedUsers/2, "most of them had something left to be stopped")
	require.Positive(t, again, "who is let go is sent to again")
	t.Logf("the last was accepted %s after its answer; %d users were held, %d sent to again", latest, held, again)
}
