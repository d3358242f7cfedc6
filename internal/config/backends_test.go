package config_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/config"
)

const ablyKey = "hKx3Qw.Ab12Cd:hunter2-of-ably"

func TestATokenIsVerifiedInExactlyOneWay(t *testing.T) {
	t.Parallel()
	const jwks = "BUGLE_AUTH_JWKS_URL=https://login.example/keys?tenant=a"
	c, err := config.Parse(nil, []string{jwks}, config.NeedAuth)
	require.NoError(t, err)
	require.Equal(t, "https://login.example/keys?tenant=a", c.Auth.JWKSURL)

	_, err = config.Parse(nil, []string{jwks, "BUGLE_AUTH_SECRET=" + longSecret}, config.NeedAuth)
	require.Equal(t, map[string]string{"auth.jwks_url (BUGLE_AUTH_JWKS_URL)": "excludes the secret: give one of the two"}, fields(t, err))
	_, err = config.Parse(nil, nil, config.NeedAuth)
	require.Contains(t, fields(t, err)["auth.secret_file (BUGLE_AUTH_SECRET_FILE)"], "or set BUGLE_AUTH_SECRET or BUGLE_AUTH_JWKS_URL")

	for url, want := range map[string]string{
		"http://login.example/keys":          "use https, unless env is dev",
		"https://u:hunter2@login.example/k":  "without credentials",
		"login.example/keys":                 "wants a URL",
		"ftp://login.example/keys":           "wants a URL",
		"https://login.example/keys#hunter2": "wants a URL",
	} {
		_, err := config.Parse(nil, []string{"BUGLE_AUTH_JWKS_URL=" + url}, config.NeedAuth)
		got := fields(t, err)
		require.Len(t, got, 1, url)
		require.Contains(t, got["auth.jwks_url (BUGLE_AUTH_JWKS_URL)"], want)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err = config.Parse(nil, []string{"BUGLE_AUTH_JWKS_URL=http://127.0.0.1:1/keys", "BUGLE_ENV=dev"}, config.NeedAuth)
	require.NoError(t, err)
}

func TestAbly(t *testing.T) {
	t.Parallel()
	c, err := config.Parse(nil, nil)
	require.NoError(t, err)
	require.False(t, c.Ably.Enabled())

	c, err = config.Parse([]byte("ably: {key_file: "+write(t, "key", ablyKey+"\n")+", rate: 300}"), nil)
	require.NoError(t, err)
	require.True(t, c.Ably.Enabled())
	require.Equal(t, ablyKey, c.Ably.Key.Reveal())
	require.InEpsilon(t, 300.0, c.Ably.Rate, 1e-9)
	require.NotContains(t, c.String(), "hunter2")

	_, err = config.Parse([]byte("ably: {rate: 300}"), nil)
	require.Contains(t, fields(t, err)["ably.key_file (BUGLE_ABLY_KEY_FILE)"], "the other keys of ably do nothing without it")
	for _, key := range []string{"hunter2", "app.key", "app:hunter2", "app.key:", "app.key:hun ter2", ".key:hunter2", "app.key:a:hunter2"} {
		_, err = config.Parse(nil, []string{"BUGLE_ABLY_KEY=" + key})
		require.Contains(t, fields(t, err)["ably.key (BUGLE_ABLY_KEY)"], "appId.keyId:secret", key)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err = config.Parse([]byte("ably: {url: 'http://h', rate: 0, in_flight: 0}"), []string{"BUGLE_ABLY_KEY=" + ablyKey})
	got := fields(t, err)
	require.Contains(t, got["ably.url (BUGLE_ABLY_URL)"], "40103")
	require.Contains(t, got["ably.rate (BUGLE_ABLY_RATE)"], "more than 0")
	require.Contains(t, got["ably.in_flight (BUGLE_ABLY_IN_FLIGHT)"], "1 to 10000")
	require.Len(t, got, 3)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]byte("limits: {per_ip: 0, trusted_proxies: [10.1.2.3/8, 192.0.2.1, '2001:db8::/32', '::1']}"),
		[]string{"BUGLE_LIMITS_PER_USER=7"})
	require.NoError(t, err)
	require.Equal(t, 7, c.Limits.PerUser)
	require.Equal(t, 0, c.Limits.PerIP)
	require.Equal(t, []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"),
		netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::1/128"),
	}, c.Limits.Proxies)

	_, err = config.Parse([]byte("limits: {per_user: -1, per_ip: 9999999, trusted_proxies: [10.0.0.1, proxy, 0.0.0.0/0, 'fe80::1%eth0']}"), nil)
	got := fields(t, err)
	require.Contains(t, got["limits.per_user (BUGLE_LIMITS_PER_USER)"], "0 for no limit")
	require.Contains(t, got["limits.per_ip (BUGLE_LIMITS_PER_IP)"], "0 for no limit")
	require.Contains(t, got["limits.trusted_proxies[1]"], "10.0.0.0/8")
	require.Contains(t, got["limits.trusted_proxies[2]"], "the whole world")
	require.Contains(t, got["limits.trusted_proxies[3]"], "10.0.0.0/8")
	require.Len(t, got, 5)
	_, err = config.Parse([]byte("limits: {trusted_proxies: [[a], 3]}"), nil)
	require.Error(t, err)
}

