package config

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/relay"
)

// Need is a part of Bugle that a caller is going to use.
type Need string

// The needs.
const (
	// NeedDatabase wants database.url.
	NeedDatabase Need = "database"
	// NeedKSQLDB wants ksqldb.url.
	NeedKSQLDB Need = "ksqldb"
	// NeedAuth wants the secret or the keys for the apps' tokens.
	NeedAuth Need = "auth"
	// NeedFCM wants the project and its credentials.
	NeedFCM Need = "fcm"
)

// Service lists everything that `bugle serve` needs.
func Service() []Need { return []Need{NeedDatabase, NeedKSQLDB, NeedAuth, NeedFCM} }

// minSecret is the least length of an HS256 secret: RFC 7518, section 3.2, asks
// for a key at least as long as the hash, 256 bits.
const minSecret = 32

// categoryName is what rules call categories.
var categoryName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

func (r *reader) check(c *Config, needs []Need) {
	if c.Env != Prod && c.Env != Dev {
		r.addf("env", "wants prod or dev")
	}
	r.listener("listen", c.Listen)
	r.listener("admin.listen", c.Admin.Listen)
	if c.Listen == c.Admin.Listen && !strings.HasSuffix(c.Listen, ":0") {
		r.addf("admin.listen", "is the same as listen: the two are served apart")
	}
	if c.Database.URL != "" {
		r.databaseURL(c.Database.URL)
	}
	if c.Database.Password+Secret(c.Database.PasswordFile) != "" && !strings.HasPrefix(c.Database.URL, "postgres") {
		r.addf("database.password_file", "has no use without a postgres:// URL")
	}
	if n := c.Database.MaxConnections; n < 4 || n > 1000 {
		r.addf("database.max_connections", "wants 4 to 1000")
	}
	r.readSecrets(c)
	r.ksqldb(c)
	r.auth(c)
	r.limits(c)
	r.fcm(c)
	r.ably(c)
	r.kafka(c)
	r.relay(c)
	r.bets(c)
	r.cors(c)
	r.schemaRegistry(c)
	r.odds(c)
	r.retention(c)
	r.suppressions(c)
	r.quietHours(c)
	r.frequencyCaps(c)
	for _, name := range slices.Sorted(maps.Keys(c.Categories)) {
		if !categoryName.MatchString(name) {
			r.addf("categories."+name, "wants a name of 1 to 64 of a-z, 0-9, _ and -")
		}
	}
	if c.RulesFile != "" && len(c.Rules) > 0 {
		r.addf("rules", "excludes rules_file: give one of the two")
	}
	if c.Log.Level < zerolog.TraceLevel || c.Log.Level > zerolog.ErrorLevel {
		r.addf("log.level", "wants trace, debug, info, warn or error")
	}
	if c.Log.Format != FormatJSON && c.Log.Format != FormatConsole {
		r.addf("log.format", "wants json or console")
	}
	r.missing(c, needs)
}

// missing reports what a need asks for and nothing gives.
func (r *reader) missing(c *Config, needs []Need) {
	want := func(need Need, path, value string, alternatives ...string) {
		if value != "" || !slices.Contains(needs, need) {
			return
		}
		for _, a := range alternatives {
			if slices.Contains(r.bad, a) {
				return // it was given, but could not be read
			}
		}
		keys := Keys()
		k := keys[slices.IndexFunc(keys, func(k Key) bool { return k.Path == path })]
		text := "missing: " + k.Doc
		if k.Example != "" {
			text += ", for example " + k.Example
		}
		if len(alternatives) > 0 {
			names := make([]string, len(alternatives))
			for i, a := range alternatives {
				names[i] = envName(a)
			}
			text += "; or set " + strings.Join(names, " or ")
		}
		r.addf(path, "%s", text)
	}
	want(NeedDatabase, "database.url", c.Database.URL)
	want(NeedKSQLDB, "ksqldb.url", c.KSQLDB.URL)
	want(NeedAuth, "auth.secret_file", c.Auth.Secret.Reveal()+c.Auth.JWKSURL, "auth.secret", "auth.jwks_url")
	want(NeedFCM, "fcm.project_id", c.FCM.ProjectID)
	want(NeedFCM, "fcm.credentials_file", c.FCM.Credentials.Reveal(), "fcm.credentials")
}

