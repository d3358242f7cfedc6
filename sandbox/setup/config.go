package setup

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"
)

// Backends are what the service is pointed at, and where it listens.
type Backends struct {
	// Listen and AdminListen are host:port; port 0 is any free one.
	Listen, AdminListen string
	// Database is a database.url. Empty means an SQLite file in the directory.
	Database string
	KSQLDB   string
	FCM      FCM
	Ably     Ably
	// Kafka is a broker, host:port. Empty means that there is none: nothing is
	// relayed and no bets are taken.
	Kafka string
	// DefaultStake is what a bet without a stake is taken for, "2.00".
	DefaultStake string
	// MaxAge is how old odds may be when they are published; zero means OddsMaxAge.
	MaxAge time.Duration
	// Secret signs the users' tokens; see NewSecret.
	Secret []byte
	// Provisional makes bet-settled hold provisional results: see HoldProvisional.
	Provisional bool
	// AdminTokens is what the file of the operators' tokens holds.
	AdminTokens []byte
	// Origins are those of the pages that may call the API from a browser.
	Origins []string
}

// FCM is the stand-in for FCM, and how hard it may be driven: zero is the
// service's default.
type FCM struct {
	URL, Project string
	Credentials  []byte
	Rate         float64
	InFlight     int
}

// Ably is the stand-in for Ably, and how hard it may be driven: zero is the
// service's default.
type Ably struct {
	URL, Key string
	Rate     float64
	InFlight int
}

// What a sandbox says about the way between Ably and Kafka.
const (
	// OddsTopic is served by the API, and relayed to the channels OddsChannel; what
	// cannot be goes to OddsDeadLetters.
	OddsTopic       = "odds"
	OddsChannel     = "outbound:odds:#{key}"
	OddsDeadLetters = "odds-dead-letters"
	// OddsMaxAge is how old odds may be when they are published.
	OddsMaxAge = 10 * time.Second
	// OddsSuspended is where a snapshot of a race that takes no bets is marked.
	OddsSuspended = "header.suspended"
)

// relayYAML is one topic that is relayed.
type relayYAML struct {
	Topic      string `yaml:"topic"`
	Channel    string `yaml:"channel"`
	MaxAge     string `yaml:"max_age"`
	Suspended  string `yaml:"suspended"`
	DeadLetter string `yaml:"dead_letter"`
}

// betsYAML is how bets come in. Webhooks are signed, and users' tokens for Ably
// too, with the key of ably.key_file.
type betsYAML struct {
	Enabled      bool   `yaml:"enabled"`
	DefaultStake string `yaml:"default_stake"`
}

// oddsYAML is where local odds are read from.
type oddsYAML struct {
	Topic string `yaml:"topic"`
}

// corsYAML is whose pages may call the API.
type corsYAML struct {
	AllowedOrigins []string `yaml:"allowed_origins,flow"`
}

// kafkaYAML is how Kafka is reached.
type kafkaYAML struct {
	Brokers []string `yaml:"brokers"`
	TLS     bool     `yaml:"tls"`
}

// serviceYAML are the keys of the service's configuration that a sandbox sets;
// everything else has its default.
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
		ProjectID       string  `yaml:"project_id"`
		CredentialsFile string  `yaml:"credentials_file"`
		URL             string  `yaml:"url"`
		Rate            float64 `yaml:"rate,omitempty"`
		InFlight        int     `yaml:"in_flight,omitempty"`
	} `yaml:"fcm"`
	Ably struct {
		KeyFile  string  `yaml:"key_file"`
		URL      string  `yaml:"url"`
		Rate     float64 `yaml:"rate,omitempty"`
		InFlight int     `yaml:"in_flight,omitempty"`
	} `yaml:"ably"`
	Kafka     *kafkaYAML  `yaml:"kafka,omitempty"`
	Relay     []relayYAML `yaml:"relay,omitempty"`
	Odds      *oddsYAML   `yaml:"odds,omitempty"`
	Bets      *betsYAML   `yaml:"bets,omitempty"`
	CORS      *corsYAML   `yaml:"cors,omitempty"`
	RulesFile string      `yaml:"rules_file"`
}

// NewSecret returns a secret for the users' tokens.
func NewSecret() []byte { return []byte(rand.Text() + rand.Text()) }

// Write writes the service's files into the directory, and returns the name and
// the text of its configuration. Secrets have files of their own.
func Write(dir string, b Backends) (name, text string, err error) {
	rules, err := Rules()
	if err != nil {
		return "", "", err
	}
	if b.Provisional {
		if rules, err = HoldProvisional(rules); err != nil {
			return "", "", err
		}
	}
	files := map[string][]byte{"rules.yaml": rules, "firebase.json": b.FCM.Credentials, "auth-secret": b.Secret, "ably-key": []byte(b.Ably.Key), "admin-tokens": b.AdminTokens}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", "", fmt.Errorf("write configuration: %w", err)
		}
	}
	path := func(name string) string { return filepath.ToSlash(filepath.Join(dir, name)) }
	var c serviceYAML
	c.Env = "dev" // http:// to ksqlDB and Ably, and another FCM, need it
	c.Listen, c.Admin.Listen = b.Listen, b.AdminListen
	c.Admin.TokensFile = path("admin-tokens")
	if c.Database.URL = b.Database; b.Database == "" {
		c.Database.URL = "sqlite:" + path("bugle.db")
	}
	c.KSQLDB.URL = b.KSQLDB
	c.Auth.SecretFile = path("auth-secret")
	c.FCM.ProjectID, c.FCM.CredentialsFile, c.FCM.URL = b.FCM.Project, path("firebase.json"), b.FCM.URL
	c.FCM.Rate, c.FCM.InFlight = b.FCM.Rate, b.FCM.InFlight
	c.Ably.KeyFile, c.Ably.URL = path("ably-key"), b.Ably.URL
	c.Ably.Rate, c.Ably.InFlight = b.Ably.Rate, b.Ably.InFlight
	if b.Kafka != "" {
		c.Kafka = &kafkaYAML{Brokers: []string{b.Kafka}}
		c.Odds = &oddsYAML{Topic: OddsTopic}
		c.Bets = &betsYAML{Enabled: true, DefaultStake: b.DefaultStake}
		c.Relay = []relayYAML{{
			Topic: OddsTopic, Channel: OddsChannel, MaxAge: cmp.Or(b.MaxAge, OddsMaxAge).String(), Suspended: OddsSuspended, DeadLetter: OddsDeadLetters,
		}}
	}
	if len(b.Origins) > 0 {
		c.CORS = &corsYAML{AllowedOrigins: b.Origins}
	}
	c.RulesFile = path("rules.yaml")
	out, err := yaml.Marshal(c)
	if err != nil {
		return "", "", fmt.Errorf("marshal configuration: %w", err)
	}
	name = filepath.Join(dir, "bugle.yaml")
	if err := os.WriteFile(name, out, 0o600); err != nil {
		return "", "", fmt.Errorf("write configuration: %w", err)
	}
	return name, string(out), nil
}
