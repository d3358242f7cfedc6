package racing

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// UserID names a user: the subject of the app's token.
type UserID string

// DeviceID names a device: the id that the app chose.
type DeviceID string

// Categories that a user of the built-in rules can mute.
const (
	CategoryWin  = "win"
	CategoryLoss = "loss"
	CategoryRace = "race"
	CategoryBet  = "bet"
)

// Kinds of targets.
const (
	KindFCM  = "fcm_token"
	KindAbly = "ably_device"
)

// Device is one installation of the app, as it activates itself.
type Device struct {
	ID       DeviceID
	Platform string // android, ios or web
	// Kind is the kind of the target, KindFCM or KindAbly.
	Kind string
	// Token is the target: FCM's registration token, or Ably's device id.
	Token      string
	Locale     string
	TimeZone   string
	AppVersion string
}

// user is one user of the world.
type user struct {
	id       UserID
	name     string
	currency string
	locale   string
	zone     string
	muted    []string
	devices  []*device
	minted   int       // devices ever had, for their ids
	likes    int       // the provider of the first device: 0 FCM, 1 Ably
	touched  time.Time // when something last became visible that concerns this user
	// grieves says that an Ably target of the user's is dead and the service has
	// not noticed yet.
	grieves bool
}

// device is a Device and what its user has done to it.
type device struct {
	Device
	user   *user
	active bool
	gone   bool      // uninstalled; never comes back
	since  time.Time // when it was last activated
}

// home is where a user lives.
type home struct{ locale, zone, currency string }

// newUsers makes up n users; their devices come when they activate them.
func newUsers(rng *rand.Rand, n int) []*user {
	names := []string{
		"Ada", "Ben", "Cleo", "Dev", "Emil", "Fay", "Gus", "Hana", "Iris", "Jon", "Kai", "Lena", "Milo",
		"Nia", "Otto", "Pia", "Quinn", "Rosa", "Sam", "Tara", "Udo", "Vera", "Will", "Xenia", "Yuri", "Zoe",
	}
	homes := []home{
		{"en-GB", "Europe/London", "GBP"},
		{"en-GB", "Europe/London", "GBP"},
		{"en-IE", "Europe/Dublin", "EUR"},
		{"de-DE", "Europe/Berlin", "EUR"},
		{"de-AT", "Europe/Vienna", "EUR"},
		{"fr-FR", "Europe/Paris", "EUR"},
		{"en-US", "America/New_York", "GBP"},
		{"en-AU", "Australia/Sydney", "GBP"},
		{"", "", "GBP"},
	}
	users := make([]*user, n)
	for i := range users {
		h := homes[rng.IntN(len(homes))]
		name := names[i%len(names)]
		if i >= len(names) {
			name += fmt.Sprintf(" %d", i/len(names)+1)
		}
		users[i] = &user{
			id: UserID(fmt.Sprintf("user-%03d", i+1)), name: name,
			locale: h.locale, zone: h.zone, currency: h.currency, likes: rng.IntN(2),
		}
	}
	return users
}

// newDevice gives the user one more device, not yet activated. A user's devices
// use FCM and Ably by turns.
func (w *World) newDevice(u *user) *device {
	platforms := []string{"android", "android", "ios", "ios", "web"}
	u.minted++
	d := &device{user: u, Device: Device{
		Platform: platforms[w.rng.IntN(len(platforms))], Kind: KindFCM,
		Locale: u.locale, TimeZone: u.zone, AppVersion: fmt.Sprintf("4.%d.0", w.rng.IntN(12)),
	}}
	if (u.minted+u.likes)%2 == 0 {
		d.Kind = KindAbly
	}
	d.ID = DeviceID(fmt.Sprintf("%s-%s-%d", u.id, d.Platform, u.minted))
	d.Token = w.mint(d)
	u.devices = append(u.devices, d)
	return d
}

// mint registers an installation with its provider, as an app does before it
// activates, and returns the target. At Ably it registers for no client: the
// service reaches a device by its id, and a device may change hands.
func (w *World) mint(d *device) string {
	if d.Kind == KindAbly {
		return w.cfg.Ably.MintDevice("", d.Platform)
	}
	return w.cfg.Targets.MintToken(d.Platform)
}
