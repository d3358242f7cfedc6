package kafkatest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/bugle-push/bugle/internal/freeport"
)

// fake is a kfake that keeps its data in a folder, so that it can come back.
type fake struct {
	opts    []kfake.Opt
	port    int
	address string
	cluster *kfake.Cluster // nil when it does not run
}

// Fake starts a kfake for this test alone. opts are added to what it is made
// with: one node, no topics but those that are asked for.
func Fake(t testing.TB, opts ...kfake.Opt) *Broker {
	t.Helper()
	f := &fake{opts: append([]kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DataDir(t.TempDir()),
		// As Apache Kafka is started here.
		kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "1000"}),
	}, opts...)}
	var err error
	for range 3 { // others may take a port that was free
		if f.port, err = freeport.Find(1); err != nil {
			break
		}
		if err = f.Resume(t.Context()); err == nil {
			break
		}
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Crash(context.Background())) })
	return &Broker{node: f, own: true}
}

// Kfake is the cluster behind it, for its faults and its view of groups; the
// test fails when it is an Apache Kafka. After Resume it is another.
func (b *Broker) Kfake(t testing.TB) *kfake.Cluster {
	t.Helper()
	f, ok := b.node.(*fake)
	require.True(t, ok, "the broker is no kfake")
	return f.cluster
}

func (f *fake) Address() string { return f.address }

func (f *fake) Crash(context.Context) error {
	if f.cluster != nil {
		f.cluster.Close()
		f.cluster = nil
	}
	return nil
}

func (f *fake) Resume(context.Context) error {
	if f.cluster != nil {
		return errors.New("it runs")
	}
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.Ports(f.port)}, f.opts...)...)
	if err != nil {
		return fmt.Errorf("start kfake: %w", err)
	}
	f.cluster, f.address = cluster, cluster.ListenAddrs()[0]
	return nil
}

func suffix() string { return strings.ToLower(rand.Text()[:8]) }
