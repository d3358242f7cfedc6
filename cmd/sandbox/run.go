package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
	"github.com/bugle-push/bugle/sandbox/page"
	"github.com/bugle-push/bugle/sandbox/racing"
	"github.com/bugle-push/bugle/sandbox/setup"
)

// Times of the end of a run.
const (
	drainAtMost = time.Minute
	// drainQuiet is how long nothing may have arrived before a drain with
	// nothing outstanding ends: what nobody expected may still come.
	drainQuiet = 3 * time.Second
)

// onItsWay is how long a push may be on its way to a provider here, where everything
// shares one machine: what was begun before a race starts, or before somebody is
// deactivated or mutes a category, may be accepted that much later. Where it is
// begun against that, it comes again and again, and also later than this.
const onItsWay = 2 * time.Second

// answerWithin is how long the service may take to answer an app here.
const answerWithin = 20 * time.Second

// run is the command. It returns the exit code: 0 when nothing was lost,
// repeated, late or unexpected and no dead target was missed, 1 when something
// was or could not run, 2 for wrong flags.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// The story and the service's log may go to one writer, from many goroutines.
	stderr = zerolog.SyncWriter(stderr)
	o, err := parseOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	told := stdout
	if o.report == "-" {
		told = stderr
	}
	s := &sandbox{options: o, story: newStory(told)}
	if o.pageOnly != "" {
		if err := servePage(ctx, o, s.story); err != nil {
			fmt.Fprintln(stderr, "sandbox:", err)
			return 1
		}
		return 0
	}
	v, err := s.play(ctx, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "sandbox:", err)
	}
	if v == nil {
		return 1
	}
	v.print(s.story)
	if err != nil || !v.clean() {
		return 1
	}
	return 0
}

// verdict is what the oracles say of a run.
type verdict struct {
	pushes racing.Tally
	odds   betting.OddsTally
	bets   betting.BetsTally
}

func (v *verdict) clean() bool { return v.pushes.Clean() && v.odds.Clean() && v.bets.Clean() }

// print ends the story.
func (v *verdict) print(s *story) {
	for _, p := range v.pushes.Problems {
		s.print(p.String() + "\n")
	}
	for _, p := range append(v.odds.Problems, v.bets.Problems...) {
		s.print(p.String() + "\n")
	}
	s.print(fmt.Sprintf("odds: %d updates, %d published, %d overtaken; out of order %d · duplicates %d · stale %d · missing %d\n",
		v.odds.Updates, v.odds.Published, v.odds.Conflated, v.odds.OutOfOrder, v.odds.Duplicates, v.odds.Stale, v.odds.Missing))
	s.print(fmt.Sprintf("bets: %d placed, %d in Kafka, %d rejected; lost %d · duplicates %d\n",
		v.bets.Placed, v.bets.InKafka, v.bets.Rejected, v.bets.Lost, v.bets.Duplicates))
	s.print(v.pushes.String() + "\n")
}

// guestLife is how long the tokens are good for that the sandbox prints.
const guestLife = 24 * time.Hour

// sandbox is one run of everything.
type sandbox struct {
	options
	story  *story
	guest  string // the token of who tries the printed curl
	cast   *cast
	oracle *racing.Oracle
	world  *racing.World
	fcm    *fcm.Server
	ably   *ably.Server
	ksqldb *ksqldb.Server
	loop   *loop
	page   *page.Server
	cfg    config.Config
	secret []byte
	admin  devices.Secret // the guest's token for the admin API
}

