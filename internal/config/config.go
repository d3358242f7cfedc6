package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v3"

	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/relay"
)

// Env is where Bugle runs.
type Env string

// The environments.
const (
	// Prod refuses insecure options.
	Prod Env = "prod"
	// Dev permits them: for a developer's machine and the sandbox.
	Dev Env = "dev"
)

// Config is the whole configuration. Default returns one with its defaults;
// Load one that has been checked. The tags name the keys and explain them; a
// key tagged secret comes from the environment or a file of its own, never
// from the configuration file.
type Config struct {
	Env           Env                 `yaml:"env" doc:"prod or dev. dev permits insecure options: http:// to ksqlDB, another FCM address, http:// to Ably, to auth.jwks_url and to the Schema Registry, Kafka without TLS"`
	Listen        string              `yaml:"listen" doc:"address of the API for apps, host:port"`
	Admin         Admin               `yaml:"admin"`
	Database      Database            `yaml:"database"`
	KSQLDB        KSQLDB              `yaml:"ksqldb"`
	Auth          Auth                `yaml:"auth"`
	Limits        Limits              `yaml:"limits"`
	FCM           FCM                 `yaml:"fcm"`
	Ably          Ably                `yaml:"ably"`
	Kafka         Kafka               `yaml:"kafka"`
	Relay         []Relay             `yaml:"relay,omitempty" doc:"the topics whose records are published on Ably's channels, each with topic, channel, dead_letter and more: see relay.md. Without any nothing is published"`
	Odds          Odds                `yaml:"odds"`
	Bets          Bets                `yaml:"bets"`
	CORS          CORS                `yaml:"cors"`
	Categories    map[string]Category `yaml:"categories,omitempty" doc:"what is known of a category of notifications, by name: opt_in: true keeps it off until a user chooses it"`
	QuietHours    QuietHours          `yaml:"quiet_hours"`
	FrequencyCaps []FrequencyCap      `yaml:"frequency_caps,omitempty" doc:"how often a user may be told something, all devices together: each cap has category (empty: all of them together), classes (empty: marketing and service), limit, per (1s to 28d) and over (drop, or delay until there is room). A notification must find room in each cap that counts it; corrections need none"`
	Suppressions  Suppressions        `yaml:"suppressions"`
	RulesFile     string              `yaml:"rules_file,omitempty" doc:"file with the rules to run instead of the built-in ones"`
	Rules         []any               `yaml:"rules,omitempty" doc:"the rules themselves, instead of rules_file"`
	Retention     Retention           `yaml:"retention"`
	Log           Log                 `yaml:"log"`

	// Origin is how Load made it, so that it can be read anew; nil when there was no file.
	Origin *Options `yaml:"-" json:"-"`
}

// Admin is the listener for operators: health, metrics and the admin API.
type Admin struct {
	Listen     string `yaml:"listen" doc:"address of the listener for operators, host:port: /admin/v1, /metrics, /healthz, /readyz. Keep it private"`
	TokensFile string `yaml:"tokens_file,omitempty" example:"/var/lib/bugle/admin-tokens" doc:"file with the hashes of the operators' tokens, which bugle admin-token writes and the service reads again when it changes; without it /admin/v1 answers nobody"`
}

// Database is where Bugle keeps its state.
type Database struct {
	URL            string `yaml:"url,omitempty" example:"sqlite:/var/lib/bugle/bugle.db" doc:"the database: sqlite:FILE, or postgres://USER@HOST/NAME (14 or newer) for several replicas"`
	Password       Secret `yaml:"password,omitempty" secret:"password_file" doc:"password that belongs to the user in a postgres:// URL"`
	PasswordFile   string `yaml:"password_file,omitempty" example:"/run/secrets/database-password" doc:"file with the password"`
	MaxConnections int    `yaml:"max_connections" doc:"most connections of one replica to PostgreSQL; all replicas together must stay below the server's own max_connections"`
}

