// Package notifier decides who is told what, once: it takes rows of a source
// through rules to deliveries, and deliveries through gates to a provider.
//
// A row's way to a phone, and the file where each step stands:
//
//	scheduler.go    a rule's nominal ticks, the same on all replicas
//	planner.go      one tick: read the rows, stage what is new, release it
//	draft.go        a row becomes a key, a version, an audience and an expiry
//	fanout.go       a released notification becomes deliveries
//	lane.go         deliveries are claimed, gated, sent
//	gate.go         may this delivery go, and if not, for which reason
//	provider.go     what the lanes of one provider share: pace, breaker, pause
//	recorder.go     what became of them is written down
//
// Beside that way stand rules.go (the rules in force, exchanged as a whole),
// inbox.go (what a user was told, to read again), janitor.go and retention.go
// (what is removed, and when), and control.go, preview.go,
// inspect.go and testsend.go, which operators use.
//
// rule.go, compile.go and template.go are the rules themselves: data, compiled
// and checked as a whole before anything starts.
//
// The package does no I/O of its own. It asks a Source for rows, a Ledger to
// write down, Senders to send, and a Retirer to take dead targets out of use;
// their packages are adapters. It never retries a send without having written
// down the first, never sends on a view of the device older than half a second,
// and never starts a send that could outlast its lease.
//
// Everything runs inside Notifier.Run and has ended when that returns. All
// exported types may be used concurrently.
package notifier
