package app

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/relay"
)

// kafkaCluster is the Kafka of the configuration.
func kafkaCluster(cfg config.Config) relay.Cluster {
	c := relay.Cluster{
		Brokers: cfg.Kafka.Brokers, Mechanism: relay.Mechanism(cfg.Kafka.SASL),
		Username: cfg.Kafka.Username, Password: cfg.Kafka.Password.Reveal(),
	}
	if cfg.Kafka.TLS {
		c.TLS = trusting(cfg.Kafka.CA)
	}
	return c
}

// trusting encrypts connections, with the given authorities or the system's.
func trusting(ca []byte) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != nil {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM(ca) // checked with the configuration
	}
	return c
}
