package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxPoll is the most records that one poll hands over.
const maxPoll = 2000

// options are those of the consumer.
//
// Rebalancing is cooperative: what a replica keeps is not interrupted. The
// client calls back about partitions only while no polled records are in our
// hands (BlockRebalanceOnPoll): between a poll and AllowRebalance each record is
// entered in its partition's prefix, so that a callback always sees all that was
// read. What the poll hands over is only entered there, never worked on, which
// takes microseconds: the group is not kept waiting.
//
// Control records are kept because offsets count them: without them the end of
// a partition that was written in transactions, as ksqlDB does, is never reached.
func (f *Feed) options() []kgo.Opt {
	topics := make([]string, 0, len(f.routes))
	for topic := range f.routes {
		topics = append(topics, topic)
	}
	return []kgo.Opt{
		kgo.ConsumerGroup(f.cfg.Group),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(f.cfg.SessionTimeout),
		kgo.HeartbeatInterval(f.cfg.SessionTimeout / 4), // three may be lost
		kgo.DisableAutoCommit(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // of a conflated topic only the newest is published
		kgo.FetchMaxWait(500 * time.Millisecond),          // a partition that is resumed waits for as long
		kgo.OnPartitionsAssigned(f.onAssigned),
		kgo.OnPartitionsRevoked(f.onRevoked),
		kgo.OnPartitionsLost(f.onLost),
		kgo.RequiredAcks(kgo.AllISRAcks()), // dead letters
		kgo.UnknownTopicRetries(1),
		kgo.RecordDeliveryTimeout(30 * time.Second),
	}
}

// poll reads until ctx ends.
func (f *Feed) poll(ctx context.Context) {
	told := ""
	var takenUp time.Time
	for {
		fetches := f.client.PollRecords(ctx, maxPoll)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			f.client.AllowRebalance()
			return
		}
		var failed error
		unknown := map[string]bool{}
		fetches.EachError(func(topic string, _ int32, err error) {
			failed = err
			if errors.Is(err, kerr.UnknownTopicID) {
				unknown[topic] = true
			}
			if topic != "" {
				failed = fmt.Errorf("topic %s: %w", topic, err)
			}
		})
		back := f.take(fetches) //nolint:contextcheck // what is begun outlives the poll: it has f.work
		f.client.SetOffsets(back)
		f.client.AllowRebalance()
		if len(unknown) > 0 && time.Since(takenUp) > takeUpEvery {
			f.takeUp(ctx, unknown)
			takenUp = time.Now()
		}
		f.mu.Lock()
		if failed != nil {
			f.reading, f.readingAt = failed, time.Now()
		} else if fetches.NumRecords() > 0 {
			f.reading = nil
		}
		f.mu.Unlock()
		switch {
		case failed == nil:
			told = ""
		case failed.Error() != told: // the same again is no news
			told = failed.Error()
			f.log.Error().Err(failed).Msg("kafka cannot be read")
		}
	}
}

// takeUpEvery is how often topics are taken up at the most.
const takeUpEvery = 5 * time.Second

// takeUp begins with topics again whose ids the brokers do not know any more: they
// were made anew, and the client holds on to the ids that it has (kgo, "the topic
// fails with UNKNOWN_TOPIC_ID until it is purged and re-added"). What was committed
// for the old topic means other records now, so the group begins at the start.
func (f *Feed) takeUp(ctx context.Context, unknown map[string]bool) {
	topics := slices.Sorted(maps.Keys(unknown))
	asking, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	_, ids, err := f.identify(asking, topics...)
	if err != nil {
		f.log.Debug().Err(err).Msg("topics are unknown") // deleted and not made anew yet, perhaps
	}
	topics = slices.DeleteFunc(topics, func(topic string) bool { return ids[topic] == kadm.TopicID{} })
	var gone []*partition
	f.mu.Lock()
	for _, p := range f.parts {
		old, fresh := p.topicID, ids[p.topic]
		if slices.Contains(topics, p.topic) && old != (kadm.TopicID{}) && old != fresh {
			p.gone = true
			gone = append(gone, p)
		}
	}
	f.mu.Unlock()
	if len(topics) == 0 {
		return
	}
	if err := f.commitStart(asking, gone, ids); err != nil {
		f.log.Warn().Err(err).Msg("a topic was made anew, and its offsets could not be set to its beginning yet")
		return
	}
	for _, topic := range topics {
		f.log.Warn().Str("topic", topic).Msg("the topic was made anew; it is read from its beginning")
	}
	f.client.PurgeTopicsFromConsuming(topics...)
	f.client.AddConsumeTopics(topics...)
}