// play runs everything from start to report. The verdict is nil when the world
// never began.
func (s *sandbox) play(ctx context.Context, stdout, stderr io.Writer) (_ *verdict, err error) {
	dir, err := os.MkdirTemp("", "bugle-sandbox-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	// The stand-ins and the service outlive ctx: a signal ends the world, and
	// then everything drains.
	lasting := context.WithoutCancel(ctx)
	configText, err := s.open(lasting, dir)
	defer s.close(lasting)
	if err != nil {
		return nil, err
	}
	service, err := app.New(lasting, s.cfg, s.logger(stderr))
	if err != nil {
		return nil, fmt.Errorf("open service: %w", err)
	}
	serving, stopService := context.WithCancel(lasting)
	defer stopService()
	living, stopWorld := context.WithCancel(ctx)
	defer stopWorld()
	var serveErr error
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveErr = service.Run(serving)
		stopWorld() // a world without a service has no point
	}()
	stop := func() error {
		stopService()
		<-served
		return serveErr
	}

	client := racing.NewClient(racing.ClientConfig{URL: "http://" + service.Addr(), Secret: s.secret, Timeout: answerWithin})
	defer client.Close()
	if err := s.introduce(configText, client, service); err != nil {
		return nil, errors.Join(err, stop())
	}
	if err := s.cast.enter(lasting, client); err != nil {
		return nil, errors.Join(err, stop())
	}
	trading, stopMarket := context.WithCancel(lasting)
	defer stopMarket()
	traded := make(chan error, 1)
	go func() {
		traded <- s.loop.market.Run(trading, tokens{client})
		stopWorld()
	}()
	began := time.Now()
	if s.life > 0 { // it begins now, however long everything before took
		var cancel context.CancelFunc
		living, cancel = context.WithTimeout(living, s.life)
		defer cancel()
	}
	err = s.cast.during(living, func(ctx context.Context) error { return s.world.Run(ctx, client) })
	life := time.Since(began)
	s.story.tell(fmt.Sprintf("the world stands still; draining, for at most %.0f s", drainAtMost.Seconds()))
	drained := s.drain(lasting, served)
	died, deathErr := s.world.Deaths(lasting)
	if err == nil { // else there may be nobody left to ask
		err = deathErr
	}
	if len(died.Missed) > 0 {
		err = errors.Join(err, fmt.Errorf("not retired, although Ably reported their targets dead: %v", died.Missed))
	}
	err = errors.Join(err, stop())
	stopMarket()
	err = errors.Join(err, <-traded)

	v := &verdict{pushes: s.oracle.Tally(true), odds: s.loop.odds.Tally(), bets: s.loop.bets.Tally()}
	r := newReport(s.options, &v.pushes, s.world.Stats(), died, s.fcm.Stats(), s.ably.Stats(), s.ksqldb.Stats())
	r.addLoop(v, s.loop.market.Going(), s.loop.kafka.Faults())
	r.DurationSeconds, r.DrainedSeconds = life.Seconds(), drained.Seconds()
	written, tableErr := readTables(lasting, s.cfg.Database.URL)
	if tableErr != nil {
		err = errors.Join(err, fmt.Errorf("read the service's tables: %w", tableErr))
	}
	r.Notifications, r.Deliveries = written.notifications, written.deliveries
	s.story.print(fmt.Sprintf("%d races, %d bets; pushes received: %d through FCM on %d devices, %d through Ably on %d; %d repeats after a lost answer\n",
		r.Races, r.Bets, r.Received.FCM, r.Devices.FCM, r.Received.Ably, r.Devices.Ably, r.RepeatsAfterUnknown))
	s.story.print(fmt.Sprintf("targets that died at Ably: %d, retired: %d; from settled or due to accepted: p50 %d ms, p95 %d ms, p99 %d ms\n",
		r.AblyDead, r.AblyRetired, r.Latency.P50, r.Latency.P95, r.Latency.P99))
	if s.report != "" {
		err = errors.Join(err, r.write(s.report, stdout))
	}
	return v, err
}

