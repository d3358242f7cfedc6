package main

import (
	"fmt"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/sandbox/setup"
)

// ablyRate is below what Ably's Standard plan takes, which is what the stand-in
// takes too. The default is that of the Free plan, where 500 users cannot all be
// told of a race before it starts.
const ablyRate = 300

// writeConfig writes the service's files into dir, and returns the text of the
// configuration and the configuration as `bugle serve --config` would load it.
func writeConfig(dir string, b setup.Backends) (string, config.Config, error) {
	b.Ably.Rate = ablyRate
	file, text, err := setup.Write(dir, b)
	if err != nil {
		return "", config.Config{}, err
	}
	// No environment: a sandbox must not read the operator's BUGLE_ variables.
	cfg, err := config.Load(config.Options{File: file, Needs: config.Service()})
	if err != nil {
		return "", config.Config{}, fmt.Errorf("load sandbox configuration: %w", err)
	}
	return text, cfg, nil
}
