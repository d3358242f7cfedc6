// Package config reads Bugle's configuration: one YAML file, overridden by
// environment variables, into a typed, checked Config.
//
// The struct Config is the single source of everything else: the names of the
// environment variables, the reference in docs/configuration.md and the check
// for unknown keys are derived from its fields and tags.
//
// It refuses what would be wrong in silence. Unknown keys and variables,
// values of the wrong kind, missing requirements, unreadable secret files and
// insecure settings outside of `env: dev` are reported all at once, as one
// *fault.Error of kind Invalid with a Field for each. No error and no printed
// form of a Config contains a secret.
//
// The package reads the files that the configuration names, once, in Load. It
// opens no connection, starts nothing and keeps no state.
package config
