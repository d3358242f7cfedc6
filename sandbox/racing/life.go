package racing

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// margin is how far a change in a user's life stays away from anything that
// becomes visible and concerns the user, so that it is clear what had to be
// announced.
const margin = 2500 * time.Millisecond

// life is a kind of change in a user's life.
type life struct {
	name string
	try  func(ctx context.Context, u *user) (line string, err error)
}

// lives returns what can happen to a user. Each tries, and returns an empty line
// if it does not apply.
func (w *World) lives() []life {
	return []life{
		{"vanish", w.vanish},
		{"mute", w.mute},
		{"uninstall", w.uninstall},
		{"rotate", w.rotate},
		{"deactivate", w.deactivate},
		{"join", w.join},
		{"return", w.comeBack},
		{"unmute", w.unmute},
		{"hand over", w.handOver},
	}
}

// live lets something happen to somebody, and plans the next time.
func (w *World) live(ctx context.Context, _ time.Time) error {
	kinds := w.lives()
	kind := kinds[w.rng.IntN(len(kinds))]
	if w.acted < len(kinds) {
		kind = kinds[w.acted] // each of them once, before chance decides
	}
	wait := w.cfg.LifeEvery/2 + time.Duration(w.rng.Int64N(int64(w.cfg.LifeEvery)))
	done := false
	if w.acted >= len(kinds) && w.rng.IntN(4) == 0 {
		if err := w.cross(ctx); err != nil {
			return err
		}
		wait = time.Second
	} else if w.quietForAll() {
		w.outstanding = w.cfg.Oracle.Outstanding()
		for _, i := range w.rng.Perm(len(w.users)) {
			u := w.users[i]
			if !w.quiet(u) {
				continue
			}
			line, err := kind.try(ctx, u)
			if err != nil {
				return fmt.Errorf("%s for user %s: %w", kind.name, u.id, err)
			}
			if line != "" {
				w.tellf("%s", line)
				done = true
				break
			}
		}
	} else {
		wait = time.Second
	}
	if done || w.acted >= len(kinds) {
		w.acted++
	}
	w.plan(action{at: time.Now().Add(wait), do: w.live})
	return nil
}

// cross lets somebody whom something has just begun to concern deactivate a
// device or mute everything: it must not arrive more than a moment after that.
// It does not ask the oracle who is waiting, which would excuse what was lost.
func (w *World) cross(ctx context.Context) error {
	for _, i := range w.rng.Perm(len(w.users)) {
		u := w.users[i]
		const fresh = 1200 * time.Millisecond
		if now := time.Now(); now.Sub(u.touched) > fresh && now.Sub(w.all) > fresh {
			continue
		}
		line, err := w.deactivate(ctx, u)
		if err == nil && line == "" && len(u.muted) == 0 && !u.grieves {
			line = u.name + " mutes everything"
			err = w.setMuted(ctx, u, []string{CategoryWin, CategoryLoss, CategoryRace})
		}
		if err != nil {
			return fmt.Errorf("cross an announcement for user %s: %w", u.id, err)
		}
		if line != "" {
			w.tellf("%s, just when a push was on its way", line)
			return nil
		}
	}
	return nil
}

// quietForAll reports whether nothing that concerns everybody happens around now.
func (w *World) quietForAll() bool {
	now := time.Now()
	return now.Sub(w.all) > margin && !slices.ContainsFunc(w.queue, func(a *action) bool {
		return a.all && a.at.Sub(now) < margin
	})
}

// quiet reports the same for one user, who must not wait for an announcement either.
func (w *World) quiet(u *user) bool {
	now := time.Now()
	return now.Sub(u.touched) > margin && !slices.ContainsFunc(w.queue, func(a *action) bool {
		return a.user == u && a.at.Sub(now) < margin
	}) && w.outstanding[u.id] == 0
}

// pick returns one of the user's devices in the given state, nil if there is none.
func (u *user) pick(active bool) *device {
	return u.pickBy(func(d *device) bool { return d.active == active })
}

// pickBy returns one of the user's devices that are so, nil if there is none.
func (u *user) pickBy(is func(*device) bool) *device {
	for _, d := range u.devices {
		if !d.gone && is(d) {
			return d
		}
	}
	return nil
}

// atMost reports whether fewer than a share, in percent, of the users are so.
func (w *World) atMost(percent int, is func(*user) bool) bool {
	n := 0
	for _, u := range w.users {
		if is(u) {
			n++
		}
	}
	return n*100 < percent*len(w.users)
}

