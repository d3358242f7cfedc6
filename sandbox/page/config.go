package page

import (
	"time"
)

// Config configures [Start].
type Config struct {
	// Addr is where to listen, on a loopback address. Empty means a free port.
	Addr string
	// Document is what the page is told. Its addresses are required.
	Document Document
	// Host makes guests. Nil: the Document has a token, and there is no phone to
	// be seen.
	Host Host
	// Guests is how many guests there may be. One more takes the place of a guest
	// who has been away for Away, or is told that there is no room. Zero means 24.
	Guests int
	// Away is how long a guest must have had no page open to lose the place to
	// another one. Zero means 2 minutes.
	Away time.Duration
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Host makes somebody at home whom nobody knows yet.
type Host interface {
	// Welcome returns guest number n, from 1. It is called once for each number.
	Welcome(n int) (Guest, error)
	// Farewell hears that a guest has lost the place: the app is gone from the phone.
	Farewell(g Guest)
}

// Guest is a user with a phone of their own.
type Guest struct {
	// User is the user's id.
	User string `json:"user"`
	// Token is the user's token for the API.
	Token string `json:"token"`
	// Device is the user's phone.
	Device Device `json:"device"`
}

// Race is something that can be bet on, as the app's own backend knows it.
type Race struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Course   string     `json:"course,omitempty"`
	StartsAt *time.Time `json:"starts_at,omitempty"` // nil: nobody has said
	// Status is SCHEDULED, OFF, POSTPONED or ABANDONED; empty is SCHEDULED.
	Status string `json:"status,omitempty"`
	// Winner is empty until the race has come out.
	Winner string `json:"winner,omitempty"`
}

// Push is a message that a phone has got from FCM.
type Push struct {
	Title string            `json:"title"`
	Body  string            `json:"body"`
	Tag   string            `json:"tag,omitempty"` // one of the same tag takes its place on screen
	Data  map[string]string `json:"data"`
	At    time.Time         `json:"at"`
}

// Bounds of what is kept for pages that come back.
const (
	keptPushes = 20 // of each phone
	keptRaces  = 30
	// maxStreams is how many streams a guest may have: a page that reconnects has two
	// for a moment.
	maxStreams = 4
)
