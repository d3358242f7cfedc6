// Package page is the sandbox's betting page: the demo's app, for a browser.
//
// A page activates and deactivates its phone with Bugle's API for apps, follows
// odds by Ably's server-sent events and bets by Ably's REST API, with a token
// that it gets from Bugle. Nothing of this package stands in between: it serves
// the files, says where everything is ([Document]), and plays two parts that an
// app finds elsewhere. It is the app's own backend, which knows the races
// ([Server.Show], [Server.Result]) and who has signed in (a guest for each tab,
// by the [Host]); and it is the phone's connection to FCM: what the stand-in
// accepted for a guest's phone ([Server.Push]) is passed on to the page, which
// shows it as a phone would.
//
// Without a Host it serves the page alone, for a Bugle and an Ably that the
// Document names.
//
// What it refuses: hosts that are not this machine, posts from other sites, more
// than [Config.Guests] guests. The page loads nothing from anywhere else and
// speaks with the two addresses of the Document only (Content-Security-Policy).
//
// Concurrency: every method is safe for concurrent use and none waits for a
// browser. Streams read what there is when they are ready, from buffers with a
// bound. [Server.Close] ends every stream and waits for what was started.
package page