// KSQLDB is the server that the rules query.
type KSQLDB struct {
	URL          string `yaml:"url,omitempty" example:"https://pksqlc-xxxxx.europe-west1.gcp.confluent.cloud:443" doc:"URL of the ksqlDB server"`
	Username     string `yaml:"username,omitempty" doc:"user for Basic authentication; on Confluent Cloud the API key of the ksqlDB cluster"`
	Password     Secret `yaml:"password,omitempty" secret:"password_file" doc:"password that belongs to username; on Confluent Cloud the API secret"`
	PasswordFile string `yaml:"password_file,omitempty" example:"/run/secrets/ksqldb-password" doc:"file with the password"`
	CAFile       string `yaml:"ca_file,omitempty" doc:"PEM file with the certificate authorities to trust instead of the system's"`

	// CA holds what CAFile contains, after Load.
	CA []byte `yaml:"-"`
}

// Auth is how apps prove which user they act for: a JSON Web Token whose subject
// is the user, signed with a shared secret or with one of the keys that an
// issuer publishes. Exactly one of the two is given.
type Auth struct {
	Secret     Secret `yaml:"secret,omitempty" secret:"secret_file" doc:"the secret that signs the apps' tokens (HS256), at least 32 bytes"`
	SecretFile string `yaml:"secret_file,omitempty" example:"/run/secrets/auth-secret" doc:"file with the secret"`
	JWKSURL    string `yaml:"jwks_url,omitempty" example:"https://login.example.com/.well-known/jwks.json" doc:"where the issuer publishes the keys that sign the apps' tokens (JWKS: RS256, PS256, ES256, EdDSA), instead of a secret"`
	Issuer     string `yaml:"issuer,omitempty" doc:"the iss claim that a token must have; empty for any"`
	Audience   string `yaml:"audience,omitempty" doc:"the aud claim that a token must have; empty for any"`
}

// FCM is Firebase Cloud Messaging.
type FCM struct {
	ProjectID       string  `yaml:"project_id,omitempty" example:"my-firebase-project" doc:"id of the Firebase project"`
	Credentials     Secret  `yaml:"credentials,omitempty" secret:"credentials_file" doc:"key of the service account, as JSON"`
	CredentialsFile string  `yaml:"credentials_file,omitempty" example:"/run/secrets/firebase.json" doc:"JSON file with the key of the service account"`
	URL             string  `yaml:"url,omitempty" doc:"base URL of another FCM, such as the sandbox's; only with env: dev"`
	Rate            float64 `yaml:"rate" doc:"most messages a second, of all replicas together. Google's default quota is 600,000 a minute for a project, which is 10,000 a second; stay below"`
	InFlight        int     `yaml:"in_flight" doc:"most messages in flight at once on each lane: about rate times FCM's latency in seconds"`
}

