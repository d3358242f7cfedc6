package relay

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchProbe is how much of a partition nothingLeft asks for at once, in bytes;
// Kafka gives the first batch whatever its size.
const fetchProbe = 64 << 10

// nothingLeft asks the leader of a partition whether there is any record from
// next up to end. Compaction can remove the last records before the end, and a
// consumer that has read over the gap does not tell: without this question a
// quiet partition would never count as read. Silence alone says nothing: a broker
// that is slow, or holds a client back for its quota, is silent too.
func nothingLeft(ctx context.Context, client *kgo.Client, topic string, id kadm.TopicID, partition int32, next, end int64) bool {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	for next < end {
		after, empty := probe(ctx, client, topic, id, partition, next)
		switch {
		case !empty:
			return false
		case after <= next: // without a single batch there is nothing from here on
			return true
		}
		next = after
	}
	return true
}

// probe reads the first batches from an offset on. It tells whether they hold no
// record, and the offset behind them, which is the same one when there are none.
func probe(ctx context.Context, client *kgo.Client, topic string, id kadm.TopicID, partition int32, next int64) (after int64, empty bool) {
	leader, epoch, err := client.PartitionLeader(topic, partition)
	if err != nil || leader < 0 {
		return next, false
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.IsolationLevel = fetchProbe, 1
	reqTopic := kmsg.NewFetchRequestTopic()
	reqTopic.Topic, reqTopic.TopicID = topic, id
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes, part.CurrentLeaderEpoch = partition, next, fetchProbe, epoch
	reqTopic.Partitions = append(reqTopic.Partitions, part)
	req.Topics = append(req.Topics, reqTopic)

	answer, err := client.Broker(int(leader)).RetriableRequest(ctx, req)
	resp, ok := answer.(*kmsg.FetchResponse)
	if err != nil || !ok || resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return next, false
	}
	got, after := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, Offset: next, IsolationLevel: kgo.ReadCommitted(), Topic: topic, Partition: partition,
	}, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	if got.Err != nil || len(got.Records) > 0 {
		return next, false
	}
	if len(resp.Topics[0].Partitions[0].RecordBatches) > 0 && after <= next {
		return next, false // the beginning of a batch, cut: it says nothing
	}
	return after, true
}
