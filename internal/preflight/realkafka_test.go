package preflight_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/apachekafka"
	"github.com/bugle-push/bugle/internal/kafkatest"
	"github.com/bugle-push/bugle/internal/preflight"
	"github.com/bugle-push/bugle/relay"
)

// Apache Kafka's own answers lead to the same findings.
func TestEachTroubleWithApacheKafkaIsNamed(t *testing.T) {
	broker := kafkatest.Apache(t)
	kafka := broker.Apache(t)
	trust, err := kafka.TLS()
	require.NoError(t, err)
	topic := broker.Topic(t, 1)
	strangers := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	known := relay.Cluster{Mechanism: relay.Plain, Username: apachekafka.Username, Password: apachekafka.Password}
	with := func(c relay.Cluster, address string, trust *tls.Config) relay.Cluster {
		c.Brokers, c.TLS = []string{address}, trust
		return c
	}
	wrong := known
	wrong.Password = "wrong"
	for name, tc := range map[string]struct {
		cluster relay.Cluster
		topic   string
		want    string
	}{
		"nothing":               {cluster: with(relay.Cluster{}, kafka.Address(), nil)},
		"nothing, TLS":          {cluster: with(known, kafka.TLSAddress(), trust)},
		"wrong password":        {cluster: with(wrong, kafka.TLSAddress(), trust), want: "error kafka.username: the cluster refuses our credentials"},
		"no password":           {cluster: with(relay.Cluster{}, kafka.SASLAddress(), nil), want: "error kafka.sasl: the broker hangs up: it asks for a user and a password"},
		"password for nobody":   {cluster: with(known, kafka.Address(), nil), want: "error kafka.sasl: "},
		"TLS against plaintext": {cluster: with(known, kafka.SASLAddress(), trust), want: "error kafka.tls: " + kafka.SASLAddress() + ": the broker does not speak TLS"},
		"plaintext against TLS": {cluster: with(known, kafka.TLSAddress(), nil), want: "error kafka.tls: the broker speaks TLS"},
		"unknown authority":     {cluster: with(known, kafka.TLSAddress(), strangers), want: "error kafka.ca_file: "},
		"missing topic":         {cluster: with(relay.Cluster{}, kafka.Address(), nil), topic: "none", want: "error relay[0].topic: the topic none does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.topic == "" {
				tc.topic = topic
			}
			got := lines(preflight.Kafka(preflight.KafkaConfig{
				Cluster: tc.cluster, Group: kafkatest.Name(t), Topics: []preflight.KafkaTopic{{Path: "relay[0].topic", Name: tc.topic, Read: true, Write: true}},
			}).Do(t.Context()))
			if tc.want == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Contains(t, got[0], tc.want)
		})
	}
}
