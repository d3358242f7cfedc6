package main

import (
	"context"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
	"github.com/bugle-push/bugle/sandbox/racing"
	"github.com/bugle-push/bugle/sandbox/setup"
)

// What a fleet can have in flight: its lanes take placesInFlight messages, and
// there are lanes of two urgencies for each of two providers.
const (
	placesInFlight = 48
	lanes          = 4
)

// places is how many messages a lane of one replica takes. A fleet has as many,
// however many replicas share them: one that is alone must catch up alone.
func places(replicas int) int { return max(16, placesInFlight/replicas) }

// standIns are the services that the replicas depend on, in this process and on
// loopback.
type standIns struct {
	fcm    *fcm.Server
	ably   *ably.Server
	ksqldb *ksqldb.Server
	loop   *loop
	front  *front // of the replicas
}

func startStandIns(ctx context.Context, seed uint64, o *oracle, f *feed) (s *standIns, err error) {
	s = &standIns{}
	defer func() {
		if err != nil {
			s.close(ctx)
		}
	}()
	// A seed of zero would be a random one to the stand-ins.
	seed = max(seed, 1)
	calmFCM, err := fcmFaults("")
	if err != nil {
		return s, err
	}
	if s.fcm, err = fcm.Start(ctx, fcm.Config{Seed: seed, Faults: calmFCM, OnAccept: o.acceptedByFCM}); err != nil {
		return s, fmt.Errorf("start FCM stand-in: %w", err)
	}
	if s.loop, err = newLoop(ctx, seed); err != nil {
		return s, err
	}
	if s.front, err = startFront(ctx); err != nil {
		return s, err
	}
	calmAbly, err := ablyFaults("")
	if err != nil {
		return s, err
	}
	s.ably, err = ably.Start(ctx, ably.Config{
		Seed: seed, Faults: calmAbly, OnAccept: o.acceptedByAbly, OnMessage: s.loop.accepted,
		// The pushes of Ably's Standard plan; the users' own requests need the plan above it.
		PushRate: ably.StandardRequestRate, RequestRate: ably.ProRequestRate,
		Webhooks: []ably.Webhook{{
			URL: s.front.hook(), Channels: "^inbound:betting:", SigningKey: hookKey, Interval: hookEvery, Timeout: hookTimeout,
			Sources: []string{ably.SourceMessage, ably.SourcePresence},
		}},
	})
	if err != nil {
		return s, fmt.Errorf("start Ably stand-in: %w", err)
	}
	calmSource, err := ksqldbFaults("")
	if err != nil {
		return s, err
	}
	s.ksqldb, err = ksqldb.Start(ctx, ksqldb.Config{Seed: seed, Faults: calmSource, Views: []ksqldb.View{f.settled, f.races, racing.NewRejectedBets()}})
	if err != nil {
		return s, fmt.Errorf("start ksqlDB stand-in: %w", err)
	}
	return s, nil
}

// fail makes a stand-in fail under a profile, "" for not at all.
func (s *standIns) fail(kind faultKind, profile string) error {
	switch kind {
	case faultFCM:
		f, err := fcmFaults(profile)
		if err != nil {
			return err
		}
		return s.fcm.SetFaults(f)
	case faultAbly:
		f, err := ablyFaults(profile)
		if err != nil {
			return err
		}
		return s.ably.SetFaults(f)
	case faultKSQLDB:
		f, err := ksqldbFaults(profile)
		if err != nil {
			return err
		}
		s.ksqldb.SetFaults(f)
		return nil
	case faultKafka:
		f, err := kafkaFaults(profile)
		if err != nil {
			return err
		}
		return s.loop.kafka.SetFaults(f)
	default:
		return fmt.Errorf("no stand-in fails by %q", kind)
	}
}

// configure returns what writes the configuration of a replica.
func (s *standIns) configure(replicas int, database string, secret []byte) func(dir string) (string, error) {
	b := setup.Backends{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Database: database, KSQLDB: s.ksqldb.URL(), Secret: secret,
		FCM: setup.FCM{
			URL: s.fcm.URL(), Project: s.fcm.ProjectID(), Credentials: s.fcm.CredentialsJSON(),
			Rate: 1000, InFlight: places(replicas),
		},
		// Below what the stand-in takes, which is what Ably's Standard plan takes. The replicas share it.
		Ably:  setup.Ably{URL: s.ably.URL(), Key: s.ably.Key(), Rate: 300, InFlight: places(replicas)},
		Kafka: s.loop.kafka.Broker(), DefaultStake: defaultStake, MaxAge: oddsMaxAge,
	}
	return func(dir string) (string, error) {
		file, _, err := setup.Write(dir, b)
		return file, err
	}
}

// close stops what was started.
func (s *standIns) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if s.loop != nil {
		_ = s.loop.end() // its users speak to Ably; whoever wants to know has ended it before
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
	if s.front != nil {
		_ = s.front.close()
	}
	if s.loop != nil {
		_ = s.loop.close()
	}
}
