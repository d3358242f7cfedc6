package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The databases of -db.
const (
	dbSQLite   = "sqlite"
	dbPostgres = "postgres"
)

// options are the flags.
type options struct {
	bugle    string
	rounds   int
	replicas int
	db       string
	seed     uint64
	rate     float64
	keep     bool
}

// parseOptions reads the flags. It prints what is wrong to stderr itself.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.bugle, "bugle", "", "the binary under test, which make build makes as bin/bugle; needed")
	f.IntVar(&o.rounds, "rounds", 3, "rounds of faults, 12 to 18 s each; one in ten is longer by a stop of 70 s, none of a run of three")
	f.IntVar(&o.replicas, "replicas", 0, "processes of bugle serve (default: 3, with sqlite 1, which takes no more)")
	f.StringVar(&o.db, "db", dbPostgres, "postgres (a throw-away cluster; its programs are looked for) or sqlite (one file)")
	f.Uint64Var(&o.seed, "seed", 1, "repeats the same plan of faults and the same world")
	f.Float64Var(&o.rate, "rate", 12, "settlements a second, 1 to 50")
	f.BoolVar(&o.keep, "keep", false, "keep the work folder although all went well")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if err := o.complete(f.Args()); err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
		return o, err
	}
	return o, nil
}

// complete fills in what depends on other flags, and checks them.
func (o *options) complete(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("chaos takes no arguments, only flags: %q", rest[0])
	case o.bugle == "":
		return errors.New("-bugle wants the binary under test: make build, then -bugle bin/bugle")
	case o.rounds < 1:
		return fmt.Errorf("-rounds wants at least 1, not %d", o.rounds)
	case o.db != dbSQLite && o.db != dbPostgres:
		return fmt.Errorf("-db wants sqlite or postgres, not %q", o.db)
	case o.rate < 1 || o.rate > 50:
		return fmt.Errorf("-rate wants 1 to 50, not %v", o.rate)
	}
	if o.replicas == 0 {
		if o.replicas = 3; o.db == dbSQLite {
			o.replicas = 1
		}
	}
	switch {
	case o.replicas < 1 || o.replicas > 9:
		return fmt.Errorf("-replicas wants 1 to 9, not %d", o.replicas)
	case o.db == dbSQLite && o.replicas > 1:
		return fmt.Errorf("-replicas wants 1 with sqlite, not %d: a file has one service", o.replicas)
	}
	path, err := filepath.Abs(o.bugle)
	if err != nil {
		return fmt.Errorf("find binary: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("find binary: %w", err)
	}
	o.bugle = path
	return nil
}
