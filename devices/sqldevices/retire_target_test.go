package sqldevices_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
)

func ablyDevice(id string) devices.Target {
	return devices.Target{Kind: devices.AblyDevice, Value: devices.Secret(id)}
}

func TestRetireTarget(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		ctx := t.Context()
		retire := func(target devices.Target, before time.Time) bool {
			ok, err := b.RetireTarget(ctx, target, before, "ably_token_invalid")
			require.NoError(t, err)
			return ok
		}
		state := func(id devices.ID) devices.State {
			d, err := b.Device(ctx, "ada", id)
			require.NoError(t, err)
			return d.State
		}
		target := ablyDevice("01J8ZZPHONE")
		require.False(t, retire(target, b.clock), "nobody is reached there")

		b.activate(t, "ada", "d1", target)
		b.activate(t, "ada", "d2", ablyDevice("01J8ZZTABLET"))
		activated := b.clock.Truncate(time.Microsecond)
		require.False(t, retire(target, activated.Add(-time.Minute)), "the event is older than the activation")
		require.False(t, retire(target, activated), "the event is not newer than the activation")
		require.False(t, retire(devices.Target{Kind: devices.AblyClient, Value: target.Value}, activated.Add(time.Hour)), "another kind of target")
		require.False(t, retire(devices.Target{Kind: devices.FCMToken, Value: target.Value}, activated.Add(time.Hour)), "another provider")
		require.Equal(t, devices.Active, state("d1"))

		b.clock = b.clock.Add(time.Hour)
		require.True(t, retire(target, activated.Add(time.Microsecond)))
		require.False(t, retire(target, activated.Add(time.Hour)), "already retired")
		d, err := b.Device(ctx, "ada", "d1")
		require.NoError(t, err)
		require.Equal(t, devices.Retired, d.State)
		require.Equal(t, "ably_token_invalid", d.RetiredReason)
		require.Equal(t, b.clock.Truncate(time.Microsecond), d.UpdatedAt)
		require.Equal(t, devices.Active, state("d2"))
		require.Empty(t, b.cancelled(t), "what is queued stays: the device may come back")
	})
}

// A target that is left and taken again is no older than its return, although
// the device has been active all the time.
func TestAnEventFromBeforeTheLastChangeOfTargetRetiresNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		a, other := ablyDevice("A"), ablyDevice("B")
		b.activate(t, "ada", "d1", a)
		b.clock = b.clock.Add(time.Minute)
		event := b.clock
		b.activate(t, "ada", "d1", other)
		b.clock = b.clock.Add(time.Minute)
		d := b.activate(t, "ada", "d1", a)
		require.True(t, d.ActivatedAt.Before(event), "or the test proves nothing")

		ok, err := b.RetireTarget(t.Context(), a, event, "ably_token_invalid")
		require.NoError(t, err)
		require.False(t, ok)
		ok, err = b.RetireTarget(t.Context(), other, b.clock.Add(time.Hour), "ably_token_invalid")
		require.NoError(t, err)
		require.False(t, ok, "nobody is reached there any more")
		ok, err = b.RetireTarget(t.Context(), a, b.clock.Add(time.Second), "ably_token_invalid")
		require.NoError(t, err)
		require.True(t, ok)
	})
}
