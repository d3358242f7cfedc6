package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/book"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/racing"
)

// Times of the cast.
const (
	// castLooks is how often it looks for what has become of its notifications,
	// and bets what it has not bet yet.
	castLooks = 500 * time.Millisecond
	// castBets is how long after a race is entered it bets: the others have, so
	// that the odds stand still.
	castBets = 8500 * time.Millisecond
	// castWaits is after which time a bet that nobody has decided is placed again.
	castWaits = 5 * time.Second
)

// The characters. The last one bets.
const (
	muted       = "user-muted"
	asleep      = "user-asleep"
	uninstalled = "user-uninstalled"
	corrected   = "user-corrected"
)

// character is a user who is there to be explained: what is told to them, or is
// not, happens in every run, whatever the seed.
type character struct {
	user  racing.UserID
	token string
	// prepare makes sure of it, when the device is active.
	prepare func(ctx context.Context, client *racing.Client, token string) error
	// fits recognises the item of the user's timeline that shows it.
	fits func(i api.AdminTimelineItem) bool
	// line is what the story says then.
	line string
	told bool
}

// cast are the characters. They live beside the oracle, which knows nothing of
// them: they use the service as apps and operators do, and count for nothing.
// Its methods are safe for concurrent use, but for those that play calls in turn:
// newCast, keep, introduction, enter, during.
type cast struct {
	loop       *loop
	story      *story
	characters []*character
	tokens     map[string]bool
	admin      devices.Secret
	tokenFile  string
	adminAddr  string

	mu    sync.Mutex
	races map[string]*castRace // open ones, by id
}

// castRace is a race that can be bet on.
type castRace struct {
	since   time.Time
	runners map[string]*castBet
}

// castBet is a bet on one runner.
type castBet struct {
	accepted bool
	placed   time.Time // zero when it waits for nobody
}

// newCast returns a cast whose devices FCM knows.
func newCast(targets *fcm.Server, l *loop, s *story) *cast {
	c := &cast{loop: l, story: s, tokens: map[string]bool{}, races: map[string]*castRace{}}
	l.cast = c
	c.characters = []*character{{
		user: muted, line: muted + " has muted race, and is not told that one starts",
		prepare: func(ctx context.Context, client *racing.Client, _ string) error {
			return client.Mute(ctx, muted, []string{racing.CategoryRace})
		},
		fits: func(i api.AdminTimelineItem) bool {
			return i.Delivery.State == "suppressed" && i.Delivery.Reason == "muted"
		},
	}, {
		user: asleep, line: asleep + " has quiet hours, and is not told of a race that starts before they end",
		prepare: func(ctx context.Context, client *racing.Client, _ string) error {
			now := time.Now().UTC()
			return client.Quiet(ctx, asleep, now.Add(-time.Hour).Format("15:04"), now.Add(20*time.Hour).Format("15:04"), "UTC")
		},
		fits: func(i api.AdminTimelineItem) bool {
			return i.Delivery.State == "expired" && i.Delivery.Reason == "quiet_hours"
		},
	}, {
		user: uninstalled, line: uninstalled + " has removed the app, and FCM says so when it is asked to send",
		prepare: func(_ context.Context, _ *racing.Client, token string) error {
			targets.Unregister(token)
			return nil
		},
		fits: func(i api.AdminTimelineItem) bool { return i.Delivery.State == "gone" },
	}, {
		user: corrected, line: corrected + " was told one result of a bet, and then another",
		fits: func(i api.AdminTimelineItem) bool {
			return i.Rule == "bet-settled" && i.Delivery.State == "sent" && i.Delivery.Correction
		},
	}}
	for _, x := range c.characters {
		x.token = targets.MintToken(fcm.Android)
		c.tokens[x.token] = true
	}
	return c
}

// has tells whether a token is of one of them.
func (c *cast) has(token string) bool { return c.tokens[token] }

