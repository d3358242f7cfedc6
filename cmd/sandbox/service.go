package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/notifier"
)

// schedules are what the sandbox changes in the built-in rules, so that there is
// something to see within seconds.
const (
	sandboxSchedule   = "@every 1s"
	sandboxJitter     = "0s"
	sandboxSweepEvery = "10s"
)

// sandboxRules returns the built-in rules with the sandbox's schedules, as the
// text of a rule file.
func sandboxRules() ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(notifier.BuiltinRules().YAML, &doc); err != nil {
		return nil, fmt.Errorf("read built-in rules: %w", err)
	}
	rules := child(doc.Content[0], "rules")
	for _, rule := range rules.Content {
		child(rule, "schedule").Value = sandboxSchedule
		if jitter := child(rule, "jitter"); jitter != nil {
			jitter.Value = sandboxJitter
		}
		if sweep := child(rule, "sweep"); sweep != nil {
			child(sweep, "every").Value = sandboxSweepEvery
		}
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, fmt.Errorf("write rules: %w", err)
	}
	return b.Bytes(), nil
}

// child returns a mapping's value, nil if it has none of that name.
func child(mapping *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// backends are what the service is pointed at.
type backends struct {
	ports               ports
	ksqlURL             string
	fcmURL              string
	project             string
	ablyURL, ablyKey    string
	credentials, secret []byte
	adminTokens         []byte
}

// ablyRate is below what Ably's Standard plan takes, which is what the stand-in
// takes too. The default is that of the Free plan, where 500 users cannot all be
// told of a race before it starts.
const ablyRate = 300

// serviceYAML are the keys of the service's configuration that the sandbox
// sets; everything else has its default.
type serviceYAML struct {
	Env    string `yaml:"env"`
	Listen string `yaml:"listen"`
	Admin  struct {
		Listen     string `yaml:"listen"`
		TokensFile string `yaml:"tokens_file"`
	} `yaml:"admin"`
	Database struct {
		URL string `yaml:"url"`
	} `yaml:"database"`
	KSQLDB struct {
		URL string `yaml:"url"`
	} `yaml:"ksqldb"`
	Auth struct {
		SecretFile string `yaml:"secret_file"`
	} `yaml:"auth"`
	FCM struct {
		ProjectID       string `yaml:"project_id"`
		CredentialsFile string `yaml:"credentials_file"`
		URL             string `yaml:"url"`
	} `yaml:"fcm"`
	Ably struct {
		KeyFile string  `yaml:"key_file"`
		URL     string  `yaml:"url"`
		Rate    float64 `yaml:"rate"`
	} `yaml:"ably"`
	RulesFile string `yaml:"rules_file"`
}

// newSecret returns a secret for the users' tokens.
func newSecret() []byte { return []byte(rand.Text() + rand.Text()) }

// writeConfig writes the service's files into dir, and returns the text of the
// configuration and the configuration as `bugle serve --config` would load it.
func writeConfig(dir string, b backends) (string, config.Config, error) {
	rules, err := sandboxRules()
	if err != nil {
		return "", config.Config{}, err
	}
	files := map[string][]byte{"rules.yaml": rules, "firebase.json": b.credentials, "auth-secret": b.secret, "ably-key": []byte(b.ablyKey), "admin-tokens": b.adminTokens}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", config.Config{}, fmt.Errorf("write configuration: %w", err)
		}
	}
	path := func(name string) string { return filepath.ToSlash(filepath.Join(dir, name)) }
	var c serviceYAML
	c.Env = string(config.Dev) // http:// to ksqlDB and Ably, and another FCM, need it
	c.Listen, c.Admin.Listen = b.ports.api, b.ports.admin
	c.Admin.TokensFile = path("admin-tokens")
	c.Database.URL = "sqlite:" + path("bugle.db")
	c.KSQLDB.URL = b.ksqlURL
	c.Auth.SecretFile = path("auth-secret")
	c.FCM.ProjectID, c.FCM.CredentialsFile, c.FCM.URL = b.project, path("firebase.json"), b.fcmURL
	c.Ably.KeyFile, c.Ably.URL, c.Ably.Rate = path("ably-key"), b.ablyURL, ablyRate
	c.RulesFile = path("rules.yaml")
	text, err := yaml.Marshal(c)
	if err != nil {
		return "", config.Config{}, fmt.Errorf("marshal configuration: %w", err)
	}
	file := filepath.Join(dir, "bugle.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", config.Config{}, fmt.Errorf("write configuration: %w", err)
	}
	// No environment: a sandbox must not read the operator's BUGLE_ variables.
	cfg, err := config.Load(config.Options{File: file, Needs: config.Service()})
	if err != nil {
		return "", config.Config{}, fmt.Errorf("load sandbox configuration: %w", err)
	}
	return string(text), cfg, nil
}