func TestKafkaNeedsBrokersEncryptionAndAWholeLogin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, path, message string }{
		{"kafka: {brokers: [b:9092], tls: false}", "kafka.tls (BUGLE_KAFKA_TLS)", "only with env: dev"},
		{"kafka: {brokers: ['kafka://b:9092']}", "kafka.brokers[0]", "without a scheme"},
		{"kafka: {username: u}", "kafka.brokers (BUGLE_KAFKA_BROKERS)", "do nothing without them"},
		{"kafka: {brokers: [b:9092], username: u}", "kafka.sasl (BUGLE_KAFKA_SASL)", "Confluent Cloud wants PLAIN"},
		{"kafka: {brokers: [b:9092], sasl: GSSAPI, username: u}", "kafka.sasl (BUGLE_KAFKA_SASL)", "wants one of [PLAIN"},
		{"kafka: {brokers: [b:9092], sasl: PLAIN, username: u}", "kafka.password_file (BUGLE_KAFKA_PASSWORD_FILE)", "missing"},
		{"env: dev\nkafka: {brokers: [b:9092], tls: false, ca_file: x}", "kafka.ca_file (BUGLE_KAFKA_CA_FILE)", "x"},
	} {
		_, err := config.Parse([]byte(c.text), nil)
		require.Contains(t, fields(t, err)[c.path], c.message, c.text)
	}
	good, err := config.Parse([]byte("kafka: {brokers: [b:9092], sasl: SCRAM-SHA-512, username: u}"), []string{"BUGLE_KAFKA_PASSWORD=p"})
	require.NoError(t, err)
	require.True(t, good.Kafka.Enabled())
	require.True(t, good.Kafka.TLS)
	dev, err := config.Parse([]byte("env: dev\nkafka: {brokers: [b:9092]}"), []string{"BUGLE_KAFKA_TLS=false"})
	require.NoError(t, err)
	require.False(t, dev.Kafka.TLS)
}

// goodBets is a configuration that takes bets.
const goodBets = "database: {url: 'sqlite:/x'}\nkafka: {brokers: [b:9092]}\n"

func TestBetsNeedKafkaADatabaseAndAKey(t *testing.T) {
	t.Parallel()
	keys := "BUGLE_BETS_SIGNING_KEYS=app.k1:secretone\nk2:secrettwo"
	for _, tt := range []struct{ text, env, path, message string }{
		{"database: {url: 'sqlite:/x'}\nbets: {enabled: true}", keys, "kafka.brokers (BUGLE_KAFKA_BROKERS)", "bets.enabled needs a Kafka"},
		{"kafka: {brokers: [b:9092]}\nbets: {enabled: true}", keys, "database.url (BUGLE_DATABASE_URL)", "bets.enabled keeps bets there"},
		{goodBets + "bets: {enabled: true}", "", "bets.signing_keys_file (BUGLE_BETS_SIGNING_KEYS_FILE)", "must be signed"},
		{"", "BUGLE_BETS_SIGNING_KEYS=app.k1:secretone\nsecrettwo", "bets.signing_keys (BUGLE_BETS_SIGNING_KEYS)", "line 2 is no key"},
		{"bets: {topic: 'a b'}", "", "bets.topic (BUGLE_BETS_TOPIC)", "name of a topic"},
		{"bets: {topic: x, dead_letter_topic: x}", "", "bets.dead_letter_topic (BUGLE_BETS_DEAD_LETTER_TOPIC)", "the same"},
		{"bets: {default_stake: '0'}", "", "bets.default_stake (BUGLE_BETS_DEFAULT_STAKE)", "an amount"},
		{"bets: {default_stake: '1.234'}", "", "bets.default_stake (BUGLE_BETS_DEFAULT_STAKE)", "two decimals"},
		{"", "BUGLE_ABLY_TOKEN_KEY=secretone", "ably.token_key (BUGLE_ABLY_TOKEN_KEY)", "appId.keyId:secret"},
		{"ably: {token_ttl: 25h}", "BUGLE_ABLY_TOKEN_KEY=app.k1:secretone", "ably.token_ttl (BUGLE_ABLY_TOKEN_TTL)", "1m to 24h"},
		{"ably: {token_odds: '*'}", "BUGLE_ABLY_TOKEN_KEY=app.k1:secretone", "ably.token_odds (BUGLE_ABLY_TOKEN_ODDS)", "not all of them"},
		{"ably: {token_odds: 'inbound:*'}", "BUGLE_ABLY_TOKEN_KEY=app.k1:secretone", "ably.token_odds (BUGLE_ABLY_TOKEN_ODDS)", "every user could read the bets of all"},
		{"ably: {token_odds: 'inbound:*:horses:*'}", "BUGLE_ABLY_TOKEN_KEY=app.k1:secretone", "ably.token_odds (BUGLE_ABLY_TOKEN_ODDS)", "every user could read the bets of all"},
		{"ably: {token_odds: 'inbound:betting:horses:*'}", "BUGLE_ABLY_TOKEN_KEY=app.k1:secretone", "ably.token_odds (BUGLE_ABLY_TOKEN_ODDS)", "every user could read the bets of all"},
		{"ably: {token_ttl: 2h}", "", "ably.key_file (BUGLE_ABLY_KEY_FILE)", "do nothing without it"},
		{"cors: {allowed_origins: ['*']}", "", "cors.allowed_origins[0]", "wants an origin"},
		{"cors: {allowed_origins: ['https://a.example/']}", "", "cors.allowed_origins[0]", "wants an origin"},
		{"cors: {allowed_origins: ['http://a.example']}", "", "cors.allowed_origins[0]", "unless env is dev"},
	} {
		_, err := config.Parse([]byte(tt.text), []string{tt.env})
		found := fields(t, err)
		require.Contains(t, found[tt.path], tt.message, "%s: %v", tt.text, err)
		require.NotContains(t, err.Error(), "secretone")
		require.NotContains(t, err.Error(), "secrettwo")
	}
	good, err := config.Parse([]byte(goodBets+"bets: {enabled: true, default_stake: '2.50'}\ncors: {allowed_origins: ['https://a.example:8443']}\nably: {token_ttl: 24h}"),
		[]string{keys, "BUGLE_ABLY_TOKEN_KEY=app.k1:secretone"})
	require.NoError(t, err)
	require.Equal(t, "app.k1:secretone", good.Ably.TokenSecret().Reveal())
	require.False(t, good.Ably.Enabled(), "a key for tokens sends no pushes")
	require.NotContains(t, good.String(), "secret"+"one")
	withPush, err := config.Parse([]byte(goodBets+"bets: {enabled: true}"), []string{"BUGLE_ABLY_KEY=app.k1:secretone"})
	require.NoError(t, err)
	require.Equal(t, withPush.Ably.Key, withPush.Ably.TokenSecret())
}