// keep writes the token that the printed commands use into the directory.
func (c *cast) keep(dir string, admin devices.Secret) error {
	c.admin, c.tokenFile = admin, filepath.ToSlash(filepath.Join(dir, "admin-token"))
	if err := os.WriteFile(c.tokenFile, []byte(admin.Reveal()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write admin token: %w", err)
	}
	return nil
}

// enter activates a device for each of them.
func (c *cast) enter(ctx context.Context, client *racing.Client) error {
	for _, x := range c.characters {
		err := client.Activate(ctx, x.user, racing.Device{
			ID: racing.DeviceID(x.user + "-phone"), Platform: fcm.Android, Kind: racing.KindFCM, Token: x.token, Locale: "en-GB", TimeZone: "Europe/London",
		})
		if err == nil && x.prepare != nil {
			err = x.prepare(ctx, client, x.token)
		}
		if err != nil {
			return fmt.Errorf("prepare %s: %w", x.user, err)
		}
	}
	return nil
}

// during plays while the world lives, and returns what the world does.
func (c *cast) during(ctx context.Context, world func(context.Context) error) error {
	playing, stop := context.WithCancel(ctx)
	played := make(chan struct{})
	go func() {
		defer close(played)
		c.play(playing)
	}()
	err := world(ctx)
	stop()
	<-played
	return err
}

// play bets, and tells what has happened, until everything has.
func (c *cast) play(ctx context.Context) {
	tick := time.NewTicker(castLooks)
	defer tick.Stop()
	for open := true; open; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		open = false
		for _, x := range c.characters {
			if x.told {
				continue
			}
			open = true
			if x.user == corrected {
				c.bet(time.Now())
			}
			if id := c.find(ctx, x); id != 0 {
				x.told = true
				c.story.tell(x.line + ". Why? " + c.command(fmt.Sprintf("--user %s %d", x.user, id)))
			}
		}
	}
}

// command is how to ask bugle about somebody.
func (c *cast) command(about string) string {
	return fmt.Sprintf("go run ./cmd/bugle explain --server http://%s --token-file %s %s", c.adminAddr, quoted(c.tokenFile), about)
}

// quoted writes a name of a file for a shell.
func quoted(name string) string {
	if strings.ContainsAny(name, " '\"$&()*;<>?[]`|~\\") {
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return name
}

// find returns the notification that shows what the character is there for, 0 if
// that has not happened yet.
func (c *cast) find(ctx context.Context, x *character) int64 {
	t, err := c.timeline(ctx, x.user)
	if err != nil {
		return 0 // the service is busy, or ends: it is asked again, or nobody wants to know
	}
	for _, i := range t.Items {
		if i.Delivery != nil && x.fits(i) {
			return i.Notification
		}
	}
	return 0
}

// timeline asks as an operator does.
func (c *cast) timeline(ctx context.Context, user racing.UserID) (t api.AdminTimeline, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/admin/v1/users/%s/timeline?limit=200", c.adminAddr, user), nil)
	if err != nil {
		return t, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.admin.Reveal())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return t, fmt.Errorf("ask for timeline: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		return t, fmt.Errorf("ask for timeline: %s", res.Status)
	}
	return t, json.NewDecoder(res.Body).Decode(&t)
}

// shown takes how a race stands.
func (c *cast) shown(card racing.Card) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if card.Status != racing.Scheduled {
		delete(c.races, card.ID)
		return
	}
	r := &castRace{since: time.Now(), runners: map[string]*castBet{}}
	for _, runner := range card.Runners {
		r.runners[runner.Name] = &castBet{}
	}
	c.races[card.ID] = r
}

// bet bets on every runner of every race: whichever wins and is then disqualified,
// a result of the user's is corrected.
func (c *cast) bet(now time.Time) {
	c.mu.Lock()
	var picks []betting.Pick
	for id, r := range c.races {
		if now.Sub(r.since) < castBets {
			continue
		}
		for name, b := range r.runners {
			if b.accepted || now.Sub(b.placed) < castWaits {
				continue
			}
			b.placed = now
			picks = append(picks, betting.Pick{User: corrected, Event: id, Runner: name, Stake: book.Money(2_00)})
		}
	}
	c.mu.Unlock()
	for _, p := range picks {
		c.loop.market.Back(p)
	}
}

// decided takes what became of a bet: one that was rejected, because the odds had
// moved, is placed again.
func (c *cast) decided(d betting.Decided) {
	if d.User != corrected {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.races[d.Event]; r != nil && r.runners[d.Runner] != nil {
		*r.runners[d.Runner] = castBet{accepted: d.Verdict == book.Accepted}
	}
}

// introduction says what there is to ask about, and where.
func (c *cast) introduction(adminAddr string) string {
	c.adminAddr = adminAddr
	var users []string
	for _, x := range c.characters {
		users = append(users, string(x.user))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Why did I not get it? Something happens to %s: within a minute or so a line below says what, and how to ask why.\n", strings.Join(users, ", "))
	fmt.Fprintf(&b, "Of others, take ids from a list, or ask about one user:\n\n")
	fmt.Fprintf(&b, "    curl \"http://%s/admin/v1/deliveries?state=suppressed&limit=3\" -H \"Authorization: Bearer $ADMIN_TOKEN\"\n", c.adminAddr)
	fmt.Fprintf(&b, "    %s\n    %s\n\n", c.command("NOTIFICATION"), c.command("--user user-001"))
	return b.String()
}
