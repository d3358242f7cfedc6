package main

import (
	"crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// The levels of -faults.
const (
	faultsNone  = "none"
	faultsMild  = "mild"
	faultsHarsh = "harsh"
)

// usualUsers is the default of -users.
const usualUsers = 40

// mostUsers is how many users can all be told before a race starts, at the pace
// that the service begins with: a tenth of each provider's rate, as Google asks
// for a ramp.
const mostUsers = 500

// options are the flags.
type options struct {
	life     time.Duration // 0 means until a signal
	report   string        // file, "-" for standard output, empty for none
	faults   string
	ports    string // "default" or "auto"
	seed     uint64
	users    int
	verbose  bool
	pageOnly string // file; not empty: the betting page alone
}

// parseOptions reads the flags. It prints what is wrong to stderr itself.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.DurationVar(&o.life, "for", 0, "how long the world lives, such as 60s; it then drains for at most a minute (default: until Ctrl-C)")
	f.StringVar(&o.report, "report", "", "file for a report as JSON; - is standard output, with no other text there")
	f.StringVar(&o.faults, "faults", faultsMild, "how the stand-ins fail: none, mild (nothing is accepted and then failed) or harsh")
	f.StringVar(&o.ports, "ports", "default", "default (17080 API, 17081 admin, 17082 ksqlDB, 17083 FCM, 17084 Ably, 17085 betting page, 17092 Kafka) or auto")
	f.Uint64Var(&o.seed, "seed", 0, "repeats the same races, bets and lives (default: another one each time)")
	f.IntVar(&o.users, "users", usualUsers, "number of users, 10 to 500; forty have about 55 devices")
	f.StringVar(&o.pageOnly, "page", "", "serve the betting page alone, for the Bugle and the Ably that this file names (docs/bets.md)")
	f.BoolVar(&o.verbose, "v", false, "show the service's log")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("sandbox takes no arguments, only flags: %q", f.Arg(0))
	case o.faults != faultsNone && o.faults != faultsMild && o.faults != faultsHarsh:
		err = fmt.Errorf("-faults wants none, mild or harsh, not %q", o.faults)
	case o.ports != "default" && o.ports != "auto":
		err = fmt.Errorf("-ports wants default or auto, not %q", o.ports)
	case o.users < 10 || o.users > mostUsers:
		err = fmt.Errorf("-users wants 10 to %d, not %d", mostUsers, o.users)
	case o.life < 0:
		err = fmt.Errorf("-for wants a positive duration, not %v", o.life)
	}
	if err != nil {
		fmt.Fprintln(stderr, "sandbox:", err)
		return o, err
	}
	for o.seed == 0 {
		var b [4]byte // short enough to be typed
		_, _ = rand.Read(b[:])
		o.seed = uint64(binary.LittleEndian.Uint32(b[:]))
	}
	return o, nil
}

// fcmFaults returns FCM's faults. A 429 says that we send too fast,
// and the service halves its rate as Google asks; the presets draw them by
// chance, however slow it has become. So their number, not their share, stays
// what it is with the usual users: else a large world would throttle itself
// until nothing arrives in time.
func (o options) fcmFaults() fcm.Faults {
	var f fcm.Faults
	switch o.faults {
	case faultsMild:
		f = fcm.Mild()
	case faultsHarsh:
		f = fcm.Harsh()
	}
	// A fault without Retry-After costs 10 to 12 s, the second one 20 to 24 s
	// (exponential backoff): more than a race's lead and the drain have.
	f.MaxPerMessage = 1
	for i, r := range f.Rules {
		if r.Kind == fcm.QuotaFCM || r.Kind == fcm.QuotaProject {
			f.Rules[i].Probability *= o.shareOf429()
		}
	}
	return f
}

// shareOf429 is what is left of the presets' share of 429.
func (o options) shareOf429() float64 { return min(1, float64(usualUsers)/float64(max(1, o.users))) }

// ablyFaults returns Ably's faults, within the same bounds: none of them has a
// Retry-After, so that each costs 10 to 12 s.
func (o options) ablyFaults() ably.Faults {
	var f ably.Faults
	switch o.faults {
	case faultsMild:
		f = ably.Mild()
	case faultsHarsh:
		f = ably.Harsh()
	}
	f.MaxPerMessage = 1
	// A webhook that is posted again costs nobody anything, if it is recognised.
	switch o.faults {
	case faultsMild:
		f.Webhooks = ably.WebhookFaults{Twice: 0.05, Repeat: 0.02}
	case faultsHarsh:
		f.Webhooks = ably.WebhookFaults{Twice: 0.2, Repeat: 0.1}
	}
	for i, r := range f.Rules {
		if r.Kind == ably.RateRequests || r.Kind == ably.RateGeneric || r.Kind == ably.RateEdge {
			f.Rules[i].Probability *= o.shareOf429()
		}
	}
	return f
}

// kafkaFaults returns the broker's faults. A client waits for seconds before it
// tries again, so they are rare.
func (o options) kafkaFaults() betting.BrokerFaults {
	switch o.faults {
	case faultsMild:
		return betting.BrokerFaults{Refused: 0.002}
	case faultsHarsh:
		return betting.BrokerFaults{Refused: 0.005, AnswerLost: 0.01, Fetch: 0.0005}
	}
	return betting.BrokerFaults{}
}

// ksqlFaults returns the source's faults. A hanging query takes as long as the
// client's timeout, which is longer than the drain: it would make a run end
// before its time and prove nothing.
func (o options) ksqlFaults() ksqldb.Faults {
	switch o.faults {
	case faultsMild:
		return ksqldb.Mild()
	case faultsHarsh:
		f := ksqldb.Harsh()
		f.Hang = 0
		return f
	}
	return ksqldb.Faults{}
}
