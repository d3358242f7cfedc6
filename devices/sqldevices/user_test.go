package sqldevices_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
)

func TestAUserIsHandedOutCountedAndErased(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		ctx := t.Context()
		secret := ablyDevice("01J8ZZPHONE")
		b.activate(t, "ada", "d1", secret)
		b.activate(t, "ada", "d2", ablyDevice("01J8ZZTABLET"))
		b.activate(t, "bob", "d3", ablyDevice("01J8ZZOTHER"))
		_, err := b.SetPreferences(ctx, "ada", devices.Preferences{Muted: []string{"loss"}})
		require.NoError(t, err)

		counted, err := b.CountUser(ctx, "ada")
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"devices": 2, "preferences": 1}, counted)
		kinds := map[string]int{}
		require.NoError(t, b.ExportUser(ctx, "ada", func(kind string, record any) error {
			text, err := json.Marshal(record)
			require.NotContains(t, string(text), secret.Value.Reveal())
			kinds[kind]++
			return err
		}))
		require.Equal(t, map[string]int{"device": 2, "preferences": 1}, kinds)

		erased, waiting, more, err := b.EraseUser(ctx, "ada", 1)
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"devices": 2, "preferences": 1}, erased)
		require.Zero(t, waiting)
		require.False(t, more)
		counted, err = b.CountUser(ctx, "ada")
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"devices": 0, "preferences": 0}, counted)
		left, err := b.Devices(ctx, "bob")
		require.NoError(t, err)
		require.Len(t, left, 1)
	})
}
