package relay_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/relay"
)

// A broker that asks for a password takes each mechanism with the right one and
// none with a wrong one.
func TestClusterShowsWhoItIs(t *testing.T) {
	for _, mechanism := range relay.Mechanisms() {
		t.Run(string(mechanism), func(t *testing.T) {
			broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser(string(mechanism), "KEY", "secret"))
			require.NoError(t, err)
			t.Cleanup(broker.Close)

			require.NoError(t, ask(t, relay.Cluster{Brokers: broker.ListenAddrs(), Mechanism: mechanism, Username: "KEY", Password: "secret"}))
			require.Error(t, ask(t, relay.Cluster{Brokers: broker.ListenAddrs(), Mechanism: mechanism, Username: "KEY", Password: "wrong"}))
		})
	}
}

func TestClusterNamesWhatIsMissing(t *testing.T) {
	for name, c := range map[string]relay.Cluster{
		"no brokers":     {},
		"SASL mechanism": {Brokers: []string{"127.0.0.1:1"}, Mechanism: "GSSAPI", Username: "u", Password: "p"},
		"a password":     {Brokers: []string{"127.0.0.1:1"}, Mechanism: relay.Plain, Username: "u"},
	} {
		_, err := c.Options()
		require.ErrorContains(t, err, name)
	}
}

func ask(t *testing.T, c relay.Cluster) error {
	t.Helper()
	opts, err := c.Options()
	require.NoError(t, err)
	client, err := kgo.NewClient(append(opts, kgo.RequestRetries(0))...)
	require.NoError(t, err)
	defer client.Close()
	_, err = kadm.NewClient(client).ListTopics(t.Context())
	return err
}
