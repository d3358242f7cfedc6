// Package setup writes what the service under test is started with in a
// sandbox: a configuration that points it at stand-ins, and the built-in rules
// with schedules that are fast enough to watch.
//
// It knows the names of the configuration's keys and the shape of a rule file,
// as somebody does who has read their documentation, and nothing else of the
// service. It starts nothing and keeps no state.
package setup
