package relay

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// clientID is what brokers see in their logs and quotas.
const clientID = "bugle"

// Mechanism is how a client proves to Kafka who it is (SASL).
type Mechanism string

// The mechanisms. Confluent Cloud takes Plain over TLS, with an API key as the
// user and its secret as the password.
const (
	Plain       Mechanism = "PLAIN"
	SCRAMSHA256 Mechanism = "SCRAM-SHA-256"
	SCRAMSHA512 Mechanism = "SCRAM-SHA-512"
)

// Mechanisms lists all of them.
func Mechanisms() []Mechanism { return []Mechanism{Plain, SCRAMSHA256, SCRAMSHA512} }

// Cluster says how a Kafka cluster is reached.
type Cluster struct {
	// Brokers are host:port; one that answers is enough to find the others.
	Brokers []string
	// TLS encrypts the connections; nil leaves them in the clear.
	TLS *tls.Config
	// Mechanism is how Username and Password are shown; empty means that the
	// brokers ask for neither.
	Mechanism          Mechanism
	Username, Password string
}

// Options returns what every client of this cluster is made with. The error
// names what is missing.
func (c Cluster) Options() ([]kgo.Opt, error) {
	if len(c.Brokers) == 0 {
		return nil, errors.New("kafka: no brokers")
	}
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.ClientID(clientID)}
	if c.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	mechanism, err := c.mechanism()
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

func (c Cluster) mechanism() (sasl.Mechanism, error) {
	if c.Mechanism == "" {
		return nil, nil //nolint:nilnil // no mechanism is what a cluster without SASL has
	}
	if !slices.Contains(Mechanisms(), c.Mechanism) {
		return nil, fmt.Errorf("kafka: SASL mechanism %q is none of %v", c.Mechanism, Mechanisms())
	}
	if c.Username == "" || c.Password == "" {
		return nil, fmt.Errorf("kafka: %s needs a user and a password", c.Mechanism)
	}
	switch c.Mechanism {
	case SCRAMSHA256:
		return scram.Auth{User: c.Username, Pass: c.Password}.AsSha256Mechanism(), nil
	case SCRAMSHA512:
		return scram.Auth{User: c.Username, Pass: c.Password}.AsSha512Mechanism(), nil
	default:
		return plain.Auth{User: c.Username, Pass: c.Password}.AsMechanism(), nil
	}
}
