package racing

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// Service is the service under test as an app sees it. A call that returns nil
// has been acknowledged.
type Service interface {
	// Activate makes the device active for the user.
	Activate(ctx context.Context, user UserID, d Device) error
	// Deactivate stops everything to the device.
	Deactivate(ctx context.Context, user UserID, id DeviceID) error
	// Mute mutes exactly the categories for the user.
	Mute(ctx context.Context, user UserID, categories []string) error
	// State returns the state of one of the user's devices: active, inactive or
	// retired.
	State(ctx context.Context, user UserID, id DeviceID) (string, error)
}

// Targets is FCM as an app sees it.
type Targets interface {
	// MintToken registers an installation on a platform: android, ios or web.
	MintToken(platform string) string
	// Unregister makes a token dead.
	Unregister(token string)
}

// AblyDevices is Ably's registry of push devices as an app sees it.
type AblyDevices interface {
	// MintDevice registers an installation on a platform, for a client or for
	// nobody, and returns its id.
	MintDevice(clientID, platform string) string
	// RemoveDevice removes a registration: pushes to it are refused.
	RemoveDevice(id string)
	// KillDevice makes a registration's push token dead: pushes to it are
	// accepted, and only Ably's push log says that they failed.
	KillDevice(id string) error
}

// Config configures a World.
type Config struct {
	// Seed determines names, races, bets and what users do. The timing of the
	// service's answers is not part of it.
	Seed uint64
	// Users is the number of users. Zero means 40, who have about 60 devices.
	Users int
	// RaceEvery is the time between two starts. Zero means 20 s.
	RaceEvery time.Duration
	// Lead is how long before its start a race is entered: long enough for a
	// provider's backoff of 10 to 12 s. Zero means 26 s. The first race of a
	// run has at most 20 s, so that there is something to see.
	Lead time.Duration
	// LifeEvery is the mean time between two changes in users' lives (a mute,
	// an uninstall, a new phone). Zero means 3 s.
	LifeEvery time.Duration

	// Targets mints and kills the tokens of the devices that use FCM. Required.
	Targets Targets
	// Ably registers and kills the devices that use Ably push, about half of
	// all. Required.
	Ably AblyDevices
	// Oracle hears everything. Required.
	Oracle *Oracle
	// Market is where users bet. Nil means in the world itself, at the odds that a
	// race begins with.
	Market Market
	// Provisional makes the results of some races provisional for a few seconds, in
	// SETTLED_BETS_WITH_STATUS only. False: every result is final.
	Provisional bool
	// Tell takes the story, a line at a time. Nil keeps quiet.
	Tell func(line string)
}

func (c Config) withDefaults() (Config, error) {
	if c.Targets == nil || c.Ably == nil || c.Oracle == nil {
		return c, errors.New("a racing world needs both providers' targets and an oracle")
	}
	c.Users = cmp.Or(c.Users, 40)
	c.RaceEvery = cmp.Or(c.RaceEvery, 20*time.Second)
	c.Lead = cmp.Or(c.Lead, 26*time.Second)
	c.LifeEvery = cmp.Or(c.LifeEvery, 3*time.Second)
	if c.Users < 10 || c.RaceEvery < 5*time.Second || c.Lead < 20*time.Second || c.LifeEvery < 100*time.Millisecond {
		return c, errors.New("a racing world needs at least 10 users, 5 s between races, 20 s of lead and 100 ms between changes in lives")
	}
	if c.Tell == nil {
		c.Tell = func(string) {}
	}
	return c, nil
}
