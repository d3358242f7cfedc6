package relay

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// taking is a Publisher that takes everything.
type taking struct{}

func (taking) Publish(context.Context, Message) Answer { return Answer{Verdict: Accepted} }

// A commit that failed for a partition that another replica has now is never tried
// again here: readiness does not fail for ever.
func TestAFailedCommitIsOverWithItsPartition(t *testing.T) {
	channel, err := ParseChannelTemplate("#{key}")
	require.NoError(t, err)
	f, err := NewFeed(FeedConfig{
		Cluster: Cluster{Brokers: []string{"127.0.0.1:1"}}, Group: "g", Publisher: taking{},
		Routes: []Route{{Topic: "odds", Channel: channel, Conflate: true, DeadLetter: "dead"}},
	})
	require.NoError(t, err)
	p := newPartition(t.Context(), topicPartition{"odds", 0}, f.routes["odds"])
	f.parts[p.topicPartition] = p
	p.prefix.add(0)
	p.prefix.finish(0)
	f.commitErr = errors.New("fenced")
	require.Len(t, f.kept(), 1)
	require.ErrorContains(t, f.Check(t.Context()), "fenced", "it is still to be committed")

	delete(f.parts, p.topicPartition)
	require.Empty(t, f.kept())
	require.NoError(t, f.Check(t.Context()))
}
