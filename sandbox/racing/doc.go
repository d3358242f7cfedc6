// Package racing is a small honest world that bets on races, and the oracle
// that knows what had to be announced to whom.
//
// The [World] is seeded. Races are entered, run, get postponed or abandoned;
// users activate devices through the service's own API, half of them reached by
// FCM and half by Ably push, bet, mute, deactivate, uninstall and change phones;
// bets settle, some rows become visible late, and stewards change results
// afterwards. Two ksqlDB views, SETTLED_BETS and UPCOMING_RACES, show it to
// whoever polls.
//
// The [Oracle] hears every fact from the world, just before the fact becomes
// visible, and every message that a provider accepted. It keys what it expects
// by device, subject (a bet or a race) and revision of the outcome, and
// recognises messages by what an app would see, never by the ids of the service
// under test. What it cannot decide it names: nothing is forgiven silently.
//
// What the package refuses to do: it never reads the service's database, never
// retries a push, and never calls a message right because the service says so.
//
// Concurrency: World.Run is one goroutine; the views and the Oracle are safe for
// concurrent use. Time is time.Now, so that both run in a testing/synctest
// bubble.
//
// Invariant, tested: expected = accepted + excluded (each by name) + lost.
package racing