func TestASchemaRegistryAndOddsBelongToKafka(t *testing.T) {
	t.Parallel()
	const kafka = "kafka: {brokers: [b:9092], schema_registry: "
	for _, c := range []struct{ text, path, message string }{
		{kafka + "{url: 'http://r:8081'}}", "kafka.schema_registry.url (BUGLE_KAFKA_SCHEMA_REGISTRY_URL)", "use https"},
		{kafka + "{url: 'r:8081'}}", "kafka.schema_registry.url (BUGLE_KAFKA_SCHEMA_REGISTRY_URL)", "wants a URL"},
		{kafka + "{username: u}}", "kafka.schema_registry.url (BUGLE_KAFKA_SCHEMA_REGISTRY_URL)", "do nothing without it"},
		{kafka + "{url: 'https://r', username: u}}", "kafka.schema_registry.password_file (BUGLE_KAFKA_SCHEMA_REGISTRY_PASSWORD_FILE)", "missing"},
		{kafka + "{url: 'https://r', password_file: /none}}", "kafka.schema_registry.username (BUGLE_KAFKA_SCHEMA_REGISTRY_USERNAME)", "missing"},
		{kafka + "{url: 'https://r', ca_file: /none}}", "kafka.schema_registry.ca_file (BUGLE_KAFKA_SCHEMA_REGISTRY_CA_FILE)", "no such file"},
		{"kafka: {schema_registry: {url: 'https://r'}}", "kafka.brokers (BUGLE_KAFKA_BROKERS)", "missing"},
		{"odds: {topic: odds}", "kafka.brokers (BUGLE_KAFKA_BROKERS)", "read from Kafka"},
		{"odds: {public: true}", "odds.topic (BUGLE_ODDS_TOPIC)", "do nothing without it"},
		{"odds: {topic: 'a b'}", "odds.topic (BUGLE_ODDS_TOPIC)", "name of a topic"},
		{"odds: {topic: odds, max_events: 0}", "odds.max_events (BUGLE_ODDS_MAX_EVENTS)", "wants 1"},
		{"odds: {topic: odds, max_streams: -1}", "odds.max_streams (BUGLE_ODDS_MAX_STREAMS)", "wants 1"},
		{"odds: {topic: odds, expire_after: 1s}", "odds.expire_after (BUGLE_ODDS_EXPIRE_AFTER)", "wants 1m"},
	} {
		_, err := config.Parse([]byte(c.text), nil)
		require.Contains(t, fields(t, err)[c.path], c.message, c.text)
	}
	good, err := config.Parse([]byte(kafka+"{url: 'https://r', username: u}}\nodds: {topic: odds}"), []string{"BUGLE_KAFKA_SCHEMA_REGISTRY_PASSWORD=p4ssw0rd"})
	require.NoError(t, err)
	require.True(t, good.Kafka.SchemaRegistry.Enabled())
	require.True(t, good.Odds.Enabled())
	require.False(t, good.Odds.Public)
	require.NotContains(t, good.String(), "p4ssw0rd")
	_, err = config.Parse([]byte("env: dev\n"+kafka+"{url: 'http://r:8081'}}"), nil)
	require.NoError(t, err)
}
