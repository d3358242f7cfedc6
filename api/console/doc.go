// Package console is what an operator's browser gets on the admin listener: pages
// that show what the admin API tells, and forms that do what it does.
//
// Pages are rendered here, from templates in the binary, and work without a
// script; one small script follows the overview and keeps times true. Nothing is
// built and nothing comes from another host (docs/adr/0008). The console calls
// the same operations as the admin API, never the API itself, so that both let
// the same people do the same things, under the same names in the audit.
//
// Run takes samples of this replica's metrics, of which the overview's charts are
// drawn, and draws the overview for those who follow it (GET /live/stream).
//
// A session is begun with an admin token and bound to it: it ends with the token,
// on sign-out, after an hour of rest, and with the process.
package console
