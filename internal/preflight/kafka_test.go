package preflight_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bugle-push/bugle/internal/preflight"
	"github.com/bugle-push/bugle/relay"
)

func broker(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(2, "odds", "dead")}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	return cluster
}

// certificate is what httptest has for 127.0.0.1, and who signed it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func wanted() []preflight.KafkaTopic {
	return []preflight.KafkaTopic{{Path: "relay[0].topic", Name: "odds", Read: true}, {Path: "relay[0].dead_letter", Name: "dead", Write: true}}
}

func shut(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func acl(resource kmsg.ACLResourceType, name string, op kmsg.ACLOperation) kfake.ACL {
	return kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
}

func TestEachTroubleWithKafkaIsNamed(t *testing.T) {
	const topic, group = kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeGroup
	encrypted, trusting := certificate(t)
	strangers := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	password := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "KEY", "secret")}
	limited := func(acls ...kfake.ACL) []kfake.Opt {
		return []kfake.Opt{kfake.EnableSASL(), kfake.EnableACLs(), kfake.User("PLAIN", "KEY", "secret", acls...)}
	}
	known := relay.Cluster{Mechanism: relay.Plain, Username: "KEY", Password: "secret"}
	for name, tc := range map[string]struct {
		broker []kfake.Opt
		client relay.Cluster // its brokers are added
		topics []preflight.KafkaTopic
		want   []string
	}{
		"nothing":                  {},
		"nothing, with a password": {broker: password, client: known},
		"nothing, with TLS":        {broker: []kfake.Opt{kfake.TLS(encrypted)}, client: relay.Cluster{TLS: trusting}},
		"nothing, with rights":     {broker: limited(acl(topic, "odds", kmsg.ACLOperationRead), acl(topic, "dead", kmsg.ACLOperationWrite), acl(group, "bugle", kmsg.ACLOperationRead)), client: known},
		"wrong password":           {broker: password, client: relay.Cluster{Mechanism: relay.Plain, Username: "KEY", Password: "wrong"}, want: []string{"error kafka.username: the cluster refuses our credentials"}},
		"wrong password, SCRAM":    {broker: []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "KEY", "secret")}, client: relay.Cluster{Mechanism: relay.SCRAMSHA256, Username: "KEY", Password: "wrong"}, want: []string{"error kafka.username: the cluster refuses our credentials"}},
		"no password":              {broker: password, want: []string{"error kafka.sasl: the broker hangs up: it asks for a user and a password"}},
		"TLS against plaintext":    {client: relay.Cluster{TLS: trusting}, want: []string{"error kafka.tls: BROKER: the broker does not speak TLS"}},
		"plaintext against TLS":    {broker: []kfake.Opt{kfake.TLS(encrypted)}, want: []string{"error kafka.tls: the broker speaks TLS, and kafka.tls is false"}},
		"unknown authority":        {broker: []kfake.Opt{kfake.TLS(encrypted)}, client: relay.Cluster{TLS: strangers}, want: []string{"error kafka.ca_file: BROKER: the broker's certificate is signed by an unknown authority"}},
		"missing topic":            {topics: []preflight.KafkaTopic{{Path: "bets.topic", Name: "bets", Write: true}}, want: []string{"error bets.topic: the topic bets does not exist"}},
		"topic not seen":           {broker: limited(acl(topic, "odds", kmsg.ACLOperationRead), acl(group, "bugle", kmsg.ACLOperationRead)), client: known, want: []string{"error relay[0].dead_letter: we may not see the topic dead"}},
		"topic not written":        {broker: limited(acl(topic, "odds", kmsg.ACLOperationRead), acl(topic, "dead", kmsg.ACLOperationRead), acl(group, "bugle", kmsg.ACLOperationRead)), client: known, want: []string{"error relay[0].dead_letter: we lack WRITE on the topic dead"}},
		"group not permitted":      {broker: limited(acl(topic, "odds", kmsg.ACLOperationRead), acl(topic, "dead", kmsg.ACLOperationWrite)), client: known, want: []string{"error kafka.group: we may not use the consumer group bugle"}},
		"group may only be seen":   {broker: limited(acl(topic, "odds", kmsg.ACLOperationRead), acl(topic, "dead", kmsg.ACLOperationWrite), acl(group, "bugle", kmsg.ACLOperationDescribe)), client: known, want: []string{"error kafka.group: we lack READ on the consumer group bugle"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := broker(t, tc.broker...)
			tc.client.Brokers = cluster.ListenAddrs()
			if tc.topics == nil {
				tc.topics = wanted()
			}
			check := preflight.Kafka(preflight.KafkaConfig{Cluster: tc.client, Topics: tc.topics, Group: "bugle"})
			findings := check.Do(t.Context())
			got := lines(findings)
			require.Len(t, got, len(tc.want), got)
			for i, want := range tc.want {
				require.Contains(t, got[i], strings.Replace(want, "BROKER", cluster.ListenAddrs()[0], 1))
				require.NotEmpty(t, findings[i].Mend)
				require.NotContains(t, got[i]+findings[i].Mend, "secret")
			}
		})
	}
}

