package relay

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever order records end in, the commit stands before the first that has not.
func TestACommitPassesNothingUnfinished(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPrefix()
		open := map[int64]bool{}
		var offsets []int64
		next, last := int64(-1), int64(-1)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				offset := max(next, 0) + rapid.Int64Range(0, 3).Draw(t, "gap")
				require.True(t, p.add(offset))
				require.False(t, p.add(offset), "again")
				open[offset] = true
				offsets = append(offsets, offset)
				next = offset + 1
			},
			"skip": func(t *rapid.T) {
				next = max(next, 0) + rapid.Int64Range(1, 3).Draw(t, "gap")
				p.skip(next - 1)
			},
			"finish": func(t *rapid.T) {
				if len(offsets) == 0 {
					t.Skip("none")
				}
				offset := rapid.SampledFrom(offsets).Draw(t, "offset")
				p.finish(offset)
				delete(open, offset)
			},
			"": func(t *rapid.T) {
				want := next
				for offset := range open {
					want = min(want, offset)
				}
				require.Equal(t, want, p.commit())
				require.GreaterOrEqual(t, p.commit(), last, "it never goes back")
				last = p.commit()
				require.Equal(t, len(open), p.pending)
				require.LessOrEqual(t, len(p.open), 2*p.pending+130, "what is done is not kept")
			},
		})
	})
}
