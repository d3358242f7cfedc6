package preflight

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bugle-push/bugle/relay"
)

// The keys of the configuration that a check of Kafka names.
const (
	pathBrokers = "kafka.brokers"
	pathTLS     = "kafka.tls"
	pathKafkaCA = "kafka.ca_file"
	pathSASL    = "kafka.sasl"
	pathUser    = "kafka.username"
	pathGroup   = "kafka.group"
)

const (
	// dialTimeout bounds one connection to a broker, its handshake included.
	dialTimeout = 5 * time.Second
	// kafkaTimeout bounds one question to the cluster.
	kafkaTimeout = 10 * time.Second
	// groupPause is between two questions about a group.
	groupPause = 250 * time.Millisecond
)

// KafkaTopic is a topic that the service uses.
type KafkaTopic struct {
	// Path is where it is configured.
	Path, Name string
	// Read and Write are what the service does with it.
	Read, Write bool
}

// KafkaConfig is a Kafka cluster and what the service wants of it.
type KafkaConfig struct {
	Cluster relay.Cluster
	Topics  []KafkaTopic
	// Group is the consumer group; empty when the service joins none.
	Group string
}

// Kafka checks that the brokers can be reached as they are configured, those too
// that the cluster itself names; that it takes our credentials; that the topics
// are there and, as far as the cluster tells, that we may use them and the group.
// It joins no group, writes nothing, and no topic of ours comes to be by being asked for.
func Kafka(c KafkaConfig) Check {
	return Check{Name: "kafka", Do: func(ctx context.Context) []Finding {
		var found []Finding
		var good []string
		for i, f := range c.reach(ctx, c.Cluster.Brokers) {
			if f == nil {
				good = append(good, c.Cluster.Brokers[i])
				continue
			}
			f.What = c.Cluster.Brokers[i] + ": " + f.What
			found = append(found, *f)
		}
		if len(good) == 0 {
			return found // what follows would fail alike
		}
		for i := range found { // one that answers names the others
			found[i].Severity = Warning
		}
		c.Cluster.Brokers = good
		return append(found, c.ask(ctx)...)
	}}
}

// reach tries to connect to each address at once.
func (c KafkaConfig) reach(ctx context.Context, addresses []string) []*Finding {
	out := make([]*Finding, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() { out[i] = c.dial(ctx, address) })
	}
	all.Wait()
	return out
}

// dial says what is wrong with an address before any word of Kafka is spoken.
func (c KafkaConfig) dial(ctx context.Context, address string) *Finding {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return new(unreachable(err))
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	if c.Cluster.TLS == nil {
		return nil
	}
	return explainTLS(handshake(ctx, conn, address, c.Cluster.TLS))
}

func unreachable(err error) Finding {
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return errorf(pathBrokers, "correct the host name, or this machine's DNS", "the host's name cannot be resolved: %s", lookup.Err)
	}
	return errorf(pathBrokers, "start the broker, correct the address, or open the way to it", "the broker cannot be reached: %s", err)
}

func handshake(ctx context.Context, conn net.Conn, address string, cfg *tls.Config) error {
	cfg = cfg.Clone()
	if host, _, err := net.SplitHostPort(address); err == nil {
		cfg.ServerName = host
	}
	return tls.Client(conn, cfg).HandshakeContext(ctx)
}

// explainTLS says what is wrong with a handshake; nil for nothing.
func explainTLS(err error) *Finding {
	var (
		unknownAuthority x509.UnknownAuthorityError
		hostname         x509.HostnameError
		invalid          x509.CertificateInvalidError
		alert            tls.AlertError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknownAuthority):
		return new(errorf(pathKafkaCA, "give the authority that signed the broker's certificate as PEM", "the broker's certificate is signed by an unknown authority"))
	case errors.As(err, &hostname):
		return new(errorf(pathBrokers, "use the name that stands in the certificate", "the broker's certificate is for another host"))
	case errors.As(err, &invalid):
		return new(errorf(pathKafkaCA, "renew the certificate, or correct this machine's clock", "the broker's certificate is not valid: %s", invalid))
	case errors.As(err, &alert):
		return new(errorf(pathTLS, "let the broker's listener take TLS 1.2 or newer, without certificates of clients", "the broker refuses the handshake: %s", alert))
	}
	// A broker without TLS takes the handshake for a request that is far too
	// large, and hangs up or waits for the rest of it.
	return new(errorf(pathTLS, "give the port of the broker's TLS listener, or set kafka.tls: false (with env: dev)", "the broker does not speak TLS at this address"))
}