// Ably is Ably's push notifications, and the channels that the relay publishes
// on. Without a key nothing is sent through either.
type Ably struct {
	Key      Secret  `yaml:"key,omitempty" secret:"key_file" doc:"API key with the capability push-admin, and subscribe and history on [meta]log:push, for devices that are reached through Ably; with relay also publish on its channels"`
	KeyFile  string  `yaml:"key_file,omitempty" example:"/run/secrets/ably-key" doc:"file with the API key; without a key nothing is sent through Ably"`
	URL      string  `yaml:"url,omitempty" doc:"base URL of another Ably, such as a dedicated cluster's; http:// only with env: dev"`
	Rate     float64 `yaml:"rate" doc:"most pushes a second, of all replicas together. Each is one API request, of which Ably's plans allow 50 (Free), 362 (Standard) or 1,447 (Pro) a second; stay below"`
	InFlight int     `yaml:"in_flight" doc:"most pushes in flight at once on each lane: about rate times Ably's latency in seconds"`

	ChannelRate     float64 `yaml:"channel_rate" doc:"most relayed messages a second on one channel. Ably takes 50; stay below"`
	MessageRate     float64 `yaml:"message_rate" doc:"most relayed messages a second of one replica. Ably's plans take 500 (Free), 2,500 (Standard) or 10,000 (Pro) of the whole account, whoever publishes them"`
	RequestRate     float64 `yaml:"request_rate" doc:"most API requests a second that one replica makes for the relay; each message is one. With rate, and what other replicas make, stay below the plan's 50, 362 or 1,447"`
	MaxMessageBytes int     `yaml:"max_message_bytes" doc:"most bytes of a relayed message, name and headers included: 65536 on the Free and Standard plans, 262144 on Pro"`

	TokenKey     Secret   `yaml:"token_key,omitempty" secret:"token_key_file" doc:"API key that signs the apps' tokens for Ably (POST /v1/ably/token), whose capability bounds theirs: subscribe and history on the odds, publish and presence on inbound:betting:*, push-subscribe; without it ably.key"`
	TokenKeyFile string   `yaml:"token_key_file,omitempty" example:"/run/secrets/ably-token-key" doc:"file with that API key"`
	TokenTTL     Duration `yaml:"token_ttl" doc:"how long such a token is good. 1m to 24h; Ably allows 1h for a key whose tokens can be revoked"`
	TokenOdds    string   `yaml:"token_odds" doc:"the channels that such a token may read odds from, as a resource of Ably's capabilities"`
}

// TokenSecret is the key that signs the apps' tokens for Ably; empty for none.
func (a Ably) TokenSecret() Secret {
	if a.TokenKey != "" {
		return a.TokenKey
	}
	return a.Key
}

// Enabled tells whether anything is sent through Ably.
func (a Ably) Enabled() bool { return a.Key != "" }

// Kafka is the cluster that odds come from and bets go to. Without brokers there
// is no relay.
type Kafka struct {
	Brokers      []string `yaml:"brokers,omitempty" example:"[pkc-xxxxx.europe-west1.gcp.confluent.cloud:9092]" doc:"brokers to begin with, host:port; without them nothing is relayed"`
	TLS          bool     `yaml:"tls" doc:"encrypt the connections to the brokers; false only with env: dev"`
	CAFile       string   `yaml:"ca_file,omitempty" doc:"PEM file with the certificate authorities to trust instead of the system's"`
	SASL         string   `yaml:"sasl,omitempty" doc:"PLAIN (Confluent Cloud), SCRAM-SHA-256 or SCRAM-SHA-512; empty when the brokers ask for no password"`
	Username     string   `yaml:"username,omitempty" doc:"user for SASL; on Confluent Cloud the API key of the Kafka cluster"`
	Password     Secret   `yaml:"password,omitempty" secret:"password_file" doc:"password that belongs to username; on Confluent Cloud the API secret"`
	PasswordFile string   `yaml:"password_file,omitempty" example:"/run/secrets/kafka-password" doc:"file with the password"`

	Group          string         `yaml:"group" doc:"consumer group of the relay, which its replicas share"`
	SchemaRegistry SchemaRegistry `yaml:"schema_registry"`

	// CA holds what CAFile contains, after Load.
	CA []byte `yaml:"-"`
}

// Relay is a topic whose records are published on Ably's channels. Its keys are
// explained in docs/relay.md.
type Relay struct {
	Topic      string   `yaml:"topic" doc:"the topic to read"`
	Channel    string   `yaml:"channel" doc:"the channel of a record, with placeholders: outbound:odds:#{key}"`
	Name       string   `yaml:"name,omitempty" doc:"the name of the messages, with placeholders; none when empty"`
	Conflate   *bool    `yaml:"conflate,omitempty" doc:"whether a newer record of a channel replaces one that waits; true when not said"`
	MaxAge     Duration `yaml:"max_age,omitempty" doc:"records that are older when their turn comes are not published; 0 publishes them all the same"`
	Headers    []string `yaml:"headers,omitempty" doc:"record headers that become extras.headers of the message"`
	Suspended  string   `yaml:"suspended,omitempty" doc:"where a record marks a suspended market: value.suspended, header.state=SUSPENDED|CLOSED"`
	DeadLetter string   `yaml:"dead_letter" doc:"the topic for records that cannot be published"`
}

