package racing

import (
	"context"
	"fmt"
	"time"
)

// Times of a death at Ably.
const (
	// settledIn is how long a target must have been active before it dies: a
	// service may take a report for one about the registration before it.
	settledIn = 5500 * time.Millisecond
	// noticeEvery is how often it is asked whether a death has been noticed.
	noticeEvery = 2 * time.Second
)

// retired is the state of a device whose target was found dead.
const retired = "retired"

// vanish removes the app from a device that Ably reaches. Ably goes on to accept
// pushes to it, and says only on its push log that they failed.
func (w *World) vanish(_ context.Context, u *user) (string, error) {
	now := time.Now()
	d := u.pickBy(func(d *device) bool {
		return d.active && d.Kind == KindAbly && now.Sub(d.since) > settledIn
	})
	// Somebody who has muted races may not be sent to for long.
	if d == nil || len(u.devices) < 2 || len(u.muted) > 0 || u.grieves || !w.atMost(20, (*user).hasLost) {
		return "", nil
	}
	w.cfg.Oracle.Died(d.Token)
	if err := w.cfg.Ably.KillDevice(d.Token); err != nil {
		return "", fmt.Errorf("kill device %s: %w", d.ID, err)
	}
	d.gone, u.grieves = true, true
	w.dead = append(w.dead, d)
	w.awaitNotice(d)
	return fmt.Sprintf("%s uninstalls the app from %s: Ably will accept the next push, and say on [meta]log:push that it failed", u.name, d.ID), nil
}

// awaitNotice asks every now and then, as the user, whether the service has
// noticed that the device's target is dead, until it has.
func (w *World) awaitNotice(d *device) {
	w.plan(action{at: time.Now().Add(noticeEvery), do: func(ctx context.Context, _ time.Time) error {
		state, err := w.service.State(ctx, d.user.id, d.ID)
		switch {
		case err != nil:
			return fmt.Errorf("ask for device %s: %w", d.ID, err)
		case state != retired:
			w.awaitNotice(d)
		default:
			d.user.grieves = false
			w.tellf("Ably said on [meta]log:push that %s of %s is dead: its target is retired", d.ID, d.user.name)
		}
		return nil
	}})
}

// Deaths counts the targets at Ably that died.
type Deaths struct {
	Dead int
	// Retired are those of them whose device the service calls retired.
	Retired int
	// Missed are the devices that it does not call so although Ably has
	// reported the death.
	Missed []DeviceID
}

// Deaths asks the service about each device whose target at Ably died. Call it
// when Run has returned, and the service has had the time to take in what Ably
// reported.
func (w *World) Deaths(ctx context.Context) (Deaths, error) {
	n := Deaths{Dead: len(w.dead)}
	for _, d := range w.dead {
		state, err := w.service.State(ctx, d.user.id, d.ID)
		switch {
		case err != nil:
			return n, fmt.Errorf("ask for device %s: %w", d.ID, err)
		case state == retired:
			n.Retired++
		case w.cfg.Oracle.reportedDead(d.Token):
			n.Missed = append(n.Missed, d.ID)
		}
	}
	return n, nil
}