func setOffset(in map[string]map[int32]kgo.EpochOffset, tp topicPartition, offset int64) {
	if in[tp.topic] == nil {
		in[tp.topic] = map[int32]kgo.EpochOffset{}
	}
	in[tp.topic][tp.partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
}

// take enters what was read in its partitions. It returns from where partitions
// must be read again.
func (f *Feed) take(fetches kgo.Fetches) map[string]map[int32]kgo.EpochOffset {
	back := map[string]map[int32]kgo.EpochOffset{}
	f.mu.Lock()
	defer f.mu.Unlock()
	fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
		p := f.parts[topicPartition{fetched.Topic, fetched.Partition}]
		if p == nil || p.revoked {
			return // its commit stands where whoever has it now begins
		}
		for _, r := range fetched.Records {
			if !p.prefix.add(r.Offset) {
				undone := p.prefix.commit()
				p = f.renew(p, r.Offset)
				if undone < r.Offset {
					// What is before the lost end and was not done is still there.
					setOffset(back, p.topicPartition, undone)
					return
				}
				p.prefix.add(r.Offset)
			}
			p.raw = append(p.raw, r)
			p.load++
			p.loadBytes += len(r.Value)
		}
		p.highWatermark = fetched.HighWatermark
		if (p.load > f.cfg.MaxWaiting || p.loadBytes > maxWaitingBytes) && !p.paused {
			p.paused = true
			f.client.PauseFetchPartitions(map[string][]int32{p.topic: {p.partition}})
		}
		select {
		case p.rawReady <- struct{}{}:
		default:
		}
	})
	return back
}

// renew begins a partition anew whose offsets have gone back: the log has lost
// its end, or the topic was deleted and made again. What is known of the
// offsets from there on is about other records. f.mu is held.
func (f *Feed) renew(p *partition, offset int64) *partition {
	f.log.Error().Str("topic", p.topic).Int("partition", int(p.partition)).Int64("offset", offset).
		Msg("offsets went back; the partition is read like a new one")
	f.lanes.revoke(p)
	f.resume(p)
	return f.begin(p.topicPartition, p)
}

// begin makes a partition and lets its work begin, when that of the partition
// before it has ended; nil for none. f.mu is held.
func (f *Feed) begin(tp topicPartition, before *partition) *partition {
	p := newPartition(f.work, tp, f.routes[tp.topic])
	f.parts[tp] = p
	if before != nil {
		p.takeOff() // until then it cannot be given away either
	}
	f.workers.Go(func() {
		if before != nil {
			f.follow(p, before)
		}
		f.carry(p)
	})
	return p
}

// follow waits until nothing of the partition before p is in flight: an attempt of
// it that arrived after one of p's would take its channel back. That waits as long
// as a release does, beside the poll, which goes on reading.
func (f *Feed) follow(p, before *partition) {
	// When p is lost meanwhile, the one before is cut at once, and must end all the same.
	landAll(p.send, context.WithoutCancel(p.send), f.cfg.RevokeTimeout, []*partition{before})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lanes.drop(before)
	p.land()
}

func (f *Feed) onAssigned(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for topic, numbers := range assigned {
		for _, number := range numbers {
			tp := topicPartition{topic, number}
			if f.parts[tp] != nil || f.routes[topic] == nil || f.ending {
				continue
			}
			f.begin(tp, nil) //nolint:contextcheck // what is begun has f.work, not the callback's context
			f.log.Info().Str("topic", topic).Int("partition", int(number)).Msg("partition assigned")
		}
	}
}