// open starts the oracle, the stand-ins and the world, and configures the
// service. It returns the text of the configuration. What it started before an
// error, close stops.
func (s *sandbox) open(ctx context.Context, dir string) (string, error) {
	addr, err := pickPorts(ctx, s.ports)
	if err != nil {
		return "", err
	}
	s.loop, err = newLoop(ctx, s.options, addr.kafka)
	if err != nil {
		return "", err
	}
	s.oracle = racing.NewOracle(racing.OracleConfig{Strikes: s.strikes, Grace: onItsWay, Slack: onItsWay})
	// The guest's token is minted after the server has started, and nothing is
	// sent before that.
	s.fcm, err = fcm.Start(ctx, fcm.Config{
		Addr: addr.fcm, Seed: s.seed, Faults: s.fcmFaults(), OnAccept: s.accepted,
		OnAnswerLost: func(a fcm.Accepted) { s.oracle.AnswerLost(fcmProvider, a.Seq) },
	})
	if err != nil {
		return "", fmt.Errorf("start FCM stand-in: %w", err)
	}
	s.guest = s.fcm.MintToken(fcm.Android)
	s.cast = newCast(s.fcm, s.loop, s.story)
	// It takes the pushes that Ably's Standard plan takes, and what it drops beyond
	// that would not be forgiven. Hundreds of users who bet need the plan above it.
	s.ably, err = ably.Start(ctx, ably.Config{
		Addr: addr.ably, Seed: s.seed, Faults: s.ablyFaults(), OnAccept: s.acceptedByAbly, OnMessage: s.loop.accepted,
		PushRate: ably.StandardRequestRate, RequestRate: ably.ProRequestRate,
		OnAnswerLost: func(a ably.Accepted) { s.oracle.AnswerLost(ablyProvider, a.Seq) },
		Webhooks: []ably.Webhook{{
			URL: "http://" + addr.api + "/v1/hooks/ably", Channels: "^inbound:betting:", SigningKey: ablyKey, Interval: webhookEvery,
			Sources: []string{ably.SourceMessage, ably.SourcePresence},
		}},
	})
	if err != nil {
		return "", fmt.Errorf("start Ably stand-in: %w", err)
	}
	if err := s.loop.open(s.options, s.ably.URL()); err != nil {
		return "", err
	}
	s.world, err = racing.New(racing.Config{
		Provisional: true,
		Seed:        s.seed, Users: s.users, Targets: s.fcm, Ably: s.ably, Oracle: s.oracle, Market: s.loop, Tell: s.story.tell,
	})
	if err != nil {
		return "", err
	}
	s.loop.world = s.world
	s.ksqldb, err = ksqldb.Start(ctx, ksqldb.Config{Addr: addr.ksqldb, Views: s.world.Views(), Seed: s.seed, Faults: s.ksqlFaults(), DDL: true})
	if err != nil {
		return "", fmt.Errorf("start ksqlDB stand-in: %w", err)
	}
	s.secret = setup.NewSecret()
	if err := s.openPage(ctx, addr); err != nil {
		return "", err
	}
	admin, entry, err := api.NewAdminToken("guest", time.Now(), guestLife)
	if err != nil {
		return "", fmt.Errorf("make admin token: %w", err)
	}
	s.admin = admin
	if err := s.cast.keep(dir, admin); err != nil {
		return "", err
	}
	text, cfg, err := writeConfig(dir, setup.Backends{
		Provisional: true,
		Listen:      addr.api, AdminListen: addr.admin, KSQLDB: s.ksqldb.URL(),
		FCM:  setup.FCM{URL: s.fcm.URL(), Project: s.fcm.ProjectID(), Credentials: s.fcm.CredentialsJSON()},
		Ably: setup.Ably{URL: s.ably.URL(), Key: s.ably.Key()}, Kafka: s.loop.kafka.Broker(), DefaultStake: defaultStake, Secret: s.secret, AdminTokens: []byte(entry.Line()),
		Origins: s.page.Origins(),
	})
	s.cfg = cfg
	return text, err
}

