package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/terminal"
	"github.com/bugle-push/bugle/sandbox/racing"
	"github.com/bugle-push/bugle/sandbox/setup"
)

// Times of the end of a run.
const (
	// drainAtMost is how long the end waits for what is missing: what a kill left
	// leased comes after 65 s, and may then meet what strikes it again.
	drainAtMost = 180 * time.Second
	// drainQuiet is how long nothing must have arrived at the end: what nobody
	// expected may still come.
	drainQuiet = 4 * time.Second
	// stopPatience is how long replicas get to end at the end of a run that came to
	// its end; after others they are killed soon.
	stopPatience = 30 * time.Second
	// toldProblems is how many problems are told with their history.
	toldProblems = 20
)

// run is the command. It returns the exit code: 0 when nothing went wrong, 1
// when something did or could not run, 2 for wrong flags.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	screen := terminal.NewScreen(stderr, terminal.ColorAuto, nil)
	// Many goroutines tell of what they do.
	stderr = zerolog.SyncWriter(stderr)
	o, err := parseOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	dir, err := os.MkdirTemp("", "bugle-chaos-")
	if err != nil {
		fmt.Fprintln(stderr, "chaos: make work folder:", err)
		return 1
	}
	c := &chaos{options: o, dir: dir, screen: screen, stderr: stderr, began: time.Now()}
	r, err := c.play(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
	}
	if r != nil {
		if writeErr := r.write(stdout); writeErr != nil {
			fmt.Fprintln(stderr, "chaos:", writeErr)
			err = writeErr
		}
	}
	if err != nil || r == nil || !r.clean() {
		fmt.Fprintf(stderr, "chaos: failed; the database, the configuration and the logs are in %s\n", dir)
		return 1
	}
	if o.keep {
		fmt.Fprintf(stderr, "chaos: the database, the configuration and the logs are in %s\n", dir)
		return 0
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(stderr, "chaos: remove work folder:", err)
		return 1
	}
	return 0
}

// chaos is one run.
type chaos struct {
	options
	dir    string
	screen *terminal.Screen // stderr, where the bar is drawn that say makes room in
	stderr io.Writer
	began  time.Time
	bar    atomic.Pointer[terminal.Progress] // nil but for the rounds, and where nobody looks

	db       database
	oracle   *oracle
	feed     *feed
	bettor   *bettor
	standIns *standIns
	fleet    *fleet
	journal  *journal
	secret   []byte
	aborted  bool
}

// say tells what happens, a line at a time, with the time since the start.
func (c *chaos) say(line string) {
	d := time.Since(c.began)
	tell := func() {
		fmt.Fprintf(c.stderr, "%02d:%04.1f  %s\n", int(d.Minutes()), (d % time.Minute).Seconds(), line)
	}
	if bar := c.bar.Load(); bar != nil {
		bar.Beside(tell)
		return
	}
	tell()
}

// play runs everything from start to report. The report is nil when the run did
// not come to its end.
func (c *chaos) play(ctx context.Context) (_ *report, err error) {
	// What is started here ends here, whatever becomes of ctx.
	lasting := context.WithoutCancel(ctx)
	defer func() {
		c.aborted = err != nil
		err = errors.Join(err, c.close(lasting))
	}()
	if err := c.open(ctx, lasting); err != nil {
		return nil, err
	}

	if err := c.blow(ctx); err != nil {
		return nil, err
	}
	c.say("the faults are over and nothing new happens; draining")
	unfinished, err := c.drain(ctx)
	if err != nil {
		return nil, err
	}
	return c.report(ctx, unfinished)
}

// open starts everything but the world.
func (c *chaos) open(ctx, lasting context.Context) (err error) {
	c.oracle, c.journal, c.secret = newOracle(), newJournal(), setup.NewSecret()
	c.feed = newFeed(c.oracle, c.seed, c.rate)
	if c.standIns, err = startStandIns(lasting, c.seed, c.oracle, c.feed); err != nil {
		return err
	}
	if c.db, err = openDatabase(lasting, c.options.db, c.dir); err != nil {
		return err
	}
	c.fleet = newFleet(c.bugle, c.dir, c.replicas, c.standIns.configure(c.replicas, c.db.url(), c.secret), c.say)
	for slot := range c.replicas {
		if err := c.fleet.start(slot, nil); err != nil {
			return err
		}
		// One after the other, as the first one migrates the database.
		r, err := c.fleet.open(ctx, slot)
		if err != nil {
			return err
		}
		c.say(fmt.Sprintf("%s is open: process %d, api %s, admin %s", r, r.cmd.Process.Pid, r.api, r.admin))
	}
	c.feed.mint(c.standIns.fcm, c.standIns.ably)
	if err := c.activate(ctx); err != nil {
		return err
	}
	return c.trade(lasting)
}

// trade opens the market, which reaches the replicas as the apps and Ably do.
func (c *chaos) trade(ctx context.Context) error {
	c.standIns.front.living = c.fleet.addresses
	client := racing.NewClient(racing.ClientConfig{URL: c.standIns.front.url, Secret: c.secret})
	if err := c.standIns.loop.open(ctx, c.seed, c.standIns.ably.URL(), c.feed.users, client); err != nil {
		return err
	}
	c.bettor = newBettor(c.standIns.loop, c.seed, c.feed.users)
	return nil
}

