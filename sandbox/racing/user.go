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
)

// Device is one installation of the app, as it activates itself.
type Device struct {
	ID       DeviceID
	Platform string // android, ios or web
	// Kind is the kind of the target, "fcm_token".
	Kind       string
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
	touched  time.Time // when something last became visible that concerns this user
}

// device is a Device and what its user has done to it.
type device struct {
	Device
	user   *user
	active bool
	gone   bool // uninstalled; never comes back
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
			locale: h.locale, zone: h.zone, currency: h.currency,
		}
	}
	return users
}

// newDevice gives the user one more device, not yet activated.
func (u *user) newDevice(rng *rand.Rand, t Targets) *device {
	platforms := []string{"android", "android", "ios", "ios", "web"}
	u.minted++
	p := platforms[rng.IntN(len(platforms))]
	d := &device{user: u, Device: Device{
		ID: DeviceID(fmt.Sprintf("%s-%s-%d", u.id, p, u.minted)), Platform: p,
		Kind: "fcm_token", Token: t.MintToken(p),
		Locale: u.locale, TimeZone: u.zone, AppVersion: fmt.Sprintf("4.%d.0", rng.IntN(12)),
	}}
	u.devices = append(u.devices, d)
	return d
}