func envName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

func (r *reader) listener(path, addr string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		r.addf(path, "wants host:port, for example 127.0.0.1:8080")
		return
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		r.addf(path, "wants a port from 0 to 65535")
	}
	if strings.ContainsAny(host, " /") {
		r.addf(path, "wants host:port, without a scheme")
	}
}

func (r *reader) databaseURL(text string) {
	scheme, rest, _ := strings.Cut(text, ":")
	switch {
	case scheme == "postgres" || scheme == "postgresql":
		if u, err := url.Parse(text); err != nil || strings.Trim(u.Path, "/") == "" || u.Host == "" && u.Query().Get("host") == "" {
			r.addf("database.url", "wants postgres://USER:PASSWORD@HOST:5432/NAME?sslmode=verify-full, with special characters of the password escaped (%%40 for @)")
		}
	case scheme != "sqlite":
		// The URL may hold a password, so it is not repeated.
		r.addf("database.url", "wants sqlite:FILE, for example sqlite:/var/lib/bugle/bugle.db, or postgres://USER@HOST/NAME")
	case strings.Trim(rest, "/") == "":
		r.addf("database.url", "names no file: sqlite:/var/lib/bugle/bugle.db")
	case strings.ContainsAny(rest, "?#%"):
		r.addf("database.url", "wants a file name without ?, # and %%")
	}
}

// readSecrets fills secrets and certificates from the files that are named.
func (r *reader) readSecrets(c *Config) {
	for _, s := range c.secrets() {
		if *s.file == "" {
			continue
		}
		if *s.value != "" {
			r.addf(s.path+"_file", "excludes %s: give one of the two", envName(s.path))
			continue
		}
		text, err := readFile(*s.file)
		if err != nil {
			r.addf(s.path+"_file", "%s", err)
			continue
		}
		// Editors and shells end files with a line break that is no part of the secret.
		*s.value = Secret(strings.TrimRight(string(text), "\r\n"))
		if *s.value == "" {
			r.addf(s.path+"_file", "%s is empty", *s.file)
		}
	}
	c.KSQLDB.CA = r.authorities("ksqldb.ca_file", c.KSQLDB.CAFile)
	c.Kafka.CA = r.authorities("kafka.ca_file", c.Kafka.CAFile)
	c.Kafka.SchemaRegistry.CA = r.authorities("kafka.schema_registry.ca_file", c.Kafka.SchemaRegistry.CAFile)
}

// authorities reads the certificates of a file, if one is named.
func (r *reader) authorities(path, file string) []byte {
	if file == "" {
		return nil
	}
	pem, err := readFile(file)
	switch {
	case err != nil:
		r.addf(path, "%s", err)
	case !x509.NewCertPool().AppendCertsFromPEM(pem):
		r.addf(path, "%s contains no PEM certificate", file)
	default:
		return pem
	}
	return nil
}

func (r *reader) kafka(c *Config) {
	k := c.Kafka
	for i, broker := range k.Brokers {
		if host, port, err := net.SplitHostPort(broker); err != nil || host == "" || port == "" || strings.Contains(broker, "/") {
			r.addf(fmt.Sprintf("kafka.brokers[%d]", i), "wants host:port, without a scheme")
		}
	}
	switch {
	case !k.Enabled():
		if k.CAFile != "" || k.SASL != "" || k.Username != "" || k.Password != "" || k.PasswordFile != "" {
			r.addf("kafka.brokers", "missing: the other keys of kafka do nothing without them")
		}
		return
	case !k.TLS && c.Env != Dev:
		r.addf("kafka.tls", "is false: bets and the password would travel in the clear; only with env: dev")
	case !k.TLS && k.CAFile != "":
		r.addf("kafka.ca_file", "has no use without kafka.tls")
	}
	if k.SASL == "" {
		if k.Username != "" || k.Password != "" || k.PasswordFile != "" {
			r.addf("kafka.sasl", "missing: a user or a password is set without it; Confluent Cloud wants PLAIN")
		}
		return
	}
	if !slices.Contains(relay.Mechanisms(), relay.Mechanism(k.SASL)) {
		r.addf("kafka.sasl", "wants one of %v", relay.Mechanisms())
	}
	if k.Username == "" {
		r.addf("kafka.username", "missing: the user for kafka.sasl")
	}
	if k.Password == "" && k.PasswordFile == "" {
		r.addf("kafka.password_file", "missing: the password of kafka.username; or set %s", envName("kafka.password"))
	}
}

