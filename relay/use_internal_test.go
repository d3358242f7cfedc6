package relay

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// uses counts what is noted to be in use.
type uses struct {
	sources []string
	fail    error
}

func (*uses) Open(context.Context, string, int64) (map[string]Mark, error) {
	return nil, errors.ErrUnsupported
}
func (*uses) Save(context.Context, []Mark) error          { return errors.ErrUnsupported }
func (*uses) Forget(context.Context, string, int64) error { return errors.ErrUnsupported }
func (u *uses) Use(_ context.Context, sources []string) error {
	u.sources = append(u.sources, sources...)
	return u.fail
}

// As long as a replica has a partition, its progress is noted to be in use, long
// before anybody removes it; not at each commit, and again soon after a failure.
func TestProgressInUseIsNoted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := feedOf(t, taking{}, "127.0.0.1:1")
		progress := &uses{}
		f.cfg.Progress = progress
		every := *f.routes["odds"]
		every.Conflate = false
		kept := newPartition(t.Context(), topicPartition{"odds", 0}, &every)
		kept.source, kept.usedAt = "kept", time.Now()
		opening := newPartition(t.Context(), topicPartition{"odds", 1}, &every)
		newest := newPartition(t.Context(), topicPartition{"odds", 2}, f.routes["odds"]) // it has no marks
		newest.source = "newest"
		parts := []*partition{kept, opening, newest}
		pass := func(d time.Duration) int {
			progress.sources = nil
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				f.useSources(t.Context(), parts)
			}
			for _, source := range progress.sources {
				require.Equal(t, "kept", source)
			}
			return len(progress.sources)
		}
		require.Equal(t, 24, pass(24*time.Hour+time.Minute))
		progress.fail = errors.New("away")
		require.Equal(t, 61, pass(2*time.Hour), "an hour later, and then every minute")
		require.Less(t, 100*useEvery, SourceRetention)
	})
}
