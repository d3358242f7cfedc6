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
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if cfg.Kafka.CA != nil {
			c.TLS.RootCAs = x509.NewCertPool()
			c.TLS.RootCAs.AppendCertsFromPEM(cfg.Kafka.CA) // checked with the configuration
		}
	}
	return c
}