// Conflates tells whether a newer record replaces one that waits.
func (r Relay) Conflates() bool { return r.Conflate == nil || *r.Conflate }

// SchemaRegistry has the schemas of values in Confluent's wire format. Without a
// URL values are taken as they are.
type SchemaRegistry struct {
	URL          string `yaml:"url,omitempty" example:"https://psrc-xxxxx.europe-west1.gcp.confluent.cloud" doc:"URL of the Schema Registry, for topics whose values are Avro or JSON Schema; http:// only with env: dev"`
	Username     string `yaml:"username,omitempty" doc:"user for Basic authentication; on Confluent Cloud an API key of the Schema Registry, which is not the cluster's"`
	Password     Secret `yaml:"password,omitempty" secret:"password_file" doc:"password that belongs to username; on Confluent Cloud the API secret"`
	PasswordFile string `yaml:"password_file,omitempty" example:"/run/secrets/schema-registry-password" doc:"file with the password"`
	CAFile       string `yaml:"ca_file,omitempty" doc:"PEM file with the certificate authorities to trust instead of the system's"`

	// CA holds what CAFile contains, after Load.
	CA []byte `yaml:"-"`
}

// Enabled tells whether there is a Schema Registry.
func (s SchemaRegistry) Enabled() bool { return s.URL != "" }

// Odds are the newest odds of each event, which every replica reads from Kafka
// and serves to apps.
type Odds struct {
	Topic       string   `yaml:"topic,omitempty" example:"odds" doc:"topic with the odds: the key is the event, the newest record of a key is what is known of it. Without a topic none are served"`
	Public      bool     `yaml:"public" doc:"serve odds to anybody, without a token and to pages of any origin; a browser's EventSource cannot show a token"`
	MaxEvents   int      `yaml:"max_events" doc:"most events that are kept, of those with the latest updates"`
	MaxStreams  int      `yaml:"max_streams" doc:"most streams that are open at once on each replica; each is a connection and takes about 40 KiB"`
	ExpireAfter Duration `yaml:"expire_after" doc:"how long after its last record an event is forgotten. 1m to 365d"`
}

// Enabled tells whether odds are served.
func (o Odds) Enabled() bool { return o.Topic != "" }

// Enabled tells whether there is a Kafka at all.
func (k Kafka) Enabled() bool { return len(k.Brokers) > 0 }

// Bets is how the bets that users place on Ably come in.
type Bets struct {
	Enabled         bool   `yaml:"enabled" doc:"take Ably's webhooks at POST /v1/hooks/ably, and produce the bets to Kafka"`
	Topic           string `yaml:"topic" doc:"topic that bets are produced to"`
	DeadLetterTopic string `yaml:"dead_letter_topic" doc:"topic for messages on betting channels that are no bets, each with the reason in a header"`
	DefaultStake    string `yaml:"default_stake" doc:"stake of a bet that names none, in quotes: an amount with at most two decimals"`
	AllowAnonymous  bool   `yaml:"allow_anonymous" doc:"take bets whose publisher Ably does not know as the channel's user, and mark them authenticated: false; else they are dead letters"`
	SigningKeys     Secret `yaml:"signing_keys,omitempty" secret:"signing_keys_file" doc:"API keys that Ably may sign webhooks with, one a line (appId.keyId:secret), so that they can be replaced without a gap; without them ably.key"`
	SigningKeysFile string `yaml:"signing_keys_file,omitempty" example:"/run/secrets/ably-signing-keys" doc:"file with those keys"`
}

// CORS is which web pages may use the API for apps.
type CORS struct {
	AllowedOrigins []string `yaml:"allowed_origins,omitempty" example:"[https://bets.example.com]" doc:"origins whose pages may call the API for apps from a browser; without any, only those of the API's own origin"`
}