// onRevoked gives partitions away: what is in flight ends, and all that is done
// is committed, before another replica begins to read. That waits for
// RevokeTimeout at the most, far below the group's own limit of a minute; the
// partitions that stay are published meanwhile, though not read. What has not
// ended by then is cut: it may still arrive, with an id that the other replica
// uses too.
func (f *Feed) onRevoked(ctx context.Context, _ *kgo.Client, revoked map[string][]int32) {
	f.release(ctx, f.held(revoked), f.cfg.RevokeTimeout)
}

// onLost drops partitions that another replica may have already: nothing can be
// committed, and each moment of waiting is one in which two publish.
func (f *Feed) onLost(ctx context.Context, _ *kgo.Client, lost map[string][]int32) {
	f.release(ctx, f.held(lost), 0)
}

func (f *Feed) held(named map[string][]int32) (out []*partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for topic, numbers := range named {
		for _, number := range numbers {
			if p := f.parts[topicPartition{topic, number}]; p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// end lets nothing more begin, and returns all that has begun. Until the group has
// been left a rebalance may still assign partitions, which nobody would read, or
// wait for.
func (f *Feed) end() (out []*partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ending = true
	for _, p := range f.parts {
		out = append(out, p)
	}
	return out
}

// cutTimeout is how long an attempt may take to end after it was cut.
const cutTimeout = 2 * time.Second

// landAll lets what is in flight of partitions end: for wait, or until ctx ends,
// and then it cuts them, which takes cutTimeout at most, or until cutting ends.
func landAll(ctx, cutting context.Context, wait time.Duration, parts []*partition) {
	limit, cancel := context.WithTimeout(ctx, wait)
	idle(limit, parts)
	cancel()
	for _, p := range parts {
		p.stopSend()
	}
	limit, cancel = context.WithTimeout(cutting, cutTimeout)
	idle(limit, parts)
	cancel()
}

// release ends what partitions do, commits what is done unless wait is 0, and
// forgets them.
func (f *Feed) release(ctx context.Context, parts []*partition, wait time.Duration) {
	if len(parts) == 0 {
		return
	}
	f.mu.Lock()
	for _, p := range parts {
		f.lanes.revoke(p)
	}
	f.mu.Unlock()

	landAll(ctx, ctx, wait, parts)
	if wait > 0 {
		f.commit(ctx, parts)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range parts {
		f.lanes.drop(p)
		f.resume(p) // the client would remember it when the partition comes back
		if f.parts[p.topicPartition] == p {
			delete(f.parts, p.topicPartition)
		}
		f.metrics.leave(p)
		f.log.Info().Str("topic", p.topic).Int("partition", int(p.partition)).Int("count", p.prefix.pending).Msg("partition released")
	}
}

// idle waits until nothing of the partitions is in flight, or ctx ends.
func idle(ctx context.Context, parts []*partition) {
	for _, p := range parts {
		select {
		case <-p.idle:
		case <-ctx.Done():
			return
		}
	}
}

// commitLoop commits every while what is done.
func (f *Feed) commitLoop(ctx context.Context) {
	every := time.NewTicker(f.cfg.CommitEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		parts := f.kept()
		f.commit(ctx, parts)
		f.forgetMarks(ctx, parts)
		f.useSources(ctx, parts)
	}
}

// kept are the partitions that stay here; what is revoked, release commits. When
// none of them has anything to commit, an error of the last commit is over: it was
// about a partition that another replica has now, and nobody would try again.
func (f *Feed) kept() []*partition {
	f.mu.Lock()
	defer f.mu.Unlock()
	parts, due := make([]*partition, 0, len(f.parts)), false
	for _, p := range f.parts {
		f.metrics.look(p)
		if !p.revoked {
			parts = append(parts, p)
			due = due || p.prefix.commit() > p.committed
		}
	}
	if !due {
		f.commitErr = nil
	}
	return parts
}

// commitTimeout bounds one commit.
const commitTimeout = 5 * time.Second

// commit commits what is done and was not committed.
func (f *Feed) commit(ctx context.Context, parts []*partition) {
	f.committing.Lock()
	defer f.committing.Unlock()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	f.mu.Lock()
	for _, p := range parts {
		at := p.prefix.commit()
		if at >= 0 && at > p.committed && f.parts[p.topicPartition] == p && !p.gone {
			setOffset(offsets, p.topicPartition, at)
		}
	}
	f.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	var failed error
	f.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if failed = err; err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if failed != nil {
		f.metrics.commits.WithLabelValues("failed").Inc()
		if f.commitErr == nil {
			f.log.Warn().Err(failed).Msg("offsets not committed; the next commit has them too")
		}
		f.commitErr = failed
		return
	}
	f.commitErr = nil
	f.metrics.commits.WithLabelValues("committed").Inc()
	for _, p := range parts {
		if o, ok := offsets[p.topic][p.partition]; ok {
			p.committed = max(p.committed, o.Offset)
		}
	}
}

// commitStart commits the beginning of topics that were made anew. The client itself
// commits nothing more for these, and what it has committed by name before it knew
// was about the topics that are gone.
func (f *Feed) commitStart(ctx context.Context, gone []*partition, ids map[string]kadm.TopicID) error {
	if len(gone) == 0 {
		return nil
	}
	f.committing.Lock()
	defer f.committing.Unlock()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = f.cfg.Group
	req.MemberID, req.Generation = f.client.GroupMetadata()
	for _, p := range gone {
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic, topic.TopicID = p.topic, ids[p.topic] // by the one or the other, as the broker has it
		part := kmsg.NewOffsetCommitRequestTopicPartition()
		part.Partition = p.partition
		topic.Partitions = append(topic.Partitions, part)
		req.Topics = append(req.Topics, topic)
	}
	resp, err := req.RequestWith(ctx, f.client)
	if err != nil {
		return fmt.Errorf("commit the beginning: %w", err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("commit the beginning: %w", err)
			}
		}
	}
	return nil
}

// forgetMarks removes marks that nobody needs: a restart begins behind them.
func (f *Feed) forgetMarks(ctx context.Context, parts []*partition) {
	if f.cfg.Progress == nil {
		return
	}
	type old struct {
		p     *partition
		below int64
	}
	var olds []old
	f.mu.Lock()
	for _, p := range parts {
		// Each offset is behind some mark: only every now and then.
		if p.source != "" && p.route.mayKeep() && p.committed >= p.forgotten+forgetEvery {
			olds = append(olds, old{p, p.committed})
		}
	}
	f.mu.Unlock()
	for _, o := range olds {
		if err := f.cfg.Progress.Forget(ctx, o.p.source, o.below); err != nil {
			f.log.Warn().Err(err).Msg("old progress not removed")
			return
		}
		f.mu.Lock()
		o.p.forgotten = o.below
		f.mu.Unlock()
	}
}

// forgetEvery is after how many offsets old marks are removed.
const forgetEvery = 1000

// useSources notes now and then that the sources of partitions are in use: what
// nobody has for long is removed (Sweeper).
func (f *Feed) useSources(ctx context.Context, parts []*partition) {
	if f.cfg.Progress == nil {
		return
	}
	now := time.Now()
	var due []*partition
	var sources []string
	f.mu.Lock()
	for _, p := range parts {
		if p.source != "" && p.route.mayKeep() && now.Sub(p.usedAt) >= useEvery {
			due, sources = append(due, p), append(sources, p.source)
		}
	}
	f.mu.Unlock()
	if len(due) == 0 {
		return
	}
	err := f.cfg.Progress.Use(ctx, sources)
	if err != nil {
		f.log.Warn().Err(err).Msg("it could not be noted which progress is in use")
		now = now.Add(useAgain - useEvery)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range due {
		p.usedAt = now
	}
}

// How often it is noted that a source is in use, and how soon again after that
// has failed. Both are far below SourceRetention.
const (
	useEvery = time.Hour
	useAgain = time.Minute
)