// activate activates every device through the API of one replica or another, and
// waits until every rule has begun.
func (c *chaos) activate(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(c.seed, 0x61637469))
	var clients []*racing.Client
	rules := 0
	for slot := range c.replicas {
		r, err := c.fleet.open(ctx, slot)
		if err != nil {
			return err
		}
		rules = r.rules
		client := racing.NewClient(racing.ClientConfig{URL: "http://" + r.api, Secret: c.secret})
		defer client.Close()
		clients = append(clients, client)
	}
	for _, d := range c.feed.devices {
		if err := clients[rng.IntN(len(clients))].Activate(ctx, d.user, d.Device); err != nil {
			return fmt.Errorf("activate device %s: %w", d.ID, err)
		}
		c.oracle.activated(d.user, d.Device)
	}
	const patience = time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		n, err := rulesBegun(ctx, c.db)
		if err != nil {
			return err
		}
		if n == rules {
			break
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the first run of each rule: %w", err)
		}
	}
	c.say(fmt.Sprintf("%d devices of %d users are active", len(c.feed.devices), len(c.feed.users)))
	return nil
}

// blow plays the rounds, with the world going on throughout.
func (c *chaos) blow(ctx context.Context) error {
	feeding, stop := context.WithCancel(ctx)
	fed := make(chan error, 1)
	go func() { fed <- c.feed.run(feeding) }()
	betted := make(chan struct{})
	go func() {
		defer close(betted)
		c.bettor.run(feeding)
	}()
	err := c.rounds(ctx)
	stop()
	<-betted
	return errors.Join(err, <-fed)
}

func (c *chaos) rounds(ctx context.Context) error {
	s := &storm{options: c.options, db: c.db, fleet: c.fleet, standIns: c.standIns, journal: c.journal, say: c.say}
	plan := makePlan(c.options)
	if c.screen.IsTerminal() { // elsewhere the lines say which round it is
		bar := terminal.NewProgress(terminal.ProgressConfig{Screen: c.screen, Title: "rounds", Total: int64(len(plan)), Noun: "rounds"})
		c.bar.Store(bar)
		defer func() {
			c.bar.Store(nil)
			bar.End()
		}()
	}
	for n, r := range plan {
		c.say(fmt.Sprintf("round %d of %d, %v: %v", n+1, c.options.rounds, r.length, r.faults))
		if err := s.play(ctx, n, r); err != nil {
			return err
		}
		if bar := c.bar.Load(); bar != nil {
			bar.Add(1)
		}
	}
	return nil
}

// drain waits until everything expected has arrived, the service has nothing
// left to send, and nothing more comes. It returns how many deliveries have not
// come to their end.
func (c *chaos) drain(ctx context.Context) (int, error) {
	for slot := range c.replicas {
		if _, err := c.fleet.open(ctx, slot); err != nil {
			return 0, err
		}
	}
	unclean, err := c.fleet.settled(ctx)
	if err != nil {
		return 0, err
	}
	for _, r := range unclean {
		c.say(fmt.Sprintf("%s did not end cleanly: %v", r, r.err))
	}
	began := time.Now()
	for {
		missing, between := c.oracle.missing(), c.standIns.loop.outstanding()
		left, err := openDeliveries(ctx, c.db)
		if err != nil {
			return 0, err
		}
		quiet := time.Since(c.oracle.quietSince()) >= drainQuiet && time.Since(began) >= drainQuiet
		if missing == 0 && between == 0 && left == 0 && quiet || time.Since(began) > drainAtMost {
			c.say(fmt.Sprintf("drained in %v: %d missing, %d deliveries open, %d on their way between Ably and Kafka", time.Since(began).Round(time.Second), missing, left, between))
			return left, nil
		}
		if err := wait(ctx, time.Second); err != nil {
			return 0, fmt.Errorf("drain: %w", err)
		}
	}
}

// report judges the run, and tells every problem with its history.
func (c *chaos) report(ctx context.Context, unfinished int) (*report, error) {
	incidents := c.journal.read()
	v := judge{oracle: c.oracle, incidents: incidents, limit: lanes * places(c.replicas), now: time.Now()}.decide()
	for n, p := range v.problems {
		if n == toldProblems {
			fmt.Fprintf(c.stderr, "\nand %d more problems\n", len(v.problems)-n)
			break
		}
		tellProblem(ctx, c.stderr, c.db, p, incidents)
	}
	crashes := unexcused(c.fleet.ends(), incidents)
	for _, x := range crashes {
		tellCrash(c.stderr, x)
	}
	if unfinished > 0 {
		tellUnfinished(ctx, c.stderr, c.db)
	}
	if err := c.standIns.loop.end(); err != nil {
		return nil, err
	}
	passage := judgePassage(c.standIns.loop, incidents)
	for n, p := range passage.problems() {
		if n == toldProblems {
			break
		}
		tellPassage(c.stderr, p, incidents)
	}
	r := newReport(c.options, v, c.feed, c.standIns, c.journal.counts, time.Since(c.began))
	r.Crashes, r.Unfinished = len(crashes), unfinished
	r.addPassage(passage, c.standIns.loop)
	return &r, nil
}

// close ends what was started, in the reverse order.
func (c *chaos) close(ctx context.Context) error {
	var err error
	if c.fleet != nil {
		patience := stopPatience
		if c.aborted {
			patience = time.Second
		}
		c.fleet.close(patience)
	}
	if c.db != nil {
		err = c.db.close(ctx)
	}
	if c.standIns != nil {
		c.standIns.close(ctx)
	}
	return err
}

// openDatabase opens the database of the given kind in a folder.
func openDatabase(ctx context.Context, kind, dir string) (database, error) {
	if kind == dbSQLite {
		return newSQLite(dir), nil
	}
	p, err := startPostgres(ctx, dir)
	if err != nil {
		return nil, err // not a nil *postgres in an interface
	}
	return p, nil
}