// Limits are how much the API for apps takes from one user and one address.
type Limits struct {
	PerUser        int      `yaml:"per_user" doc:"most requests a minute of one user, on each replica; 0 for no limit"`
	PerIP          int      `yaml:"per_ip" doc:"most requests a minute from one address, on each replica; 0 for no limit. A mobile carrier puts thousands of phones behind one address"`
	TrustedProxies []string `yaml:"trusted_proxies,omitempty" doc:"addresses or networks (10.0.0.0/8) of the proxies whose X-Forwarded-For is believed"`

	// Proxies holds what TrustedProxies says, after Load.
	Proxies []netip.Prefix `yaml:"-"`
}

// Retention is how long is kept what has ended.
type Retention struct {
	Deliveries Duration `yaml:"deliveries" doc:"how long finished deliveries are kept, with their attempts and the notifications that they were made of: the inbox and corrections reach back as far. 1d to 3650d"`
	Runs       Duration `yaml:"runs" doc:"how long finished runs and bad rows are kept. 1d to 3650d"`
}

// QuietHours are what becomes of notifications in the hours in which their users
// want to hear nothing.
type QuietHours struct {
	Loud   []string `yaml:"loud,omitempty" example:"[transactional]" doc:"classes of notifications that do not care for users' quiet hours: transactional, service, marketing. By default there are none: a user has asked for quiet"`
	Spread Duration `yaml:"spread" doc:"within which time after the end of their quiet hours notifications come that have waited for it, so that not all come at once; 0s to 1h"`
}

// Suppressions are where the list of who must not be sent to comes from, beside
// what operators say.
type Suppressions struct {
	Import SuppressionImport `yaml:"import"`
}

// SuppressionImport is a query whose result says who must not be sent to.
type SuppressionImport struct {
	Schedule  string `yaml:"schedule,omitempty" example:"\"@every 5m\"" doc:"when the query is read: \"@every 5m\", or a cron spec as in a rule"`
	Query     string `yaml:"query,omitempty" example:"SELECT user_id, reason FROM exclusions;" doc:"pull query for all of the list, with the columns user_id and reason, and where wanted class, from and until; without it nothing is imported. See operations.md"`
	MaxLifted int    `yaml:"max_lifted" doc:"most suppressions that one import takes off the list because they are not in the result any more, or lets stop less because it has an earlier end, a later begin or a smaller class; when there are more, it does so with none and fails. 0 does it with none ever"`
}

// Enabled tells whether there is an import.
func (s SuppressionImport) Enabled() bool { return s.Query != "" }

// FrequencyCap bounds how many notifications a user gets within a sliding window.
type FrequencyCap struct {
	Category string   `yaml:"category,omitempty" doc:"the category that is counted; empty for all of them together"`
	Classes  []string `yaml:"classes,omitempty" doc:"the classes that are counted; empty means marketing and service"`
	Limit    int      `yaml:"limit" doc:"the most notifications within the window"`
	Per      Duration `yaml:"per" doc:"the window"`
	Over     string   `yaml:"over" doc:"what becomes of one too many: drop, or delay until there is room"`
}

// Category is what is known of a category of notifications.
type Category struct {
	OptIn bool `yaml:"opt_in" doc:"off until a user chooses it"`
}

// Log is what is logged, and how.
type Log struct {
	Level  zerolog.Level `yaml:"level" doc:"trace, debug, info, warn or error"`
	Format string        `yaml:"format" doc:"json, or console for people"`
}

// The formats of the log.
const (
	FormatJSON    = "json"
	FormatConsole = "console"
)