// close stops the stand-ins, after the service.
func (s *sandbox) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if s.page != nil {
		_ = s.page.Close()
	}
	if s.ksqldb != nil {
		s.ksqldb.Close()
	}
	if s.fcm != nil {
		_ = s.fcm.Shutdown(ctx) // it cuts what does not end in time
	}
	if s.ably != nil {
		_ = s.ably.Shutdown(ctx)
	}
	if s.loop != nil {
		s.loop.close()
	}
}

// The webhook of the Ably stand-in: what signs it, and how often it posts. Ably
// itself posts once a second.
const (
	ablyKey      = "root"
	webhookEvery = 250 * time.Millisecond
)

// Names of the providers for the oracle.
const (
	fcmProvider  = "fcm"
	ablyProvider = "ably"
)

// accepted takes what the FCM stand-in accepted to the oracle, or to the
// story when it is for the guest, of whom the oracle knows nothing.
func (s *sandbox) accepted(a fcm.Accepted) {
	if a.Token == s.guest {
		s.story.tell(fmt.Sprintf("your phone shows: “%s” “%s”", a.Title, a.Body))
		return
	}
	if s.cast.has(a.Token) || s.toPage(a) {
		return
	}
	collapse := a.CollapseID + a.CollapseKey
	s.oracle.Accepted(racing.Push{
		Seq: a.Seq, Provider: fcmProvider, Token: a.Token, NID: a.NID, Tag: a.Tag, CollapseID: collapse,
		Title: a.Title, Body: a.Body, Data: a.Data, At: a.At, Attempt: a.Attempt, AnswerLost: a.AnswerLost,
	})
}

// acceptedByAbly takes what the Ably stand-in accepted for one device to the
// oracle.
func (s *sandbox) acceptedByAbly(a ably.Accepted) {
	s.oracle.Accepted(racing.Push{
		Seq: a.Seq, Provider: ablyProvider, Token: a.Target(), NID: a.NID, Tag: a.Tag, CollapseID: a.CollapseID + a.CollapseKey,
		Title: a.Title, Body: a.Body, Data: a.Data, At: a.At, Attempt: a.Attempt, AnswerLost: a.AnswerLost, Code: a.Code,
	})
}

// strikes counts what the stand-ins refused, dropped or cut so far.
func (s *sandbox) strikes() racing.Strikes {
	var n racing.Strikes
	for kind, count := range s.fcm.Stats().Faults {
		if !kind.AfterAccept() && kind != fcm.GoAway {
			n.Provider += count
		}
	}
	for kind, count := range s.ably.Stats().Faults {
		if !kind.AfterAccept() && kind != ably.GoAway {
			n.Provider += count
		}
	}
	k := s.ksqldb.Stats()
	n.Source = k.Forbidden + k.Initialising + k.RateLimited + k.Hung + k.NotAvailable + k.Internal + k.InStream + k.Cut + k.Partial
	return n
}

// drain waits until everything expected has arrived, the service has nothing
// left to send, and nothing more comes.
func (s *sandbox) drain(ctx context.Context, served <-chan struct{}) time.Duration {
	began := time.Now()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < drainAtMost {
		select {
		case <-served:
			return time.Since(began)
		case <-tick.C:
		}
		if time.Since(began) < drainQuiet || time.Since(s.oracle.LastPush()) < drainQuiet || len(s.oracle.Outstanding()) > 0 || s.loop.market.Outstanding() > 0 {
			continue
		}
		// Repeats after a lost answer are nothing that the oracle waits for. An
		// error here shows again when the report reads the tables.
		tables, err := readTables(ctx, s.cfg.Database.URL)
		if err != nil || tables.deliveries["queued"]+tables.deliveries["leased"] == 0 {
			break
		}
	}
	return time.Since(began)
}