func (w *World) mute(ctx context.Context, u *user) (string, error) {
	if len(u.muted) > 0 || u.grieves || u.pick(true) == nil || !w.atMost(25, func(u *user) bool { return len(u.muted) > 0 }) {
		return "", nil
	}
	categories := []string{CategoryLoss, CategoryRace, CategoryWin, CategoryLoss}
	c := categories[w.rng.IntN(len(categories))]
	return fmt.Sprintf("%s mutes %s", u.name, c), w.setMuted(ctx, u, []string{c})
}

func (w *World) unmute(ctx context.Context, u *user) (string, error) {
	if len(u.muted) == 0 {
		return "", nil
	}
	line := fmt.Sprintf("%s wants to hear of %s again", u.name, strings.Join(u.muted, ", "))
	return line, w.setMuted(ctx, u, nil)
}

func (w *World) setMuted(ctx context.Context, u *user, categories []string) error {
	acknowledged := w.cfg.Oracle.Muting(u.id, categories)
	if err := w.service.Mute(context.WithoutCancel(ctx), u.id, categories); err != nil {
		return err
	}
	acknowledged()
	u.muted = categories
	return nil
}

// hasLost reports whether the user has uninstalled the app from any device.
func (u *user) hasLost() bool {
	return slices.ContainsFunc(u.devices, func(d *device) bool { return d.gone })
}

// uninstall removes the app from a device that FCM reaches: FCM says so when it
// is next sent to.
func (w *World) uninstall(_ context.Context, u *user) (string, error) {
	d := u.pickBy(func(d *device) bool { return d.active && d.Kind == KindFCM })
	if d == nil || len(u.devices) < 2 || !w.atMost(20, (*user).hasLost) {
		return "", nil
	}
	w.cfg.Oracle.Died(d.Token)
	w.cfg.Targets.Unregister(d.Token)
	d.gone = true
	return fmt.Sprintf("%s uninstalls the app from %s: its token is dead, and nobody tells the service", u.name, d.ID), nil
}

// rotate gives the app a new target; the old one ends. FCM gives new tokens now
// and then. Ably renews a device's token behind its id, but an app whose data
// was cleared registers anew.
func (w *World) rotate(ctx context.Context, u *user) (string, error) {
	d := u.pick(true)
	if d == nil {
		return "", nil
	}
	old := d.Token
	d.Token = w.mint(d)
	if err := w.present(ctx, d, u); err != nil {
		return "", err
	}
	w.cfg.Oracle.Died(old)
	if d.Kind == KindAbly {
		w.cfg.Ably.RemoveDevice(old)
		return fmt.Sprintf("%s of %s has registered with Ably anew", d.ID, u.name), nil
	}
	w.cfg.Targets.Unregister(old)
	return fmt.Sprintf("%s of %s has a new token", d.ID, u.name), nil
}

func (w *World) deactivate(ctx context.Context, u *user) (string, error) {
	d := u.pick(true)
	if d == nil || !w.atMost(25, func(u *user) bool { return u.pick(false) != nil }) {
		return "", nil
	}
	acknowledged := w.cfg.Oracle.Deactivating(d.ID)
	if err := w.service.Deactivate(context.WithoutCancel(ctx), u.id, d.ID); err != nil {
		return "", err
	}
	acknowledged()
	d.active = false
	return fmt.Sprintf("%s deactivates %s: nothing goes there from now on", u.name, d.ID), nil
}

func (w *World) comeBack(ctx context.Context, u *user) (string, error) {
	d := u.pick(false)
	if d == nil {
		return "", nil
	}
	return fmt.Sprintf("%s activates %s again", u.name, d.ID), w.present(ctx, d, u)
}

// join activates one more device, perhaps the user's first.
func (w *World) join(ctx context.Context, u *user) (string, error) {
	if len(u.devices) >= 3 {
		return "", nil
	}
	d := w.newDevice(u)
	if err := w.activate(ctx, d, u); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s activates %s", u.name, d.ID), nil
}

// handOver gives a device to another user, who signs in on it: what was meant
// for the former user must not appear there.
func (w *World) handOver(ctx context.Context, u *user) (string, error) {
	d := u.pick(true)
	if d == nil || len(u.devices) < 2 {
		return "", nil
	}
	to := w.users[w.rng.IntN(len(w.users))]
	if to == u || len(to.devices) == 0 || len(to.devices) >= 3 || !w.quiet(to) {
		return "", nil
	}
	if err := w.present(ctx, d, to); err != nil {
		return "", err
	}
	u.devices = slices.DeleteFunc(u.devices, func(x *device) bool { return x == d })
	to.devices = append(to.devices, d)
	d.user = to
	return fmt.Sprintf("%s gives %s to %s", u.name, d.ID, to.name), nil
}
