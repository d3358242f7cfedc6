package betting

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Topics of the loop.
const (
	TopicBets        = "bets"
	TopicOdds        = "odds"
	TopicSettlements = "settlements"
	TopicRaces       = "races"
	TopicRunners     = "runners"
	TopicResults     = "results"
	// Dead letters of the service.
	TopicDeadBets = "bets-dead-letters"
	TopicDeadOdds = "odds-dead-letters"
)

// Partitions is how many each topic has.
const Partitions = 6

// BrokerFaults says how a broker misbehaves: shares of requests, from 0 to 1.
// The zero value: not at all.
type BrokerFaults struct {
	// Refused produce requests are answered with an error that a client has to
	// try again after; nothing was written.
	Refused float64
	// AnswerLost produce requests are written and answered with a timeout: the
	// client has to try again, and the broker to recognise the repeat.
	AnswerLost float64
	// Fetch requests that fail.
	Fetch float64
	// Commit requests of consumer groups that fail; nothing was committed.
	Commit float64
	// Away is a broker that nobody reaches: whoever asks it anything loses the
	// connection.
	Away bool
}

// ClusterConfig configures a Cluster.
type ClusterConfig struct {
	// Port on 127.0.0.1; 0 is any free one.
	Port   int
	Seed   uint64
	Faults BrokerFaults
	// Retention is how long records are kept, until the next Tidy. Zero means an
	// hour.
	Retention time.Duration
}

// Cluster is a Kafka of one broker in the process: franz-go's kfake, which keeps
// everything in memory. It listens on loopback only, without TLS or SASL.
type Cluster struct {
	kafka *kfake.Cluster
	addr  string
	stop  func() // ends the keeping of members

	mu     sync.Mutex
	faults BrokerFaults
	dice   *rand.Rand
	counts map[string]uint64
}

// errAway ends the connections of an absent broker.
var errAway = errors.New("the broker is away")

// StartCluster starts a cluster with the topics of the loop. It runs until it is
// closed, whatever becomes of ctx.
func StartCluster(ctx context.Context, cfg ClusterConfig) (*Cluster, error) {
	if err := cfg.Faults.validate(); err != nil {
		return nil, err
	}
	c := &Cluster{faults: cfg.Faults, dice: rand.New(rand.NewPCG(cfg.Seed, 0x6b61666b61)), counts: map[string]uint64{}}
	opts := []kfake.Opt{
		kfake.NumBrokers(1), kfake.ClusterID("bugle-sandbox"), kfake.DefaultNumPartitions(Partitions),
		kfake.SeedTopics(Partitions, TopicBets, TopicOdds, TopicSettlements, TopicRaces, TopicRunners, TopicResults),
		kfake.SeedTopics(1, TopicDeadBets, TopicDeadOdds),
		kfake.BrokerConfigs(map[string]string{
			"log.retention.ms": strconv.FormatInt(cmp.Or(cfg.Retention, time.Hour).Milliseconds(), 10),
		}),
	}
	if cfg.Port != 0 {
		opts = append(opts, kfake.Ports(cfg.Port))
	}
	kafka, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	c.kafka, c.addr = kafka, kafka.ListenAddrs()[0]
	c.fault("produce_refused", func(f BrokerFaults) float64 { return f.Refused }, kmsg.Produce, kerr.NotEnoughReplicas)
	c.fault("produce_answer_lost", func(f BrokerFaults) float64 { return f.AnswerLost }, kmsg.Produce, kerr.RequestTimedOut)
	c.fault("fetch", func(f BrokerFaults) float64 { return f.Fetch }, kmsg.Fetch, kerr.NotLeaderForPartition)
	c.fault("commit", func(f BrokerFaults) float64 { return f.Commit }, kmsg.OffsetCommit, kerr.CoordinatorNotAvailable)
	kafka.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		if !c.away() {
			return nil, nil, false
		}
		kafka.KeepControl()
		return nil, errAway, true
	})
	if err := c.keepMembers(ctx); err != nil {
		kafka.Close()
		return nil, err
	}
	return c, nil
}

// keepMembers begins to end the sessions of members that are gone.
func (c *Cluster) keepMembers(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.addr), kgo.ClientID("sandbox"), kgo.MetadataMinAge(metadataAge))
	if err != nil {
		return fmt.Errorf("make the client that ends sessions: %w", err)
	}
	m := &members{kafka: c.kafka, client: client, groups: map[string]map[string]*member{}}
	c.kafka.Control(m.hear)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { m.run(ctx) })
	c.stop = func() {
		cancel()
		running.Wait()
		client.Close()
	}
	return nil
}

// validate refuses shares that are none.
func (f BrokerFaults) validate() error {
	for _, share := range []float64{f.Refused, f.AnswerLost, f.Fetch, f.Commit} {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("faults of the broker: %v is no share", share)
		}
	}
	return nil
}

// SetFaults replaces the faults, from the next request on.
func (c *Cluster) SetFaults(f BrokerFaults) error {
	if err := f.validate(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = f
	return nil
}

// away tells whether the broker is away, and counts those who ask.
func (c *Cluster) away() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults.Away {
		c.counts["away"]++
	}
	return c.faults.Away
}

// fault makes a share of a kind of requests fail.
func (c *Cluster) fault(name string, share func(BrokerFaults) float64, key kmsg.Key, err *kerr.Error) {
	c.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: err, Count: -1, When: func(kmsg.Request) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		p := share(c.faults)
		if p <= 0 {
			return false
		}
		struck := c.dice.Float64() < p
		if struck {
			c.counts[name]++
		}
		return struck
	}})
}

// Broker is the address of the broker, host:port.
func (c *Cluster) Broker() string { return c.addr }

// Faults counts the requests that were struck so far.
func (c *Cluster) Faults() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

// Tidy removes the records that have been kept long enough.
func (c *Cluster) Tidy() { c.kafka.ApplyRetention() }

// Close stops the broker and forgets everything.
func (c *Cluster) Close() {
	c.stop()
	c.kafka.Close()
}

// PortOf returns the port of an address such as "127.0.0.1:17092".
func PortOf(addr string) (int, error) {
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, fmt.Errorf("split address: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("port of %s: %w", addr, err)
	}
	return port, nil
}

// metadataAge is how soon after an error a client may ask who leads a partition;
// the default would hold up everything for seconds.
const metadataAge = 100 * time.Millisecond

// fetchWait is how long a broker waits for records before it answers a fetch.
const fetchWait = 500 * time.Millisecond

// read calls each for every record of the topics, from their beginnings, until
// ctx ends. It is a consumer without a group, so it takes nothing from anybody.
func read(ctx context.Context, broker string, each func(*kgo.Record), topics ...string) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker), kgo.ClientID("sandbox"), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(fetchWait), kgo.MetadataMinAge(metadataAge),
	)
	if err != nil {
		return fmt.Errorf("make consumer: %w", err)
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// What can be tried again has been tried again.
		if err := fetches.Err0(); err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("read %v: %w", topics, err)
		}
		fetches.EachRecord(each)
	}
}