// Apache Kafka says so where a listener has no SASL; kfake asks for the password all the same.
func TestAPasswordForAListenerThatAsksForNone(t *testing.T) {
	t.Parallel()
	for code, want := range map[int16]string{
		kerr.IllegalSaslState.Code:         "error kafka.sasl: the listener asks for no password",
		kerr.UnsupportedSaslMechanism.Code: "error kafka.sasl: the cluster does not know the mechanism PLAIN",
	} {
		cluster := broker(t)
		cluster.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
			resp.ErrorCode = code
			return resp, nil, true
		})
		c := relay.Cluster{Brokers: cluster.ListenAddrs(), Mechanism: relay.Plain, Username: "KEY", Password: "secret"}
		require.Equal(t, []string{want}, lines(preflight.Kafka(preflight.KafkaConfig{Cluster: c, Topics: wanted()}).Do(t.Context())))
	}
}

func TestNoBroker(t *testing.T) {
	t.Parallel()
	gone := shut(t)
	ask := func(brokers ...string) []string {
		return lines(preflight.Kafka(preflight.KafkaConfig{Cluster: relay.Cluster{Brokers: brokers}, Topics: wanted(), Group: "bugle"}).Do(t.Context()))
	}
	got := ask(gone)
	require.Len(t, got, 1)
	require.Contains(t, got[0], "error kafka.brokers: "+gone+": the broker cannot be reached")

	got = ask(append(broker(t).ListenAddrs(), gone)...)
	require.Len(t, got, 1, "one that answers is enough")
	require.Contains(t, got[0], "warning kafka.brokers: "+gone)
}

// A check of Kafka changes nothing, even where topics come to be by being asked for.
func TestKafkaIsOnlyLookedAt(t *testing.T) {
	t.Parallel()
	cluster := broker(t, kfake.AllowAutoTopicCreation())
	topics := append(wanted(), preflight.KafkaTopic{Path: "odds.topic", Name: "none", Read: true})
	got := lines(preflight.Kafka(preflight.KafkaConfig{Cluster: relay.Cluster{Brokers: cluster.ListenAddrs()}, Topics: topics, Group: "bugle"}).Do(t.Context()))
	require.Equal(t, []string{"error odds.topic: the topic none does not exist"}, got)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	require.NoError(t, err)
	defer client.Close()
	there, err := kadm.NewClient(client).ListTopics(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"dead", "odds"}, there.Names())
	groups, err := kadm.NewClient(client).ListGroups(t.Context())
	require.NoError(t, err)
	require.Empty(t, groups)
}

// Clients go on with the addresses that the cluster gives.
func TestABrokerThatTheClusterNamesMustBeReached(t *testing.T) {
	t.Parallel()
	cluster := broker(t)
	gone := shut(t)
	host, port, err := net.SplitHostPort(gone)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	cluster.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		resp.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 0, Host: host, Port: int32(number)}}
		for _, asked := range req.(*kmsg.MetadataRequest).Topics {
			one := kmsg.NewMetadataResponseTopic()
			one.Topic = asked.Topic
			resp.Topics = append(resp.Topics, one)
		}
		return resp, nil, true
	})
	findings := preflight.Kafka(preflight.KafkaConfig{Cluster: relay.Cluster{Brokers: cluster.ListenAddrs()}, Topics: wanted()}).Do(t.Context())
	require.Len(t, findings, 1, findings)
	require.Contains(t, findings[0].What, "the cluster names the broker "+gone)
	require.Contains(t, findings[0].Mend, "advertised.listeners")
}

func TestEachTroubleWithTheSchemaRegistryIsNamed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"nothing":       {200, `["JSON","PROTOBUF","AVRO"]`, ""},
		"credentials":   {401, `{"error_code":401}`, "error kafka.schema_registry.username: the Schema Registry refuses our credentials"},
		"rights":        {403, ``, "error kafka.schema_registry.username: the Schema Registry knows us"},
		"overload":      {429, ``, "warning kafka.schema_registry.url: the Schema Registry is overloaded"},
		"trouble":       {503, ``, "warning kafka.schema_registry.url: the Schema Registry is overloaded or in trouble (status 503)"},
		"another page":  {200, `<html>`, "error kafka.schema_registry.url: whatever answers there is no Schema Registry"},
		"no such page":  {404, ``, "error kafka.schema_registry.url: whatever answers there is no Schema Registry (status 404)"},
		"led elsewhere": {302, ``, "error kafka.schema_registry.url: whatever answers there is no Schema Registry (status 302)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				if r.URL.Path != "/schemas/types" || user != "KEY" || password != "secret" {
					w.WriteHeader(http.StatusTeapot)
					return
				}
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			}))
			t.Cleanup(server.Close)
			transport := &http.Transport{DisableKeepAlives: true}
			got := lines(preflight.Registry(preflight.RegistryConfig{URL: server.URL, Username: "KEY", Password: "secret", Transport: transport}).Do(t.Context()))
			if tc.want == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Contains(t, got[0], tc.want)
		})
	}
	got := lines(preflight.Registry(preflight.RegistryConfig{URL: "http://" + shut(t)}).Do(t.Context()))
	require.Len(t, got, 1)
	require.Contains(t, got[0], "error kafka.schema_registry.url: the Schema Registry cannot be reached")
}
