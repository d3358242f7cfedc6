package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// quiet is how long a partition that catches up may bring nothing before its
// leader is asked whether there is anything. Offsets at the end may have no record
// that is ever delivered: what an aborted transaction or compaction has left.
const quiet = 5 * time.Second

// batch is how many records are prepared at a time.
const batch = 256

// carry takes a partition's records to their lanes until it is revoked.
func (f *Feed) carry(p *partition) {
	if err := f.open(p); err != nil {
		return // revoked
	}
	f.log.Info().Str("topic", p.topic).Int("partition", int(p.partition)).Msg("partition opened")
	silence := time.NewTimer(quiet)
	defer silence.Stop()
	for {
		select {
		case <-p.read.Done():
			return
		case <-silence.C:
			f.listen(p)
			silence.Reset(quiet)
			continue
		case <-p.rawReady:
		}
		f.mu.Lock()
		raw := p.raw
		p.raw = nil
		f.mu.Unlock()
		for len(raw) > 0 {
			n := min(batch, len(raw))
			if !f.enqueue(p, raw[:n]) {
				return
			}
			raw = raw[n:]
		}
		silence.Reset(quiet)
	}
}

// open asks until it knows what must be known before a record is published: the
// cluster, where the partition ends, and what was published before.
func (f *Feed) open(p *partition) error {
	for n := 1; ; n++ {
		if p.read.Err() != nil {
			return p.read.Err()
		}
		err := f.look(p)
		if err == nil {
			f.tell(p, nil)
			return nil
		}
		if p.read.Err() != nil {
			return p.read.Err()
		}
		f.tell(p, fmt.Errorf("cannot be opened: %w", err))
		if n == 1 {
			f.log.Error().Err(err).Str("topic", p.topic).Int("partition", int(p.partition)).Msg("partition cannot be opened yet")
		}
		if err := pause(p.read, f.cfg.Backoff(n)); err != nil {
			return err
		}
	}
}

// tell keeps why a partition waits, for readiness.
func (f *Feed) tell(p *partition, trouble error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.trouble = trouble
}

// lookTimeout bounds what is asked when a partition is opened.
const lookTimeout = 10 * time.Second

func (f *Feed) look(p *partition) error {
	ctx, cancel := context.WithTimeout(p.read, lookTimeout)
	defer cancel()
	cluster, ids, err := f.identify(ctx, p.topic)
	if err != nil {
		return err
	}
	topicID := ids[p.topic]
	if cluster == "" {
		return errors.New("the cluster tells no id")
	}
	end, err := f.endOf(ctx, p)
	if err != nil {
		return err
	}
	// A topic that was deleted and made anew counts from 0 again: its own id keeps
	// the marks of the two apart.
	source := fmt.Sprintf("%s/%s/%s/%d", cluster, p.topic, topicID, p.partition)
	var marks map[string]Mark
	if p.route.mayKeep() {
		if marks, err = f.cfg.Progress.Open(ctx, source, end); err != nil {
			return fmt.Errorf("read progress: %w", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p.source, p.marks, p.end, p.usedAt = source, marks, end, time.Now()
	p.cluster, p.topicID = cluster, topicID
	p.catching = p.route.Conflate && end > 0
	return nil
}

// identify returns the ids of the cluster and of topics; that of a topic is zero with
// brokers that have none. The error is that of the request, or tells which topics
// are missing. It asks a broker: what the client remembers may be of a topic that
// was deleted seconds ago.
func (f *Feed) identify(ctx context.Context, topics ...string) (cluster string, ids map[string]kadm.TopicID, err error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, topic := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = new(topic)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, f.client)
	if err != nil {
		return "", nil, fmt.Errorf("ask for the cluster: %w", err)
	}
	if resp.ClusterID != nil {
		cluster = *resp.ClusterID
	}
	ids = map[string]kadm.TopicID{}
	for _, t := range resp.Topics {
		switch refused := kerr.ErrorForCode(t.ErrorCode); {
		case t.Topic == nil:
		case refused != nil:
			err = errors.Join(err, fmt.Errorf("ask for the topic: %w", refused))
		default:
			ids[*t.Topic] = t.TopicID
		}
	}
	return cluster, ids, err
}

func (f *Feed) endOf(ctx context.Context, p *partition) (int64, error) {
	// The last stable offset: that is as far as a reader of committed records gets.
	ends, err := f.admin.ListCommittedOffsets(ctx, p.topic)
	if err != nil {
		return 0, fmt.Errorf("ask for the end of the partition: %w", err)
	}
	end, ok := ends.Lookup(p.topic, p.partition)
	if !ok {
		return 0, errors.New("ask for the end of the partition: it is not listed")
	}
	if end.Err != nil {
		return 0, fmt.Errorf("ask for the end of the partition: %w", end.Err)
	}
	return end.Offset, nil
}

// listen ends the catching up of a partition that brings nothing, when its leader
// says that there is nothing up to the end. Silence is not enough: what is still
// to come may make old what was read so far.
func (f *Feed) listen(p *partition) {
	f.mu.Lock()
	next, end := p.prefix.next, p.end
	catching := p.catching && next >= 0 && len(p.raw) == 0 && !p.paused // before anything is read, nothing waits for this
	f.mu.Unlock()
	if !catching || !nothingLeft(p.read, f.client, p.topic, p.topicID, p.partition, next, end) {
		return
	}
	f.mu.Lock()
	if len(p.raw) == 0 {
		f.lanes.catchUp(p, time.Now())
	}
	f.mu.Unlock()
	f.wake()
}

// prepared is what prepare made of a record.
type prepared struct {
	it  *item
	why *refusal
}

// enqueue prepares records and puts them into their lanes. It tells false when
// the partition was revoked.
func (f *Feed) enqueue(p *partition, raw []*kgo.Record) bool {
	ready := make([]prepared, 0, len(raw))
	waits := func(err error) { f.tell(p, err) }
	for _, r := range raw {
		it := &item{from: p, record: r, counted: true}
		var why *refusal
		if !r.Attrs.IsControl() && r.Value != nil {
			var err error
			if it.message, it.suspended, why, err = f.prepare.prepare(p.read, p.route, messageID(p.cluster, p.topicID, r), r, waits); err != nil {
				return false
			}
		}
		ready = append(ready, prepared{it, why})
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.revoked {
		return false
	}
	for _, ready := range ready {
		it := ready.it
		switch {
		case it.record.Attrs.IsControl():
			p.prefix.finish(it.offset())
			it.counted = false
			f.unload(p, it.record)
		case it.record.Value == nil:
			f.finish(it, tombstone)
		case ready.why != nil:
			f.refuse(it, ready.why.code, ready.why.reason)
		default:
			if p.route.Conflate && !it.suspended {
				// It makes room as soon as a newer one comes: there is one for each
				// channel, which cannot be bounded without giving channels up.
				it.counted = false
				f.unload(p, it.record)
			}
			f.lanes.push(it, now)
		}
	}
	if p.catching && raw[len(raw)-1].Offset+1 >= p.end {
		f.lanes.catchUp(p, now)
	}
	f.wake()
	return true
}
