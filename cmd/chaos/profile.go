package main

import (
	"fmt"
	"time"

	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/betting"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// The names of the profiles, in the order in which the plan's dice know them.
var (
	fcmProfiles    = []string{"reset_after_accept", "429", "503", "hang_after_accept", "reset", "hang", "503_after_accept"}
	ablyProfiles   = []string{"reset_after_accept", "429", "503", "hang_after_accept", "reset", "hang", "503_after_accept"}
	ksqldbProfiles = []string{"cut", "in_stream", "503", "partial"}
	kafkaProfiles  = []string{"answer_lost", "refused", "answer_lost_and_commit", kafkaAway, "answer_lost_and_fetch"}
)

// kafkaAway is a broker that nobody reaches.
const kafkaAway = "away"

// The latency of every answer, of which half passes before acceptance and half
// after it: so at any moment some messages are accepted and not yet answered,
// which is what a kill is to find.
const (
	latencyMin = 50 * time.Millisecond
	latencyMax = 400 * time.Millisecond
)

// fcmFaults returns FCM's faults under a profile, "" for none. The stand-in
// strikes one message at most twice, and once without a Retry-After, however
// many profiles it meets.
func fcmFaults(profile string) (fcm.Faults, error) {
	f := fcm.Faults{LatencyMin: latencyMin, LatencyMax: latencyMax}
	rule := func(k fcm.Kind, share float64, after time.Duration) {
		f.Rules = append(f.Rules, fcm.FaultRule{Kind: k, Probability: share, RetryAfterMin: min(after, time.Second), RetryAfterMax: after})
	}
	switch profile {
	case "":
	case "429":
		rule(fcm.QuotaFCM, 0.5, 3*time.Second)
		rule(fcm.QuotaProject, 0.2, 2*time.Second)
		rule(fcm.QuotaBare, 0.05, 0) // a minute of waiting
	case "503":
		rule(fcm.Unavailable, 0.5, 2*time.Second)
		rule(fcm.UnavailableBare, 0.1, 0)
		rule(fcm.InternalHTML, 0.1, 0)
	case "reset":
		rule(fcm.Reset, 0.4, 0)
	case "hang":
		rule(fcm.Hang, 0.15, 0)
	case "reset_after_accept":
		rule(fcm.ResetAfterAccept, 0.4, 0)
	case "503_after_accept":
		rule(fcm.UnavailableAfterAccept, 0.4, 2*time.Second)
	case "hang_after_accept":
		rule(fcm.HangAfterAccept, 0.15, 0)
	default:
		return f, fmt.Errorf("unknown profile %q of fcm", profile)
	}
	return f, nil
}

// ablyFaults returns Ably's faults under a profile, "" for none.
func ablyFaults(profile string) (ably.Faults, error) {
	f := ably.Faults{LatencyMin: latencyMin, LatencyMax: latencyMax}
	// A webhook that is posted again costs nobody anything, if it is recognised.
	f.Webhooks = ably.WebhookFaults{Twice: 0.1, Repeat: 0.05}
	rule := func(k ably.Kind, share float64) {
		f.Rules = append(f.Rules, ably.FaultRule{Kind: k, Probability: share})
	}
	switch profile {
	case "":
	case "429":
		rule(ably.RateRequests, 0.4)
		rule(ably.RateEdge, 0.2)
		rule(ably.RateGeneric, 0.1)
		rule(ably.RateChannel, 0.1) // messages only, as the next
		rule(ably.RateMessages, 0.1)
	case "503":
		rule(ably.Unavailable, 0.4)
		rule(ably.Internal, 0.1)
		rule(ably.BadGatewayHTML, 0.1)
	case "reset":
		rule(ably.Reset, 0.4)
	case "hang":
		rule(ably.Hang, 0.15)
	case "reset_after_accept":
		rule(ably.ResetAfterAccept, 0.4)
	case "503_after_accept":
		rule(ably.UnavailableAfterAccept, 0.4)
	case "hang_after_accept":
		rule(ably.HangAfterAccept, 0.15)
	default:
		return f, fmt.Errorf("unknown profile %q of ably", profile)
	}
	return f, nil
}

// ksqldbFaults returns the source's faults under a profile, "" for none.
func ksqldbFaults(profile string) (ksqldb.Faults, error) {
	f := ksqldb.Faults{LatencyMin: time.Millisecond, LatencyMax: 20 * time.Millisecond}
	switch profile {
	case "":
	case "cut":
		f.Cut = 0.7
	case "in_stream":
		f.InStream = 0.7
	case "503":
		f.Initialising = 0.8
	case "partial":
		// No client can see it: what was left out is read again within the lookback.
		f.Partial, f.Duplicate = 0.5, 0.3
	default:
		return f, fmt.Errorf("unknown profile %q of ksqldb", profile)
	}
	return f, nil
}

// kafkaFaults returns the broker's faults under a profile, "" for none. A client
// tries again after a quarter of a second and more.
func kafkaFaults(profile string) (betting.BrokerFaults, error) {
	switch profile {
	case "":
		return betting.BrokerFaults{}, nil
	case "refused":
		return betting.BrokerFaults{Refused: 0.6}, nil
	case "answer_lost":
		return betting.BrokerFaults{AnswerLost: 0.7}, nil
	case "answer_lost_and_commit":
		return betting.BrokerFaults{AnswerLost: 0.6, Commit: 0.8}, nil
	case "answer_lost_and_fetch":
		return betting.BrokerFaults{AnswerLost: 0.6, Fetch: 0.01}, nil
	case kafkaAway:
		return betting.BrokerFaults{Away: true}, nil
	}
	return betting.BrokerFaults{}, fmt.Errorf("unknown profile %q of kafka", profile)
}