// speaksTLS tells whether somebody at the address answers a handshake,
// whatever is thought of the certificate.
func speaksTLS(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	f := explainTLS(handshake(ctx, conn, address, &tls.Config{MinVersion: tls.VersionTLS12}))
	return f == nil || f.Path != pathTLS
}

// ask speaks Kafka.
func (c KafkaConfig) ask(ctx context.Context) []Finding {
	opts, err := c.Cluster.Options()
	if err != nil {
		return []Finding{errorf("kafka", "correct the keys of kafka", "%s", err)}
	}
	shown := new(credentialsShown)
	client, err := kgo.NewClient(append(opts, kgo.WithHooks(shown), kgo.RequestRetries(0), kgo.DialTimeout(dialTimeout), kgo.RetryTimeout(kafkaTimeout))...)
	if err != nil {
		return []Finding{errorf("kafka", "correct the keys of kafka", "%s", err)}
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*kafkaTimeout)
	defer cancel()
	metadata, err := c.metadata(ctx, client)
	if err != nil {
		return []Finding{c.refusal(ctx, err, shown.Load())}
	}
	return slices.Concat(c.advertised(ctx, metadata), c.topics(metadata), c.group(ctx, client))
}

// metadata asks for the brokers and the topics, and for what we may do with them.
func (c KafkaConfig) metadata(ctx context.Context, client *kgo.Client) (*kmsg.MetadataResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaTimeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	req.IncludeTopicAuthorizedOperations = true
	req.Topics = []kmsg.MetadataRequestTopic{} // none; nil would be all
	for _, t := range c.Topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = new(t.Name)
		req.Topics = append(req.Topics, topic)
	}
	return req.RequestWith(ctx, client)
}

// credentialsShown becomes true when a client has got as far as SASL's
// authentication: a broker may hang up instead of refusing.
type credentialsShown struct{ atomic.Bool }

// OnBrokerWrite is called by the client for each request.
func (s *credentialsShown) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == int16(kmsg.SASLAuthenticate) && err == nil {
		s.Store(true)
	}
}

// refusal explains why a cluster that can be reached does not answer; shown
// tells whether it has seen our credentials.
func (c KafkaConfig) refusal(ctx context.Context, err error, shown bool) Finding {
	const wants = "set kafka.sasl, kafka.username and kafka.password_file as the listener asks for them; on Confluent Cloud PLAIN with an API key of this cluster"
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed), shown && errors.Is(err, io.EOF):
		return errorf(pathUser, "give a user and password of this cluster, and the mechanism that they were made for; on Confluent Cloud an API key of the Kafka cluster, not of ksqlDB, the Schema Registry or the account (a new key takes some minutes)",
			"the cluster refuses our credentials")
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return errorf(pathSASL, "use a mechanism that the listener has: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", "the cluster does not know the mechanism %s", c.Cluster.Mechanism)
	case errors.Is(err, kerr.IllegalSaslState) && c.Cluster.Mechanism != "":
		return errorf(pathSASL, "leave kafka.sasl out, or give the port of the listener that has SASL", "the listener asks for no password")
	case c.Cluster.TLS == nil && slices.ContainsFunc(c.Cluster.Brokers, func(b string) bool { return speaksTLS(ctx, b) }):
		return errorf(pathTLS, "set kafka.tls: true, which is the default", "the broker speaks TLS, and kafka.tls is false")
	case c.Cluster.Mechanism == "" && (errors.Is(err, io.EOF) || errors.Is(err, kerr.IllegalSaslState)):
		return errorf(pathSASL, wants, "the broker hangs up: it asks for a user and a password")
	case errors.Is(err, io.EOF):
		return errorf(pathSASL, wants, "the broker hangs up before it has looked at our credentials")
	}
	return errorf(pathBrokers, "look at the broker's log; whatever is at this address may be no Kafka", "the cluster does not answer: %s", err)
}

// advertised tries the addresses that the cluster gives for its brokers: clients
// go on with those, whatever they have begun with.
func (c KafkaConfig) advertised(ctx context.Context, m *kmsg.MetadataResponse) []Finding {
	var addresses []string
	for _, b := range m.Brokers {
		address := net.JoinHostPort(b.Host, fmt.Sprint(b.Port))
		if !slices.Contains(c.Cluster.Brokers, address) {
			addresses = append(addresses, address)
		}
	}
	var found []Finding
	for i, f := range c.reach(ctx, addresses) {
		if f == nil {
			continue
		}
		if f.Path == pathBrokers {
			f.Mend = "open the way to all brokers, or correct the cluster's advertised.listeners"
		}
		f.What = "the cluster names the broker " + addresses[i] + ": " + f.What
		found = append(found, *f)
	}
	return found
}