func (r *reader) schemaRegistry(c *Config) {
	s := c.Kafka.SchemaRegistry
	const path = "kafka.schema_registry."
	if !s.Enabled() {
		if s.Username != "" || s.Password != "" || s.PasswordFile != "" || s.CAFile != "" {
			r.addf(path+"url", "missing: the other keys of kafka.schema_registry do nothing without it")
		}
		return
	}
	if !c.Kafka.Enabled() {
		r.addf("kafka.brokers", "missing: kafka.schema_registry does nothing without them")
	}
	u := r.webURL(path+"url", s.URL)
	switch {
	case u == nil:
	case u.Scheme == "http" && c.Env != Dev:
		r.addf(path+"url", "is http: the password would travel in the clear, and whoever sits in between could change how odds are read; use https, unless env is dev")
	case u.Scheme == "http" && s.CAFile != "":
		r.addf(path+"ca_file", "has no use with an http URL")
	}
	if s.Username == "" && (s.Password != "" || s.PasswordFile != "") {
		r.addf(path+"username", "missing: a password is set without it")
	}
	if s.Username != "" && s.Password == "" && s.PasswordFile == "" {
		r.addf(path+"password_file", "missing: the password of kafka.schema_registry.username; or set %s", envName(path+"password"))
	}
	if strings.Contains(s.Username, ":") {
		r.addf(path+"username", "must not contain a colon (RFC 7617)")
	}
}

func (r *reader) odds(c *Config) {
	o := c.Odds
	if !o.Enabled() {
		if o != Default().Odds {
			r.addf("odds.topic", "missing: the other keys of odds do nothing without it")
		}
		return
	}
	if !topicName.MatchString(o.Topic) || strings.Trim(o.Topic, ".") == "" {
		r.addf("odds.topic", "wants the name of a topic: 1 to 249 of a-z, A-Z, 0-9, ., _ and -")
	}
	if !c.Kafka.Enabled() {
		r.addf("kafka.brokers", "missing: odds.topic is read from Kafka")
	}
	if o.MaxEvents < 1 || o.MaxEvents > 1_000_000 {
		r.addf("odds.max_events", "wants 1 to 1000000")
	}
	if o.MaxStreams < 1 || o.MaxStreams > 1_000_000 {
		r.addf("odds.max_streams", "wants 1 to 1000000")
	}
	if o.ExpireAfter < Duration(time.Minute) || o.ExpireAfter > Duration(365*24*time.Hour) {
		r.addf("odds.expire_after", "wants 1m to 365d")
	}
}

func (r *reader) ksqldb(c *Config) {
	k := c.KSQLDB
	if k.URL != "" {
		u := r.webURL("ksqldb.url", k.URL)
		switch {
		case u == nil:
		case u.Scheme == "http" && c.Env != Dev:
			r.addf("ksqldb.url", "is http: queries and the password would travel in the clear; use https, unless env is dev")
		case u.Scheme == "http" && k.CAFile != "":
			r.addf("ksqldb.ca_file", "has no use with an http URL")
		}
	}
	if k.Username == "" && (k.Password != "" || k.PasswordFile != "") {
		r.addf("ksqldb.username", "missing: a password is set without it")
	}
	if k.Username != "" && k.Password == "" && k.PasswordFile == "" {
		r.addf("ksqldb.password_file", "missing: the password of ksqldb.username; or set %s", envName("ksqldb.password"))
	}
	if strings.Contains(k.Username, ":") {
		r.addf("ksqldb.username", "must not contain a colon (RFC 7617)")
	}
}