// Default returns the configuration before anything has been said: loopback
// listeners, production, and nothing that is required.
func Default() Config {
	return Config{
		Env:      Prod,
		Listen:   "127.0.0.1:8080",
		Admin:    Admin{Listen: "127.0.0.1:8081"},
		Limits:   Limits{PerUser: 120, PerIP: 3000},
		Database: Database{MaxConnections: 16},
		FCM:      FCM{Rate: 1000, InFlight: 128},
		Ably:     Ably{Rate: 40, InFlight: 32, ChannelRate: 40, MessageRate: 400, RequestRate: 40, MaxMessageBytes: 64 << 10, TokenTTL: Duration(time.Hour), TokenOdds: "outbound:odds:*"},
		Kafka:    Kafka{TLS: true, Group: "bugle-relay"},
		Odds: Odds{
			MaxEvents: relay.DefaultMaxEvents, MaxStreams: relay.DefaultMaxStreams, ExpireAfter: Duration(relay.DefaultExpireAfter),
		},
		Bets:         Bets{Topic: "bets", DeadLetterTopic: "bets-dead-letters", DefaultStake: "1"},
		Retention:    Retention{Deliveries: Duration(notifier.DefaultRetention), Runs: Duration(notifier.DefaultRetention)},
		Suppressions: Suppressions{Import: SuppressionImport{MaxLifted: notifier.DefaultMaxLifted}},
		QuietHours:   QuietHours{Spread: Duration(notifier.DefaultSpread)},
		Log:          Log{Level: zerolog.InfoLevel, Format: FormatJSON},
	}
}

// RulesYAML returns Rules as the text of a rule file.
func (c Config) RulesYAML() ([]byte, error) {
	text, err := yaml.Marshal(map[string]any{"rules": c.Rules})
	if err != nil {
		return nil, fmt.Errorf("marshal rules: %w", err)
	}
	return text, nil
}

// YAML returns the effective configuration as a file that Load accepts, but
// for the secrets, of which only their presence is told.
func (c Config) YAML() (string, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(c.redacted()); err != nil {
		return "", fmt.Errorf("encode configuration: %w", err)
	}
	return b.String(), nil
}

// String returns what YAML returns.
func (c Config) String() string {
	text, err := c.YAML()
	if err != nil {
		return "configuration: " + err.Error()
	}
	return text
}

// GoString keeps secrets out of %#v.
func (c Config) GoString() string { return c.String() }

// redacted returns a copy without passwords in URLs and without secrets that
// came from a file that is named anyway. The other secrets hide themselves.
func (c Config) redacted() Config {
	c.Database.URL = redactURL(c.Database.URL)
	c.KSQLDB.URL = redactURL(c.KSQLDB.URL)
	c.FCM.URL = redactURL(c.FCM.URL)
	c.Ably.URL = redactURL(c.Ably.URL)
	c.Auth.JWKSURL = redactURL(c.Auth.JWKSURL)
	c.Kafka.SchemaRegistry.URL = redactURL(c.Kafka.SchemaRegistry.URL)
	for _, s := range c.secrets() {
		if *s.file != "" {
			*s.value = ""
		}
	}
	return c
}

// secretKey is a secret and the file that it may come from.
type secretKey struct {
	path  string
	value *Secret
	file  *string
}

func (c *Config) secrets() []secretKey {
	return []secretKey{
		{"database.password", &c.Database.Password, &c.Database.PasswordFile},
		{"ksqldb.password", &c.KSQLDB.Password, &c.KSQLDB.PasswordFile},
		{"auth.secret", &c.Auth.Secret, &c.Auth.SecretFile},
		{"fcm.credentials", &c.FCM.Credentials, &c.FCM.CredentialsFile},
		{"ably.key", &c.Ably.Key, &c.Ably.KeyFile},
		{"ably.token_key", &c.Ably.TokenKey, &c.Ably.TokenKeyFile},
		{"kafka.password", &c.Kafka.Password, &c.Kafka.PasswordFile},
		{"bets.signing_keys", &c.Bets.SigningKeys, &c.Bets.SigningKeysFile},
		{"kafka.schema_registry.password", &c.Kafka.SchemaRegistry.Password, &c.Kafka.SchemaRegistry.PasswordFile},
	}
}