// introduce says what is running and how to take part.
func (s *sandbox) introduce(configText string, client *racing.Client, service *app.App) error {
	token, err := client.Token("guest", guestLife)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Bugle's sandbox: seed %d, faults %s. The service runs with this configuration, which `bugle serve` takes too;\n", s.seed, s.faults)
	fmt.Fprintf(&b, "rules.yaml holds the built-in rules (`bugle rules`), with schedule %q and no jitter, and those that sweep do it every %s; bet-settled holds provisional results (docs/rules.md):\n\n", setup.Schedule, setup.SweepEvery)
	for line := range strings.Lines(configText) {
		b.WriteString("    " + line)
	}
	b.WriteString(s.look(service))
	fmt.Fprintf(&b, "\nMetrics: http://%s/metrics. To get pushes yourself (the tokens are good for a day, TARGET is a phone that the FCM here knows):\n\n", service.AdminAddr())
	fmt.Fprintf(&b, "    TOKEN=%s\n    TARGET=%s\n", token, s.guest)
	fmt.Fprintf(&b, "    curl -X POST http://%s/v1/devices/my-phone/activate -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\n", service.Addr())
	fmt.Fprintln(&b, `      -d '{"platform":"android","target":{"kind":"fcm_token","value":"'"$TARGET"'"},"locale":"en-GB","time_zone":"Europe/London"}'`)
	fmt.Fprintf(&b, "    curl -X POST http://%s/v1/devices/my-phone/deactivate -H \"Authorization: Bearer $TOKEN\"\n\n", service.Addr())
	fmt.Fprint(&b, s.takePart(service))
	fmt.Fprintf(&b, "and to look behind the scenes:\n\n    ADMIN_TOKEN=%s\n    curl http://%s/admin/v1/rules -H \"Authorization: Bearer $ADMIN_TOKEN\"\n\n", s.admin.Reveal(), service.AdminAddr())
	b.WriteString(s.cast.introduction(service.AdminAddr()))
	s.story.print(b.String())
	return nil
}

// takePart says how to bet and to follow the odds: in Kafka, and on Ably as the
// app does, with the TOKEN that introduce prints.
func (s *sandbox) takePart(service *app.App) string {
	var b strings.Builder
	broker, ably := s.loop.kafka.Broker(), s.ably.URL()
	fmt.Fprintf(&b, "To look into Kafka, and to bet on Ably as the app does: on the race that is spoken of last, with the odds that the stream shows, or the bet is rejected:\n\n")
	fmt.Fprintf(&b, "    kcat -b %s -L\n    kcat -b %s -C -u -t odds -f '%%k %%s\\n'\n", broker, broker)
	fmt.Fprintf(&b, "    ABLY_TOKEN=$(curl -sS -X POST http://%s/v1/ably/token -H \"Authorization: Bearer $TOKEN\" -H 'Accept: application/jwt')\n", service.Addr())
	fmt.Fprintf(&b, "    curl -sSN \"%s/sse?channels=outbound:odds:race-0002&v=1.2&rewind=1&enveloped=false&accessToken=$ABLY_TOKEN\"\n", ably)
	fmt.Fprintf(&b, "    curl --retry 5 -X POST %s/channels/inbound:betting:cars:guest/messages -H \"Authorization: Bearer $ABLY_TOKEN\" -H 'Content-Type: application/json' \\\n", ably)
	fmt.Fprintln(&b, `      -d '{"name":"guest","data":"{\"name\":\"Car 1\",\"event\":\"race-0002\",\"stake\":5.00,\"odds\":1.5}"}'`)
	b.WriteString("\n")
	return b.String()
}

// logger is the service's: its troubles with the faults are the story's, so
// that only errors show unless asked for.
func (s *sandbox) logger(stderr io.Writer) zerolog.Logger {
	level := zerolog.ErrorLevel
	if s.verbose {
		level = zerolog.DebugLevel
	}
	return zerolog.New(zerolog.ConsoleWriter{Out: stderr, TimeFormat: "15:04:05.000", NoColor: true}).Level(level).With().Timestamp().Logger()
}
