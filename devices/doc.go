// Package devices is the domain of activated devices: who owns one, where it
// is reached, and what its user wants to hear about.
//
// A Device is one installation of the app, named by an id that the app chose.
// Its Target is where a provider reaches it (an FCM registration token, an
// Ably device id). A target is active on one device at a time, and each change
// of target starts a new generation, so that a late verdict about an old
// target cannot retire a new one.
//
// The package holds values and rules only: Activate and Deactivate say what a
// request comes to, and devices/sqldevices stores it in one transaction.
//
// It refuses input that can never work (Activation.Validate), ids that would
// step out of a path, and an Ably client id other than the user's own. It does
// not ask a provider whether a target lives: only a send can tell.
//
// Everything here is a value or a pure function, safe for concurrent use.
// Errors carry a fault.Kind. Invariants: a (provider, target value) is active on
// one device at a time; a generation never decreases; no error, log line or
// JSON text holds a target's value.
package devices
