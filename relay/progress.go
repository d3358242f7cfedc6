package relay

import (
	"context"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Mark says that a channel has got everything of a source up to an offset.
type Mark struct {
	// Source is the partition: cluster, topic, the topic's id, number.
	Source string
	// Channel is the channel's name.
	Channel string
	// Offset is the newest one that was published there.
	Offset int64
	// Epoch is the leader epoch in which the record at Offset was written; negative
	// when that is not known.
	Epoch int32
}

// covers tells whether the mark's channel has got a record. A log that has lost
// its end gives offsets out again, in a higher epoch: a mark says nothing of
// those.
func (m Mark) covers(r *kgo.Record) bool {
	return r.Offset <= m.Offset && (m.Epoch < 0 || r.LeaderEpoch <= m.Epoch)
}

// Progress remembers across restarts what was published, for records that must
// not be published again.
type Progress interface {
	// Open notes that a source is in use and returns its marks by channel. Those at
	// its end or beyond are removed before: they are about records that the source
	// does not have any more, and would be taken for what comes there.
	Open(ctx context.Context, source string, end int64) (map[string]Mark, error)
	// Use notes that sources are still in use.
	Use(ctx context.Context, sources []string) error
	// Save raises marks, all or none; a mark is never lowered. One of a higher
	// epoch is the higher one, whatever its offset.
	Save(ctx context.Context, marks []Mark) error
	// Forget removes the marks of a source that are below an offset.
	Forget(ctx context.Context, source string, below int64) error
}

// maxMarks is the most marks that are saved at once.
const maxMarks = 1000

// keeper saves marks for many lanes at once: while one batch is being written,
// the next one gathers.
type keeper struct {
	progress Progress
	requests chan keepRequest
	retry    func(n int) time.Duration
	log      zerolog.Logger
}

type keepRequest struct {
	mark Mark
	kept chan struct{}
}

// keep returns when the mark is saved, or with the error of ctx.
func (k *keeper) keep(ctx context.Context, m Mark) error {
	r := keepRequest{m, make(chan struct{})}
	select {
	case k.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-r.kept:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run saves until ctx ends.
func (k *keeper) run(ctx context.Context) {
	for {
		var batch []keepRequest
		select {
		case <-ctx.Done():
			return
		case r := <-k.requests:
			batch = append(batch, r)
		}
	gather:
		for len(batch) < maxMarks {
			select {
			case r := <-k.requests:
				batch = append(batch, r)
			default:
				break gather
			}
		}
		marks := make([]Mark, len(batch))
		for i, r := range batch {
			marks[i] = r.mark
		}
		for n := 1; ; n++ {
			err := k.progress.Save(ctx, marks)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			if n == 1 {
				k.log.Error().Err(err).Msg("progress could not be saved; the channels wait")
			}
			if pause(ctx, k.retry(n)) != nil {
				return
			}
		}
		for _, r := range batch {
			close(r.kept)
		}
	}
}