func (c KafkaConfig) topics(m *kmsg.MetadataResponse) []Finding {
	var found []Finding
	for _, t := range c.Topics {
		i := slices.IndexFunc(m.Topics, func(got kmsg.MetadataResponseTopic) bool { return got.Topic != nil && *got.Topic == t.Name })
		if i < 0 {
			found = append(found, errorf(t.Path, "look at the broker's log", "the cluster tells nothing of the topic %s", t.Name))
			continue
		}
		if f := t.look(m.Topics[i], c.Cluster.Username); f != nil {
			found = append(found, *f)
		}
	}
	return found
}

// look compares what the cluster tells of a topic with what is done with it.
func (t KafkaTopic) look(got kmsg.MetadataResponseTopic, user string) *Finding {
	switch err := kerr.ErrorForCode(got.ErrorCode); {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return new(errorf(t.Path, fmt.Sprintf("create it (Bugle creates none): kafka-topics --bootstrap-server BROKER --create --topic %s --partitions 6, or confluent kafka topic create %s --partitions 6; or correct the name", t.Name, t.Name),
			"the topic %s does not exist", t.Name))
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return new(errorf(t.Path, t.grant(user, t.wants()), "we may not see the topic %s, which exists or does not", t.Name))
	case err != nil && !errors.Is(err, kerr.LeaderNotAvailable):
		return new(errorf(t.Path, "look at the broker's log", "the topic %s cannot be used: %s", t.Name, kafkaName(err)))
	}
	for _, p := range got.Partitions {
		if p.Leader < 0 {
			return new(warningf(t.Path, "look which broker is missing; what is in that partition waits", "partition %d of the topic %s has no leader", p.Partition, t.Name))
		}
	}
	may := kadm.DecodeACLOperations(got.AuthorizedOperations)
	if len(may) == 0 {
		return nil // the cluster does not tell
	}
	var lacks []string
	for _, op := range t.wants() {
		if !allows(may, op) {
			lacks = append(lacks, op)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return new(errorf(t.Path, t.grant(user, lacks), "we lack %s on the topic %s", strings.Join(lacks, " and "), t.Name))
}

func (t KafkaTopic) wants() []string {
	var out []string
	if t.Read {
		out = append(out, "READ")
	}
	if t.Write {
		out = append(out, "WRITE")
	}
	return out
}

func (t KafkaTopic) grant(user string, operations []string) string {
	return fmt.Sprintf("kafka-acls --bootstrap-server BROKER --add --allow-principal User:%s --operation %s --topic %s", user, strings.Join(operations, " --operation "), t.Name)
}

func allows(may []kadm.ACLOperation, op string) bool {
	return slices.ContainsFunc(may, func(o kadm.ACLOperation) bool { return o == kmsg.ACLOperationAll || o.String() == op })
}

// group asks about the group, which need not exist yet.
func (c KafkaConfig) group(ctx context.Context, client *kgo.Client) []Finding {
	if c.Group == "" {
		return nil
	}
	grant := fmt.Sprintf("kafka-acls --bootstrap-server BROKER --add --allow-principal User:%s --operation READ --group %s", c.Cluster.Username, c.Group)
	ctx, cancel := context.WithTimeout(ctx, kafkaTimeout)
	defer cancel()
	described, err := describe(ctx, client, c.Group)
	switch {
	case err == nil, errors.Is(err, kerr.GroupIDNotFound):
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return []Finding{errorf(pathGroup, grant, "we may not use the consumer group %s", c.Group)}
	default:
		return []Finding{warningf(pathGroup, "check again in a minute, and look at the broker's log", "whether we may use the consumer group %s could not be found out: %s", c.Group, kafkaName(err))}
	}
	g := described[c.Group]
	if len(g.AuthorizedOperations) > 0 && !allows(g.AuthorizedOperations, "READ") {
		return []Finding{errorf(pathGroup, grant, "we lack READ on the consumer group %s", c.Group)}
	}
	if g.ProtocolType != "" && g.ProtocolType != "consumer" {
		return []Finding{errorf(pathGroup, "choose a name that nobody else uses", "the group %s is used by something that is no consumer", c.Group)}
	}
	return nil
}

// describe asks about a group. A cluster that has never had one needs some
// seconds for its books, which it makes when it is first asked.
func describe(ctx context.Context, client *kgo.Client, group string) (kadm.DescribedGroups, error) {
	for {
		described, err := kadm.NewClient(client).DescribeGroups(ctx, group)
		if err == nil {
			err = described[group].Err
		}
		if !kerr.IsRetriable(err) {
			return described, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(groupPause):
		}
	}
}

// kafkaName is the protocol's own word for an error, or what it says.
func kafkaName(err error) string {
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return e.Message
	}
	return err.Error()
}