func (r *reader) fcm(c *Config) {
	f := c.FCM
	if strings.ContainsAny(f.ProjectID, "/?#% \t\n") {
		r.addf("fcm.project_id", "wants the project's id, such as my-firebase-project")
	}
	if f.Credentials != "" && !json.Valid([]byte(f.Credentials.Reveal())) {
		path := "fcm.credentials"
		if f.CredentialsFile != "" {
			path = "fcm.credentials_file"
		}
		r.addf(path, "is not JSON: download the key of a service account in the Firebase console")
	}
	if f.URL != "" && r.webURL("fcm.url", f.URL) != nil && c.Env != Dev {
		r.addf("fcm.url", "sends every notification and the access token elsewhere than to Google: only with env: dev")
	}
	if f.Rate <= 0 || f.Rate > 1e6 {
		r.addf("fcm.rate", "wants more than 0 and at most 1000000 messages a second")
	}
	if f.InFlight < 1 || f.InFlight > 10_000 {
		r.addf("fcm.in_flight", "wants 1 to 10000")
	}
}

// The bounds of retention: less than a day leaves no time to look into anything,
// and ten years are for ever.
const (
	minRetention = Duration(24 * time.Hour)
	maxRetention = 3650 * minRetention
)

func (r *reader) retention(c *Config) {
	for _, k := range []struct {
		path string
		d    Duration
	}{{"retention.deliveries", c.Retention.Deliveries}, {"retention.runs", c.Retention.Runs}} {
		if k.d < minRetention || k.d > maxRetention {
			r.addf(k.path, "wants 1d to 3650d")
		}
	}
}

// classes are those that a rule may have.
var classes = []string{string(notifier.Transactional), string(notifier.Service), string(notifier.Marketing)}

func (r *reader) quietHours(c *Config) {
	for i, class := range c.QuietHours.Loud {
		if !slices.Contains(classes, class) {
			r.addf(fmt.Sprintf("quiet_hours.loud[%d]", i), "wants one of %s", strings.Join(classes, ", "))
		}
	}
	if s := c.QuietHours.Spread; s < 0 || s > Duration(time.Hour) {
		r.addf("quiet_hours.spread", "wants 0s to 1h")
	}
}

func (r *reader) suppressions(c *Config) {
	const path = "suppressions.import."
	i := c.Suppressions.Import
	if !i.Enabled() {
		if i.Schedule != "" {
			r.addf(path+"query", "is missing: there is a schedule")
		}
		return
	}
	if i.Schedule == "" {
		r.addf(path+"schedule", "is missing: there is a query")
		return
	}
	_, err := notifier.CompileImport(i.Schedule, i.Query, i.MaxLifted)
	if f, ok := errors.AsType[*fault.Error](err); ok {
		for _, field := range f.Fields {
			r.addf(path+field.Path, "%s", field.Message)
		}
	}
}

func (r *reader) frequencyCaps(c *Config) {
	for i, f := range c.FrequencyCaps {
		path := func(name string) string { return fmt.Sprintf("frequency_caps[%d].%s", i, name) }
		if f.Category != "" && !categoryName.MatchString(f.Category) {
			r.addf(path("category"), "wants a name of 1 to 64 of a-z, 0-9, _ and -")
		}
		for n, class := range f.Classes {
			if !slices.Contains(classes, class) {
				r.addf(path(fmt.Sprintf("classes[%d]", n)), "wants one of %s", strings.Join(classes, ", "))
			}
		}
		if f.Limit < 1 || f.Limit > 1000 {
			r.addf(path("limit"), "wants 1 to 1000")
		}
		if f.Per < Duration(time.Second) || f.Per > Duration(notifier.MaxFrequencyWindow) {
			r.addf(path("per"), "wants 1s to 28d")
		}
		if f.Over != string(notifier.OverDrop) && f.Over != string(notifier.OverDelay) {
			r.addf(path("over"), "wants drop or delay")
		}
	}
}

// auth checks that the apps' tokens are verified in one way.
func (r *reader) auth(c *Config) {
	a := c.Auth
	if n := len(a.Secret); n > 0 && n < minSecret {
		r.addf("auth.secret", "has %d bytes, HS256 needs %d or more (openssl rand -base64 48)", n, minSecret)
	}
	if a.JWKSURL == "" {
		return
	}
	if a.Secret != "" || a.SecretFile != "" {
		r.addf("auth.jwks_url", "excludes the secret: give one of the two")
	}
	u, err := url.Parse(a.JWKSURL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "":
		r.addf("auth.jwks_url", "wants a URL such as https://login.example.com/.well-known/jwks.json, without credentials")
	case u.Scheme == "http" && c.Env != Dev:
		r.addf("auth.jwks_url", "is http: whoever sits in between could sign tokens; use https, unless env is dev")
	}
}

func (r *reader) limits(c *Config) {
	const most = 1_000_000
	for _, l := range []struct {
		path string
		n    int
	}{{"limits.per_user", c.Limits.PerUser}, {"limits.per_ip", c.Limits.PerIP}} {
		if l.n < 0 || l.n > most {
			r.addf(l.path, "wants 1 to %d requests a minute, or 0 for no limit", most)
		}
	}
	c.Limits.Proxies = nil
	for i, text := range c.Limits.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil || addr.Zone() != "" {
				r.addf(fmt.Sprintf("limits.trusted_proxies[%d]", i), "wants an address or a network such as 10.0.0.0/8")
				continue
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix.Bits() == 0 {
			r.addf(fmt.Sprintf("limits.trusted_proxies[%d]", i), "trusts the whole world: anybody could invent the address that is limited")
		}
		c.Limits.Proxies = append(c.Limits.Proxies, prefix.Masked())
	}
}

// ablyKey is "appId.keyId:secret" (Ably: "API keys").
var ablyKey = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+:[^\s:]+$`)

// ablyKey checks the form of a key that path or a file names.
func (r *reader) ablyKey(path string, key Secret, file string) {
	if key == "" || ablyKey.MatchString(key.Reveal()) {
		return
	}
	if file != "" {
		path += "_file"
	}
	r.addf(path, "is not of the form appId.keyId:secret: copy the whole key from the API keys tab of the app in Ably's dashboard")
}

func (r *reader) ably(c *Config) {
	a := c.Ably
	r.ablyKey("ably.key", a.Key, a.KeyFile)
	r.ablyTokens(c)
	others := a
	others.TokenKey, others.TokenKeyFile = "", ""
	if a.TokenKey+Secret(a.TokenKeyFile) != "" {
		others.TokenTTL, others.TokenOdds = Default().Ably.TokenTTL, Default().Ably.TokenOdds
	}
	if a.Key == "" && a.KeyFile == "" && others != Default().Ably {
		r.addf("ably.key_file", "missing: the other keys of ably do nothing without it; or set %s", envName("ably.key"))
	}
	if a.URL != "" {
		if u := r.webURL("ably.url", a.URL); u != nil && u.Scheme == "http" && c.Env != Dev {
			r.addf("ably.url", "is http: the key would travel in the clear, and Ably refuses it (40103); use https, unless env is dev")
		}
	}
	if a.Rate <= 0 || a.Rate > 1e6 {
		r.addf("ably.rate", "wants more than 0 and at most 1000000 pushes a second")
	}
	if a.InFlight < 1 || a.InFlight > 10_000 {
		r.addf("ably.in_flight", "wants 1 to 10000")
	}
	for _, k := range []struct {
		path string
		rate float64
	}{{"ably.channel_rate", a.ChannelRate}, {"ably.message_rate", a.MessageRate}, {"ably.request_rate", a.RequestRate}} {
		if k.rate <= 0 || k.rate > 1e6 {
			r.addf(k.path, "wants more than 0 and at most 1000000 a second")
		}
	}
	if n := a.MaxMessageBytes; n < 1024 || n > 1<<20 {
		r.addf("ably.max_message_bytes", "wants 1024 to 1048576")
	}
}

// webURL checks an http or https URL and returns it, or nil when it is none.
func (r *reader) webURL(path, text string) *url.URL {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		r.addf(path, "wants a URL such as https://host:443")
	case u.User != nil:
		r.addf(path, "must not contain credentials: they have keys of their own")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		r.addf(path, "must have no query and no fragment")
	default:
		return u
	}
	return nil
}
